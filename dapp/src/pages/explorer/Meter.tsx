/** A meter: whose it is, what it shows, and every reading that counted, with its transaction. */

import { useQuery } from "@tanstack/react-query";
import { orNull, told } from "../../api";
import { Card, Figure, Hex } from "../../components/bits";
import { Table } from "../../components/Table";
import { useWords } from "../../i18n";
import { useEpoch } from "../../market";
import { clock, day, kwh } from "../../units";
import { AccountLink, TxLink } from "../../components/links";
import { List, Sought, useApi } from "./parts";

export function Meter({ meterId }: { meterId: string }) {
  const { t, language } = useWords();
  const api = useApi();
  const epoch = useEpoch();
  const path = { meter_id: meterId };
  const found = useQuery({
    queryKey: ["meter", meterId, epoch],
    queryFn: () => orNull(told(api.GET("/api/v1/meters/{meter_id}", { params: { path } }))),
  });
  return (
    <Sought query={found} what={meterId}>
      {(meter) => (
        <div className="stack">
          <Card title={`${t.explorer.meter} ${meter.meter_id}`} how={t.energy[meter.kind]}>
            <div className="figures">
              <Figure name={t.community.used} value={kwh(meter.import_register_wh ?? 0, language)} unit="kWh" />
              <Figure name={t.community.fedIn} value={kwh(meter.export_register_wh ?? 0, language)} unit="kWh" />
            </div>
            <p style={{ marginBottom: 0 }}>
              {t.explorer.account} <AccountLink account={meter.account} />
              {" · "}
              {meter.key === null ? (
                <span className="bad">{t.admin.revoked}</span>
              ) : (
                <>
                  {t.admin.key} <Hex value={meter.key} />
                </>
              )}
            </p>
          </Card>
          <Card title={t.explorer.readings}>
            <List
              name={`readings of ${meterId}`}
              version={epoch}
              none={t.energy.noReading}
              read={(limit, cursor) =>
                told(api.GET("/api/v1/meters/{meter_id}/readings", { params: { path, query: { limit, cursor } } }))
              }
            >
              {(readings) => (
                <Table
                  rows={readings}
                  idOf={({ interval_end, tx_hash, kind }) => `${interval_end} ${tx_hash} ${kind}`}
                  columns={[
                    {
                      title: t.explorer.until,
                      as: "when",
                      of: ({ interval_end: end }) => `${day(end, language)} ${clock(end, language)}`,
                    },
                    { title: `${t.community.used}, kWh`, as: "figure", of: (read) => kwh(read.import_wh, language) },
                    { title: `${t.community.fedIn}, kWh`, as: "figure", of: (read) => kwh(read.export_wh, language) },
                    { title: t.admin.kind, of: ({ kind }) => t.explorer.readingKinds[kind] },
                    { title: t.explorer.transaction, of: ({ tx_hash }) => <TxLink hash={tx_hash} /> },
                  ]}
                />
              )}
            </List>
          </Card>
        </div>
      )}
    </Sought>
  );
}
