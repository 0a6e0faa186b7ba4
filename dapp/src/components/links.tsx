/** Names that lead to their pages in the explorer. */

import { Link } from "wouter";
import { placeOf } from "../places";
import { Hex } from "./bits";

export const AccountLink = ({ account }: { account: string }) => (
  <Hex value={account} href={`#${placeOf({ kind: "account", id: account })}`} />
);

export const TxLink = ({ hash }: { hash: string }) => <Hex value={hash} href={`#/explorer/tx/${hash}`} />;

export const MeterLink = ({ meterId }: { meterId: string }) => (
  <Link href={placeOf({ kind: "meter", id: meterId })}>
    {meterId.startsWith("0x") ? <Hex value={meterId} /> : meterId}
  </Link>
);
