import { expect, test } from "vitest";
import { goesWith } from "./together";

test("goesWith: a balance of an earlier block than the statement: waits", () => {
  expect([586n, 587n, 588n].map((block) => goesWith({ block: 587 }, { block }))).toEqual([false, true, true]);
});

test("goesWith: a statement whose balance is on its way: waits, and none does not", () => {
  expect([goesWith({ block: 587 }, undefined), goesWith(null, undefined), goesWith(undefined, undefined)]).toEqual([
    false,
    true,
    true,
  ]);
});
