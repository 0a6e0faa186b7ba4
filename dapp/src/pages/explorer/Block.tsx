/** A block or a transaction, with what the market did in it. */

import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { orNull, type Shapes, told } from "../../api";
import { Card, Empty, Figure } from "../../components/bits";
import { Table } from "../../components/Table";
import { useWords } from "../../i18n";
import { clock, count, day } from "../../units";
import { blockOf } from "./Found";
import { Sought, useApi } from "./parts";

export function Block({ id }: { id: string }) {
  const { t, language } = useWords();
  const api = useApi();
  const block = useQuery({
    queryKey: ["block", id],
    queryFn: async () => {
      const head = await blockOf(id, api);
      if (head === null) return null;
      const params = { path: { height: head.number } };
      return { head, events: await told(api.GET("/api/v1/blocks/{height}/events", { params })) };
    },
  });
  return (
    <Sought query={block} what={id}>
      {({ head, events }) => (
        <div className="stack">
          <Card
            title={t.live.block(count(head.number, language))}
            how={`${day(head.timestamp, language)} ${clock(head.timestamp, language)}`}
          >
            <div className="figures">
              <Figure name={t.explorer.transactions} value={count(head.transactions, language)} />
              <Figure name={t.explorer.events} value={count(head.events, language)} />
              <Figure name={t.explorer.gas} value={count(head.gas_used, language)} />
            </div>
            <p className="mono" style={{ marginBottom: 0, overflowWrap: "anywhere" }}>
              {head.hash}
            </p>
          </Card>
          <Card title={t.explorer.events}>
            <Events events={events} />
          </Card>
        </div>
      )}
    </Sought>
  );
}

const WAITING_MS = 2_000;

export function Transaction({ hash }: { hash: string }) {
  const { t, language } = useWords();
  const api = useApi();
  const found = useQuery({
    queryKey: ["transaction", hash],
    queryFn: () => orNull(told(api.GET("/api/v1/transactions/{tx_hash}", { params: { path: { tx_hash: hash } } }))),
    // Until it is in a block, and the index has come to it.
    refetchInterval: ({ state }) => (state.data && !state.data.indexed ? WAITING_MS : false),
  });
  return (
    <Sought query={found} what={hash}>
      {({ block, events, status }) => (
        <Card title={t.explorer.transaction} how={t.explorer.txStatus[status]}>
          <p className="mono" style={{ marginTop: 0, overflowWrap: "anywhere" }}>
            {hash}
          </p>
          {block !== null && (
            <p>
              <Link href={`/explorer/block/${block}`}>{t.live.block(count(block, language))}</Link>
            </p>
          )}
          <Events events={events} />
        </Card>
      )}
    </Sought>
  );
}

function Events({ events }: { events: Shapes["EventShape"][] }) {
  const { t } = useWords();
  if (!events.length) return <Empty title={t.explorer.noEvents} />;
  return (
    <Table
      rows={events}
      idOf={({ log_index }) => log_index}
      columns={[
        { title: t.explorer.event, of: ({ contract, name }) => `${contract}.${name}` },
        {
          title: t.explorer.values,
          as: "long",
          of: ({ args }) => <span className="mono">{JSON.stringify(args)}</span>,
        },
      ]}
    />
  );
}
