/** What a table of meters says of each one's registers. */

import type { Shapes } from "../api";
import { useWords } from "../i18n";
import { clock, day, kwh } from "../units";
import type { Column } from "./Table";

export function useRegisterColumns(): Column<Shapes["MeterShape"]>[] {
  const { t, language } = useWords();
  return [
    {
      title: t.energy.lastReading,
      as: "when",
      of: ({ interval_end: end }) =>
        end === null ? t.energy.noReading : `${day(end, language)} ${clock(end, language)}`,
    },
    { title: `${t.community.used}, kWh`, as: "figure", of: (meter) => kwh(meter.import_register_wh ?? 0, language) },
    { title: `${t.community.fedIn}, kWh`, as: "figure", of: (meter) => kwh(meter.export_register_wh ?? 0, language) },
  ];
}
