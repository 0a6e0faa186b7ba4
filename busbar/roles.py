"""Who holds what on the chain, and whether it is what the network's file and the deployment say.

Role holders are read from the Authority's events and confirmed by asking it; addresses that the file does not name,
names without the role, delays, and functions that another role than planned may call are told.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from eth_utils.abi import abi_to_signature
from eth_utils.crypto import keccak

from busbar.chain import Call, Chain, load_artifact
from busbar.deployment import ADMIN, CONTRACT_ROLES, PERMISSIONS, ROLES, Parameters, resolve

NAMES = {ADMIN: "regulator", **{number: name for name, number in ROLES.items()}}
"""Role by number; the administrator is the regulator."""


@dataclass(frozen=True, slots=True)
class Holding:
    """An account and a role.

    Attributes:
        role: The role's name.
        account: Address.
        who: The contract's name, or nothing.
        holds: Whether it holds the role on the chain.
        wanted: Whether the network's file or the deployment gives it the role.
    """

    role: str
    account: str
    who: str
    holds: bool
    wanted: bool

    @property
    def finding(self) -> str:
        """What is wrong; nothing if all is well."""
        if self.holds and not self.wanted:
            return "holds the role, and the network's file does not name it: revoke it, or write it down"
        if self.wanted and not self.holds:
            return "does not hold the role: run `ape run deploy` again as the regulator"
        return ""


def holdings(chain: Chain, parameters: Parameters, first_block: int) -> list[Holding]:
    """Every account that holds a role, or should; contracts by their names.

    Args:
        chain: The market.
        parameters: The network's file.
        first_block: Block of the Authority's deployment.
    """
    contracts = {address: name for name, address in chain.addresses.items()}
    wanted = {(ROLES[role], chain.addresses[name]) for name, role in CONTRACT_ROLES}
    wanted |= {(ROLES[role], account) for role, account in parameters.holders(chain.chain_id)}
    wanted.add((ADMIN, resolve(parameters.roles.regulator, chain.chain_id)))
    granted = chain.events([("Authority", "RoleGranted")], first_block, chain.head().number)
    candidates = sorted(wanted | {(event.args["roleId"], event.args["account"]) for event in granted})
    held = chain.read([Call("Authority", "hasRole", pair) for pair in candidates])
    return [
        Holding(NAMES.get(role, f"role {role}"), account, contracts.get(account, ""), holds, (role, account) in wanted)
        for (role, account), (holds, _) in zip(candidates, held, strict=True)
        if holds or (role, account) in wanted
    ]


def misassigned(chain: Chain) -> list[str]:
    """Restricted functions that another role than planned may call, a line each."""
    found = []
    for contract, by_role in PERMISSIONS.items():
        planned = {function: role for role, functions in by_role.items() for function in functions}
        entries = [e for e in load_artifact(contract)["abi"] if e["type"] == "function" and e["name"] in planned]
        target = chain.addresses[contract]
        calls = [
            Call("Authority", "getTargetFunctionRole", (target, keccak(text=abi_to_signature(entry))[:4]))
            for entry in entries
        ]
        for entry, role in zip(entries, chain.read(calls), strict=True):
            name = entry["name"]
            if role != ROLES[planned[name]]:
                told = NAMES.get(role, f"role {role}")
                found.append(f"{contract}.{name} may be called by the {told}, not the {planned[name]}")
    return found


def findings(held: Sequence[Holding]) -> list[str]:
    """What is wrong with the holdings, a line each."""
    return [f"{h.account} ({h.role}) {h.finding}" for h in held if h.finding]
