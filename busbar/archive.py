"""A market's blocks in a file that proves itself: what `busbar export` writes and `busbar audit` reads.

One JSON object a line: the market, every block from the chain's first on, the contracts' state at the last, and an
end. A block is its header as it was hashed; one in which the market did something has its transactions and receipts
too. So whoever trusts the last block's hash need trust nothing else: headers hash to one another, transactions and
receipts hash to the roots in their header, and the bloom filter in a header shows that nothing was left out. Events
come from the receipts, readings with their signatures from the transactions.

Everything is written one way only (keys in order, lower-case hex), so that no byte can differ without meaning.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import rlp
from eth_abi.exceptions import DecodingError
from eth_account import Account as EthAccount
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from trie import HexaryTrie

from busbar import errors
from busbar.chain import CONTRACTS, Account, Chain, Event, EventKinds, Imports, Register, readings_in
from busbar.ledger import ChainState, read_state
from busbar.readings import SignedReading
from busbar.units import Calendar, Money

NAMED = tuple(name for name in CONTRACTS if name != "Auction")
"""Contracts that an archive names: those that tell of themselves. The library emits nothing and is asked nothing."""

BATCH_BLOCKS = 200
"""Blocks asked for at a time."""

_HEADER = (
    "parentHash",
    "sha3Uncles",
    "miner",
    "stateRoot",
    "transactionsRoot",
    "receiptsRoot",
    "logsBloom",
    "difficulty",
    "number",
    "gasLimit",
    "gasUsed",
    "timestamp",
    "extraData",
    "mixHash",
    "nonce",
    "baseFeePerGas",
    "withdrawalsRoot",
    "blobGasUsed",
    "excessBlobGas",
    "parentBeaconBlockRoot",
    "requestsHash",
)
"""Fields of a block's header in the order they are hashed; later forks added to the end."""
_NUMBERS = frozenset(
    ("difficulty", "number", "gasLimit", "gasUsed", "timestamp", "baseFeePerGas", "blobGasUsed", "excessBlobGas")
)
_PLACE = {name: place for place, name in enumerate(_HEADER)}


class ArchiveError(errors.BusbarError):
    """A file is no archive of a market, or was cut; the message names the line.

    Attributes:
        block: The block that cannot be read, if it is one.
    """

    def __init__(self, told: str, block: int | None = None) -> None:
        self.block = block
        super().__init__(told)


class Market(NamedTuple):
    """Which market an archive is of."""

    chain_id: int
    addresses: dict[str, str]
    genesis: int
    epoch_seconds: int
    tick_wei: int

    @property
    def calendar(self) -> Calendar:
        """Its clock."""
        return Calendar(self.genesis, self.epoch_seconds)

    @property
    def money(self) -> Money:
        """Its money."""
        return Money(self.tick_wei)


@dataclass(frozen=True, slots=True)
class Block:
    """One block: header, and transactions and receipts if the market did something in it, as they were hashed."""

    header: bytes
    transactions: tuple[bytes, ...] = ()
    receipts: tuple[bytes, ...] = ()
    fields: list[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", _fields(self.header))

    @property
    def number(self) -> int:
        """Its number."""
        return int.from_bytes(self.fields[_PLACE["number"]], "big")

    @property
    def timestamp(self) -> int:
        """Its time, Unix seconds."""
        return int.from_bytes(self.fields[_PLACE["timestamp"]], "big")

    @property
    def hash(self) -> str:
        """Hash of the header."""
        return "0x" + keccak(self.header).hex()

    @property
    def parent_hash(self) -> str:
        """Hash of the block before it."""
        return "0x" + bytes(self.fields[_PLACE["parentHash"]]).hex()

    def faults(self, addresses: Iterable[str]) -> list[str]:
        """What of it does not hash to its header, or is missing from it."""
        found = []
        if self.transactions or self.receipts:
            for name, entries in (("transactionsRoot", self.transactions), ("receiptsRoot", self.receipts)):
                if _root(entries) != self.fields[_PLACE[name]]:
                    found.append(f"{name.removesuffix('Root')} do not hash to the header's root")
        elif may_log(self.fields[_PLACE["logsBloom"]], addresses):
            found.append("has events of the market, by its bloom filter, but no receipts")
        return found

    def logs(self) -> list[dict[str, Any]]:
        """Its logs in the form a node gives them.

        Raises:
            ArchiveError: A receipt cannot be read.
        """
        logs: list[dict[str, Any]] = []
        number = hex(self.number)
        for place, receipt in enumerate(self.receipts):
            try:
                entries = rlp.decode(receipt[receipt[0] < 0x80 :])[3]
                for address, topics, data in entries:
                    logs.append(
                        {
                            "address": "0x" + address.hex(),
                            "topics": ["0x" + topic.hex() for topic in topics],
                            "data": "0x" + data.hex(),
                            "blockNumber": number,
                            "logIndex": hex(len(logs)),
                            "transactionHash": "0x" + keccak(self.transactions[place]).hex(),
                        }
                    )
            except (rlp.DecodingError, IndexError, ValueError, TypeError):
                raise ArchiveError(f"block {self.number}: receipt {place} cannot be read", self.number) from None
        return logs

    def sent(self, tx_hash: str) -> tuple[int | None, bytes]:
        """Chain id and input of one of its transactions; no chain id in one of the first kind.

        Raises:
            ArchiveError: It is not in the block, or cannot be read.
        """
        try:
            raw = next(raw for raw in self.transactions if "0x" + keccak(raw).hex() == tx_hash)
            chain_id = None if raw[0] >= 0x80 else int.from_bytes(rlp.decode(raw[1:])[0], "big")
        except (StopIteration, rlp.DecodingError, IndexError, TypeError):
            raise ArchiveError(f"block {self.number}: transaction {tx_hash} cannot be read", self.number) from None
        return chain_id, _input(raw)

    def readings(self) -> list[SignedReading]:
        """The signed readings in its transactions' inputs."""
        return [reading for raw in self.transactions for reading in readings_in(_input(raw))]


def _fields(header: bytes) -> list[Any]:
    try:
        fields = rlp.decode(header)
    except rlp.DecodingError:
        fields = None
    if not isinstance(fields, list) or len(fields) < _PLACE["nonce"] + 1 or any(isinstance(f, list) for f in fields):
        raise ArchiveError("a header cannot be read")
    return fields


def _input(raw: bytes) -> bytes:
    """A transaction's input, whatever its type."""
    try:
        fields = rlp.decode(raw[raw[0] < 0x80 :])
        if raw[0] >= 0x80:
            return bytes(fields[5])
        return bytes(fields[{1: 6}.get(raw[0], 7)])
    except (rlp.DecodingError, IndexError, TypeError):
        return b""


def _root(entries: Sequence[bytes]) -> bytes:
    trie = HexaryTrie({}, prune=True)
    for place, entry in enumerate(entries):
        trie[rlp.encode(place)] = entry
    return bytes(trie.root_hash)


def may_log(bloom: bytes, addresses: Iterable[str]) -> bool:
    """Whether a block's bloom filter allows for events of one of these contracts."""
    filled = int.from_bytes(bloom, "big")
    for address in addresses:
        digest = keccak(bytes.fromhex(address[2:]))
        bits = (int.from_bytes(digest[i : i + 2], "big") & 2047 for i in (0, 2, 4))
        if all(filled >> bit & 1 for bit in bits):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Archive:
    """A market's blocks and the contracts' state at the last of them."""

    market: Market
    blocks: list[Block]
    state: ChainState

    @property
    def head(self) -> Block:
        """The newest block."""
        return self.blocks[-1]

    def epoch_of(self, number: int) -> int:
        """The epoch a block is in; 0 before the market's first."""
        return max(0, (self.blocks[number].timestamp - self.market.genesis) // self.market.epoch_seconds)

    def events(self) -> Iterator[tuple[Block, list[Event]]]:
        """Each block that has receipts, with the market's events in it.

        Raises:
            ArchiveError: A receipt or an event cannot be read.
        """
        kinds = EventKinds(self.market.addresses)
        for block in self.blocks:
            if block.receipts:
                try:
                    found = kinds.decode(block.logs())
                except (DecodingError, ValueError, OverflowError):
                    raise ArchiveError(f"block {block.number}: an event cannot be read", block.number) from None
                yield block, found

    def sender_in(self, number: int) -> str:
        """Who sent the first transaction of a block; empty if there is none, or it cannot be read."""
        try:
            return str(EthAccount.recover_transaction(self.blocks[number].transactions[0]))
        except (IndexError, TypeError, ValueError, rlp.DecodingError, BadSignature, ValidationError):
            return ""

    # ---- files

    def save(self, path: Path) -> None:
        """Writes the archive."""
        with path.open("w", encoding="ascii", newline="\n") as file:
            file.write(_line({"market": self.market._asdict()}))
            for block in self.blocks:
                entry: dict[str, Any] = {"header": block.header.hex()}
                if block.receipts:
                    entry |= {
                        "transactions": [raw.hex() for raw in block.transactions],
                        "receipts": [raw.hex() for raw in block.receipts],
                    }
                file.write(_line(entry))
            file.write(_line({"state": _state_entry(self.state)}))
            file.write(_line({"end": self.head.hash}))

    @classmethod
    def load(cls, path: Path) -> "Archive":
        """Reads an archive; whether it is true is for the audit.

        Raises:
            ArchiveError: It is not written as `save` writes.
        """
        try:
            lines = path.read_text(encoding="ascii").splitlines(keepends=True)
        except UnicodeDecodeError:
            raise ArchiveError(f"{path}: is no archive: it holds bytes that are not ASCII") from None
        reader = _Reader()
        for number, line in enumerate(lines, start=1):
            try:
                reader.take(line)
            except ArchiveError as problem:
                raise ArchiveError(f"{path}, line {number}: {problem}") from None
            except (ValueError, TypeError, KeyError, AttributeError, errors.BusbarError) as problem:
                raise ArchiveError(f"{path}, line {number}: cannot be read ({type(problem).__name__})") from None
        if reader.market is None or reader.state is None or not reader.ended:
            raise ArchiveError(f"{path}: is cut off: it has no end")
        return cls(reader.market, reader.blocks, reader.state)


@dataclass(slots=True)
class _Reader:
    """What has been read of an archive."""

    market: Market | None = None
    blocks: list[Block] = field(default_factory=list)
    state: ChainState | None = None
    ended: bool = False

    def take(self, line: str) -> None:
        entry = json.loads(line)
        if _line(entry) != line or self.ended:
            raise ArchiveError("is not written as `busbar export` writes")
        match list(entry):
            case ["market"] if self.market is None:
                self.market = _market(entry["market"])
            case ["header"]:
                self.blocks.append(Block(_unhex(entry["header"])))
            case ["header", "receipts", "transactions"]:
                self.blocks.append(_full_block(entry))
            case ["state"] if self.state is None:
                self.state = _state(entry["state"])
            case ["end"]:
                self.ended = True
                if not self.blocks or entry["end"] != self.blocks[-1].hash:
                    raise ArchiveError("names another last block than the file has")
            case _:
                raise ArchiveError("is of no kind an archive has")


def _market(entry: dict[str, Any]) -> Market:
    market = Market(**entry)
    others = {*NAMED} ^ {*market.addresses}
    if others or any(to_checksum_address(address) != address for address in market.addresses.values()):
        raise ArchiveError(f"does not name {', '.join(NAMED)}, each by its checksummed address, and no other")
    _ = market.calendar, market.money  # both refuse numbers that cannot be
    return market


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"


def _unhex(text: str) -> bytes:
    raw = bytes.fromhex(text)
    if raw.hex() != text:
        raise ArchiveError("has hex digits that are not lower case")
    return raw


def _full_block(entry: Mapping[str, Any]) -> Block:
    return Block(
        _unhex(entry["header"]),
        tuple(_unhex(raw) for raw in entry["transactions"]),
        tuple(_unhex(raw) for raw in entry["receipts"]),
    )


_UNTOLD = {"epoch": 0, "standing": 0}
"""What an account holds and no event tells as such: not archived."""


def _state_entry(state: ChainState) -> dict[str, Any]:
    entry = asdict(state)
    for account in entry["accounts"]:
        for name in _UNTOLD:
            del account[name]
    return entry


def _state(entry: dict[str, Any]) -> ChainState:
    accounts = [Account(**(row | _UNTOLD)) for row in entry["accounts"]]
    lists = {
        "imports": [Imports(**row) for row in entry["imports"]],
        "registers": [Register(**row) for row in entry["registers"]],
    }
    return ChainState(**(entry | {"accounts": accounts} | lists))


# ------------------------------------------------------------------------------ from a node


def collect(chain: Chain) -> Archive:
    """A market's archive, up to the newest block.

    Raises:
        ArchiveError: The node's headers do not hash to their own hashes, or the chain changed meanwhile.
    """
    node, last = chain.node, chain.head().number
    blocks: list[Block] = []
    for first in range(0, last + 1, BATCH_BLOCKS):
        wanted = range(first, min(first + BATCH_BLOCKS, last + 1))
        headers = node.batch([("eth_getBlockByNumber", [hex(number), False]) for number in wanted])
        for number, header in zip(wanted, headers, strict=True):
            if not isinstance(header, dict):
                raise ArchiveError(f"the node has no block {number} any more: export again")
            blocks.append(_fetch(chain, header))
    market = Market(
        chain.chain_id,
        {name: chain.addresses[name] for name in NAMED},
        chain.calendar.genesis,
        chain.calendar.epoch_seconds,
        chain.money.tick_wei,
    )
    return Archive(market, blocks, read_state(chain, last))


def _fetch(chain: Chain, header: Mapping[str, Any]) -> Block:
    encoded = rlp.encode([_header_field(name, header[name]) for name in _HEADER if header.get(name) is not None])
    if "0x" + keccak(encoded).hex() != header["hash"]:
        raise ArchiveError(f"block {header['number']} does not hash to its hash: is its fork newer than this program?")
    if not may_log(bytes.fromhex(header["logsBloom"][2:]), chain.addresses.values()):
        return Block(encoded)
    raw = chain.node.batch([("eth_getRawTransactionByHash", [tx]) for tx in header["transactions"]])
    receipts = chain.node.request("eth_getBlockReceipts", header["number"])
    failed = next((answer for answer in raw if isinstance(answer, errors.BusbarError)), None)
    if failed is not None:
        raise failed
    return Block(encoded, tuple(bytes.fromhex(t[2:]) for t in raw), tuple(_receipt(receipt) for receipt in receipts))


def _header_field(name: str, value: str) -> bytes:
    return _quantity(value) if name in _NUMBERS else bytes.fromhex(value[2:])


def _quantity(value: str) -> bytes:
    number = int(value, 16)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _receipt(receipt: Mapping[str, Any]) -> bytes:
    logs = [
        [
            bytes.fromhex(log["address"][2:]),
            [bytes.fromhex(t[2:]) for t in log["topics"]],
            bytes.fromhex(log["data"][2:]),
        ]
        for log in receipt["logs"]
    ]
    bloom = bytes.fromhex(receipt["logsBloom"][2:])
    fields = [_quantity(receipt["status"]), _quantity(receipt["cumulativeGasUsed"]), bloom, logs]
    kind = int(receipt.get("type", "0x0"), 16)
    return (bytes([kind]) if kind else b"") + bytes(rlp.encode(fields))
