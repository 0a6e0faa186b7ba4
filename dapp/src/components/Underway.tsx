/** What an account has under way: what is followed just now, and what has no known fate, with what can be done. */

import { Button, Group } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Address } from "viem";
import type { Order } from "../clearing";
import { useAccount } from "../data";
import { CameAbout, isLost, isOver, Unheard } from "../failures";
import { followErrand, handDeposit, handLettingGo, handWithdrawal, letGo, signLettingGo } from "../flows/errands";
import { fateOf, keepingOf } from "../flows/fate";
import { type Asset, bringWithdrawal, deposit } from "../flows/funds";
import { followOrders, handOrders } from "../flows/placeOrder";
import type { Keeping, Kept, Signed, What } from "../flows/underway";
import { useWords } from "../i18n";
import type { Messages } from "../i18n/en";
import { type Market, startOf, useMarket, useUnderway } from "../market";
import { baht, kwh, type Language, moment, price, short, WEI_PER_WH } from "../units";
import { Card } from "./bits";
import { stepsOf, unlessDone, useRelay } from "./relayed";
import { type Intent, Problem, type Step, Steps } from "./Steps";
import { toast } from "./toast";

const LOOK_MS = 2_000;

/** An order as a sentence. */
export function orderSays({ side, tick, quantityWh }: Order, tickWei: bigint, t: Messages, language: Language): string {
  const say = side === "buy" ? t.ticket.confirmBuy : t.ticket.confirmSell;
  return say(kwh(quantityWh, language), price(2 * tick, tickWei, language));
}

/** An amount with its unit. */
export function amountSays(asset: Asset, wei: bigint, t: Messages, language: Language): string {
  return asset === "money" ? `${baht(wei, language)} ${t.units.thb}` : `${kwh(wei / WEI_PER_WH, language)} kWh`;
}

function says(what: What, { deployment }: Market, t: Messages, language: Language): string {
  switch (what.kind) {
    case "orders":
      return what.body.message.orders
        .map(({ action, energyWh, limitTicksPerKWh }) => {
          const order = { side: action, tick: limitTicksPerKWh, quantityWh: energyWh };
          return orderSays(order, deployment.tickWei, t, language);
        })
        .join(", ");
    case "withdrawal":
      return t.funds.take(amountSays(what.body.message.asset, BigInt(what.body.message.amountWei), t, language));
    case "deposit":
      return t.funds.bring(amountSays(what.body.asset, BigInt(what.body.message.value), t, language));
    case "transaction": {
      const calls: Record<string, string> = t.underway.calls;
      const call = calls[what.call] ?? t.underway.otherCall;
      return what.hash === null ? call : `${call} (${short(what.hash)})`;
    }
  }
}

/** Until when what was signed can still count, Unix seconds. */
function untilOf(signed: Signed, { deployment }: Market): number {
  return signed.kind === "orders"
    ? startOf(signed.body.message.lastEpoch + 1, deployment)
    : Number(signed.body.message.deadline);
}

export function UnderwayList() {
  const { t } = useWords();
  const { underway } = useMarket();
  const account = useAccount();
  const list = useUnderway(account);
  if (!account || !list.length) return null;
  return (
    <div style={{ marginBottom: "1rem" }} data-testid="underway">
      <Card title={t.underway.title} how={t.underway.how}>
        <ul className="roles">
          {list.map((kept) => (
            <Entry key={kept.id} account={account} kept={kept} followed={underway.isFollowed(kept.id)} />
          ))}
        </ul>
      </Card>
    </div>
  );
}

function Entry({ account, kept, followed }: { account: Address; kept: Kept; followed: boolean }) {
  const { t, language } = useWords();
  const market = useMarket();
  const queries = useQueryClient();
  const { what } = kept;
  const [problem, setProblem] = useState<unknown>(null);
  const fate = useQuery({
    queryKey: ["fate", kept.id, what.kind === "transaction" && what.hash],
    enabled: !followed,
    queryFn: () => fateOf(market, account, kept),
    refetchInterval: ({ state }) => (state.data === "done" || state.data === "void" ? false : LOOK_MS),
  });
  const known = followed ? undefined : fate.data;
  const said = says(what, market, t, language);
  const keeping = keepingOf(market, account, kept);
  const sentence = () => {
    if (followed) return what.kind === "transaction" ? t.underway.sending : t.underway.followed;
    if (known === undefined) return t.underway.looking;
    if (known === "done") return t.underway.done;
    if (known === "void") return what.kind === "transaction" ? t.underway.refused : t.underway.void;
    if (what.kind !== "transaction") return t.underway.undecided(moment(untilOf(what, market), language));
    return known === "open" ? t.underway.sending : t.underway.unknown;
  };
  const again = async (signed: Signed) => {
    setProblem(null);
    try {
      await keeping.during(() => handAgain(market, signed));
      keeping.settle();
      toast(t, t.underway.done, said);
      await queries.invalidateQueries();
    } catch (caught) {
      // The relay's word against it does not end it: it is kept until the chain shows its fate.
      setProblem(!isOver(caught) && isLost(caught) ? new Unheard(false) : caught);
      await fate.refetch();
    }
  };
  return (
    <li style={{ display: "block" }}>
      <div style={{ fontWeight: 600 }}>{said}</div>
      <p className="quiet" role="status">
        {sentence()}
      </p>
      {known === "open" && problem !== null && <Problem problem={problem} />}
      <Group gap="xs" mt={known ? 6 : 0}>
        {known === "open" && what.kind !== "transaction" && (
          <Undecided account={account} keeping={keeping} signed={what} said={said} again={() => void again(what)} />
        )}
        {(known === "done" || known === "void") && <Away name={t.underway.seen} said={said} onClick={keeping.settle} />}
        {(known === "unknown" || (known === "open" && what.kind === "deposit")) && (
          <Away name={t.underway.forget} said={said} onClick={keeping.settle} />
        )}
      </Group>
    </li>
  );
}

/** A button that is named with what it is about. */
function Away({ name, said, onClick }: { name: string; said: string; onClick: () => void }) {
  return (
    <Button size="compact-sm" variant="default" aria-label={`${name}: ${said}`} onClick={onClick}>
      {name}
    </Button>
  );
}

/** Hands the same signature in again, and waits for its end. */
async function handAgain(market: Market, signed: Signed): Promise<void> {
  switch (signed.kind) {
    case "orders":
      return followOrders(market, await handOrders(market, signed.body));
    case "withdrawal":
      return followErrand(market, await handWithdrawal(market, signed.body));
    case "deposit":
      return followErrand(market, await handDeposit(market, signed.body));
  }
}

/** What can be done with something that was signed and may still count. */
function Undecided(props: { account: Address; keeping: Keeping; signed: Signed; said: string; again: () => void }) {
  const { keeping, signed, said, again } = props;
  const { t } = useWords();
  const market = useMarket();
  const relay = useRelay();
  const [intent, setIntent] = useState<Intent | null>(null);

  const bring = (send: () => Promise<void>) => {
    const act: Step["act"] = async () => {
      await send();
      return undefined;
    };
    const once: Step["act"] = async (...told) => {
      await unlessDone(keeping, act, ...told);
      keeping.settle();
      return undefined;
    };
    setIntent({
      title: t.relay.sendDirect,
      done: said,
      steps: [{ title: said, details: [t.underway.onlyOne], fee: true, act: once }],
    });
  };
  const drop = (nonce: number) => {
    const told = {
      title: `${t.underway.letGo}: ${said}`,
      details: [t.underway.letGoHow],
    };
    // It may have come about before it was let go.
    const look = async () => {
      if (await keeping.isDone()) throw new CameAbout();
      keeping.settle();
    };
    setIntent({
      title: t.underway.letGo,
      done: t.underway.gone,
      steps: stepsOf(relay, t, {
        ...told,
        shows: { nonce },
        sign: () => signLettingGo(market, nonce),
        hand: (body) => handLettingGo(market, body),
        follow: async (errand) => {
          await followErrand(market, errand);
          await look();
        },
        onceOnly: true,
        direct: () => ({
          ...told,
          fee: true,
          act: async () => {
            await letGo(market, nonce);
            await look();
            return undefined;
          },
        }),
      }),
    });
  };
  return (
    <>
      {relay !== "none" && <Away name={t.underway.again} said={said} onClick={again} />}
      {signed.kind === "withdrawal" && (
        <Away name={t.relay.sendDirect} said={said} onClick={() => bring(() => bringWithdrawal(market, signed.body))} />
      )}
      {signed.kind === "deposit" ? (
        <Away name={t.relay.sendDirect} said={said} onClick={() => bring(() => deposit(market, signed.body))} />
      ) : (
        <Away name={t.underway.letGo} said={said} onClick={() => drop(signed.body.message.nonce)} />
      )}
      <Steps intent={intent} close={() => setIntent(null)} />
    </>
  );
}
