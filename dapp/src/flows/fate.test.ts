import { expect, test } from "vitest";
import type { Market } from "../market";
import { fateOf, nonceOfPlace } from "./fate";
import type { Kept, What } from "./underway";

const ACCOUNT = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01";
const ORDERS = { kind: "orders", body: { message: { nonce: 7, lastEpoch: 5 }, signature: "0x01" } };
const MONEY = { asset: "money", amountWei: "500", nonce: 7, deadline: 10_000 };
const WITHDRAWAL = { kind: "withdrawal", body: { message: MONEY, signature: "0x02" } };
const PERMIT = { value: "500", nonce: "7", deadline: 10_000 };
const DEPOSIT = { kind: "deposit", body: { asset: "money", message: PERMIT, signature: "0x03" } };

type Events = Record<string, { block?: bigint; args: object; transactionHash?: string }[]>;
type Chain = { nonce?: number; timestamp?: number; head?: bigint; events?: Events; receipt?: string; known?: boolean };

const named = (name: string) => Object.assign(new Error(name), { name });

/** A node that answers as one does; epochs of 900 s from 0 on. */
function marketOf({ nonce = 7, timestamp = 4_000, head = 20n, events = {}, receipt, known = false }: Chain): Market {
  const reader = {
    getBlock: () => Promise.resolve({ timestamp: BigInt(timestamp), number: head }),
    getBlockNumber: () => Promise.resolve(head),
    readContract: ({ functionName }: { functionName: string }) =>
      Promise.resolve(functionName === "nonces" ? BigInt(nonce) : [{ nonce }]),
    getContractEvents: ({
      eventName,
      fromBlock,
      toBlock,
    }: {
      eventName: string;
      fromBlock: bigint;
      toBlock: bigint;
    }) =>
      toBlock - fromBlock >= 10_000n || toBlock > head
        ? Promise.reject(new Error("too many blocks"))
        : Promise.resolve(
            (events[eventName] ?? []).filter(({ block = head }) => fromBlock <= block && block <= toBlock),
          ),
    getTransactionReceipt: () =>
      receipt ? Promise.resolve({ status: receipt }) : Promise.reject(named("TransactionReceiptNotFoundError")),
    getTransaction: () => (known ? Promise.resolve({}) : Promise.reject(named("TransactionNotFoundError"))),
  };
  return { reader, deployment: { genesis: 0, epochSeconds: 900, contracts: {} } } as unknown as Market;
}

const fate = (chain: Chain, what: object, since = 3) =>
  fateOf(marketOf(chain), ACCOUNT, { id: "x", since, what: what as What } satisfies Kept);

test.each([ORDERS, WITHDRAWAL, DEPOSIT])("fateOf: a nonce that is free, in time: is open", async (what) => {
  expect(await fate({}, what)).toBe("open");
});

test.each([
  [ORDERS, 5_399, "open"],
  [ORDERS, 5_400, "void"],
  [WITHDRAWAL, 10_000, "open"],
  [WITHDRAWAL, 10_001, "void"],
  [DEPOSIT, 10_001, "void"],
])(
  "fateOf: a nonce that is free, at its end: %# is open to the last second, and void after it",
  async (what, timestamp, end) => {
    expect(await fate({ timestamp }, what)).toBe(end);
  },
);

const place = (nonce: bigint) => (4n << 48n) | (1n << 40n) | (3n << 32n) | nonce;

test.each([
  ["an order", ORDERS, { SignedOrderEntered: [{ args: { placed: (place(7n) << 48n) | 99n } }] }],
  ["several orders", ORDERS, { BundleEntered: [{ args: { place: place(7n) } }] }],
  [
    "a withdrawal",
    WITHDRAWAL,
    {
      NonceUsed: [{ args: { nonce: 7 }, transactionHash: "0xa" }],
      Withdrawn: [{ args: { asset: 1, amountWei: 500n }, transactionHash: "0xa" }],
    },
  ],
  ["a deposit", DEPOSIT, { Deposited: [{ args: { asset: 1, amountWei: 500n } }] }],
])("fateOf: %s whose nonce is used, with its event: is done", async (_, what, events) => {
  expect(await fate({ nonce: 8, events, timestamp: 99_999 }, what)).toBe("done");
});

test.each([
  ["an order, by another one", ORDERS, { SignedOrderEntered: [{ args: { placed: (place(8n) << 48n) | 99n } }] }],
  ["an order that was let go", ORDERS, { NonceUsed: [{ args: { nonce: 7 }, transactionHash: "0xa" }] }],
  [
    "a withdrawal that was let go, beside one sent by oneself",
    WITHDRAWAL,
    {
      NonceUsed: [{ args: { nonce: 7 }, transactionHash: "0xa" }],
      Withdrawn: [{ args: { asset: 1, amountWei: 500n }, transactionHash: "0xb" }],
    },
  ],
  [
    "a withdrawal, by another of the same number",
    WITHDRAWAL,
    {
      NonceUsed: [{ args: { nonce: 7 }, transactionHash: "0xa" }],
      Withdrawn: [{ args: { asset: 0, amountWei: 500n }, transactionHash: "0xa" }],
    },
  ],
  ["a deposit, by another", DEPOSIT, { Deposited: [{ args: { asset: 1, amountWei: 501n } }] }],
])("fateOf: the nonce is used up for %s: is void", async (_, what, events) => {
  expect(await fate({ nonce: 9, events }, what)).toBe("void");
});

test.each([
  [3n, "done"],
  [10_002n, "done"],
  [10_003n, "done"],
  [25_000n, "done"],
  [2n, "void"],
])("fateOf: the event is in block %i: is looked for in every block since, 10,000 at a time", async (block, end) => {
  const events = { BundleEntered: [{ block, args: { place: place(7n) } }] };
  expect(await fate({ nonce: 8, head: 25_000n, events }, ORDERS)).toBe(end);
});

test.each([
  [{ receipt: "success" }, "done"],
  [{ receipt: "reverted" }, "void"],
  [{ known: true }, "open"],
  [{}, "unknown"],
])("fateOf: a transaction of which the node knows %o: is as it says", async (chain, end) => {
  expect(await fate(chain, { kind: "transaction", call: "withdraw", args: "[]", hash: "0xabc" })).toBe(end);
});

test("fateOf: a transaction whose hash the wallet never told: is unknown", async () => {
  expect(await fate({ receipt: "success" }, { kind: "transaction", call: "withdraw", args: "[]", hash: null })).toBe(
    "unknown",
  );
});

test("fateOf: the node does not answer: is no fate", async () => {
  const market = marketOf({});
  market.reader.getTransactionReceipt = () => Promise.reject(named("HttpRequestError"));
  const what = { kind: "transaction", call: "withdraw", args: "[]", hash: "0xabc" } as const;
  await expect(fateOf(market, ACCOUNT, { id: "x", since: 3, what })).rejects.toThrow("HttpRequestError");
});

test("nonceOfPlace: of the last nonce there is: is its 32 bits", () => {
  expect(nonceOfPlace(place(2n ** 32n - 2n))).toBe(2n ** 32n - 2n);
});
