/** An order, signed for the relay at no cost, or sent as a transaction of one's own. */

import { signTypedData } from "wagmi/actions";
import { type Shapes, told } from "../api";
import { packOrder } from "../chain";
import type { Order } from "../clearing";
import { market as constants, ordersTypes } from "../generated/market";
import { tradingAbi } from "../generated/Trading";
import type { Market } from "../market";
import { onTheChain, send } from "./send";

type Message = Shapes["OrdersMessage"];
type Bundle = Shapes["BundleShape"];

/** The server handed back another message than was asked for. */
export class Tampered extends Error {}

const LOOK_MS = 700;

/** The message to sign, which says exactly what was wished: nothing else is ever shown to a wallet. */
export async function messageFor(market: Market, account: string, order: Order): Promise<Message> {
  if (!market.api) throw new Error("no API");
  const wish = { side: order.side, tick: order.tick, quantity_wh: order.quantityWh };
  const answer = await told(market.api.POST("/api/v1/typed-data/orders", { body: { account, orders: [wish] } }));
  const message = answer.typed_data.message as Message;
  if (!says(message, account, order)) throw new Tampered();
  return message;
}

/** Whether a message is this order of this account, and nothing more. */
export function says(message: Message, account: string, order: Order): boolean {
  const [only, ...more] = message.orders;
  return (
    message.account.toLowerCase() === account.toLowerCase() &&
    more.length === 0 &&
    only !== undefined &&
    only.action === order.side &&
    only.energyWh === order.quantityWh &&
    only.limitTicksPerKWh === order.tick &&
    only.untilEpoch === message.firstEpoch
  );
}

/** Has the wallet sign a message, and hands it to the relay; `follow` tells what becomes of it. */
export async function signForRelay(market: Market, message: Message): Promise<Bundle> {
  if (!market.api) throw new Error("no API");
  await onTheChain(market);
  const { deployment } = market;
  const signature = await signTypedData(market.wallets, {
    // Types and domain are this page's own, whatever the server said.
    types: ordersTypes,
    primaryType: "Orders",
    domain: {
      ...constants.tradingDomain,
      chainId: deployment.chainId,
      verifyingContract: deployment.contracts.Trading,
    },
    message: {
      ...message,
      account: message.account as `0x${string}`,
    },
  });
  return told(market.api.POST("/api/v1/energy/orders", { body: { message, signature } }));
}

/** Waits until the relay knows what became of signed orders. */
export async function follow(market: Market, bundle: Bundle): Promise<Bundle> {
  let now = bundle;
  while (now.state === "accepted" || now.state === "sent") {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (!market.api) throw new Error("no API");
    const params = { path: { bundle_id: bundle.id } };
    now = await told(market.api.GET("/api/v1/energy/bundles/{bundle_id}", { params }));
  }
  return now;
}

/** The order as a transaction of one's own, which needs no server at all. */
export async function sendOrder(market: Market, order: Order): Promise<void> {
  await send(market, "Trading", { abi: tradingAbi, functionName: "createOrders", args: [[packOrder(order)]] });
}

/** Takes an open order back. */
export async function cancelOrder(market: Market, id: bigint): Promise<void> {
  await send(market, "Trading", { abi: tradingAbi, functionName: "cancelOrder", args: [id] });
}
