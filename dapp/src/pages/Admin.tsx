/** The community's operators: participants, meters, parked readings, roles, pause, and whether all is well. */

import { Alert, Badge, Button, Group, SegmentedControl, Stack, Tabs, TextInput } from "@mantine/core";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { type SyntheticEvent, useState } from "react";
import type { Address } from "viem";
import { readAddress } from "../address";
import { pages, type Shapes, told } from "../api";
import { Card, Empty, Figure, Hex, Loaded } from "../components/bits";
import { type Ask, useAsk } from "../components/Intention";
import { AccountLink, MeterLink } from "../components/links";
import { useRegisterColumns } from "../components/registers";
import { Table } from "../components/Table";
import { bytes32Of } from "../chain";
import { useAccount, useGrid, useStatus } from "../data";
import {
  assignMeter,
  decideParked,
  readParked,
  readRoles,
  register,
  revokeMeter,
  type RoleName,
  setActive,
  setPaused,
} from "../flows/admin";
import { useWords } from "../i18n";
import { useEpoch, useMarket } from "../market";
import { Replace } from "./admin/Replace";
import { Roles } from "./admin/Roles";
import { count, kwh } from "../units";

const MOST = 2_000;
const LOOK_MS = 3_000;

export default function Admin() {
  const { t } = useWords();
  const { api, deployment, reader } = useMarket();
  const account = useAccount();
  const [ask, dialog] = useAsk();
  const roles = useQuery({
    queryKey: ["roles", account],
    enabled: account !== undefined,
    queryFn: () => readRoles(reader, deployment, account as Address),
  });
  const held = roles.data ?? [];
  const may = (role: RoleName) => held.includes(role);
  const tabs = [
    ["health", t.admin.health],
    ...(api
      ? [
          ["participants", t.admin.participants],
          ["meters", t.admin.meters],
        ]
      : []),
    ["parked", t.admin.parked],
    ["roles", t.admin.roles],
  ] as const;
  return (
    <Card title={t.admin.title}>
      <h1 style={{ position: "absolute", left: "-100vw" }}>{t.app.admin}</h1>
      {held.length > 0 ? (
        <Group gap="xs" mb="md">
          <span className="label">{t.admin.youAre}</span>
          {held.map((role) => (
            <Badge key={role} variant="light" data-testid="role">
              {t.admin.roleNames[role]}
            </Badge>
          ))}
        </Group>
      ) : (
        <Alert color="gray" variant="light" mb="md" title={t.admin.noRole}>
          {t.admin.noRoleHow}
        </Alert>
      )}
      <Tabs defaultValue="health" keepMounted={false}>
        <Tabs.List>
          {tabs.map(([value, label]) => (
            <Tabs.Tab key={value} value={value}>
              {label}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="health" pt="md">
          <Health ask={ask} mayPause={may("regulator")} />
        </Tabs.Panel>
        <Tabs.Panel value="participants" pt="md">
          <Participants ask={ask} may={may("distributor")} />
        </Tabs.Panel>
        <Tabs.Panel value="meters" pt="md">
          <Meters ask={ask} may={may("distributor")} />
        </Tabs.Panel>
        <Tabs.Panel value="parked" pt="md">
          <ParkedReadings ask={ask} may={may("distributor")} />
        </Tabs.Panel>
        <Tabs.Panel value="roles" pt="md">
          <Roles ask={ask} may={may("regulator")} />
        </Tabs.Panel>
      </Tabs>
      {dialog}
    </Card>
  );
}

function Health({ ask, mayPause }: { ask: Ask; mayPause: boolean }) {
  const { t, language } = useWords();
  const market = useMarket();
  const status = useStatus();
  const grid = useGrid();
  if (!market.api) return <Empty title={t.app.needsApi} />;
  return (
    <Loaded query={status}>
      {(server) => {
        const zone = grid.data?.zones.find((candidate) => candidate.zone === market.deployment.zone);
        const behind = server?.behind_blocks ?? null;
        return (
          <Stack gap="lg">
            <div className="figures">
              <Figure
                name={t.admin.node}
                value={server?.node_block == null ? t.admin.unreachable : count(server.node_block, language)}
                {...(server?.node_block == null && { tone: "bad" as const })}
              />
              <Figure
                name={t.admin.index}
                value={behind ? t.admin.behind(count(behind, language)) : t.admin.upToDate}
                tone={behind !== null && behind > 5 ? "bad" : "good"}
              />
              <Figure
                name={t.admin.clearing}
                value={
                  zone?.waiting_epoch == null
                    ? t.admin.clearingDone
                    : t.admin.clearingWaits(count(zone.waiting_epoch, language))
                }
              />
              <Figure
                name={t.admin.parked}
                value={count(grid.data?.parked_waiting ?? 0, language)}
                {...((grid.data?.parked_waiting ?? 0) > 0 && { tone: "bad" as const })}
              />
              <Figure
                name={t.admin.requests}
                value={t.admin.pending(count(grid.data?.requests_pending ?? 0, language))}
              />
            </div>
            {zone && (
              <div>
                <Group gap="sm">
                  <b>{zone.paused ? t.admin.paused : t.admin.running}</b>
                  {mayPause && (
                    <Button
                      size="xs"
                      variant={zone.paused ? "filled" : "default"}
                      onClick={() =>
                        ask({
                          title: t.admin.title,
                          what: zone.paused ? t.admin.resume : t.admin.pause,
                          details: [t.admin.pauseHow],
                          done: zone.paused ? t.admin.resumed : t.admin.paused,
                          act: () => setPaused(market, !zone.paused),
                        })
                      }
                    >
                      {zone.paused ? t.admin.resume : t.admin.pause}
                    </Button>
                  )}
                </Group>
                <p className="quiet">{t.admin.pauseHow}</p>
              </div>
            )}
          </Stack>
        );
      }}
    </Loaded>
  );
}

function Participants({ ask, may }: { ask: Ask; may: boolean }) {
  const { t } = useWords();
  const market = useMarket();
  const { api } = market;
  const [address, setAddress] = useState("");
  const participants = useQuery({
    queryKey: ["participants"],
    refetchInterval: LOOK_MS,
    queryFn: () =>
      pages((cursor) => {
        if (!api) throw new Error("no API");
        return told(api.GET("/api/v1/participants", { params: { query: { limit: 500, cursor } } }));
      }, MOST),
  });
  const wanted = readAddress(address);
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if ("address" in wanted)
      ask({
        title: t.admin.register,
        what: t.admin.register,
        details: [wanted.address],
        done: t.admin.registered,
        act: () => register(market, wanted.address),
      });
  };
  return (
    <Stack gap="md">
      {may && (
        <form onSubmit={submit}>
          <Group gap="xs" align="flex-start">
            <TextInput
              size="sm"
              aria-label={t.admin.address}
              placeholder={`${t.admin.address}: 0x…`}
              style={{ flex: "1 1 16rem" }}
              value={address}
              onChange={(event) => setAddress(event.currentTarget.value)}
              error={address.trim() !== "" && "fault" in wanted && t.admin[wanted.fault]}
            />
            <Button type="submit" size="sm" disabled={"fault" in wanted}>
              {t.admin.register}
            </Button>
          </Group>
        </form>
      )}
      <Loaded query={participants} height={300}>
        {(found) => (
          <Table
            testId="participants"
            rows={found}
            idOf={({ account }) => account}
            columns={[
              { title: t.explorer.account, of: ({ account }) => <AccountLink account={account} /> },
              {
                title: t.admin.status,
                of: ({ status }) => (
                  <span className={status === "active" ? "" : "bad"}>{t.admin.standing[status]}</span>
                ),
              },
              { title: t.admin.zone, of: ({ zone }) => zone },
              may && { title: t.admin.actions, of: (participant) => <Standing participant={participant} ask={ask} /> },
            ]}
          />
        )}
      </Loaded>
    </Stack>
  );
}

function Standing({ participant, ask }: { participant: Shapes["AccountShape"]; ask: Ask }) {
  const { t } = useWords();
  const market = useMarket();
  const active = participant.status === "active";
  const account = participant.account as Address;
  const verb = active ? t.admin.suspend : t.admin.reinstate;
  return (
    <Button
      size="compact-xs"
      variant="default"
      aria-label={`${verb}: ${account}`}
      onClick={() =>
        ask({
          title: verb,
          what: verb,
          details: active ? [account, t.wallet.suspendedHow] : [account],
          done: active ? t.admin.suspended : t.admin.reinstated,
          act: () => setActive(market, account, !active),
        })
      }
    >
      {verb}
    </Button>
  );
}

function Meters({ ask, may }: { ask: Ask; may: boolean }) {
  const { t } = useWords();
  const registers = useRegisterColumns();
  const market = useMarket();
  const { api } = market;
  const epoch = useEpoch();
  const [replacing, setReplacing] = useState<Shapes["MeterShape"] | null>(null);
  const meters = useQuery({
    queryKey: ["meters", "all", epoch],
    placeholderData: keepPreviousData,
    queryFn: () =>
      pages((cursor) => {
        if (!api) throw new Error("no API");
        return told(api.GET("/api/v1/meters", { params: { query: { limit: 500, cursor } } }));
      }, MOST),
  });
  const revoke = (meterId: string) => {
    const id = bytes32Of(meterId);
    if (id)
      ask({
        title: t.admin.revoke,
        what: `${t.admin.revoke}: ${meterId}`,
        details: [t.admin.revokeHow],
        done: t.admin.revoked,
        act: () => revokeMeter(market, id),
      });
  };
  return (
    <Stack gap="md">
      {may && <NewMeter ask={ask} />}
      <Replace meter={replacing} ask={ask} close={() => setReplacing(null)} />
      <Loaded query={meters} height={300}>
        {(found) => (
          <Table
            testId="meters"
            rows={found}
            idOf={({ meter_id }) => meter_id}
            columns={[
              { title: t.admin.meterId, of: ({ meter_id }) => <MeterLink meterId={meter_id} /> },
              { title: t.explorer.account, of: ({ account }) => <AccountLink account={account} /> },
              { title: t.admin.kind, of: ({ kind }) => t.energy[kind] },
              ...registers,
              may && {
                title: t.admin.actions,
                of: (meter) =>
                  meter.key === null ? (
                    <span className="quiet">{t.admin.revoked}</span>
                  ) : (
                    <Group gap={6} wrap="nowrap">
                      <Button
                        size="compact-xs"
                        variant="default"
                        aria-label={`${t.admin.replace}: ${meter.meter_id}`}
                        onClick={() => setReplacing(meter)}
                      >
                        {t.admin.replace}
                      </Button>
                      <Button
                        size="compact-xs"
                        variant="default"
                        aria-label={`${t.admin.revoke}: ${meter.meter_id}`}
                        onClick={() => revoke(meter.meter_id)}
                      >
                        {t.admin.revoke}
                      </Button>
                    </Group>
                  ),
              },
            ]}
          />
        )}
      </Loaded>
    </Stack>
  );
}

type Fields = "meterId" | "owner" | "key" | "ratedImport" | "ratedExport" | "importRegister" | "exportRegister";

const EMPTY: Record<Fields, string> = {
  meterId: "",
  owner: "",
  key: "",
  ratedImport: "15000",
  ratedExport: "5000",
  importRegister: "0",
  exportRegister: "0",
};

function NewMeter({ ask }: { ask: Ask }) {
  const { t } = useWords();
  const market = useMarket();
  const [prosumer, setProsumer] = useState(true);
  const [fields, setFields] = useState(EMPTY);
  const whole = (text: string) => /^\d{1,12}$/.test(text);
  const [owner, key] = [readAddress(fields.owner), readAddress(fields.key)];
  const checks: Record<Fields, [label: string, holds: boolean, fault: string]> = {
    meterId: [t.admin.meterId, bytes32Of(fields.meterId) !== null, t.admin.badMeterId],
    owner: [t.explorer.account, "address" in owner, "fault" in owner ? t.admin[owner.fault] : ""],
    key: [t.admin.key, "address" in key, "fault" in key ? t.admin[key.fault] : ""],
    ratedImport: [t.admin.ratedImport, whole(fields.ratedImport), t.admin.badNumber],
    ratedExport: [t.admin.ratedExport, whole(fields.ratedExport), t.admin.badNumber],
    importRegister: [t.admin.importRegister, whole(fields.importRegister), t.admin.badNumber],
    exportRegister: [t.admin.exportRegister, whole(fields.exportRegister), t.admin.badNumber],
  };
  const ready = Object.values(checks).every(([, holds]) => holds);
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    const meterId = bytes32Of(fields.meterId);
    if (!ready || !meterId || "fault" in owner || "fault" in key) return;
    ask({
      title: t.admin.assign,
      what: `${t.admin.assign}: ${fields.meterId}`,
      details: [owner.address],
      done: t.admin.assigned,
      act: () =>
        assignMeter(market, {
          meterId,
          owner: owner.address,
          key: key.address,
          prosumer,
          ratedImportW: Number(fields.ratedImport),
          ratedExportW: Number(fields.ratedExport),
          importWh: BigInt(fields.importRegister),
          exportWh: BigInt(fields.exportRegister),
        }),
    });
  };
  return (
    <details className="table">
      <summary>{t.admin.assign}</summary>
      <form onSubmit={submit}>
        <Stack gap="xs" mt="sm">
          <SegmentedControl
            aria-label={t.admin.kind}
            value={prosumer ? "prosumer" : "consumer"}
            onChange={(value) => setProsumer(value === "prosumer")}
            data={[
              { value: "prosumer", label: t.energy.prosumer },
              { value: "consumer", label: t.energy.consumer },
            ]}
          />
          <div className="fields">
            {(Object.keys(checks) as Fields[]).map((name) => {
              const [label, holds, fault] = checks[name];
              return (
                <TextInput
                  key={name}
                  label={label}
                  value={fields[name]}
                  onChange={(event) => setFields({ ...fields, [name]: event.currentTarget.value })}
                  error={fields[name] !== "" && !holds && fault}
                />
              );
            })}
          </div>
          <Button type="submit" disabled={!ready} style={{ alignSelf: "flex-start" }}>
            {t.admin.assign}
          </Button>
        </Stack>
      </form>
    </details>
  );
}

function ParkedReadings({ ask, may }: { ask: Ask; may: boolean }) {
  const { t, language } = useWords();
  const market = useMarket();
  const parked = useQuery({
    queryKey: ["parked"],
    refetchInterval: LOOK_MS,
    queryFn: () => readParked(market.reader, market.deployment),
  });
  return (
    <>
      <p className="quiet" style={{ marginBottom: "0.75rem" }}>
        {t.admin.parkedHow}
      </p>
      <Loaded query={parked}>
        {(found) =>
          found.length ? (
            <Table
              rows={found}
              idOf={({ id }) => id.toString()}
              columns={[
                { title: t.admin.meterId, of: ({ meterId }) => textOf(meterId) },
                { title: t.explorer.account, of: ({ owner }) => <Hex value={owner} /> },
                { title: `${t.community.used}, kWh`, as: "figure", of: ({ importWh }) => kwh(importWh, language) },
                { title: `${t.community.fedIn}, kWh`, as: "figure", of: ({ exportWh }) => kwh(exportWh, language) },
                may && {
                  title: t.admin.actions,
                  of: ({ id, meterId, exportWh }) => (
                    <Group gap={6} wrap="nowrap">
                      {([true, false] as const).map((release) => {
                        const verb = release ? t.admin.release : t.admin.reject;
                        return (
                          <Button
                            key={verb}
                            size="compact-xs"
                            variant="default"
                            onClick={() =>
                              ask({
                                title: verb,
                                what: `${verb}: ${textOf(meterId)}, ${kwh(exportWh, language)} kWh`,
                                details: [t.admin.parkedHow],
                                done: release ? t.admin.released : t.admin.rejected,
                                act: () => decideParked(market, id, release),
                              })
                            }
                          >
                            {verb}
                          </Button>
                        );
                      })}
                    </Group>
                  ),
                },
              ]}
            />
          ) : (
            <Empty title={t.admin.noParked} />
          )
        }
      </Loaded>
    </>
  );
}

/** A bytes32 as the text it holds. */
function textOf(hex: string): string {
  const bytes = hex.slice(2).match(/../g) ?? [];
  return bytes
    .map((byte) => parseInt(byte, 16))
    .filter((code) => code > 0)
    .map((code) => String.fromCharCode(code))
    .join("");
}
