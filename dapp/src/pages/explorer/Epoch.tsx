/** An epoch: its result, its curves and its trades. */

import { Button, Group } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { orNull, type Shapes, told } from "../../api";
import type { Volume } from "../../clearing";
import { Card, Empty, Figure, Loaded } from "../../components/bits";
import { DepthChart } from "../../components/DepthChart";
import { useWords } from "../../i18n";
import { useEpoch, useMarket } from "../../market";
import { clock, count, day, kwh, price } from "../../units";
import { TxLink } from "../../components/links";
import { Sought, useApi } from "./parts";
import { TradeTable } from "./Trades";

const MOST_TRADES = 500;
const DAY_S = 86_400;

/** A cumulative curve as volumes by tick. */
function volumesOf(steps: Shapes["CurveStep"][]): Volume[] {
  return steps.map(({ tick, cumulative_wh }, i) => ({
    tick,
    energy_wh: cumulative_wh - (steps[i - 1]?.cumulative_wh ?? 0),
  }));
}

export function Epoch({ number }: { number: number }) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const api = useApi();
  const open = useEpoch();
  const params = { path: { n: number }, query: { zone: deployment.zone } };
  const detail = useQuery({
    queryKey: ["epoch", number, open],
    placeholderData: keepPreviousData,
    enabled: open !== null,
    // What the API knows of an epoch to come is its time.
    queryFn: async () => (number > (open ?? 0) ? null : orNull(told(api.GET("/api/v1/energy/epochs/{n}", { params })))),
  });
  const trades = useQuery({
    queryKey: ["trades", number, open],
    placeholderData: keepPreviousData,
    queryFn: async () => {
      const query = { zone: deployment.zone, epoch: number, limit: MOST_TRADES };
      return (await told(api.GET("/api/v1/energy/trades", { params: { query } }))).items;
    },
  });
  const aDay = DAY_S / deployment.epochSeconds;
  const curves = useMemo(
    () => ({ bids: volumesOf(detail.data?.demand ?? []), asks: volumesOf(detail.data?.supply ?? []) }),
    [detail.data],
  );
  return (
    <Sought query={detail} what={`${t.explorer.epoch} ${count(number, language)}`}>
      {(epoch) => (
        <div className="stack">
          <Card
            title={`${t.market.epoch(count(number, language))} · ${day(epoch.start, language)} ${clock(epoch.start, language)}–${clock(epoch.end, language)}`}
            how={t.explorer.status[epoch.status]}
            right={
              <Group gap="xs">
                {([-aDay, -1, 1, aDay] as const).map((step) => (
                  <Step key={step} to={number + step} open={open} step={step} aDay={aDay} />
                ))}
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
                , <TxLink hash={epoch.clear_tx} />
              </p>
            )}
          </Card>
          <Card title={t.explorer.trades}>
            <Loaded query={trades}>
              {(items) => (items.length ? <TradeTable trades={items} /> : <Empty title={t.explorer.noTrades} />)}
            </Loaded>
          </Card>
        </div>
      )}
    </Sought>
  );
}

/** A way to another epoch; none to one that is still to come. */
function Step({ to, open, step, aDay }: { to: number; open: number | null; step: number; aDay: number }) {
  const { t } = useWords();
  const [sign, say] =
    step === -aDay
      ? ["«", t.explorer.dayBefore]
      : step === -1
        ? ["‹", t.explorer.epochBefore]
        : step === 1
          ? ["›", t.explorer.epochAfter]
          : ["»", t.explorer.dayAfter];
  const there = to >= 0 && to <= (open ?? 0);
  const look = { size: "xs", variant: "default", "aria-label": say, title: say } as const;
  return there ? (
    <Button component={Link} href={`/explorer/epoch/${to}`} {...look}>
      {sign}
    </Button>
  ) : (
    <Button disabled {...look}>
      {sign}
    </Button>
  );
}
