/** What may be shown side by side. */

import type { Shapes } from "./api";
import type { Holding } from "./chain";

/**
 * Whether a statement may be shown beside what the account holds: it knows of no later block. What it tells as sold would
 * still stand in open orders beside it.
 */
export function goesWith(
  statement: Pick<Shapes["Statement"], "block"> | null | undefined,
  holding: Pick<Holding, "block"> | undefined,
): boolean {
  return !statement || (holding !== undefined && holding.block >= BigInt(statement.block));
}
