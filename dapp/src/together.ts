/** What may be shown side by side. */

import type { Holding } from "./chain";

/** Whether an account has something else than it had, in whatever block. Its orders lock what they want, and so show here. */
export function hasChanged(before: Holding, after: Holding): boolean {
  const names = Object.keys(before) as (keyof Holding)[];
  return names.some((name) => name !== "block" && name !== "orders" && before[name] !== after[name]);
}

/**
 * What an account is shown to have beside a statement: what it had at the statement's block, so that no energy is told as
 * sold and as still in open orders, nor as neither. The newest, if nobody knows of the statement's block, or if the index
 * that writes statements is far behind.
 */
export function heldBeside(then: Holding | null | undefined, newest: Holding | undefined, behind: boolean) {
  return behind ? newest : (then ?? newest);
}

const TRIES = 4;

/** Answers that are of one block: all are asked for again, a few times, when a block came between them. */
export async function ofOneBlock<T extends readonly { block: number }[]>(ask: () => Promise<T>): Promise<T> {
  let answers = await ask();
  for (let tried = 1; tried < TRIES && new Set(answers.map(({ block }) => block)).size > 1; tried += 1)
    answers = await ask();
  return answers;
}
