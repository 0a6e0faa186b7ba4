/** One's own energy and money: what today brought, what there is, what the meters say, and the bill. */

import { Alert, Button, Group, TextInput } from "@mantine/core";
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import type { Address } from "viem";
import { Link } from "wouter";
import { market as limits } from "../generated/market";
import { told, type Shapes } from "../api";
import type { Holding } from "../chain";
import { Card, Empty, Figure, Loaded } from "../components/bits";
import { EnergyChart } from "../components/EnergyChart";
import { type Direction, Funds } from "../components/Funds";
import { MeterLink } from "../components/links";
import { useRegisterColumns } from "../components/registers";
import { Table } from "../components/Table";
import { WalletButton } from "../components/Wallet";
import { FAR_BEHIND, type Standing, useAccount, useHolding, useStatement, useStatus } from "../data";
import { useWords } from "../i18n";
import { useEpoch, useMarket } from "../market";
import { type Day, dayOf } from "../today";
import { hasChanged, heldBeside } from "../together";
import { baht, bahtOfUthb, count, day, kwh, kwhOfUwh, midnightBefore, monthOf, UWH_PER_WH, WEI_PER_WH } from "../units";

export default function Energy() {
  const { t } = useWords();
  const account = useAccount();
  return (
    <>
      <h1 style={{ position: "absolute", left: "-100vw" }}>{t.app.energy}</h1>
      {account ? (
        <Own key={account} account={account} />
      ) : (
        <Card label={t.app.energy}>
          <Empty title={t.energy.connect} how={t.energy.connectHow}>
            <WalletButton />
          </Empty>
        </Card>
      )}
    </>
  );
}

function Own({ account }: { account: Address }) {
  const { t } = useWords();
  const { api } = useMarket();
  const now = useEpochStart();
  const standing = useStatement(account, now === null ? null : monthOf(now));
  const newest = useHolding(account);
  const holding = useTogether(standing, newest);
  const lastRead = standing.data?.statement.readings.at(-1)?.interval_end;
  return (
    <div className="stack">
      {api && <Today standing={standing} />}
      {holding ? (
        <Balance holding={holding} />
      ) : (
        <Loaded query={newest} height={120}>
          {() => null}
        </Loaded>
      )}
      {api ? (
        <>
          <Bill account={account} />
          <Meters account={account} lastRead={lastRead} />
        </>
      ) : (
        <Card label={t.energy.statement}>
          <Empty title={t.app.needsApi} />
        </Card>
      )}
    </div>
  );
}

/** The market's present epoch start: pages of days go by it, so that they change with epochs and not with blocks. */
export function useEpochStart(): number | null {
  const epoch = useEpoch();
  const { genesis, epochSeconds } = useMarket().deployment;
  return epoch === null ? null : genesis + epoch * epochSeconds;
}

/** What the account has, of the block of the statement beside it; once it has something else, the statement is asked for anew. */
function useTogether(standing: UseQueryResult<Standing | null>, newest: UseQueryResult<Holding>): Holding | undefined {
  const { data, refetch, isError } = standing;
  const then = data?.holding;
  const behind = (useStatus().data?.behind_blocks ?? 0) > FAR_BEHIND;
  const now = newest.data;
  useEffect(() => {
    const late = then && now && now.block > then.block && hasChanged(then, now);
    if (late && !behind) void refetch({ cancelRefetch: false });
  }, [then, now, behind, refetch]);
  return heldBeside(then, now, behind || isError);
}

function Today({ standing }: { standing: UseQueryResult<Standing | null> }) {
  const { t, language } = useWords();
  const now = useEpochStart();
  return (
    <Loaded query={standing} height={280}>
      {(data) => {
        // Without a statement there is no today: the statement's own place says so.
        if (!data || now === null) return null;
        const found = data.statement;
        const today = dayOf(found, midnightBefore(now));
        // Who feeds in earns; who does not, saves.
        const hasRoof = found.export_wh > 0 || today.soldUwh > 0n;
        return (
          <div className="today">
            <section className="card" aria-label={t.energy.today}>
              {hasRoof ? (
                <>
                  <div className="label">
                    {t.energy.earnedToday}, {day(now, language)}
                  </div>
                  <div className="hero" data-testid="earned">
                    {baht(today.earnedWei, language)} <small>{t.units.thb}</small>
                  </div>
                </>
              ) : (
                <>
                  <div className="label">{t.energy.thisMonth}</div>
                  <div className={`hero ${found.saving_uthb >= 0 ? "good" : "bad"}`}>
                    {bahtOfUthb(found.saving_uthb, language, true)} <small>{t.units.thb}</small>
                  </div>
                </>
              )}
              <p className="quiet" style={{ marginBottom: "1rem" }}>
                {t.energy.sold} {kwhOfUwh(today.soldUwh, language)} kWh · {t.energy.bought}{" "}
                {kwhOfUwh(today.boughtUwh, language)} kWh ({baht(today.paidWei, language)} {t.units.thb})
              </p>
              <div className="figures">
                <Figure name={t.energy.exported} value={kwh(today.exportWh, language)} unit="kWh" />
                <Figure name={t.energy.imported} value={kwh(today.importWh, language)} unit="kWh" />
                {hasRoof && (
                  <Figure
                    name={t.energy.thisMonth}
                    value={bahtOfUthb(found.saving_uthb, language, true)}
                    unit={t.units.thb}
                    tone={found.saving_uthb >= 0 ? "good" : "bad"}
                    {...(found.saving_uthb < 0 && { how: t.energy.notYet })}
                  />
                )}
              </div>
            </section>
            <Card title={t.energy.flows} {...(hasRoof && { how: t.energy.generationNote })}>
              <Quarters today={today} />
            </Card>
          </div>
        );
      }}
    </Loaded>
  );
}

function Quarters({ today }: { today: Day }) {
  const { t } = useWords();
  const { epochSeconds } = useMarket().deployment;
  const { quarters } = today;
  const stretches = useMemo(
    () =>
      quarters.map(({ end, importWh, exportWh }) => ({
        start: end - epochSeconds,
        fedIn: exportWh / 1000,
        used: importWh / 1000,
      })),
    [quarters, epochSeconds],
  );
  if (!stretches.length) return <Empty title={t.energy.noReading} />;
  return <EnergyChart stretches={stretches} spanS={epochSeconds} label={t.energy.flows} />;
}

function Balance({ holding }: { holding: Holding }) {
  const { t, language } = useWords();
  const { moneyUnitWei } = useMarket().deployment;
  const [direction, setDirection] = useState<Direction | null>(null);
  const money = (units: bigint) => baht(units * moneyUnitWei, language);
  const freeWh = holding.energyFree / UWH_PER_WH;
  return (
    <Card
      title={t.energy.balance}
      right={
        <Group gap="xs">
          {freeWh >= BigInt(limits.minOrderWh) && (
            <Button size="xs" component={Link} href="/market">
              {t.energy.toSell(kwh(freeWh, language))}
            </Button>
          )}
          <Button
            size="xs"
            variant="default"
            onClick={() => setDirection("deposit")}
            disabled={holding.status !== "active"}
          >
            {t.funds.deposit}
          </Button>
          <Button size="xs" variant="default" onClick={() => setDirection("withdraw")}>
            {t.funds.withdraw}
          </Button>
        </Group>
      }
    >
      <div className="figures" data-testid="balance">
        <Figure
          name={t.energy.money}
          value={money(holding.moneyFree)}
          unit={t.units.thb}
          how={`${money(holding.moneyEscrow)} ${t.energy.locked} · ${baht(holding.walletBahtWei, language)} ${t.energy.wallet}`}
        />
        <Figure
          name={t.energy.grid}
          value={kwhOfUwh(holding.energyFree, language)}
          unit="kWh"
          how={`${kwhOfUwh(holding.energyEscrow, language)} ${t.energy.locked} · ${kwh(holding.walletGridWei / WEI_PER_WH, language)} ${t.energy.wallet}`}
        />
        <Figure
          name={t.energy.outstanding}
          value={kwh(holding.outstandingWh, language)}
          unit="kWh"
          how={t.energy.outstandingHow}
        />
      </div>
      <Funds direction={direction} close={() => setDirection(null)} holding={holding} />
    </Card>
  );
}

/** Read again when the statement has a newer reading. */
function Meters({ account, lastRead }: { account: Address; lastRead: number | undefined }) {
  const { t } = useWords();
  const registers = useRegisterColumns();
  const { api } = useMarket();
  const epoch = useEpoch();
  const meters = useQuery({
    queryKey: ["meters", account, epoch, lastRead],
    placeholderData: (before: Shapes["MeterShape"][] | undefined) => before,
    queryFn: async () => {
      if (!api) throw new Error("no API");
      return (await told(api.GET("/api/v1/meters", { params: { query: { account } } }))).items;
    },
  });
  return (
    <Card title={t.energy.meters}>
      <Loaded query={meters}>
        {(found) =>
          found.length ? (
            <Table
              rows={found}
              idOf={({ meter_id }) => meter_id}
              columns={[
                {
                  title: t.admin.meterId,
                  of: ({ meter_id, kind }) => (
                    <>
                      <MeterLink meterId={meter_id} /> <span className="quiet">{t.energy[kind]}</span>
                    </>
                  ),
                },
                ...registers,
              ]}
            />
          ) : (
            <Empty title={t.energy.noMeters} how={t.energy.noMetersHow} />
          )
        }
      </Loaded>
    </Card>
  );
}

const FORMATS = ["pdf", "csv", "json"] as const;

function Bill({ account }: { account: Address }) {
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const now = useEpochStart();
  const [chosen, setChosen] = useState<string | null>(null);
  const month = chosen ?? (now === null ? null : monthOf(now));
  const statement = useStatement(account, month);
  return (
    <Card
      title={t.energy.statement}
      right={
        <TextInput
          type="month"
          size="xs"
          aria-label={t.energy.month}
          value={month ?? ""}
          onChange={(event) => setChosen(event.currentTarget.value || null)}
        />
      }
    >
      <Loaded query={statement}>
        {(standing) => {
          if (!standing) return <Empty title={t.energy.noStatement} how={t.energy.noStatementHow} />;
          const found = standing.statement;
          return (
            <>
              <div className="figures">
                <Figure
                  name={found.total_uthb < 0 ? t.energy.credit : t.energy.total}
                  value={bahtOfUthb(Math.abs(found.total_uthb), language)}
                  unit={t.units.thb}
                />
                <Figure
                  name={found.baseline_uthb < 0 ? t.energy.baselineCredit : t.energy.baselineTotal}
                  value={bahtOfUthb(Math.abs(found.baseline_uthb), language)}
                  unit={t.units.thb}
                  how={t.energy.againstGrid}
                />
                <Figure
                  name={t.energy.saving}
                  value={bahtOfUthb(found.saving_uthb, language, true)}
                  unit={t.units.thb}
                  tone={found.saving_uthb >= 0 ? "good" : "bad"}
                  {...(found.saving_uthb < 0 && { how: t.energy.notYet })}
                />
              </div>
              {found.provisional && (
                <Alert color="gray" variant="light" mt="sm" p="xs">
                  {t.energy.provisional}
                </Alert>
              )}
              <Group gap="xs" mt="md">
                {FORMATS.map((format) => (
                  <Button
                    key={format}
                    component="a"
                    size="xs"
                    variant="default"
                    href={`${deployment.api}/accounts/${account}/statement?month=${month}&format=${format}`}
                    download={`${account}-${month}.${format}`}
                  >
                    {t.energy.download} {format.toUpperCase()}
                  </Button>
                ))}
                <span className="quiet">{t.live.block(count(found.block, language))}</span>
              </Group>
            </>
          );
        }}
      </Loaded>
    </Card>
  );
}
