/** A transaction of one's own, from its simulation to its receipt. */

import type { Abi, Address, ContractFunctionArgs, ContractFunctionName, Hex } from "viem";
import { getConnection, simulateContract, switchChain, writeContract } from "wagmi/actions";
import { addressOf } from "../chain";
import type { ContractName } from "../deployment";
import { NoEther, Replaced, Reverted } from "../failures";
import { errorsAbi } from "../generated/errors";
import type { Market } from "../market";

/** Has the wallet go to the market's chain, which it adds if it does not know it. */
export async function onTheChain({ wallets, deployment }: Market): Promise<Address> {
  const { address, chainId } = getConnection(wallets);
  if (!address) throw new Error("no wallet is connected");
  if (chainId !== deployment.chainId) await switchChain(wallets, { chainId: deployment.chainId });
  return address;
}

/** A call in words of its own, which two calls share if they are the same. */
export const written = (args: unknown): string =>
  JSON.stringify(args, (_, value: unknown) => (typeof value === "bigint" ? value.toString() : value));

/**
 * Simulates a call, so that a refusal costs nothing and has its reason; then has the wallet send it, and waits until
 * it is included. From the moment the wallet is asked it is kept as under way, and the same is not sent beside it.
 */
export async function send<const abi extends Abi, name extends ContractFunctionName<abi, "nonpayable">>(
  market: Market,
  contract: ContractName,
  call: { abi: abi; functionName: name; args: ContractFunctionArgs<abi, "nonpayable", name> },
): Promise<void> {
  const account = await onTheChain(market);
  const { wallets, deployment, reader, underway } = market;
  // Other contracts' errors come through as well, and shall have their names.
  const whole: Abi = [...call.abi, ...errorsAbi];
  const { request } = await simulateContract(wallets, {
    address: addressOf(deployment, contract),
    abi: whole,
    functionName: call.functionName,
    args: call.args as readonly unknown[],
    account,
    chainId: deployment.chainId,
  });
  const [balance, gasPrice, block] = await Promise.all([
    reader.getBalance({ address: account }),
    reader.getGasPrice(),
    reader.getBlockNumber(),
  ]);
  if (balance === 0n && gasPrice > 0n) throw new NoEther();
  const what = { kind: "transaction", call: call.functionName, args: written(call.args), hash: null } as const;
  const { id } = underway.keep(account, Number(block), what);
  await underway.during(id, async () => {
    let hash: Hex;
    try {
      hash = await writeContract(wallets, request);
    } catch (problem) {
      underway.settle(account, id);
      throw problem;
    }
    underway.sent(account, id, hash);
    try {
      await included(market, hash);
    } finally {
      underway.settle(account, id);
    }
  });
}

const AGAIN_MS = 2_000;

/** Waits, as long as it takes and over a node's absences, until a transaction is included, or another in its place. */
async function included({ reader }: Market, hash: Hex): Promise<void> {
  const reasons: string[] = [];
  const onReplaced = ({ reason }: { reason: string }) => reasons.push(reason);
  for (;;) {
    let status: string;
    try {
      ({ status } = await reader.waitForTransactionReceipt({ hash, timeout: 0, pollingInterval: 500, onReplaced }));
    } catch {
      // A node that does not answer says nothing about what was sent.
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      continue;
    }
    // With another fee it is the same; anything else in its place is not what was wanted, though it succeeds.
    if (reasons.some((reason) => reason !== "repriced")) throw new Replaced();
    if (status !== "success") throw new Reverted(hash);
    return;
  }
}
