/** What a statement says of one day: sums and quarter hours. */

import type { Shapes } from "./api";

export type Quarter = { end: number; importWh: number; exportWh: number };

export type Day = {
  importWh: bigint;
  exportWh: bigint;
  boughtUwh: bigint;
  soldUwh: bigint;
  earnedWei: bigint;
  paidWei: bigint;
  quarters: Quarter[];
};

type Source = Pick<Shapes["Statement"], "trades" | "readings">;

/** One day of a statement, from its midnight on. What was traded in an epoch counts where the epoch starts. */
export function dayOf(statement: Source, midnight: number): Day {
  const end = midnight + 86_400;
  const day: Day = {
    importWh: 0n,
    exportWh: 0n,
    boughtUwh: 0n,
    soldUwh: 0n,
    earnedWei: 0n,
    paidWei: 0n,
    quarters: [],
  };
  const quarters = new Map<number, Quarter>();
  for (const reading of statement.readings) {
    if (reading.interval_end <= midnight || reading.interval_end > end) continue;
    day.importWh += BigInt(reading.import_wh);
    day.exportWh += BigInt(reading.export_wh);
    const quarter = quarters.get(reading.interval_end) ?? { end: reading.interval_end, importWh: 0, exportWh: 0 };
    quarter.importWh += reading.import_wh;
    quarter.exportWh += reading.export_wh;
    quarters.set(reading.interval_end, quarter);
  }
  for (const trade of statement.trades) {
    if (trade.start < midnight || trade.start >= end) continue;
    const [energyUwh, moneyWei] = [BigInt(trade.energy_uwh), BigInt(trade.money_wei)];
    if (trade.side === "buy") {
      day.boughtUwh += energyUwh;
      day.paidWei += moneyWei;
    } else {
      day.soldUwh += energyUwh;
      day.earnedWei += moneyWei;
    }
  }
  day.quarters = [...quarters.values()].sort((a, b) => a.end - b.end);
  return day;
}

/** Whether a statement has a reading of the interval that ended at a time. */
export function isReadUntil({ readings }: Pick<Source, "readings">, time: number): boolean {
  return readings.some(({ interval_end }) => interval_end >= time);
}
