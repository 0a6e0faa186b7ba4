/** What a signature is enough for while the relay is there, and a transaction of one's own does otherwise. */

import { useStatus } from "../data";
import { Expired, isLost, nameOf, Refused, Unheard } from "../failures";
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
  /** Has the wallet sign. */
  sign: () => Promise<Signed>;
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

/** The steps of something: by the relay while it is there. When it is away, what to do instead is said before. */
export function stepsOf<Handed, Signed>(relay: RelayState, t: Messages, wanted: Wanted<Handed, Signed>): Step[] {
  const { title, details, sign, hand, follow, onceOnly, direct } = wanted;
  const instead = (signed: Signed | null): Step => {
    const own = direct(signed);
    return {
      ...own,
      title: t.relay.away,
      details: [signed === null ? t.relay.awayHow : t.relay.awaySigned, own.title, ...(own.details ?? [])],
      button: t.relay.sendDirect,
    };
  };
  if (relay === "none") return [direct(null)];
  if (relay === "away") return [instead(null)];
  // Kept from try to try, so that another one goes on where the last stopped and asks for no second signature.
  let kept: { signed: Signed; handed?: { as: Handed } } | null = null;
  const act: Step["act"] = async (say) => {
    const mine = (kept ??= { signed: await sign() });
    try {
      say(t.flow.sending);
      mine.handed ??= { as: await hand(mine.signed) };
      say(t.relay.taken);
      await follow(mine.handed.as);
    } catch (problem) {
      if (problem instanceof Expired || problem instanceof Refused || nameOf(problem) !== null) kept = null;
      else if (!mine.handed && isLost(problem)) {
        if (onceOnly) return [instead(mine.signed)];
        throw new Unheard();
      }
      throw problem;
    }
    return undefined;
  };
  return [{ title, details, fee: false, act }];
}
