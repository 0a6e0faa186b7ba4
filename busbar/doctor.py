"""Says what is wrong with an installation, and what to do about it.

One check after another, each a line. A check that the ones before it make pointless is left out, so the first finding
is the one to mend.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import httpx

from busbar import errors
from busbar.chain import Call, Chain, load_artifact
from busbar.deployment import ROLES, Record
from busbar.history import HistoryError, indexed_block
from busbar.metrics import LONGEST_STEP_S

SKEW_S = 30
"""A clock that differs more from the newest block's is told; blocks may lie that far apart."""

STALE_S = 300
"""A head so old means that the chain stands still, or the node is behind."""

LAG_EPOCHS = 2
"""Clearing that many epochs behind has no keeper."""

BEHIND_BLOCKS = 20
"""An index so far behind the chain is told."""

TRANSACTIONS_AHEAD = 100
"""A bot whose funds pay for fewer transactions is told."""

DOOR_TIMEOUT_S = 5
"""Longest wait for an HTTP door to answer, or for the relay to say how it is."""

TRANSACTION_GAS = 3_000_000
"""Gas of a large transaction of a bot: a hundred readings."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Outcome of a check.

    Attributes:
        ok: Whether all is well.
        name: What was looked at.
        told: What was found.
        remedy: What to do; nothing if all is well.
    """

    ok: bool
    name: str
    told: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot to look after: what it is called, its address, and the role it needs, if any."""

    name: str
    address: str
    role: str | None


@dataclass(frozen=True, slots=True)
class Door:
    """An HTTP door to knock at: whose it is, its address, and what it calls itself."""

    name: str
    url: str
    title: str


def examine(
    connect: Callable[[], Chain],
    record: Record,
    bots: Sequence[Bot],
    zones: Sequence[int],
    now: float | None = None,
    doors: Sequence[Door] = (),
    relay_url: str | None = None,
    database: str | None = None,
) -> Iterator[Finding]:
    """Examines an installation; findings come as they are made.

    Args:
        connect: Connects to the market of the record.
        record: What is said to stand there.
        bots: Whose roles and funds are looked at.
        zones: Zones whose clearing is looked at.
        now: This machine's time; the clock's, if not given.
        doors: HTTP doors that shall answer.
        relay_url: Address of the relay that belongs to it, if one does.
        database: The index that belongs to it, if one does.
    """
    try:
        chain = connect()
    except errors.BusbarError as problem:
        yield Finding(False, "node and deployment", str(problem), "see the message; nothing else was looked at")
        return
    yield Finding(True, "node and deployment", f"chain {chain.chain_id} at {chain.node.url}, contracts in place")
    yield from (_door(door) for door in doors)
    head = chain.head()
    yield _clock(head.timestamp, time.time() if now is None else now)
    yield _sources(record)
    for bot in bots:
        if bot.role is not None:
            yield _role(chain, bot, bot.role)
        yield _funds(chain, bot)
    if relay_url is not None:
        yield _relay(chain, relay_url)
    if database is not None:
        yield _index(chain, database, head.number)
    epoch = chain.calendar.epoch_at(head.timestamp)
    for zone in zones:
        yield _clearing(chain, zone, epoch, head.number)


def _clock(head_s: int, now_s: float) -> Finding:
    behind = now_s - head_s
    if behind < -SKEW_S:
        told = f"this machine's clock is {-behind:.0f} s behind the newest block"
        return Finding(False, "clock", told, "set the clock (`timedatectl`); bots go by the chain, logs do not")
    if behind > STALE_S:
        told = f"the newest block is {behind:.0f} s old"
        return Finding(
            False, "clock", told, "see whether the chain makes blocks and the node follows it; else set the clock"
        )
    return Finding(True, "clock", f"newest block {max(behind, 0):.0f} s old")


def _sources(record: Record) -> Finding:
    differing = [n for n, entry in record.contracts.items() if entry["source_hash"] != load_artifact(n)["sourceHash"]]
    if differing:
        return Finding(
            False,
            "sources",
            f"{', '.join(differing)} deployed from other sources than this checkout's",
            f"use the checkout that deployed it, commit {record.commit}",
        )
    return Finding(True, "sources", "contracts are this checkout's")


def _door(door: Door) -> Finding:
    try:
        answer = httpx.get(f"{door.url}/openapi.json", timeout=DOOR_TIMEOUT_S, trust_env=False)
        told = answer.json()["info"]["title"] if answer.is_success else f"status {answer.status_code}"
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as problem:
        told = type(problem).__name__
    if told == door.title:
        return Finding(True, f"{door.name}: door", f"{door.title} answers at {door.url}")
    remedy = f"start `busbar {door.name}`, and see its log for why it does not answer there"
    return Finding(False, f"{door.name}: door", f"no {door.title} answers at {door.url} ({told})", remedy)


def _role(chain: Chain, bot: Bot, role: str) -> Finding:
    held, _ = chain.view("Authority", "hasRole", ROLES[role], bot.address)
    if held:
        return Finding(True, f"{bot.name}: role", f"{bot.address} is {role}")
    remedy = f"the regulator grants it: name it as {role} in the network's file and run `ape run deploy`"
    return Finding(False, f"{bot.name}: role", f"{bot.address} is no {role}", remedy)


def _funds(chain: Chain, bot: Bot) -> Finding:
    block = chain.node.request("eth_getBlockByNumber", "latest", False)
    price_wei = int(block.get("baseFeePerGas", "0x0"), 16)
    held_wei = int(chain.node.request("eth_getBalance", bot.address, "latest"), 16)
    if not price_wei:
        return Finding(True, f"{bot.name}: funds", "gas costs nothing here")
    ahead = held_wei // (price_wei * TRANSACTION_GAS)
    told = f"{held_wei} wei, enough for {ahead} transactions at {price_wei} wei a unit of gas"
    if ahead < TRANSACTIONS_AHEAD:
        return Finding(False, f"{bot.name}: funds", told, f"send ether to {bot.address}")
    return Finding(True, f"{bot.name}: funds", told)


def _clearing(chain: Chain, zone: int, epoch: int, block: int) -> Finding:
    state = chain.read([Call("Trading", "zoneOf", (zone,))], block)[0]
    if not state[0]:
        return Finding(False, f"zone {zone}", "was never opened", "the regulator opens it: `ape run deploy`")
    due = chain.clearing_due(zone, block)
    if due is not None and epoch - due >= LAG_EPOCHS:
        told = f"epoch {due} waits to be cleared since {epoch - due - 1} epochs"
        return Finding(False, f"zone {zone}", told, "start a keeper, and see its log for what it is refused with")
    return Finding(True, f"zone {zone}", "paused by the regulator" if state[1] else "cleared up to date")


def _index(chain: Chain, database: str, newest: int) -> Finding:
    remedy = "start `busbar index`, and see the end of its log"
    try:
        behind = newest - indexed_block(chain, database)
    except HistoryError as problem:
        return Finding(False, "index", str(problem), remedy)
    if behind > BEHIND_BLOCKS:
        return Finding(False, "index", f"{behind} blocks behind the chain", remedy)
    return Finding(True, "index", "follows the chain")


def _relay(chain: Chain, url: str) -> Finding:
    """Whether the relay takes messages for this market and brings them."""
    try:
        told = httpx.get(f"{url}/status", timeout=DOOR_TIMEOUT_S, trust_env=False).raise_for_status().json()
        serves, problem, turned_s = (told["chain_id"], told["trading"]), told["problem"], int(told["turned_s"])
        waits, refused = int(told["waiting"]) + int(told["sent"]), int(told["refused"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as found:
        remedy = "start `busbar relay`, and see the end of its log"
        return Finding(False, "relay", f"none answers at {url} ({type(found).__name__})", remedy)
    if serves != (chain.chain_id, chain.addresses["Trading"]):
        return Finding(False, "relay", f"{url} serves another market", "give it this network and deployment record")
    if turned_s > LONGEST_STEP_S:
        return Finding(False, "relay", f"has not looked at the chain for {turned_s} s", "restart it; nothing is lost")
    if problem is not None:
        return Finding(False, "relay", f"its last pass failed: {problem}", "see the message; it tries again by itself")
    return Finding(True, "relay", f"works at {url}, {waits} messages wait, {refused} were refused")
