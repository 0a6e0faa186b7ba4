/** Deposits and withdrawals. */

import { Button, Group, Modal, SegmentedControl, Stack, TextInput } from "@mantine/core";
import { useState } from "react";
import type { Holding } from "../chain";
import { followErrand, handDeposit, handWithdrawal, signWithdrawal } from "../flows/errands";
import { type Asset, deposit, type SignedPermit, signPermit, unitWei, withdraw } from "../flows/funds";
import { useWords } from "../i18n";
import { useMarket } from "../market";
import { baht, decimal, kwh, parseDecimal } from "../units";
import { stepsOf, useRelay } from "./relayed";
import { type Intent, Interrupted, type Step, Steps } from "./Steps";

const PLACES = 6;
const WEI_PER_WH = 10n ** 15n;

export type Direction = "deposit" | "withdraw";

export function Funds(props: { direction: Direction | null; close: () => void; holding: Holding }) {
  const { direction, close, holding } = props;
  const { t } = useWords();
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
        {direction && (
          <Form
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

function Form(props: { direction: Direction; holding: Holding; go: (intent: Intent) => void }) {
  const { direction, holding, go } = props;
  const { t, language } = useWords();
  const market = useMarket();
  const relay = useRelay();
  const [asset, setAsset] = useState<Asset>("money");
  const [text, setText] = useState("");
  const unit = unitWei(market, asset);
  const walletWei = asset === "money" ? holding.walletBahtWei : holding.walletGridWei;
  const freeWei = (asset === "money" ? holding.moneyFree : holding.energyFree) * unit;
  const mostWei = direction === "deposit" ? walletWei : freeWei;
  const say = (wei: bigint) =>
    asset === "money" ? `${baht(wei, language)} ${t.units.thb}` : `${kwh(wei / WEI_PER_WH, language)} kWh`;
  const millionths = parseDecimal(text, PLACES);
  const typedWei = millionths === null ? null : millionths * 10n ** BigInt(18 - PLACES);
  // "All" may be finer than one can type: what was put in the field stands for all of it.
  const all = decimal(mostWei - (mostWei % 10n ** 12n), 10n ** 18n, PLACES);
  const amountWei = text === all && text !== "" ? mostWei - (mostWei % unit) : typedWei;
  const fault = text === "" ? null : !amountWei ? t.funds.badAmount : amountWei > mostWei ? t.funds.tooMuch : null;

  const takeOut = (wei: bigint): Intent => {
    const amount = say(wei);
    const title = t.funds.take(amount);
    return {
      title: t.funds.withdrawTitle,
      done: t.funds.withdrawn(amount),
      steps: stepsOf(relay, t, {
        title,
        details: [],
        sign: () => signWithdrawal(market, asset, wei),
        hand: (signed) => handWithdrawal(market, signed),
        follow: (errand) => followErrand(market, errand),
        onceOnly: false,
        direct: () => ({
          title,
          fee: true,
          act: async () => {
            await withdraw(market, asset, wei);
            return undefined;
          },
        }),
      }),
    };
  };
  const bringIn = (wei: bigint): Intent => {
    const amount = say(wei);
    const title = t.funds.permit(amount);
    const bring = (permit: SignedPermit): Step => ({
      title: t.funds.bring(amount),
      fee: true,
      act: async () => {
        await deposit(market, asset, permit);
        return undefined;
      },
    });
    const both: Step = {
      title,
      details: [t.funds.twoSteps],
      fee: true,
      act: async (tell) => {
        const permit = await signPermit(market, asset, wei);
        // One step for the participant: the transaction follows at once, and can be repeated if it is declined.
        tell(t.flow.sending);
        const then = bring(permit);
        try {
          return await then.act(tell);
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
        sign: () => signPermit(market, asset, wei),
        hand: (permit) => handDeposit(market, asset, permit),
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
      <Button
        disabled={!amountWei || fault !== null}
        onClick={() => amountWei && go(direction === "withdraw" ? takeOut(amountWei) : bringIn(amountWei))}
      >
        {direction === "deposit" ? t.funds.deposit : t.funds.withdraw}
      </Button>
    </Stack>
  );
}
