/** Tokens into the market and out of it. */

import { type Address, type Hex, parseSignature } from "viem";
import { signTypedData } from "wagmi/actions";
import { addressOf } from "../chain";
import { gridTokenAbi } from "../generated/GridToken";
import { market as constants } from "../generated/market";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { onTheChain, send } from "./send";

export type Asset = "money" | "energy";

/** How long a signature about tokens may be used, in seconds of the chain: a day. */
export const PERMIT_S = 86_400n;

const PERMIT = {
  Permit: [
    { name: "owner", type: "address" },
    { name: "spender", type: "address" },
    { name: "value", type: "uint256" },
    { name: "nonce", type: "uint256" },
    { name: "deadline", type: "uint256" },
  ],
} as const;

const TOKEN = { money: "BahtToken", energy: "GridToken" } as const;

/** A permission as it was signed. */
export type SignedPermit = {
  owner: Address;
  spender: Address;
  value: bigint;
  nonce: bigint;
  deadline: bigint;
  signature: Hex;
};

/** The signed message as the API takes it. */
export function permitMessage({ owner, spender, value, nonce, deadline }: SignedPermit) {
  return {
    owner,
    spender,
    value: value.toString(),
    nonce: nonce.toString(),
    deadline: Number(deadline),
  };
}

/** The smallest amount the market counts of an asset, in wei: amounts are whole multiples of it. */
export function unitWei(market: Market, asset: Asset): bigint {
  return asset === "money" ? market.deployment.moneyUnitWei : BigInt(constants.energyUnitWei);
}

/** Has the wallet sign that the market may take an amount, once (ERC-2612). */
export async function signPermit(market: Market, asset: Asset, amountWei: bigint): Promise<SignedPermit> {
  const owner = await onTheChain(market);
  const { deployment, reader } = market;
  // Both tokens are OpenZeppelin's ERC-20 with permit, alike in what is used of them.
  const token = { address: addressOf(deployment, TOKEN[asset]), abi: gridTokenAbi } as const;
  const [nonce, [, name, version, chainId, verifyingContract], block] = await Promise.all([
    reader.readContract({ ...token, functionName: "nonces", args: [owner] }),
    reader.readContract({ ...token, functionName: "eip712Domain" }),
    reader.getBlock(),
  ]);
  const deadline = block.timestamp + PERMIT_S;
  const spender: Address = addressOf(deployment, "Trading");
  const message = { owner, spender, value: amountWei, nonce, deadline };
  const signature = await signTypedData(market.wallets, {
    types: PERMIT,
    primaryType: "Permit",
    domain: { name, version, chainId: Number(chainId), verifyingContract },
    message,
  });
  return { ...message, signature };
}

/** Brings an amount in by a transaction of one's own, with the permission that was just signed. */
export async function deposit(market: Market, asset: Asset, permit: SignedPermit): Promise<void> {
  const { r, s, yParity } = parseSignature(permit.signature);
  await send(market, "Trading", {
    abi: tradingAbi,
    functionName: "depositWithPermit",
    args: [constants.assets[asset], permit.value, permit.deadline, 27 + yParity, r, s],
  });
}

/** Takes an amount out to the account's own wallet, by a transaction of its own. */
export async function withdraw(market: Market, asset: Asset, amountWei: bigint): Promise<void> {
  const account = await onTheChain(market);
  await send(market, "Trading", {
    abi: tradingAbi,
    functionName: "withdraw",
    args: [constants.assets[asset], amountWei, account],
  });
}
