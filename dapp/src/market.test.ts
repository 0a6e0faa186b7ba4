import { expect, test } from "vitest";
import { bytes32Of, openAmong, orderPlace, packOrder } from "./chain";
import { lastEpochOf } from "./components/Life";
import { parseDeployment } from "./deployment";
import { newsOf, startOf, untilClock, untilEnd } from "./market";

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
  const news = { number: 1, timestamp: 1_000 + 900 * 3 + 450, epoch: 3, sinceMs: 5_000 };
  expect(untilEnd(news, 5_000, deployment)).toEqual({ seconds: 30, share: 0.5 });
  expect(untilEnd(news, 15_000, deployment).seconds).toBe(20);
  expect(untilEnd(news, 99_000, deployment)).toEqual({ seconds: 0, share: 1 });
});

test("newsOf: a block that the server has known for long: is as old as that", () => {
  const told = { number: 1, timestamp: 1_000, epoch: 3, age_s: 40 };
  expect(newsOf(told, 5_000)).toEqual({ number: 1, timestamp: 1_000, epoch: 3, sinceMs: -35_000 });
});

test("packOrder: bids and asks, standing and not: are as OrderCodec has them", () => {
  expect(packOrder({ side: "buy", tick: 310, quantityWh: 500, further: 0 })).toBe(500 + 310 * 2 ** 24);
  expect(packOrder({ side: "sell", tick: 1023, quantityWh: 10_000_000, further: 96 })).toBe(
    10_000_000 + 1023 * 2 ** 24 + 2 ** 34 + 96 * 2 ** 35,
  );
});

test("orderPlace: an id: has its epoch and its place", () => {
  expect(orderPlace((77n << 168n) | (99n << 160n) | 0xabcn)).toEqual({ epoch: 77, index: 99 });
});

test("openAmong: open, resting, ended and cancelled orders: leaves those that may still trade", () => {
  const view = (epoch: bigint, quantityWh: number, untilEpoch: number) => ({
    id: epoch << 168n,
    isBuy: true,
    tick: 300,
    quantityWh,
    untilEpoch,
  });
  const views = [view(9n, 100, 9), view(8n, 200, 12), view(8n, 300, 8), view(9n, 0, 9)];
  expect(openAmong(views, 9).map(({ quantityWh }) => quantityWh)).toEqual([100, 200]);
});

// Thailand's midnights are at 17:00 UTC; epoch 0 begins at one of them.
const THAI = parseDeployment({ ...FILE, genesis: 17 * 3_600 }, "https://host/");

test.each([
  ["18:00", 40, 71],
  ["10:15", 40, 40],
  ["10:00", 40, 135],
  ["00:00", 40, 95],
  ["10:20", 40, 40],
])("untilClock: %s in epoch %i: is over with epoch %i", (text, open, last) => {
  expect(untilClock(text, open, THAI)).toBe(last);
  expect(startOf(last + 1, THAI)).toBeGreaterThan(startOf(open, THAI));
});

test.each(["", "6pm", "10:05"])("untilClock: %s in the epoch from 10:00: is none", (text) => {
  expect(untilClock(text, 40, THAI)).toBeNull();
});

test("lastEpochOf: this epoch, so many further, too many, and a time: goes by the choice", () => {
  const last = (lasting: Parameters<typeof lastEpochOf>[0]) => lastEpochOf(lasting, 40, THAI);
  expect([
    last({ kind: "epoch" }),
    last({ kind: "epochs", text: "1" }),
    last({ kind: "epochs", text: "96" }),
    last({ kind: "epochs", text: "97" }),
    last({ kind: "epochs", text: "0" }),
    last({ kind: "epochs", text: "1.5" }),
    last({ kind: "clock", text: "11:00" }),
  ]).toEqual([null, 41, 136, null, null, null, 43]);
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
