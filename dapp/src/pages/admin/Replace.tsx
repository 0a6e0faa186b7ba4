/** A new device in the place of a meter: what the old one showed last, and what the new one shows first. */

import { Button, Modal, Stack, TextInput } from "@mantine/core";
import { type SyntheticEvent, useState } from "react";
import { readAddress } from "../../address";
import type { Shapes } from "../../api";
import { bytes32Of } from "../../chain";
import type { Ask } from "../../components/Intention";
import { replaceMeter } from "../../flows/admin";
import { useWords } from "../../i18n";
import { useMarket } from "../../market";
import { kwh } from "../../units";

type Meter = Shapes["MeterShape"];

export function Replace({ meter, ask, close }: { meter: Meter | null; ask: Ask; close: () => void }) {
  const { t } = useWords();
  return (
    <Modal
      opened={meter !== null}
      onClose={close}
      title={meter && `${t.admin.replace}: ${meter.meter_id}`}
      centered
      closeButtonProps={{ "aria-label": t.app.close }}
    >
      {meter && <Form meter={meter} ask={ask} close={close} />}
    </Modal>
  );
}

/** A register as it is typed; null if it is none. */
export function registerOf(text: string): bigint | null {
  return /^\d{1,15}$/.test(text) ? BigInt(text) : null;
}

function Form({ meter, ask, close }: { meter: Meter; ask: Ask; close: () => void }) {
  const { t, language } = useWords();
  const market = useMarket();
  const [key, setKey] = useState("");
  const last = { import: BigInt(meter.import_register_wh ?? 0), export: BigInt(meter.export_register_wh ?? 0) };
  const [finals, setFinals] = useState({ import: last.import.toString(), export: last.export.toString() });
  const [initials, setInitials] = useState({ import: "0", export: "0" });
  const newKey = readAddress(key);
  const finalWh = { import: registerOf(finals.import), export: registerOf(finals.export) };
  const initialWh = { import: registerOf(initials.import), export: registerOf(initials.export) };
  const low = (way: "import" | "export") => {
    const wh = finalWh[way];
    return wh !== null && wh < last[way];
  };
  const fault = (way: "import" | "export") =>
    finalWh[way] === null ? t.admin.badNumber : low(way) && t.admin.finalTooLow(kwh(last[way], language));
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    const meterId = bytes32Of(meter.meter_id);
    const [finalImportWh, finalExportWh] = [finalWh.import, finalWh.export];
    const [initialImportWh, initialExportWh] = [initialWh.import, initialWh.export];
    if (!meterId || "fault" in newKey || finalImportWh === null || finalExportWh === null) return;
    if (initialImportWh === null || initialExportWh === null) return;
    close();
    ask({
      title: t.admin.replace,
      what: `${t.admin.replace}: ${meter.meter_id}`,
      details: [
        t.admin.replaceFinal(kwh(finalImportWh, language), kwh(finalExportWh, language)),
        t.admin.replaceGrown(kwh(finalImportWh - last.import, language), kwh(finalExportWh - last.export, language)),
        t.admin.replaceInitial(kwh(initialImportWh, language), kwh(initialExportWh, language)),
        `${t.admin.newKey}: ${newKey.address}`,
      ],
      done: t.admin.replaced,
      act: () =>
        replaceMeter(market, {
          meterId,
          newKey: newKey.address,
          finalImportWh,
          finalExportWh,
          initialImportWh,
          initialExportWh,
        }),
    });
  };
  const ready =
    "address" in newKey &&
    !low("import") &&
    !low("export") &&
    ![finalWh.import, finalWh.export, initialWh.import, initialWh.export].includes(null);
  return (
    <form onSubmit={submit}>
      <Stack gap="sm">
        <p className="quiet">{t.admin.replaceHow}</p>
        <TextInput
          label={t.admin.newKey}
          placeholder="0x…"
          data-autofocus
          value={key}
          onChange={(event) => setKey(event.currentTarget.value)}
          error={key.trim() !== "" && "fault" in newKey && t.admin[newKey.fault]}
        />
        {(["import", "export"] as const).map((way) => (
          <TextInput
            key={way}
            label={way === "import" ? t.admin.finalImport : t.admin.finalExport}
            inputMode="numeric"
            value={finals[way]}
            onChange={(event) => setFinals({ ...finals, [way]: event.currentTarget.value })}
            error={fault(way)}
          />
        ))}
        {(["import", "export"] as const).map((way) => (
          <TextInput
            key={way}
            label={way === "import" ? t.admin.initialImport : t.admin.initialExport}
            inputMode="numeric"
            value={initials[way]}
            onChange={(event) => setInitials({ ...initials, [way]: event.currentTarget.value })}
            error={initialWh[way] === null && t.admin.badNumber}
          />
        ))}
        <Button type="submit" disabled={!ready}>
          {t.admin.replace}
        </Button>
      </Stack>
    </form>
  );
}
