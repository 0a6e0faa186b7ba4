"""Blocks and transactions."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import rlp
from anyio import to_thread
from eth_account import Account as EthAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_keys.exceptions import BadSignature
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError
from fastapi import Query
from hexbytes import HexBytes
from sqlalchemy import func, select

from busbar import __version__, tables
from busbar.api import operations, paging
from busbar.api.context import (
    Configured,
    Cursor,
    HashInPath,
    HeightInPath,
    Here,
    Limit,
    Node,
    Settings,
    View,
    read,
    read_now,
    read_slowly,
    view_of,
)
from busbar.api.node import ask, asks_node
from busbar.api.problems import Problem
from busbar.api.shapes import (
    Accepted,
    BlockShape,
    Contract,
    EventShape,
    RawTransaction,
    RelayHealth,
    RelayStatus,
    Status,
    TransactionShape,
)
from busbar.api.streams import Watched
from busbar.chain import Chain
from busbar.metrics import LONGEST_STEP_S

router = operations.router()


@router.get("/status", tags=["server"])
@read_now
def status(here: Here, settings: Configured, watch: Watched) -> Status:
    """What this server serves, and how far it is; node and relay as they were within the last second."""
    market = here.connection.execute(select(tables.market)).mappings().one()
    node_block, relay = settings.beside()
    return Status(
        version=__version__,
        chain_id=market["chain_id"],
        block=here.head.number,
        block_hash=here.head.hash,
        timestamp=here.head.timestamp,
        age_s=watch.age_s(here.head),
        epoch=here.head.epoch,
        epoch_ends_at=here.calendar.end(here.head.epoch),
        genesis=here.calendar.genesis,
        epoch_seconds=here.calendar.epoch_seconds,
        tick_wei=here.money.tick_wei,
        money_unit_wei=here.money.unit_wei,
        contracts=[Contract(name=name, address=at) for name, at in sorted(json.loads(market["addresses"]).items())],
        node_block=node_block,
        behind_blocks=None if node_block is None else max(0, node_block - here.head.number),
        relay=None if relay is None else _health(relay, market["chain_id"]),
    )


def _health(told: bytes, chain_id: int) -> RelayHealth:
    """How the relay is, by what it told; away if it told nothing, or another chain's answers."""
    try:
        relay = RelayStatus.model_validate_json(told)
    except ValueError:
        relay = None
    if relay is None or relay.chain_id != chain_id:
        return RelayHealth(state="away", waiting=None, turned_s=None)
    works = relay.problem is None and relay.turned_s < LONGEST_STEP_S
    return RelayHealth(
        state="working" if works else "failing", waiting=relay.waiting + relay.sent, turned_s=relay.turned_s
    )


_BLOCKS = select(tables.blocks)


@router.get("/blocks", tags=["blocks"])
@read
def blocks(here: Here, limit: Limit = 50, cursor: Cursor = None) -> paging.Page[BlockShape]:
    """Blocks, newest first."""
    b = tables.blocks
    rows, following = paging.read(here.connection, _BLOCKS, [b.c.number], cursor, limit)
    counts = _events_in(here, [row["number"] for row in rows])
    items = [BlockShape(**row, events=counts.get(row["number"], 0)) for row in rows]
    return paging.Page(items=items, next_cursor=following, block=here.head.number)


@router.get("/blocks/hash/{block_hash}", tags=["blocks"])
@read
def block_by_hash(here: Here, block_hash: HashInPath) -> BlockShape:
    """A block by its hash."""
    return _one_block(here, tables.blocks.c.hash == block_hash)


@router.get("/blocks/{height}", tags=["blocks"])
@read
def block(here: Here, height: HeightInPath) -> BlockShape:
    """A block by its number."""
    return _one_block(here, tables.blocks.c.number == height)


@router.get("/blocks/{height}/events", tags=["blocks"])
@read_slowly
def events(
    here: Here,
    height: HeightInPath,
    name: Annotated[str | None, Query(pattern="^[A-Za-z]{1,64}$", description="Events of this name only")] = None,
) -> list[EventShape]:
    """A block's events, in order."""
    e = tables.events
    query = select(e).where(e.c.block == height).order_by(e.c.log_index)
    if name is not None:
        query = query.where(e.c.name == name)
    return [_event(dict(row)) for row in here.connection.execute(query).mappings()]


def _one_block(here: View, condition: Any) -> BlockShape:
    row = here.connection.execute(select(tables.blocks).where(condition)).mappings().one_or_none()
    if row is None:
        raise Problem(404, "No such block", f"the index ends at block {here.head.number}")
    return BlockShape(**row, events=_events_in(here, [row["number"]]).get(row["number"], 0))


def _events_in(here: View, blocks: Sequence[int]) -> dict[int, int]:
    """How many events each of these blocks has; those without are left out."""
    e = tables.events
    query = select(e.c.block, func.count()).where(e.c.block.in_(blocks)).group_by(e.c.block)
    return {row[0]: row[1] for row in here.connection.execute(query)}


def _event(row: Mapping[str, Any]) -> EventShape:
    args = {name: _plain(value) for name, value in json.loads(row["args"]).items()}
    return EventShape(contract=row["contract"], name=row["name"], log_index=row["log_index"], args=args)


def _plain(value: Any) -> Any:
    """An event's value, with integers beyond 53 bits as strings."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, int) and abs(value) >= 1 << 53 else value


@router.get("/transactions/{tx_hash}", tags=["transactions"])
async def transaction(settings: Configured, tx_hash: HashInPath) -> TransactionShape:
    """Where a transaction stands. Asks the node about one that is not in the index."""
    last, rows = await to_thread.run_sync(_in_index, settings, tx_hash)
    if rows:
        found = [_event(row) for row in rows]
        return TransactionShape(tx_hash=tx_hash, status="included", block=rows[0]["block"], indexed=True, events=found)
    if settings.chain is not None:
        known, receipt = await ask(_ask, settings.chain, tx_hash)
        if receipt is not None:
            succeeded = int(receipt["status"], 16) == 1
            number = int(receipt["blockNumber"], 16)
            stands: Literal["included", "failed"] = "included" if succeeded else "failed"
            return TransactionShape(tx_hash=tx_hash, status=stands, block=number, indexed=number <= last, events=[])
        if known:
            return TransactionShape(tx_hash=tx_hash, status="pending", block=None, indexed=False, events=[])
    raise Problem(404, "No such transaction", f"neither index nor node know {tx_hash}")


def _in_index(settings: Settings, tx_hash: str) -> tuple[int, Sequence[Mapping[str, Any]]]:
    """The newest block in the index, and the events of a transaction."""
    e = tables.events
    with view_of(settings) as here:
        query = select(e).where(e.c.tx_hash == tx_hash).order_by(e.c.log_index)
        return here.head.number, [dict(row) for row in here.connection.execute(query).mappings()]


def _ask(chain: Chain, tx_hash: str) -> tuple[bool, Mapping[str, Any] | None]:
    """Whether the node knows a transaction, and its receipt."""
    asked = chain.node.batch([("eth_getTransactionByHash", [tx_hash]), ("eth_getTransactionReceipt", [tx_hash])])
    known, receipt = (answer if isinstance(answer, dict) else None for answer in asked)
    return known is not None, receipt


@router.post("/transactions", status_code=202, tags=["transactions"])
@asks_node
def send(chain: Node, body: RawTransaction) -> Accepted:
    """Passes a signed transaction on, after simulating it. It must call one of the market's contracts."""
    raw = bytes.fromhex(body.raw[2:])
    sender, to, data = _read(raw, chain)
    tx_hash = "0x" + keccak(raw).hex()
    chain.pass_on(raw, sender, to, data)
    return Accepted(tx_hash=tx_hash, follow=f"/api/v1/transactions/{tx_hash}")


def _read(raw: bytes, chain: Chain) -> tuple[str, str, bytes]:
    """Sender, contract and input of a signed transaction."""
    try:
        fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
        sender = str(EthAccount.recover_transaction(raw))
        to = str(to_checksum_address(bytes(fields["to"]))) if fields["to"] else ""
        data, chain_id = bytes(HexBytes(fields["data"])), int(fields["chainId"])
    except (ValueError, TypeError, KeyError, rlp.RLPException, BadSignature, ValidationError):
        raise Problem(422, "Not a transaction", "`raw` is no signed transaction of type 1 or 2") from None
    if chain_id != chain.chain_id:
        raise Problem(422, "Another chain", f"the transaction is for chain {chain_id}, not {chain.chain_id}")
    if to not in chain.addresses.values():
        raise Problem(422, "Another contract", f"{to or 'no address'} is none of the market's contracts")
    return sender, to, data
