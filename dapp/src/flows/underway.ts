/**
 * What an account has under way: what it signed and handed over, what it sent, from before that until its fate is known.
 *
 * It is kept in the browser's storage, by market and account, so that neither a reload nor a lost answer loses it: the
 * same signature can be handed in again, which counts once, where a new one would count again.
 */

import type { Hex } from "viem";
import type { Shapes } from "../api";
import type { Deployment } from "../deployment";

/** What was signed for somebody else to bring. The relay takes it as often as it is brought; it counts once. */
export type Signed =
  | { kind: "orders"; body: Shapes["SignedOrders"] }
  | { kind: "withdrawal"; body: Shapes["SignedWithdrawal"] }
  | { kind: "deposit"; body: Shapes["SignedDeposit"] };

/** A transaction of one's own: what it calls, and its hash once the wallet has sent it. */
export type Sent = { kind: "transaction"; call: string; args: string; hash: Hex | null };

export type What = Signed | Sent;

/** `since` is the newest block when it began: what it does is in a later one. */
export type Kept = { id: string; since: number; what: What };

/** What stands in each other's way, since doing both is most likely one wish, done twice. */
export type Topic = "order" | "withdraw" | "deposit";

/** The same, or what may be the same, is under way already. */
export class AlreadyUnderway extends Error {}

/** Something that was signed, as it is kept from before it is handed over until its fate is known. */
export type Keeping = {
  /** Does what may decide its fate, while it is known that this page follows it. */
  during: <T>(act: () => Promise<T>) => Promise<T>;
  settle: () => void;
  /** Whether it has come about, as the chain says. */
  isDone: () => Promise<boolean>;
};

const TOPICS: Record<string, Topic> = {
  orders: "order",
  createOrders: "order",
  withdrawal: "withdraw",
  withdraw: "withdraw",
  withdrawFor: "withdraw",
  deposit: "deposit",
  depositWithPermit: "deposit",
};

/** Own transactions that bring what was signed before, and so cannot count beside it. */
const BRINGS: Record<string, Signed["kind"]> = { withdrawFor: "withdrawal", depositWithPermit: "deposit" };

export const topicOf = (what: What): Topic | null =>
  TOPICS[what.kind === "transaction" ? what.call : what.kind] ?? null;

/**
 * What keeps something of a topic from being begun, if anything does. Orders and withdrawals that were signed share the
 * account's nonces, so that one of them makes another worthless: they wait for each other.
 */
export function inTheWay(list: readonly Kept[], topic: Topic): Kept | undefined {
  const uses = (what: What) => what.kind === "orders" || what.kind === "withdrawal";
  return list.find(({ what }) => topicOf(what) === topic || (topic !== "deposit" && uses(what)));
}

function idOf(what: What): string {
  return what.kind === "transaction" ? `${what.call} ${what.args}` : what.body.signature;
}

function conflict(list: readonly Kept[], what: What): boolean {
  if (list.some(({ id }) => id === idOf(what))) return true;
  const topic = topicOf(what);
  const brings = what.kind === "transaction" ? BRINGS[what.call] : undefined;
  return (
    topic !== null && inTheWay(brings ? list.filter((kept) => kept.what.kind !== brings) : list, topic) !== undefined
  );
}

const NOTHING: readonly Kept[] = [];

/** What accounts have under way in one market. Other tabs of the browser see the same. */
export class Underway {
  private readonly prefix: string;
  private readonly listeners = new Set<() => void>();
  private readonly lists = new Map<string, readonly Kept[]>();
  private readonly followed = new Set<string>();

  constructor(
    { chainId, contracts, genesis }: Deployment,
    private readonly storage: Storage,
  ) {
    this.prefix = `busbar-underway-${chainId}-${contracts.Trading}-${genesis}-`.toLowerCase();
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** What an account has under way, the oldest first. The same array until something changes. */
  list(account: string): readonly Kept[] {
    const key = this.keyOf(account);
    const known = this.lists.get(key);
    if (known) return known;
    const read = parsed(this.storage.getItem(key));
    this.lists.set(key, read);
    return read;
  }

  /** Whether this page waits for its end just now. */
  isFollowed(id: string): boolean {
    return this.followed.has(id);
  }

  /**
   * Keeps something that is about to be handed over or sent.
   *
   * @throws AlreadyUnderway if it, or what may be the same, is kept already.
   */
  keep(account: string, since: number, what: What): Kept {
    // Another tab may have begun something of which this one has not heard yet.
    this.lists.delete(this.keyOf(account));
    const list = this.list(account);
    if (conflict(list, what)) throw new AlreadyUnderway();
    const kept = { id: idOf(what), since, what };
    this.write(account, [...list, kept]);
    return kept;
  }

  /** The wallet has sent a transaction that is kept. */
  sent(account: string, id: string, hash: Hex): void {
    this.write(
      account,
      this.list(account).map((kept) =>
        kept.id === id && kept.what.kind === "transaction" ? { ...kept, what: { ...kept.what, hash } } : kept,
      ),
    );
  }

  /** Its fate is known. */
  settle(account: string, id: string): void {
    this.write(
      account,
      this.list(account).filter((kept) => kept.id !== id),
    );
  }

  /** Does something while it is known that this page follows it. */
  async during<T>(id: string, act: () => Promise<T>): Promise<T> {
    this.followed.add(id);
    this.tell();
    try {
      return await act();
    } finally {
      this.followed.delete(id);
      this.tell();
    }
  }

  /** Reads what another tab has changed. */
  reread(key: string | null): void {
    if (key !== null && !key.startsWith(this.prefix)) return;
    this.lists.clear();
    this.tell();
  }

  private keyOf(account: string): string {
    return this.prefix + account.toLowerCase();
  }

  private write(account: string, list: readonly Kept[]): void {
    const key = this.keyOf(account);
    // What cannot be kept is not begun: this throws before anything is handed over.
    if (list.length) this.storage.setItem(key, JSON.stringify(list));
    else this.storage.removeItem(key);
    this.lists.set(key, list);
    this.tell();
  }

  private tell(): void {
    // Also what is only followed otherwise than before is news to who looks.
    for (const [key, list] of this.lists) this.lists.set(key, list.length ? [...list] : list);
    for (const listener of this.listeners) listener();
  }
}

function parsed(text: string | null): readonly Kept[] {
  if (text === null) return NOTHING;
  try {
    const read: unknown = JSON.parse(text);
    return Array.isArray(read) ? read.filter(isKept) : NOTHING;
  } catch {
    return NOTHING;
  }
}

function isKept(one: unknown): one is Kept {
  const { id, since, what } = (one ?? {}) as Partial<Kept>;
  return typeof id === "string" && typeof since === "number" && typeof what?.kind === "string";
}
