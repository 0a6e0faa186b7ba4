/** One's open orders, each of which can be taken back, and what became of the last ones. */

import { Badge, Button } from "@mantine/core";
import { useState } from "react";
import { openAmong, type OpenOrder, orderPlace } from "../chain";
import { useAccount, useHolding, usePastOrders } from "../data";
import { followErrand, handCancel, signCancel } from "../flows/errands";
import { cancelOrder } from "../flows/placeOrder";
import { useWords } from "../i18n";
import { startOf, useEpoch, useMarket } from "../market";
import { clock, kwh, kwhOfUwh, moment, price } from "../units";
import { Card, Loaded } from "./bits";
import { stepsOf, useRelay } from "./relayed";
import { type Intent, Steps } from "./Steps";
import { orderSays } from "./Underway";

export function OpenOrders() {
  const { t, language } = useWords();
  const market = useMarket();
  const account = useAccount();
  const holding = useHolding(account);
  const past = usePastOrders(account);
  const relay = useRelay();
  const epoch = useEpoch();
  const [intent, setIntent] = useState<Intent | null>(null);
  if (!account || epoch === null) return null;
  const { tickWei } = market.deployment;
  const say = (order: OpenOrder) => orderSays(order, tickWei, t, language);
  const until = (order: OpenOrder) => moment(startOf(order.untilEpoch + 1, market.deployment), language);
  const cancel = (order: OpenOrder) => {
    const title = say(order);
    setIntent({
      title: t.orders.cancelConfirm,
      done: t.orders.cancelled,
      steps: stepsOf(relay, t, {
        title,
        details: [t.orders.cancelHow],
        shows: { action: order.side, energyWh: order.quantityWh, limitTicksPerKWh: order.tick },
        sign: () => signCancel(market, order),
        hand: (signed) => handCancel(market, signed),
        follow: (errand) => followErrand(market, errand),
        onceOnly: true,
        direct: () => ({
          title,
          details: [t.orders.cancelHow],
          fee: true,
          act: async () => {
            await cancelOrder(market, order.id);
            return undefined;
          },
        }),
      }),
    });
  };
  const ended = past.data?.filter(({ status }) => status !== "open") ?? [];
  return (
    <Card title={t.orders.title}>
      <Loaded query={holding}>
        {({ orders: all }) => {
          const orders = openAmong(all, epoch);
          return orders.length === 0 ? (
            <p className="quiet">{t.orders.none}</p>
          ) : (
            <ul style={{ listStyle: "none", margin: 0, padding: 0 }} data-testid="open-orders">
              {orders.map((order) => (
                <li
                  key={order.id.toString()}
                  style={{
                    display: "flex",
                    gap: "0.5rem",
                    alignItems: "center",
                    padding: "0.3rem 0",
                  }}
                >
                  <SideBadge side={order.side} />
                  <span style={{ flex: 1 }}>
                    {kwh(order.quantityWh, language)} kWh · {price(2 * order.tick, tickWei, language)}
                    {order.untilEpoch > orderPlace(order.id).epoch && (
                      <span className="quiet" style={{ display: "block" }}>
                        {(epoch === orderPlace(order.id).epoch ? t.orders.stands : t.orders.rests)(until(order))}
                      </span>
                    )}
                  </span>
                  <Button
                    size="compact-xs"
                    variant="default"
                    onClick={() => cancel(order)}
                    aria-label={t.orders.cancelSay(say(order))}
                  >
                    {t.orders.cancel}
                  </Button>
                </li>
              ))}
            </ul>
          );
        }}
      </Loaded>
      {ended.length > 0 && (
        <>
          <h3 className="label" style={{ margin: "1rem 0 0.25rem", fontWeight: 500 }}>
            {t.orders.past}
          </h3>
          <ul style={{ listStyle: "none", margin: 0, padding: 0 }} data-testid="past-orders">
            {ended.slice(0, 5).map((order) => (
              <li
                key={order.order_id}
                style={{
                  display: "flex",
                  gap: "0.5rem",
                  alignItems: "center",
                  padding: "0.2rem 0",
                  fontSize: "0.9rem",
                }}
              >
                <span className="quiet">{clock(startOf(order.epoch, market.deployment), language)}</span>
                <SideBadge side={order.side} />
                <span style={{ flex: 1 }}>
                  {order.price2
                    ? `${kwhOfUwh(BigInt(order.energy_uwh), language)} kWh · ${price(order.price2, tickWei, language)}`
                    : `${kwh(order.quantity_wh, language)} kWh`}
                </span>
                <span className="quiet">{t.orders.status[order.status]}</span>
              </li>
            ))}
          </ul>
        </>
      )}
      <Steps intent={intent} close={() => setIntent(null)} />
    </Card>
  );
}

export function SideBadge({ side }: { side: "buy" | "sell" }) {
  const { t } = useWords();
  return (
    <Badge
      variant="outline"
      size="sm"
      radius="sm"
      style={{
        color: `var(--${side === "buy" ? "demand" : "supply"})`,
        borderColor: "currentColor",
        flex: "none",
      }}
    >
      {t.ticket[side]}
    </Badge>
  );
}
