import { expect, test } from "vitest";
import { dayOf, isReadUntil } from "./today";

const NOON = {
  interval_end: 1_000,
  import_wh: 0,
  export_wh: 300,
  kind: "metered" as const,
  grid_import_wh: 0,
  tx_hash: "",
};
const trade = (start: number, side: "buy" | "sell", energy_uwh: string, money_wei: string) => ({
  epoch: 1,
  start,
  order_id: "1",
  side,
  limit_tick: 1,
  price2: 2,
  energy_uwh,
  money_wei,
  order_tx: "",
  clear_tx: "",
});

test("dayOf: readings and trades around midnight: counts those of the day alone", () => {
  const day = dayOf(
    {
      readings: [
        NOON,
        { ...NOON, interval_end: 0 },
        { ...NOON, interval_end: 86_400 },
        { ...NOON, interval_end: 86_401 },
      ],
      trades: [
        trade(-1, "sell", "5", "50"),
        trade(0, "sell", "7", "70"),
        trade(900, "buy", "2", "9"),
        trade(86_400, "buy", "1", "1"),
      ],
    },
    0,
  );
  expect(day.quarters.map(({ end }) => end)).toEqual([1_000, 86_400]);
  expect([day.exportWh, day.soldUwh, day.earnedWei, day.boughtUwh, day.paidWei]).toEqual([600n, 7n, 70n, 2n, 9n]);
});

test("dayOf: two meters, and growth that was parked: adds up what counts", () => {
  const parked = { ...NOON, export_wh: -100, kind: "parked" as const };
  const day = dayOf({ readings: [NOON, { ...NOON, import_wh: 40, export_wh: 0 }, parked], trades: [] }, 0);
  expect(day.quarters).toEqual([{ end: 1_000, importWh: 40, exportWh: 200 }]);
});

test("isReadUntil: the newest quarter hour: is there once a reading ends where it does", () => {
  expect(isReadUntil({ readings: [NOON] }, 1_000)).toBe(true);
  expect(isReadUntil({ readings: [NOON] }, 1_900)).toBe(false);
  expect(isReadUntil({ readings: [] }, 1_000)).toBe(false);
});
