/** What a text names: its page if it is one thing, a choice if it is several. */

import { useQuery } from "@tanstack/react-query";
import { Link, Redirect } from "wouter";
import { type Api, orNull, told } from "../../api";
import { Card, Loaded } from "../../components/bits";
import { useWords } from "../../i18n";
import { useEpoch, useMarket } from "../../market";
import { type Candidate, candidatesOf, placeOf } from "../../places";
import { Nothing, useApi } from "./parts";

async function exists({ kind, id }: Candidate, epoch: number, api: Api): Promise<boolean> {
  switch (kind) {
    case "account":
      return true;
    case "epoch":
      return Number(id) <= epoch;
    case "tx":
      return (
        (await orNull(told(api.GET("/api/v1/transactions/{tx_hash}", { params: { path: { tx_hash: id } } })))) !== null
      );
    case "block":
      return (await blockOf(id, api)) !== null;
    case "order":
      return (await orNull(told(api.GET("/api/v1/energy/orders/{id}", { params: { path: { id } } })))) !== null;
    case "meter":
      return (
        (await orNull(told(api.GET("/api/v1/meters/{meter_id}", { params: { path: { meter_id: id } } })))) !== null
      );
  }
}

/** A block by its number or its hash; null if there is none. */
export function blockOf(id: string, api: Api) {
  return orNull(
    told(
      id.startsWith("0x")
        ? api.GET("/api/v1/blocks/hash/{block_hash}", { params: { path: { block_hash: id } } })
        : api.GET("/api/v1/blocks/{height}", { params: { path: { height: Number(id) } } }),
    ),
  );
}

export function Found({ text }: { text: string }) {
  const { t } = useWords();
  const { deployment } = useMarket();
  const api = useApi();
  const epoch = useEpoch();
  const found = useQuery({
    queryKey: ["find", text],
    enabled: epoch !== null,
    queryFn: async () => {
      const candidates = candidatesOf(text, deployment);
      const there = await Promise.all(candidates.map((candidate) => exists(candidate, epoch ?? 0, api)));
      return candidates.filter((_, i) => there[i]);
    },
  });
  const names = {
    epoch: t.explorer.epoch,
    block: t.explorer.block,
    tx: t.explorer.transaction,
    account: t.explorer.account,
    meter: t.explorer.meter,
    order: t.explorer.order,
  };
  return (
    <Loaded query={found}>
      {(candidates) => {
        const [first, ...others] = candidates;
        if (first === undefined) return <Nothing what={text} />;
        if (others.length === 0) return <Redirect to={placeOf(first)} replace />;
        return (
          <Card title={t.explorer.several}>
            <ul>
              {candidates.map((candidate) => (
                <li key={candidate.kind} style={{ overflowWrap: "anywhere" }}>
                  <Link href={placeOf(candidate)}>
                    {names[candidate.kind]} {candidate.id}
                  </Link>
                </li>
              ))}
            </ul>
          </Card>
        );
      }}
    </Loaded>
  );
}
