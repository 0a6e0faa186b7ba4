/** What may be shown side by side. */

import type { Holding } from "./chain";

/** Whether an account has something else than it had: whatever its block, and but for its orders, which lock what they want. */
export function hasChanged(before: Holding, after: Holding): boolean {
  const { block: _, orders: __, ...then } = before;
  return (Object.keys(then) as (keyof typeof then)[]).some((name) => before[name] !== after[name]);
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
