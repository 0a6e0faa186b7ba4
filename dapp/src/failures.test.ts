import {
  ContractFunctionExecutionError,
  ContractFunctionRevertedError,
  encodeErrorResult,
  UserRejectedRequestError,
} from "viem";
import { expect, test } from "vitest";
import { ApiError } from "./api";
import { Expired, isLost, nameOf, NoEther, Refused, sentenceOf, Tampered, Unheard } from "./failures";
import { tradingAbi } from "./generated/Trading";
import { errorsAbi } from "./generated/errors";
import { en, th } from "./i18n";

const OWNER = "0x1111111111111111111111111111111111111111";

/** As viem reports a refused call, with the contract's own ABI, which lacks other contracts' errors. */
function refused(data: `0x${string}`) {
  const revert = new ContractFunctionRevertedError({ abi: tradingAbi, data, functionName: "createOrders" });
  return new ContractFunctionExecutionError(revert, { abi: tradingAbi, functionName: "createOrders", args: [[]] });
}

test("sentenceOf: a contract's refusal: is the error's sentence, in either language", () => {
  const data = encodeErrorResult({ abi: errorsAbi, errorName: "InsufficientFree", args: [OWNER, 1, 5n, 10n] });
  expect(nameOf(refused(data))).toBe("InsufficientFree");
  expect(sentenceOf(refused(data), en)).toBe(en.errors.InsufficientFree);
  expect(sentenceOf(refused(data), th)).toBe(th.errors.InsufficientFree);
});

test("sentenceOf: the server's refusal by a contract's error: is the same sentence", () => {
  const problem = new ApiError(422, { type: "urn:busbar:error:ZonePaused", status: 422 });
  expect(sentenceOf(problem, en)).toBe(en.errors.ZonePaused);
});

test("sentenceOf: declined in the wallet: says that nothing was sent", () => {
  expect(sentenceOf(new UserRejectedRequestError(new Error("no")), en)).toBe(en.failure.declined);
  expect(sentenceOf({ code: 4001, message: "User denied" }, en)).toBe(en.failure.declined);
});

test("sentenceOf: nobody answers: says to try again", () => {
  expect(sentenceOf(new TypeError("Failed to fetch"), en)).toBe(en.failure.network);
  expect(sentenceOf(new ApiError(429, {}), en)).toBe(en.failure.busy);
});

test("isLost: the relay cannot answer or refuses: is so for the first alone", () => {
  expect([503, 422].map((status) => isLost(new ApiError(status, {})))).toEqual([true, false]);
});

test.each<[unknown, string]>([
  [new Refused("OrderNotOpen"), en.errors.OrderNotOpen],
  [new Refused(null), en.failure.reverted],
  [new Expired(), en.failure.expired],
  [new Unheard(true), en.failure.unheard],
  [new Tampered(), en.failure.tampered],
  [new NoEther(), en.failure.noEther],
  [{ code: -32603, message: "insufficient funds for gas * price + value" }, en.failure.noEther],
])("sentenceOf: %s: says what to do", (problem, sentence) => {
  expect(sentenceOf(problem, en)).toBe(sentence);
});
