import { expect, test } from "vitest";
import { readAddress } from "./address";

const ADDRESS = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const DIGITS = ADDRESS.slice(2);

test("readAddress: its checksum, or no capitals, or only capitals: is the address", () => {
  for (const text of [ADDRESS, ` ${ADDRESS} `, `0x${DIGITS.toLowerCase()}`, `0x${DIGITS.toUpperCase()}`])
    expect(readAddress(text)).toEqual({ address: ADDRESS });
});

test("readAddress: a wrong digit, or a wrong capital: is refused for its checksum", () => {
  for (const text of [`${ADDRESS.slice(0, -1)}e`, ADDRESS.replace("aA", "AA")])
    expect(readAddress(text)).toEqual({ fault: "badChecksum" });
});

test("readAddress: too short, too long, or no digits: is none", () => {
  for (const text of ["", DIGITS, ADDRESS.slice(0, -1), `${ADDRESS}0`, ADDRESS.replace("a", "g")])
    expect(readAddress(text)).toEqual({ fault: "badAddress" });
});
