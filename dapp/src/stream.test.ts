import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { listen } from "./stream";

class Source extends EventTarget {
  static readonly CLOSED = 2;
  static all: Source[] = [];
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
  tell(told: unknown) {
    this.dispatchEvent(new MessageEvent("block", { data: JSON.stringify(told) }));
  }
}

const page = Object.assign(new EventTarget(), { visibilityState: "visible" });

function show(state: "visible" | "hidden") {
  page.visibilityState = state;
  page.dispatchEvent(new Event("visibilitychange"));
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("EventSource", Source);
  vi.stubGlobal("document", page);
  page.visibilityState = "visible";
  Source.all = [];
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("listen: refused: comes again, later each time", () => {
  const stop = listen("/streams/blocks", "block", () => undefined);
  Source.all[0]?.refuse();
  vi.advanceTimersByTime(1_000);
  expect(Source.all.length).toBe(2);
  Source.all[1]?.refuse();
  vi.advanceTimersByTime(1_999);
  expect(Source.all.length).toBe(2);
  vi.advanceTimersByTime(1);
  expect(Source.all.length).toBe(3);
  stop();
});

test("listen: the connection is lost: the browser comes again, nobody else", () => {
  const stop = listen("/streams/blocks", "block", () => undefined);
  Source.all[0]?.dispatchEvent(new Event("error"));
  vi.advanceTimersByTime(60_000);
  expect(Source.all.length).toBe(1);
  stop();
});

test("listen: the tab is hidden: holds no connection, and has one again when it is seen", () => {
  const heard: unknown[] = [];
  const stop = listen("/streams/blocks", "block", (told) => heard.push(told));
  show("hidden");
  expect(Source.all[0]?.readyState).toBe(Source.CLOSED);
  show("visible");
  Source.all[1]?.tell({ number: 7 });
  expect(heard).toEqual([{ number: 7 }]);
  stop();
});

test("listen: stopped: neither comes again nor holds a connection", () => {
  const stop = listen("/streams/blocks", "block", () => undefined);
  Source.all[0]?.refuse();
  stop();
  show("hidden");
  show("visible");
  vi.advanceTimersByTime(60_000);
  expect(Source.all.length).toBe(1);
});
