/** What the explorer has a page of: what somebody may mean by what they look for, and where it is. */

import { isAddress } from "viem";
import type { Deployment } from "./deployment";

export type Kind = "epoch" | "block" | "tx" | "account" | "meter" | "order";
export type Candidate = { kind: Kind; id: string };

const BANGKOK = "+07:00";

/** Everything a text may name, what is likely first. A day or a time, as 2026-03-14 12:15, names the epoch then. */
export function candidatesOf(text: string, deployment: Deployment): Candidate[] {
  const wanted = text.trim();
  const [, date, time = "00:00"] = /^(\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d))?$/.exec(wanted) ?? [];
  if (date !== undefined) {
    const epoch = epochAt(Date.parse(`${date}T${time}${BANGKOK}`) / 1_000, deployment);
    return epoch === null ? [] : [{ kind: "epoch", id: String(epoch) }];
  }
  const hex = wanted.toLowerCase();
  if (isAddress(hex)) return [{ kind: "account", id: hex }];
  if (/^0x[0-9a-f]{64}$/.test(hex)) return (["tx", "block", "meter"] as const).map((kind) => ({ kind, id: hex }));
  const meter: Candidate[] = /^[!-~]{1,31}$/.test(wanted) ? [{ kind: "meter", id: wanted }] : [];
  // Numbers are shown with their thousands apart.
  const digits = /^\d{1,3}(,\d{3})+$/.test(wanted) ? wanted.replaceAll(",", "") : wanted;
  // An order's id ends with its account, which makes it long.
  if (/^[1-9]\d{9,58}$/.test(digits)) return [{ kind: "order", id: digits }, ...meter];
  if (!/^\d{1,9}$/.test(digits)) return meter;
  const id = String(Number(digits));
  return [{ kind: "epoch", id }, { kind: "block", id }, ...meter];
}

function epochAt(timestamp: number, { genesis, epochSeconds }: Deployment): number | null {
  return timestamp >= genesis ? Math.floor((timestamp - genesis) / epochSeconds) : null;
}

/** The page of something. */
export const placeOf = ({ kind, id }: Candidate): string => `/explorer/${kind}/${encodeURIComponent(id)}`;

/** What stands in a page's address, of which the router decodes all but the signs that part addresses. */
export const idIn = (which: string): string => which.replace(/%(2[3-6BCF]|3[ABDF]|40)/gi, decodeURIComponent);
