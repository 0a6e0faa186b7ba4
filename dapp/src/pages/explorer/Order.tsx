/** An order: what it wanted, where it stands, and what it traded. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { orNull, told } from "../../api";
import { Card, Figure } from "../../components/bits";
import { AccountLink, TxLink } from "../../components/links";
import { useWords } from "../../i18n";
import { startOf, useEpoch, useMarket } from "../../market";
import { count, kwh, moment, price } from "../../units";
import { Sought, useApi } from "./parts";
import { TradeTable } from "./Trades";

/** More than an account may enter in an epoch. */
const MOST_TRADES = 500;

export function Order({ id }: { id: string }) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const api = useApi();
  const epoch = useEpoch();
  const found = useQuery({
    queryKey: ["order", id, epoch],
    queryFn: async () => {
      const order = await orNull(told(api.GET("/api/v1/energy/orders/{id}", { params: { path: { id } } })));
      if (order === null) return null;
      const query = { account: order.account, epoch: order.epoch, limit: MOST_TRADES };
      const { items } = await told(api.GET("/api/v1/energy/trades", { params: { query } }));
      return { order, trades: items.filter(({ order_id }) => order_id === order.order_id) };
    },
  });
  return (
    <Sought query={found} what={id}>
      {({ order, trades }) => (
        <div className="stack">
          <Card title={t.explorer.order} how={t.orders.status[order.status]}>
            <p className="mono" style={{ marginTop: 0, overflowWrap: "anywhere" }}>
              {order.order_id}
            </p>
            <div className="figures">
              <Figure name={t.ticket[order.side]} value={kwh(order.quantity_wh, language)} unit="kWh" />
              <Figure
                name={order.side === "buy" ? t.ticket.limitBuy : t.ticket.limitSell}
                value={price(2 * order.tick, deployment.tickWei, language)}
                unit={t.units.perKwh}
              />
              <Figure name={t.explorer.until} value={moment(startOf(order.until_epoch + 1, deployment), language)} />
            </div>
            <p style={{ marginBottom: 0 }}>
              {t.explorer.account} <AccountLink account={order.account} />
              {" · "}
              <Link href={`/explorer/epoch/${order.epoch}`}>{t.market.epoch(count(order.epoch, language))}</Link>
              {" · "}
              {t.explorer.traceOrder} <TxLink hash={order.tx_hash} />
              {order.cancel_tx !== null && (
                <>
                  {" · "}
                  {t.orders.status.cancelled} <TxLink hash={order.cancel_tx} />
                </>
              )}
              {order.clear_tx !== null && (
                <>
                  {" · "}
                  {t.explorer.traceClear} <TxLink hash={order.clear_tx} />
                </>
              )}
            </p>
          </Card>
          {trades.length > 0 && (
            <Card title={t.explorer.trades}>
              <TradeTable trades={trades} accounts={false} />
            </Card>
          )}
        </div>
      )}
    </Sought>
  );
}
