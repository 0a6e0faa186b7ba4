/** Everything that happened: epochs with their curves and trades, blocks with their events, a trade to its readings. */

import { Button, Group, Modal, Tabs, TextInput } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type SyntheticEvent, useMemo, useState } from "react";
import { Link, useLocation, useParams } from "wouter";
import { type Shapes, pages, told } from "../api";
import { Card, Empty, Figure, Hex, Loaded, Scroll } from "../components/bits";
import { DepthChart } from "../components/DepthChart";
import { SideBadge } from "../components/OpenOrders";
import type { Volume } from "../clearing";
import { useWords } from "../i18n";
import { useEpoch, useMarket, useNews } from "../market";
import { baht, clock, count, day, kwh, kwhOfUwh, price } from "../units";

type Trade = Shapes["TradeShape"];

const ROWS = 25;
const MOST_TRADES = 500;

export default function Explorer() {
  const { t } = useWords();
  const { api } = useMarket();
  const { what, which } = useParams();
  if (!api)
    return (
      <Card label={t.app.explorer}>
        <Empty title={t.app.needsApi} />
      </Card>
    );
  const number = which && /^\d{1,9}$/.test(which) ? Number(which) : null;
  return (
    <>
      <h1 style={{ position: "absolute", left: "-100vw" }}>{t.app.explorer}</h1>
      {what === "epoch" && number !== null ? (
        <Epoch number={number} />
      ) : what === "block" && number !== null ? (
        <Block number={number} />
      ) : what === "tx" && which ? (
        <Transaction hash={which} />
      ) : (
        <Lists />
      )}
    </>
  );
}

function Back() {
  const { t } = useWords();
  return (
    <p style={{ margin: "0 0 0.75rem" }}>
      <Link href="/explorer">← {t.app.explorer}</Link>
    </p>
  );
}

function Lists() {
  const { t } = useWords();
  const [, go] = useLocation();
  const [text, setText] = useState("");
  const find = (event: SyntheticEvent) => {
    event.preventDefault();
    if (/^\d{1,9}$/.test(text.trim())) go(`/explorer/epoch/${text.trim()}`);
  };
  return (
    <Card title={t.app.explorer} right={<Find text={text} setText={setText} find={find} />}>
      <Tabs defaultValue="epochs" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="epochs">{t.explorer.epochs}</Tabs.Tab>
          <Tabs.Tab value="trades">{t.explorer.trades}</Tabs.Tab>
          <Tabs.Tab value="blocks">{t.explorer.blocks}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="epochs" pt="sm">
          <Epochs />
        </Tabs.Panel>
        <Tabs.Panel value="trades" pt="sm">
          <Trades />
        </Tabs.Panel>
        <Tabs.Panel value="blocks" pt="sm">
          <Blocks />
        </Tabs.Panel>
      </Tabs>
    </Card>
  );
}

function Find(props: { text: string; setText: (text: string) => void; find: (event: SyntheticEvent) => void }) {
  const { t } = useWords();
  return (
    <form onSubmit={props.find}>
      <Group gap="xs" wrap="nowrap">
        <TextInput
          size="xs"
          inputMode="numeric"
          aria-label={t.explorer.find}
          placeholder={t.explorer.find}
          value={props.text}
          onChange={(event) => props.setText(event.currentTarget.value)}
        />
        <Button size="xs" type="submit" variant="default">
          {t.explorer.go}
        </Button>
      </Group>
    </form>
  );
}

/** A list that can be made longer. The newest page follows the market; asked for more, it grows. */
function useList<T>(
  name: string,
  version: number | null,
  read: (limit: number, cursor: string | null) => Promise<{ items: T[]; next_cursor?: string | null }>,
) {
  const [most, setMost] = useState(ROWS);
  const query = useQuery({
    queryKey: ["list", name, version, most],
    placeholderData: keepPreviousData,
    queryFn: () => pages((cursor) => read(Math.min(most, MOST_TRADES), cursor), most),
  });
  const more = query.data && query.data.length >= most ? () => setMost(most + ROWS * 2) : null;
  return { query, more };
}

function More({ more }: { more: (() => void) | null }) {
  const { t } = useWords();
  if (!more) return null;
  return (
    <Button variant="default" size="xs" mt="sm" onClick={more}>
      {t.app.more}
    </Button>
  );
}

function Epochs() {
  const { t, language } = useWords();
  const { api, deployment } = useMarket();
  const epoch = useEpoch();
  const { query, more } = useList("epochs", epoch, async (limit, cursor) => {
    if (!api) throw new Error("no API");
    return told(api.GET("/api/v1/energy/epochs", { params: { query: { zone: deployment.zone, limit, cursor } } }));
  });
  return (
    <Loaded query={query} height={400}>
      {(epochs) =>
        epochs.length ? (
          <>
            <Scroll>
              <table className="rows">
                <thead>
                  <tr>
                    <th scope="col">{t.explorer.epoch}</th>
                    <th scope="col">{t.explorer.time}</th>
                    <th scope="col" className="n">
                      {t.units.perKwh}
                    </th>
                    <th scope="col" className="n">
                      kWh
                    </th>
                    <th scope="col">{t.explorer.block}</th>
                  </tr>
                </thead>
                <tbody>
                  {epochs.map(({ epoch: number, start, result, cleared_block }) => (
                    <tr key={number}>
                      <td>
                        <Link href={`/explorer/epoch/${number}`}>{count(number, language)}</Link>
                      </td>
                      <td className="when">
                        {day(start, language)} {clock(start, language)}
                      </td>
                      <td className="n">
                        {result.price2 ? price(result.price2, deployment.tickWei, language) : t.market.noTrade}
                      </td>
                      <td className="n">{result.price2 ? kwh(result.volume_wh, language) : ""}</td>
                      <td>
                        <Link href={`/explorer/block/${cleared_block}`}>{count(cleared_block, language)}</Link>
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </Scroll>
            <More more={more} />
          </>
        ) : (
          <Empty title={t.market.noEpochs} />
        )
      }
    </Loaded>
  );
}

function Trades() {
  const { t } = useWords();
  const { api, deployment } = useMarket();
  const epoch = useEpoch();
  const { query, more } = useList("trades", epoch, async (limit, cursor) => {
    if (!api) throw new Error("no API");
    return told(api.GET("/api/v1/energy/trades", { params: { query: { zone: deployment.zone, limit, cursor } } }));
  });
  return (
    <Loaded query={query} height={400}>
      {(trades) =>
        trades.length ? (
          <>
            <TradeTable trades={trades} epochs />
            <More more={more} />
          </>
        ) : (
          <Empty title={t.explorer.noTrades} />
        )
      }
    </Loaded>
  );
}

function Blocks() {
  const { t, language } = useWords();
  const { api } = useMarket();
  const news = useNews();
  // Blocks come by the second: the list follows every fifth.
  const { query, more } = useList("blocks", Math.floor((news?.number ?? 0) / 5), async (limit, cursor) => {
    if (!api) throw new Error("no API");
    return told(api.GET("/api/v1/blocks", { params: { query: { limit, cursor } } }));
  });
  return (
    <Loaded query={query} height={400}>
      {(blocks) => (
        <>
          <Scroll>
            <table className="rows">
              <thead>
                <tr>
                  <th scope="col">{t.explorer.block}</th>
                  <th scope="col">{t.explorer.time}</th>
                  <th scope="col" className="n">
                    {t.explorer.transactions}
                  </th>
                  <th scope="col" className="n">
                    {t.explorer.events}
                  </th>
                  <th scope="col" className="n">
                    {t.explorer.gas}
                  </th>
                  <th scope="col">{t.explorer.hash}</th>
                </tr>
              </thead>
              <tbody>
                {blocks.map((block) => (
                  <tr key={block.number}>
                    <td>
                      <Link href={`/explorer/block/${block.number}`}>{count(block.number, language)}</Link>
                    </td>
                    <td>{clock(block.timestamp, language)}</td>
                    <td className="n">{count(block.transactions, language)}</td>
                    <td className="n">{count(block.events, language)}</td>
                    <td className="n">{count(block.gas_used, language)}</td>
                    <td>
                      <Hex value={block.hash} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Scroll>
          <More more={more} />
        </>
      )}
    </Loaded>
  );
}

/** A cumulative curve as volumes by tick. */
function volumesOf(steps: Shapes["CurveStep"][]): Volume[] {
  return steps.map(({ tick, cumulative_wh }, i) => ({
    tick,
    energy_wh: cumulative_wh - (steps[i - 1]?.cumulative_wh ?? 0),
  }));
}

function Epoch({ number }: { number: number }) {
  const { t, language } = useWords();
  const { api, deployment } = useMarket();
  const news = useEpoch();
  const params = { path: { n: number }, query: { zone: deployment.zone } };
  const detail = useQuery({
    queryKey: ["epoch", number, news],
    placeholderData: keepPreviousData,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      return told(api.GET("/api/v1/energy/epochs/{n}", { params }));
    },
  });
  const trades = useQuery({
    queryKey: ["trades", number, news],
    placeholderData: keepPreviousData,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      const query = { zone: deployment.zone, epoch: number, limit: MOST_TRADES };
      return (await told(api.GET("/api/v1/energy/trades", { params: { query } }))).items;
    },
  });
  const curves = useMemo(
    () => ({ bids: volumesOf(detail.data?.demand ?? []), asks: volumesOf(detail.data?.supply ?? []) }),
    [detail.data],
  );
  return (
    <div className="stack">
      <div>
        <Back />
        <Loaded query={detail} height={300}>
          {(epoch) => (
            <Card
              title={`${t.market.epoch(count(number, language))} · ${day(epoch.start, language)} ${clock(epoch.start, language)}–${clock(epoch.end, language)}`}
              how={t.explorer.status[epoch.status]}
              right={
                <Group gap="xs">
                  <Button
                    component={Link}
                    href={`/explorer/epoch/${Math.max(0, number - 1)}`}
                    size="xs"
                    variant="default"
                    aria-label={`${t.explorer.epoch} ${number - 1}`}
                  >
                    ←
                  </Button>
                  <Button
                    component={Link}
                    href={`/explorer/epoch/${number + 1}`}
                    size="xs"
                    variant="default"
                    aria-label={`${t.explorer.epoch} ${number + 1}`}
                  >
                    →
                  </Button>
                </Group>
              }
            >
              <div className="figures" style={{ marginBottom: "1rem" }}>
                <Figure
                  name={t.explorer.price}
                  value={
                    epoch.result.price2 ? price(epoch.result.price2, deployment.tickWei, language) : t.market.noTrade
                  }
                  unit={epoch.result.price2 ? t.units.perKwh : ""}
                />
                <Figure name={t.explorer.volume} value={kwh(epoch.result.volume_wh, language)} unit="kWh" />
                <Figure name={t.explorer.orders} value={count(epoch.orders, language)} />
                {epoch.result.price2 > 0 && (
                  <Figure
                    name={t.explorer.longSide[epoch.result.long_side]}
                    value={epoch.result.long_side === "neither" ? "✓" : kwh(epoch.result.filled_wh, language)}
                    {...(epoch.result.long_side !== "neither" && {
                      unit: t.explorer.rationed(kwh(epoch.result.offered_wh, language)),
                    })}
                  />
                )}
              </div>
              {curves.bids.length + curves.asks.length > 0 ? (
                <DepthChart
                  {...curves}
                  price2={epoch.result.price2}
                  volumeWh={epoch.result.volume_wh}
                  ended={epoch.status === "cleared"}
                />
              ) : (
                <Empty title={t.explorer.status.empty} />
              )}
              {epoch.clear_tx && epoch.cleared_block !== null && (
                <p className="quiet">
                  {t.explorer.clearedIn}{" "}
                  <Link href={`/explorer/block/${epoch.cleared_block}`}>
                    {t.live.block(count(epoch.cleared_block, language))}
                  </Link>
                  , <Hex value={epoch.clear_tx} href={`#/explorer/tx/${epoch.clear_tx}`} />
                </p>
              )}
            </Card>
          )}
        </Loaded>
      </div>
      <Card title={t.explorer.trades}>
        <Loaded query={trades}>
          {(items) => (items.length ? <TradeTable trades={items} /> : <Empty title={t.explorer.noTrades} />)}
        </Loaded>
      </Card>
    </div>
  );
}

function TradeTable({ trades, epochs = false }: { trades: Trade[]; epochs?: boolean }) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const [traced, setTraced] = useState<Trade | null>(null);
  return (
    <>
      <Scroll>
        <table className="rows">
          <thead>
            <tr>
              {epochs && <th scope="col">{t.explorer.epoch}</th>}
              <th scope="col">{t.explorer.account}</th>
              <th scope="col">{t.orders.side}</th>
              <th scope="col" className="n">
                kWh
              </th>
              <th scope="col" className="n">
                {t.units.perKwh}
              </th>
              <th scope="col" className="n">
                {t.units.thb}
              </th>
              <th scope="col">
                <span className="quiet">{t.explorer.trace}</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {trades.map((trade) => (
              <tr key={trade.order_id}>
                {epochs && (
                  <td>
                    <Link href={`/explorer/epoch/${trade.epoch}`}>{count(trade.epoch, language)}</Link>
                  </td>
                )}
                <td>
                  <Hex value={trade.account} />
                </td>
                <td>
                  <SideBadge side={trade.side} />
                </td>
                <td className="n">{kwhOfUwh(BigInt(trade.energy_uwh), language)}</td>
                <td className="n">{price(trade.price2, deployment.tickWei, language)}</td>
                <td className="n">{baht(BigInt(trade.money_wei), language)}</td>
                <td>
                  <Button size="compact-xs" variant="default" onClick={() => setTraced(trade)}>
                    {t.explorer.trace}
                  </Button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Scroll>
      <Modal
        opened={traced !== null}
        onClose={() => setTraced(null)}
        title={t.explorer.traceTitle}
        size="lg"
        closeButtonProps={{ "aria-label": t.app.close }}
      >
        {traced && <Trace trade={traced} />}
      </Modal>
    </>
  );
}

/** A trade back through clearing and order to what the account's meters signed for the quarter hour before. */
function Trace({ trade }: { trade: Trade }) {
  const { t, language } = useWords();
  const { api, deployment } = useMarket();
  const start = deployment.genesis + trade.epoch * deployment.epochSeconds;
  const found = useQuery({
    queryKey: ["trace", trade.order_id],
    queryFn: async () => {
      if (!api) throw new Error("no API");
      const meters = (await told(api.GET("/api/v1/meters", { params: { query: { account: trade.account } } }))).items;
      const read = await Promise.all(
        meters.map(async ({ meter_id }) =>
          pages(
            async (cursor) =>
              told(
                api.GET("/api/v1/meters/{meter_id}/readings", {
                  params: { path: { meter_id }, query: { limit: 500, cursor } },
                }),
              ),
            5_000,
          ),
        ),
      );
      const epoch = await told(
        api.GET("/api/v1/energy/epochs/{n}", {
          params: { path: { n: trade.epoch }, query: { zone: deployment.zone } },
        }),
      );
      const readings = read.flat().filter(({ interval_end, kind }) => interval_end === start && kind === "reading");
      return { readings, epoch };
    },
  });
  return (
    <Loaded query={found} height={240}>
      {({ readings, epoch }) => (
        <ol className="trace" data-testid="trace">
          <li>
            <b>{t.explorer.traceMeter}</b>
            {readings.length === 0 && <p className="quiet">{t.explorer.traceNone}</p>}
            {readings.map((reading) => (
              <p key={reading.meter_id} style={{ margin: 0 }}>
                {(trade.side === "sell" ? t.explorer.traceMeterHow : t.explorer.traceImport)(
                  reading.meter_id,
                  kwh(trade.side === "sell" ? reading.export_wh : reading.import_wh, language),
                  clock(reading.interval_end, language),
                )}{" "}
                <Hex value={reading.tx_hash} href={`#/explorer/tx/${reading.tx_hash}`} />
              </p>
            ))}
          </li>
          <li>
            <b>{t.explorer.traceOrder}</b>
            <p style={{ margin: 0 }}>
              {t.explorer.traceOrderHow(
                t.ticket[trade.side],
                kwh(trade.quantity_wh, language),
                price(2 * trade.limit_tick, deployment.tickWei, language),
              )}{" "}
              <Hex value={trade.order_tx} href={`#/explorer/tx/${trade.order_tx}`} />
            </p>
          </li>
          <li>
            <b>{t.explorer.traceClear}</b>
            <p style={{ margin: 0 }}>
              {t.explorer.traceClearHow(
                price(trade.price2, deployment.tickWei, language),
                kwh(epoch.result.volume_wh, language),
              )}{" "}
              <Hex value={trade.clear_tx} href={`#/explorer/tx/${trade.clear_tx}`} />
            </p>
          </li>
          <li>
            <b>{t.explorer.traceFill}</b>
            <p style={{ margin: 0 }}>
              {t.explorer.traceFillHow(
                kwhOfUwh(BigInt(trade.energy_uwh), language),
                baht(BigInt(trade.money_wei), language),
              )}
            </p>
          </li>
        </ol>
      )}
    </Loaded>
  );
}

function Block({ number }: { number: number }) {
  const { t, language } = useWords();
  const { api } = useMarket();
  const params = { path: { height: number } };
  const block = useQuery({
    queryKey: ["block", number],
    queryFn: async () => {
      if (!api) throw new Error("no API");
      const [head, events] = await Promise.all([
        told(api.GET("/api/v1/blocks/{height}", { params })),
        told(api.GET("/api/v1/blocks/{height}/events", { params })),
      ]);
      return { head, events };
    },
  });
  return (
    <>
      <Back />
      <Loaded query={block} height={300}>
        {({ head, events }) => (
          <div className="stack">
            <Card
              title={t.live.block(count(number, language))}
              how={`${day(head.timestamp, language)} ${clock(head.timestamp, language)}`}
            >
              <div className="figures">
                <Figure name={t.explorer.transactions} value={count(head.transactions, language)} />
                <Figure name={t.explorer.events} value={count(head.events, language)} />
                <Figure name={t.explorer.gas} value={count(head.gas_used, language)} />
              </div>
              <p className="mono">{head.hash}</p>
            </Card>
            <Card title={t.explorer.events}>
              <Events events={events} />
            </Card>
          </div>
        )}
      </Loaded>
    </>
  );
}

function Transaction({ hash }: { hash: string }) {
  const { t, language } = useWords();
  const { api } = useMarket();
  const found = useQuery({
    queryKey: ["transaction", hash],
    queryFn: async () => {
      if (!api) throw new Error("no API");
      return told(api.GET("/api/v1/transactions/{tx_hash}", { params: { path: { tx_hash: hash } } }));
    },
  });
  return (
    <>
      <Back />
      <Loaded query={found} height={300}>
        {({ block, events }) => (
          <Card title={t.explorer.transaction}>
            <p className="mono" style={{ marginTop: 0 }}>
              {hash}
            </p>
            {block !== null && (
              <p>
                <Link href={`/explorer/block/${block}`}>{t.live.block(count(block, language))}</Link>
              </p>
            )}
            <Events events={events} />
          </Card>
        )}
      </Loaded>
    </>
  );
}

function Events({ events }: { events: Shapes["EventShape"][] }) {
  const { t } = useWords();
  if (!events.length) return <Empty title={t.explorer.noEvents} />;
  return (
    <Scroll>
      <table className="rows">
        <tbody>
          {events.map((event) => (
            <tr key={event.log_index}>
              <th scope="row">
                {event.contract}.{event.name}
              </th>
              <td className="mono">{JSON.stringify(event.args)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
