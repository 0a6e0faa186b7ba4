/** Prices over time between retail and buyback, with the volume traded beneath. */

import { useMemo } from "react";
import type { AlignedData } from "uplot";
import { useWords } from "../i18n";
import { clock } from "../units";
import { axis, bars, type Build, Chart, Legend, levels, span } from "./Chart";

/** A point in time: prices in baht per kWh, null where there is none, and volume in kWh. */
export type Point = { start: number; price: number | null; retail: number | null; buyback: number | null; kwh: number };

/** The bars take so much less of the height than there is, to stay beneath the prices. */
const BENEATH = 3.5;

export function PriceChart({ points, spanS, label }: { points: Point[]; spanS: number; label: string }) {
  const { t, language } = useWords();
  const data: AlignedData = useMemo(
    () => [
      points.map((point) => point.start),
      points.map((point) => point.kwh),
      points.map((point) => point.retail),
      points.map((point) => point.buyback),
      points.map((point) => point.price),
    ],
    [points],
  );
  const build: Build = useMemo(
    () => (paint) => {
      const paths = levels(spanS);
      const dashed = { width: 1.5, dash: [5, 4], points: { show: false }, paths };
      return {
        scales: {
          x: { range: span(spanS) },
          y: { range: (_, low, high) => [Math.max(0, (low || 0) - 0.5), (high || 1) + 0.25] },
          volume: { range: (_, __, high) => [0, (high || 1) * BENEATH] },
        },
        axes: [
          axis(paint, {
            size: 30,
            space: 64,
            values: (_, splits) => splits.map((at) => clock(at, language)),
          }),
          axis(paint, { label: t.units.perKwh, labelSize: 18, size: 46 }),
          axis(paint, {
            scale: "volume",
            // eslint-disable-next-line @typescript-eslint/no-unsafe-enum-assignment -- the enum has no values at run time
            side: 1,
            label: t.units.kwh,
            labelSize: 18,
            size: 40,
            grid: { show: false },
            // Only as high as there are bars.
            values: (chart, splits) =>
              splits.map((value) => (value * BENEATH <= (chart.scales["volume"]?.max ?? 0) * 1.2 ? String(value) : "")),
            space: 18,
          }),
        ],
        series: [
          {},
          {
            scale: "volume",
            fill: `color-mix(in srgb, ${paint("quiet")} 30%, transparent)`,
            width: 0,
            points: { show: false },
            paths: bars(),
          },
          { stroke: paint("retail"), ...dashed },
          { stroke: paint("buyback"), ...dashed },
          { stroke: paint("ink"), width: 2, paths, points: { show: false } },
        ],
      };
    },
    [language, spanS, t],
  );
  const known = points.some((point) => point.retail !== null);
  return (
    <>
      <Chart label={label} data={data} build={build} />
      <Legend
        items={[
          { color: "ink", text: t.market.price },
          ...(known
            ? [
                { color: "retail", text: t.market.retail },
                { color: "buyback", text: t.market.buyback },
              ]
            : []),
          { color: "rule", text: `${t.market.traded} (${t.units.kwh})` },
        ]}
      />
    </>
  );
}
