/** Addresses as people type them. */

import { type Address, checksumAddress } from "viem";

export type AddressFault = "badAddress" | "badChecksum";

/**
 * A typed address, or what is wrong with it. Capitals carry a checksum (EIP-55), so that a wrong digit is noticed; all
 * small or all capital letters carry none.
 */
export function readAddress(text: string): { address: Address } | { fault: AddressFault } {
  const digits = /^0x([0-9a-f]{40})$/i.exec(text.trim())?.[1];
  if (digits === undefined) return { fault: "badAddress" };
  const address = checksumAddress(`0x${digits.toLowerCase()}`);
  const plain = digits === digits.toLowerCase() || digits === digits.toUpperCase();
  return plain || address === `0x${digits}` ? { address } : { fault: "badChecksum" };
}
