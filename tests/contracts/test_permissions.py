"""Who may call what: every function of every contract that changes something, tried by whoever must not.

A function the lists below do not name fails `test_permissions__every_function...`: decide who may call it, and say so.
"""

import pytest
from eth_abi import encode
from eth_utils.abi import abi_to_signature
from eth_utils.crypto import keccak

from busbar import errors
from busbar.chain import CONTRACTS, Call, load_artifact
from busbar.deployment import ADMIN, CONTRACT_ROLES, PERMISSIONS, ROLES

PUBLIC_ROLE = 2**64 - 1
ZERO = "0x" + "00" * 20

BY_ROLE = {
    (contract, function): role
    for contract, by_role in PERMISSIONS.items()
    for role, functions in by_role.items()
    for function in functions
}
"""Restricted functions and the role that may call them."""

ADMIN_ONLY = {
    ("OracleClient", "setOperator"),
    ("OracleClient", "setPanel"),
    ("Trading", "openZone"),
    ("Trading", "setOrderCap"),
    ("Trading", "setPaused"),
}
"""Restricted functions of the regulator alone."""

GUARDED = tuple(contract for contract in CONTRACTS if contract not in ("Authority", "Auction"))
"""Contracts that ask the Authority. The Auction, a library, has nothing to guard."""

AUTHORITY_ITSELF_ONLY = {(contract, "setAuthority") for contract in GUARDED}
"""Called through the Authority's `updateAuthority`, by nobody else."""

AUTHORITY_ADMIN_ONLY = {
    "grantRole",
    "labelRole",
    "revokeRole",
    "setGrantDelay",
    "setRoleAdmin",
    "setRoleGuardian",
    "setTargetAdminDelay",
    "setTargetClosed",
    "setTargetFunctionRole",
    "updateAuthority",
}
"""The Authority's own functions, which refuse by another error than the contracts it guards."""

AUTHORITY_OTHERWISE = {
    "cancel": errors.AccessManagerNotScheduled,
    "consumeScheduledOp": errors.UnknownRevert,
    "execute": errors.AccessManagerUnauthorizedCall,
    "multicall": None,
    "renounceRole": errors.AccessManagerBadConfirmation,
    "schedule": errors.AccessManagerUnauthorizedCall,
}
"""What the Authority's other functions tell an outsider. `multicall` of nothing does nothing, for anyone."""

FOR_ANYONE = {
    "GridToken": {
        "approve",
        "burn",
        "burnFrom",
        "decreaseAllowance",
        "increaseAllowance",
        "permit",
        "transfer",
        "transferFrom",
    },
    "BahtToken": {"approve", "permit", "transfer", "transferFrom"},
    "Trading": {
        "cancelOrder",
        "cancelOrderFor",
        "cancelUpTo",
        "cancelUpToFor",
        "createBuyOrder",
        "createOrders",
        "createSellOrder",
        "deposit",
        "depositWithPermit",
        "depositWithPermitFor",
        "enterBundles",
        "roll",
        "setContractWallet",
        "settle",
        "withdraw",
        "withdrawFor",
    },
    "Metering": {"retire", "retireFor", "retireFromWallet", "setAutoRetire", "surrender"},
    "OracleClient": {"performUpkeep", "requestEnergyData", "timeOutRequests"},
}
"""Functions whoever calls, for its own account or with another's signature. Their files test what they refuse."""


def changing(contract):
    """The ABI entries of the functions that may change something."""
    entries = load_artifact(contract)["abi"]
    return [e for e in entries if e["type"] == "function" and e["stateMutability"] in ("nonpayable", "payable")]


def zero_for(parameter):
    """Nothing, in a parameter's type."""
    kind = parameter["type"]
    if kind.endswith("]"):
        return []
    if kind == "tuple":
        return tuple(zero_for(component) for component in parameter["components"])
    return {"address": ZERO, "bool": False, "string": "", "bytes": bytes(4)}.get(
        kind, bytes(int(kind[5:] or 0)) if kind.startswith("bytes") else 0
    )


def spelled(parameter):
    kind = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(spelled, parameter['components']))}){kind[5:]}"


def calldata(entry):
    types = [spelled(parameter) for parameter in entry["inputs"]]
    return keccak(text=abi_to_signature(entry))[:4] + encode(types, [zero_for(p) for p in entry["inputs"]])


def tried(market, sender, entries):
    """What becomes of calling these (contract, entry) as `sender`: an error each, or None."""
    calls = [
        ("eth_call", [{"from": sender, "to": market.chain.addresses[c], "data": "0x" + calldata(e).hex()}, "latest"])
        for c, e in entries
    ]
    results = market.chain.node.batch(calls)
    return [r if isinstance(r, errors.BusbarError) else None for r in results]


EVERYTHING = [(contract, entry) for contract in CONTRACTS for entry in changing(contract)]


def test_permissions__every_function_that_changes_something__is_listed_once():
    listed = [*BY_ROLE, *ADMIN_ONLY, *AUTHORITY_ITSELF_ONLY]
    listed += [("Authority", function) for function in (*AUTHORITY_ADMIN_ONLY, *AUTHORITY_OTHERWISE)]
    listed += [(contract, function) for contract, functions in FOR_ANYONE.items() for function in functions]
    assert len(listed) == len(set(listed))
    assert set(listed) == {(contract, entry["name"]) for contract, entry in EVERYTHING}


def test_permissions__no_contract__takes_ether():
    payable = {(c, e["name"]) for c, e in EVERYTHING if e["stateMutability"] == "payable"}
    # OpenZeppelin's; it forwards the value or reverts.
    assert payable == {("Authority", "execute")}
    for contract in CONTRACTS:
        assert not [e for e in load_artifact(contract)["abi"] if e["type"] in ("receive", "fallback")]


def test_permissions__outsider_at_any_function__is_told_what_the_lists_say(market, actors):
    refused, told = set(), {}
    for (contract, entry), error in zip(EVERYTHING, tried(market, actors.outsider.address, EVERYTHING), strict=True):
        told.setdefault((contract, entry["name"]), set()).add(type(error))
        if isinstance(error, errors.AccessManagedUnauthorized):
            assert error.values["caller"].lower() == actors.outsider.address.lower()
            refused.add((contract, entry["name"]))
    assert refused == {*BY_ROLE, *ADMIN_ONLY, *AUTHORITY_ITSELF_ONLY}
    for function in AUTHORITY_ADMIN_ONLY:
        assert told["Authority", function] == {errors.AccessManagerUnauthorizedAccount}
    for function, error in AUTHORITY_OTHERWISE.items():
        assert told["Authority", function] == {type(None) if error is None else error}


@pytest.mark.parametrize("contract", CONTRACTS)
def test_permissions__every_restricted_function_sent_by_an_outsider__reverts_and_costs_nothing(
    market, actors, contract
):
    entries = [(c, e) for c, e in EVERYTHING if c == contract]
    errors_ = tried(market, actors.outsider.address, entries)
    nonce = market.chain.node.request("eth_getTransactionCount", actors.outsider.address, "latest")
    for (_, entry), error in zip(entries, errors_, strict=True):
        if not isinstance(error, errors.AccessManagedUnauthorized):
            continue
        call = Call(contract, entry["name"], tuple(zero_for(p) for p in entry["inputs"]))
        with pytest.raises(errors.AccessManagedUnauthorized):
            market.chain.send(actors.outsider, call)
    assert market.chain.node.request("eth_getTransactionCount", actors.outsider.address, "latest") == nonce


def holders(market):
    """Every account that may hold something, with its roles."""
    a, at = market.actors, market.chain.addresses
    held = {
        a.regulator.address: {ADMIN},
        a.distributor.address: {ROLES["distributor"]},
        a.other_distributor.address: {ROLES["distributor"]},
        a.oracle_operator.address: {ROLES["oracle operator"]},
        a.minter.address: {ROLES["minter"]},
        a.keeper.address: {ROLES["market maker"]},
        a.issuer.address: {ROLES["issuer"]},
        a.producer.address: set(),
        a.outsider.address: set(),
        ZERO: set(),
    }
    held |= {at[contract]: set() for contract in CONTRACTS}
    for contract, role in CONTRACT_ROLES:
        held[at[contract]].add(ROLES[role])
    return held


def test_permissions__every_account_at_every_restricted_function__is_let_in_exactly_by_its_role(market):
    restricted = [(c, e) for c, e in EVERYTHING if (c, e["name"]) in BY_ROLE or (c, e["name"]) in ADMIN_ONLY]
    assert len(restricted) == len(BY_ROLE) + len(ADMIN_ONLY)
    for account, roles in holders(market).items():
        for (contract, entry), error in zip(restricted, tried(market, account, restricted), strict=True):
            function = (contract, entry["name"])
            needed = ROLES[BY_ROLE[function]] if function in BY_ROLE else ADMIN
            let_in = not isinstance(error, errors.AccessManagedUnauthorized)
            assert let_in == (needed in roles), f"{account} at {function}: {error}"


def test_permissions__authority_at_set_authority__is_the_only_one_let_in(market):
    entries = [(c, e) for c, e in EVERYTHING if (c, e["name"]) in AUTHORITY_ITSELF_ONLY]
    for account in holders(market):
        for error in tried(market, account, entries):
            # To the zero address it would go no further: there is no code.
            expected = errors.AccessManagedInvalidAuthority
            if account != market.chain.addresses["Authority"]:
                expected = errors.AccessManagedUnauthorized
            assert type(error) is expected


def test_permissions__on_the_chain__are_those_of_the_list_without_delay(market):
    for contract, entry in EVERYTHING:
        if contract == "Authority":
            continue
        selector = keccak(text=abi_to_signature(entry))[:4]
        target = market.chain.addresses[contract]
        role = BY_ROLE.get((contract, entry["name"]))
        found = market.chain.view("Authority", "getTargetFunctionRole", target, selector)
        assert found == (ROLES[role] if role else ADMIN), f"{contract}.{entry['name']}"
    for contract in CONTRACTS:
        assert market.chain.view("Authority", "isTargetClosed", market.chain.addresses[contract]) is False
        if contract in GUARDED:
            assert market.chain.view(contract, "authority") == market.chain.addresses["Authority"]
    for role in (ADMIN, *ROLES.values()):
        assert market.chain.view("Authority", "getRoleAdmin", role) == ADMIN


def test_permissions__role_withdrawn__is_refused_at_once(market, actors):
    market.chain.send(
        actors.regulator, Call("Authority", "revokeRole", (ROLES["distributor"], actors.distributor.address))
    )
    call = Call("Registry", "registerUser", (actors.outsider.address, 1, bytes(32)))
    with pytest.raises(errors.AccessManagedUnauthorized):
        market.chain.send(actors.distributor, call)
    market.chain.send(actors.other_distributor, call)


def test_permissions__multicall_by_an_outsider__opens_no_back_door(market, actors):
    entry = next(e for c, e in EVERYTHING if (c, e["name"]) == ("Authority", "grantRole"))
    inner = keccak(text=abi_to_signature(entry))[:4] + encode(
        ["uint64", "address", "uint32"], [ADMIN, actors.outsider.address, 0]
    )
    with pytest.raises(errors.AccessManagerUnauthorizedAccount):
        market.chain.send(actors.outsider, Call("Authority", "multicall", ([inner],)))
