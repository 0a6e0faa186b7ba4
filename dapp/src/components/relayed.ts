/** What a signature is enough for while the relay is there, and a transaction of one's own does otherwise. */

import { useStatus } from "../data";
import { isLost, isOver, Unheard } from "../failures";
import type { Keeping } from "../flows/underway";
import type { Messages } from "../i18n/en";
import { useMarket } from "../market";
import type { Step } from "./Steps";

/** Whether the relay brings messages now: as the server says, until it is seen otherwise. */
export type RelayState = "there" | "away" | "none";

/** How the relay is; there is none without an API, or if the API knows none. */
export function useRelay(): RelayState {
  const { api, deployment } = useMarket();
  const { data } = useStatus();
  if (!api || !deployment.relay) return "none";
  return data && data.relay?.state !== "working" ? "away" : "there";
}

export type Wanted<Handed, Signed = undefined> = {
  title: string;
  details: string[];
  /** What of the message the wallet shows, by its own names. */
  shows: Record<string, string | number>;
  /** Has the wallet sign. */
  sign: () => Promise<Signed>;
  /** Keeps what was signed; left out where a second signature could do nothing that the first does not. */
  keep?: (signed: Signed) => Promise<Keeping>;
  /** Hands what was signed to the relay. */
  hand: (signed: Signed) => Promise<Handed>;
  /** Waits until the relay has done it. */
  follow: (handed: Handed) => Promise<void>;
  /**
   * Whether the contracts let only one of both count: what was signed and what is sent oneself. Without it nothing is
   * sent oneself once something was handed over, for the relay may have taken it though its answer was lost.
   */
  onceOnly: boolean;
  /** The same by a transaction of one's own. It may use what was signed for the relay, if anything was. */
  direct: (signed: Signed | null) => Step;
};

/** Nothing is kept. */
const UNKEPT: Keeping = {
  during: (act) => act(),
  settle: () => undefined,
  isDone: () => Promise.resolve(false),
};

/** Does by oneself what the relay may have done already, or may do meanwhile: then it is done all the same. */
export async function unlessDone(
  keeping: Keeping,
  act: Step["act"],
  ...told: Parameters<Step["act"]>
): Promise<Step[] | undefined> {
  try {
    if (await keeping.isDone()) return undefined;
    return await act(...told);
  } catch (problem) {
    if (await keeping.isDone().catch(() => false)) return undefined;
    throw problem;
  }
}

/** Fields of a message as a wallet lists them. */
export function fieldsOf(shows: Record<string, string | number>): string {
  return Object.entries(shows)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}

/** The steps of something: by the relay while it is there. When it is away, what to do instead is said before. */
export function stepsOf<Handed, Signed>(relay: RelayState, t: Messages, wanted: Wanted<Handed, Signed>): Step[] {
  const { title, details, shows, sign, keep, hand, follow, onceOnly, direct } = wanted;
  const instead = (signed: Signed | null, keeping: Keeping): Step => {
    const own = direct(signed);
    return {
      ...own,
      title: signed === null ? t.relay.away : t.relay.lost,
      details: [signed === null ? t.relay.awayHow : t.relay.lostHow, own.title, ...(own.details ?? [])],
      button: t.relay.sendDirect,
      act: async (...told) => {
        const next = await unlessDone(keeping, own.act, ...told);
        keeping.settle();
        return next;
      },
    };
  };
  if (relay === "none") return [direct(null)];
  if (relay === "away") return [instead(null, UNKEPT)];
  // Kept from try to try, so that another one goes on where the last stopped and asks for no second signature.
  let kept: { signed: Signed; keeping?: Keeping; handed?: { as: Handed } } | null = null;
  const act: Step["act"] = async (say, unlessClosed) => {
    const mine = (kept ??= { signed: await sign() });
    unlessClosed();
    // Before it is handed over: neither a lost answer nor a reload loses it from then on.
    const keeping = (mine.keeping ??= keep ? await keep(mine.signed) : UNKEPT);
    try {
      await keeping.during(async () => {
        say(t.flow.sending);
        mine.handed ??= { as: await hand(mine.signed) };
        say(t.relay.taken);
        await follow(mine.handed.as);
      });
    } catch (problem) {
      if (isOver(problem)) {
        keeping.settle();
        kept = null;
      } else if (!mine.handed && isLost(problem)) {
        if (onceOnly) return [instead(mine.signed, keeping)];
        throw new Unheard(false);
      }
      throw problem;
    }
    keeping.settle();
    return undefined;
  };
  return [{ title, details, shows: fieldsOf(shows), fee: false, act }];
}
