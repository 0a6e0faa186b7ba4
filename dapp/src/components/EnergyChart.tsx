/** Energy fed in above the line and used below it, by interval. */

import { useMemo } from "react";
import type { AlignedData } from "uplot";
import { useWords } from "../i18n";
import { clock } from "../units";
import { axis, bars, type Build, Chart, Legend, span } from "./Chart";

/** A stretch of time: energies in kWh. */
export type Stretch = { start: number; fedIn: number; used: number; covered?: number };

export function EnergyChart({ stretches, spanS, label }: { stretches: Stretch[]; spanS: number; label: string }) {
  const { t, language } = useWords();
  const covers = stretches.some(({ covered }) => covered !== undefined);
  const data: AlignedData = useMemo(
    () => [
      stretches.map(({ start }) => start),
      stretches.map(({ fedIn }) => fedIn),
      stretches.map(({ used }) => -used),
      stretches.map(({ covered }) => -(covered ?? 0)),
    ],
    [stretches],
  );
  const build: Build = useMemo(
    () => (paint) => ({
      scales: {
        x: { range: span(spanS) },
        y: { range: (_, low, high) => [Math.min(low, -0.1) * 1.1, Math.max(high, 0.1) * 1.1] },
      },
      axes: [
        axis(paint, { size: 30, space: 64, values: (_, splits) => splits.map((at) => clock(at, language)) }),
        axis(paint, {
          label: t.units.kwh,
          labelSize: 18,
          size: 46,
          values: (_, splits) => splits.map((value) => String(Math.abs(value))),
        }),
      ],
      series: [
        {},
        { fill: paint("buyback"), width: 0, points: { show: false }, paths: bars() },
        { fill: paint("used"), width: 0, points: { show: false }, paths: bars() },
        { fill: paint("demand"), width: 0, points: { show: false }, paths: bars() },
      ],
    }),
    [language, spanS, t],
  );
  return (
    <>
      <Chart label={label} data={data} build={build} />
      <Legend
        items={[
          { color: "buyback", text: t.community.fedIn },
          { color: "used", text: t.community.used },
          ...(covers ? [{ color: "demand", text: t.community.covered }] : []),
        ]}
      />
    </>
  );
}
