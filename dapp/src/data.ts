/** What pages show: from the API and its streams, or, where there is none, from the chain itself. */

import { keepPreviousData, type QueryClient, useQuery, type UseQueryResult } from "@tanstack/react-query";
import type { Address } from "viem";
import { useConnection } from "wagmi";
import { orNull, type Shapes, told } from "./api";
import { type Book, type Cleared, type Holding, readBook, readCleared, readHolding } from "./chain";
import { startOf, type Told, useEpoch, useMarket } from "./market";
import { isReadUntil } from "./today";
import { monthOf } from "./units";

/** How many epochs the price history goes back: a day of quarter hours. */
export const HISTORY = 96;

/** Looks again when a block brought news, but not more often than this. */
const LOOK_MS = 2_000;

/** Blocks that the index may be behind before it is said. */
export const FAR_BEHIND = 5;

const bookOf = (shape: Shapes["BookShape"]): Book => ({
  epoch: shape.epoch,
  orders: shape.orders,
  bids: shape.bids,
  asks: shape.asks,
  price2: shape.indicative.price2,
  volumeWh: shape.indicative.volume_wh,
});

const clearedOf = ({ epoch, start, result }: Shapes["EpochShape"]): Cleared => ({
  epoch,
  start,
  price2: result.price2,
  volumeWh: result.volume_wh,
});

/** Brings what the API's stream tells to where pages look. */
export const tellingOf = (queries: QueryClient): Told => ({
  book: (book) => queries.setQueryData(["book"], bookOf(book)),
  // What trades changed with it: a cleared epoch is in the lists, and in the statement.
  epoch: () => {
    for (const name of ["cleared", "statement", "list", "epoch", "trades"])
      void queries.invalidateQueries({ queryKey: [name] });
  },
});

/** The open book, live. */
export function useBook(): UseQueryResult<Book> {
  const { api, deployment, reader } = useMarket();
  return useQuery({
    queryKey: ["book"],
    queryFn: async () =>
      api
        ? bookOf(await told(api.GET("/api/v1/energy/book", { params: { query: { zone: deployment.zone } } })))
        : readBook(reader, deployment),
    refetchInterval: api ? false : LOOK_MS * 2,
  });
}

/** The newest cleared epochs, newest first. */
export function useCleared(): UseQueryResult<Cleared[]> {
  const { api, deployment, reader } = useMarket();
  const epoch = useEpoch();
  return useQuery({
    queryKey: ["cleared", epoch],
    enabled: epoch !== null,
    placeholderData: keepPreviousData,
    queryFn: async () => {
      if (!api) return readCleared(reader, deployment, epoch ?? 0, HISTORY);
      const query = { zone: deployment.zone, limit: HISTORY };
      return (await told(api.GET("/api/v1/energy/epochs", { params: { query } }))).items.map(clearedOf);
    },
    // The last epoch is cleared some blocks after its end.
    refetchInterval: ({ state }) => ((state.data?.[0]?.epoch ?? 0) === (epoch ?? 0) - 1 ? false : LOOK_MS),
  });
}

/** Retail and buyback in a range of epochs; nothing without an API. */
export function useTariff(first: number | null, last: number | null): UseQueryResult<Shapes["TariffSteps"]> {
  const { api } = useMarket();
  return useQuery({
    queryKey: ["tariff", first, last],
    enabled: api !== null && first !== null && last !== null,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      const query = { first_epoch: first, last_epoch: last };
      return told(api.GET("/api/v1/grid/tariff", { params: { query } }));
    },
  });
}

/** The connected account; undefined without a wallet. */
export function useAccount(): Address | undefined {
  return useConnection().address;
}

/** What an account has, as the chain says. */
export function useHolding(account: Address | undefined): UseQueryResult<Holding> {
  const { deployment, reader } = useMarket();
  return useQuery({
    queryKey: ["mine", "holding", account],
    enabled: account !== undefined,
    queryFn: () => readHolding(reader, deployment, account as Address),
    refetchInterval: LOOK_MS,
  });
}

/** An account's orders of late, with what became of them; nothing without an API. */
export function usePastOrders(account: Address | undefined): UseQueryResult<Shapes["OrderShape"][]> {
  const { api } = useMarket();
  const epoch = useEpoch();
  return useQuery({
    queryKey: ["mine", "past", account, epoch],
    enabled: api !== null && account !== undefined,
    placeholderData: keepPreviousData,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      const query = { account: account as Address, limit: 8 };
      return (await told(api.GET("/api/v1/energy/orders", { params: { query } }))).items;
    },
    refetchInterval: LOOK_MS * 2,
  });
}

/** The server's own standing; null without an API. It looks again every few seconds. */
export function useStatus(): UseQueryResult<Shapes["Status"] | null> {
  const { api } = useMarket();
  return useQuery({
    queryKey: ["status"],
    queryFn: async () => (api ? told(api.GET("/api/v1/status")) : null),
    refetchInterval: 5_000,
  });
}

/** The market as a whole; nothing without an API. */
export function useGrid(): UseQueryResult<Shapes["GridStatus"]> {
  const { api } = useMarket();
  return useQuery({
    queryKey: ["grid"],
    enabled: api !== null,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      return told(api.GET("/api/v1/grid/status"));
    },
    refetchInterval: 5_000,
  });
}

/** A statement, and what its account had at its block; null where a node no longer knows. */
export type Standing = { statement: Shapes["Statement"]; holding: Holding | null };

/** A month's statement, with the quarter hour before the open epoch once its meters have brought it; null if there is none. */
export function useStatement(account: Address | undefined, month: string | null): UseQueryResult<Standing | null> {
  const { api, deployment, reader } = useMarket();
  const epoch = useEpoch();
  return useQuery<Standing | null>({
    queryKey: ["statement", account, month, epoch],
    enabled: api !== null && account !== undefined && month !== null,
    placeholderData: keepPreviousData,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      const params = { path: { account: account as Address }, query: { month: month ?? "" } };
      const found = await orNull(told(api.GET("/api/v1/accounts/{account}/statement", { params })));
      // It is a text only if another format is asked for.
      const statement = found as Shapes["Statement"] | null;
      if (!statement) return null;
      const then = readHolding(reader, deployment, account as Address, BigInt(statement.block));
      return { statement, holding: await then.catch(() => null) };
    },
    // Meters bring the quarter hour that ended some blocks into the next epoch, or never: each wait is twice the last.
    refetchInterval: ({ state: { data, dataUpdateCount } }) => {
      const start = startOf(epoch ?? 0, deployment);
      const complete = !data || month !== monthOf(start) || isReadUntil(data.statement, start);
      return complete ? false : LOOK_MS * 2 ** Math.min(dataUpdateCount, 10);
    },
  });
}
