/** Deposits and withdrawals. */

import { Button, Group, Modal, SegmentedControl, Stack, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Address } from "viem";
import type { Shapes } from "../api";
import type { Holding } from "../chain";
import { useAccount } from "../data";
import { keepSigned } from "../flows/fate";
import { followErrand, handDeposit, handWithdrawal, signWithdrawal } from "../flows/errands";
import { type Asset, bringWithdrawal, deposit, signPermit, unitWei, withdraw } from "../flows/funds";
import { inTheWay } from "../flows/underway";
import { useWords } from "../i18n";
import { useMarket, useUnderway } from "../market";
import { decimal, parseDecimal } from "../units";
import { fieldsOf, stepsOf, useRelay } from "./relayed";
import { type Intent, Interrupted, type Step, Steps } from "./Steps";
import { amountSays } from "./Underway";

const PLACES = 6;

export type Direction = "deposit" | "withdraw";

export function Funds(props: { direction: Direction | null; close: () => void; holding: Holding }) {
  const { direction, close, holding } = props;
  const { t } = useWords();
  const account = useAccount();
  const [intent, setIntent] = useState<Intent | null>(null);
  return (
    <>
      <Modal
        opened={direction !== null}
        onClose={close}
        title={direction === "withdraw" ? t.funds.withdrawTitle : t.funds.depositTitle}
        centered
        closeButtonProps={{ "aria-label": t.app.close }}
      >
        {direction && account && (
          <Form
            account={account}
            direction={direction}
            holding={holding}
            go={(wanted) => {
              close();
              setIntent(wanted);
            }}
          />
        )}
      </Modal>
      <Steps intent={intent} close={() => setIntent(null)} />
    </>
  );
}

function Form(props: { account: Address; direction: Direction; holding: Holding; go: (intent: Intent) => void }) {
  const { account, direction, holding, go } = props;
  const { t, language } = useWords();
  const market = useMarket();
  const relay = useRelay();
  const [asset, setAsset] = useState<Asset>("money");
  const [text, setText] = useState("");
  const unit = unitWei(market, asset);
  const walletWei = asset === "money" ? holding.walletBahtWei : holding.walletGridWei;
  const freeWei = (asset === "money" ? holding.moneyFree : holding.energyFree) * unit;
  const mostWei = direction === "deposit" ? walletWei : freeWei;
  const say = (wei: bigint) => amountSays(asset, wei, t, language);
  const millionths = parseDecimal(text, PLACES);
  const typedWei = millionths === null ? null : millionths * 10n ** BigInt(18 - PLACES);
  // "All" may be finer than one can type: what was put in the field stands for all of it.
  const all = decimal(mostWei - (mostWei % 10n ** 12n), 10n ** 18n, PLACES);
  const amountWei = text === all && text !== "" ? mostWei - (mostWei % unit) : typedWei;
  const fault = text === "" ? null : !amountWei ? t.funds.badAmount : amountWei > mostWei ? t.funds.tooMuch : null;

  const waits = inTheWay(useUnderway(account), direction) !== undefined;

  const takeOut = (wei: bigint): Intent => {
    const amount = say(wei);
    const title = t.funds.take(amount);
    return {
      title: t.funds.withdrawTitle,
      done: t.funds.withdrawn(amount),
      steps: stepsOf(relay, t, {
        title,
        details: [],
        shows: { asset, amountWei: String(wei) },
        sign: () => signWithdrawal(market, asset, wei),
        keep: (body) => keepSigned(market, account, { kind: "withdrawal", body }),
        hand: (signed) => handWithdrawal(market, signed),
        follow: (errand) => followErrand(market, errand),
        // What was signed is brought by the transaction, never another withdrawal beside it.
        onceOnly: true,
        direct: (signed) => ({
          title,
          fee: true,
          act: async () => {
            await (signed ? bringWithdrawal(market, signed) : withdraw(market, asset, wei));
            return undefined;
          },
        }),
      }),
    };
  };
  const bringIn = (wei: bigint): Intent => {
    const amount = say(wei);
    const title = t.funds.permit(amount);
    const bring = (permit: Shapes["SignedDeposit"]): Step => ({
      title: t.funds.bring(amount),
      fee: true,
      act: async () => {
        await deposit(market, permit);
        return undefined;
      },
    });
    const both: Step = {
      title,
      details: [t.funds.twoSteps],
      shows: fieldsOf({ value: String(wei) }),
      fee: true,
      act: async (say, unlessClosed) => {
        const permit = await signPermit(market, asset, wei);
        // One step for the participant: the transaction follows at once, and can be repeated if it is declined.
        unlessClosed();
        const then = bring(permit);
        try {
          return await then.act(say, unlessClosed);
        } catch (problem) {
          throw new Interrupted(problem, [then]);
        }
      },
    };
    return {
      title: t.funds.depositTitle,
      done: t.funds.deposited(amount),
      steps: stepsOf(relay, t, {
        title,
        details: [t.funds.oneStep],
        shows: { value: String(wei) },
        sign: () => signPermit(market, asset, wei),
        keep: (body) => keepSigned(market, account, { kind: "deposit", body }),
        hand: (permit) => handDeposit(market, permit),
        follow: (errand) => followErrand(market, errand),
        onceOnly: true,
        direct: (permit) => (permit === null ? both : bring(permit)),
      }),
    };
  };

  return (
    <Stack gap="sm">
      <SegmentedControl
        fullWidth
        aria-label={t.funds.asset}
        value={asset}
        onChange={(value) => {
          setAsset(value);
          setText("");
        }}
        data={[
          { value: "money", label: t.funds.money },
          { value: "energy", label: t.funds.energy },
        ]}
      />
      <TextInput
        label={t.funds.amount}
        inputMode="decimal"
        data-autofocus
        value={text}
        onChange={(event) => setText(event.currentTarget.value)}
        error={fault}
        rightSection={<span className="quiet">{asset === "money" ? t.units.thb : t.units.kwh}</span>}
        rightSectionWidth={52}
      />
      <Group justify="space-between">
        <span className="quiet">
          {direction === "deposit" ? t.funds.inWallet(say(walletWei)) : t.funds.inMarket(say(freeWei))}
        </span>
        <Button size="compact-xs" variant="default" onClick={() => setText(all)}>
          {t.funds.all}
        </Button>
      </Group>
      {waits && (
        <p className="quiet" role="status">
          {direction === "deposit" ? t.underway.depositWaits : t.underway.withdrawalWaits}
        </p>
      )}
      <Button
        disabled={!amountWei || fault !== null || waits}
        onClick={() => amountWei && go(direction === "withdraw" ? takeOut(amountWei) : bringIn(amountWei))}
      >
        {direction === "deposit" ? t.funds.deposit : t.funds.withdraw}
      </Button>
    </Stack>
  );
}
