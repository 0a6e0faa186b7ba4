/** An order, signed for the relay at no cost, or sent as a transaction of one's own. */

import type { Address } from "viem";
import { signTypedData } from "wagmi/actions";
import { type Shapes, told } from "../api";
import { addressOf, packOrder, readAccount } from "../chain";
import type { Order } from "../clearing";
import { Expired, Later, Refused, Tampered } from "../failures";
import { ordersTypes } from "../generated/market";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { domainOf, followed } from "./errands";
import { onTheChain, send } from "./send";

/** An order, and the last epoch in which it may trade; null for the one it enters. */
export type Wish = Order & { untilEpoch: number | null };

type Message = Shapes["OrdersMessage"];
type Bundle = Shapes["BundleShape"];

/**
 * The message to sign, which says exactly what was wished: nothing else is ever shown to a wallet. It counts for the
 * epoch that was told before the signature, or the one after.
 *
 * @throws Later if both are over.
 */
export async function messageFor(
  market: Market,
  account: Address,
  order: Wish,
  toldEpoch: number | null,
): Promise<Message> {
  if (!market.api) throw new Error("no API");
  const { side, tick, quantityWh, untilEpoch } = order;
  const now = await standing(market, account);
  if (toldEpoch !== null && now.epoch > toldEpoch + 1) throw new Later(now.epoch);
  const orders = [{ side, tick, quantity_wh: quantityWh, until_epoch: untilEpoch }];
  const body = { account, orders, first_epoch: toldEpoch };
  const message = (await told(market.api.POST("/api/v1/typed-data/orders", { body }))).typed_data.message as Message;
  if (!says(message, account, order, now) || (toldEpoch !== null && message.firstEpoch !== toldEpoch))
    throw new Tampered();
  return message;
}

/** What the chain says of an account: its zone, its next nonce, and the epoch that is open. */
export type Standing = { zone: number; nonce: number; epoch: number };

/** How far beyond its account's next nonce a message may be: as many as may wait. A higher one voids those below. */
export const MOST_WAITING = 100;

async function standing(market: Market, account: Address): Promise<Standing> {
  const { reader, deployment } = market;
  const [held, head] = await Promise.all([readAccount(reader, deployment, account), reader.getBlock()]);
  const epoch = Math.floor((Number(head.timestamp) - deployment.genesis) / deployment.epochSeconds);
  return { zone: held.zone, nonce: held.nonce, epoch };
}

/** Whether a message is this order of this account for now, and nothing more. Now is an epoch early or late. */
export function says(message: Message, account: string, order: Wish, now: Standing): boolean {
  const [only, ...more] = message.orders;
  return (
    message.account.toLowerCase() === account.toLowerCase() &&
    message.zone === now.zone &&
    message.source === 0 &&
    message.nonce >= now.nonce &&
    message.nonce <= now.nonce + MOST_WAITING &&
    Math.abs(message.firstEpoch - now.epoch) <= 1 &&
    (message.lastEpoch === message.firstEpoch || message.lastEpoch === message.firstEpoch + 1) &&
    more.length === 0 &&
    only !== undefined &&
    only.action === order.side &&
    only.energyWh === order.quantityWh &&
    only.limitTicksPerKWh === order.tick &&
    only.untilEpoch === (order.untilEpoch ?? message.firstEpoch)
  );
}

/** Has the wallet sign a message. */
export async function signOrders(market: Market, message: Message): Promise<Shapes["SignedOrders"]> {
  await onTheChain(market);
  const signature = await signTypedData(market.wallets, {
    // Types and domain are this page's own, whatever the server said.
    types: ordersTypes,
    primaryType: "Orders",
    domain: domainOf(market),
    message: {
      ...message,
      account: message.account as Address,
    },
  });
  return { message, signature };
}

/** Hands signed orders to the relay; `followOrders` tells what becomes of them. */
export async function handOrders(market: Market, body: Shapes["SignedOrders"]): Promise<Bundle> {
  if (!market.api) throw new Error("no API");
  return told(market.api.POST("/api/v1/energy/orders", { body }));
}

/** Waits until signed orders have entered the market. */
export async function followOrders(market: Market, bundle: Bundle): Promise<void> {
  const params = { path: { bundle_id: bundle.id } };
  const end = await followed(bundle, () => {
    if (!market.api) throw new Error("no API");
    return told(market.api.GET("/api/v1/energy/bundles/{bundle_id}", { params }));
  });
  if (end.state === "expired") throw new Expired();
  if (end.state !== "entered") throw new Refused(end.reason?.error ?? null);
}

/** The order as a transaction of one's own, which needs no server at all. */
export async function sendOrder(market: Market, order: Wish): Promise<void> {
  const open = await market.reader.readContract({
    address: addressOf(market.deployment, "Trading"),
    abi: tradingAbi,
    functionName: "currentEpoch",
  });
  const further = order.untilEpoch === null ? 0 : Math.max(0, order.untilEpoch - Number(open));
  const packed = packOrder({ ...order, further });
  await send(market, "Trading", { abi: tradingAbi, functionName: "createOrders", args: [[packed]] });
}

/** Takes an open or resting order back, by a transaction of one's own. */
export async function cancelOrder(market: Market, id: bigint): Promise<void> {
  await send(market, "Trading", { abi: tradingAbi, functionName: "cancelOrder", args: [id] });
}
