/** A new order: what it would get now, and its way into the market. */

import { Button, Group, SegmentedControl, Stack, TextInput } from "@mantine/core";
import { useMemo, useState } from "react";
import type { Address } from "viem";
import type { Book, Holding } from "../chain";
import { escrow, type Order, preview, type Side } from "../clearing";
import { useAccount } from "../data";
import { Later } from "../failures";
import { keepSigned } from "../flows/fate";
import { followOrders, handOrders, messageFor, sendOrder, signOrders, type Wish } from "../flows/placeOrder";
import { inTheWay } from "../flows/underway";
import { market as limits } from "../generated/market";
import { useWords } from "../i18n";
import type { Messages } from "../i18n/en";
import { type Market, startOf, useEpoch, useMarket, useUnderway } from "../market";
import { baht, count, decimal, kwh, kwhOfUwh, type Language, moment, parseDecimal, price, UWH_PER_WH } from "../units";
import { Quick } from "./bits";
import { Life, type Lasting, lastEpochOf } from "./Life";
import { type RelayState, stepsOf, useRelay } from "./relayed";
import { type Intent, Interrupted, type Step, Steps } from "./Steps";
import { orderSays } from "./Underway";

/** Ticks between which a trade makes sense, as far as they are known. */
export type Corridor = { buybackTick: number; retailTick: number };

const WH_PLACES = 3;
const SATANG_PLACES = 2;

/** A limit that was typed in baht, as ticks; null if it is none. */
export function tickOf(text: string, tickWei: bigint): number | null {
  const wei = parseDecimal(text, 18);
  if (wei === null || wei % tickWei !== 0n) return null;
  const tick = wei / tickWei;
  return tick >= BigInt(limits.minTick) && tick <= BigInt(limits.maxTick) ? Number(tick) : null;
}

/** Energy that was typed in kWh, as Wh an order may have; null if it is none. */
export function quantityOf(text: string): number | null {
  const wh = parseDecimal(text, WH_PLACES);
  return wh !== null && wh >= BigInt(limits.minOrderWh) && wh <= BigInt(limits.maxOrderWh) ? Number(wh) : null;
}

/** Three limits to choose from: one that trades for sure, if anybody is there; the middle; and the dearest to wait for. */
export function presetTicks(side: Side, { buybackTick, retailTick }: Corridor): [number, number, number] {
  const middle = Math.floor((buybackTick + retailTick) / 2);
  return side === "buy" ? [retailTick, middle, buybackTick] : [buybackTick, middle, retailTick];
}

export function Ticket(props: {
  book: Book | undefined;
  holding: Holding | undefined;
  corridor: Corridor | null;
  deposit: () => void;
}) {
  const { book, holding, corridor } = props;
  const { t, language } = useWords();
  const market = useMarket();
  const account = useAccount();
  const { tickWei, moneyUnitWei } = market.deployment;
  const [side, setSide] = useState<Side>("buy");
  const [amount, setAmount] = useState("1");
  const [typedLimit, setLimit] = useState<string | null>(null);
  const [lasting, setLasting] = useState<Lasting>({ kind: "epoch" });
  const [intent, setIntent] = useState<Intent | null>(null);
  const relay = useRelay();
  const epoch = useEpoch();
  // Not beside one whose fate is not known: which of the two would count, nobody could say.
  const waits = inTheWay(useUnderway(account), "order") !== undefined;

  const asText = (tick: number) => decimal(BigInt(tick) * tickWei, 10n ** 18n, SATANG_PLACES);
  const suggested = corridor ? presetTicks(side, corridor)[0] : book?.price2 ? Math.round(book.price2 / 2) : 350;
  const limit = typedLimit ?? asText(suggested);
  const tick = tickOf(limit, tickWei);
  const quantityWh = quantityOf(amount);
  const order: Order | null = tick !== null && quantityWh !== null ? { side, tick, quantityWh } : null;
  const locked = order && escrow(order);
  const short =
    locked && holding && (locked.moneyUnits > holding.moneyFree || locked.energyUwh > holding.energyFree)
      ? side === "buy"
        ? t.ticket.tooDear
        : t.ticket.tooMuch
      : null;
  const surplusWh = holding ? holding.energyFree / UWH_PER_WH : 0n;
  const money = (units: bigint) => baht(units * moneyUnitWei, language);

  const choose = (to: Side) => {
    setSide(to);
    setLimit(null);
    if (to === "sell" && surplusWh >= BigInt(limits.minOrderWh)) setAmount(decimal(surplusWh, 1000n, WH_PLACES));
  };
  const untilEpoch = epoch === null ? null : lastEpochOf(lasting, epoch, market.deployment);
  const lastsWell = lasting.kind === "epoch" || untilEpoch !== null;
  const place = () => {
    if (order && account)
      setIntent(intentOf(market, relay, account, { ...order, untilEpoch }, t, language, book?.epoch ?? null));
  };

  return (
    <section className="card" aria-label={t.ticket.title}>
      <Stack gap="sm">
        <h2 className="title" style={{ margin: 0 }}>
          {t.ticket.title}
        </h2>
        <SegmentedControl
          fullWidth
          aria-label={t.orders.side}
          value={side}
          onChange={(value) => choose(value)}
          data={[
            { value: "buy", label: t.ticket.buy },
            { value: "sell", label: t.ticket.sell },
          ]}
        />
        <TextInput
          label={t.ticket.amount}
          inputMode="decimal"
          rightSection={<span className="quiet">{t.units.kwh}</span>}
          rightSectionWidth={52}
          value={amount}
          onChange={(event) => setAmount(event.currentTarget.value)}
          error={
            quantityWh === null &&
            t.ticket.badAmount(
              decimal(BigInt(limits.minOrderWh), 1000n, 1),
              count(Math.floor(limits.maxOrderWh / 1000), language),
            )
          }
        />
        <Group gap={6}>
          {holding && side === "buy" && holding.outstandingWh >= BigInt(limits.minOrderWh) && (
            <Quick onClick={() => setAmount(decimal(holding.outstandingWh, 1000n, WH_PLACES))}>{t.ticket.cover}</Quick>
          )}
          {side === "sell" && surplusWh >= BigInt(limits.minOrderWh) && (
            <Quick onClick={() => setAmount(decimal(surplusWh, 1000n, WH_PLACES))}>{t.ticket.surplus}</Quick>
          )}
          {["1", "5", "10"].map((text) => (
            <Quick key={text} onClick={() => setAmount(text)}>
              {text} kWh
            </Quick>
          ))}
        </Group>
        <TextInput
          label={side === "buy" ? t.ticket.limitBuy : t.ticket.limitSell}
          inputMode="decimal"
          rightSection={<span className="quiet">{t.units.perKwh}</span>}
          rightSectionWidth={84}
          value={limit}
          onChange={(event) => setLimit(event.currentTarget.value)}
          error={tick === null && t.ticket.badLimit(asText(limits.minTick), asText(limits.maxTick))}
        />
        {corridor && (
          <Group gap={6} role="group" aria-label={t.ticket.presets}>
            {presetTicks(side, corridor).map((preset, i) => (
              <Quick key={i} pressed={preset === tick} onClick={() => setLimit(asText(preset))}>
                {[t.ticket.likely, t.ticket.balanced, t.ticket.patient][i]}
              </Quick>
            ))}
          </Group>
        )}
        <Life lasting={lasting} choose={setLasting} epoch={epoch} until={untilEpoch} />
        {order && book && <Preview order={order} book={book} money={money} stands={untilEpoch !== null} />}
        {order && locked && (
          <p className="quiet">
            {side === "buy"
              ? (untilEpoch === null ? t.ticket.locksMoney : t.ticket.locksMoneyOn)(money(locked.moneyUnits))
              : (untilEpoch === null ? t.ticket.locksEnergy : t.ticket.locksEnergyOn)(kwh(order.quantityWh, language))}
            {holding && (
              <>
                {" "}
                {side === "buy"
                  ? t.ticket.freeMoney(money(holding.moneyFree))
                  : t.ticket.freeEnergy(kwhOfUwh(holding.energyFree, language))}
              </>
            )}
          </p>
        )}
        {holding?.status === "unknown" && <p className="quiet">{t.ticket.stranger}</p>}
        {short && holding?.status !== "unknown" && (
          <div className="bad" role="alert" style={{ fontSize: "0.875rem" }}>
            {short}{" "}
            {side === "buy" && (
              <Button size="compact-xs" variant="light" onClick={props.deposit}>
                {t.ticket.deposit}
              </Button>
            )}
          </div>
        )}
        {waits && (
          <p className="quiet" role="status">
            {t.underway.orderWaits}
          </p>
        )}
        {account ? (
          <Button
            size="md"
            onClick={place}
            disabled={!order || !lastsWell || short !== null || holding?.status !== "active" || waits}
          >
            {t.ticket.place}
          </Button>
        ) : (
          <p className="quiet">{t.ticket.needWallet}</p>
        )}
      </Stack>
      <Steps intent={intent} close={() => setIntent(null)} />
    </section>
  );
}

function Preview(props: { order: Order; book: Book; money: (units: bigint) => string; stands: boolean }) {
  const { order, book, money, stands } = props;
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const { bids, asks } = book;
  const { result, fill } = useMemo(() => preview(bids, asks, order), [bids, asks, order]);
  const left = BigInt(order.quantityWh) * UWH_PER_WH - fill.energyUwh;
  return (
    <div role="status" style={{ background: "var(--ground)", borderRadius: 8, padding: "0.6rem 0.75rem" }}>
      <div className="label">
        {t.ticket.preview}
        {result.price2 > 0 && `: ${price(result.price2, deployment.tickWei, language)} ${t.units.perKwh}`}
      </div>
      {fill.energyUwh > 0n ? (
        <div style={{ fontWeight: 600 }}>
          {(order.side === "buy" ? t.ticket.gets : t.ticket.gives)(
            kwhOfUwh(fill.energyUwh, language),
            money(fill.moneyUnits),
          )}
        </div>
      ) : (
        <div>{t.ticket.nothing}</div>
      )}
      {fill.energyUwh > 0n && left > 0n && (
        <p className="quiet">{(stands ? t.ticket.partlyOn : t.ticket.partly)(kwhOfUwh(left, language))}</p>
      )}
    </div>
  );
}

/** The steps of an order: a signature for the relay; without one, or when it is away, a transaction. */
function intentOf(
  market: Market,
  relay: RelayState,
  account: Address,
  order: Wish,
  t: Messages,
  language: Language,
  epoch: number | null,
): Intent {
  const { tickWei, moneyUnitWei } = market.deployment;
  const worth = baht(escrow({ ...order, side: "buy" }).moneyUnits * moneyUnitWei, language);
  const title = orderSays(order, tickWei, t, language);
  const means = (order.side === "buy" ? t.ticket.confirmMost : t.ticket.confirmLeast)(worth);
  const stands =
    order.untilEpoch === null
      ? []
      : [
          t.ticket.standsUntil(
            moment(startOf(order.untilEpoch + 1, market.deployment), language),
            count(order.untilEpoch, language),
          ),
        ];
  const stepsFor = (told: number | null): Step[] => {
    const once =
      order.untilEpoch === null && told !== null
        ? [t.ticket.validFor(count(told, language), count(told + 1, language))]
        : [];
    return stepsOf(relay, t, {
      title,
      details: [means, ...stands, ...once],
      shows: {
        action: order.side,
        energyWh: order.quantityWh,
        limitTicksPerKWh: order.tick,
        ...(order.untilEpoch === null ? {} : { untilEpoch: order.untilEpoch }),
      },
      sign: async () => {
        try {
          return await signOrders(market, await messageFor(market, account, order, told));
        } catch (problem) {
          // What is told before a signature is what it says: for other epochs it is told anew.
          throw problem instanceof Later ? new Interrupted(problem, stepsFor(problem.epoch)) : problem;
        }
      },
      keep: (body) => keepSigned(market, account, { kind: "orders", body }),
      hand: (signed) => handOrders(market, signed),
      follow: (bundle) => followOrders(market, bundle),
      onceOnly: false,
      direct: () => ({
        title,
        details: [means, ...stands],
        fee: true,
        act: async () => {
          await sendOrder(market, order);
          return undefined;
        },
      }),
    });
  };
  return { title: t.ticket.title, done: t.ticket.entered, steps: stepsFor(epoch) };
}
