import { expect, test } from "vitest";
import { Later, Tampered } from "../failures";
import type { Market } from "../market";
import { cancelMessage } from "./errands";
import { messageFor, says } from "./placeOrder";

const ACCOUNT = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01";
const ORDER = { side: "buy", tick: 380, quantityWh: 1_500, untilEpoch: null } as const;
const STANDING = { ...ORDER, untilEpoch: 20 };
const NOW = { zone: 1, nonce: 7, epoch: 4 };
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
  expect(says(MESSAGE, ACCOUNT, ORDER, NOW)).toBe(true);
});

test("says: the standing order that was wished: does", () => {
  expect(
    says({ ...MESSAGE, orders: [{ ...MESSAGE.orders[0], untilEpoch: 20 }] } as typeof MESSAGE, ACCOUNT, STANDING, NOW),
  ).toBe(true);
});

test.each([4, 19, 21, 100])("says: a standing order until epoch %i instead of 20: does not", (untilEpoch) => {
  expect(
    says({ ...MESSAGE, orders: [{ ...MESSAGE.orders[0], untilEpoch }] } as typeof MESSAGE, ACCOUNT, STANDING, NOW),
  ).toBe(false);
});

test.each([
  ["another account", { ...MESSAGE, account: "0x0000000000000000000000000000000000000001" }],
  ["another side", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], action: "sell" as const }] }],
  ["more energy", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], energyWh: 15_000 }] }],
  ["another limit", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], limitTicksPerKWh: 1_023 }] }],
  ["that stands longer", { ...MESSAGE, orders: [{ ...MESSAGE.orders[0], untilEpoch: 5 }] }],
  ["another zone", { ...MESSAGE, zone: 2 }],
  ["another source", { ...MESSAGE, source: 1 }],
  ["a nonce that was used", { ...MESSAGE, nonce: 6 }],
  ["a nonce that voids all others", { ...MESSAGE, nonce: 1_005 }],
  ["epochs to come", { ...MESSAGE, firstEpoch: 54, lastEpoch: 55, orders: [{ ...MESSAGE.orders[0], untilEpoch: 54 }] }],
  ["that may enter long after", { ...MESSAGE, lastEpoch: 5_004 }],
  ["an order more", { ...MESSAGE, orders: [...MESSAGE.orders, ...MESSAGE.orders] }],
  ["no order", { ...MESSAGE, orders: [] }],
])("says: %s: does not", (_, message) => {
  expect(says(message as typeof MESSAGE, ACCOUNT, ORDER, NOW)).toBe(false);
});

test("cancelMessage: an order of some epoch: names it whole, as the contract has it", () => {
  const order = {
    id: (77n << 168n) | (3n << 160n) | 1n,
    side: "sell",
    tick: 401,
    quantityWh: 900,
    untilEpoch: 80,
  } as const;
  expect(cancelMessage(ACCOUNT, order)).toEqual({
    account: ACCOUNT,
    epoch: 77,
    index: 3,
    action: "sell",
    energyWh: 900,
    limitTicksPerKWh: 401,
  });
});

/** A market in an epoch, whose server answers with a message for the epoch it is asked for, or for another one. */
function marketIn(epoch: number, answers?: number) {
  const asked: unknown[] = [];
  const api = {
    POST: (_: string, { body }: { body: { first_epoch: number | null } }) => {
      asked.push(body);
      const first = answers ?? body.first_epoch ?? epoch;
      const orders = [{ ...MESSAGE.orders[0], untilEpoch: first }];
      const message = { ...MESSAGE, firstEpoch: first, lastEpoch: first + 1, orders };
      return Promise.resolve({ data: { typed_data: { message } }, response: { ok: true } });
    },
  };
  const reader = {
    getBlock: () => Promise.resolve({ timestamp: BigInt(epoch * 900) }),
    readContract: () => Promise.resolve([{ zone: 1, nonce: 7, status: 1 }]),
  };
  const deployment = { contracts: {}, genesis: 0, epochSeconds: 900 };
  return { market: { api, reader, deployment } as unknown as Market, asked };
}

test.each([4, 5])("messageFor: epoch 4 was told, in epoch %i: is for epoch 4 or 5, as was told", async (epoch) => {
  const { market, asked } = marketIn(epoch);
  const { firstEpoch, lastEpoch } = await messageFor(market, ACCOUNT, ORDER, 4);
  expect([firstEpoch, lastEpoch]).toEqual([4, 5]);
  expect(asked).toEqual([expect.objectContaining({ first_epoch: 4 })]);
});

test("messageFor: both epochs that were told are over: asks for nothing, and says which is open", async () => {
  const { market, asked } = marketIn(6);
  const later = await messageFor(market, ACCOUNT, ORDER, 4).catch((problem: unknown) => problem);
  expect(later).toBeInstanceOf(Later);
  expect((later as Later).epoch).toBe(6);
  expect(asked).toEqual([]);
});

test("messageFor: the server answers for another epoch than was told: is refused", async () => {
  await expect(messageFor(marketIn(4, 5).market, ACCOUNT, ORDER, 4)).rejects.toBeInstanceOf(Tampered);
});
