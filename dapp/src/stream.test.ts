import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listen } from "./stream";

class Source extends EventTarget {
  static readonly CLOSED = 2;
  static all: Source[] = [];
  static get open() {
    return Source.all.filter(({ readyState }) => readyState !== Source.CLOSED);
  }
  readyState = 0;
  constructor(readonly url: string) {
    super();
    Source.all.push(this);
  }
  close() {
    this.readyState = Source.CLOSED;
  }
  refuse() {
    this.readyState = Source.CLOSED;
    this.dispatchEvent(new Event("error"));
  }
  tell(told: unknown, name = "block") {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(told) }));
  }
}

/** Channels as browsers have them: whoever has the same name hears it, but for the sender, and a little later. */
class Channel {
  static all: Channel[] = [];
  onmessage: ((event: { data: unknown }) => void) | null = null;
  /** As of a window that hangs: it neither says nor hears anything. */
  hangs = false;
  constructor(readonly name: string) {
    Channel.all.push(this);
  }
  postMessage(data: unknown) {
    if (this.hangs) return;
    const others = Channel.all.filter((other) => other !== this && !other.hangs && other.name === this.name);
    queueMicrotask(() => others.forEach((other) => other.onmessage?.({ data: structuredClone(data) })));
  }
  close() {
    this.onmessage = null;
    Channel.all = Channel.all.filter((other) => other !== this);
  }
}

type Holder = { lost: (problem: unknown) => void };

/** Locks as browsers have them, of one name: one holder, and the others in turn, but for who takes it away. */
class Locks {
  private holder: Holder | null = null;
  private queue: (() => void)[] = [];

  request(_: string, { signal, steal }: LockOptions, held: () => Promise<void>) {
    return new Promise<void>((resolve, reject) => {
      const grant = () => {
        const mine: Holder = { lost: reject };
        this.holder = mine;
        void Promise.resolve()
          .then(held)
          .then(resolve)
          .then(() => {
            if (this.holder !== mine) return;
            this.holder = null;
            this.queue.shift()?.();
          });
      };
      signal?.addEventListener("abort", () => {
        if (!this.queue.includes(grant)) return;
        this.queue = this.queue.filter((other) => other !== grant);
        reject(new DOMException("aborted", "AbortError"));
      });
      if (steal) {
        this.holder?.lost(new DOMException("stolen", "AbortError"));
        grant();
      } else if (this.holder) this.queue.push(grant);
      else grant();
    });
  }
}

const page = Object.assign(new EventTarget(), { visibilityState: "visible" });

function show(state: "visible" | "hidden") {
  page.visibilityState = state;
  page.dispatchEvent(new Event("visibilitychange"));
}

const URL = "/streams/market";
const settled = () => vi.advanceTimersByTimeAsync(0);

/** A window that listens, and what it has heard. */
function opened() {
  const heard: unknown[] = [];
  const close = listen(URL, ["block", "book"], (_, told) => heard.push(told));
  return { heard, close };
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", Source);
  vi.stubGlobal("document", page);
  vi.stubGlobal("navigator", {});
  page.visibilityState = "visible";
  Source.all = [];
  Channel.all = [];
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function withLocks() {
  vi.stubGlobal("navigator", { locks: new Locks() });
  vi.stubGlobal("BroadcastChannel", Channel);
}

test("listen: refused: comes again, later each time", () => {
  const { close } = opened();
  Source.all[0]?.refuse();
  vi.advanceTimersByTime(1_000);
  expect(Source.all.length).toBe(2);
  Source.all[1]?.refuse();
  vi.advanceTimersByTime(1_999);
  expect(Source.all.length).toBe(2);
  vi.advanceTimersByTime(1);
  expect(Source.all.length).toBe(3);
  close();
});

test("listen: the connection is lost: the browser comes again, nobody else", () => {
  const { close } = opened();
  Source.all[0]?.dispatchEvent(new Event("error"));
  vi.advanceTimersByTime(60_000);
  expect(Source.all.length).toBe(1);
  close();
});

test("listen: the window is hidden: holds no connection, and has one again when it is seen", () => {
  const { heard, close } = opened();
  show("hidden");
  expect(Source.open).toEqual([]);
  show("visible");
  Source.all[1]?.tell({ number: 7 });
  expect(heard).toEqual([{ number: 7 }]);
  close();
});

test("listen: stopped: neither comes again nor holds a connection", () => {
  const { close } = opened();
  Source.all[0]?.refuse();
  close();
  show("hidden");
  show("visible");
  vi.advanceTimersByTime(60_000);
  expect(Source.all.length).toBe(1);
});

test("listen: a browser without locks: each window has a stream of its own", () => {
  const windows = [opened(), opened()];
  expect(Source.open.length).toBe(2);
  windows.forEach(({ close }) => close());
});

test("listen: locks are refused to this page: it has a stream of its own, whatever other windows do", async () => {
  withLocks();
  vi.stubGlobal("navigator", { locks: { request: () => Promise.reject(new Error("SecurityError")) } });
  const [first, second] = [opened(), opened()];
  await vi.advanceTimersByTimeAsync(60_000);
  expect(Source.all.length).toBe(2);
  Source.open[0]?.tell({ number: 7 });
  second.close();
  await vi.advanceTimersByTimeAsync(60_000);
  Source.open[0]?.tell({ number: 8 });
  expect([first.heard, second.heard]).toEqual([[{ number: 7 }, { number: 8 }], []]);
  first.close();
  expect(Source.open).toEqual([]);
});

test("listen: three windows: share one stream, and all hear", async () => {
  withLocks();
  const windows = [opened(), opened(), opened()];
  await settled();
  expect(Source.all.length).toBe(1);
  Source.all[0]?.tell({ number: 7 });
  await settled();
  expect(windows.map(({ heard }) => heard)).toEqual([[{ number: 7 }], [{ number: 7 }], [{ number: 7 }]]);
  windows.forEach(({ close }) => close());
});

test("listen: the window with the stream is closed: the next takes over at once", async () => {
  withLocks();
  const [first, second, third] = [opened(), opened(), opened()];
  await settled();
  first.close();
  await settled();
  expect(Source.open.length).toBe(1);
  Source.open[0]?.tell({ number: 8 });
  await settled();
  expect([first.heard, second.heard, third.heard]).toEqual([[], [{ number: 8 }], [{ number: 8 }]]);
  third.close();
  second.close();
  await settled();
  expect(Source.open).toEqual([]);
});

test("listen: a newcomer: is told the newest of each name, and how old it is", async () => {
  withLocks();
  const first = opened();
  await settled();
  Source.all[0]?.tell({ number: 7 });
  Source.all[0]?.tell({ orders: 1 }, "book");
  Source.all[0]?.tell({ number: 8 });
  vi.advanceTimersByTime(30_000);
  const told: unknown[] = [];
  const close = listen(URL, ["block", "book"], (name, news, heardMs) =>
    told.push([name, news, Math.round(performance.now() - heardMs)]),
  );
  await settled();
  expect(told).toEqual([
    ["block", { number: 8 }, 30_000],
    ["book", { orders: 1 }, 30_000],
  ]);
  first.close();
  close();
});

test("listen: hidden while it waits its turn: never opens a stream", async () => {
  withLocks();
  const windows = [opened(), opened()];
  show("hidden");
  await settled();
  expect(Source.open).toEqual([]);
  show("visible");
  await settled();
  expect(Source.open.length).toBe(1);
  windows.forEach(({ close }) => close());
});

test("listen: the window with the stream hangs: another takes over, and when it comes to itself it hears the other", async () => {
  withLocks();
  const [first, second, third] = [opened(), opened(), opened()];
  await settled();
  const [hung] = Channel.all;
  if (hung) hung.hangs = true;
  await vi.advanceTimersByTimeAsync(7_000);
  expect(Source.all.length).toBe(1);
  await vi.advanceTimersByTimeAsync(7_000);
  expect(Source.open.length).toBe(1);
  expect(Source.open[0]).not.toBe(Source.all[0]);
  if (hung) hung.hangs = false;
  Source.open[0]?.tell({ number: 9 });
  await settled();
  expect([first.heard, second.heard, third.heard]).toEqual([[{ number: 9 }], [{ number: 9 }], [{ number: 9 }]]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(Source.open.length).toBe(1);
  [first, second, third].forEach(({ close }) => close());
  expect(Source.open).toEqual([]);
});

test("listen: nothing happens in the market: nobody takes the stream from who has it", async () => {
  withLocks();
  const windows = [opened(), opened(), opened()];
  await vi.advanceTimersByTimeAsync(600_000);
  expect(Source.all.length).toBe(1);
  windows.forEach(({ close }) => close());
});

test("listen: the window that took over is closed: one that hung takes its turn again", async () => {
  withLocks();
  const [first, second] = [opened(), opened()];
  await settled();
  const [hung] = Channel.all;
  if (hung) hung.hangs = true;
  await vi.advanceTimersByTimeAsync(14_000);
  if (hung) hung.hangs = false;
  second.close();
  await settled();
  Source.open[0]?.tell({ number: 10 });
  expect([first.heard, second.heard]).toEqual([[{ number: 10 }], []]);
  first.close();
});

test("listen: old news of a window that hung: are not heard beside those of the one that took over", async () => {
  withLocks();
  const windows = [opened(), opened()];
  await settled();
  const news = { name: "block", told: { number: 1 }, sinceEpochMs: 0 };
  new Channel(URL).postMessage({ reign: 1, news });
  await settled();
  expect(windows.map(({ heard }) => heard)).toEqual([[], []]);
  windows.forEach(({ close }) => close());
});
