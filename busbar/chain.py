"""The only door to the contracts: reads at a named block, sends transactions, tells errors by name.

Reading gives frozen domain objects, all of one block. Sending always goes the same way: simulate, sign, broadcast,
wait for the receipt. Whoever sends names the call (`Call`) and the signer; nobody else builds a transaction. `Policy`
says how much may be paid, when what is stuck is replaced, and how deep a receipt must lie.

Nonces come from the newest block and never from the pool of pending transactions. A process that was stopped after
sending and is started again therefore reuses the nonce of what is still under way: of the two transactions only one
can ever be included, so nothing happens twice. A replacement takes the same nonce too, whoever sent what it replaces.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import requests
import structlog
from eth_abi.codec import ABICodec
from eth_abi.decoding import UnsignedIntegerDecoder
from eth_abi.encoding import UnsignedIntegerEncoder
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.registry import BaseEquals, registry
from eth_account import Account as EthAccount
from eth_account.signers.local import LocalAccount
from eth_utils.abi import abi_to_signature
from eth_utils.crypto import keccak
from web3 import Web3

from busbar import errors, metrics, tools, words
from busbar.clearing import LongSide, Result
from busbar.orders import Order, OrderId, Side, order_id
from busbar.permits import Permit
from busbar.readings import MeterDomain, Reading, SignedReading, meter_id_bytes, meter_id_text
from busbar.signing import CancelOrder, CancelUpTo, SignedBundle, TradingDomain, Withdraw, pack_batch
from busbar.units import Calendar, Money

TRANSACTION_GAS_CAP = 16_777_216
"""Largest gas limit of a transaction (EIP-7825)."""

LOG_BLOCKS = 2_000
"""Blocks to one search of events."""

ROLL_GAS = 170_000
"""Room for clearing an ended epoch: a call simulated just before an epoch's end may have to do it just after."""

FEE_STEP = (9, 8)
"""A replacement offers an eighth more; nodes take one from a tenth more."""

VIEWS_PAGE = 200
"""Accounts or meters to one view."""

FOLLOWING_GAS = 400_000
"""Gas limit of a call that cannot be simulated, because it depends on one not included yet."""

CONTRACTS = ("Authority", "GridToken", "BahtToken", "Auction", "Trading", "Metering", "Registry", "OracleClient")


RESTING = 2
"""`standing` of an account whose standing orders wait to be rolled."""

log = structlog.get_logger(__name__)


class ChainUnreachableError(errors.BusbarError):
    """The node does not answer. The message names its address and what to do."""

    remedy = errors.Remedy.RETRY


class WrongChainError(errors.BusbarError):
    """The node serves another chain than the deployment is for."""

    remedy = errors.Remedy.STOP


class NotMinedError(errors.BusbarError):
    """A transaction was sent and no block has included it in time; it may still be."""

    remedy = errors.Remedy.RETRY


class UnfitCallError(errors.BusbarError):
    """A value was given that a function's parameter cannot hold: too large, negative, or of another kind."""


class NodeRefusedError(errors.BusbarError):
    """The node refused a request for a reason that is no contract's error."""

    remedy = errors.Remedy.RETRY


class NonceTakenError(NodeRefusedError):
    """The sender's next place is taken: by what it has under way, or by what was included since the look."""


class OutOfFundsError(NodeRefusedError):
    """The sender cannot pay for the gas. Fund it; nothing was sent."""

    remedy = errors.Remedy.ALERT


class FeeCapError(errors.BusbarError):
    """Gas costs more than the settings allow to pay; nothing was sent."""


class DryRun(errors.BusbarError):
    """The call would succeed and was not sent, because the settings say so."""

    remedy = errors.Remedy.RETRY


class NoContractError(errors.BusbarError):
    """Where a contract of the market was looked for stands none, or another one."""

    remedy = errors.Remedy.STOP


class Signer(Protocol):
    """Whoever can sign transactions: a key here, a keystore, an account of ape."""

    @property
    def address(self) -> str:
        """Checksummed address."""

    def sign(self, transaction: dict[str, Any]) -> bytes:
        """The raw signed transaction."""


@dataclass(frozen=True, slots=True)
class KeySigner:
    """A signer whose key is in this process."""

    account: LocalAccount

    @staticmethod
    def from_key(key: bytes | str) -> "KeySigner":
        """A signer for a private key."""
        return KeySigner(EthAccount.from_key(key))

    @property
    def address(self) -> str:
        """Checksummed address."""
        return str(self.account.address)

    def sign(self, transaction: dict[str, Any]) -> bytes:
        """The raw signed transaction."""
        return bytes(self.account.sign_transaction(transaction).raw_transaction)


@dataclass(frozen=True, slots=True)
class Policy:
    """How transactions are sent.

    Attributes:
        confirmations: Blocks that must stand above a receipt before it counts. Bots decide by the chain's state and
            need none; who tells a person "done" may want some.
        replace_after_blocks: Blocks after which what is not included is offered again, at a higher fee if any is paid.
        max_fee_wei: Most that is paid for a unit of gas, in wei; None for no bound.
        priority_fee_wei: What the block's proposer is offered for a unit of gas, in wei.
        dry_run: Simulate everything and send nothing.
    """

    confirmations: int = 0
    replace_after_blocks: int = 5
    max_fee_wei: int | None = None
    priority_fee_wei: int = 0
    dry_run: bool = False


@dataclass(slots=True)
class _Place:
    """A sender's nonce with something under way: ours, or what a process before this one left.

    Attributes:
        since: Newest block when it was last offered.
        transaction: Newest transaction offered; its fees are what a replacement must better.
        raw: The same, signed; empty if the node did not take it.
        hashes: All that may be included there, oldest first.
    """

    signer: Signer
    since: int
    transaction: dict[str, Any]
    raw: str
    hashes: list[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A contract's function with its arguments, and what a person calls it.

    Attributes:
        gas: Limit of gas, for who knows what the call takes; estimated if 0. An estimate costs the node several runs
            of the call, a limit one.
    """

    contract: str
    function: str
    args: tuple[Any, ...] = ()
    label: str = ""
    gas: int = 0

    def __str__(self) -> str:
        """Contract and function."""
        return f"{self.contract}.{self.function}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call.

    Attributes:
        call: The call.
        sender: Who sent it.
        tx_hash: Hash, if it was broadcast.
        block: Number of the block that includes it.
        gas_used: From the receipt.
        logs: Raw logs of the receipt.
        error: Why it failed: the contract's error by name, or another `BusbarError`.
    """

    call: Call
    sender: str
    tx_hash: str | None = None
    block: int = 0
    gas_used: int = 0
    logs: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    error: errors.BusbarError | None = None

    @property
    def ok(self) -> bool:
        """Whether it took effect."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block."""

    number: int
    timestamp: int
    hash: str
    gas_used: int = 0
    gas_limit: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """A contract's event.

    Attributes:
        contract: Name of the contract.
        name: Name of the event.
        args: Its values by name.
        block: Number of its block.
        log_index: Its place in the block.
        tx_hash: Hash of its transaction.
    """

    contract: str
    name: str
    args: dict[str, Any]
    block: int
    log_index: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Account:
    """A participant's trading account, settled as of the block it was read at.

    Attributes:
        status: 0 unknown, 1 active, 2 suspended.
        epoch: Epoch of its newest orders.
        order_count: Orders of that epoch, cancelled ones included, while it is open or something of them rests.
        energy_free_uwh: Free energy in accounting units.
        money_free_units: Free money in money units.
        energy_escrow_uwh: Locked in open or resting asks.
        money_escrow_units: Locked in open or resting bids.
        standing: Of its newest orders: 0 none stands longer than its epoch, 1 one was entered so, 2 what is left
            of them rests.
    """

    address: str
    status: int
    zone: int
    epoch: int
    order_count: int
    nonce: int
    energy_free_uwh: int
    money_free_units: int
    energy_escrow_uwh: int
    money_escrow_units: int
    standing: int = 0


@dataclass(frozen=True, slots=True)
class Imports:
    """A participant's import ledger in Wh, as of the block it was read at."""

    address: str
    period: int
    current_wh: int
    previous_wh: int
    grid_import_wh: int
    auto_retire: bool

    @property
    def outstanding_wh(self) -> int:
        """Import that GRID can still be retired against."""
        return self.current_wh + self.previous_wh


@dataclass(frozen=True, slots=True)
class Register:
    """Newest accepted reading of a meter: end of its interval (Unix seconds) and registers in Wh."""

    meter_id: str
    interval_end: int
    import_wh: int
    export_wh: int


@dataclass(frozen=True, slots=True)
class Meter:
    """A meter's record.

    Attributes:
        key: Address of the public key that its readings are checked against.
        key_type: Curve of the key, by number (`readings.KeyType`).
        status: 0 unknown, 1 active, 2 revoked.
        kind: 1 prosumer, 2 consumer.
        source: Where its export comes from, by number (IRegistry.Source).
        assigned_at: Unix seconds.
        owner: Whose energy it measures.
        rated_import_w: Power limit, W.
        rated_export_w: Power limit, W.
    """

    meter_id: str
    key: str
    key_type: int
    status: int
    kind: int
    source: int
    assigned_at: int
    owner: str
    rated_import_w: int
    rated_export_w: int


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone's state: its newest epoch with orders, and whether that one is cleared."""

    open: bool
    paused: bool
    epoch: int
    cleared: bool
    counted_orders: int
    order_cap: int


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """One order of an account's newest epoch; `order` is None if it was cancelled."""

    order_id: int
    order: Order | None


class _Function(NamedTuple):
    """What encoding a call needs: worked out once, for web3.py's own way takes milliseconds a call."""

    selector: bytes
    inputs: list[str]
    outputs: list[str]


def _to_open_order(order_id: int, is_buy: bool, tick: int, quantity_wh: int, until_epoch: int) -> OpenOrder:
    if not quantity_wh:
        return OpenOrder(order_id, None)
    life = until_epoch - OrderId.parse(order_id).epoch
    return OpenOrder(order_id, Order(Side.BID if is_buy else Side.ASK, tick, quantity_wh, life))


def _functions(abi: Sequence[Any]) -> dict[tuple[str, int], _Function]:
    """A contract's functions by name and number of arguments, which tells ours apart."""
    return {
        (entry["name"], len(entry["inputs"])): _Function(
            keccak(text=abi_to_signature(entry))[:4],
            [_type_of(parameter) for parameter in entry["inputs"]],
            [_type_of(parameter) for parameter in entry["outputs"]],
        )
        for entry in abi
        if entry["type"] == "function"
    }


class _EventKind:
    """One kind of event and how its logs are read; web3.py's own way takes milliseconds a log."""

    def __init__(self, contract: str, name: str, abi: Any) -> None:
        self.contract = contract
        self.name = name
        self._indexed = [parameter for parameter in abi["inputs"] if parameter["indexed"]]
        self._data = [parameter for parameter in abi["inputs"] if not parameter["indexed"]]
        self._data_types = [_type_of(parameter) for parameter in self._data]

    def decode(self, log: dict[str, Any]) -> dict[str, Any]:
        """The event's values by name; structs are dictionaries, addresses have their checksum."""
        values = {
            parameter["name"]: _named(parameter, _decoded([parameter["type"]], bytes.fromhex(topic[2:]))[0])
            for parameter, topic in zip(self._indexed, log["topics"][1:], strict=True)
        }
        data = _decoded(self._data_types, bytes.fromhex(log["data"][2:]))
        values |= {p["name"]: _named(p, value) for p, value in zip(self._data, data, strict=True)}
        return values


def _named(parameter: Any, value: Any) -> Any:
    """A decoded value, its structs turned into dictionaries."""
    if parameter["type"] == "tuple":
        return {c["name"]: _named(c, part) for c, part in zip(parameter["components"], value, strict=True)}
    return _checksummed(_type_of(parameter), value)


class EventKinds:
    """Every kind of event of a market, by where it comes from and its topic.

    Args:
        addresses: Address of each contract by name.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.by_topic = {
            (address.lower(), "0x" + keccak(text=abi_to_signature(entry)).hex()): _EventKind(name, entry["name"], entry)
            for name, address in addresses.items()
            for entry in load_artifact(name)["abi"]
            if entry["type"] == "event"
        }

    def decode(self, logs: Iterable[dict[str, Any]]) -> list[Event]:
        """The events in raw logs; logs of contracts or kinds we do not know are passed over."""
        found = []
        for log in logs:
            kind = self.by_topic.get((log["address"].lower(), str(log["topics"][0]))) if log["topics"] else None
            if kind is not None:
                found.append(
                    Event(
                        kind.contract,
                        kind.name,
                        kind.decode(log),
                        int(log["blockNumber"], 16),
                        int(log["logIndex"], 16),
                        log["transactionHash"],
                    )
                )
        return found


def _strict_codec() -> ABICodec:
    """Coding by the book, whatever else is loaded: with ape in the process eth_abi reads missing bytes as zero."""
    strict = registry.copy()  # type: ignore[no-untyped-call]
    strict.unregister("uint")
    uint = BaseEquals("uint")  # type: ignore[no-untyped-call]
    strict.register(uint, UnsignedIntegerEncoder, UnsignedIntegerDecoder, label="uint")
    return ABICodec(strict)


_ABI = _strict_codec()


def _decoded(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    values = words.decode(types, data)
    return _ABI.decode(types, data) if values is None else values


@cache
def load_artifact(name: str) -> dict[str, Any]:
    """A contract's ABI and bytecode as compiled.

    Raises:
        tools.ToolMissing: The contracts were not compiled.
    """
    path = Path(__file__).parent / "abi" / f"{name}.json"
    try:
        return cast(dict[str, Any], json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise tools.ToolMissing(f"{path} is missing: run `make compile`") from None


def linked(artifact: Mapping[str, Any], addresses: Mapping[str, str]) -> str:
    """An artifact's creation code with the addresses of the libraries it calls put in.

    Raises:
        NoContractError: A library stands nowhere yet: deploy it first.
    """
    code = str(artifact["bytecode"])
    for libraries in artifact.get("linkReferences", {}).values():
        for library, places in libraries.items():
            if library not in addresses:
                raise NoContractError(f"{artifact['contractName']} calls {library}, which is not deployed: do so first")
            for place in places:
                start, end = (2 + 2 * at for at in (place["start"], place["start"] + place["length"]))
                code = code[:start] + addresses[library][2:].lower() + code[end:]
    return code


def _selectors() -> dict[bytes, type[errors.ContractError]]:
    return {keccak(text=signature)[:4]: kind for signature, kind in errors.CONTRACT_ERRORS.items()}


_ERRORS_BY_SELECTOR = _selectors()

_THIS_MACHINE = ("http://127.0.0.1:", "http://localhost:", "http://[::1]:")
"""How addresses of nodes on this machine begin."""


class Node:
    """A JSON-RPC node: single and batched requests, errors by name."""

    def __init__(self, url: str, timeout_s: float = 30) -> None:
        self.url = url
        session = requests.Session()
        # This machine is not reached through the environment's proxies.
        session.trust_env = not self.is_local
        # All requests are alike: made ready once, for that takes longer than an answer.
        kind = {"Content-Type": "application/json", "User-Agent": "busbar"}
        try:
            self._alike = session.prepare_request(requests.Request("POST", url, headers=kind))
            self._adapter = session.get_adapter(url)
        except requests.RequestException as problem:
            raise self._away(problem) from problem
        way = session.merge_environment_settings(url, {}, stream=None, verify=None, cert=None)
        self._way: Mapping[str, Any] = {"timeout": timeout_s, **way}

    @property
    def is_local(self) -> bool:
        """Whether the node runs on this machine."""
        return self.url.startswith(_THIS_MACHINE)

    def request(self, method: str, *params: Any) -> Any:
        """The result of one request.

        Raises:
            ChainUnreachableError: No answer.
            BusbarError: The node refused: a contract's error by name, or `NodeRefusedError`.
        """
        result = self.batch([(method, params)])[0]
        if isinstance(result, errors.BusbarError):
            raise result
        return result

    def batch(self, calls: Sequence[tuple[str, Sequence[Any]]], size: int = 200) -> list[Any]:
        """Results of many requests in order; a refused one gives its error as the result.

        Raises:
            ChainUnreachableError: No answer.
        """
        results: list[Any] = []
        for start in range(0, len(calls), size):
            part = [
                {"jsonrpc": "2.0", "id": number, "method": method, "params": list(params)}
                for number, (method, params) in enumerate(calls[start : start + size])
            ]
            try:
                answers = json.loads(self._post(json.dumps(part).encode()))
            except (requests.RequestException, OSError) as problem:
                raise self._away(problem) from problem
            except ValueError as problem:
                raise NodeRefusedError(
                    f"{self.url} is no node, for its answer is not JSON: name another address"
                ) from problem
            # A node may answer in any order.
            by_id = {str(answer.get("id")): answer for answer in answers} if _are_objects(answers) else {}
            if by_id.keys() != set(map(str, range(len(part)))) or len(answers) != len(part):
                raise NodeRefusedError(f"{self.url} answered a batch with {_one_line(str(answers))[:200]}")
            results += [_result(by_id[str(number)]) for number in range(len(part))]
        return results

    def _post(self, body: bytes) -> bytes:
        request = self._alike.copy()
        request.url, request.body = self.url, body
        request.headers["Content-Length"] = str(len(body))
        answer = self._adapter.send(request, **self._way)
        told = answer.content
        answer.raise_for_status()
        return told

    def _away(self, problem: Exception) -> ChainUnreachableError:
        return ChainUnreachableError(
            f"no node answers at {self.url} ({type(problem).__name__}): start one with `make devnet`, "
            "or name another address"
        )


def _are_objects(answers: Any) -> bool:
    return isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers)


def _result(answer: Any) -> Any:
    if "error" not in answer:
        return answer["result"]
    error = answer["error"]
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data")
    if isinstance(data, str) and data.startswith("0x"):
        return decode_revert(bytes.fromhex(data[2:]))
    told = _one_line(str(error.get("message", error)))
    kind = next((kind for words, kind in _REFUSALS.items() if words in told.lower()), NodeRefusedError)
    return kind(f"the node refused: {told}")


_REFUSALS: dict[str, type[NodeRefusedError]] = {
    "insufficient funds": OutOfFundsError,
    "nonce too low": NonceTakenError,
    "underpriced": NonceTakenError,
    "could not replace": NonceTakenError,
}
"""What nodes (anvil, geth, besu, nethermind, reth) say when they refuse a transaction."""

_KNOWN = ("already known", "already imported", "known transaction")
"""What nodes say of a transaction they have taken before."""


def _one_line(text: str) -> str:
    return " ".join(text.split())


def decode_revert(data: bytes) -> errors.BusbarError:
    """The named error in revert data: a contract's custom error, or what Solidity itself says.

    Data that does not fit its selector is kept as it is: it comes from a contract that is none of ours.
    """
    try:
        return _decode_known(data[:4], data[4:]) or errors.UnknownRevert(data)
    except (DecodingError, ValueError, OverflowError):
        return errors.UnknownRevert(data)


def _decode_known(selector: bytes, data: bytes) -> errors.BusbarError | None:
    kind = _ERRORS_BY_SELECTOR.get(selector)
    if kind is not None:
        types = kind.signature[kind.signature.index("(") + 1 : -1]
        return kind(*_ABI.decode(types.split(",") if types else [], data))
    if selector == bytes.fromhex("08c379a0"):
        return NodeRefusedError(f"the contract refused: {_one_line(_ABI.decode(['string'], data)[0])}")
    if selector == bytes.fromhex("4e487b71"):
        return NodeRefusedError(f"the contract panicked with code 0x{_ABI.decode(['uint256'], data)[0]:02x}")
    return None


class Chain:
    """The market on a chain.

    Args:
        url: The node's HTTP address.
        addresses: Address of each contract by name; empty to deploy first.
        chain_id: Chain the addresses are for; checked against the node at once.
        after_send: Called after every broadcast. A replay mines a block here; elsewhere blocks come by themselves.
        timeout_s: Longest wait for a receipt.
        request_timeout_s: Longest wait for an answer of the node.
        policy: How transactions are sent.
    """

    def __init__(
        self,
        url: str,
        addresses: dict[str, str] | None = None,
        *,
        chain_id: int | None = None,
        after_send: Callable[[], None] | None = None,
        timeout_s: float = 60,
        request_timeout_s: float = 30,
        policy: Policy | None = None,
    ) -> None:
        self.node = Node(url, request_timeout_s)
        self.after_send = after_send
        self.timeout_s = timeout_s
        self.policy = policy or Policy()
        self._places: dict[tuple[str, int], _Place] = {}
        self._last: Head | None = None
        self.reorganisations = 0
        """How often the newest block seen was found gone."""
        self.addresses: dict[str, str] = {}
        self._functions: dict[str, dict[tuple[str, int], _Function]] = {}
        self.chain_id = int(self.node.request("eth_chainId"), 16)
        if chain_id is not None and chain_id != self.chain_id:
            raise WrongChainError(f"{url} serves chain {self.chain_id}, not {chain_id}: name another node")
        for name, address in (addresses or {}).items():
            self.attach(name, address)

    def attach(self, name: str, address: str) -> None:
        """Names a contract's address."""
        self.addresses[name] = str(Web3.to_checksum_address(address))
        self._functions[name] = _functions(load_artifact(name)["abi"])
        self.__dict__.pop("_event_kinds", None)

    # ------------------------------------------------------------------ reading

    def head(self) -> Head:
        """The newest block. A chain that was reorganised, or is behind what it was, is told in the log and counted.

        Raises:
            WrongChainError: The node serves another chain than when it was first asked.
        """
        calls: list[tuple[str, list[Any]]] = [("eth_chainId", []), ("eth_getBlockByNumber", ["latest", False])]
        if self._last is not None:
            calls.append(("eth_getBlockByNumber", [hex(self._last.number), False]))
        chain_id, newest, *before = self.node.batch(calls)
        self._check_chain(chain_id)
        head = _head(newest)
        if self._last is not None and (before[0] is None or _head(before[0]).hash != self._last.hash):
            metrics.REORGS.inc()
            self.reorganisations += 1
            log.warning("the chain went back", seen=self._last.number, newest=head.number)
        self._last = head
        metrics.HEIGHT.set(head.number)
        metrics.HEAD_TIME.set(head.timestamp)
        return head

    def _check_chain(self, answer: Any) -> None:
        if isinstance(answer, errors.BusbarError):
            raise answer
        if int(answer, 16) != self.chain_id:
            raise WrongChainError(f"{self.node.url} serves chain {int(answer, 16)}, not {self.chain_id}: name another")

    def read(self, calls: Sequence[Call], block: int | None = None, sender: str | None = None) -> list[Any]:
        """Return values of view calls at one block (the newest, if none is named), in one request.

        Raises:
            NoContractError: A contract does not stand where it was looked for.
            BusbarError: A contract refused, or the node.
        """
        at = "latest" if block is None else hex(block)
        origin = {"from": sender} if sender else {}
        requests_ = [
            ("eth_call", [{"to": self.addresses[call.contract], "data": self._encode(call), **origin}, at])
            for call in calls
        ]
        values = []
        for call, result in zip(calls, self.node.batch(requests_), strict=True):
            if isinstance(result, errors.BusbarError):
                raise result
            values.append(self._decode(call, bytes.fromhex(result[2:])))
        return values

    def view(self, contract: str, function: str, *args: Any, block: int | None = None) -> Any:
        """Return value of one view call."""
        return self.read([Call(contract, function, args)], block)[0]

    @cached_property
    def calendar(self) -> Calendar:
        """Epochs of this market."""
        genesis, seconds = self.read([Call("Trading", "genesis"), Call("Trading", "epochSeconds")])
        return Calendar(genesis, seconds)

    @cached_property
    def money(self) -> Money:
        """Money units of this market."""
        return Money(self.view("Trading", "tickWei"))

    @cached_property
    def meter_domain(self) -> MeterDomain:
        """What meters of this market sign for."""
        return MeterDomain(self.chain_id, self.addresses["Metering"])

    @cached_property
    def trading_domain(self) -> TradingDomain:
        """What participants of this market sign for."""
        return TradingDomain(self.chain_id, self.addresses["Trading"])

    def accounts(self, addresses: Sequence[str], block: int | None = None) -> list[Account]:
        """Trading accounts, settled as of the block."""
        views = self._of("Trading", "accountsOf", addresses, block)
        return [Account(address, *values) for address, values in zip(addresses, views, strict=True)]

    def imports(self, addresses: Sequence[str], block: int | None = None) -> list[Imports]:
        """Import ledgers as of the block."""
        views = self._of("Metering", "importsOf", addresses, block)
        return [Imports(address, *values) for address, values in zip(addresses, views, strict=True)]

    def _of(self, contract: str, function: str, subjects: Sequence[Any], block: int | None) -> list[Any]:
        """Views of many accounts or meters: a node gives a call no more gas than a block has, so a page at a time."""
        starts = range(0, len(subjects), VIEWS_PAGE)
        if block is None and len(starts) > 1:
            block = self.head().number
        calls = [Call(contract, function, (list(subjects[start : start + VIEWS_PAGE]),)) for start in starts]
        return [view for views in self.read(calls, block) for view in views]

    def registers(self, meter_ids: Sequence[str], block: int | None = None) -> list[Register]:
        """Newest accepted readings."""
        views = self._of("Metering", "registersOf", [meter_id_bytes(m) for m in meter_ids], block)
        return [Register(meter_id, *values) for meter_id, values in zip(meter_ids, views, strict=True)]

    def meters(self, meter_ids: Sequence[str], block: int | None = None) -> list[Meter]:
        """Records of meters."""
        records = self.read([Call("Registry", "meterOf", (meter_id_bytes(m),)) for m in meter_ids], block)
        return [Meter(meter_id, *values) for meter_id, values in zip(meter_ids, records, strict=True)]

    def zone(self, zone: int, block: int | None = None) -> Zone:
        """A zone's state."""
        return Zone(*self.view("Trading", "zoneOf", zone, block=block))

    def clearing_due(self, zone: int, block: int | None = None) -> int | None:
        """The ended epoch that waits to be cleared, if any."""
        due, epoch = self.view("Trading", "clearingDue", zone, block=block)
        return int(epoch) if due else None

    def results(self, zone: int, epochs: Sequence[int], block: int | None = None) -> list[Result]:
        """Outcomes of ended epochs."""
        calls = [Call("Trading", "resultOf", (zone, epoch)) for epoch in epochs]
        return [_to_result(values) for values in self.read(calls, block)]

    def indicative(self, zone: int, block: int | None = None) -> Result:
        """What the open book would clear at."""
        return _to_result(self.view("Trading", "indicativeResult", zone, block=block))

    def book(self, zone: int, block: int | None = None) -> tuple[dict[int, int], dict[int, int]]:
        """Open bids and asks: Wh by tick, empty ticks left out."""
        bids, asks = self.view("Trading", "book", zone, block=block)
        return _by_tick(bids), _by_tick(asks)

    def orders(self, address: str, block: int | None = None) -> list[OpenOrder]:
        """Orders of the account's newest epoch that are open, or ended and unsettled; of standing ones what rests."""
        return [_to_open_order(*values) for values in self.view("Trading", "ordersOf", address, block=block)]

    def participants(self, block: int | None = None) -> list[str]:
        """Accounts of all participants, in order of registration."""
        return self._pages("userCount", "users", block)

    def meter_ids(self, block: int | None = None) -> list[str]:
        """Ids of all meters, in order of assignment."""
        return [meter_id_text(m) for m in self._pages("meterCount", "meters", block)]

    def _pages(self, count: str, page: str, block: int | None, size: int = 500) -> list[Any]:
        total = self.view("Registry", count, block=block)
        calls = [Call("Registry", page, (offset, size)) for offset in range(0, total, size)]
        return [entry for values in self.read(calls, block) for entry in values]

    def events_paged(
        self,
        names: Sequence[tuple[str, str]],
        first_block: int,
        last_block: int,
        accounts: Sequence[str] | None = None,
        page: int = LOG_BLOCKS,
    ) -> Iterator[Event]:
        """As `events`, over any number of blocks: nodes bound how many are looked through at a time, here `page`."""
        for first in range(first_block, last_block + 1, page):
            yield from self.events(names, first, min(first + page - 1, last_block), accounts)

    def events(
        self,
        names: Iterable[tuple[str, str]],
        first_block: int,
        last_block: int,
        accounts: Sequence[str] | None = None,
    ) -> list[Event]:
        """Events of the named kinds (contract, event), in order of the chain.

        Args:
            names: The kinds.
            first_block: From here.
            last_block: Up to here.
            accounts: Only those whose first indexed value is one of these addresses.
        """
        wanted = set(names)
        topics: dict[str, list[str]] = {}
        for (contract, topic), kind in self._event_kinds.by_topic.items():
            if (kind.contract, kind.name) in wanted:
                topics.setdefault(contract, []).append(topic)
        whose = [] if accounts is None else [["0x" + account[2:].lower().rjust(64, "0") for account in accounts]]
        found: list[Event] = []
        for address, first in topics.items():
            query = {
                "address": address,
                "topics": [first, *whose],
                "fromBlock": hex(first_block),
                "toBlock": hex(last_block),
            }
            found += self.decode_logs(self.node.request("eth_getLogs", query))
        return sorted(found, key=lambda event: (event.block, event.log_index))

    def decode_logs(self, logs: Iterable[dict[str, Any]]) -> list[Event]:
        """The events in raw logs; logs of contracts or kinds we do not know are passed over."""
        return self._event_kinds.decode(logs)

    @cached_property
    def _event_kinds(self) -> "EventKinds":
        return EventKinds(self.addresses)

    # ------------------------------------------------------------------ sending

    def send(self, signer: Signer, call: Call) -> Outcome:
        """Sends one call and waits for its receipt.

        Raises:
            BusbarError: The simulation or the transaction was refused (a contract's error by name), the node
                does not answer, or no block included it in time.
        """
        outcome = self.send_many([(signer, call)])[0]
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def refusal_in_pool(self, sender: str, call: Call) -> errors.BusbarError | None:
        """What a call would be refused with once all that waits for a block is included; None if it would succeed.

        Nodes differ in what they know of the pool: this may spare a transaction and must decide nothing else.
        """
        request = {"from": sender, "to": self.addresses[call.contract], "data": self._encode(call)}
        answer = self.node.batch([("eth_call", [request, "pending"])])[0]
        return answer if isinstance(answer, errors.BusbarError) else None

    def nonces(self, addresses: Iterable[str], block: int | None = None) -> dict[str, int]:
        """Transactions of each address that are included: the nonce of its next one."""
        unique = list(dict.fromkeys(addresses))
        at = "latest" if block is None else hex(block)
        return _nonces(unique, self.node.batch([("eth_getTransactionCount", [address, at]) for address in unique]))

    def send_many(self, batch: Sequence[tuple[Signer, Call]], nonces: Mapping[str, int] | None = None) -> list[Outcome]:
        """Sends calls together and waits for their receipts; each has its own outcome.

        Each call is simulated on the newest block, so calls of one batch must not depend on each other. A refused
        one is not broadcast and disturbs none of the others.

        Args:
            batch: Who sends what.
            nonces: Next nonce by sender, read before anything else that the decision to send was made on. The node
                then refuses a sender of whom anything was included since, by a process stopped a moment ago, say:
                what is not harmless to repeat needs this. Read first, because a node may answer for a later block
                than it was asked for (anvil does while it mines): the nonce must never be newer than what was seen.
        """
        if not batch:
            return []
        outcomes: list[Outcome | None] = [None] * len(batch)
        asked = [{"to": self.addresses[call.contract], "data": self._encode(call)} for _, call in batch]
        simulations = [_simulation(s, call, to) for (s, call), to in zip(batch, asked, strict=True)]
        chain_id, *answers = self.node.batch([("eth_chainId", []), *simulations])
        self._check_chain(chain_id)
        gas: list[Any] = [
            answer if isinstance(answer, errors.BusbarError) else call.gas or _with_room(int(answer, 16))
            for answer, (_, call) in zip(answers, batch, strict=True)
        ]
        going: list[int] = []
        for i, (signer, call) in enumerate(batch):
            if isinstance(gas[i], errors.BusbarError):
                outcomes[i] = Outcome(call, signer.address, error=gas[i])
            elif self.policy.dry_run:
                told = f"dry run: {call} would be sent, with a limit of {gas[i]} gas"
                outcomes[i] = Outcome(call, signer.address, error=DryRun(told))
            else:
                going.append(i)
        sent = self.broadcast([(batch[i][0], asked[i] | {"gas": gas[i]}) for i in going], nonces)
        receipts = self._receipts([tx for tx in sent if isinstance(tx, str)])
        for i, tx in zip(going, sent, strict=True):
            signer, call = batch[i]
            if isinstance(tx, errors.BusbarError):
                outcomes[i] = Outcome(call, signer.address, error=tx)
            else:
                outcomes[i] = self._outcome(signer, call, tx, receipts.get(tx))
        done = [cast(Outcome, outcome) for outcome in outcomes]
        for outcome in done:
            metrics.TRANSACTIONS.labels(str(outcome.call), _kind(outcome.error)).inc()
            metrics.GAS.labels(str(outcome.call)).inc(outcome.gas_used)
        return done

    def payloads(self, sender: str, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """Transactions for somebody else to sign and send in this order: what `send` would have signed.

        The first is simulated. What follows depends on it and cannot be, so it gets a fixed limit of gas.

        Raises:
            BusbarError: The first was refused (a contract's error by name), or the node does not answer.
        """
        nonce = self.nonces([sender])[sender]
        head = self.node.request("eth_getBlockByNumber", "latest", False)
        data = [self._encode(call) for call in calls]
        first = {"from": sender, "to": self.addresses[calls[0].contract], "data": data[0]}
        gas = int(self.node.request("eth_estimateGas", first, "latest"), 16) * 5 // 4 + ROLL_GAS
        return [
            {
                "chainId": self.chain_id,
                "from": sender,
                "to": self.addresses[call.contract],
                "data": data[place],
                "value": 0,
                "nonce": nonce + place,
                "gas": min(gas, TRANSACTION_GAS_CAP) if place == 0 else FOLLOWING_GAS,
                "maxFeePerGas": int(head.get("baseFeePerGas", "0x0"), 16) * 2,
                "maxPriorityFeePerGas": 0,
                "type": 2,
            }
            for place, call in enumerate(calls)
        ]

    def pass_on(self, raw: bytes, sender: str, to: str, data: bytes) -> str:
        """Simulates a transaction that somebody else signed, broadcasts it and returns its hash.

        Args:
            raw: The signed transaction.
            sender: Who signed it.
            to: The contract it calls.
            data: Its input.

        Raises:
            BusbarError: It was refused (a contract's error by name), or the node does not answer.
        """
        self.node.request("eth_call", {"from": sender, "to": to, "data": "0x" + data.hex()}, "latest")
        sent = str(self.node.request("eth_sendRawTransaction", "0x" + raw.hex()))
        if self.after_send is not None:
            self.after_send()
        return sent

    def deploy(self, signer: Signer, name: str, args: Sequence[Any]) -> tuple[str, str, int]:
        """Creates a contract and returns its address, the transaction's hash and the block.

        Raises:
            BusbarError: The constructor refused, or the node.
        """
        artifact = load_artifact(name)
        constructor: Any = next((e for e in artifact["abi"] if e["type"] == "constructor"), {"inputs": []})
        data = (
            linked(artifact, self.addresses)
            + _ABI.encode([_type_of(p) for p in constructor["inputs"]], list(args)).hex()
        )
        gas = int(self.node.request("eth_estimateGas", {"from": signer.address, "data": data}), 16)
        sent = self.broadcast([(signer, {"data": data, "gas": min(gas * 5 // 4, TRANSACTION_GAS_CAP)})])[0]
        if isinstance(sent, errors.BusbarError):
            raise sent
        receipt = self._receipts([sent]).get(sent)
        outcome = self._outcome(signer, Call(name, "constructor", tuple(args)), sent, receipt)
        if outcome.error is not None:
            raise outcome.error
        address = Web3.to_checksum_address(cast(dict[str, Any], receipt)["contractAddress"])
        self.attach(name, address)
        return address, sent, outcome.block

    def broadcast(
        self, transactions: Sequence[tuple[Signer, dict[str, Any]]], nonces: Mapping[str, int] | None = None
    ) -> list[Any]:
        """Signs and broadcasts raw transactions; each result is a hash, or the error it was refused with.

        Nonces are those of the newest block, or the named ones; then what follows a refused transaction of the same
        sender is not sent, for it would take the place of what the sender has under way.
        """
        if not transactions:
            return []
        block, following = self._newest(() if nonces is not None else (signer.address for signer, _ in transactions))
        following |= nonces or {}
        self._places = {(who, n): p for (who, n), p in self._places.items() if n >= following.get(who, 0)}
        head, fees = _head(block), self._fees(int(block.get("baseFeePerGas", "0x0"), 16))
        places: list[_Place] = []
        rounds: dict[int, list[int]] = {}
        earlier: dict[str, int] = {}
        for i, (signer, request) in enumerate(transactions):
            nonce = following[signer.address]
            transaction = {"chainId": self.chain_id, "nonce": nonce, "value": 0, "type": 2, **fees, **request}
            before = self._places.get((signer.address, nonce))
            if before is not None and head.number >= before.since + self.policy.replace_after_blocks:
                transaction |= self._higher(before.transaction, fees) or {}
            following[signer.address] += 1
            raw = "0x" + signer.sign(transaction).hex()
            places.append(_Place(signer, head.number, transaction, raw, [] if before is None else list(before.hashes)))
            turn = earlier.get(signer.address, -1) + 1 if nonces is not None else 0
            earlier[signer.address] = turn
            rounds.setdefault(turn, []).append(i)
        sent: list[Any] = [None] * len(transactions)
        refused: dict[str, errors.BusbarError] = {}
        for turn in sorted(rounds):
            going = [i for i in rounds[turn] if transactions[i][0].address not in refused]
            answers = self.node.batch([("eth_sendRawTransaction", [places[i].raw]) for i in going])
            for i, answer in zip(going, answers, strict=True):
                sent[i] = self._placed(places[i], answer)
                if nonces is not None and isinstance(sent[i], errors.BusbarError):
                    refused[transactions[i][0].address] = sent[i]
            for i in rounds[turn]:
                if sent[i] is None:
                    sent[i] = refused[transactions[i][0].address]
        if self.after_send is not None:
            self.after_send()
        return sent

    def _newest(self, addresses: Iterable[str]) -> tuple[Any, dict[str, int]]:
        """The newest block as the node tells it, and the next nonces of these addresses there, in one request."""
        unique = list(dict.fromkeys(addresses))
        block, *counts = self.node.batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                *(("eth_getTransactionCount", [address, "latest"]) for address in unique),
            ]
        )
        if isinstance(block, errors.BusbarError):
            raise block
        return block, _nonces(unique, counts)

    def _fees(self, base_fee_wei: int) -> dict[str, int]:
        """What a unit of gas is offered: room for six blocks of rising base fee, within the cap.

        Permissioned chains run at zero gas price.
        """
        tip_wei, cap_wei = self.policy.priority_fee_wei, self.policy.max_fee_wei
        most_wei = base_fee_wei * 2 + tip_wei
        if cap_wei is not None:
            if base_fee_wei > cap_wei:
                raise FeeCapError(
                    f"a unit of gas costs {base_fee_wei} wei and max_fee_wei is {cap_wei}: wait, or allow more"
                )
            most_wei = min(most_wei, cap_wei)
        return {"maxFeePerGas": most_wei, "maxPriorityFeePerGas": min(tip_wei, most_wei)}

    def _higher(self, before: Mapping[str, Any], fees: Mapping[str, int]) -> dict[str, int] | None:
        """Fees that replace a transaction; None if the cap is in the way or nothing is paid for gas here."""
        times, by = FEE_STEP
        raised = {name: max(before[name] * times // by + 1, fees[name]) for name in fees}
        cap_wei = self.policy.max_fee_wei
        if before["maxFeePerGas"] == 0 or (cap_wei is not None and raised["maxFeePerGas"] > cap_wei):
            return None
        return raised

    def _placed(self, place: _Place, answer: Any) -> Any:
        """The hash under which the node took a transaction, or its refusal; remembers what is under way there."""
        key = (place.signer.address, int(place.transaction["nonce"]))
        if isinstance(answer, NodeRefusedError) and any(words in str(answer).lower() for words in _KNOWN):
            log.info("under way already", account=key[0], nonce=key[1])
            answer = "0x" + keccak(hexstr=place.raw).hex()
        if isinstance(answer, errors.BusbarError):
            if isinstance(answer, NonceTakenError) and key not in self._places:
                self._places[key] = _Place(place.signer, place.since, place.transaction, "", [])
            return answer
        place.hashes.append(answer)
        self._places[key] = place
        return answer

    def _receipts(self, hashes: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Receipts by the hash first sent, of that transaction or of one that replaced it."""
        receipts: dict[str, dict[str, Any]] = {}
        seen: dict[str, str] = {}
        places = {tx: place for place in self._places.values() for tx in place.hashes}
        deadline = time.monotonic() + self.timeout_s
        waiting = list(hashes)
        while waiting:
            tries = [(tx, offered) for tx in waiting for offered in (places[tx].hashes if tx in places else [tx])]
            height, *answers = self.node.batch(
                [("eth_blockNumber", []), *(("eth_getTransactionReceipt", [offered]) for _, offered in tries)]
            )
            if isinstance(height, errors.BusbarError):
                raise height
            newest = int(height, 16)
            found = {tx: a for (tx, _), a in zip(tries, answers, strict=True) if isinstance(a, dict)}
            for tx in waiting:
                if tx in found and newest >= int(found[tx]["blockNumber"], 16) + self.policy.confirmations:
                    receipts[tx] = found[tx]
                    continue
                gone = tx in seen and (tx not in found or found[tx]["blockHash"] != seen[tx])
                if gone:
                    metrics.RECEIPTS_LOST.inc()
                    log.warning("a receipt has disappeared: the chain was reorganised", transaction=tx)
                    del seen[tx]
                if tx in found:
                    seen[tx] = found[tx]["blockHash"]
                elif tx in places and (gone or newest >= places[tx].since + self.policy.replace_after_blocks):
                    self._offer_again(places[tx], newest)
            waiting = [tx for tx in waiting if tx not in receipts]
            if waiting and time.monotonic() > deadline:
                break
            if waiting:
                time.sleep(0.05)
        return receipts

    def _offer_again(self, place: _Place, newest: int) -> None:
        """Offers what is stuck once more: at a higher fee, or as it is where the fee is not what keeps it."""
        place.since = newest
        block = self.node.request("eth_getBlockByNumber", "latest", False)
        try:
            higher = self._higher(place.transaction, self._fees(int(block.get("baseFeePerGas", "0x0"), 16)))
        except FeeCapError:
            higher = None
        transaction = place.transaction | (higher or {})
        raw = "0x" + place.signer.sign(transaction).hex() if higher else place.raw
        answer = self.node.batch([("eth_sendRawTransaction", [raw])])[0]
        if isinstance(answer, errors.BusbarError):
            # Known already, or included a moment ago: the next look at the receipts tells.
            log.debug("not taken again", reason=str(answer))
            return
        log.warning("offered again", nonce=transaction["nonce"], max_fee_wei=transaction["maxFeePerGas"])
        metrics.REPLACED.inc()
        place.transaction, place.raw = transaction, raw
        if answer not in place.hashes:
            place.hashes.append(answer)

    def _outcome(self, signer: Signer, call: Call, tx: str, receipt: dict[str, Any] | None) -> Outcome:
        if receipt is None:
            problem = NotMinedError(f"{call} ({tx}) was not included within {self.timeout_s:.0f} s; it may still be")
            return Outcome(call, signer.address, tx, error=problem)
        tx = str(receipt["transactionHash"])
        block, gas_used = int(receipt["blockNumber"], 16), int(receipt["gasUsed"], 16)
        if int(receipt["status"], 16) == 1:
            return Outcome(call, signer.address, tx, block, gas_used, tuple(receipt["logs"]))
        return Outcome(call, signer.address, tx, block, gas_used, error=self._why(tx, block))

    def _why(self, tx: str, block: int) -> errors.BusbarError:
        """The error of an included transaction that failed: it is called again.

        First on the block before; what others did in the same block before it shows on the block itself.
        """
        sent = self.node.request("eth_getTransactionByHash", tx)
        request = {"from": sent["from"], "to": sent["to"], "data": sent["input"], "gas": sent["gas"]}
        for again in self.node.batch([("eth_call", [request, hex(at)]) for at in (block - 1, block)]):
            if isinstance(again, errors.BusbarError):
                return again
        return NodeRefusedError(f"transaction {tx} failed in block {block} and would not fail on the block before")

    def _encode(self, call: Call) -> str:
        function = self._functions[call.contract][(call.function, len(call.args))]
        try:
            return "0x" + (function.selector + _ABI.encode(function.inputs, call.args)).hex()
        except EncodingError as problem:
            raise UnfitCallError(f"{call} takes no such value: {problem}") from None

    def _decode(self, call: Call, data: bytes) -> Any:
        types = self._functions[call.contract][(call.function, len(call.args))].outputs
        try:
            decoded = _decoded(types, data)
        except (DecodingError, ValueError, OverflowError):
            stands = "another contract" if data else "no contract"
            address = self.addresses[call.contract]
            raise NoContractError(f"{call} has no answer: {stands} stands at {address}; deploy again") from None
        values = [_checksummed(kind, value) for kind, value in zip(types, decoded, strict=True)]
        return values[0] if len(values) == 1 else tuple(values)

    # ------------------------------------------------------------------- verbs

    def submit_readings_call(self, readings: Sequence[SignedReading]) -> Call:
        """The call that takes signed readings in: those of P-256 meters last, each with its public key."""
        ordered = sorted(readings, key=lambda s: bool(s.public_key))
        keys = [(s.public_key[:32], s.public_key[32:]) for s in ordered if s.public_key]
        entries = [
            (
                meter_id_bytes(s.reading.meter_id),
                s.reading.interval_end,
                s.reading.import_wh,
                s.reading.export_wh,
                s.r,
                s.vs,
            )
            for s in ordered
        ]
        return Call("Metering", "submitReadings", (entries, keys), label="readings")


def readings_in(data: bytes) -> list[SignedReading]:
    """The signed readings that a minter handed in with a transaction's input.

    Entries that are no reading of any meter are left out, and an input of another kind has none.
    """
    known = _functions(load_artifact("Metering")["abi"])
    kind = next(found for (name, _), found in known.items() if name == "submitReadings")
    if data[:4] != kind.selector:
        return []
    try:
        entries, keys = _ABI.decode(kind.inputs, data[4:])
    except (DecodingError, ValueError, OverflowError):
        return []
    # The keys are those of the last readings.
    public_keys = [b""] * (len(entries) - len(keys)) + [x + y for x, y in keys]
    return list(_signed_readings(zip(entries, public_keys, strict=False)))


def reading_delivered(data: bytes) -> SignedReading | None:
    """The signed reading that an oracle operator answered with, as `EnergyDataFulfilled` tells; None if it is none."""
    try:
        (entry,) = _ABI.decode([_SIGNED_READING], data)
        public_key = (
            b"" if len(data) <= _READING_BYTES else b"".join(_ABI.decode([_SIGNED_READING, _P256_KEY], data)[1])
        )
    except (DecodingError, ValueError, OverflowError):
        return None
    return next(_signed_readings([(entry, public_key)]), None)


def _signed_readings(entries: Iterable[tuple[Any, bytes]]) -> Iterator[SignedReading]:
    for (meter_id, interval_end, import_wh, export_wh, r, vs), public_key in entries:
        with contextlib.suppress(errors.BusbarError):
            reading = Reading(meter_id_text(meter_id), interval_end, import_wh, export_wh)
            yield SignedReading(reading, r, vs, public_key)


_SIGNED_READING = "(bytes32,uint64,uint64,uint64,bytes32,bytes32)"
_P256_KEY = "(bytes32,bytes32)"
_READING_BYTES = 6 * 32


def create_orders_call(orders: Sequence[Order]) -> Call:
    """The call that enters orders, all or none."""
    return Call("Trading", "createOrders", ([order.pack() for order in orders],), label="orders")


def _head(block: Any) -> Head:
    if isinstance(block, errors.BusbarError):
        raise block
    if not isinstance(block, dict):
        raise NodeRefusedError("the node knows no newest block: it is starting or behind")
    used, limit = (int(block.get(name, "0x0"), 16) for name in ("gasUsed", "gasLimit"))
    return Head(int(block["number"], 16), int(block["timestamp"], 16), block["hash"], used, limit)


def _simulation(signer: Signer, call: Call, asked: Mapping[str, str]) -> tuple[str, list[Any]]:
    """The request that tries a call on the newest block and nothing else.

    Some nodes would take what waits for a block for granted, and it may never come.
    """
    request = {"from": signer.address, **asked}
    if call.gas:
        return "eth_call", [request | {"gas": hex(call.gas)}, "latest"]
    return "eth_estimateGas", [request, "latest"]


def _nonces(addresses: Sequence[str], counts: Sequence[Any]) -> dict[str, int]:
    for count in counts:
        if isinstance(count, errors.BusbarError):
            raise count
    return {address: int(count, 16) for address, count in zip(addresses, counts, strict=True)}


def _with_room(gas: int) -> int:
    """A limit for a call that took so much when it was tried: a quarter more, and room for clearing."""
    return min(gas * 5 // 4 + ROLL_GAS, TRANSACTION_GAS_CAP)


def _kind(error: errors.BusbarError | None) -> str:
    """What a metric calls an outcome."""
    return "done" if error is None else type(error).__name__


def enter_bundles_call(zone: int, bundles: Sequence[SignedBundle]) -> Call:
    """The call that enters signed bundles, in this order; those that may not enter are skipped.

    Raises:
        errors.BatchTooLarge: They are more than one call takes.
    """
    return Call("Trading", "enterBundles", (zone, pack_batch(bundles)), label="bundles")


def cancel_order_for_call(message: CancelOrder, signature: bytes) -> Call:
    """The call that brings somebody's signed cancel of an order."""
    number = order_id(message.account, message.epoch, message.index)
    return Call("Trading", "cancelOrderFor", (number, message.order.pack(), signature), label="signed cancel")


def cancel_up_to_for_call(message: CancelUpTo, signature: bytes) -> Call:
    """The call that brings somebody's signed cancel of messages."""
    return Call("Trading", "cancelUpToFor", (message.account, message.nonce, signature), label="signed cancel")


def withdraw_for_call(message: Withdraw, signature: bytes) -> Call:
    """The call that brings somebody's signed withdrawal."""
    args = (message.account, message.asset, message.amount_wei, message.to, message.nonce, message.deadline, signature)
    return Call("Trading", "withdrawFor", args, label="signed withdrawal")


def deposit_for_call(permit: Permit, vrs: tuple[int, bytes, bytes]) -> Call:
    """The call that brings somebody's tokens into the market, by a permit and its signature's v, r and s."""
    args = (permit.account, permit.asset, permit.amount_wei, permit.deadline, *vrs)
    return Call("Trading", "depositWithPermitFor", args, label="signed deposit")


def _type_of(output: Any) -> str:
    """An ABI output's type with tuples spelled out."""
    kind = str(output["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type_of(component) for component in output["components"])
    return f"({inner}){kind[len('tuple') :]}"


def _checksummed(kind: str, value: Any) -> Any:
    """A decoded value with its addresses in checksum form, in which the rest of Python compares them."""
    if "address" not in kind:
        return value
    if kind == "address":
        return _checksum(value)
    if kind.endswith("]"):
        return tuple(_checksummed(kind[: kind.rindex("[")], entry) for entry in value)
    inner = split_tuple(kind)
    return tuple(_checksummed(part, entry) for part, entry in zip(inner, value, strict=True))


@lru_cache(maxsize=65_536)
def _checksum(address: str) -> str:
    return str(Web3.to_checksum_address(address))


def split_tuple(kind: str) -> list[str]:
    """The types inside a tuple's type: `(address,(uint8,bool)[])` gives `address` and `(uint8,bool)[]`."""
    parts, depth, start = [], 0, 1
    for i, letter in enumerate(kind[1:-1], start=1):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(kind[start:i])
            start = i + 1
    return [*parts, kind[start:-1]]


def _to_result(values: Sequence[int]) -> Result:
    _, lower, upper, long_side, filled, offered, volume = values
    return Result(lower, upper, LongSide(long_side), filled, offered, volume)


def _by_tick(volumes: Sequence[int]) -> dict[int, int]:
    return {tick: volume for tick, volume in enumerate(volumes, start=1) if volume}
