"""What everything costs, from receipts: the table, its committed snapshot and the plots. `make bench-gas`.

Usage: .venv/bin/python -m bench.gas [--quick] [--check] [--out FOLDER]

Receipts of anvil under the rules of busbar.devnet, the transaction's 21,000 included. Cold: the storage words in
question were never used before. Steady: they were, in earlier epochs, which is how a market lives. An order's whole
life is entering and settling it; its account's next order settles it, so the steady figure of an order holds one
settlement. A call that serves many is also shown per order, reading or account, rounded up.
"""

import argparse
import json
import math
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.market import BAHT, START, ZONE, BenchMarket, Draw
from busbar import errors, tools
from busbar.chain import TRANSACTION_GAS_CAP, KeySigner
from busbar.devnet import Devnet
from busbar.orders import Order, Side
from busbar.readings import KeyType
from busbar.units import GRID_WEI_PER_WH, MAX_LIFE, MAX_TICK, Asset

FOLDER = Path(__file__).resolve().parent
RESULTS = FOLDER / "results"
SNAPSHOT = "gas.json"
TABLE = "gas.md"
ANCHORS = FOLDER / "anchors.md"
PUBLIC_SYSTEMS = FOLDER / "public_systems.json"
COMMAND = "make bench-gas"

WIDTH = 120
"""Columns of the printed table."""

ROUNDS = 4
"""Epochs until a figure counts as steady; the first one is cold."""
ORDERS_IN_A_CALL = 100
BYTES_OF_A_TRANSACTION = 128 * 1024
"""Largest transaction that public nodes pass on."""
BYTES_OF_A_READING = {KeyType.SECP256K1: 192, KeyType.P256: 256}
"""With the public key that a P-256 signature needs beside it."""

ORDER_TARGET, HUNDRED_TARGET, LADDER_TARGET = 48_000, 9_000, 5_000
RELAYED_TARGET, UNSORTED_TARGET, UNDER_ONE_SIGNATURE_TARGET = 16_000, 19_000, 5_000
CANCEL_TARGET, CLEAR_TARGET = 42_000, 150_000
EXPORT_TARGET, IMPORT_TARGET = 25_000, 30_000
P256_ALLOWANCE = 5_000
"""What a reading may cost more for being of a P-256 meter."""


SMALL_CROWD = 24
"""Participants for volume at every tick of both sides."""

Book = tuple[Sequence[Order], Sequence[Order]]
"""Bids and asks."""


class Gas(NamedTuple):
    """Gas of one call; None where there is no such figure."""

    cold: int | None
    steady: int | None


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of the table.

    Attributes:
        key: Name in the snapshot; the part before the first slash is its group.
        title: What a person calls it.
        count: Orders, readings or accounts that share the call; 0 if it is only known once measured.
        target: Most gas each may cost in steady state.
        prototype: What the throw-away prototypes of the design took.
    """

    key: str
    title: str
    count: int = 1
    target: int | None = None
    prototype: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is measured."""

    order_counts: tuple[int, ...]
    tick_counts: tuple[int, ...]
    reading_batches: tuple[int, ...]
    retire_counts: tuple[int, ...]
    relayed_batches: tuple[int, ...]
    relayed_orders: tuple[tuple[int, int], ...]
    """Participants in a batch, and orders of each under one signature."""
    relayed_standing: tuple[tuple[int, int], ...]
    """The same, of standing orders."""
    rolled: tuple[tuple[int, int], ...]
    """Participants rolled in a call, and standing orders of each."""
    random_books: int
    largest_batch: bool

    def meters(self, curve: KeyType) -> int:
        """Meters with an owner each."""
        widest = max(*self.reading_batches, *self.retire_counts)
        fit = (BYTES_OF_A_TRANSACTION - 512) // BYTES_OF_A_READING[curve]
        return max(widest, fit) if self.largest_batch else widest

    def reading_sizes(self) -> Iterator[tuple[str, int]]:
        """Sizes of batches by name; the largest is found by measuring."""
        yield from ((str(n), n) for n in self.reading_batches)
        if self.largest_batch:
            yield "largest", 0


RELAYED = (1, 2, 10, 100, 500)
RELAYED_ORDERS = ((100, 2), (100, 4), (1, 100), (20, 100))
RELAYED_STANDING = ((1, 1), (10, 1), (100, 1), (500, 1), (100, 2), (100, 4), (1, 100), (20, 100))
ROLLED = ((1, 1), (10, 1), (100, 1), (500, 1), (100, 2), (100, 4), (1, 100), (5, 100))
WAITING_ORDERS = 10_000
"""Orders in a relay's hands from which a sorted batch is cut: that many, over all ticks."""
UNSORTED_BATCH = 100

WHOLE = Profile(
    (10, 100, 1_000, 10_000, 100_000),
    (1, 10, 100, MAX_TICK),
    (1, 10, 100),
    (1, 21, 100),
    RELAYED,
    RELAYED_ORDERS,
    RELAYED_STANDING,
    ROLLED,
    60,
    True,
)
QUICK = Profile((10, 100), (1, 10), (1, 10), (1,), (1, 10), ((10, 2),), ((10, 2),), ((10, 2),), 0, False)
"""Seconds, for a test and for a first look; measures the same way, so its figures are the same."""


class Growth(NamedTuple):
    """How a reading's registers have grown, and what its kind is called."""

    title: str
    import_wh: int
    export_wh: int
    target: int


READINGS = {
    "export": Growth("export only", 0, 700, EXPORT_TARGET),
    "import": Growth("import only", 500, 0, IMPORT_TARGET),
    "both": Growth("import and export", 500, 700, IMPORT_TARGET),
}
P256_READINGS = ("export", "both")
"""Kinds of readings that are measured for P-256 meters, too."""
READING_TIMES = START + 10_000, START + 20_000
"""When the first and the later readings are measured: a time is in the calldata, so no number of meters may move it."""
EARLIER_READINGS = 2
"""Readings of each meter before the steady ones."""
MEASURED_BATCH = "100"
"""The size of batch that the targets are for."""

HUNDREDS = {
    "random_one_side": "random ticks, one side",
    "random_both_sides": "random ticks, both sides",
    "ladder": "adjacent ticks",
}


UNSORTED = {"one_side": "one side", "both_sides": "both sides"}


def rows(profile: Profile) -> list[Row]:
    """The figures of a profile, in order of the table."""
    found = [
        Row("account/register", "participant registered"),
        Row("account/first_order", "first order ever of an account", prototype="60-78k"),
        Row("order/buy", "direct buy order, whole life", 1, ORDER_TARGET, "43.7-46.3k"),
        Row("order/sell", "direct sell order, whole life", 1, ORDER_TARGET, "43.7-46.3k"),
        Row("order/rationed", "direct buy order, settling a rationed one", 1, ORDER_TARGET),
        Row("order/after_idling", "direct buy order, settling an older epoch", 1, ORDER_TARGET),
        Row("order/opens_epoch", "first order of an epoch"),
        Row("order/clears", "first order that also clears"),
    ]
    for name, title in HUNDREDS.items():
        target, prototype = (LADDER_TARGET, "4-5k") if name == "ladder" else (HUNDRED_TARGET, "8.9k")
        found.append(Row(f"hundred/{name}", f"100 orders, {title}", ORDERS_IN_A_CALL, target, prototype))
    found += _relayed_rows(profile)
    found += [
        Row(f"rolled/{people}x{n}", f"standing orders rolled, {n} an account, {people} accounts a call", people * n)
        for people, n in profile.rolled
    ]
    found += [
        Row("cancel/first", "cancel an account's first order", 1, CANCEL_TARGET, "33-43k"),
        Row("cancel/further", "cancel a further order", 1, CANCEL_TARGET, "33-43k"),
        Row("settle/1", "settle an account's 1 order for it"),
        Row("settle/100", "settle an account's 100 orders for it", ORDERS_IN_A_CALL),
        Row("clear/no_trade", "clear without a trade", 1, CLEAR_TARGET),
    ]
    found += [Row(f"clear/orders/{n}", f"clear {n:,} orders", 1, CLEAR_TARGET, "89-128k") for n in profile.order_counts]
    found += [
        Row(
            f"clear/ticks/{n}",
            f"clear {n:,} tick{'s' if n > 1 else ''} occupied on both sides",
            1,
            CLEAR_TARGET,
            "89-128k",
        )
        for n in profile.tick_counts
    ]
    if profile.random_books:
        dearest = f"clear the dearest of {profile.random_books} random books"
        found.append(Row("clear/random", dearest, 1, CLEAR_TARGET))
    found.append(Row("clear/worst", "clear the worst book that was constructed", 1, CLEAR_TARGET))
    found += _reading_rows(profile)
    found += [
        Row(f"readings/duplicate/{n}", f"readings, duplicates skipped, {n} a batch", n) for n in profile.reading_batches
    ]
    found += [
        Row(f"retire/{n}", f"retire import for {n} account{'s' if n > 1 else ''}", n) for n in profile.retire_counts
    ]
    for asset in Asset:
        name = asset.name.lower()
        found += [
            Row(f"money/{name}/deposit", f"deposit {name}"),
            Row(f"money/{name}/permit", f"deposit {name} with a permit"),
            Row(f"money/{name}/withdraw", f"withdraw {name}"),
        ]
    return found


def _relayed_rows(profile: Profile) -> list[Row]:
    found = []
    for n in profile.relayed_batches:
        title = f"relayed order, sorted, {n} a batch"
        found.append(
            Row(f"relayed/sorted/{n}", title, n, RELAYED_TARGET if n >= UNSORTED_BATCH else None, "12.4-15.1k")
        )
    if UNSORTED_BATCH in profile.relayed_batches:
        for name, title in UNSORTED.items():
            full = f"relayed order, unsorted, {title}, {UNSORTED_BATCH} a batch"
            found.append(Row(f"relayed/unsorted/{name}", full, UNSORTED_BATCH, UNSORTED_TARGET))
    for people, n in profile.relayed_orders:
        title = f"relayed, {n} orders a signature, {people} a batch"
        goal, was = (UNDER_ONE_SIGNATURE_TARGET, "4.0-4.9k") if n == ORDERS_IN_A_CALL else (None, "")
        found.append(Row(f"relayed/bundles/{people}x{n}", title, people * n, goal, was))
    for people, n in profile.relayed_standing:
        title = f"relayed, {n} standing {'order' if n == 1 else 'orders'} a signature, {people} a batch"
        found.append(Row(f"relayed/standing/{people}x{n}", title, people * n))
    return found


def _reading_rows(profile: Profile) -> list[Row]:
    found = []
    for kind, growth in READINGS.items():
        for size, count in profile.reading_sizes():
            goal = growth.target if size in (MEASURED_BATCH, "largest") else None
            was = "27k" if kind == "export" and size == MEASURED_BATCH else ""
            found.append(Row(f"readings/{kind}/{size}", f"readings, {growth.title}, {size} a batch", count, goal, was))
    for kind in P256_READINGS:
        for size, count in profile.reading_sizes():
            goal = READINGS[kind].target + P256_ALLOWANCE if size in (MEASURED_BATCH, "largest") else None
            title = f"P-256 readings, {READINGS[kind].title}, {size} a batch"
            found.append(Row(f"readings/p256/{kind}/{size}", title, count, goal))
    return found


class Crowd:
    """Those who fill books: half of them buyers, half sellers."""

    def __init__(self, market: BenchMarket, size: int) -> None:
        self._market = market
        people = market.participants("crowd", size)
        self._buyers, self._sellers = people[::2], people[1::2]
        market.fund(self._buyers, Asset.MONEY)
        market.fund(self._sellers, Asset.ENERGY)

    def enter(self, book: Book) -> None:
        """Enters a book in the next epoch, by as few participants as may."""
        self._market.next_epoch()
        batch: list[tuple[KeySigner, Sequence[Order]]] = []
        for orders, people in zip(book, (self._buyers, self._sellers), strict=True):
            calls = [orders[i : i + ORDERS_IN_A_CALL] for i in range(0, len(orders), ORDERS_IN_A_CALL)]
            batch += zip(people[: len(calls)], calls, strict=True)
        self._market.enter_all(batch)

    def clear(self, book: Book) -> int:
        """Gas of clearing a book, in an epoch of its own."""
        self.enter(book)
        self._market.next_epoch(clear=False)
        return self._market.clear()

    def warm(self) -> None:
        """Uses every word of the book: nothing is ever swept, so no later order finds a zero."""
        self.enter((_ladder(Side.BID), _ladder(Side.ASK)))


@dataclass
class Measurement:
    """Measures a profile on one chain. Each method takes the chain back, so their order does not matter."""

    market: BenchMarket
    profile: Profile
    found: dict[str, Gas] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def steps(self) -> list[tuple[str, Callable[[], None]]]:
        """What is measured, by name."""
        return [
            ("accounts and money", self.money),
            ("orders", self.orders),
            ("first orders that clear", self.clearing_orders),
            ("100 orders in a call", self.hundreds),
            ("relayed bundles", self.relayed),
            ("standing orders", self.rolled),
            ("cancels", self.cancels),
            ("settlement", self.settlement),
            ("readings", self.readings),
            ("clearing by orders", self.clear_by_orders),
            ("clearing by ticks", self.clear_by_ticks),
        ]

    # ---- orders

    def money(self) -> None:
        """Registering, and tokens in and out."""
        market = self.market
        with market.undone():
            register = [
                market.send(market.distributor, "Registry", "registerUser", KeySigner.from_key(seed).address, ZONE, ref)
                for seed, ref in ((b"\x01" * 32, bytes(32)), (b"\x02" * 32, bytes(32)))
            ]
            self.found["account/register"] = Gas(register[0], register[1])
        for asset in Asset:
            self._money(asset, (GRID_WEI_PER_WH * 1000, BAHT)[asset])

    def _money(self, asset: Asset, unit_wei: int) -> None:
        market, name = self.market, f"money/{asset.name.lower()}"
        token = "GridToken" if asset == Asset.ENERGY else "BahtToken"
        empty = market.outsider.address
        with market.undone():
            (owner,) = market.participants("depositor", 1)
            market.issue(owner, asset, 1_000 * unit_wei)
            with market.undone():
                permits = [market.deposit_with_permit(owner, asset, 123 * unit_wei)]
            market.send(owner, token, "approve", market.trading, 900 * unit_wei)
            deposits = [market.send(owner, "Trading", "deposit", asset, 123 * unit_wei) for _ in range(ROUNDS)]
            permits += [market.deposit_with_permit(owner, asset, 12 * unit_wei) for _ in range(ROUNDS)]
            withdrawals = [
                market.send(owner, "Trading", "withdraw", asset, 12 * unit_wei, to)
                for to in (empty, *[owner.address] * ROUNDS)
            ]
        for verb, gas in (("deposit", deposits), ("permit", permits), ("withdraw", withdrawals)):
            self.found[f"{name}/{verb}"] = Gas(gas[0], gas[-1])

    def orders(self) -> None:
        """Single orders; each epoch trades, so each order settles one that was filled."""
        market, rounds = self.market, []
        with market.undone():
            opener, buyer, seller, rationed, other, newcomer = people = market.participants("trader", 6)
            market.fund(people)
            for _ in range(ROUNDS):
                market.next_epoch()
                rounds.append(
                    {
                        "order/opens_epoch": market.buy(opener, 100, 1_000),
                        "order/buy": market.buy(buyer, 300, 1_000),
                        "order/sell": market.sell(seller, 290, 1_000),
                    }
                )
            self.found["account/first_order"] = Gas(None, market.buy(newcomer, 299, 1_000))
            life = []
            for _ in range(ROUNDS):
                market.next_epoch()
                market.sell(other, 290, 700)
                life.append(market.buy(rationed, 290, 1_000))
            self.found["order/rationed"] = Gas(None, life[-1])
            for _ in range(2):
                market.next_epoch()
                market.sell(seller, 290, 1_000)
                market.buy(opener, 300, 1_000)
            self.found["order/after_idling"] = Gas(None, market.buy(rationed, 290, 1_000))
        self._record(rounds)

    def clearing_orders(self) -> None:
        """The first order of an epoch when no keeper has cleared the one before."""
        market, gas = self.market, []
        with market.undone():
            opener, seller = people = market.participants("roller", 2)
            market.fund(people)
            for _ in range(ROUNDS):
                market.next_epoch(clear=False)
                gas.append(market.buy(opener, 300, 1_000))
                market.sell(seller, 290, 1_000)
            self.found["order/clears"] = Gas(gas[1], gas[-1])

    def hundreds(self) -> None:
        """100 orders in a call; each epoch trades about half of them."""
        market = self.market
        with market.undone():
            opener, subject = people = market.participants("dealer", 2)
            market.fund(people)
            cold = {name: self._hundred(name, opener, subject, 1) for name in HUNDREDS}
            Crowd(market, SMALL_CROWD).warm()
            for name in HUNDREDS:
                self.found[f"hundred/{name}"] = Gas(cold[name], self._hundred(name, opener, subject, ROUNDS))

    def _hundred(self, name: str, opener: KeySigner, subject: KeySigner, rounds: int) -> int:
        market, draw, gas = self.market, Draw(name), 0
        with market.undone():
            for _ in range(rounds):
                if name == "ladder":
                    orders = [Order(Side.ASK, 401 + i, 1_000) for i in range(ORDERS_IN_A_CALL)]
                else:
                    side = Side.ASK if name == "random_one_side" else None
                    orders = [draw.order(side) for _ in range(ORDERS_IN_A_CALL)]
                market.next_epoch()
                market.buy(opener, 450, 50_000)
                gas = market.enter(subject, orders)
        return gas

    def relayed(self) -> None:
        """Signed bundles in batches; each epoch trades, so each order settles one of the epoch before."""
        market, profile = self.market, self.profile
        widest = max(
            *profile.relayed_batches, *(people for people, _ in (*profile.relayed_orders, *profile.relayed_standing))
        )
        with market.undone():
            people = market.participants("signer", widest)
            market.fund(people)
            Crowd(market, SMALL_CROWD).warm()
            for n in profile.relayed_batches:
                batch = [[waiting(i)] for i in range(n)]
                self.found[f"relayed/sorted/{n}"] = Gas(None, self._relayed(people, [batch] * ROUNDS))
            for count, n in profile.relayed_orders:
                batch = [[ladder_order(i, j) for j in range(n)] for i in range(count)]
                self.found[f"relayed/bundles/{count}x{n}"] = Gas(None, self._relayed(people, [batch] * ROUNDS))
            for count, n in profile.relayed_standing:
                batch = [[ladder_order(i, j) for j in range(n)] if n > 1 else [waiting(i)] for i in range(count)]
                last = [[replace(order, life=MAX_LIFE) for order in orders] for orders in batch]
                gas = self._relayed(people, [*[batch] * (ROUNDS - 1), last])
                self.found[f"relayed/standing/{count}x{n}"] = Gas(None, gas)
            if UNSORTED_BATCH in profile.relayed_batches:
                for name in UNSORTED:
                    draw, side = Draw(f"unsorted {name}"), Side.ASK if name == "one_side" else None
                    batches = [[[draw.order(side)] for _ in range(UNSORTED_BATCH)] for _ in range(ROUNDS)]
                    self.found[f"relayed/unsorted/{name}"] = Gas(None, self._relayed(people, batches))

    def _relayed(self, people: Sequence[KeySigner], batches: Sequence[Sequence[Sequence[Order]]]) -> int:
        """Gas of the last batch; each has an epoch of its own."""
        market, gas = self.market, 0
        with market.undone():
            for nonce, batch in enumerate(batches):
                market.next_epoch()
                market.buy(people[-1], 450, 50_000)
                gas = market.relay([market.sign(p, nonce, orders) for p, orders in zip(people, batch, strict=False)])
        return gas

    def rolled(self) -> None:
        """Standing orders that did not trade in an epoch that did, rolled by a stranger, epoch after epoch."""
        market, profile = self.market, self.profile
        with market.undone():
            *people, buyer, seller = market.participants("standing", max(people for people, _ in profile.rolled) + 2)
            market.fund([*people, buyer, seller])
            Crowd(market, SMALL_CROWD).warm()
            for count, n in profile.rolled:
                with market.undone():
                    market.next_epoch()
                    market.enter_all([(people[i], [standing_order(i, j, n) for j in range(n)]) for i in range(count)])
                    gas = 0
                    for _ in range(ROUNDS):
                        market.buy(buyer, 450, 1_000)
                        market.sell(seller, 440, 1_000)
                        market.next_epoch()
                        gas = market.roll(people[:count])
                self.found[f"rolled/{count}x{n}"] = Gas(None, gas)

    def cancels(self) -> None:
        """Cancelling; the second order lies in a word of its own."""
        market, rounds = self.market, []
        with market.undone():
            opener, subject = people = market.participants("canceller", 2)
            market.fund(people)
            for _ in range(ROUNDS):
                market.next_epoch()
                market.buy(opener, 100, 1_000)
                market.enter(subject, [Order(Side.BID, 300, 1_000), Order(Side.BID, 400, 1_000)])
                rounds.append({"cancel/first": market.cancel(subject, 0), "cancel/further": market.cancel(subject, 1)})
        self._record(rounds)

    def settlement(self) -> None:
        """Settling for somebody whose epoch was cleared."""
        market, rounds = self.market, []
        with market.undone():
            buyer, one, hundred = people = market.participants("settled", 3)
            market.fund(people)
            for _ in range(ROUNDS):
                market.next_epoch()
                market.buy(buyer, 450, 50_000)
                market.sell(one, 400, 1_000)
                market.enter(hundred, [Order(Side.ASK, 401 + i, 1_000) for i in range(ORDERS_IN_A_CALL)])
                market.next_epoch()
                rounds.append({"settle/1": market.settle(one), "settle/100": market.settle(hundred)})
        self._record(rounds)

    def _record(self, rounds: Sequence[dict[str, int]]) -> None:
        for name in rounds[0]:
            self.found[name] = Gas(rounds[0][name], rounds[-1][name])

    # ---- clearing

    def clear_by_orders(self) -> None:
        """Books of more and more orders at random ticks, many of 100, and one that does not trade."""
        market, counts = self.market, self.profile.order_counts
        with market.undone():
            crowd = Crowd(market, max(SMALL_CROWD, max(counts) // ORDERS_IN_A_CALL))
            market.send(market.regulator, "Trading", "setOrderCap", ZONE, 0)
            for n in counts:
                draw = Draw(f"{n} orders")
                self.found[f"clear/orders/{n}"] = Gas(None, crowd.clear(random_book(draw, n)))
            draw = Draw("books")
            gas = [crowd.clear(random_book(draw, 100)) for _ in range(self.profile.random_books)]
            self.found["clear/random"] = Gas(None, max(gas, default=0))
            apart = [Order(Side.BID, 100, 1_000)], [Order(Side.ASK, 900, 1_000)]
            self.found["clear/no_trade"] = Gas(None, crowd.clear(apart))

    def clear_by_ticks(self) -> None:
        """Books with volume on both sides of more and more ticks; and the worst that could be constructed."""
        with self.market.undone():
            crowd = Crowd(self.market, SMALL_CROWD)
            for n in self.profile.tick_counts:
                ticks = [1 + i * (MAX_TICK - 1) // (n - 1) for i in range(n)] if n > 1 else [MAX_TICK // 2]
                draw = Draw(f"{n} ticks")
                bids, asks = ([Order(side, tick, draw.between(100, 9_999)) for tick in ticks] for side in Side)
                self.found[f"clear/ticks/{n}"] = Gas(None, crowd.clear((bids, asks)))
            by_ends = {ends: crowd.clear(two_orders(*ends)) for ends in _page_ends()}
            dearest = max(by_ends, key=lambda ends: by_ends[ends])
            self.found["clear/worst"] = Gas(None, max(by_ends[dearest], crowd.clear(all_but_between(*dearest))))

    # ---- readings

    def readings(self) -> None:
        """Readings of meters with an owner each, of either curve, and retiring what they import."""
        market, profile = self.market, self.profile
        with market.undone():
            self._readings(P256_READINGS, KeyType.P256, "readings/p256")
        with market.undone():
            owners, meters = self._readings(tuple(READINGS), KeyType.SECP256K1, "readings")
            for n in profile.reading_batches:
                with market.undone():
                    again = market.read(meters[:n], 500 * EARLIER_READINGS + 500, 700 * EARLIER_READINGS + 700)
                    market.submit(again)
                    self.found[f"readings/duplicate/{n}"] = Gas(None, market.submit(again))
            for n in profile.retire_counts:
                with market.undone():
                    self.found[f"retire/{n}"] = Gas(None, market.retire_for(owners[:n]))

    def _readings(self, kinds: Sequence[str], curve: KeyType, name: str) -> tuple[Sequence[KeySigner], Sequence[str]]:
        """Readings of meters of one curve; gives the owners and their meters."""
        market, profile, earlier = self.market, self.profile, EARLIER_READINGS
        owners = market.participants("owner", profile.meters(curve))
        meters = market.assign_meters(owners, curve)
        market.to_time(READING_TIMES[0])
        cold = {(kind, n): self._reading(meters, kind, n, 0, curve) for kind in kinds for n in profile.reading_batches}
        for age in range(1, earlier + 1):
            for i in range(0, len(meters), ORDERS_IN_A_CALL):
                market.submit(market.read(meters[i : i + ORDERS_IN_A_CALL], 500 * age, 700 * age, curve))
        market.to_time(READING_TIMES[1])
        for kind in kinds:
            steady = {n: self._reading(meters, kind, n, earlier, curve) for n in profile.reading_batches}
            for n, gas in steady.items():
                self.found[f"{name}/{kind}/{n}"] = Gas(cold[kind, n], gas)
            if profile.largest_batch:
                count, gas = self._largest(meters, kind, earlier, curve, max(steady), steady[max(steady)])
                self.counts[f"{name}/{kind}/largest"] = count
                self.found[f"{name}/{kind}/largest"] = Gas(None, gas)
        return owners, meters

    def _reading(self, meters: Sequence[str], kind: str, count: int, earlier: int, curve: KeyType) -> int:
        gas = self._try_reading(meters, kind, count, earlier, curve)
        if gas is None:
            raise errors.BusbarError(f"{count} readings do not fit a transaction")
        return gas

    def _try_reading(self, meters: Sequence[str], kind: str, count: int, earlier: int, curve: KeyType) -> int | None:
        growth = READINGS[kind]
        imported, exported = 500 * earlier + growth.import_wh, 700 * earlier + growth.export_wh
        return self.market.fits(self.market.read(meters[:count], imported, exported, curve))

    def _largest(
        self, meters: Sequence[str], kind: str, earlier: int, curve: KeyType, count: int, gas: int
    ) -> tuple[int, int]:
        """The largest batch that fits a transaction, and its gas; from one that does."""
        rate = gas // count
        while count < len(meters):
            step, found = min(len(meters) - count, (TRANSACTION_GAS_CAP - gas) // rate), None
            while step > 0 and found is None:
                found = self._try_reading(meters, kind, count + step, earlier, curve)
                step = step // 2 if found is None else step
            if found is None:
                break
            count, gas, rate = count + step, found, (found - gas) // step
        return count, gas


def waiting(place: int) -> Order:
    """An order of a sorted batch: neighbours among those waiting, buyers and sellers in turn."""
    return Order(Side(place % 2), 401 + place * MAX_TICK // WAITING_ORDERS, 1_000)


def ladder_order(participant: int, place: int) -> Order:
    """An order of a bundle of neighbouring ticks; participants in turn buy and sell."""
    return Order(Side(participant % 2), 401 + place, 1_000)


def standing_order(participant: int, place: int, count: int) -> Order:
    """A standing order far above what is paid; neighbours in a call have neighbouring ticks."""
    return Order(Side.ASK, 460 + (participant * count + place) % 500, 1_000, MAX_LIFE)


def random_book(draw: Draw, orders: int) -> Book:
    """As many bids as asks at random ticks."""
    return [draw.order(Side.BID) for _ in range(orders // 2)], [draw.order(Side.ASK) for _ in range(orders // 2)]


def _page_ends() -> list[tuple[int, int]]:
    """Last ticks of the last two full pages, for every size that a page of the book may reasonably have.

    Where a price interval ends at both, clearing reads whatever it can ever have to read.
    """
    return [(MAX_TICK // page * page - page, MAX_TICK // page * page) for page in (16, 24, 30, 32, 36, 42, 48, 64)]


def two_orders(lower: int, upper: int) -> Book:
    """A book whose price interval has these ends: demand equals supply from the lower one on."""
    return [Order(Side.BID, upper, 1_000)], [Order(Side.ASK, lower, 1_000)]


def all_but_between(lower: int, upper: int) -> Book:
    """Such a book with volume at every tick, save between the ends."""
    above = _ladder(Side.BID)[upper:]
    return [*above, Order(Side.BID, upper, 100 * (lower - len(above)))], _ladder(Side.ASK)[:lower]


def _ladder(side: Side) -> list[Order]:
    return [Order(side, tick, 100) for tick in range(1, MAX_TICK + 1)]


def measure(profile: Profile, say: Callable[[str], None] = lambda _: None) -> dict[str, dict[str, int]]:
    """The figures of a profile by key: gas of the call cold and steady, how many share it, and the target for each."""
    with tempfile.TemporaryDirectory(prefix="busbar-bench-") as folder, Devnet(timestamp=START) as devnet:
        measurement = Measurement(BenchMarket(devnet, Path(folder)), profile)
        for name, step in measurement.steps:
            say(name)
            step()
    figures = {}
    for row in rows(profile):
        cold, steady = measurement.found[row.key]
        values = {
            "cold": cold,
            "count": measurement.counts.get(row.key, row.count),
            "steady": steady,
            "target": row.target,
        }
        figures[row.key] = {name: value for name, value in values.items() if value is not None}
    return figures


# ---- showing


def each(figures: dict[str, int], name: str) -> str:
    """A figure per order, reading or account, rounded up."""
    return f"{-(-figures[name] // figures['count']):,}" if name in figures else ""


def verdict(figures: dict[str, int]) -> str:
    """Whether the target is met, and by how much it is not."""
    if "target" not in figures:
        return "reported"
    over = figures["steady"] - figures["target"] * figures["count"]
    return "PASS" if over <= 0 else f"over by {-(-over // figures['count']):,}"


def cells(row: Row, figures: dict[str, int]) -> list[str]:
    """A row of the table as texts."""
    title = row.title if row.key.split("/")[-1] != "largest" else row.title.replace("largest", str(figures["count"]))
    shared = " (each)" if figures["count"] > 1 else ""
    target = f"{figures['target']:,}" if "target" in figures else ""
    cold, steady = each(figures, "cold"), each(figures, "steady")
    return [title + shared, row.prototype, target, cold, steady, verdict(figures)]


HEADERS = ("operation", "prototypes", "target", "cold", "steady", "")


def groups(profile: Profile, figures: dict[str, dict[str, int]]) -> list[list[list[str]]]:
    """The table's rows, group by group."""
    found: dict[str, list[list[str]]] = {}
    for row in rows(profile):
        found.setdefault(row.key.split("/", maxsplit=1)[0], []).append(cells(row, figures[row.key]))
    return list(found.values())


def show(console: Console, profile: Profile, figures: dict[str, dict[str, int]]) -> None:
    """Prints the table."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for header in HEADERS:
        table.add_column(header, justify="left" if header in ("operation", "") else "right", no_wrap=True)
    for group in groups(profile, figures):
        for texts in group:
            style = {"PASS": "green", "repo": "dim", "over": "red"}[texts[-1][:4]]
            table.add_row(*map(escape, texts[:-1]), f"[{style}]{texts[-1]}[/]")
        table.add_section()
    console.print(table)


def markdown(profile: Profile, figures: dict[str, dict[str, int]]) -> str:
    """The table for reading beside the code."""
    used = tools_used()
    lines = [
        "# Gas",
        "",
        f"Printed by `{COMMAND}`; the same figures are in [{SNAPSHOT}]({SNAPSHOT}). Receipts of anvil {used['anvil']}",
        f"under the rules of {used['hardfork'].title()}, contracts compiled by solc {used['solc']}; the transaction's",
        "21,000 are counted in, refunds taken off. Cold: the storage words were never used before. Steady: they were,",
        "in earlier epochs. The whole life of an order is entering and settling it: a steady figure of orders settles",
        "as many of the epoch before. `each` is per order, reading or account of one call, rounded up.",
        "",
        "![Clearing by orders](clear_by_orders.svg)",
        "![Clearing by ticks](clear_by_ticks.svg)",
        "",
        f"| {' | '.join(HEADERS)} |",
        "|---|--:|--:|--:|--:|---|",
    ]
    lines += [f"| {' | '.join(texts)} |" for group in groups(profile, figures) for texts in group]
    return "\n".join(lines) + "\n"


def tools_used() -> dict[str, str]:
    """What the figures depend on besides the contracts."""
    packages = json.loads((tools.project_root() / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return {"anvil": packages["@foundry-rs/anvil"], "hardfork": "osaka", "solc": tools.SOLC_VERSION}


def snapshot(figures: dict[str, dict[str, int]]) -> str:
    """The committed file."""
    data = {"command": COMMAND, "figures": figures, "tools": tools_used()}
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def committed_snapshot() -> dict[str, Any]:
    """The committed figures.

    Raises:
        BusbarError: There are none.
    """
    try:
        data: dict[str, Any] = json.loads((RESULTS / SNAPSHOT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise errors.BusbarError(f"{RESULTS / SNAPSHOT} is missing: write it with `{COMMAND}`") from None
    return data


def differences(committed: dict[str, Any], figures: dict[str, dict[str, int]], *, whole: bool) -> list[str]:
    """Every figure that is not the committed one, a line each; figures left out count if everything was measured."""
    names = sorted({*figures, *(committed["figures"] if whole else ())})
    lines = []
    for key in names:
        was, now = committed["figures"].get(key, {}), figures.get(key, {})
        for name in sorted({*was, *now}):
            before, after = was.get(name), now.get(name)
            if before != after:
                change = f"{after - before:+,}" if before is not None and after is not None else "new or gone"
                lines.append(f"{key} {name}: {before} -> {after} ({change})")
    return lines


# ---- comparing with public systems


ANCHOR_HEADERS = (
    "system",
    "figures",
    "enter one order: alone / 100 at a time",
    "clear 10 / 100 / 1,000 / 10,000 orders",
    "claim: alone / 100 at a time",
    "whole life of an order",
)


def anchors_table(figures: dict[str, dict[str, int]], systems: Sequence[dict[str, Any]]) -> str:
    """Public systems and Busbar, a row each."""
    clears = " / ".join(thousands(figures[f"clear/orders/{n}"]["steady"]) for n in WHOLE.order_counts if n <= 10_000)
    worst_order = max(figures["order/buy"]["steady"], figures["order/sell"]["steady"])
    life = -(-figures["hundred/random_both_sides"]["steady"] // ORDERS_IN_A_CALL)
    lines = [
        f"| {' | '.join(ANCHOR_HEADERS)} |",
        "|---|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {s['name']} | {s['how']} | {s['enter']} | {s['clear']} | {s['claim']} | {s['life']} |" for s in systems
    ]
    lines.append(
        f"| **Busbar, direct** | measured | **{thousands(worst_order)} / {thousands(life)}** | **{clears}** "
        f"| **none: in the next order** | **{thousands(worst_order)} alone, {thousands(life)} of 100** |"
    )
    each = [figures["relayed/sorted/100"]["steady"] / 100, figures["relayed/unsorted/both_sides"]["steady"] / 100]
    each += [figures[f"relayed/bundles/{people}x{n}"]["steady"] / (people * n) for people, n in ((100, 2), (20, 100))]
    signed, unsorted, two, hundred = (thousands(math.ceil(gas)) for gas in each)
    lines.append(
        f"| **Busbar, signed** | measured | signed: 0 | **{clears}** | **none: in the next order** "
        f"| **{signed} sorted, {unsorted} in any order; {two} at 2 a signature, {hundred} at 100** |"
    )
    return "\n".join(lines)


def thousands(gas: int) -> str:
    """Gas in thousands, one decimal place, rounded up."""
    tenths = -(-gas // 100)
    return f"{tenths // 10:,}.{tenths % 10}k"


def fill_anchors(figures: dict[str, dict[str, int]]) -> None:
    """Puts the table into bench/anchors.md, between its marks."""
    systems = json.loads(PUBLIC_SYSTEMS.read_text(encoding="utf-8"))["systems"]
    text = ANCHORS.read_text(encoding="utf-8")
    begin, end = "<!-- table: written by make bench-gas -->", "<!-- end of table -->"
    pattern = re.compile(f"({re.escape(begin)}).*({re.escape(end)})", re.DOTALL)
    table = anchors_table(figures, systems)
    ANCHORS.write_text(pattern.sub(lambda m: f"{m[1]}\n{table}\n{m[2]}", text), encoding="utf-8")


def plot(folder: Path) -> None:
    """Draws the plots of the snapshot in a folder."""
    script = [str(tools.node_binary()), str(FOLDER / "plot.mjs"), str(folder / SNAPSHOT), str(PUBLIC_SYSTEMS)]
    subprocess.run([*script, str(folder)], check=True)


def write(profile: Profile, figures: dict[str, dict[str, int]], folder: Path) -> None:
    """Writes snapshot, table and plots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SNAPSHOT).write_text(snapshot(figures), encoding="utf-8")
    (folder / TABLE).write_text(markdown(profile, figures), encoding="utf-8")
    plot(folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes or compares."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Measure what everything costs in gas.")
    parser.add_argument("--quick", action="store_true", help="small books and batches only; writes nothing by itself")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a figure is not the committed one")
    parser.add_argument("--out", type=Path, help="folder to write to, bench/results if not given")
    options = parser.parse_args(arguments)
    profile = QUICK if options.quick else WHOLE
    console, progress = Console(width=WIDTH), Console(stderr=True)
    try:
        with progress.status("deploying") as status:
            figures = measure(profile, status.update)
        show(console, profile, figures)
        if options.check:
            committed = committed_snapshot()
            changed = differences(committed, figures, whole=not options.quick)
            console.print("\n".join(changed) or "every figure is the committed one", highlight=False, markup=False)
            return 1 if changed else 0
        if options.out or not options.quick:
            write(profile, figures, options.out or RESULTS)
        if not options.quick and not options.out:
            fill_anchors(figures)
    except errors.BusbarError as problem:
        progress.print(str(problem), markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
