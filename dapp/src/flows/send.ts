/** A transaction of one's own, from its simulation to its receipt. */

import type { Abi, Address, ContractFunctionArgs, ContractFunctionName } from "viem";
import { getConnection, simulateContract, switchChain, waitForTransactionReceipt, writeContract } from "wagmi/actions";
import { addressOf } from "../chain";
import type { ContractName } from "../deployment";
import { NoEther, Reverted } from "../failures";
import { errorsAbi } from "../generated/errors";
import type { Market } from "../market";

/** Has the wallet go to the market's chain, which it adds if it does not know it. */
export async function onTheChain({ wallets, deployment }: Market): Promise<Address> {
  const { address, chainId } = getConnection(wallets);
  if (!address) throw new Error("no wallet is connected");
  if (chainId !== deployment.chainId) await switchChain(wallets, { chainId: deployment.chainId });
  return address;
}

/**
 * Simulates a call, so that a refusal costs nothing and has its reason; then has the wallet send it, and waits until
 * it is included.
 */
export async function send<const abi extends Abi, name extends ContractFunctionName<abi, "nonpayable">>(
  market: Market,
  contract: ContractName,
  call: { abi: abi; functionName: name; args: ContractFunctionArgs<abi, "nonpayable", name> },
): Promise<void> {
  const account = await onTheChain(market);
  const { wallets, deployment } = market;
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
  const [balance, gasPrice] = await Promise.all([
    market.reader.getBalance({ address: account }),
    market.reader.getGasPrice(),
  ]);
  if (balance === 0n && gasPrice > 0n) throw new NoEther();
  const hash = await writeContract(wallets, request);
  const receipt = await waitForTransactionReceipt(wallets, { hash, chainId: deployment.chainId, pollingInterval: 500 });
  if (receipt.status !== "success") throw new Reverted(hash);
}
