import { expect, test } from "vitest";
import { errorMeanings, errorsAbi } from "../generated/errors";
import { en, firstLanguage, th } from ".";

test("errors: every error of the contracts and of what they are built on: has a sentence in both languages", () => {
  const all = errorsAbi.map(({ name }) => name);
  expect(all).toEqual(expect.arrayContaining([...Object.keys(errorMeanings), "FailedCall"]));
  for (const words of [en, th]) expect(Object.keys(words.errors)).toEqual(expect.arrayContaining(all));
});

test("errors: every sentence: stands for an error that a contract has", () => {
  const known = new Set<string>(errorsAbi.map((error) => error.name));
  expect(Object.keys(en.errors).filter((name) => !known.has(name))).toEqual([]);
});

test("errors: in Thai: are written in Thai", () => {
  expect(Object.entries(th.errors).filter(([, sentence]) => !/[\u0E00-\u0E7F]/.test(sentence))).toEqual([]);
});

test("firstLanguage: chosen before, browser's, neither: goes by the choice, then the browser", () => {
  expect([firstLanguage("en", ["th-TH"]), firstLanguage(null, ["th-TH"]), firstLanguage("xx", ["de"])]).toEqual([
    "en",
    "th",
    "en",
  ]);
});
