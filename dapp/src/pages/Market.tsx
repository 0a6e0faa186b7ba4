/** The market now: its price, its book, and one's own orders. */

import { useMemo, useState } from "react";
import type { Cleared } from "../chain";
import { Card, Empty, Loaded } from "../components/bits";
import { Countdown } from "../components/Countdown";
import { DepthChart } from "../components/DepthChart";
import { type Direction, Funds } from "../components/Funds";
import { OpenOrders } from "../components/OpenOrders";
import { type Point, PriceChart } from "../components/PriceChart";
import { Table } from "../components/Table";
import { type Corridor, Ticket } from "../components/Ticket";
import { useAccount, useBook, useCleared, useGrid, useHolding, useTariff } from "../data";
import type { Shapes } from "../api";
import { useWords } from "../i18n";
import { useEpoch, useMarket } from "../market";
import { clock, count, kwh, percent, price } from "../units";
import { Alert } from "@mantine/core";

const SHOWN = 10;
const UTHB_PER_BAHT = 1e6;

export function Market() {
  const { t } = useWords();
  const { deployment } = useMarket();
  const account = useAccount();
  const book = useBook();
  const cleared = useCleared();
  const holding = useHolding(account);
  const epoch = useEpoch();
  const oldest = cleared.data?.at(-1)?.epoch ?? epoch;
  const tariff = useTariff(oldest, epoch);
  const paused = useGrid().data?.zones.find(({ zone }) => zone === deployment.zone)?.paused;
  const [direction, setDirection] = useState<Direction | null>(null);
  const step = tariff.data?.items.at(-1);
  const corridor = useMemo(
    (): Corridor | null => (step ? { buybackTick: step.buyback_tick, retailTick: step.retail_tick } : null),
    [step],
  );
  return (
    <>
      <h1 style={{ position: "absolute", left: "-100vw" }}>{t.app.market}</h1>
      {paused && (
        <Alert color="yellow" variant="light" mb="md">
          {t.market.paused}
        </Alert>
      )}
      <div className="market">
        <div className="stack now">
          <section className="card" aria-label={t.market.now}>
            <div className="top">
              <Loaded query={book} height={90}>
                {(data) => <Price price2={data.price2} volumeWh={data.volumeWh} corridor={corridor} />}
              </Loaded>
              <Countdown />
            </div>
          </section>
          <Card title={t.market.depth} how={t.market.depthHow}>
            <Loaded query={book} height={250}>
              {({ bids, asks, price2, volumeWh }) =>
                bids.length + asks.length ? (
                  <DepthChart bids={bids} asks={asks} price2={price2} volumeWh={volumeWh} />
                ) : (
                  <Empty title={t.market.emptyBook} how={t.market.emptyBookHow} />
                )
              }
            </Loaded>
          </Card>
        </div>
        <div className="stack aside">
          <Ticket book={book.data} holding={holding.data} corridor={corridor} deposit={() => setDirection("deposit")} />
          <OpenOrders />
        </div>
        <div className="stack rest">
          <Loaded query={cleared} height={300}>
            {(epochs) => (
              <>
                <Card title={t.market.history} how={t.market.historyHow}>
                  <History epochs={epochs} steps={tariff.data?.items ?? []} />
                </Card>
                <Card title={t.market.last}>
                  <LastEpochs epochs={epochs} />
                </Card>
              </>
            )}
          </Loaded>
        </div>
      </div>
      {holding.data && <Funds direction={direction} close={() => setDirection(null)} holding={holding.data} />}
    </>
  );
}

function Price(props: { price2: number; volumeWh: number; corridor: Corridor | null }) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const { price2, volumeWh, corridor } = props;
  if (!price2)
    return (
      <div>
        <div className="label">{t.market.now}</div>
        <div className="hero" style={{ fontSize: "clamp(1.6rem, 5vw, 2.2rem)" }}>
          {t.market.noPrice}
        </div>
        <p className="quiet">{t.market.noPriceHow}</p>
      </div>
    );
  const share = (part: number, whole: number) => percent(BigInt(part), BigInt(whole), language);
  return (
    <div>
      <div className="label">{t.market.now}</div>
      <div className="hero" data-testid="price">
        {price(price2, deployment.tickWei, language)} <small>{t.units.perKwh}</small>
      </div>
      <p className="quiet">
        {t.market.volume(kwh(volumeWh, language))}
        {corridor && 2 * corridor.retailTick > price2 && (
          <>
            {" · "}
            <span className="good">
              {t.market.belowRetail(share(2 * corridor.retailTick - price2, 2 * corridor.retailTick))}
            </span>
          </>
        )}
        {corridor && price2 > 2 * corridor.buybackTick && (
          <>
            {" · "}
            <span className="good">
              {t.market.aboveBuyback(share(price2 - 2 * corridor.buybackTick, 2 * corridor.buybackTick))}
            </span>
          </>
        )}
      </p>
    </div>
  );
}

/** The grid's prices in an epoch; the steps are in order. */
export function gridPrices(steps: Shapes["TariffStep"][], epoch: number) {
  const step = steps.findLast((candidate) => candidate.epoch <= epoch);
  return {
    retail: step ? step.retail_uthb_per_kwh / UTHB_PER_BAHT : null,
    buyback: step ? step.buyback_uthb_per_kwh / UTHB_PER_BAHT : null,
  };
}

function History({ epochs, steps }: { epochs: Cleared[]; steps: Shapes["TariffStep"][] }) {
  const { t } = useWords();
  const { deployment } = useMarket();
  const tickBaht = Number(deployment.tickWei) / 1e18;
  const points: Point[] = useMemo(
    () =>
      [...epochs].reverse().map(({ epoch, start, price2, volumeWh }) => ({
        start,
        price: price2 ? (price2 / 2) * tickBaht : null,
        ...gridPrices(steps, epoch),
        kwh: volumeWh / 1000,
      })),
    [epochs, steps, tickBaht],
  );
  if (!epochs.length) return <Empty title={t.market.noEpochs} />;
  return (
    <PriceChart points={points} spanS={deployment.epochSeconds} label={`${t.market.history}. ${t.market.historyHow}`} />
  );
}

function LastEpochs({ epochs }: { epochs: Cleared[] }) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  if (!epochs.length) return <Empty title={t.market.noEpochs} />;
  return (
    <Table
      testId="last-epochs"
      rows={epochs.slice(0, SHOWN)}
      idOf={({ epoch }) => epoch}
      columns={[
        {
          title: t.explorer.epoch,
          of: ({ epoch }) => <a href={`#/explorer/epoch/${epoch}`}>{count(epoch, language)}</a>,
        },
        { title: t.market.time, of: ({ start }) => clock(start, language) },
        {
          title: t.units.perKwh,
          as: "figure",
          of: ({ price2 }) =>
            price2 ? price(price2, deployment.tickWei, language) : <span className="quiet">{t.market.noTrade}</span>,
        },
        {
          title: `${t.market.traded}, kWh`,
          as: "figure",
          of: ({ price2, volumeWh }) => (price2 ? kwh(volumeWh, language) : ""),
        },
      ]}
    />
  );
}
