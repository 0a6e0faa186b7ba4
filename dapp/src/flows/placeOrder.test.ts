import { expect, test } from "vitest";
import { says } from "./placeOrder";

const ACCOUNT = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01";
const ORDER = { side: "buy", tick: 380, quantityWh: 1_500 } as const;
const MESSAGE = {
  account: ACCOUNT.toLowerCase(),
  zone: 1,
  source: 0,
  nonce: 7,
  firstEpoch: 4,
  lastEpoch: 5,
  orders: [{ action: "buy" as const, energyWh: 1_500, limitTicksPerKWh: 380, untilEpoch: 4 }],
};

test("says: the order that was wished: does", () => {
  expect(says(MESSAGE, ACCOUNT, ORDER)).toBe(true);
});

test.each([
  ["another account", { ...MESSAGE, account: "0x0000000000000000000000000000000000000001" }],
  ["another side", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], action: "sell" as const }] }],
  ["more energy", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], energyWh: 15_000 }] }],
  ["another limit", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], limitTicksPerKWh: 1_023 }] }],
  ["that stands longer", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], untilEpoch: 5 }] }],
  ["an order more", { ...MESSAGE, orders: [...MESSAGE.orders, ...MESSAGE.orders] }],
  ["no order", { ...MESSAGE, orders: [] }],
])("says: %s: does not", (_, message) => {
  expect(says(message as typeof MESSAGE, ACCOUNT, ORDER)).toBe(false);
});
