/** Tokens into the market and out of it. */

import { type Address, type Hex, parseSignature, serializeCompactSignature, signatureToCompactSignature } from "viem";
import { signTypedData } from "wagmi/actions";
import type { Shapes } from "../api";
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

/** The token of an asset. */
export const TOKEN = { money: "BahtToken", energy: "GridToken" } as const;

/** The smallest amount the market counts of an asset, in wei: amounts are whole multiples of it. */
export function unitWei(market: Market, asset: Asset): bigint {
  return asset === "money" ? market.deployment.moneyUnitWei : BigInt(constants.energyUnitWei);
}

/** Has the wallet sign that the market may take an amount, once (ERC-2612). As the API takes it. */
export async function signPermit(market: Market, asset: Asset, amountWei: bigint): Promise<Shapes["SignedDeposit"]> {
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
  return {
    asset,
    message: {
      owner,
      spender,
      value: amountWei.toString(),
      nonce: nonce.toString(),
      deadline: Number(deadline),
    },
    signature,
  };
}

/** Brings an amount in by a transaction of one's own, with a permission that was signed before. */
export async function deposit(market: Market, { asset, message, signature }: Shapes["SignedDeposit"]): Promise<void> {
  const { r, s, yParity } = parseSignature(signature as Hex);
  await send(market, "Trading", {
    abi: tradingAbi,
    functionName: "depositWithPermit",
    args: [constants.assets[asset], BigInt(message.value), BigInt(message.deadline), 27 + yParity, r, s],
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

const KEY_SIGNATURE = 2 + 2 * 65;

/** A signature as the contracts take it: a key's in compact form (EIP-2098), and any other as it is. */
export function asTaken(signature: Hex): Hex {
  if (signature.length !== KEY_SIGNATURE) return signature;
  return serializeCompactSignature(signatureToCompactSignature(parseSignature(signature)));
}

/** Brings a signed withdrawal by a transaction of one's own: the relay may have it as well, and only one of both counts. */
export async function bringWithdrawal(
  market: Market,
  { message, signature }: Shapes["SignedWithdrawal"],
): Promise<void> {
  await send(market, "Trading", {
    abi: tradingAbi,
    functionName: "withdrawFor",
    args: [
      message.account as Address,
      constants.assets[message.asset],
      BigInt(message.amountWei),
      message.to as Address,
      message.nonce,
      BigInt(message.deadline),
      asTaken(signature as Hex),
    ],
  });
}
