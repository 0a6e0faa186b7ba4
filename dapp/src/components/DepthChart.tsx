/** Demand and supply of a book as steps over the price, and where they meet. */

import { useMemo } from "react";
import type { AlignedData } from "uplot";
import type { Volume } from "../clearing";
import { useWords } from "../i18n";
import { useMarket } from "../market";
import { kwh, price } from "../units";
import { axis, type Build, Chart, Legend, stepped } from "./Chart";

const MARGIN_TICKS = 8;

/** Volume that would be bought and sold at each tick: x in baht, y in kWh. */
export function depthOf(bids: readonly Volume[], asks: readonly Volume[], tickBaht: number): AlignedData {
  const ticks = [...bids, ...asks].map(({ tick }) => tick);
  if (!ticks.length) return [[], [], []];
  const [first, last] = [Math.max(1, Math.min(...ticks) - MARGIN_TICKS), Math.max(...ticks) + MARGIN_TICKS];
  const x = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const sum = (side: readonly Volume[], counts: (tick: number) => boolean) =>
    side.reduce((wh, volume) => wh + (counts(volume.tick) ? volume.energy_wh : 0), 0) / 1000;
  return [
    x.map((tick) => tick * tickBaht),
    x.map((tick) => sum(bids, (limit) => limit >= tick)),
    x.map((tick) => sum(asks, (limit) => limit <= tick)),
  ];
}

export function DepthChart(props: {
  bids: Volume[];
  asks: Volume[];
  price2: number;
  volumeWh: number;
  /** Whether the epoch has ended: its price is final then. */
  ended?: boolean;
}) {
  const { bids, asks, price2, volumeWh } = props;
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const tickBaht = Number(deployment.tickWei) / 1e18;
  const data = useMemo(() => depthOf(bids, asks, tickBaht), [bids, asks, tickBaht]);
  const at = (price2 / 2) * tickBaht;
  const build: Build = useMemo(
    () => (paint) => ({
      scales: { x: { time: false }, y: { range: (_, __, most) => [0, (most || 1) * 1.08] } },
      axes: [
        axis(paint, {
          label: t.units.perKwh,
          labelSize: 18,
          size: 36,
          values: (_, splits) => splits.map((value) => value.toFixed(2)),
        }),
        axis(paint, { label: t.units.kwh, labelSize: 18, size: 46 }),
      ],
      series: [
        {},
        {
          stroke: paint("demand"),
          fill: `color-mix(in srgb, ${paint("demand")} 14%, transparent)`,
          width: 2,
          points: { show: false },
          // A step ends where demand falls: at the limit itself it still stands.
          paths: stepped(-1),
        },
        {
          stroke: paint("supply"),
          fill: `color-mix(in srgb, ${paint("supply")} 14%, transparent)`,
          width: 2,
          points: { show: false },
          paths: stepped(1),
        },
      ],
      hooks: {
        draw: [
          (chart) => {
            if (!at) return;
            const { ctx, bbox } = chart;
            const x = Math.round(chart.valToPos(at, "x", true));
            ctx.save();
            ctx.strokeStyle = paint("ink");
            ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
            ctx.lineWidth = devicePixelRatio;
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
            ctx.restore();
          },
        ],
      },
    }),
    [at, t],
  );
  const priceName = props.ended ? t.market.price : t.market.indicative;
  const told = price2
    ? `${priceName} ${price(price2, deployment.tickWei, language)} ${t.units.perKwh}, ${t.market.volume(kwh(volumeWh, language))}`
    : t.market.noPrice;
  return (
    <>
      <Chart label={`${t.market.depth}. ${told}`} data={data} build={build} />
      <Legend
        items={[
          { color: "demand", text: t.market.demand },
          { color: "supply", text: t.market.supply },
          ...(price2 ? [{ color: "ink", text: priceName }] : []),
        ]}
      />
    </>
  );
}
