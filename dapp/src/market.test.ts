import { expect, test } from "vitest";
import { bytes32Of, packOrder } from "./chain";
import { parseDeployment } from "./deployment";
import { untilEnd } from "./market";

const address = "0x1111111111111111111111111111111111111111" as const;
const FILE = {
  version: "1",
  chainId: 31337,
  chainName: "Busbar devnet",
  rpcUrl: "/rpc",
  api: "/api/v1",
  relay: true,
  contracts: {
    Authority: address,
    BahtToken: address,
    GridToken: address,
    Metering: address,
    OracleClient: address,
    Registry: address,
    Trading: address,
  },
  genesis: 1_000,
  epochSeconds: 900,
  tickWei: "10000000000000000",
  moneyUnitWei: "5000000",
  pace: 15,
  zone: 1,
};

test("parseDeployment: addresses of its own host: become absolute, and amounts integers", () => {
  const deployment = parseDeployment(FILE, "https://host/app/");
  expect([deployment.rpcUrl, deployment.api, deployment.tickWei]).toEqual([
    "https://host/rpc",
    "https://host/api/v1",
    10n ** 16n,
  ]);
  expect(parseDeployment({ ...FILE, api: null }, "https://host/").api).toBeNull();
});

test("untilEnd: in fast motion: counts seconds of the wall clock", () => {
  const deployment = parseDeployment(FILE, "https://host/");
  const news = { number: 1, timestamp: 1_000 + 900 * 3 + 450, epoch: 3, heardMs: 5_000 };
  expect(untilEnd(news, 5_000, deployment)).toEqual({ seconds: 30, share: 0.5 });
  expect(untilEnd(news, 15_000, deployment).seconds).toBe(20);
  expect(untilEnd(news, 99_000, deployment)).toEqual({ seconds: 0, share: 1 });
});

test("packOrder: a bid and an ask: are as OrderCodec has them", () => {
  expect(packOrder({ side: "buy", tick: 310, quantityWh: 500 })).toBe(500 + 310 * 2 ** 24);
  expect(packOrder({ side: "sell", tick: 1023, quantityWh: 10_000_000 })).toBe(10_000_000 + 1023 * 2 ** 24 + 2 ** 34);
});

test("bytes32Of: ids that fit and ids that do not: pads the ones and refuses the others", () => {
  expect(bytes32Of("H01")).toBe(`0x483031${"0".repeat(58)}`);
  expect([bytes32Of(""), bytes32Of("a b"), bytes32Of("x".repeat(32)), bytes32Of("ก")]).toEqual([
    null,
    null,
    null,
    null,
  ]);
});
