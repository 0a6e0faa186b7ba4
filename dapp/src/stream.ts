/** A stream of events that comes back, and that a tab nobody looks at leaves to others. */

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;

/**
 * Listens to events of one name until the function it returns is called.
 *
 * A browser comes back by itself after a lost connection, but never after a refusal: this does, later each time. It
 * opens few connections to a server without HTTP/2, for all tabs together: a hidden tab needs none. Whoever comes is
 * told the newest first.
 */
export function listen(url: string, name: string, heard: (told: unknown) => void): () => void {
  let stream: EventSource | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let waitMs = FIRST_MS;

  const open = () => {
    const mine = new EventSource(url);
    stream = mine;
    mine.addEventListener(name, (event: MessageEvent<string>) => {
      waitMs = FIRST_MS;
      heard(JSON.parse(event.data));
    });
    mine.addEventListener("error", () => {
      if (mine !== stream || mine.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(open, waitMs);
      waitMs = Math.min(waitMs * 2, LONGEST_MS);
    });
  };
  const shut = () => {
    clearTimeout(timer);
    stream?.close();
    stream = null;
  };
  const look = () => {
    if (document.visibilityState === "hidden") shut();
    else if (stream === null) open();
  };
  document.addEventListener("visibilitychange", look);
  look();
  return () => {
    document.removeEventListener("visibilitychange", look);
    shut();
  };
}
