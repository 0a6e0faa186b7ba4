/** What operators do: participants, meters, parked growth, roles, and a zone's pause. */

import type { Address, Hex } from "viem";
import { addressOf, type Reader } from "../chain";
import type { Deployment } from "../deployment";
import { authorityAbi } from "../generated/Authority";
import { market as constants } from "../generated/market";
import { meteringAbi } from "../generated/Metering";
import { registryAbi } from "../generated/Registry";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { send } from "./send";

/** Roles that accounts hold, the regulator first: it administers the others. */
export const ROLES = {
  regulator: 0n,
  distributor: BigInt(constants.roles.distributor),
  "oracle operator": BigInt(constants.roles["oracle operator"]),
  minter: BigInt(constants.roles.minter),
  "market maker": BigInt(constants.roles["market maker"]),
  issuer: BigInt(constants.roles.issuer),
} as const;

export type RoleName = keyof typeof ROLES;

/** The roles an account holds, as the chain says. */
export async function readRoles(reader: Reader, deployment: Deployment, account: Address): Promise<RoleName[]> {
  const names = Object.keys(ROLES) as RoleName[];
  const held = await Promise.all(
    names.map((name) =>
      reader.readContract({
        address: addressOf(deployment, "Authority"),
        abi: authorityAbi,
        functionName: "hasRole",
        args: [ROLES[name], account],
      }),
    ),
  );
  return names.filter((_, i) => held[i]?.[0]);
}

export type Parked = { id: bigint; meterId: Hex; owner: Address; importWh: bigint; exportWh: bigint };

const WAITING = 1;
const NEWEST = 200n;

/** Growth that waits for a distributor, newest first, among the newest ids. */
export async function readParked(reader: Reader, deployment: Deployment): Promise<Parked[]> {
  const metering = { address: addressOf(deployment, "Metering"), abi: meteringAbi } as const;
  const count = await reader.readContract({ ...metering, functionName: "parkedCount" });
  const most = count < NEWEST ? count : NEWEST;
  const ids = Array.from({ length: Number(most) }, (_, i) => count - BigInt(i));
  const found = await Promise.all(
    ids.map((id) => reader.readContract({ ...metering, functionName: "parkedOf", args: [id] })),
  );
  return found.flatMap((parked, i) => {
    const id = ids[i];
    if (id === undefined || parked.status !== WAITING) return [];
    return [{ id, meterId: parked.meterId, owner: parked.owner, importWh: parked.importWh, exportWh: parked.exportWh }];
  });
}

const ACTIVE = 1;
const SUSPENDED = 2;
const NO_REFERENCE: Hex = `0x${"0".repeat(64)}`;

/** A participant joins the zone of this page. */
export const register = (market: Market, account: Address): Promise<void> =>
  send(market, "Registry", {
    abi: registryAbi,
    functionName: "registerUser",
    args: [account, market.deployment.zone, NO_REFERENCE],
  });

export const setActive = (market: Market, account: Address, active: boolean): Promise<void> =>
  send(market, "Registry", {
    abi: registryAbi,
    functionName: "setStatus",
    args: [account, active ? ACTIVE : SUSPENDED],
  });

export type NewMeter = {
  meterId: Hex;
  owner: Address;
  key: Address;
  prosumer: boolean;
  ratedImportW: number;
  ratedExportW: number;
  importWh: bigint;
  exportWh: bigint;
};

const SECP256K1 = 0;
const PROSUMER = { kind: 1, source: 1 };
const CONSUMER = { kind: 2, source: 0 };

export const assignMeter = (market: Market, meter: NewMeter): Promise<void> =>
  send(market, "Registry", {
    abi: registryAbi,
    functionName: "assignMeter",
    args: [
      meter.meterId,
      {
        owner: meter.owner,
        key: meter.key,
        keyType: SECP256K1,
        ...(meter.prosumer ? PROSUMER : CONSUMER),
        ratedImportW: meter.ratedImportW,
        ratedExportW: meter.prosumer ? meter.ratedExportW : 0,
        importWh: meter.importWh,
        exportWh: meter.exportWh,
      },
    ],
  });

export type Replacement = {
  meterId: Hex;
  newKey: Address;
  finalImportWh: bigint;
  finalExportWh: bigint;
  initialImportWh: bigint;
  initialExportWh: bigint;
};

/** A new device takes a meter's place: what the old one still counted is taken in, and the new one goes on from its own. */
export const replaceMeter = (market: Market, r: Replacement): Promise<void> =>
  send(market, "Registry", {
    abi: registryAbi,
    functionName: "replaceMeter",
    args: [r.meterId, r.newKey, SECP256K1, r.finalImportWh, r.finalExportWh, r.initialImportWh, r.initialExportWh],
  });

export const revokeMeter = (market: Market, meterId: Hex): Promise<void> =>
  send(market, "Registry", { abi: registryAbi, functionName: "revokeMeter", args: [meterId] });

export const decideParked = (market: Market, id: bigint, release: boolean): Promise<void> =>
  send(market, "Metering", {
    abi: meteringAbi,
    functionName: release ? "releaseParked" : "rejectParked",
    args: [id],
  });

export const setPaused = (market: Market, paused: boolean): Promise<void> =>
  send(market, "Trading", { abi: tradingAbi, functionName: "setPaused", args: [market.deployment.zone, paused] });

/** Gives a role, at once and without a delay on its use. */
export const grantRole = (market: Market, role: RoleName, account: Address): Promise<void> =>
  send(market, "Authority", { abi: authorityAbi, functionName: "grantRole", args: [ROLES[role], account, 0] });

export const takeRole = (market: Market, role: RoleName, account: Address): Promise<void> =>
  send(market, "Authority", { abi: authorityAbi, functionName: "revokeRole", args: [ROLES[role], account] });
