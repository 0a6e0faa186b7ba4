/** Why something failed, as a sentence that says what to do. */

import {
  BaseError,
  ContractFunctionRevertedError,
  decodeErrorResult,
  HttpRequestError,
  type Hex,
  TimeoutError,
  UserRejectedRequestError,
} from "viem";
import { ApiError } from "./api";
import { errorsAbi } from "./generated/errors";
import { AlreadyUnderway } from "./flows/underway";
import type { Messages } from "./i18n/en";

const DECLINED = 4001;
const ALREADY_ASKED = -32002;

/** It is over for good: the contracts refused it, or its time has passed. */
export function isOver(problem: unknown): boolean {
  return problem instanceof Expired || problem instanceof Refused || nameOf(problem) !== null;
}

/** Somebody said no in the wallet. */
export function isDeclined(problem: unknown): boolean {
  if (problem instanceof BaseError && problem.walk((cause) => cause instanceof UserRejectedRequestError)) return true;
  return codes(problem).includes(DECLINED);
}

/** Nothing is known of what was asked: the relay is away, or the answer was lost on its way. */
export function isLost(problem: unknown): boolean {
  return problem instanceof TypeError || (problem instanceof ApiError && problem.status >= 500 && !problem.error);
}

/** The relay brought a signed message, or tried to, and the contracts refused it. */
export class Refused extends Error {
  constructor(readonly error: string | null) {
    super(error ?? "refused");
  }
}

/** A signed message that was not brought before its time was over. */
export class Expired extends Error {}

/** What became of a signed message is not known: the relay took it on and answers no more, or never answered. */
export class Unheard extends Error {
  constructor(readonly taken: boolean) {
    super("unheard");
  }
}

/** The epochs that were told before a signature are over: others are told now. */
export class Later extends Error {
  constructor(readonly epoch: number) {
    super("later");
  }
}

/** What was to be let go had come about before. */
export class CameAbout extends Error {}

/** The wallet sent something else in the place of a transaction, or took it back. */
export class Replaced extends Error {}

/** The dialog was closed while the wallet asked: what it gave goes nowhere. */
export class Closed extends Error {}

/** The server handed back another message than was asked for. */
export class Tampered extends Error {}

/** The sentence for a failure. */
export function sentenceOf(problem: unknown, t: Messages): string {
  if (isDeclined(problem)) return t.failure.declined;
  const name = nameOf(problem);
  const known: Record<string, string> = t.errors;
  if (name !== null) return known[name] ?? t.failure.unknown(name);
  if (codes(problem).includes(ALREADY_ASKED)) return t.failure.pendingRequest;
  if (problem instanceof ApiError) {
    if (problem.status === 429) return t.failure.busy;
    return problem.status >= 500 ? t.failure.network : t.failure.unknown(problem.message);
  }
  if (problem instanceof Reverted || problem instanceof Refused) return t.failure.reverted;
  if (problem instanceof Expired) return t.failure.expired;
  if (problem instanceof Unheard) return problem.taken ? t.failure.unheard : t.failure.lost;
  if (problem instanceof Later) return t.failure.later;
  if (problem instanceof CameAbout) return t.failure.cameAbout;
  if (problem instanceof Replaced) return t.failure.replaced;
  if (problem instanceof AlreadyUnderway) return t.failure.underway;
  if (problem instanceof Tampered) return t.failure.tampered;
  if (isWithoutEther(problem)) return t.failure.noEther;
  if (problem instanceof BaseError) {
    if (problem.walk((cause) => cause instanceof HttpRequestError || cause instanceof TimeoutError))
      return t.failure.node;
    return t.failure.unknown(problem.shortMessage);
  }
  // What `fetch` says when nobody answers differs from browser to browser.
  if (problem instanceof TypeError) return t.failure.network;
  return t.failure.unknown(problem instanceof Error ? problem.message : String(problem));
}

/** A transaction that was included and refused, though its simulation went through. */
export class Reverted extends Error {}

/** The account has nothing to pay the network's fee with. */
export class NoEther extends Error {}

/** The account cannot pay the network's fee, as this page saw or as its wallet says. */
function isWithoutEther(problem: unknown): boolean {
  const says = (cause: unknown) => (cause as Partial<Error>).message ?? "";
  return problem instanceof NoEther || causes(problem).some((cause) => /insufficient funds/i.test(says(cause)));
}

/** The contract's error behind a failure, by name. */
export function nameOf(problem: unknown): string | null {
  if (problem instanceof Refused) return problem.error;
  if (problem instanceof ApiError) return problem.error;
  if (!(problem instanceof BaseError)) return null;
  const revert = problem.walk((cause) => cause instanceof ContractFunctionRevertedError);
  if (revert instanceof ContractFunctionRevertedError) {
    if (revert.data) return revert.data.errorName;
    if (revert.raw) return decoded(revert.raw);
  }
  const data = causes(problem)
    .map((cause) => (cause as { data?: unknown }).data)
    .find((value): value is Hex => typeof value === "string" && value.startsWith("0x") && value.length >= 10);
  return data ? decoded(data) : null;
}

function decoded(data: Hex): string | null {
  try {
    return decodeErrorResult({ abi: errorsAbi, data }).errorName;
  } catch {
    return null;
  }
}

function causes(problem: unknown): unknown[] {
  const found: unknown[] = [];
  for (let cause = problem; cause && found.length < 10; cause = (cause as { cause?: unknown }).cause) found.push(cause);
  return found;
}

function codes(problem: unknown): unknown[] {
  return causes(problem).map((cause) => (cause as { code?: unknown }).code);
}
