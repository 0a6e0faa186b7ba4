/** One stream of events for all windows of a browser. It comes back, and windows that nobody looks at are no part of it. */

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/** Told of an event: its name, its data, and when it came, in milliseconds as `performance.now()` counts them here. */
export type Heard = (name: string, told: unknown, heardMs: number) => void;

/** An event on its way to other windows; its time counts from 1970, for each window has a beginning of its own. */
type News = { name: string; told: unknown; sinceEpochMs: number };

/**
 * Listens to events of some names until the function it returns is called.
 *
 * A browser opens six connections to a server without HTTP/2, for all windows together: one window holds the stream and
 * tells the others, and when it is closed or hidden the next takes over. Where a browser has no locks or no channels,
 * each window has a stream of its own.
 */
export function listen(url: string, names: readonly string[], heard: Heard): () => void {
  let leave: (() => void) | null = null;
  const look = () => {
    if (document.visibilityState !== "hidden") {
      leave ??= canShare() ? share(url, names, heard) : connect(url, names, heard);
      return;
    }
    leave?.();
    leave = null;
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    leave?.();
  };
}

// Pages over plain http have no locks, but for those of this machine.
const canShare = () => "locks" in navigator && "BroadcastChannel" in globalThis;

/** Hears what the window with the stream hears, and is that window once it is this one's turn. */
function share(url: string, names: readonly string[], heard: Heard): () => void {
  const channel = new BroadcastChannel(url);
  const over = new AbortController();
  const newest = new Map<string, News>();
  const hear = ({ name, told, sinceEpochMs }: News) => heard(name, told, sinceEpochMs - performance.timeOrigin);

  const lead = () =>
    new Promise<void>((release) => {
      if (over.signal.aborted) {
        release();
        return;
      }
      const shut = connect(url, names, (name, told, heardMs) => {
        const news = { name, told, sinceEpochMs: performance.timeOrigin + heardMs };
        newest.set(name, news);
        channel.postMessage(news);
        hear(news);
      });
      over.signal.addEventListener("abort", () => {
        shut();
        release();
      });
    });

  channel.onmessage = ({ data }: MessageEvent<News | null>) => {
    if (data !== null) hear(data);
    else for (const news of newest.values()) channel.postMessage(news);
  };
  // Whoever comes asks for the newest; only the window with the stream has any.
  channel.postMessage(null);
  navigator.locks.request(url, { signal: over.signal }, lead).catch(() => {
    if (!over.signal.aborted) void lead();
  });
  return () => {
    over.abort();
    channel.close();
  };
}

/** A stream of one's own. A browser comes back by itself after a lost connection, but never after a refusal: this does. */
function connect(url: string, names: readonly string[], heard: Heard): () => void {
  let stream: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waitMs = FIRST_MS;

  const open = () => {
    const mine = new EventSource(url);
    stream = mine;
    for (const name of names)
      mine.addEventListener(name, (event: MessageEvent<string>) => {
        waitMs = FIRST_MS;
        heard(name, JSON.parse(event.data), performance.now());
      });
    mine.addEventListener("error", () => {
      if (mine !== stream || mine.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, waitMs);
      waitMs = Math.min(waitMs * 2, LONGEST_MS);
    });
  };
  open();
  return () => {
    clearTimeout(timer);
    stream?.close();
    stream = null;
  };
}
