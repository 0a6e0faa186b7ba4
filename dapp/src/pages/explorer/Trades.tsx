/** Trades, each of which leads back to what a meter signed. */

import { Button, Modal } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { pages, type Shapes, told } from "../../api";
import { Loaded } from "../../components/bits";
import { SideBadge } from "../../components/OpenOrders";
import { Table } from "../../components/Table";
import { useWords } from "../../i18n";
import { useMarket } from "../../market";
import { baht, clock, count, kwh, kwhOfUwh, price } from "../../units";
import { AccountLink, TxLink } from "../../components/links";
import { placeOf } from "../../places";
import { useApi } from "./parts";

type Trade = Shapes["TradeShape"];

/** Which columns say something depends on where the trades are of. */
export function TradeTable(props: { trades: Trade[]; epochs?: boolean; accounts?: boolean }) {
  const { trades, epochs = false, accounts = true } = props;
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const [traced, setTraced] = useState<Trade | null>(null);
  return (
    <>
      <Table
        rows={trades}
        idOf={({ order_id }) => order_id}
        columns={[
          epochs && {
            title: t.explorer.epoch,
            of: ({ epoch }) => <Link href={`/explorer/epoch/${epoch}`}>{count(epoch, language)}</Link>,
          },
          accounts && { title: t.explorer.account, of: ({ account }) => <AccountLink account={account} /> },
          { title: t.orders.side, of: ({ side }) => <SideBadge side={side} /> },
          { title: "kWh", as: "figure", of: ({ energy_uwh }) => kwhOfUwh(BigInt(energy_uwh), language) },
          { title: t.units.perKwh, as: "figure", of: ({ price2 }) => price(price2, deployment.tickWei, language) },
          { title: t.units.thb, as: "figure", of: ({ money_wei }) => baht(BigInt(money_wei), language) },
          {
            title: t.explorer.origin,
            of: (trade) => (
              <Button size="compact-xs" variant="default" onClick={() => setTraced(trade)}>
                {t.explorer.trace}
              </Button>
            ),
          },
        ]}
      />
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
  const { deployment } = useMarket();
  const api = useApi();
  const start = deployment.genesis + trade.epoch * deployment.epochSeconds;
  const found = useQuery({
    queryKey: ["trace", trade.order_id],
    queryFn: async () => {
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
                <TxLink hash={reading.tx_hash} />
              </p>
            ))}
          </li>
          <li>
            <b>
              <Link href={placeOf({ kind: "order", id: trade.order_id })}>{t.explorer.traceOrder}</Link>
            </b>
            <p style={{ margin: 0 }}>
              {t.explorer.traceOrderHow(
                t.ticket[trade.side],
                kwh(trade.quantity_wh, language),
                price(2 * trade.limit_tick, deployment.tickWei, language),
              )}{" "}
              <TxLink hash={trade.order_tx} />
            </p>
          </li>
          <li>
            <b>{t.explorer.traceClear}</b>
            <p style={{ margin: 0 }}>
              {t.explorer.traceClearHow(
                price(trade.price2, deployment.tickWei, language),
                kwh(epoch.result.volume_wh, language),
              )}{" "}
              <TxLink hash={trade.clear_tx} />
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
