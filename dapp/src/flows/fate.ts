/** What became of what was signed or sent, as the chain itself says: no relay is asked, and none is believed. */

import type { Address } from "viem";
import { addressOf, readAccount } from "../chain";
import { gridTokenAbi } from "../generated/GridToken";
import { market as constants } from "../generated/market";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { TOKEN } from "./funds";
import type { Keeping, Kept, Sent, Signed } from "./underway";

/**
 * It may still come about, it did, or it never will. `unknown`: a transaction that the node does not have, or that the
 * wallet was asked for without an answer. What the wallet did then, the wallet knows.
 */
export type Fate = "open" | "done" | "void" | "unknown";

/** Events are told of so many blocks at a time. */
const BLOCKS = 10_000n;

/** What became of something that is kept. Only `done` and `void` are for good. */
export async function fateOf(market: Market, account: Address, kept: Kept): Promise<Fate> {
  const { what, since } = kept;
  return what.kind === "transaction" ? fateOfSent(market, what) : fateOfSigned(market, account, what, BigInt(since));
}

async function fateOfSigned(market: Market, account: Address, signed: Signed, since: bigint): Promise<Fate> {
  const { reader } = market;
  // The block first: a nonce that is free later was free then, too.
  const block = await reader.getBlock();
  const nonce = BigInt(signed.body.message.nonce);
  if (nonce >= (await lowestNonce(market, account, signed)))
    return isOver(market, signed, block.timestamp) ? "void" : "open";
  // Whatever used the nonce is in a block up to this one.
  const head = await reader.getBlockNumber({ cacheTime: 0 });
  for (let from = since; from <= head; from += BLOCKS) {
    const to = from + BLOCKS - 1n;
    if (await shows(market, account, signed, nonce, from, to < head ? to : head)) return "done";
  }
  return "void";
}

/** The lowest nonce that still counts: the token's for a deposit. */
async function lowestNonce({ reader, deployment }: Market, account: Address, signed: Signed): Promise<bigint> {
  if (signed.kind === "deposit")
    return reader.readContract({
      address: addressOf(deployment, TOKEN[signed.body.asset]),
      abi: gridTokenAbi,
      functionName: "nonces",
      args: [account],
    });
  return BigInt((await readAccount(reader, deployment, account)).nonce);
}

/** Whether its time has passed, at a time of the chain. */
function isOver({ deployment }: Market, signed: Signed, timestamp: bigint): boolean {
  if (signed.kind !== "orders") return timestamp > BigInt(signed.body.message.deadline);
  const epoch = Math.floor((Number(timestamp) - deployment.genesis) / deployment.epochSeconds);
  return epoch > signed.body.message.lastEpoch;
}

/** The nonce in what an event tells of where orders entered. */
export const nonceOfPlace = (place: bigint): bigint => place & 0xffff_ffffn;

/** Whether the chain's events from a block to another show that it came about. */
async function shows(
  { reader, deployment }: Market,
  account: Address,
  signed: Signed,
  nonce: bigint,
  fromBlock: bigint,
  toBlock: bigint,
): Promise<boolean> {
  const where = { address: addressOf(deployment, "Trading"), abi: tradingAbi, args: { account }, fromBlock, toBlock };
  switch (signed.kind) {
    case "orders": {
      const [single, several] = await Promise.all([
        reader.getContractEvents({ ...where, eventName: "SignedOrderEntered" }),
        reader.getContractEvents({ ...where, eventName: "BundleEntered" }),
      ]);
      return (
        single.some(({ args }) => args.placed !== undefined && nonceOfPlace(args.placed >> 48n) === nonce) ||
        several.some(({ args }) => args.place !== undefined && nonceOfPlace(args.place) === nonce)
      );
    }
    case "withdrawal": {
      const { asset, amountWei } = signed.body.message;
      const [used, withdrawn] = await Promise.all([
        reader.getContractEvents({ ...where, eventName: "NonceUsed" }),
        reader.getContractEvents({ ...where, eventName: "Withdrawn" }),
      ]);
      // The same number may have been let go: a withdrawal shows both, in one transaction.
      const mine = used.filter(({ args }) => BigInt(args.nonce ?? -1) === nonce).map((log) => log.transactionHash);
      return withdrawn.some(
        ({ args, transactionHash }) =>
          mine.includes(transactionHash) &&
          args.asset === constants.assets[asset] &&
          args.amountWei === BigInt(amountWei),
      );
    }
    case "deposit": {
      const { asset, message } = signed.body;
      const found = await reader.getContractEvents({ ...where, eventName: "Deposited" });
      return found.some(
        ({ args }) => args.asset === constants.assets[asset] && args.amountWei === BigInt(message.value),
      );
    }
  }
}

async function fateOfSent({ reader }: Market, { hash }: Sent): Promise<Fate> {
  if (hash === null) return "unknown";
  const receipt = await orNull(reader.getTransactionReceipt({ hash }), "TransactionReceiptNotFoundError");
  if (receipt) return receipt.status === "success" ? "done" : "void";
  return (await orNull(reader.getTransaction({ hash }), "TransactionNotFoundError")) ? "open" : "unknown";
}

/** What is asked for, or null if the node says that there is none. */
async function orNull<T>(asked: Promise<T>, absence: string): Promise<T | null> {
  try {
    return await asked;
  } catch (problem) {
    if (problem instanceof Error && problem.name === absence) return null;
    throw problem;
  }
}

/** Keeps what was just signed, from before it is handed over. */
export async function keepSigned(market: Market, account: Address, signed: Signed): Promise<Keeping> {
  const since = await market.reader.getBlockNumber();
  return keepingOf(market, account, market.underway.keep(account, Number(since), signed));
}

/** What is done with something that is kept. */
export function keepingOf(market: Market, account: Address, kept: Kept): Keeping {
  const { underway } = market;
  return {
    during: (act) => underway.during(kept.id, act),
    settle: () => underway.settle(account, kept.id),
    isDone: async () => (await fateOf(market, account, kept)) === "done",
  };
}
