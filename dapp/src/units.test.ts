import { describe, expect, test } from "vitest";
import { baht, decimal, duration, kwh, midnightBefore, monthOf, parseDecimal, percent, price, seconds } from "./units";

const SATANG = 10n ** 16n;

describe("decimal", () => {
  test.each([
    [5n, 1000n, 2, "0.01"],
    [4n, 1000n, 2, "0.00"],
    [-5n, 1000n, 2, "-0.01"],
    [-4n, 1000n, 2, "0.00"],
    [10n ** 30n, 10n ** 18n, 0, "1000000000000"],
  ])("%s over %s to %s places: %s", (numerator, denominator, places, text) => {
    expect(decimal(numerator, denominator, places)).toBe(text);
  });
});

test("kwh: small and large: shows as many places as fit the size", () => {
  expect([kwh(1_234, "en"), kwh(12_340, "en"), kwh(1_234_560, "en")]).toEqual(["1.234", "12.34", "1,234.6"]);
});

test("baht: beyond the exact numbers of JavaScript: loses no digit", () => {
  expect(baht(9_007_199_254_740_993n * 10n ** 18n, "en")).toBe("9,007,199,254,740,993.00");
});

test("baht: with a sign: says plus and minus, and neither of nothing", () => {
  expect([10n ** 18n, -(10n ** 18n), 0n].map((wei) => baht(wei, "en", true))).toEqual(["+1.00", "-1.00", "0.00"]);
});

test("price: half a satang: has a third place", () => {
  expect([price(780, SATANG, "en"), price(781, SATANG, "en")]).toEqual(["3.90", "3.905"]);
});

test("percent: of nothing: is a dash", () => {
  expect([percent(1n, 3n, "en"), percent(1n, 0n, "en")]).toEqual(["33.3 %", "–"]);
});

describe("parseDecimal", () => {
  test.each([
    ["1.5", 3, 1500n],
    [" 1,000 ", 3, 1_000_000n],
    ["0.001", 3, 1n],
    ["1.50000", 3, 1500n],
    ["2.", 2, 200n],
    ["1,000,000.5", 3, 1_000_000_500n],
    ["1,5", 3, null],
    ["1.500,25", 3, null],
    ["10,00", 3, null],
    ["0.0001", 3, null],
    ["", 3, null],
    ["-1", 3, null],
    ["1e3", 3, null],
  ])("%j with %s places: %s", (text, places, value) => {
    expect(parseDecimal(text, places)).toBe(value);
  });
});

test("duration: under and over an hour: counts up what has begun", () => {
  expect([duration(59.2), duration(65), duration(3725), duration(-3)]).toEqual(["1:00", "1:05", "1:02:05", "0:00"]);
});

test("seconds: a block's time: is Bangkok's clock to the second", () => {
  expect(seconds(Date.UTC(2026, 2, 14, 7, 15, 9) / 1000, "en")).toBe("14:15:09");
});

test("midnight and month: late in the day in UTC: are Bangkok's", () => {
  const at = Date.UTC(2026, 2, 31, 18, 30) / 1000;
  expect(monthOf(at)).toBe("2026-04");
  expect(midnightBefore(at)).toBe(Date.UTC(2026, 2, 31, 17) / 1000);
});
