/** Everything that happened: epochs with their curves and trades, blocks with their events, a trade to its readings. */

import { Tabs } from "@mantine/core";
import { Link, useParams } from "wouter";
import { told } from "../api";
import { Card, Empty, Hex } from "../components/bits";
import { Table } from "../components/Table";
import { useWords } from "../i18n";
import { useEpoch, useMarket, useNews } from "../market";
import { clock, count, day, kwh, price, seconds } from "../units";
import { Account } from "./explorer/Account";
import { Block, Transaction } from "./explorer/Block";
import { Epoch } from "./explorer/Epoch";
import { idIn } from "../places";
import { Found } from "./explorer/Found";
import { Meter } from "./explorer/Meter";
import { Order } from "./explorer/Order";
import { List, Search, useApi } from "./explorer/parts";
import { TradeTable } from "./explorer/Trades";

export default function Explorer() {
  const { t } = useWords();
  const { api } = useMarket();
  const { what, which } = useParams();
  if (!api)
    return (
      <Card label={t.app.explorer}>
        <Empty title={t.app.needsApi} />
      </Card>
    );
  return (
    <>
      <h1 style={{ position: "absolute", left: "-100vw" }}>{t.app.explorer}</h1>
      <Search />
      {which === undefined ? <Lists /> : <One what={what ?? ""} id={idIn(which)} />}
    </>
  );
}

function One({ what, id }: { what: string; id: string }) {
  if (what === "epoch" && /^\d{1,9}$/.test(id)) return <Epoch number={Number(id)} />;
  if (what === "block") return <Block id={id} />;
  if (what === "tx") return <Transaction hash={id} />;
  if (what === "account") return <Account address={id} />;
  if (what === "meter") return <Meter meterId={id} />;
  if (what === "order") return <Order id={id} />;
  return <Found text={id} />;
}

function Lists() {
  const { t } = useWords();
  return (
    <Card title={t.app.explorer}>
      <Tabs defaultValue="epochs" keepMounted={false}>
        <Tabs.List>
          <Tabs.Tab value="epochs">{t.explorer.epochs}</Tabs.Tab>
          <Tabs.Tab value="trades">{t.explorer.trades}</Tabs.Tab>
          <Tabs.Tab value="blocks">{t.explorer.blocks}</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="epochs" pt="sm">
          <Epochs />
        </Tabs.Panel>
        <Tabs.Panel value="trades" pt="sm">
          <Trades />
        </Tabs.Panel>
        <Tabs.Panel value="blocks" pt="sm">
          <Blocks />
        </Tabs.Panel>
      </Tabs>
    </Card>
  );
}

function Epochs() {
  const { t, language } = useWords();
  const { zone, tickWei } = useMarket().deployment;
  const api = useApi();
  const epoch = useEpoch();
  return (
    <List
      name="epochs"
      version={epoch}
      none={t.market.noEpochs}
      read={(limit, cursor) => told(api.GET("/api/v1/energy/epochs", { params: { query: { zone, limit, cursor } } }))}
    >
      {(epochs) => (
        <Table
          rows={epochs}
          idOf={({ epoch: number }) => number}
          columns={[
            {
              title: t.explorer.epoch,
              of: ({ epoch: number }) => <Link href={`/explorer/epoch/${number}`}>{count(number, language)}</Link>,
            },
            {
              title: t.explorer.time,
              as: "when",
              of: ({ start }) => `${day(start, language)} ${clock(start, language)}`,
            },
            {
              title: t.units.perKwh,
              as: "figure",
              of: ({ result }) => (result.price2 ? price(result.price2, tickWei, language) : t.market.noTrade),
            },
            {
              title: "kWh",
              as: "figure",
              of: ({ result }) => (result.price2 ? kwh(result.volume_wh, language) : ""),
            },
            {
              title: t.explorer.block,
              of: ({ cleared_block: block }) => <Link href={`/explorer/block/${block}`}>{count(block, language)}</Link>,
            },
          ]}
        />
      )}
    </List>
  );
}

function Trades() {
  const { t } = useWords();
  const { zone } = useMarket().deployment;
  const api = useApi();
  const epoch = useEpoch();
  return (
    <List
      name="trades"
      version={epoch}
      none={t.explorer.noneTraded}
      read={(limit, cursor) => told(api.GET("/api/v1/energy/trades", { params: { query: { zone, limit, cursor } } }))}
    >
      {(trades) => <TradeTable trades={trades} epochs />}
    </List>
  );
}

function Blocks() {
  const { t, language } = useWords();
  const api = useApi();
  const news = useNews();
  return (
    <List
      name="blocks"
      // Blocks come by the second: the list follows every fifth.
      version={Math.floor((news?.number ?? 0) / 5)}
      none={t.live.waiting}
      read={(limit, cursor) => told(api.GET("/api/v1/blocks", { params: { query: { limit, cursor } } }))}
    >
      {(blocks) => (
        <Table
          rows={blocks}
          idOf={({ number }) => number}
          columns={[
            {
              title: t.explorer.block,
              of: ({ number }) => <Link href={`/explorer/block/${number}`}>{count(number, language)}</Link>,
            },
            {
              title: t.explorer.time,
              as: "when",
              of: ({ timestamp }) => `${day(timestamp, language)} ${seconds(timestamp, language)}`,
            },
            { title: t.explorer.transactions, as: "figure", of: (block) => count(block.transactions, language) },
            { title: t.explorer.events, as: "figure", of: (block) => count(block.events, language) },
            { title: t.explorer.gas, as: "figure", of: (block) => count(block.gas_used, language) },
            { title: t.explorer.hash, of: ({ hash }) => <Hex value={hash} /> },
          ]}
        />
      )}
    </List>
  );
}
