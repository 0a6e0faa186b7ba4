import { expect, test } from "vitest";
import cases from "./generated/cases.json";
import { preview, type Side } from "./clearing";

const volumes = (pairs: number[][]) => pairs.map(([tick = 0, energy_wh = 0]) => ({ tick, energy_wh }));

test("preview: books of the reference: clears and fills as the reference does, to the unit", () => {
  const got = cases.map(({ bids, asks, side, tick, quantityWh }) => {
    const { result, fill } = preview(volumes(bids), volumes(asks), { side: side as Side, tick, quantityWh });
    return [result.price2, Number(result.volumeWh), fill.energyUwh.toString(), fill.moneyUnits.toString()];
  });
  expect(got).toEqual(cases.map((c) => [c.price2, c.volumeWh, c.energyUwh, c.moneyUnits]));
});

test("preview: cases of the reference: hold trades, and orders that trade whole, in part and not at all", () => {
  const whole = (c: (typeof cases)[number]) => BigInt(c.energyUwh) === BigInt(c.quantityWh) * 1_000_000n;
  expect(cases.filter(whole).length).toBeGreaterThan(3);
  expect(cases.filter((c) => c.energyUwh !== "0" && !whole(c)).length).toBeGreaterThan(1);
  expect(cases.filter((c) => c.energyUwh === "0").length).toBeGreaterThan(3);
});
