/**
 * What the open book would clear at with one order more, and what that order would trade. The market's rules in the
 * browser, for a preview only; held against busbar/clearing.py by cases that it wrote.
 */

import { market } from "./generated/market";

export type Side = "buy" | "sell";
export type Volume = { tick: number; energy_wh: number };
export type Order = { side: Side; tick: number; quantityWh: number };

export type Result = {
  price2: number;
  longSide: "neither" | "bids" | "asks";
  lowerTick: number;
  filledWh: bigint;
  offeredWh: bigint;
  volumeWh: bigint;
};

export type Fill = { energyUwh: bigint; moneyUnits: bigint };

const UWH_PER_WH = BigInt(market.microWhPerWh);
const NO_TRADE: Result = { price2: 0, longSide: "neither", lowerTick: 0, filledWh: 0n, offeredWh: 0n, volumeWh: 0n };

type Level = { tick: number; bid: bigint; ask: bigint; demand: bigint; above: bigint; supply: bigint; below: bigint };

/** Runs the auction over volumes by tick. */
export function clear(bids: readonly Volume[], asks: readonly Volume[]): Result {
  const levels = levelsOf(bids, asks);
  const volumeWh = levels.reduce((most, level) => max(most, min(level.demand, level.supply)), 0n);
  const lower = levels.find((level) => level.above <= level.supply);
  const upper = levels.findLast((level) => level.below <= level.demand);
  if (volumeWh === 0n || !lower || !upper) return NO_TRADE;
  const result = { ...NO_TRADE, price2: lower.tick + upper.tick, lowerTick: lower.tick, volumeWh };
  if (lower.tick !== upper.tick || lower.demand === lower.supply) return result;
  return lower.demand > lower.supply
    ? { ...result, longSide: "bids", filledWh: volumeWh - lower.above, offeredWh: lower.bid }
    : { ...result, longSide: "asks", filledWh: volumeWh - lower.below, offeredWh: lower.ask };
}

/** What an order of the book trades at a result. */
export function fill(result: Result, order: Order): Fill {
  if (result.volumeWh === 0n) return { energyUwh: 0n, moneyUnits: 0n };
  const energy = BigInt(order.quantityWh) * UWH_PER_WH;
  const price2 = BigInt(result.price2);
  const buys = order.side === "buy";
  if (result.longSide === (buys ? "bids" : "asks") && order.tick === result.lowerTick) {
    const share = energy * result.filledWh;
    return buys
      ? { energyUwh: share / result.offeredWh, moneyUnits: ceil(share * price2, result.offeredWh) }
      : { energyUwh: ceil(share, result.offeredWh), moneyUnits: (share * price2) / result.offeredWh };
  }
  const trades = buys ? 2 * order.tick >= result.price2 : 2 * order.tick <= result.price2;
  return trades ? { energyUwh: energy, moneyUnits: energy * price2 } : { energyUwh: 0n, moneyUnits: 0n };
}

/** What the book would clear at with this order in it, and what the order would trade. */
export function preview(
  bids: readonly Volume[],
  asks: readonly Volume[],
  order: Order,
): { result: Result; fill: Fill } {
  const mine = { tick: order.tick, energy_wh: order.quantityWh };
  const result = order.side === "buy" ? clear([...bids, mine], asks) : clear(bids, [...asks, mine]);
  return { result, fill: fill(result, order) };
}

/** What an open order locks: its energy, or its limit's worth of money. */
export function escrow(order: Order): Fill {
  const energyUwh = BigInt(order.quantityWh) * UWH_PER_WH;
  return order.side === "sell"
    ? { energyUwh, moneyUnits: 0n }
    : { energyUwh: 0n, moneyUnits: energyUwh * 2n * BigInt(order.tick) };
}

function levelsOf(bids: readonly Volume[], asks: readonly Volume[]): Level[] {
  const [bidAt, askAt] = [byTick(bids), byTick(asks)];
  let demand = [...bidAt.values()].reduce((sum, wh) => sum + wh, 0n);
  let below = 0n;
  return [...new Set([...bidAt.keys(), ...askAt.keys()])]
    .sort((a, b) => a - b)
    .map((tick) => {
      const [bid, ask] = [bidAt.get(tick) ?? 0n, askAt.get(tick) ?? 0n];
      const level = { tick, bid, ask, demand, above: demand - bid, supply: below + ask, below };
      demand -= bid;
      below += ask;
      return level;
    });
}

function byTick(volumes: readonly Volume[]): Map<number, bigint> {
  const sums = new Map<number, bigint>();
  for (const { tick, energy_wh } of volumes) sums.set(tick, (sums.get(tick) ?? 0n) + BigInt(energy_wh));
  return sums;
}

const min = (a: bigint, b: bigint) => (a < b ? a : b);
const max = (a: bigint, b: bigint) => (a > b ? a : b);
const ceil = (a: bigint, b: bigint) => (a + b - 1n) / b;
