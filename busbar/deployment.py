"""Bringing the market onto a chain, the same way everywhere, and the record of what stands there.

`deploy` looks at the chain before each step and does only what is missing: run twice, it changes nothing; stopped
halfway, it goes on. Zones, caps and holders of roles become what the parameters say, also by taking roles away.
Everything it is told is checked before the first step. Parameters come from `deployments/<network>.toml`, the record
goes to `deployments/<chain id>.json`.
"""

import json
import os
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from eth_utils.abi import abi_to_signature
from eth_utils.crypto import keccak
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from web3 import Web3

from busbar import errors, tools
from busbar.chain import CONTRACTS, Call, Chain, Signer, load_artifact
from busbar.devnet import CHAIN_ID as DEV_CHAIN_ID
from busbar.devnet import dev_signer

ADMIN = 0
"""OpenZeppelin's administrator role: grants roles, opens zones, pauses."""

ROLES: dict[str, int] = {
    "distributor": 1,
    "oracle operator": 2,
    "minter": 3,
    "market maker": 4,
    "issuer": 5,
    "registry": 6,
    "metering": 7,
    "token minter": 8,
}
"""Roles by name. `registry`, `metering` and `token minter` are held by contracts."""

PERMISSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "Registry": {
        "distributor": (
            "registerUser",
            "setStatus",
            "setZone",
            "assignMeter",
            "replaceMeter",
            "revokeMeter",
        )
    },
    "GridToken": {"token minter": ("mint",)},
    "BahtToken": {"issuer": ("issue", "redeem")},
    "Trading": {
        "market maker": ("matchOrders",),
        "registry": ("setAccount",),
        "metering": ("credit", "retire"),
    },
    "Metering": {
        "minter": ("submitReadings",),
        "distributor": ("releaseParked", "rejectParked"),
        "registry": ("openMeter", "replaceMeter", "closeMeter"),
    },
    "OracleClient": {"oracle operator": ("fulfillEnergyData",)},
}
"""Which role may call what. Restricted functions not named here are the administrator's."""

CONTRACT_ROLES: tuple[tuple[str, str], ...] = (
    ("Registry", "registry"),
    ("Metering", "metering"),
    ("Metering", "token minter"),
    ("OracleClient", "market maker"),
    ("OracleClient", "minter"),
)
"""Roles that contracts hold: least privilege, each for one purpose."""

MAX_ORDER_CAP = 2**24 - 1
"""As in contracts/libraries/Zones.sol."""

MAX_OPERATORS = 15
"""As in contracts/OracleClient.sol."""

BUILT_IN_MONEY = "BahtToken"
"""The quote token that is deployed with the market, unless the parameters name another."""


class DeploymentError(errors.BusbarError):
    """Parameters or a record make no sense, or do not fit the chain. The message says what to do."""

    remedy = errors.Remedy.STOP


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MarketParameters(_Model):
    """What a market is deployed with; it can never be changed afterwards."""

    epoch_seconds: int = Field(900, gt=0, le=86_400)
    genesis: int | str = "midnight"
    utc_offset_s: int = Field(25_200, gt=-86_400, lt=86_400)
    tick_wei: int = Field(10**16, gt=0)
    cancel_cutoff_s: int = Field(0, ge=0)
    quote_token: str = BUILT_IN_MONEY


class ZoneParameters(_Model):
    """A zone to open and its cap on counted orders an epoch."""

    id: int = Field(ge=1, le=255)
    order_cap: int = Field(10_000, ge=0, le=MAX_ORDER_CAP)


class PanelParameters(_Model):
    """How the oracle operators decide a datum together: see IOracleClient."""

    quorum: int = Field(1, ge=1, le=MAX_OPERATORS)
    tolerance_bp: int = Field(1_000, ge=0, le=10_000)

    @field_validator("quorum")
    @classmethod
    def _odd(cls, quorum: int) -> int:
        if quorum % 2 == 0:
            raise ValueError("a quorum is odd, so that its median is one of the answers")
        return quorum


class RoleHolders(_Model):
    """Accounts by role: addresses, or `dev:N` on the development chain."""

    regulator: str
    distributors: list[str] = []
    oracle_operators: list[str] = []
    minters: list[str] = []
    market_makers: list[str] = []
    issuers: list[str] = []
    token_minters: list[str] = []


class Parameters(_Model):
    """A network's file, `deployments/<network>.toml`."""

    chain_id: int
    url: str
    market: MarketParameters = MarketParameters()
    zones: list[ZoneParameters] = [ZoneParameters(id=1)]
    panel: PanelParameters = PanelParameters()
    roles: RoleHolders

    @model_validator(mode="after")
    def _panel_is_staffed(self) -> Self:
        operators = len(self.roles.oracle_operators)
        if operators > MAX_OPERATORS:
            raise ValueError(f"{operators} oracle operators are more than the {MAX_OPERATORS} of a panel")
        if operators and self.panel.quorum > operators:
            raise ValueError(f"a quorum of {self.panel.quorum} is more than the {operators} oracle operators")
        return self

    @field_validator("zones")
    @classmethod
    def _each_once(cls, zones: list[ZoneParameters]) -> list[ZoneParameters]:
        if len({zone.id for zone in zones}) < len(zones):
            raise ValueError("a zone stands twice")
        return zones

    @staticmethod
    def load(path: Path) -> "Parameters":
        """Reads a network's file.

        Raises:
            DeploymentError: It is missing or malformed; one line says where.
        """
        try:
            return Parameters.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise DeploymentError(f"{path} is missing: write one after deployments/devnet.toml") from None
        except OSError as problem:
            raise DeploymentError(f"{path} cannot be read: {problem.strerror}") from None
        except UnicodeDecodeError as problem:
            raise DeploymentError(f"{path} is not UTF-8: {problem.reason} at byte {problem.start}") from None
        except tomllib.TOMLDecodeError as problem:
            raise DeploymentError(f"{path}: {problem}") from None
        except ValidationError as problem:
            first = problem.errors()[0]
            where = "".join(f"{part}." for part in first["loc"])[:-1]
            raise DeploymentError(f"{path}: {where}{': ' * bool(where)}{first['msg']}") from None

    def holders(self, chain_id: int) -> list[tuple[str, str]]:
        """(role, address) for every account that is given a role besides the regulator."""
        named = {
            "distributor": self.roles.distributors,
            "oracle operator": self.roles.oracle_operators,
            "minter": self.roles.minters,
            "market maker": self.roles.market_makers,
            "issuer": self.roles.issuers,
            "token minter": self.roles.token_minters,
        }
        return [(role, resolve(who, chain_id)) for role, list_ in named.items() for who in list_]


def resolve(who: str, chain_id: int) -> str:
    """The address a parameter names: an address, or `dev:N` on the development chain.

    Raises:
        DeploymentError: It is neither, mistyped, or a development account on another chain.
    """
    if who.startswith("dev:"):
        if chain_id != DEV_CHAIN_ID:
            raise DeploymentError(f"{who!r} is a published key and must not be used on chain {chain_id}")
        index = who[4:]
        # Ten digits may pass the 2**31 accounts there are.
        if not (index.isascii() and index.isdigit() and len(index) < 10):
            raise DeploymentError(f"{who!r} is no development account: write dev:0, dev:1 ...")
        return dev_signer(int(index)).address
    if not Web3.is_address(who):
        raise DeploymentError(f"{who!r} is no address")
    digits = who[-40:]
    if digits not in (digits.lower(), digits.upper()) and not Web3.is_checksum_address(f"0x{digits}"):
        raise DeploymentError(f"{who!r} is no address: its checksum is wrong, so it is mistyped")
    if int(digits, 16) == 0:
        raise DeploymentError(f"{who!r} is nobody's address")
    return str(Web3.to_checksum_address(who))


@dataclass(slots=True)
class Record:
    """What stands on a chain: `deployments/<chain id>.json`.

    Attributes:
        chain_id: Chain.
        genesis_hash: Hash of the chain's first block: tells one development chain from the next.
        parameters: The market's parameters as deployed.
        contracts: By name: address, block, transaction, arguments, hashes of ABI and sources.
        commit: Commit of the checkout that deployed it.
        complete: Whether a deployment has come to its end: zones, permissions and roles stand too.
    """

    chain_id: int
    genesis_hash: str
    commit: str
    parameters: dict[str, Any] = field(default_factory=dict)
    contracts: dict[str, dict[str, Any]] = field(default_factory=dict)
    complete: bool = False

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each contract by name."""
        return {name: entry["address"] for name, entry in self.contracts.items()}

    @staticmethod
    def load(path: Path) -> "Record":
        """Reads a record.

        Raises:
            DeploymentError: It is missing or malformed.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return Record(**data)
        except FileNotFoundError:
            raise DeploymentError(f"{path} is missing: deploy first, with `ape run deploy`") from None
        except OSError as problem:
            raise DeploymentError(f"{path} cannot be read: {problem.strerror}") from None
        except (ValueError, TypeError) as problem:
            raise DeploymentError(f"{path} is no deployment record: {problem}") from None

    def save(self, path: Path) -> None:
        """Writes the record at once or not at all."""
        data = {
            "chain_id": self.chain_id,
            "genesis_hash": self.genesis_hash,
            "commit": self.commit,
            "parameters": self.parameters,
            "contracts": self.contracts,
            "complete": self.complete,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        part.replace(path)


def record_path(chain_id: int) -> Path:
    """Where a chain's record is kept."""
    return tools.project_root() / "deployments" / f"{chain_id}.json"


def parameters_path(network: str) -> Path:
    """Where a network's parameters are kept."""
    return tools.project_root() / "deployments" / f"{network}.toml"


def connect(record: Record, url: str, **options: Any) -> Chain:
    """The market of a record.

    Raises:
        WrongChainError: The node serves another chain.
        DeploymentError: The record is of a chain that is gone, or incomplete.
    """
    chain = Chain(url, chain_id=record.chain_id, **options)
    if genesis_hash(chain) != record.genesis_hash:
        raise DeploymentError(
            f"the record of chain {record.chain_id} is of another chain than {url} serves: deploy again"
        )
    missing = [name for name in CONTRACTS if name not in record.contracts]
    if missing:
        raise DeploymentError(f"{', '.join(missing)} not deployed yet: run `ape run deploy` again")
    gone = _without_code(chain, record)
    if gone:
        raise DeploymentError(
            f"no code stands at {record.addresses[gone[0]]}, where {gone[0]} is recorded: "
            "the record is of an earlier chain, deploy again"
        )
    if not record.complete:
        raise DeploymentError(f"the deployment on chain {record.chain_id} is not finished: run `ape run deploy` again")
    for name, address in record.addresses.items():
        chain.attach(name, address)
    return chain


def genesis_hash(chain: Chain) -> str:
    """Hash of the chain's first block."""
    return str(chain.node.request("eth_getBlockByNumber", "0x0", False)["hash"])


def _without_code(chain: Chain, record: Record) -> list[str]:
    """Recorded contracts whose address is empty: the record is of an earlier chain that began the same."""
    found = chain.node.batch([("eth_getCode", [address, "latest"]) for address in record.addresses.values()])
    for code in found:
        if isinstance(code, errors.BusbarError):
            raise code
    return [name for name, code in zip(record.addresses, found, strict=True) if code == "0x"]


def commit() -> str:
    """Commit of this checkout, marked if files differ from it; `unknown` outside git."""
    try:
        head = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607  (any git will do)
            cwd=tools.project_root(),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip()


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is wanted, checked: every name resolved to an address.

    Attributes:
        market: The market's parameters as they are recorded; genesis in Unix seconds.
        zones: Zones to open.
        holders: (role, address) besides the regulator's.
        panel: How the oracle operators decide.
    """

    market: dict[str, Any]
    zones: Sequence[ZoneParameters]
    regulator: str
    holders: Sequence[tuple[str, str]]
    panel: PanelParameters


@dataclass(slots=True)
class _Step:
    """What one run of `deploy` works on."""

    chain: Chain
    signer: Signer
    record: Record
    path: Path
    say: Callable[[str], None]
    changes: int = 0


def deploy(
    chain: Chain,
    signer: Signer,
    parameters: Parameters,
    path: Path,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Brings the market onto the chain, or finishes or confirms what stands.

    Args:
        chain: The door to the chain; contracts are attached to it.
        signer: Pays and signs. If it is not the regulator, it hands administration over at the end.
        parameters: The network's parameters.
        path: The record, read if it exists and written after every contract.
        say: Told a line for every step.

    Returns:
        The complete record.

    Raises:
        WrongChainError, DeploymentError, BusbarError: As the messages say; what stands already is recorded.
    """
    if chain.chain_id != parameters.chain_id:
        raise DeploymentError(f"the parameters are for chain {parameters.chain_id}, not {chain.chain_id}")
    plan = _plan(chain, parameters)
    record = _open_record(chain, parameters, plan, path, say)
    step = _Step(chain, signer, record, path, say)
    for name in CONTRACTS:
        _deploy_contract(step, name)
    _open_zones(step, plan)
    _set_permissions(step)
    _grant_roles(step, plan)
    _revoke_roles(step, plan)
    _seat_panel(step, plan)
    _hand_over(step, plan)
    if not record.complete:
        record.complete = True
        record.save(path)
    say("nothing to change: everything stands" if step.changes == 0 else f"{step.changes} changes made")
    return record


def _plan(chain: Chain, parameters: Parameters) -> _Plan:
    market = parameters.market.model_dump(mode="json")
    market["genesis"] = _genesis(parameters.market, chain.head().timestamp)
    if parameters.market.quote_token != BUILT_IN_MONEY:
        token = resolve(parameters.market.quote_token, chain.chain_id)
        if chain.node.request("eth_getCode", token, "latest") == "0x":
            raise DeploymentError(f"the quote token {token} is no contract on chain {chain.chain_id}")
        market["quote_token"] = token
    regulator = resolve(parameters.roles.regulator, chain.chain_id)
    return _Plan(market, parameters.zones, regulator, parameters.holders(chain.chain_id), parameters.panel)


def _genesis(market: MarketParameters, now: int) -> int:
    if market.genesis == "midnight":
        return now - (now + market.utc_offset_s) % 86_400
    try:
        genesis = int(market.genesis)
    except ValueError:
        raise DeploymentError(f'genesis is {market.genesis!r}: write "midnight" or Unix seconds') from None
    if not 0 <= genesis <= now:
        raise DeploymentError(f"genesis is {genesis}: write a time up to the newest block's, which is {now}")
    return genesis


def _open_record(chain: Chain, parameters: Parameters, plan: _Plan, path: Path, say: Callable[[str], None]) -> Record:
    first = genesis_hash(chain)
    fresh = Record(chain.chain_id, first, commit(), plan.market)
    if not path.exists():
        return fresh
    record = Record.load(path)
    same_start = record.genesis_hash == first
    # A development chain started again at the same second begins with the same block, but is empty.
    gone = _without_code(chain, record) if same_start else []
    if chain.chain_id == DEV_CHAIN_ID and (not same_start or gone):
        say("the record is of an earlier development chain: deploying anew")
        return fresh
    if not same_start:
        raise DeploymentError(f"{path} is of another chain with id {chain.chain_id}: move it away to deploy anew")
    if gone:
        raise DeploymentError(f"{path} names {gone[0]} at {record.addresses[gone[0]]}, where no code stands")
    if "Trading" not in record.contracts:
        # Nothing that stands depends on the parameters yet: those of now count.
        record.parameters = plan.market
        return record
    # "midnight" is that of the first deployment.
    ignored = {"genesis"} if parameters.market.genesis == "midnight" else set()
    differing = [k for k, v in plan.market.items() if k not in ignored and record.parameters.get(k) != v]
    if differing:
        raise DeploymentError(
            f"{path} was deployed with other parameters ({', '.join(differing)}), which cannot be changed: "
            "deploy a new market by moving the record away"
        )
    return record


def _arguments(step: _Step, name: str) -> list[Any]:
    at = step.chain.addresses
    market = step.record.parameters
    match name:
        case "Auction":
            return []
        case "Authority":
            return [step.signer.address]
        case "Trading":
            quote = market["quote_token"]
            return [
                at["Authority"],
                at["GridToken"],
                at["BahtToken"] if quote == BUILT_IN_MONEY else quote,
                int(market["tick_wei"]),
                market["genesis"],
                market["epoch_seconds"],
                market["cancel_cutoff_s"],
            ]
        case "Metering":
            return [at["Authority"], at["Trading"], at["GridToken"]]
        case "Registry":
            return [at["Authority"], at["Trading"], at["Metering"]]
        case "OracleClient":
            return [at["Authority"], at["Registry"], at["Trading"], at["Metering"], ROLES["oracle operator"]]
        case _:
            return [at["Authority"]]


def _deploy_contract(step: _Step, name: str) -> None:
    chain, record = step.chain, step.record
    artifact = load_artifact(name)
    entry = record.contracts.get(name)
    if entry is not None:
        chain.attach(name, entry["address"])
        if entry["source_hash"] != artifact["sourceHash"]:
            step.say(f"{name:<13} stands at {entry['address']}, built from other sources than this checkout's")
        else:
            step.say(f"{name:<13} stands at {entry['address']}")
        return
    args = _arguments(step, name)
    address, tx, block = chain.deploy(step.signer, name, args)
    record.contracts[name] = {
        "address": address,
        "block": block,
        "transaction": tx,
        "arguments": [str(argument) for argument in args],
        "abi_hash": artifact["abiHash"],
        "source_hash": artifact["sourceHash"],
    }
    record.save(step.path)
    step.changes += 1
    step.say(f"{name:<13} deployed at {address}")


def _change(step: _Step, call: Call, text: str) -> None:
    step.chain.send(step.signer, call)
    step.changes += 1
    step.say(text)


def _open_zones(step: _Step, plan: _Plan) -> None:
    for wanted in plan.zones:
        found = step.chain.zone(wanted.id)
        if not found.open:
            call = Call("Trading", "openZone", (wanted.id, wanted.order_cap))
            _change(step, call, f"zone {wanted.id} opened, cap {wanted.order_cap} orders")
        elif found.order_cap != wanted.order_cap:
            call = Call("Trading", "setOrderCap", (wanted.id, wanted.order_cap))
            _change(step, call, f"zone {wanted.id}: cap {wanted.order_cap} orders instead of {found.order_cap}")


def _set_permissions(step: _Step) -> None:
    for contract, by_role in PERMISSIONS.items():
        target = step.chain.addresses[contract]
        for role, functions in by_role.items():
            selectors = [selector(contract, function) for function in functions]
            views = [Call("Authority", "getTargetFunctionRole", (target, s)) for s in selectors]
            held = step.chain.read(views)
            missing = [s for s, role_id in zip(selectors, held, strict=True) if role_id != ROLES[role]]
            if missing:
                call = Call("Authority", "setTargetFunctionRole", (target, missing, ROLES[role]))
                _change(step, call, f"{contract}: {', '.join(functions)} for role {role!r} only")


def selector(contract: str, function: str) -> bytes:
    """The first four bytes of a call of one of a contract's functions.

    Raises:
        DeploymentError: It has none of that name, or several.
    """
    entries = [e for e in load_artifact(contract)["abi"] if e["type"] == "function" and e["name"] == function]
    if len(entries) != 1:
        raise DeploymentError(f"{contract}.{function} stands {len(entries)} times in the ABI, not once")
    return keccak(text=abi_to_signature(entries[0]))[:4]


def _grant_roles(step: _Step, plan: _Plan) -> None:
    wanted = [(role, step.chain.addresses[name], name) for name, role in CONTRACT_ROLES]
    wanted += [(role, address, address) for role, address in plan.holders]
    for role, address, shown in wanted:
        held, _ = step.chain.view("Authority", "hasRole", ROLES[role], address)
        if not held:
            call = Call("Authority", "grantRole", (ROLES[role], address, 0))
            _change(step, call, f"{role} granted to {shown}")


def _revoke_roles(step: _Step, plan: _Plan) -> None:
    """The parameters say who holds a role: whoever does not stand there any more loses it. See decision 0005."""
    chain, names = step.chain, {role_id: role for role, role_id in ROLES.items()} | {ADMIN: "administration"}
    listed = {(ROLES[role], chain.addresses[name]) for name, role in CONTRACT_ROLES}
    listed |= {(ROLES[role], address) for role, address in plan.holders}
    # The deployer's administration ends with the handing over, which still needs it.
    listed |= {(ADMIN, account) for account in (plan.regulator, *_deployers(step))}
    granted = chain.events([("Authority", "RoleGranted")], _first_block(step), chain.head().number)
    known = dict.fromkeys((event.args["roleId"], event.args["account"]) for event in granted)
    for role_id, account in known:
        if role_id not in names or (role_id, account) in listed:
            continue
        held, _ = chain.view("Authority", "hasRole", role_id, account)
        if held:
            call = Call("Authority", "revokeRole", (role_id, account))
            _change(step, call, f"{names[role_id]} taken from {account}, which the parameters do not name")


def _first_block(step: _Step) -> int:
    return int(step.record.contracts["Authority"]["block"])


def _deployers(step: _Step) -> list[str]:
    """Who began the deployment, and who goes on with it."""
    (first,) = step.record.contracts["Authority"]["arguments"]
    return list(dict.fromkeys([first, step.signer.address]))


def _seat_panel(step: _Step, plan: _Plan) -> None:
    """Oracle operators answer for data together: those that the parameters name, and nobody else."""
    wanted = [address for role, address in plan.holders if role == "oracle operator"]
    seated, quorum, tolerance_bp = step.chain.view("OracleClient", "panel")
    for operator in wanted:
        if operator not in seated:
            _change(step, Call("OracleClient", "setOperator", (operator, True)), f"{operator} joined the oracle panel")
    chosen = (plan.panel.quorum, plan.panel.tolerance_bp)
    if wanted and (quorum, tolerance_bp) != chosen:
        call = Call("OracleClient", "setPanel", chosen)
        _change(step, call, f"oracle panel: quorum {chosen[0]}, tolerance {chosen[1]} basis points")
    for operator in seated:
        if wanted and operator not in wanted:
            _change(step, Call("OracleClient", "setOperator", (operator, False)), f"{operator} left the oracle panel")


def _hand_over(step: _Step, plan: _Plan) -> None:
    """The regulator administers; a deployer that is somebody else keeps nothing, whoever finishes its work."""
    if not _administers(step, plan.regulator):
        call = Call("Authority", "grantRole", (ADMIN, plan.regulator, 0))
        _change(step, call, f"administration granted to the regulator {plan.regulator}")
    for deployer in _deployers(step):
        if deployer == plan.regulator or not _administers(step, deployer):
            continue
        if deployer == step.signer.address:
            call = Call("Authority", "renounceRole", (ADMIN, deployer))
            _change(step, call, f"administration given up by the deployer {deployer}")
        else:
            call = Call("Authority", "revokeRole", (ADMIN, deployer))
            _change(step, call, f"administration taken from the deployer {deployer}")


def _administers(step: _Step, account: str) -> bool:
    held, _ = step.chain.view("Authority", "hasRole", ADMIN, account)
    return bool(held)
