/** One stream of events for all windows of a browser. It comes back, and windows that nobody looks at are no part of it. */

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/** Told of an event: its name, its data, and when it came, in milliseconds as `performance.now()` counts them here. */
export type Heard = (name: string, told: unknown, heardMs: number) => void;

/** An event on its way to other windows; its time counts from 1970, for each window has a beginning of its own. */
type News = { name: string; told: unknown; sinceEpochMs: number };

/** What the window with the stream tells the others: since when it has it, and news; null says that it is there. */
type Beat = { reign: number; news: News | null };

/** So often the window with the stream says that it is there, and after so long a silence another asks for it. */
const BEAT_MS = 2_000;
const SILENCE_MS = 8_000;

/**
 * Listens to events of some names until the function it returns is called.
 *
 * A browser opens six connections to a server without HTTP/2, for all windows together: one window holds the stream and
 * tells the others, and when it is closed, hidden or hangs the next takes over. Where a browser has no locks or no
 * channels, each window has a stream of its own.
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
  const now = () => performance.timeOrigin + performance.now();
  const hear = ({ name, told, sinceEpochMs }: News) => heard(name, told, sinceEpochMs - performance.timeOrigin);
  // Whoever has the stream answers with the newest of each name.
  const ask = () => channel.postMessage(null);
  let over = false;
  let reign = 0;
  let leading: { answer: () => void; retire: () => void } | null = null;
  let turn: AbortController | null = null;
  let silence: ReturnType<typeof setTimeout> | undefined;

  const lead = () =>
    new Promise<void>((release) => {
      leading?.retire();
      if (over) {
        release();
        return;
      }
      clearTimeout(silence);
      const newest = new Map<string, News>();
      // Later than any other, whatever became of the clock.
      const mine = Math.max(now(), reign + 1);
      reign = mine;
      const tell = (news: News | null) => channel.postMessage({ reign: mine, news } satisfies Beat);
      const shut = connect(url, names, (name, told, heardMs) => {
        // What a window that hung finds waiting is old.
        if (mine < reign) return;
        const news = { name, told, sinceEpochMs: performance.timeOrigin + heardMs };
        newest.set(name, news);
        tell(news);
        hear(news);
      });
      const beats = setInterval(tell, BEAT_MS, null);
      const answer = () => [null, ...newest.values()].forEach(tell);
      const retire = () => {
        leading = null;
        clearInterval(beats);
        shut();
        release();
      };
      leading = { answer, retire };
      answer();
    });

  const take = (options: LockOptions) => {
    navigator.locks.request(url, options, lead).catch((problem: unknown) => {
      if (over || options.signal?.aborted) return;
      leading?.retire();
      // Another window has taken it from this one, which hung; or locks are refused to this page.
      if (problem instanceof DOMException && problem.name === "AbortError") follow();
      else alone();
    });
  };

  const alone = () => {
    clearTimeout(silence);
    channel.onmessage = null;
    leading = { answer: () => undefined, retire: connect(url, names, heard) };
  };

  const follow = () => {
    turn = new AbortController();
    listenOn();
    ask();
    take({ signal: turn.signal });
  };

  const listenOn = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      // Who hung itself hears only now what was said meanwhile.
      ask();
      silence = setTimeout(
        () => {
          turn?.abort();
          take({ steal: true });
        },
        // Not all windows at once.
        BEAT_MS * (1 + Math.random()),
      );
    }, SILENCE_MS);
  };

  channel.onmessage = ({ data }: MessageEvent<Beat | null>) => {
    if (data === null) leading?.answer();
    else if (data.reign >= reign) {
      reign = data.reign;
      if (!leading) listenOn();
      if (data.news) hear(data.news);
    }
  };
  follow();
  return () => {
    over = true;
    clearTimeout(silence);
    turn?.abort();
    leading?.retire();
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
