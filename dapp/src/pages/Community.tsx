/** The community's day: how much of its use it covered, what it traded at which prices, and who supplied whom. */

import { Group, TextInput } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { type Shapes, told } from "../api";
import { Card, Empty, Figure, Loaded } from "../components/bits";
import { AccountLink } from "../components/links";
import { EnergyChart } from "../components/EnergyChart";
import { type Point, PriceChart } from "../components/PriceChart";
import { Table } from "../components/Table";
import { useGrid, useTariff } from "../data";
import { useWords } from "../i18n";
import { useEpoch, useMarket } from "../market";
import { ofOneBlock } from "../together";
import { count, decimal, kwh, midnightBefore, percent, UWH_PER_WH, WEI_PER_WH } from "../units";
import { useEpochStart } from "./Energy";
import { gridPrices } from "./Market";

const HOUR_S = 3_600;
const DAY_S = 86_400;
const MOST_FLOWS = 12;
const WEI_PER_UWH = 10n ** 9n;

/** The epochs that start on a day, given by its midnight. */
export function epochsOf(midnight: number, genesis: number, epochSeconds: number): [number, number] {
  const first = Math.max(0, Math.ceil((midnight - genesis) / epochSeconds));
  const last = Math.max(first, Math.ceil((midnight + DAY_S - genesis) / epochSeconds) - 1);
  return [first, last];
}

export default function Community() {
  const { t } = useWords();
  const { api, deployment } = useMarket();
  const now = useEpochStart();
  const [chosen, setChosen] = useState<number | null>(null);
  if (!api)
    return (
      <Card label={t.app.community}>
        <Empty title={t.app.needsApi} />
      </Card>
    );
  if (now === null) return null;
  const midnight = chosen ?? midnightBefore(now);
  const [first, last] = epochsOf(midnight, deployment.genesis, deployment.epochSeconds);
  return (
    <div className="stack">
      <h1 style={{ position: "absolute", left: "-100vw" }}>{t.app.community}</h1>
      <Day first={first} last={last} midnight={midnight} choose={setChosen} />
    </div>
  );
}

type Found = { energy: Shapes["MeteredEnergy"]; stats: Shapes["Stats"]; flows: Shapes["Flows"] };

function Day(props: { first: number; last: number; midnight: number; choose: (midnight: number | null) => void }) {
  const { first, last, midnight, choose } = props;
  const { t, language } = useWords();
  const { api } = useMarket();
  const epoch = useEpoch();
  const grid = useGrid();
  const range = { first_epoch: first, last_epoch: last };
  const found = useQuery({
    queryKey: ["community", first, last, epoch],
    placeholderData: keepPreviousData,
    queryFn: async (): Promise<Found> => {
      if (!api) throw new Error("no API");
      const [energy, stats, flows] = await ofOneBlock(() =>
        Promise.all([
          told(api.GET("/api/v1/grid/energy", { params: { query: { by: "hour", ...range } } })),
          told(api.GET("/api/v1/energy/stats", { params: { query: { by: "hour", ...range } } })),
          told(api.GET("/api/v1/energy/flows", { params: { query: range } })),
        ]),
      );
      return { energy, stats, flows };
    },
  });
  const date = new Date((midnight + 7 * HOUR_S) * 1000).toISOString().slice(0, 10);
  return (
    <Loaded query={found} height={500}>
      {(data) => (
        <>
          <section className="card" aria-label={t.community.self}>
            <div className="top" style={{ alignItems: "flex-start" }}>
              <Shares {...data} />
              <TextInput
                type="date"
                size="xs"
                aria-label={t.community.day}
                value={date}
                onChange={(event) => {
                  const at = Date.parse(`${event.currentTarget.value}T00:00:00+07:00`);
                  choose(Number.isNaN(at) ? null : at / 1000);
                }}
              />
            </div>
            <Loaded query={grid}>
              {(status) => (
                <Group gap="xl" mt="md">
                  <Figure name={t.community.participants} value={count(status.participants, language)} />
                  <Figure name={t.community.meters} value={count(status.meters, language)} />
                  <Figure
                    name={t.community.supply}
                    value={kwh(BigInt(status.grid_supply_wei) / WEI_PER_WH, language)}
                    unit="kWh"
                  />
                </Group>
              )}
            </Loaded>
          </section>
          <div className="two">
            <Card title={t.community.energy} how={t.community.energyHow}>
              <Energy energy={data.energy} />
            </Card>
            <Card title={t.community.price} how={t.community.priceHow}>
              <Prices stats={data.stats} first={first} last={last} />
            </Card>
          </div>
          <Card title={t.community.flows} how={t.community.flowsHow}>
            <FlowTable flows={data.flows.items} />
          </Card>
        </>
      )}
    </Loaded>
  );
}

function Shares({ energy, stats }: Found) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const sum = (of: (row: Shapes["EnergyRow"]) => number) =>
    energy.items.reduce((total, row) => total + BigInt(of(row)), 0n);
  const [used, fedIn, covered] = [
    sum(({ import_wh }) => import_wh),
    sum(({ export_wh }) => export_wh),
    sum(({ covered_wh }) => covered_wh),
  ];
  const sold = stats.items.reduce((total, row) => total + BigInt(row.sold_uwh), 0n);
  const earnedWei = stats.items.reduce((total, row) => total + BigInt(row.earned_units), 0n) * deployment.moneyUnitWei;
  return (
    <div style={{ flex: "1 1 20rem" }}>
      <div className="label">{t.community.self}</div>
      <div className="hero" data-testid="self-sufficiency">
        {percent(covered, used, language)}
      </div>
      <p className="quiet" style={{ marginBottom: "1rem" }}>
        {t.community.selfHow}: {kwh(covered, language)} / {kwh(used, language)} kWh
      </p>
      <div className="figures">
        <Figure
          name={t.community.traded}
          value={percent(sold, fedIn * UWH_PER_WH, language)}
          how={t.community.tradedHow}
        />
        <Figure name={t.community.volume} value={kwh(sold / UWH_PER_WH, language)} unit="kWh" />
        <Figure
          name={t.community.average}
          value={sold > 0n ? decimal(earnedWei, sold * WEI_PER_UWH, 3) : "–"}
          unit={sold > 0n ? t.units.perKwh : ""}
        />
      </div>
    </div>
  );
}

function Energy({ energy }: { energy: Shapes["MeteredEnergy"] }) {
  const { t } = useWords();
  const stretches = useMemo(
    () =>
      energy.items.map(({ key, import_wh, export_wh, covered_wh }) => ({
        start: Date.parse(key) / 1000,
        fedIn: export_wh / 1000,
        used: import_wh / 1000,
        covered: Math.min(covered_wh, import_wh) / 1000,
      })),
    [energy],
  );
  if (!stretches.length) return <Empty title={t.energy.noReading} />;
  return <EnergyChart stretches={stretches} spanS={HOUR_S} label={`${t.community.energy}. ${t.community.energyHow}`} />;
}

function Prices({ stats, first, last }: { stats: Shapes["Stats"]; first: number; last: number }) {
  const { t } = useWords();
  const { deployment } = useMarket();
  const tariff = useTariff(first, last);
  const steps = tariff.data?.items;
  const { genesis, epochSeconds } = deployment;
  const tickBaht = Number(deployment.tickWei) / 1e18;
  const points: Point[] = useMemo(
    () =>
      stats.items.map(({ key, average_price2, sold_uwh }) => {
        const start = Date.parse(key) / 1000;
        return {
          start,
          price: average_price2 ? (average_price2 / 2) * tickBaht : null,
          ...gridPrices(steps ?? [], Math.floor((start - genesis) / epochSeconds)),
          kwh: Number(BigInt(sold_uwh) / UWH_PER_WH) / 1000,
        };
      }),
    [stats, steps, tickBaht, genesis, epochSeconds],
  );
  if (!points.length) return <Empty title={t.community.none} how={t.community.noneHow} />;
  return <PriceChart points={points} spanS={HOUR_S} label={`${t.community.price}. ${t.community.priceHow}`} />;
}

function FlowTable({ flows }: { flows: Shapes["Flow"][] }) {
  const { t, language } = useWords();
  const largest = useMemo(() => [...flows].sort((a, b) => b.energy_wh - a.energy_wh).slice(0, MOST_FLOWS), [flows]);
  const most = largest[0]?.energy_wh ?? 0;
  if (!largest.length) return <Empty title={t.community.none} how={t.community.noneHow} />;
  return (
    <Table
      rows={largest}
      idOf={({ seller, buyer }) => seller + buyer}
      columns={[
        { title: t.community.from, of: ({ seller }) => <AccountLink account={seller} /> },
        { title: t.community.to, of: ({ buyer }) => <AccountLink account={buyer} /> },
        { title: "kWh", as: "figure", of: ({ energy_wh }) => kwh(energy_wh, language) },
        {
          title: "",
          as: "aside",
          of: ({ energy_wh }) => (
            <div className="bar" style={{ background: "none" }}>
              <div style={{ width: `${(100 * energy_wh) / most}%` }} />
            </div>
          ),
        },
      ]}
    />
  );
}
