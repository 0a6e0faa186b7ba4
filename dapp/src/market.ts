/** The market this page stands in front of, and its news as they come. */

import { createContext, useContext, useEffect, useState, useSyncExternalStore } from "react";
import type { Config } from "wagmi";
import type { Api, Shapes } from "./api";
import type { Reader } from "./chain";
import type { Deployment } from "./deployment";
import type { Kept, Underway } from "./flows/underway";
import { listen } from "./stream";
import { midnightBefore } from "./units";

/** The newest block: its number and time, and since when it is the newest, in milliseconds as this page counts them. */
export type News = { number: number; timestamp: number; epoch: number; sinceMs: number };

/** Without news for so long, what is shown may be out of date. */
export const STALE_MS = 20_000;

/** A block as the API's stream tells it, see `BlockNews` there. */
type Block = { number: number; timestamp: number; epoch: number; age_s: number };

/** A block that the server may have known for long: its age counts, and not when this page was told. */
export const newsOf = ({ number, timestamp, epoch, age_s }: Block, heardMs: number): News => ({
  number,
  timestamp,
  epoch,
  sinceMs: heardMs - age_s * 1_000,
});

/** What the API's stream tells beside blocks. */
export type Told = { book: (book: Shapes["BookShape"]) => void; epoch: () => void };

/** Hears of new blocks, from the API's stream or else from the node, and tells whoever listens. */
export class Newsroom {
  private news: News | null = null;
  private readonly listeners = new Set<() => void>();

  constructor(
    private readonly deployment: Deployment,
    private readonly reader: Reader,
  ) {}

  /** Listens until the function it returns is called. */
  start(others: Told): () => void {
    const { api, genesis, epochSeconds, zone } = this.deployment;
    if (api === null)
      return this.reader.watchBlocks({
        emitOnBegin: true,
        onBlock: ({ number, timestamp }) => {
          const epoch = Math.floor((Number(timestamp) - genesis) / epochSeconds);
          this.tell({ number: Number(number), timestamp: Number(timestamp), epoch, sinceMs: performance.now() });
        },
      });
    return listen(`${api}/streams/market?zone=${zone}`, ["block", "book", "epoch"], (name, told, heardMs) => {
      if (name === "book") others.book(told as Shapes["BookShape"]);
      else if (name === "epoch") others.epoch();
      else this.tell(newsOf(told as Block, heardMs));
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly current = (): News | null => this.news;

  private tell(news: News): void {
    this.news = news;
    for (const listener of this.listeners) listener();
  }
}

export type Market = {
  deployment: Deployment;
  api: Api | null;
  reader: Reader;
  wallets: Config;
  newsroom: Newsroom;
  underway: Underway;
};

export const MarketContext = createContext<Market | null>(null);

/** The market of this page. */
export function useMarket(): Market {
  const market = useContext(MarketContext);
  if (!market) throw new Error("no market");
  return market;
}

/** The newest block, as news come. */
export function useNews(): News | null {
  const { newsroom } = useMarket();
  return useSyncExternalStore(newsroom.subscribe, newsroom.current);
}

/** The open epoch; null until the first news. It changes once an epoch, unlike `useNews`. */
export function useEpoch(): number | null {
  const { newsroom } = useMarket();
  return useSyncExternalStore(newsroom.subscribe, () => newsroom.current()?.epoch ?? null);
}

const NOTHING: readonly Kept[] = [];

/** What an account has under way, as it changes. */
export function useUnderway(account: string | undefined): readonly Kept[] {
  const { underway } = useMarket();
  return useSyncExternalStore(underway.subscribe, () => (account ? underway.list(account) : NOTHING));
}

/** The time of this page in milliseconds, a few times a second. */
export function useTicking(everyMs: number): number {
  const [now, setNow] = useState(() => performance.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(performance.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

/** Seconds of the wall clock until an epoch ends, and how much of it is over, 0 to 1. */
export function untilEnd(news: News, nowMs: number, deployment: Deployment): { seconds: number; share: number } {
  const { genesis, epochSeconds, pace } = deployment;
  const chainNow = news.timestamp + (Math.max(0, nowMs - news.sinceMs) / 1000) * pace;
  const end = genesis + (news.epoch + 1) * epochSeconds;
  const left = Math.max(0, end - chainNow);
  return { seconds: left / pace, share: Math.min(1, 1 - left / epochSeconds) };
}

/** The start of an epoch, Unix seconds. */
export function startOf(epoch: number, { genesis, epochSeconds }: Deployment): number {
  return genesis + epoch * epochSeconds;
}

/**
 * The last epoch that is over by the next time a clock in Bangkok shows "18:00"; null if no epoch from the open one on is,
 * or if it is no time.
 */
export function untilClock(text: string, openEpoch: number, deployment: Deployment): number | null {
  const match = /^(\d\d):(\d\d)$/.exec(text);
  if (!match) return null;
  const start = startOf(openEpoch, deployment);
  const wanted = midnightBefore(start) + Number(match[1]) * 3_600 + Number(match[2]) * 60;
  const next = wanted > start ? wanted : wanted + 86_400;
  const last = Math.floor((next - deployment.genesis) / deployment.epochSeconds) - 1;
  return last >= openEpoch ? last : null;
}
