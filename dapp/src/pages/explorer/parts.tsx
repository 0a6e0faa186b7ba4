/** What the explorer's pages have in common: the way back and the search, lists that grow, and nothing found. */

import { Button, Group, TextInput } from "@mantine/core";
import { keepPreviousData, useQuery, type UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, type SyntheticEvent, useState } from "react";
import { Link, useLocation } from "wouter";
import { type Api, pages } from "../../api";
import { Card, Empty, Loaded } from "../../components/bits";
import { useWords } from "../../i18n";
import { useMarket } from "../../market";

const ROWS = 25;
const MOST_OF_PAGE = 500;

/** The API, on pages that are there only with one. */
export function useApi(): Api {
  const { api } = useMarket();
  if (!api) throw new Error("no API");
  return api;
}

export function Search() {
  const { t } = useWords();
  const [here, go] = useLocation();
  const [text, setText] = useState("");
  const find = (event: SyntheticEvent) => {
    event.preventDefault();
    if (text.trim()) go(`/explorer/find/${encodeURIComponent(text.trim())}`);
  };
  return (
    <form onSubmit={find} role="search" style={{ marginBottom: "0.75rem" }}>
      <Group gap="xs">
        {here !== "/explorer" && (
          <Link href="/explorer" style={{ whiteSpace: "nowrap" }}>
            ← {t.app.explorer}
          </Link>
        )}
        <Group gap="xs" wrap="nowrap" style={{ flex: "1 1 16rem" }}>
          <TextInput
            style={{ flex: 1 }}
            aria-label={t.explorer.find}
            placeholder={t.explorer.find}
            autoCapitalize="off"
            autoComplete="off"
            spellCheck={false}
            value={text}
            onChange={(event) => setText(event.currentTarget.value)}
          />
          <Button type="submit" variant="default">
            {t.explorer.go}
          </Button>
        </Group>
      </Group>
    </form>
  );
}

/** What was looked for, or that there is no such thing. */
export function Sought<T>(props: { query: UseQueryResult<T | null>; what: string; children: (data: T) => ReactNode }) {
  const { query, what, children } = props;
  return (
    <Loaded query={query} height={300}>
      {(data) => (data === null ? <Nothing what={what} /> : children(data))}
    </Loaded>
  );
}

export function Nothing({ what }: { what: string }) {
  const { t } = useWords();
  return (
    <Card label={t.explorer.nothing(what)}>
      <div role="status">
        <Empty title={t.explorer.nothing(what)} how={t.explorer.nothingHow} />
      </div>
    </Card>
  );
}

/** A list that can be made longer. The newest page follows the market by its version; asked for more, it grows. */
export function List<T>(props: {
  name: string;
  version: number | null;
  read: (limit: number, cursor: string | null) => Promise<{ items: T[]; next_cursor?: string | null }>;
  none: string;
  children: (items: T[]) => ReactNode;
}) {
  const { name, version, read, none, children } = props;
  const { t } = useWords();
  const [most, setMost] = useState(ROWS);
  const query = useQuery({
    queryKey: ["list", name, version, most],
    placeholderData: keepPreviousData,
    queryFn: () => pages((cursor) => read(Math.min(most, MOST_OF_PAGE), cursor), most),
  });
  return (
    <Loaded query={query} height={400}>
      {(items) =>
        items.length ? (
          <>
            {children(items)}
            {items.length >= most && (
              <Button variant="default" size="xs" mt="sm" onClick={() => setMost(most + ROWS * 2)}>
                {t.app.more}
              </Button>
            )}
          </>
        ) : (
          <Empty title={none} />
        )
      }
    </Loaded>
  );
}
