import { afterEach, expect, test, vi } from "vitest";
import * as wallets from "wagmi/actions";
import type { Deployment } from "../deployment";
import { NoEther, Replaced, Reverted } from "../failures";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { send, written } from "./send";
import { AlreadyUnderway, Underway } from "./underway";

vi.mock("wagmi/actions");
afterEach(() => vi.useRealTimers());

const ACCOUNT = "0xAbCdEf0123456789aBcDeF0123456789AbCdEf01";
const HASH = "0xabc";

type Waiting = { onReplaced: (told: { reason: string }) => void };

/** A market whose node says what a receipt is; and a wallet that sends. */
function stage(receipt: (asked: Waiting) => Promise<{ status: string }>, balance = 1n) {
  const held = new Map<string, string>();
  const storage = {
    getItem: (key: string) => held.get(key) ?? null,
    setItem: (key: string, text: string) => held.set(key, text),
    removeItem: (key: string) => held.delete(key),
  } as unknown as Storage;
  const deployment = { chainId: 1, contracts: { Trading: ACCOUNT }, genesis: 0 } as unknown as Deployment;
  const underway = new Underway(deployment, storage);
  const reader = {
    getBalance: () => Promise.resolve(balance),
    getGasPrice: () => Promise.resolve(1n),
    getBlockNumber: () => Promise.resolve(9n),
    waitForTransactionReceipt: receipt,
  };
  vi.mocked(wallets.getConnection).mockReturnValue({ address: ACCOUNT, chainId: 1 } as never);
  vi.mocked(wallets.simulateContract).mockResolvedValue({ request: {} } as never);
  vi.mocked(wallets.writeContract).mockReset().mockResolvedValue(HASH);
  const market = { deployment, underway, reader, wallets: {} } as unknown as Market;
  const sent = () => send(market, "Trading", { abi: tradingAbi, functionName: "cancelUpTo", args: [7] });
  return { underway, sent };
}

const included = () => Promise.resolve({ status: "success" });

test("send: it is included: leaves nothing under way", async () => {
  const { underway, sent } = stage(included);
  await sent();
  expect(underway.list(ACCOUNT)).toEqual([]);
});

test("send: it waits for its block: is kept with its hash, and the same is not sent beside it", async () => {
  const { underway, sent } = stage(() => new Promise(() => undefined));
  void sent();
  await vi.waitFor(() =>
    expect(underway.list(ACCOUNT)).toEqual([
      {
        id: "cancelUpTo [7]",
        since: 9,
        what: { kind: "transaction", call: "cancelUpTo", args: "[7]", hash: HASH },
      },
    ]),
  );
  await expect(sent()).rejects.toBeInstanceOf(AlreadyUnderway);
  expect(wallets.writeContract).toHaveBeenCalledTimes(1);
});

test("send: somebody declines in the wallet: leaves nothing under way", async () => {
  const { underway, sent } = stage(included);
  const declined = new Error("declined");
  vi.mocked(wallets.writeContract).mockRejectedValue(declined);
  await expect(sent()).rejects.toBe(declined);
  expect(underway.list(ACCOUNT)).toEqual([]);
});

test("send: no ether for the fee: asks no wallet", async () => {
  await expect(stage(included, 0n).sent()).rejects.toBeInstanceOf(NoEther);
  expect(wallets.writeContract).not.toHaveBeenCalled();
});

test.each(["cancelled", "replaced"])(
  "send: the wallet %s it: is not called done, though that succeeds",
  async (reason) => {
    const { underway, sent } = stage(({ onReplaced }) => {
      onReplaced({ reason });
      return included();
    });
    await expect(sent()).rejects.toBeInstanceOf(Replaced);
    expect(underway.list(ACCOUNT)).toEqual([]);
  },
);

test("send: the wallet sends the same with another fee: is done", async () => {
  const { sent } = stage(({ onReplaced }) => {
    onReplaced({ reason: "repriced" });
    return included();
  });
  await expect(sent()).resolves.toBeUndefined();
});

test("send: it is included and refused: says so", async () => {
  await expect(stage(() => Promise.resolve({ status: "reverted" })).sent()).rejects.toBeInstanceOf(Reverted);
});

test("send: the node is away for a while: goes on waiting", async () => {
  vi.useFakeTimers();
  let absences = 2;
  const { sent } = stage(() => (absences-- > 0 ? Promise.reject(new Error("fetch")) : included()));
  const done = sent();
  await vi.advanceTimersByTimeAsync(10_000);
  await expect(done).resolves.toBeUndefined();
  expect(absences).toBe(-1);
});

test("written: calls with numbers of any size: are told apart", () => {
  expect([written([1n, [2, "a"]]), written([10n ** 30n])]).toEqual([
    '["1",[2,"a"]]',
    '["1000000000000000000000000000000"]',
  ]);
});
