/** Cancels, withdrawals and deposits by signature, which the relay brings at its own cost. */

import { signTypedData } from "wagmi/actions";
import { type Shapes, told } from "../api";
import { type OpenOrder, orderPlace, readAccount } from "../chain";
import { Expired, isLost, Refused, Unheard } from "../failures";
import { cancelOrderTypes, cancelUpToTypes, market as constants, withdrawTypes } from "../generated/market";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { type Asset, PERMIT_S } from "./funds";
import { onTheChain, send } from "./send";

type Errand = Shapes["ErrandShape"];

const LOOK_MS = 700;

/** Looks without an answer, until it is said that there is none: half a minute. */
const PATIENCE = 40;

/** The market's own domain, in which all of its messages are signed. */
export function domainOf({ deployment }: Market) {
  return {
    ...constants.tradingDomain,
    chainId: deployment.chainId,
    verifyingContract: deployment.contracts.Trading,
  };
}

function apiOf({ api }: Market) {
  if (!api) throw new Error("no API");
  return api;
}

/** Asks again and again, over short absences too, until something has come to its end. */
export async function followed<T extends { state: string }>(first: T, ask: () => Promise<T>): Promise<T> {
  let [now, unheard] = [first, 0];
  while (now.state === "accepted" || now.state === "sent") {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    try {
      now = await ask();
      unheard = 0;
    } catch (problem) {
      if (!isLost(problem)) throw problem;
      unheard += 1;
      if (unheard === PATIENCE) throw new Unheard(true);
    }
  }
  return now;
}

/** Waits until the relay has done what it took on. */
export async function followErrand(market: Market, errand: Errand): Promise<void> {
  const params = { path: { errand_id: errand.id } };
  const end = await followed(errand, () => told(apiOf(market).GET("/api/v1/errands/status/{errand_id}", { params })));
  if (end.state === "expired") throw new Expired();
  if (end.state === "refused") throw new Refused(end.reason?.error ?? null);
}

/** Has the wallet sign that an order is taken back. */
export async function signCancel(market: Market, order: OpenOrder): Promise<Shapes["SignedCancelOrder"]> {
  const account = await onTheChain(market);
  const message = cancelMessage(account, order);
  const signature = await signTypedData(market.wallets, {
    types: cancelOrderTypes,
    primaryType: "CancelOrder",
    domain: domainOf(market),
    message,
  });
  return { message, signature };
}

/** Hands a signed cancel to the relay. */
export async function handCancel(market: Market, body: Shapes["SignedCancelOrder"]): Promise<Errand> {
  return told(apiOf(market).POST("/api/v1/errands/cancel-order", { body }));
}

/** The message that takes an order back: it names the order whole, so that a wallet can show what it is. */
export function cancelMessage(account: `0x${string}`, { id, side, quantityWh, tick }: OpenOrder) {
  const { epoch, index } = orderPlace(id);
  return { account, epoch, index, action: side, energyWh: quantityWh, limitTicksPerKWh: tick };
}

/** Has the wallet sign a withdrawal to itself. */
export async function signWithdrawal(
  market: Market,
  asset: Asset,
  amountWei: bigint,
): Promise<Shapes["SignedWithdrawal"]> {
  const account = await onTheChain(market);
  const { reader, deployment } = market;
  const [held, block] = await Promise.all([readAccount(reader, deployment, account), reader.getBlock()]);
  const message = { account, asset, amountWei, to: account, nonce: held.nonce, deadline: block.timestamp + PERMIT_S };
  const signature = await signTypedData(market.wallets, {
    types: withdrawTypes,
    primaryType: "Withdraw",
    domain: domainOf(market),
    message,
  });
  return {
    message: { ...message, amountWei: amountWei.toString(), deadline: Number(message.deadline) },
    signature,
  };
}

/** Hands a signed withdrawal to the relay. */
export async function handWithdrawal(market: Market, body: Shapes["SignedWithdrawal"]): Promise<Errand> {
  return told(apiOf(market).POST("/api/v1/errands/withdraw", { body }));
}

/** Hands a signed permit to the relay, which brings the tokens in. */
export async function handDeposit(market: Market, body: Shapes["SignedDeposit"]): Promise<Errand> {
  return told(apiOf(market).POST("/api/v1/errands/deposit", { body }));
}

/** Has the wallet sign that a message, and all with a lower nonce, shall count no more. */
export async function signLettingGo(market: Market, nonce: number): Promise<Shapes["SignedCancelUpTo"]> {
  const account = await onTheChain(market);
  const message = { account, nonce };
  const signature = await signTypedData(market.wallets, {
    types: cancelUpToTypes,
    primaryType: "CancelUpTo",
    domain: domainOf(market),
    message,
  });
  return { message, signature };
}

/** Hands a signed cancel of messages to the relay, which brings it before any of them. */
export async function handLettingGo(market: Market, body: Shapes["SignedCancelUpTo"]): Promise<Errand> {
  return told(apiOf(market).POST("/api/v1/errands/cancel-up-to", { body }));
}

/** The same by a transaction of one's own. */
export async function letGo(market: Market, nonce: number): Promise<void> {
  await send(market, "Trading", { abi: tradingAbi, functionName: "cancelUpTo", args: [nonce] });
}
