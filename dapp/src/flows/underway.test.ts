import { expect, test } from "vitest";
import type { Deployment } from "../deployment";
import { AlreadyUnderway, inTheWay, topicOf, Underway, type What } from "./underway";

const ACCOUNT = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01";
const DEPLOYMENT = { chainId: 31337, contracts: { Trading: "0xT" }, genesis: 100 } as unknown as Deployment;

const ORDERS = { kind: "orders", body: { message: { nonce: 7 }, signature: "0x01" } } as unknown as What;
const WITHDRAWAL = { kind: "withdrawal", body: { message: { nonce: 7 }, signature: "0x02" } } as unknown as What;
const DEPOSIT = { kind: "deposit", body: { asset: "money", message: {}, signature: "0x03" } } as unknown as What;
const sent = (call: string, args = "[1]"): What => ({ kind: "transaction", call, args, hash: null });

/** A browser's storage. */
function storage(): Storage {
  const held = new Map<string, string>();
  return {
    getItem: (key: string) => held.get(key) ?? null,
    setItem: (key: string, text: string) => held.set(key, text),
    removeItem: (key: string) => held.delete(key),
    get length() {
      return held.size;
    },
    key: (i: number) => [...held.keys()][i] ?? null,
  } as unknown as Storage;
}

test("keep: a page that is loaded again: still knows it, by market and account", () => {
  const held = storage();
  new Underway(DEPLOYMENT, held).keep(ACCOUNT, 5, ORDERS);
  expect(new Underway(DEPLOYMENT, held).list(ACCOUNT.toLowerCase())).toEqual([{ id: "0x01", since: 5, what: ORDERS }]);
  expect(new Underway(DEPLOYMENT, held).list("0x02")).toEqual([]);
  expect(new Underway({ ...DEPLOYMENT, chainId: 1 }, held).list(ACCOUNT)).toEqual([]);
});

test("settle: its fate is known: leaves nothing behind", () => {
  const held = storage();
  const underway = new Underway(DEPLOYMENT, held);
  underway.settle(ACCOUNT, underway.keep(ACCOUNT, 5, ORDERS).id);
  expect([underway.list(ACCOUNT), held.length]).toEqual([[], 0]);
});

test.each([
  ["a second order", ORDERS, { ...ORDERS, body: { signature: "0x09" } } as unknown as What],
  ["an order of one's own", ORDERS, sent("createOrders")],
  ["a withdrawal, which shares the nonces", ORDERS, WITHDRAWAL],
  ["an order beside a withdrawal", WITHDRAWAL, ORDERS],
  ["another withdrawal of one's own", WITHDRAWAL, sent("withdraw")],
  ["another deposit", DEPOSIT, { ...DEPOSIT, body: { signature: "0x09" } } as unknown as What],
  ["the same transaction again", sent("registerUser"), sent("registerUser")],
  ["a signed order beside one that was sent", sent("createOrders"), ORDERS],
])("keep: %s, while one is under way: is refused", (_, first, second) => {
  const underway = new Underway(DEPLOYMENT, storage());
  underway.keep(ACCOUNT, 5, first);
  expect(() => underway.keep(ACCOUNT, 6, second)).toThrow(AlreadyUnderway);
  expect(underway.list(ACCOUNT)).toHaveLength(1);
});

test.each([
  ["the withdrawal itself, brought by oneself", WITHDRAWAL, sent("withdrawFor")],
  ["the deposit itself, brought by oneself", DEPOSIT, sent("depositWithPermit")],
  ["letting an order go", ORDERS, sent("cancelUpTo")],
  ["a deposit beside an order", ORDERS, DEPOSIT],
  ["another transaction of an operator", sent("registerUser"), sent("registerUser", "[2]")],
])("keep: %s: is let through", (_, first, second) => {
  const underway = new Underway(DEPLOYMENT, storage());
  underway.keep(ACCOUNT, 5, first);
  underway.keep(ACCOUNT, 6, second);
  expect(underway.list(ACCOUNT)).toHaveLength(2);
});

test("keep: another tab began an order of which this one has not heard: is refused", () => {
  const held = storage();
  const [here, there] = [new Underway(DEPLOYMENT, held), new Underway(DEPLOYMENT, held)];
  expect(here.list(ACCOUNT)).toEqual([]);
  there.keep(ACCOUNT, 5, ORDERS);
  expect(() => here.keep(ACCOUNT, 5, sent("createOrders"))).toThrow(AlreadyUnderway);
});

test("keep: the storage takes nothing: is refused, and nothing is under way", () => {
  const full = storage();
  full.setItem = () => {
    throw new Error("full");
  };
  const underway = new Underway(DEPLOYMENT, full);
  expect(() => underway.keep(ACCOUNT, 5, ORDERS)).toThrow("full");
  expect(underway.list(ACCOUNT)).toEqual([]);
});

test("sent: the wallet gave a hash: outlives the page", () => {
  const held = storage();
  const underway = new Underway(DEPLOYMENT, held);
  underway.sent(ACCOUNT, underway.keep(ACCOUNT, 5, sent("withdraw")).id, "0xabc");
  expect(new Underway(DEPLOYMENT, held).list(ACCOUNT)[0]?.what).toEqual({ ...sent("withdraw"), hash: "0xabc" });
});

test("during: while it is followed, and after: says so, and tells who listens", async () => {
  const underway = new Underway(DEPLOYMENT, storage());
  const { id } = underway.keep(ACCOUNT, 5, ORDERS);
  const heard: boolean[] = [];
  underway.subscribe(() => heard.push(underway.isFollowed(id)));
  await expect(underway.during(id, () => Promise.reject(new Error("lost")))).rejects.toThrow("lost");
  expect(heard).toEqual([true, false]);
});

test("reread: another tab settled it: is news, and other keys are not", () => {
  const held = storage();
  const [here, there] = [new Underway(DEPLOYMENT, held), new Underway(DEPLOYMENT, held)];
  const { id } = here.keep(ACCOUNT, 5, ORDERS);
  there.settle(ACCOUNT, id);
  here.reread("busbar-language");
  expect(here.list(ACCOUNT)).toHaveLength(1);
  here.reread(null);
  expect(here.list(ACCOUNT)).toEqual([]);
});

test.each(["", "{", "7", "[null, 7, {}]", '[{"id":"a","since":1,"what":null}]', '[{"id":"a","since":1,"what":{}}]'])(
  "list: what stands in the storage is %s: is nothing",
  (text) => {
    const held = storage();
    const underway = new Underway(DEPLOYMENT, held);
    underway.keep(ACCOUNT, 5, ORDERS);
    held.setItem(held.key(0) ?? "", text);
    expect(new Underway(DEPLOYMENT, held).list(ACCOUNT)).toEqual([]);
  },
);

test("list: asked twice: is the same array, as React wants it", () => {
  const underway = new Underway(DEPLOYMENT, storage());
  expect(underway.list(ACCOUNT)).toBe(underway.list(ACCOUNT));
});

test("topicOf: what is sent and what is signed: have the same topics", () => {
  expect([ORDERS, WITHDRAWAL, DEPOSIT].map(topicOf)).toEqual(["order", "withdraw", "deposit"]);
  expect(["createOrders", "withdraw", "depositWithPermit", "setPaused"].map((call) => topicOf(sent(call)))).toEqual([
    "order",
    "withdraw",
    "deposit",
    null,
  ]);
});

test("inTheWay: an order that was signed: keeps no deposit waiting", () => {
  expect(inTheWay([{ id: "0x01", since: 5, what: ORDERS }], "deposit")).toBeUndefined();
});
