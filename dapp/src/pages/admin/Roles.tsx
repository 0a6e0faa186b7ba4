/** What each role may do, in words; who holds it; and, for the regulator, giving and taking it. */

import { Alert, Badge, Button, Group, Stack, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Address } from "viem";
import { readAddress } from "../../address";
import { Loaded } from "../../components/bits";
import type { Ask } from "../../components/Intention";
import { useAccount } from "../../data";
import { grantRole, readRoles, type RoleName, ROLES, takeRole } from "../../flows/admin";
import { useWords } from "../../i18n";
import { useMarket } from "../../market";
import { short } from "../../units";

const NAMES = Object.keys(ROLES) as RoleName[];

export function Roles({ ask, may }: { ask: Ask; may: boolean }) {
  const { t } = useWords();
  const market = useMarket();
  const own = useAccount();
  const [typed, setTyped] = useState("");
  const nothing = typed.trim() === "";
  const wanted = readAddress(typed);
  const account = nothing ? own : "address" in wanted ? wanted.address : undefined;
  const held = useQuery({
    queryKey: ["roles", account],
    enabled: account !== undefined,
    queryFn: () => readRoles(market.reader, market.deployment, account as Address),
  });
  const isOwn = account !== undefined && account.toLowerCase() === own?.toLowerCase();
  const change = (role: RoleName, holds: boolean) => {
    if (!account) return;
    const verb = holds ? t.admin.takeRole : t.admin.giveRole;
    const ends = role === "regulator" && holds;
    ask({
      title: verb,
      what: `${verb}: ${t.admin.roleNames[role]}`,
      details: [
        account,
        holds ? t.admin.roleLoses : t.admin.roleGains,
        t.admin.roleMay[role],
        ...(role === "regulator" && !holds ? [t.admin.regulatorWarning] : []),
        ...(ends ? [isOwn ? t.admin.lastRegulatorOwn : t.admin.lastRegulator] : []),
      ],
      done: (holds ? t.admin.roleTaken : t.admin.roleGiven)(t.admin.roleNames[role]),
      act: () => (holds ? takeRole : grantRole)(market, role, account),
    });
  };
  return (
    <Stack gap="md">
      <p className="quiet">{t.admin.rolesHow}</p>
      {!may && (
        <Alert color="gray" variant="light" p="xs">
          {t.admin.rolesRegulator}
        </Alert>
      )}
      <TextInput
        label={t.admin.rolesOf}
        description={nothing && own ? t.admin.rolesYours(short(own)) : undefined}
        placeholder="0x…"
        value={typed}
        onChange={(event) => setTyped(event.currentTarget.value)}
        error={!nothing && "fault" in wanted && t.admin[wanted.fault]}
      />
      {account ? (
        <Loaded query={held} height={240}>
          {(roles) => (
            <ul className="roles" data-testid="roles">
              {NAMES.map((role) => {
                const holds = roles.includes(role);
                const verb = holds ? t.admin.takeRole : t.admin.giveRole;
                return (
                  <li key={role}>
                    <div>
                      <Group gap="xs">
                        <b>{t.admin.roleNames[role]}</b>
                        {holds && (
                          <Badge variant="light" size="sm">
                            {t.admin.holds}
                          </Badge>
                        )}
                      </Group>
                      <p className="quiet">{t.admin.roleMay[role]}</p>
                    </div>
                    {may && (
                      <Button
                        size="compact-sm"
                        variant="default"
                        aria-label={`${verb}: ${t.admin.roleNames[role]}`}
                        onClick={() => change(role, holds)}
                      >
                        {verb}
                      </Button>
                    )}
                  </li>
                );
              })}
            </ul>
          )}
        </Loaded>
      ) : (
        <ul className="roles">
          {NAMES.map((role) => (
            <li key={role}>
              <div>
                <b>{t.admin.roleNames[role]}</b>
                <p className="quiet">{t.admin.roleMay[role]}</p>
              </div>
            </li>
          ))}
        </ul>
      )}
    </Stack>
  );
}
