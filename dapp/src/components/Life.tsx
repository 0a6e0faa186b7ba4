/** How long a new order stands: this epoch, so many epochs, or until a time of day. */

import { Group, SegmentedControl, TextInput } from "@mantine/core";
import type { Deployment } from "../deployment";
import { market as limits } from "../generated/market";
import { useWords } from "../i18n";
import { startOf, untilClock, useMarket } from "../market";
import { count, moment } from "../units";
import { Quick } from "./bits";

/** As it was chosen: texts as they were typed. */
export type Lasting = { kind: "epoch" } | { kind: "epochs"; text: string } | { kind: "clock"; text: string };

const PRESET_HOURS = [1, 4, 24];
const HOUR_S = 3_600;

/** The last epoch of a chosen life; null for the epoch it enters, and for what is no choice. */
export function lastEpochOf(lasting: Lasting, openEpoch: number, deployment: Deployment): number | null {
  if (lasting.kind === "epoch") return null;
  if (lasting.kind === "clock") return untilClock(lasting.text, openEpoch, deployment);
  const epochs = /^\d{1,3}$/.test(lasting.text) ? Number(lasting.text) : 0;
  return epochs >= 1 && epochs <= limits.maxFurtherEpochs ? openEpoch + epochs : null;
}

export function Life(props: {
  lasting: Lasting;
  choose: (lasting: Lasting) => void;
  epoch: number | null;
  until: number | null;
}) {
  const { lasting, choose, epoch, until } = props;
  const { t, language } = useWords();
  const { deployment } = useMarket();
  const presets = PRESET_HOURS.map((hours) => ({ hours, epochs: (hours * HOUR_S) / deployment.epochSeconds })).filter(
    ({ epochs }) => Number.isInteger(epochs) && epochs >= 1 && epochs <= limits.maxFurtherEpochs,
  );
  const end = until === null ? null : startOf(until + 1, deployment);
  const pick = (kind: Lasting["kind"]) => {
    if (kind === "epochs") choose({ kind, text: "4" });
    else if (kind === "clock") choose({ kind, text: "18:00" });
    else choose({ kind });
  };
  return (
    <div>
      <div id="life" style={{ fontSize: "0.875rem", fontWeight: 600 }}>
        {t.life.title}
      </div>
      <SegmentedControl
        fullWidth
        size="xs"
        aria-labelledby="life"
        value={lasting.kind}
        onChange={pick}
        data={[
          { value: "epoch", label: t.life.epoch },
          { value: "epochs", label: t.life.epochs },
          { value: "clock", label: t.life.clock },
        ]}
      />
      {lasting.kind === "epochs" && (
        <>
          <TextInput
            mt={6}
            label={t.life.further}
            inputMode="numeric"
            value={lasting.text}
            onChange={(event) => choose({ kind: "epochs", text: event.currentTarget.value })}
            error={epoch !== null && until === null && t.life.badEpochs(count(limits.maxFurtherEpochs, language))}
          />
          <Group gap={6} mt={6}>
            {presets.map(({ hours, epochs }) => (
              <Quick
                key={hours}
                pressed={String(epochs) === lasting.text}
                onClick={() => choose({ kind: "epochs", text: String(epochs) })}
              >
                {t.life.hours(count(hours, language))}
              </Quick>
            ))}
          </Group>
        </>
      )}
      {lasting.kind === "clock" && (
        <TextInput
          mt={6}
          type="time"
          label={t.life.until}
          value={lasting.text}
          onChange={(event) => choose({ kind: "clock", text: event.currentTarget.value })}
          error={epoch !== null && until === null && t.life.badClock}
        />
      )}
      <p className="quiet" style={{ marginTop: 6 }}>
        {end === null || until === null
          ? lasting.kind === "epoch" && t.life.once
          : t.life.stands(moment(end, language), count(until, language))}
      </p>
    </div>
  );
}
