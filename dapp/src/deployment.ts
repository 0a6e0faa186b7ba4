/** What the page must know of the market it stands in front of: `deployment.json`, read once at the start. */

import type { Address } from "viem";

/** As `deployment.json` has it. */
type File = {
  version: string;
  chainId: number;
  chainName: string;
  rpcUrl: string;
  api: string | null;
  relay: boolean;
  contracts: Record<ContractName, Address>;
  genesis: number;
  epochSeconds: number;
  tickWei: string;
  moneyUnitWei: string;
  pace: number;
  zone: number;
};

export type ContractName =
  "Authority" | "BahtToken" | "GridToken" | "Metering" | "OracleClient" | "Registry" | "Trading";

/** A market, with its amounts as integers and its addresses absolute. `api` is null where the chain is all there is. */
export type Deployment = Omit<File, "tickWei" | "moneyUnitWei"> & { tickWei: bigint; moneyUnitWei: bigint };

/** Reads `deployment.json` beside the page. */
export async function loadDeployment(): Promise<Deployment> {
  const here = new URL(".", document.baseURI);
  const answer = await fetch(new URL("deployment.json", here), { cache: "no-cache" });
  if (!answer.ok) throw new Error(`deployment.json: ${answer.status}`);
  return parseDeployment((await answer.json()) as File, here.href);
}

/** A deployment file with addresses made absolute against the page's own. */
export function parseDeployment(file: File, page: string): Deployment {
  const absolute = (address: string) => new URL(address, page).href;
  return {
    ...file,
    rpcUrl: absolute(file.rpcUrl),
    api: file.api === null ? null : absolute(file.api).replace(/\/$/, ""),
    tickWei: BigInt(file.tickWei),
    moneyUnitWei: BigInt(file.moneyUnitWei),
  };
}
