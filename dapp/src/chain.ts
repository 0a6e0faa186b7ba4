/** The market at its node: chain, wallets, and reading what stands in the contracts. */

import {
  type Account,
  type Address,
  createPublicClient,
  defineChain,
  type Hex,
  http,
  type PublicClient,
  type Transport,
  type Chain,
} from "viem";
import { createConfig, createStorage, type Config } from "wagmi";
import type { ContractName, Deployment } from "./deployment";
import { bahtTokenAbi } from "./generated/BahtToken";
import { gridTokenAbi } from "./generated/GridToken";
import { meteringAbi } from "./generated/Metering";
import { tradingAbi } from "./generated/Trading";
import type { Side, Volume } from "./clearing";

export type Reader = PublicClient<Transport, Chain, Account | undefined>;

/** The chain as wallets are told of it. */
export function chainOf(deployment: Deployment): Chain {
  return defineChain({
    id: deployment.chainId,
    name: deployment.chainName,
    nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
    rpcUrls: { default: { http: [deployment.rpcUrl] } },
  });
}

/** Wallets that announce themselves (EIP-6963); the one chosen last is found again after a reload. */
export function walletsOf(deployment: Deployment): Config {
  const chain = chainOf(deployment);
  return createConfig({
    chains: [chain],
    transports: { [chain.id]: http(deployment.rpcUrl, { batch: true }) },
    multiInjectedProviderDiscovery: true,
    storage: createStorage({ storage: window.localStorage, key: "busbar" }),
  });
}

/** Reads contracts; what is asked at once travels together. */
export function readerOf(deployment: Deployment): Reader {
  return createPublicClient({
    chain: chainOf(deployment),
    transport: http(deployment.rpcUrl, { batch: { batchSize: 40 } }),
    pollingInterval: 2_000,
  });
}

export const addressOf = (deployment: Deployment, name: ContractName): Address => deployment.contracts[name];

/** What an account has, owes and may do. Energy in micro-Wh, money in money units, both as if settled now. */
export type Holding = {
  block: bigint;
  status: "unknown" | "active" | "suspended";
  zone: number;
  nonce: number;
  energyFree: bigint;
  energyEscrow: bigint;
  moneyFree: bigint;
  moneyEscrow: bigint;
  walletGridWei: bigint;
  walletBahtWei: bigint;
  outstandingWh: bigint;
  /** Those in the open epoch, and what rests of standing ones; see `openAmong`. */
  orders: readonly OrderView[];
};

const STATUSES = ["unknown", "active", "suspended"] as const;

/**
 * A trading account as Trading has it, at a block or now.
 *
 * @throws Error if the contract tells nothing of it.
 */
export async function readAccount(reader: Reader, deployment: Deployment, account: Address, blockNumber?: bigint) {
  const [held] = await reader.readContract({
    address: addressOf(deployment, "Trading"),
    abi: tradingAbi,
    functionName: "accountsOf",
    args: [[account]],
    blockNumber,
  });
  if (!held) throw new Error("the contracts told nothing of the account");
  return held;
}

/** An account as the chain has it at a block or now, all of it at one block. */
export async function readHolding(
  reader: Reader,
  deployment: Deployment,
  account: Address,
  at?: bigint,
): Promise<Holding> {
  const block = at ?? (await reader.getBlockNumber({ cacheTime: 0 }));
  const [held, [imports], walletGridWei, walletBahtWei, orders] = await Promise.all([
    readAccount(reader, deployment, account, block),
    reader.readContract({
      address: addressOf(deployment, "Metering"),
      abi: meteringAbi,
      functionName: "importsOf",
      args: [[account]],
      blockNumber: block,
    }),
    reader.readContract({
      address: addressOf(deployment, "GridToken"),
      abi: gridTokenAbi,
      functionName: "balanceOf",
      args: [account],
      blockNumber: block,
    }),
    reader.readContract({
      address: addressOf(deployment, "BahtToken"),
      abi: bahtTokenAbi,
      functionName: "balanceOf",
      args: [account],
      blockNumber: block,
    }),
    reader.readContract({
      address: addressOf(deployment, "Trading"),
      abi: tradingAbi,
      functionName: "ordersOf",
      args: [account],
      blockNumber: block,
    }),
  ]);
  if (!imports) throw new Error("the contracts told nothing of the account");
  return {
    block,
    status: STATUSES[held.status] ?? "unknown",
    zone: held.zone,
    nonce: held.nonce,
    energyFree: held.energyFree,
    energyEscrow: held.energyEscrow,
    moneyFree: held.moneyFree,
    moneyEscrow: held.moneyEscrow,
    walletGridWei,
    walletBahtWei,
    outstandingWh: imports.currentWh + imports.previousWh,
    orders,
  };
}

/** `quantityWh` is what is left of it; `untilEpoch` the last epoch in which it may trade. */
export type OpenOrder = { id: bigint; side: Side; tick: number; quantityWh: number; untilEpoch: number };

/** Where an order stands: its epoch, and its place among its account's orders there. */
export function orderPlace(id: bigint): { epoch: number; index: number } {
  return { epoch: Number(id >> 168n), index: Number((id >> 160n) & 255n) };
}

export type OrderView = { id: bigint; isBuy: boolean; tick: number; quantityWh: number; untilEpoch: number };

/** Those of an account's orders that may still trade in an epoch or later. */
export function openAmong(orders: readonly OrderView[], epoch: number): OpenOrder[] {
  return orders
    .filter((order) => order.quantityWh > 0 && order.untilEpoch >= epoch)
    .map(({ id, isBuy, tick, quantityWh, untilEpoch }) => ({
      id,
      side: isBuy ? "buy" : "sell",
      tick,
      quantityWh,
      untilEpoch,
    }));
}

export type Book = {
  epoch: number;
  orders: number | null;
  bids: Volume[];
  asks: Volume[];
  price2: number;
  volumeWh: number;
};

/** The open book straight from the contract. */
export async function readBook(reader: Reader, deployment: Deployment): Promise<Book> {
  const trading = { address: addressOf(deployment, "Trading"), abi: tradingAbi } as const;
  const [epoch, [bids, asks], result] = await Promise.all([
    reader.readContract({ ...trading, functionName: "currentEpoch" }),
    reader.readContract({ ...trading, functionName: "book", args: [deployment.zone] }),
    reader.readContract({ ...trading, functionName: "indicativeResult", args: [deployment.zone] }),
  ]);
  const volumes = (side: readonly bigint[]) =>
    side.map((wh, i) => ({ tick: i + 1, energy_wh: Number(wh) })).filter(({ energy_wh }) => energy_wh > 0);
  return {
    epoch: Number(epoch),
    orders: null,
    bids: volumes(bids),
    asks: volumes(asks),
    price2: result.price2,
    volumeWh: Number(result.volumeWh),
  };
}

export type Cleared = { epoch: number; start: number; price2: number; volumeWh: number };

/** The newest ended epochs straight from the contract, newest first. */
export async function readCleared(
  reader: Reader,
  deployment: Deployment,
  epoch: number,
  count: number,
): Promise<Cleared[]> {
  const epochs = Array.from({ length: Math.min(count, epoch) }, (_, i) => epoch - 1 - i);
  const results = await Promise.all(
    epochs.map((ended) =>
      reader.readContract({
        address: addressOf(deployment, "Trading"),
        abi: tradingAbi,
        functionName: "resultOf",
        args: [deployment.zone, BigInt(ended)],
      }),
    ),
  );
  return results.map((result, i) => {
    const ended = epochs[i] ?? 0;
    const start = deployment.genesis + ended * deployment.epochSeconds;
    return { epoch: ended, start, price2: result.price2, volumeWh: Number(result.volumeWh) };
  });
}

/** An order as `createOrders` takes it; `further` epochs it stands beyond the one it enters. */
export function packOrder(order: { side: Side; tick: number; quantityWh: number; further: number }): number {
  return order.quantityWh + order.tick * 2 ** 24 + (order.side === "sell" ? 2 ** 34 : 0) + order.further * 2 ** 35;
}

/** Text as a bytes32, as meters' ids are; null if it is too long or not plain. */
export function bytes32Of(text: string): Hex | null {
  if (!/^[!-~]{1,31}$/.test(text)) return null;
  const digits = Array.from(text, (letter) => letter.charCodeAt(0).toString(16).padStart(2, "0")).join("");
  return `0x${digits.padEnd(64, "0")}`;
}
