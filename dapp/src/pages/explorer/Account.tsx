/** An account: what it holds, its meters and what it traded. */

import { useQuery } from "@tanstack/react-query";
import { orNull, told } from "../../api";
import { Card, Empty, Figure, Loaded } from "../../components/bits";
import { Table } from "../../components/Table";
import { useWords } from "../../i18n";
import { useEpoch, useMarket } from "../../market";
import { ofOneBlock } from "../../together";
import { baht, clock, count, day, kwh, kwhOfUwh } from "../../units";
import { MeterLink } from "../../components/links";
import { List, useApi } from "./parts";
import { TradeTable } from "./Trades";

export function Account({ address }: { address: string }) {
  const { t, language } = useWords();
  const api = useApi();
  const epoch = useEpoch();
  const { moneyUnitWei } = useMarket().deployment;
  const params = { path: { account: address } };
  const account = useQuery({
    queryKey: ["account", address, epoch],
    queryFn: async () => {
      const participant = orNull(told(api.GET("/api/v1/accounts/{account}", { params })));
      const [balance, meters] = await ofOneBlock(() =>
        Promise.all([
          told(api.GET("/api/v1/accounts/{account}/balance", { params })),
          told(api.GET("/api/v1/meters", { params: { query: { account: address } } })),
        ]),
      );
      return { participant: await participant, balance, meters: meters.items };
    },
  });
  return (
    <div className="stack">
      <Loaded query={account} height={200}>
        {({ participant, balance, meters }) => (
          <>
            <Card
              title={t.explorer.account}
              how={
                participant
                  ? `${t.admin.standing[participant.status]} · ${t.admin.zone} ${count(participant.zone, language)}`
                  : t.explorer.noParticipant
              }
            >
              <p className="mono" style={{ marginTop: 0, overflowWrap: "anywhere" }}>
                {balance.account}
              </p>
              <div className="figures">
                <Figure
                  name={t.energy.money}
                  value={baht(BigInt(balance.money_free_wei), language)}
                  unit={t.units.thb}
                  how={`${baht(BigInt(balance.money_escrow_units) * moneyUnitWei, language)} ${t.energy.locked}`}
                />
                <Figure
                  name={t.energy.grid}
                  value={kwhOfUwh(BigInt(balance.energy_free_uwh), language)}
                  unit="kWh"
                  how={`${kwhOfUwh(BigInt(balance.energy_escrow_uwh), language)} ${t.energy.locked}`}
                />
                <Figure
                  name={t.energy.outstanding}
                  value={kwh(balance.import_current_wh + balance.import_previous_wh, language)}
                  unit="kWh"
                />
              </div>
            </Card>
            <Card title={t.energy.meters}>
              {meters.length ? (
                <Table
                  rows={meters}
                  idOf={({ meter_id }) => meter_id}
                  columns={[
                    { title: t.admin.meterId, of: ({ meter_id }) => <MeterLink meterId={meter_id} /> },
                    { title: t.admin.kind, of: ({ kind }) => t.energy[kind] },
                    {
                      title: t.energy.lastReading,
                      as: "when",
                      of: ({ interval_end: end }) =>
                        end === null ? t.energy.noReading : `${day(end, language)} ${clock(end, language)}`,
                    },
                  ]}
                />
              ) : (
                <Empty title={t.energy.noMeters} />
              )}
            </Card>
          </>
        )}
      </Loaded>
      <Card title={t.explorer.trades}>
        <List
          name={`trades of ${address}`}
          version={epoch}
          none={t.explorer.noneTraded}
          read={(limit, cursor) =>
            told(api.GET("/api/v1/energy/trades", { params: { query: { account: address, limit, cursor } } }))
          }
        >
          {(trades) => <TradeTable trades={trades} epochs accounts={false} />}
        </List>
      </Card>
    </div>
  );
}
