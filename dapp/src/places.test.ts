import { expect, test } from "vitest";
import type { Deployment } from "./deployment";
import { candidatesOf, idIn, placeOf } from "./places";

// 2026-03-14 00:00 in Bangkok.
const MIDNIGHT = Date.UTC(2026, 2, 13, 17) / 1_000;
const market = { genesis: MIDNIGHT, epochSeconds: 900 } as Deployment;
const kinds = (text: string) => candidatesOf(text, market).map(({ kind, id }) => `${kind} ${id}`);

const ACCOUNT = `0x${"aB".repeat(20)}`;
const HASH = `0x${"0c".repeat(32)}`;

test("candidatesOf: a number: is an epoch, a block, or a meter of that name", () => {
  expect(kinds(" 96 ")).toEqual(["epoch 96", "block 96", "meter 96"]);
  expect(kinds("1,234")).toEqual(["epoch 1234", "block 1234", "meter 1,234"]);
});

test("candidatesOf: an address in any case: is an account", () => {
  expect(kinds(ACCOUNT)).toEqual([`account ${ACCOUNT.toLowerCase()}`]);
});

test("candidatesOf: a hash: is a transaction's, a block's or a meter's", () => {
  expect(kinds(HASH)).toEqual([`tx ${HASH}`, `block ${HASH}`, `meter ${HASH}`]);
});

test("candidatesOf: a long number: is an order's, or a meter of that name if it is short enough", () => {
  const id = "37414441915671114706014331717536845303191873100185";
  expect(kinds(id)).toEqual([`order ${id}`]);
  expect(kinds("20260314001234")).toEqual(["order 20260314001234", "meter 20260314001234"]);
  expect(kinds("1".repeat(60))).toEqual([]);
});

test("candidatesOf: a day or a time in Bangkok: is the epoch then", () => {
  expect(kinds("2026-03-14")).toEqual(["epoch 0"]);
  expect(kinds("2026-03-15 12:20")).toEqual([`epoch ${96 + 49}`]);
  expect(kinds("2026-03-13")).toEqual([]);
  expect(kinds("2026-99-99")).toEqual([]);
});

test("candidatesOf: a name: is a meter, if a meter can have it", () => {
  expect(kinds("H05")).toEqual(["meter H05"]);
  expect(kinds("two words")).toEqual([]);
  expect(kinds("")).toEqual([]);
});

test("placeOf: a meter with signs of an address in its name: comes back out of the address", () => {
  const id = "A/1#50%?";
  expect(idIn(decodeURI(placeOf({ kind: "meter", id }).split("/")[3] ?? ""))).toBe(id);
});
