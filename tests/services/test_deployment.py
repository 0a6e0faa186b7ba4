"""Bringing the market onto a chain: once, twice, interrupted, and by somebody who shall keep nothing."""

import json
import shutil
from typing import NamedTuple

import pytest

from busbar import chain as chain_module
from busbar import deployment, errors
from busbar.chain import CONTRACTS, Call, Chain, WrongChainError, load_artifact
from busbar.deployment import (
    ADMIN,
    CONTRACT_ROLES,
    MAX_ORDER_CAP,
    PERMISSIONS,
    ROLES,
    DeploymentError,
    Parameters,
    Record,
    commit,
    connect,
    deploy,
    genesis_hash,
    parameters_path,
    record_path,
    resolve,
)
from busbar.devnet import Devnet, dev_signer, free_port
from tests.market import DAY

REGULATOR, DEPLOYER = dev_signer(0), dev_signer(9)
SHIPPED = Parameters.load(parameters_path("devnet"))


def changed(**sections):
    """The shipped parameters with fields of sections (or whole ones) replaced."""
    data = SHIPPED.model_dump()
    for section, value in sections.items():
        data[section] = {**data[section], **value} if isinstance(value, dict) else value
    return Parameters.model_validate(data)


@pytest.fixture(scope="module")
def running():
    """A chain for this file."""
    with Devnet(timestamp=DAY + 60, keep_history=True) as devnet:
        yield devnet


@pytest.fixture
def devnet(running):
    """The chain, empty, and put back afterwards."""
    state = running.snapshot()
    yield running
    running.restore(state)


@pytest.fixture
def chain(devnet):
    """A door to the empty chain."""
    return Chain(devnet.url, after_send=devnet.mine)


@pytest.fixture
def path(tmp_path):
    """Where the record goes; its folder is not there yet."""
    return tmp_path / "deployments" / "31337.json"


class Deployed(NamedTuple):
    """A chain on which the regulator deployed what is shipped, as the file's tests share it."""

    devnet: Devnet
    record: bytes
    said: list[str]
    state: dict

    @property
    def changes(self):
        return len(self.said) - 1


@pytest.fixture(scope="module")
def deployed_once(tmp_path_factory):
    """Deployed by the regulator without any disturbance. It begins as the empty chain does."""
    with Devnet(timestamp=DAY + 60, keep_history=True) as devnet:
        chain, said = Chain(devnet.url, after_send=devnet.mine), []
        path = tmp_path_factory.mktemp("whole") / "record.json"
        deploy(chain, REGULATOR, SHIPPED, path, said.append)
        yield Deployed(devnet, path.read_bytes(), said, state(chain))


@pytest.fixture
def standing(deployed_once, path):
    """The chain on which the market stands, its record at `path`; put back afterwards."""
    devnet = deployed_once.devnet
    snapshot = devnet.snapshot()
    path.parent.mkdir()
    path.write_bytes(deployed_once.record)
    yield devnet
    devnet.restore(snapshot)


def again(devnet):
    """A new process at the same chain."""
    return Chain(devnet.url, after_send=devnet.mine)


def at_market(devnet, path):
    """The same, at the market that stands there."""
    return connect(Record.load(path), devnet.url, after_send=devnet.mine)


def one_line(problem):
    return str(problem) != "" and "\n" not in str(problem)


def roles_held(chain):
    """Every (role, account) that is held, from the Authority's own events."""
    held = set()
    kinds = [("Authority", "RoleGranted"), ("Authority", "RoleRevoked")]
    for event in chain.events(kinds, 0, chain.head().number):
        entry = (event.args["roleId"], event.args["account"])
        if event.name == "RoleGranted":
            held.add(entry)
        else:
            held.remove(entry)
    for role, account in held:
        assert tuple(chain.view("Authority", "hasRole", role, account)) == (True, 0)
    return held


def roles_listed(chain, parameters):
    listed = {(ADMIN, resolve(parameters.roles.regulator, chain.chain_id))}
    listed |= {(ROLES[role], chain.addresses[contract]) for contract, role in CONTRACT_ROLES}
    return listed | {(ROLES[role], address) for role, address in parameters.holders(chain.chain_id)}


def state(chain):
    """What a deployment brings about."""
    at = chain.addresses
    permissions = {
        (contract, function): chain.view(
            "Authority", "getTargetFunctionRole", at[contract], deployment.selector(contract, function)
        )
        for contract, by_role in PERMISSIONS.items()
        for functions in by_role.values()
        for function in functions
    }
    codes = {name: chain.node.request("eth_getCode", at[name], "latest") for name in CONTRACTS}
    return {
        "addresses": dict(at),
        "roles": roles_held(chain),
        "permissions": permissions,
        "codes": codes,
        "connected": (chain.view("Registry", "trading"), chain.view("Registry", "metering")),
        "zone": chain.zone(1),
        "calendar": chain.calendar,
    }


# ----------------------------------------------------------------- Parameters.load


def load(tmp_path, text):
    file = tmp_path / "network.toml"
    file.write_text(text, encoding="utf-8")
    return Parameters.load(file)


MINIMUM = 'chain_id = 5\nurl = "http://node"\n[roles]\nregulator = "dev:0"\n'


def test_load__file_missing__says_so_in_one_line(tmp_path):
    with pytest.raises(DeploymentError, match=r"nowhere\.toml is missing: write one after") as caught:
        Parameters.load(tmp_path / "nowhere.toml")
    assert one_line(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chain_id = ", "network.toml: Invalid value"),
        ("chain_id = 5\nchain_id = 6\n", "network.toml: Cannot overwrite a value"),
        ("[roles\n", "network.toml: Expected"),
        ("", "network.toml: chain_id: Field required"),
        (MINIMUM.replace('url = "http://node"\n', ""), "network.toml: url: Field required"),
        (MINIMUM.replace("regulator", "ruler"), "network.toml: roles.regulator: Field required"),
        (MINIMUM.replace("5", '"five"', 1), "network.toml: chain_id: Input should be a valid integer"),
        (MINIMUM + 'auditors = ["dev:1"]\n', "network.toml: roles.auditors: Extra inputs are not permitted"),
        (MINIMUM + 'minters = "dev:1"\n', "network.toml: roles.minters: Input should be a valid list"),
        (MINIMUM + "[market]\nepoch_seconds = 0\n", "network.toml: market.epoch_seconds: Input should be greater"),
        (MINIMUM + "[market]\nepoch_seconds = 86401\n", "network.toml: market.epoch_seconds: Input should be less"),
        (MINIMUM + "[market]\ntick_wei = -1\n", "network.toml: market.tick_wei: Input should be greater"),
        (MINIMUM + "[market]\ncancel_cutoff_s = -1\n", "network.toml: market.cancel_cutoff_s: Input should be greater"),
        (MINIMUM + "[market]\nfee = 1\n", "network.toml: market.fee: Extra inputs are not permitted"),
        (MINIMUM + "[[zones]]\nid = 0\n", "network.toml: zones.0.id: Input should be greater"),
        (MINIMUM + "[[zones]]\nid = 1\n[[zones]]\nid = 256\n", "network.toml: zones.1.id: Input should be less"),
        (MINIMUM + "[[zones]]\nid = 1\norder_cap = -1\n", "network.toml: zones.0.order_cap: Input should be greater"),
        (
            MINIMUM + f"[[zones]]\nid = 1\norder_cap = {MAX_ORDER_CAP + 1}\n",
            "network.toml: zones.0.order_cap: Input should be less",
        ),
        (MINIMUM + "[[zones]]\nid = 1\n[[zones]]\nid = 1\n", "network.toml: zones: Value error, a zone stands twice"),
        (MINIMUM + "[panel]\nquorum = 2\n", "network.toml: panel.quorum: Value error, a quorum is odd"),
        (MINIMUM + "[panel]\nquorum = 17\n", "network.toml: panel.quorum: Input should be less"),
        (MINIMUM + "[panel]\ntolerance_bp = 10001\n", "network.toml: panel.tolerance_bp: Input should be less"),
        (
            MINIMUM + 'oracle_operators = ["dev:3"]\n[panel]\nquorum = 3\n',
            "network.toml: Value error, a quorum of 3 is more than the 1 oracle operators",
        ),
        (
            MINIMUM + f"oracle_operators = {[f'dev:{i}' for i in range(16)]}\n",
            "network.toml: Value error, 16 oracle operators are more than the 15 of a panel",
        ),
    ],
)
def test_load__malformed__says_where_in_one_line(tmp_path, text, said):
    with pytest.raises(DeploymentError) as caught:
        load(tmp_path, text)
    assert said in str(caught.value)
    assert one_line(caught.value)


def test_load__not_text__says_so_in_one_line(tmp_path):
    file = tmp_path / "network.toml"
    file.write_bytes(b"chain_id = 5 # \xff\n")
    with pytest.raises(DeploymentError, match="not UTF-8") as caught:
        Parameters.load(file)
    assert one_line(caught.value)


def test_load__a_folder__says_so_in_one_line(tmp_path):
    with pytest.raises(DeploymentError, match="cannot be read") as caught:
        Parameters.load(tmp_path)
    assert one_line(caught.value)


def test_load__only_what_is_required__has_defaults(tmp_path):
    parameters = load(tmp_path, MINIMUM)
    assert (parameters.chain_id, parameters.url) == (5, "http://node")
    assert (parameters.market.epoch_seconds, parameters.market.tick_wei) == (900, 10**16)
    assert [(z.id, z.order_cap) for z in parameters.zones] == [(1, 10_000)]
    assert parameters.roles.minters == []


def test_load__shipped_file__is_the_development_markets():
    assert SHIPPED.chain_id == 31337
    assert SHIPPED.market.genesis == "midnight"
    assert SHIPPED.market.tick_wei == 10**16
    assert parameters_path("devnet").parent == record_path(31337).parent


# ------------------------------------------------------------------------- resolve


@pytest.mark.parametrize("chain_id", [1, 137, 31338])
def test_resolve__development_account_on_another_chain__is_refused(chain_id):
    with pytest.raises(DeploymentError, match="published key") as caught:
        resolve("dev:0", chain_id)
    assert str(chain_id) in str(caught.value)
    assert one_line(caught.value)


@pytest.mark.parametrize("who", ["dev:", "dev:x", "dev:-1", "dev:1.5", "dev: 1", "dev:\u00b2", "dev:4294967296"])
def test_resolve__no_development_account__is_refused(who):
    with pytest.raises(DeploymentError, match="no development account") as caught:
        resolve(who, 31337)
    assert one_line(caught.value)


@pytest.mark.parametrize("who", ["", "nonsense", "0x", "0x12", "0x" + "g" * 40, "DEV:0", "0x" + "11" * 21])
def test_resolve__nonsense__is_refused(who):
    with pytest.raises(DeploymentError, match="no address") as caught:
        resolve(who, 31337)
    assert one_line(caught.value)


MISTYPED = dev_signer(3).address[:-1] + ("7" if dev_signer(3).address[-1] != "7" else "8")


@pytest.mark.parametrize("who", [MISTYPED, dev_signer(3).address.swapcase().replace("0X", "0x"), MISTYPED[2:]])
def test_resolve__wrong_checksum__is_refused(who):
    with pytest.raises(DeploymentError, match="no address: its checksum is wrong") as caught:
        resolve(who, 31337)
    assert one_line(caught.value)


def test_resolve__zero_address__is_refused():
    with pytest.raises(DeploymentError, match="nobody") as caught:
        resolve("0x" + "00" * 20, 31337)
    assert one_line(caught.value)


@pytest.mark.parametrize("chain_id", [1, 31337])
def test_resolve__address__is_checksummed_on_any_chain(chain_id):
    address = dev_signer(3).address
    for spelled in (address, address.lower(), "0x" + address[2:].upper()):
        assert resolve(spelled, chain_id) == address


def test_resolve__development_account__is_its_address():
    assert resolve("dev:3", 31337) == dev_signer(3).address


# -------------------------------------------------------------------------- deploy


def test_deploy__parameters_of_another_chain__are_refused(chain, path):
    with pytest.raises(DeploymentError, match="for chain 5, not 31337") as caught:
        deploy(chain, REGULATOR, changed(chain_id=5), path)
    assert one_line(caught.value)
    assert chain.head().number == 0
    assert not path.exists()


@pytest.mark.parametrize("genesis", ["noon", "", "1.5", -1, DAY + 61, 10**12, str(DAY + 61)])
def test_deploy__genesis_that_is_no_time_gone_by__is_refused_before_anything_stands(chain, path, genesis):
    with pytest.raises(DeploymentError, match=r"genesis is .*: write") as caught:
        deploy(chain, REGULATOR, changed(market={"genesis": genesis}), path)
    assert one_line(caught.value)
    assert chain.head().number == 0
    assert not path.exists()


@pytest.mark.parametrize("who", [MISTYPED, "0x12", "dev:x"])
@pytest.mark.parametrize("role", [*SHIPPED.model_dump()["roles"], "quote token"])
def test_deploy__an_account_that_is_none__is_refused_before_anything_stands(chain, path, role, who):
    if role == "quote token":
        parameters = changed(market={"quote_token": who})
    else:
        parameters = changed(roles={role: who if role == "regulator" else ["dev:1", who]})
    with pytest.raises(DeploymentError, match="is no") as caught:
        deploy(chain, REGULATOR, parameters, path)
    assert one_line(caught.value)
    assert chain.head().number == 0
    assert not path.exists()


def test_deploy__quote_token_that_is_no_contract__is_refused_before_anything_stands(chain, path):
    with pytest.raises(DeploymentError, match="is no contract on chain 31337") as caught:
        deploy(chain, REGULATOR, changed(market={"quote_token": dev_signer(77).address}), path)
    assert one_line(caught.value)
    assert chain.head().number == 0
    assert not path.exists()


def test_deploy__once__brings_everything_about(chain, path):
    said = []
    record = deploy(chain, REGULATOR, SHIPPED, path, said.append)
    assert [line.split()[0] for line in said[: len(CONTRACTS)]] == list(CONTRACTS)
    assert all("deployed at" in line for line in said[: len(CONTRACTS)])
    assert said[-1] == f"{len(said) - 1} changes made"
    assert all(line and "\n" not in line for line in said)
    assert chain.head().number == len(said) - 1

    assert tuple(chain.addresses) == CONTRACTS
    assert record.addresses == chain.addresses
    for name in CONTRACTS:
        code = chain.node.request("eth_getCode", chain.addresses[name], "latest")
        assert len(code) == len(load_artifact(name)["deployedBytecode"])
        if name not in ("Authority", "Auction"):
            assert chain.view(name, "authority") == chain.addresses["Authority"]
    assert chain.view("Trading", "gridToken") == chain.addresses["GridToken"]
    assert chain.view("Trading", "quoteToken") == chain.addresses["BahtToken"]
    assert chain.view("Trading", "tickWei") == SHIPPED.market.tick_wei
    assert chain.view("Trading", "cancelCutoffSeconds") == 0
    assert (chain.calendar.genesis, chain.calendar.epoch_seconds) == (DAY, 900)
    assert chain.view("Registry", "trading") == chain.addresses["Trading"]
    assert chain.view("Registry", "metering") == chain.addresses["Metering"]
    assert chain.view("Metering", "trading") == chain.addresses["Trading"]
    assert chain.view("Metering", "gridToken") == chain.addresses["GridToken"]
    for field in ("registry", "trading", "metering"):
        assert chain.view("OracleClient", field) == chain.addresses[field.capitalize()]
    assert chain.view("OracleClient", "operatorRole") == ROLES["oracle operator"]
    operators = (dev_signer(3).address,)
    assert chain.view("OracleClient", "panel") == (operators, SHIPPED.panel.quorum, SHIPPED.panel.tolerance_bp)
    zone = chain.zone(1)
    assert (zone.open, zone.paused, zone.cleared, zone.order_cap) == (True, False, True, 10_000)
    assert not chain.zone(2).open


def test_deploy__once__roles_are_held_exactly_as_listed(standing, path):
    chain = at_market(standing, path)
    assert roles_held(chain) == roles_listed(chain, SHIPPED)
    assert {account for role, account in roles_held(chain) if role == ADMIN} == {REGULATOR.address}


def test_deploy__once__functions_are_permitted_as_listed(deployed_once):
    assert deployed_once.state["permissions"] == {
        (contract, function): ROLES[role]
        for contract, by_role in PERMISSIONS.items()
        for role, functions in by_role.items()
        for function in functions
    }


def test_deploy__once__record_tells_what_stands(chain, path):
    returned = deploy(chain, REGULATOR, SHIPPED, path)
    data = json.loads(path.read_text(encoding="utf-8"))
    assert Record.load(path) == returned
    assert list(data) == ["chain_id", "genesis_hash", "commit", "parameters", "contracts", "complete"]
    assert data["complete"] is True
    assert data["chain_id"] == 31337
    assert data["genesis_hash"] == genesis_hash(chain)
    assert data["commit"] == commit()
    market = SHIPPED.market.model_dump(mode="json")
    assert data["parameters"] == {**market, "genesis": DAY}
    assert list(data["contracts"]) == list(CONTRACTS)
    at = chain.addresses
    arguments = {
        "Authority": [REGULATOR.address],
        "GridToken": [at["Authority"]],
        "BahtToken": [at["Authority"]],
        "Auction": [],
        "Trading": [at["Authority"], at["GridToken"], at["BahtToken"], str(10**16), str(DAY), "900", "0"],
        "Metering": [at["Authority"], at["Trading"], at["GridToken"]],
        "Registry": [at["Authority"], at["Trading"], at["Metering"]],
        "OracleClient": [at["Authority"], at["Registry"], at["Trading"], at["Metering"], "2"],
    }
    for name, entry in data["contracts"].items():
        artifact = load_artifact(name)
        assert set(entry) == {"address", "block", "transaction", "arguments", "abi_hash", "source_hash"}
        assert entry["address"] == at[name]
        assert entry["arguments"] == arguments[name]
        assert (entry["abi_hash"], entry["source_hash"]) == (artifact["abiHash"], artifact["sourceHash"])
        receipt = chain.node.request("eth_getTransactionReceipt", entry["transaction"])
        assert int(receipt["blockNumber"], 16) == entry["block"]
        assert receipt["contractAddress"].lower() == entry["address"].lower()
    # Written whole: nothing half-written is left beside it.
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_deploy__twice__changes_nothing_and_says_so(deployed_once, standing, path):
    first, text = Record.load(path), path.read_bytes()
    second, said = again(standing), []
    head = second.head()
    nonce = second.node.request("eth_getTransactionCount", REGULATOR.address, "latest")

    assert deploy(second, REGULATOR, SHIPPED, path, said.append) == first

    assert second.head() == head
    assert second.node.request("eth_getTransactionCount", REGULATOR.address, "latest") == nonce
    assert path.read_bytes() == text
    assert state(second) == deployed_once.state
    assert said[-1] == "nothing to change: everything stands"
    assert all("stands at" in line for line in said[:-1])


def test_deploy__twice_on_a_later_day__keeps_the_genesis(standing, path):
    standing.mine(DAY + 10 * 86_400)
    second, said = again(standing), []
    deploy(second, REGULATOR, SHIPPED, path, said.append)
    assert said[-1] == "nothing to change: everything stands"
    assert second.calendar.genesis == DAY


def test_deploy__by_an_account_without_rights_once_it_stands__confirms_it(standing, path):
    said = []
    deploy(again(standing), dev_signer(30), SHIPPED, path, said.append)
    assert said[-1] == "nothing to change: everything stands"


class StoppedHere(Exception):
    """What interrupts a deployment in these tests."""


def interrupted(chain, signer, parameters, path, after):
    """Deploys and stops after so many lines were said."""
    said = []

    def say(line):
        said.append(line)
        if len(said) == after:
            raise StoppedHere

    with pytest.raises(StoppedHere):
        deploy(chain, signer, parameters, path, say)


# Among the contracts, after the last of them, and among what follows; the test below stops at every step.
@pytest.mark.parametrize("after", [1, 3, 4, 8, 9, 20])
def test_deploy__interrupted__goes_on_to_the_same_end(deployed_once, devnet, chain, path, after):
    whole = json.loads(deployed_once.record)
    assert deployed_once.changes > 20
    interrupted(chain, REGULATOR, SHIPPED, path, after)
    stopped = Record.load(path)
    assert list(stopped.contracts) == list(CONTRACTS[: min(after, len(CONTRACTS))])
    assert not stopped.complete

    second, said = again(devnet), []
    finished = deploy(second, REGULATOR, SHIPPED, path, said.append)

    assert said[-1] == f"{deployed_once.changes - after} changes made"
    assert finished == Record(**whole) == Record.load(path)
    assert state(second) == deployed_once.state
    assert second.head().number == deployed_once.changes


def test_deploy__interrupted_at_every_step__ends_the_same(deployed_once, devnet, path):
    whole = Record(**json.loads(deployed_once.record))
    stops = 0
    while True:
        said = []

        def say(line, said=said):
            said.append(line)
            if "stands at" not in line and not line.startswith("nothing to change"):
                raise StoppedHere

        chain = again(devnet)
        try:
            finished = deploy(chain, REGULATOR, SHIPPED, path, say)
        except StoppedHere:
            stops += 1
            # One step a run, the next one that is missing, and the record knows of it.
            assert said[-1] == deployed_once.said[stops - 1]
            assert chain.head().number == stops
            stopped = Record.load(path)
            assert stopped.contracts == {
                name: whole.contracts[name] for name in CONTRACTS[: min(stops, len(CONTRACTS))]
            }
            assert not stopped.complete
            continue
        break
    assert stops == deployed_once.changes
    assert finished == whole == Record.load(path)
    assert state(chain) == deployed_once.state


def test_deploy__record_lost__deploys_another_market_beside_it(standing, path):
    first = Record.load(path)
    path.unlink()
    second = deploy(again(standing), REGULATOR, SHIPPED, path)
    assert set(first.addresses.values()).isdisjoint(second.addresses.values())


# ---------------------------------------------------------- other parameters, records


@pytest.mark.parametrize(
    ("field", "value"),
    [("epoch_seconds", 60), ("tick_wei", 2 * 10**16), ("cancel_cutoff_s", 30), ("utc_offset_s", 0)],
)
def test_deploy__other_parameters_than_what_stands__are_refused(standing, path, field, value):
    chain = again(standing)
    text, head = path.read_bytes(), chain.head()
    with pytest.raises(DeploymentError, match=f"other parameters \\({field}\\)") as caught:
        deploy(chain, REGULATOR, changed(market={field: value}), path)
    assert one_line(caught.value)
    assert (path.read_bytes(), chain.head()) == (text, head)


@pytest.mark.parametrize("genesis", [DAY - 86_400, str(DAY + 1)])
def test_deploy__another_genesis_than_what_stands__is_refused(standing, path, genesis):
    with pytest.raises(DeploymentError, match=r"other parameters \(genesis\)"):
        deploy(again(standing), REGULATOR, changed(market={"genesis": genesis}), path)


@pytest.mark.parametrize("genesis", [DAY, str(DAY)])
def test_deploy__the_genesis_that_stands_named_as_a_number__is_confirmed(standing, path, genesis):
    said = []
    deploy(again(standing), REGULATOR, changed(market={"genesis": genesis}), path, said.append)
    assert said[-1] == "nothing to change: everything stands"


@pytest.mark.parametrize(
    ("refused", "error"),
    [
        ({"genesis": 0, "epoch_seconds": 13}, errors.InvalidEpochs),
        ({"tick_wei": 3}, errors.TickNotRepresentable),
        ({"cancel_cutoff_s": 900}, errors.InvalidCancelCutoff),
    ],
)
def test_deploy__parameters_mended_after_trading_refused_them__goes_on(devnet, chain, path, refused, error):
    with pytest.raises(error):
        deploy(chain, REGULATOR, changed(market=refused), path)
    second = again(devnet)
    record = deploy(second, REGULATOR, changed(market={"genesis": DAY - 86_400, "cancel_cutoff_s": 30}), path)
    assert record == Record.load(path)
    assert (record.parameters["genesis"], record.parameters["cancel_cutoff_s"]) == (DAY - 86_400, 30)
    assert second.calendar.genesis == DAY - 86_400
    assert second.view("Trading", "cancelCutoffSeconds") == 30


@pytest.mark.parametrize("cap", [5, 0, MAX_ORDER_CAP])
def test_deploy__another_cap_for_an_open_zone__is_set_and_told(standing, path, cap):
    other = changed(zones=[{"id": 1, "order_cap": cap}])
    second, said = again(standing), []
    deploy(second, REGULATOR, other, path, said.append)
    assert said[-2:] == [f"zone 1: cap {cap} orders instead of 10000", "1 changes made"]
    assert second.zone(1).order_cap == cap
    deploy(again(standing), REGULATOR, other, path, said.append)
    assert said[-1] == "nothing to change: everything stands"


def test_deploy__a_holder_taken_off_the_list__loses_its_role(standing, path):
    said, second = [], again(standing)
    fewer = changed(roles={"distributors": ["dev:1"]})
    deploy(second, REGULATOR, fewer, path, said.append)
    gone = dev_signer(2).address
    assert said[-2:] == [f"distributor taken from {gone}, which the parameters do not name", "1 changes made"]
    assert roles_held(second) == roles_listed(second, fewer)
    deploy(again(standing), REGULATOR, fewer, path, said.append)
    assert said[-1] == "nothing to change: everything stands"


@pytest.mark.parametrize("role_id", [ADMIN, ROLES["token minter"], ROLES["metering"]])
def test_deploy__a_role_granted_past_the_parameters__is_taken_away(standing, path, role_id):
    second, stranger = again(standing), dev_signer(9).address
    deploy(second, REGULATOR, SHIPPED, path)
    second.send(REGULATOR, Call("Authority", "grantRole", (role_id, stranger, 0)))
    said = []
    deploy(second, REGULATOR, SHIPPED, path, said.append)
    assert [line for line in said if stranger in line] == [said[-2]]
    assert roles_held(second) == roles_listed(second, SHIPPED)


def test_deploy__a_role_of_somebody_else_s_making__is_left_alone(standing, path):
    second, stranger = again(standing), dev_signer(9).address
    deploy(second, REGULATOR, SHIPPED, path)
    second.send(REGULATOR, Call("Authority", "grantRole", (77, stranger, 0)))
    said = []
    deploy(second, REGULATOR, SHIPPED, path, said.append)
    assert said[-1] == "nothing to change: everything stands"
    assert tuple(second.view("Authority", "hasRole", 77, stranger)) == (True, 0)


def test_deploy__a_holder_to_be_taken_off_by_a_stranger__is_refused_and_stays(standing, path):
    second, stranger = again(standing), dev_signer(9)
    fewer = changed(roles={"distributors": ["dev:1"]})
    with pytest.raises(errors.AccessManagerUnauthorizedAccount):
        deploy(second, stranger, fewer, path)
    assert roles_held(second) == roles_listed(second, SHIPPED)


def test_deploy__a_zone_and_a_holder_more__are_added(standing, path):
    more = changed(
        zones=[*SHIPPED.model_dump()["zones"], {"id": 2, "order_cap": 0}], roles={"minters": ["dev:4", "dev:7"]}
    )
    second, said = again(standing), []
    deploy(second, REGULATOR, more, path, said.append)
    assert said[-3:] == [
        "zone 2 opened, cap 0 orders",
        f"minter granted to {dev_signer(7).address}",
        "2 changes made",
    ]
    assert second.zone(2).open
    assert roles_held(second) == roles_listed(second, more)


def test_deploy__more_operators_and_a_higher_quorum__join_the_panel(standing, path):
    operators = ["dev:3", "dev:8", "dev:9"]
    more = changed(roles={"oracle_operators": operators}, panel={"quorum": 3, "tolerance_bp": 50})
    second, said = again(standing), []
    deploy(second, REGULATOR, more, path, said.append)
    addresses = tuple(dev_signer(int(name[4:])).address for name in operators)
    assert said[-4:] == [
        f"{addresses[1]} joined the oracle panel",
        f"{addresses[2]} joined the oracle panel",
        "oracle panel: quorum 3, tolerance 50 basis points",
        "5 changes made",
    ]
    assert second.view("OracleClient", "panel") == (addresses, 3, 50)


def test_deploy__quote_token_of_somebody_else__is_used(standing, path):
    other = Record.load(path).addresses["BahtToken"]
    path.unlink()
    second = again(standing)
    deploy(second, REGULATOR, changed(market={"quote_token": other.lower()}), path)
    assert second.view("Trading", "quoteToken") == other != second.addresses["BahtToken"]
    # However it is spelled, it is the same one.
    said = []
    deploy(again(standing), REGULATOR, changed(market={"quote_token": other}), path, said.append)
    assert said[-1] == "nothing to change: everything stands"


ANEW = "the record is of an earlier development chain: deploying anew"


# A chain started again at the same second begins with the same block.
@pytest.mark.parametrize("later", [0, 7_200])
def test_deploy__record_of_an_earlier_development_chain__is_replaced(deployed_once, path, later):
    path.parent.mkdir()
    path.write_bytes(deployed_once.record)
    with Devnet(timestamp=DAY + 60 + later) as other:
        said, fresh = [], Chain(other.url, after_send=other.mine)
        record = deploy(fresh, REGULATOR, SHIPPED, path, said.append)
        assert said[0] == ANEW
        assert len(said) == 1 + len(deployed_once.said)
        assert record.genesis_hash == genesis_hash(fresh)
        assert (record.genesis_hash == json.loads(deployed_once.record)["genesis_hash"]) == (later == 0)
        assert Record.load(path) == record
        assert said[-1].endswith("changes made")


def test_deploy__unfinished_record_of_an_earlier_development_chain__is_replaced(devnet, chain, path):
    snapshot = devnet.snapshot()
    interrupted(chain, DEPLOYER, SHIPPED, path, 5)
    devnet.restore(snapshot)
    said, fresh = [], again(devnet)
    record = deploy(fresh, REGULATOR, SHIPPED, path, said.append)
    assert said[0] == ANEW
    assert list(record.contracts) == list(CONTRACTS)
    assert fresh.zone(1).open


@pytest.mark.parametrize("name", ["Authority", "Trading", "OracleClient"])
def test_deploy__record_names_a_contract_where_no_code_stands__is_replaced(standing, path, name):
    old = Record.load(path)
    record = Record.load(path)
    record.contracts[name]["address"] = dev_signer(77).address
    record.save(path)
    said = []
    new = deploy(again(standing), REGULATOR, SHIPPED, path, said.append)
    assert said[0] == ANEW
    assert set(new.addresses.values()).isdisjoint(old.addresses.values())


OUTSIDE = 4242


@pytest.fixture(scope="module")
def outside():
    """Parameters and a door to a chain that is no development chain."""
    addresses = {name: [dev_signer(i).address] for i, name in enumerate(["distributors", "minters"], start=1)}
    roles = {"regulator": REGULATOR.address, "oracle_operators": [], "market_makers": [], "issuers": [], **addresses}
    with Devnet(timestamp=DAY + 60, chain_id=OUTSIDE) as devnet:
        yield changed(chain_id=OUTSIDE, roles=roles), Chain(devnet.url, chain_id=OUTSIDE, after_send=devnet.mine)


def test_deploy__published_keys_on_another_chain__are_refused(outside, path):
    _, chain = outside
    with pytest.raises(DeploymentError, match="published key"):
        deploy(chain, REGULATOR, changed(chain_id=OUTSIDE), path)
    assert not path.exists()


def test_deploy__record_of_another_chain_that_is_no_development_chain__is_refused(outside, path):
    parameters, chain = outside
    record = deploy(chain, REGULATOR, parameters, path)
    head = chain.head()
    record.genesis_hash = "0x" + "00" * 32
    record.save(path)
    with pytest.raises(DeploymentError, match="of another chain with id 4242") as caught:
        deploy(chain, REGULATOR, parameters, path)
    assert one_line(caught.value)
    assert chain.head() == head


@pytest.mark.parametrize("name", ["Authority", "OracleClient"])
def test_deploy__no_development_chain_and_no_code_where_the_record_says__is_refused(outside, path, name):
    parameters, chain = outside
    record = deploy(chain, REGULATOR, parameters, path)
    head = chain.head()
    record.contracts[name]["address"] = dev_signer(77).address
    record.save(path)
    with pytest.raises(DeploymentError, match=f"names {name} at .* where no code stands") as caught:
        deploy(chain, REGULATOR, parameters, path)
    assert one_line(caught.value)
    assert chain.head() == head


def test_deploy__built_from_other_sources__says_so_and_leaves_it(standing, path):
    record = Record.load(path)
    record.contracts["Trading"]["source_hash"] = "00"
    record.save(path)
    said = []
    deploy(again(standing), REGULATOR, SHIPPED, path, said.append)
    (line,) = [line for line in said if line.startswith("Trading ")]
    assert line.endswith("built from other sources than this checkout's")
    assert said[-1] == "nothing to change: everything stands"


# ------------------------------------------------------- a deployer that is nobody special


def test_deploy__by_somebody_else_than_the_regulator__who_keeps_nothing(chain, path):
    said = []
    deploy(chain, DEPLOYER, SHIPPED, path, said.append)
    assert said[-3:-1] == [
        f"administration granted to the regulator {REGULATOR.address}",
        f"administration given up by the deployer {DEPLOYER.address}",
    ]
    assert roles_held(chain) == roles_listed(chain, SHIPPED)
    assert DEPLOYER.address not in {account for _, account in roles_held(chain)}
    with pytest.raises(errors.AccessManagerUnauthorizedAccount):
        chain.send(DEPLOYER, Call("Authority", "grantRole", (ADMIN, DEPLOYER.address, 0)))
    with pytest.raises(errors.AccessManagedUnauthorized):
        chain.send(DEPLOYER, Call("Trading", "setPaused", (1, True)))
    chain.send(REGULATOR, Call("Trading", "setPaused", (1, True)))


def test_deploy__by_somebody_else_again__changes_nothing(devnet, chain, path):
    deploy(chain, DEPLOYER, SHIPPED, path)
    for signer in (DEPLOYER, REGULATOR, dev_signer(30)):
        head, said = chain.head(), []
        deploy(again(devnet), signer, SHIPPED, path, said.append)
        assert (chain.head(), said[-1]) == (head, "nothing to change: everything stands")


@pytest.fixture(scope="module")
def foreign_changes(running, tmp_path_factory):
    """How many changes a deployment by somebody else than the regulator makes."""
    snapshot, said = running.snapshot(), []
    deploy(again(running), DEPLOYER, SHIPPED, tmp_path_factory.mktemp("foreign") / "record.json", said.append)
    running.restore(snapshot)
    return len(said) - 1


@pytest.mark.parametrize("back", [1, 2, 3])
def test_deploy__by_somebody_else_interrupted_near_the_end__hands_over_when_it_goes_on(
    foreign_changes, devnet, chain, path, back
):
    interrupted(chain, DEPLOYER, SHIPPED, path, foreign_changes - back)
    finished = again(devnet)
    deploy(finished, DEPLOYER, SHIPPED, path)
    assert roles_held(finished) == roles_listed(finished, SHIPPED)


def test_deploy__interrupted_before_the_deployer_gave_up_and_finished_by_the_regulator__deployer_keeps_nothing(
    foreign_changes, devnet, chain, path
):
    interrupted(chain, DEPLOYER, SHIPPED, path, foreign_changes - 1)
    # Whoever has no rights cannot finish it either.
    with pytest.raises(errors.AccessManagerUnauthorizedAccount):
        deploy(again(devnet), dev_signer(30), SHIPPED, path)
    assert not Record.load(path).complete
    finished, said = again(devnet), []
    deploy(finished, REGULATOR, SHIPPED, path, said.append)
    assert said[-2:] == [f"administration taken from the deployer {DEPLOYER.address}", "1 changes made"]
    assert roles_held(finished) == roles_listed(finished, SHIPPED)
    assert Record.load(path).complete


def test_deploy__continued_by_an_account_without_rights__is_refused_by_name(devnet, chain, path):
    interrupted(chain, REGULATOR, SHIPPED, path, 7)
    with pytest.raises(errors.BusbarError) as caught:
        deploy(again(devnet), DEPLOYER, SHIPPED, path)
    assert isinstance(caught.value, errors.AccessManagedUnauthorized)
    assert one_line(caught.value)
    deploy(again(devnet), REGULATOR, SHIPPED, path)


# ------------------------------------------------------------------------- connect


def test_connect__record_complete__reads_the_market(standing, path):
    market = connect(Record.load(path), standing.url)
    assert market.addresses == Record.load(path).addresses
    assert market.zone(1).open


def test_connect__options__reach_the_chain(standing, path):
    assert connect(Record.load(path), standing.url, timeout_s=3).timeout_s == 3


def test_connect__node_of_another_chain__is_refused(standing, path):
    record = Record.load(path)
    record.chain_id = 5
    with pytest.raises(WrongChainError, match="not 5") as caught:
        connect(record, standing.url)
    assert one_line(caught.value)


@pytest.mark.parametrize("later", [0, 7_200])
def test_connect__record_of_a_chain_that_is_gone__is_refused(standing, path, later):
    with Devnet(timestamp=DAY + 60 + later) as other:
        with pytest.raises(DeploymentError, match="deploy again") as caught:
            connect(Record.load(path), other.url)
        assert one_line(caught.value)


def test_connect__no_code_where_the_record_says__is_refused_in_one_request(standing, path, monkeypatch):
    record = Record.load(path)
    record.contracts["Metering"]["address"] = dev_signer(77).address
    asked, batch = [], chain_module.Node.batch

    def counting(node, calls, size=200):
        asked.append([method for method, _ in calls])
        return batch(node, calls, size)

    monkeypatch.setattr(chain_module.Node, "batch", counting)
    with pytest.raises(DeploymentError, match=r"Metering is recorded: .* deploy again") as caught:
        connect(record, standing.url)
    assert dev_signer(77).address in str(caught.value)
    assert one_line(caught.value)
    assert [methods for methods in asked if "eth_getCode" in methods] == [["eth_getCode"] * len(CONTRACTS)]


def test_connect__record_of_an_unfinished_deployment__names_what_is_missing(devnet, chain, path):
    interrupted(chain, REGULATOR, SHIPPED, path, 5)
    with pytest.raises(DeploymentError, match="Registry, OracleClient not deployed yet") as caught:
        connect(Record.load(path), devnet.url)
    assert one_line(caught.value)


def test_connect__record_of_a_deployment_stopped_before_its_roles__is_refused(devnet, chain, path):
    interrupted(chain, REGULATOR, SHIPPED, path, 8)
    with pytest.raises(DeploymentError, match="run `ape run deploy` again") as caught:
        connect(Record.load(path), devnet.url)
    assert one_line(caught.value)
    deploy(again(devnet), REGULATOR, SHIPPED, path)
    assert connect(Record.load(path), devnet.url).zone(1).open


def test_connect__nobody_listens__says_so_in_one_line(standing, path):
    with pytest.raises(errors.BusbarError, match="no node answers") as caught:
        connect(Record.load(path), f"http://127.0.0.1:{free_port()}")
    assert one_line(caught.value)


# ------------------------------------------------------------------------- records


def test_record__file_missing__says_so_in_one_line(path):
    with pytest.raises(DeploymentError, match="deploy first") as caught:
        Record.load(path)
    assert one_line(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"chain_id": 1}', '{"chain_id": 1, "surprise": 2}', "null"])
def test_record__malformed__says_so_in_one_line(path, text):
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DeploymentError, match="no deployment record") as caught:
        Record.load(path)
    assert one_line(caught.value)


@pytest.mark.parametrize("text", [b"\xff", b'{"chain_id": "\xff"}'])
def test_record__not_text__says_so_in_one_line(path, text):
    path.parent.mkdir()
    path.write_bytes(text)
    with pytest.raises(DeploymentError, match="no deployment record") as caught:
        Record.load(path)
    assert one_line(caught.value)


def test_record__a_folder__says_so_in_one_line(tmp_path):
    with pytest.raises(DeploymentError, match="cannot be read") as caught:
        Record.load(tmp_path)
    assert one_line(caught.value)


def test_record__saved__reads_back_the_same_and_replaces_the_old(path):
    record = Record(5, "0xabc", "unknown", {"genesis": 7}, {"Trading": {"address": "0x1"}})
    for complete in (False, True):
        record.complete = complete
        record.save(path)
        assert Record.load(path) == record
    assert record.addresses == {"Trading": "0x1"}


def test_commit__of_this_checkout__is_a_commit_or_unknown():
    found = commit()
    assert found == "unknown" or len(found.removesuffix("-dirty")) == 40


def test_commit__without_git__is_unknown(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("git") is None
    assert commit() == "unknown"
