import { expect, test } from "vitest";
import { ApiError } from "../api";
import { Closed, Unheard } from "../failures";
import { en } from "../i18n";
import { type RelayState, stepsOf } from "./relayed";
import type { Step } from "./Steps";

/** Steps of something whose handing over ends in a failure, if one is given; and what was done of it. */
function steps(relay: RelayState, failure?: Error, onceOnly = true, lost?: Error) {
  const done: string[] = [];
  const direct = (signed: string | null): Step => ({
    title: "own",
    details: ["means"],
    fee: true,
    act: () => {
      done.push(`sent ${signed}`);
      return Promise.resolve(undefined);
    },
  });
  const made = stepsOf(relay, en, {
    title: "signed",
    details: [],
    shows: { action: "buy", energyWh: 300 },
    sign: () => {
      done.push("signed");
      return Promise.resolve("signature");
    },
    hand: () => {
      if (failure) {
        const thrown = failure;
        failure = undefined;
        return Promise.reject(thrown);
      }
      done.push("handed");
      return Promise.resolve("errand");
    },
    follow: (errand) => {
      done.push(`followed ${errand}`);
      if (done.filter((what) => what.startsWith("followed")).length === 1 && lost) return Promise.reject(lost);
      return Promise.resolve();
    },
    onceOnly,
    direct,
  });
  return { made, done };
}

const act = (step: Step | undefined) =>
  step?.act(
    () => undefined,
    () => undefined,
  );

test("stepsOf: the relay is there: is a signature, handed over and followed", async () => {
  const { made, done } = steps("there");
  expect(made.map(({ fee }) => fee)).toEqual([false]);
  expect(await act(made[0])).toBeUndefined();
  expect(done).toEqual(["signed", "handed", "followed errand"]);
});

test("stepsOf: the relay is away: says so before anything is signed, and sends", async () => {
  const { made, done } = steps("away");
  expect(made.map(({ title, fee }) => [title, fee])).toEqual([[en.relay.away, true]]);
  expect(made[0]?.details).toEqual([en.relay.awayHow, "own", "means"]);
  await act(made[0]);
  expect(done).toEqual(["sent null"]);
});

test("stepsOf: there is no relay: sends, and speaks of none", () => {
  expect(steps("none").made.map(({ title }) => title)).toEqual(["own"]);
});

test("stepsOf: the relay goes away after the signature: goes on with what was signed", async () => {
  const { made, done } = steps("there", new ApiError(503, {}));
  const left = await act(made[0]);
  expect(left?.map(({ title, fee }) => [title, fee])).toEqual([[en.relay.lost, true]]);
  expect(left?.[0]?.details?.[0]).toBe(en.relay.lostHow);
  await act(left?.[0]);
  expect(done).toEqual(["signed", "sent signature"]);
});

test("stepsOf: the relay refuses: is no absence", async () => {
  const refusal = new ApiError(422, { type: "urn:busbar:error:InvalidNonce" });
  await expect(act(steps("there", refusal).made[0])).rejects.toBe(refusal);
});

test.each([new TypeError("fetch"), new ApiError(503, {})])(
  "stepsOf: the answer to an order is lost: hands the same signature over again, and sends nothing",
  async (failure) => {
    const { made, done } = steps("there", failure, false);
    await expect(act(made[0])).rejects.toBeInstanceOf(Unheard);
    expect(await act(made[0])).toBeUndefined();
    expect(done).toEqual(["signed", "handed", "followed errand"]);
  },
);

test("stepsOf: following fails after the relay took it: goes on following, and signs nothing anew", async () => {
  const { made, done } = steps("there", undefined, false, new Unheard(true));
  await expect(act(made[0])).rejects.toBeInstanceOf(Unheard);
  expect(await act(made[0])).toBeUndefined();
  expect(done).toEqual(["signed", "handed", "followed errand", "followed errand"]);
});

test("stepsOf: the dialog is closed while the wallet asks: what was signed is handed to nobody", async () => {
  const { made, done } = steps("there");
  const closed = made[0]?.act(
    () => undefined,
    () => {
      throw new Closed();
    },
  );
  await expect(closed).rejects.toBeInstanceOf(Closed);
  expect(done).toEqual(["signed"]);
});

/** The same with a keeping that notes what was done with it; and whether the chain shows it done. */
function kept(failure?: Error, isDone = false, sends?: Error) {
  const done: string[] = [];
  const keeping = {
    during: <T>(what: () => Promise<T>) => what(),
    settle: () => done.push("settled"),
    isDone: () => Promise.resolve(isDone),
  };
  const made = stepsOf("there", en, {
    title: "signed",
    details: [],
    shows: { action: "buy", energyWh: 300 },
    sign: () => Promise.resolve("signature"),
    keep: (signed) => {
      done.push(`kept ${signed}`);
      return Promise.resolve(keeping);
    },
    hand: () => {
      done.push("handed");
      return failure ? Promise.reject(failure) : Promise.resolve("errand");
    },
    follow: () => Promise.resolve(),
    onceOnly: true,
    direct: () => ({
      title: "own",
      fee: true,
      act: () => {
        done.push("sent");
        return sends ? Promise.reject(sends) : Promise.resolve(undefined);
      },
    }),
  });
  return { made, done };
}

test("stepsOf: something that is kept: is kept before it is handed over, until it is done", async () => {
  const { made, done } = kept();
  await act(made[0]);
  expect(done).toEqual(["kept signature", "handed", "settled"]);
});

test("stepsOf: the answer is lost: stays kept", async () => {
  const { made, done } = kept(new TypeError("fetch"));
  await act(made[0]);
  expect(done).toEqual(["kept signature", "handed"]);
});

test("stepsOf: the relay refuses: is kept no longer", async () => {
  const { made, done } = kept(new ApiError(422, { type: "urn:busbar:error:InvalidNonce" }));
  await expect(act(made[0])).rejects.toBeInstanceOf(ApiError);
  expect(done).toEqual(["kept signature", "handed", "settled"]);
});

test("stepsOf: the relay did it though its answer was lost: sends nothing beside it", async () => {
  const { made, done } = kept(new TypeError("fetch"), true);
  const left = await act(made[0]);
  expect(await act(left?.[0])).toBeUndefined();
  expect(done).toEqual(["kept signature", "handed", "settled"]);
});

test("stepsOf: sending oneself fails and it is not done: says so, and it stays kept", async () => {
  const refusal = new Error("refused");
  const { made, done } = kept(new TypeError("fetch"), false, refusal);
  const left = await act(made[0]);
  await expect(act(left?.[0])).rejects.toBe(refusal);
  expect(done).toEqual(["kept signature", "handed", "sent"]);
});

test("stepsOf: a signature, tells it as the wallet shows it; a transaction of one's own, does not", () => {
  const wanted = {
    title: "t",
    details: [],
    shows: { action: "buy", energyWh: 300 },
    sign: () => Promise.resolve(1),
    hand: () => Promise.resolve(2),
    follow: () => Promise.resolve(),
    onceOnly: true,
    direct: () => ({ title: "own", fee: true, act: () => Promise.resolve(undefined) }),
  };
  expect(stepsOf("there", en, wanted)[0]?.shows).toBe("action buy, energyWh 300");
  expect(stepsOf("none", en, wanted)[0]?.shows).toBeUndefined();
});
