import { expect, test } from "vitest";
import type { Holding } from "./chain";
import { hasChanged, heldBeside, ofOneBlock } from "./together";

const HOLDING: Holding = {
  block: 586n,
  status: "active",
  zone: 1,
  nonce: 3,
  energyFree: 0n,
  energyEscrow: 500_000n,
  moneyFree: 100n,
  moneyEscrow: 0n,
  walletGridWei: 0n,
  walletBahtWei: 0n,
  outstandingWh: 0n,
  orders: [],
};
const LATER = { ...HOLDING, block: 587n };
const SOLD = { ...LATER, energyEscrow: 0n, moneyFree: 300n };

test("hasChanged: a later block in which nothing happened: has not", () => {
  expect(hasChanged(HOLDING, LATER)).toBe(false);
});

test("hasChanged: energy was sold, or a nonce used: has", () => {
  expect([hasChanged(HOLDING, SOLD), hasChanged(HOLDING, { ...LATER, nonce: 4 })]).toEqual([true, true]);
});

test("heldBeside: the balance is ahead of the statement: shows that of the statement's block", () => {
  expect(heldBeside(HOLDING, SOLD, false)).toBe(HOLDING);
});

test("heldBeside: the statement is ahead of the balance: shows that of the statement's block", () => {
  expect(heldBeside(SOLD, HOLDING, false)).toBe(SOLD);
});

test("heldBeside: no statement, an older block than the node knows, or an index far behind: shows the newest", () => {
  expect([heldBeside(undefined, SOLD, false), heldBeside(null, SOLD, false), heldBeside(HOLDING, SOLD, true)]).toEqual([
    SOLD,
    SOLD,
    SOLD,
  ]);
});

test("ofOneBlock: a block came between the answers: asks again until they are of one, but not for ever", async () => {
  const blocks = [7, 8, 8, 8];
  const asked = () => Promise.resolve([{ block: blocks.shift() ?? 0 }, { block: blocks.shift() ?? 1 }]);
  expect(await ofOneBlock(asked)).toEqual([{ block: 8 }, { block: 8 }]);
  expect(blocks).toEqual([]);
  expect(await ofOneBlock(asked)).toEqual([{ block: 0 }, { block: 1 }]);
});
