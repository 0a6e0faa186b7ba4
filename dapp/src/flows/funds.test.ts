import { privateKeyToAccount } from "viem/accounts";
import { expect, test } from "vitest";
import { asTaken } from "./funds";

const KEY = `0x${"11".repeat(32)}` as const;

test.each(["a", "b", "c", "d", "e", "f"])(
  "asTaken: a key's signature of %s: is 64 bytes that say the same",
  async (message) => {
    const signature = await privateKeyToAccount(KEY).signMessage({ message });
    const [r, s, v] = [signature.slice(2, 66), signature.slice(66, 130), parseInt(signature.slice(130), 16)];
    const yParityAndS = BigInt(`0x${s}`) + (BigInt(v - 27) << 255n);
    expect(asTaken(signature)).toBe(`0x${r}${yParityAndS.toString(16).padStart(64, "0")}`);
  },
);

test.each(["0x", "0x1234", `0x${"ab".repeat(64)}`, `0x${"ab".repeat(66)}`] as const)(
  "asTaken: %s, which is no key's as wallets give it: is as it was",
  (signature) => {
    expect(asTaken(signature)).toBe(signature);
  },
);
