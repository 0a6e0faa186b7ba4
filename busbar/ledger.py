"""The market's books, kept a second time: rebuilt from events with the reference auction, then held against the chain.

`rebuild` reads nothing but events. `audit` compares what came out with the contracts' own state at one block, sum by
sum and account by account, to the unit. Neither asks a contract to calculate anything.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from busbar.chain import Account, Chain, Event, Imports, Register
from busbar.clearing import Fill, LongSide, Result, clear, dust, escrow, fill, histogram, remainder, settle
from busbar.orders import Order, Side, order_id
from busbar.readings import meter_id_text
from busbar.results import AuditCheck
from busbar.signing import EnteredBundle, unpack_orders
from busbar.units import (
    ENERGY_UNIT_WEI,
    ENERGY_UNITS_PER_WH,
    GRACE_EPOCHS,
    GRID_WEI_PER_WH,
    MIN_ORDER_WH,
    PERIOD_EPOCHS,
    Money,
)

KINDS: tuple[tuple[str, str], ...] = (
    ("Registry", "MeterAssigned"),
    ("Registry", "MeterReplaced"),
    ("Trading", "Deposited"),
    ("Trading", "Withdrawn"),
    ("Trading", "AccountSet"),
    ("Trading", "OrdersEntered"),
    ("Trading", "SignedOrderEntered"),
    ("Trading", "BundleEntered"),
    ("Trading", "NonceUsed"),
    ("Trading", "OrderCancelled"),
    ("Trading", "OrdersRolled"),
    ("Trading", "EpochCleared"),
    ("Metering", "RegisterOpened"),
    ("Metering", "ReadingAccepted"),
    ("Metering", "GrowthParked"),
    ("Metering", "ParkedReleased"),
    ("Metering", "Retired"),
    ("Metering", "Surrendered"),
    ("GridToken", "Minted"),
    ("GridToken", "Transfer"),
)
"""Events the books are rebuilt from."""

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"


@dataclass(slots=True)
class PlacedOrder:
    """An order as it was entered, or rolled.

    Attributes:
        account: Whose.
        order_id: Its id.
        order: What entered.
        tx_hash: Transaction that entered it.
        cancelled: Whether it was taken back while its epoch was open, and so took no part.
        ended: Whether nothing of it rests any more: it was rolled, or what rested was cancelled.
    """

    account: str
    order_id: int
    order: Order
    tx_hash: str
    cancelled: bool = False
    ended: bool = False

    def rest(self, result: Result, epochs: int) -> Order | None:
        """What rests of it some epochs after its own, none of which it was rolled into; None if it has ended."""
        left_wh = remainder(result, self.order)
        if self.cancelled or self.ended or self.order.life < epochs or left_wh < MIN_ORDER_WH:
            return None
        return replace(self.order, quantity_wh=left_wh)


@dataclass(slots=True)
class EpochBook:
    """One zone's epoch.

    Attributes:
        orders: Everything entered, cancelled orders included.
        on_chain: The result in the contract's event; None until it was cleared.
        cleared_block: Block of that event.
        clear_tx: Transaction of that event.
        settled: Whether the epoch has ended, cleared or not, and its orders are settled in the books.
    """

    orders: list[PlacedOrder] = field(default_factory=list)
    on_chain: Result | None = None
    cleared_block: int = 0
    clear_tx: str = ""
    settled: bool = False

    @property
    def live(self) -> list[PlacedOrder]:
        """Orders that take part in the auction."""
        return [placed for placed in self.orders if not placed.cancelled]

    def reference(self) -> Result:
        """What the reference auction makes of the orders."""
        return clear(*histogram([placed.order for placed in self.live]))


@dataclass(slots=True)
class AcceptedReading:
    """A reading that counted, with its growth over the reading before."""

    meter_id: str
    account: str
    interval_end: int
    import_register_wh: int
    export_register_wh: int
    import_wh: int
    export_wh: int
    block: int
    tx_hash: str


class Owed(NamedTuple):
    """Metered import for which no GRID was retired.

    Attributes:
        period: Settlement period in which the reading was accepted.
        interval_end: End of the interval, Unix seconds.
        energy_wh: How much of it.
        tx_hash: Transaction the reading came with.
    """

    period: int
    interval_end: int
    energy_wh: int
    tx_hash: str


class Grown(NamedTuple):
    """Growth of a register that counted: accepted, or taken back since it was parked (negative), or released.

    Attributes:
        kind: "metered", "parked" or "released".
        interval_end: End of the interval it counts for, Unix seconds.
        import_wh: Import.
        export_wh: Export.
        tx_hash: Transaction it came with.
    """

    kind: str
    interval_end: int
    import_wh: int
    export_wh: int
    tx_hash: str


@dataclass(frozen=True, slots=True)
class Continued:
    """What a contract said was left of standing orders, and what the reference leaves of them."""

    epoch: int
    block: int
    account: str
    expected: tuple[Order, ...]
    found: tuple[Order, ...]


@dataclass(slots=True)
class Book:
    """One account as the events tell it. Energy in accounting units or Wh, money in money units."""

    energy_in_uwh: int = 0
    energy_out_uwh: int = 0
    money_in_units: int = 0
    money_out_units: int = 0
    minted_wh: int = 0
    owed_wh: int = 0
    retired_wh: int = 0
    surrendered_wh: int = 0
    energy_free_uwh: int = 0
    money_free_units: int = 0
    energy_escrow_uwh: int = 0
    money_escrow_units: int = 0
    bought_uwh: int = 0
    sold_uwh: int = 0
    paid_units: int = 0
    earned_units: int = 0
    nonce: int = 0
    """Lowest nonce that a signed message may still use."""
    outstanding: deque[Owed] = field(default_factory=deque)
    """Import that GRID can still be retired against, oldest first. Retiring takes from the front."""
    grid_import: list[Owed] = field(default_factory=list)
    """Import whose time to be retired against has passed."""
    grown: list[Grown] = field(default_factory=list)
    """Everything metered, in order of the chain."""

    @property
    def outstanding_wh(self) -> int:
        """Import that GRID can still be retired against."""
        return sum(owed.energy_wh for owed in self.outstanding)

    @property
    def grid_import_wh(self) -> int:
        """Import bought from the grid for good."""
        return sum(owed.energy_wh for owed in self.grid_import)

    def expire(self, epoch: int) -> None:
        """Turns import of earlier settlement periods into grid import, as of an epoch."""
        period, place = divmod(epoch, PERIOD_EPOCHS)
        retirable = period - 1 if place < GRACE_EPOCHS else period
        while self.outstanding and self.outstanding[0].period < retirable:
            self.grid_import.append(self.outstanding.popleft())


@dataclass(slots=True)
class Ledger:
    """The rebuilt books."""

    accounts: dict[str, Book] = field(default_factory=lambda: defaultdict(Book))
    epochs: dict[tuple[int, int], EpochBook] = field(default_factory=lambda: defaultdict(EpochBook))
    registers: dict[str, Register] = field(default_factory=dict)
    readings: list[AcceptedReading] = field(default_factory=list)
    growth_import_wh: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    growth_export_wh: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    parked_import_wh: int = 0
    parked_export_wh: int = 0
    minted_wei: int = 0
    burnt_wei: int = 0
    retired: list[tuple[int, str, int]] = field(default_factory=list)
    """(block, account, Wh) of every retirement and surrender."""
    minted: list[tuple[int, int]] = field(default_factory=list)
    """(block, Wh) of every mint."""
    continued: list[Continued] = field(default_factory=list)
    """Every time standing orders were rolled, or cancelled while they rested."""
    resting: dict[str, int] = field(default_factory=dict)
    """Accounts of which something rests in the end, and how many orders their newest epoch has."""

    @property
    def energy_dust_uwh(self) -> int:
        """Energy that rounding left in the contract, in accounting units."""
        return sum(dust(book.reference(), [p.order for p in book.live]).energy_units for book in self._ended())

    @property
    def money_dust_units(self) -> int:
        """Money that rounding left in the contract, in money units."""
        return sum(dust(book.reference(), [p.order for p in book.live]).money_units for book in self._ended())

    def traded(self) -> tuple[Fill, Fill]:
        """What all sellers gave and earned, and all buyers took and paid, by the results the contract announced."""
        sums = {side: [0, 0] for side in Side}
        for book in self._ended():
            result = book.on_chain or book.reference()
            for placed in book.live:
                filled, side = fill(result, placed.order), sums[placed.order.side]
                side[0] += filled.energy_units
                side[1] += filled.money_units
        return Fill(*sums[Side.ASK]), Fill(*sums[Side.BID])

    def _ended(self) -> list[EpochBook]:
        return [book for book in self.epochs.values() if book.settled]


def rebuild(events: Iterable[Event], money: Money, epoch_of: Callable[[int], int], current_epoch: int) -> Ledger:
    """The books after these events.

    Args:
        events: All events of `KINDS` from the market's first block on, in order of the chain.
        money: Money units of the market.
        epoch_of: The epoch a block is in, by its number: events do not say when they happened.
        current_epoch: The chain's epoch; orders of this one are open, those before are settled.

    Returns:
        Books in which every ended order is settled by the reference auction.
    """
    rebuilding = _Rebuilding(money, epoch_of)
    for event in events:
        rebuilding.apply(event)
    rebuilding.settle(current_epoch)
    return rebuilding.ledger


@dataclass(slots=True)
class _Newest:
    """An account's orders of the newest epoch in which it has any, by index."""

    zone: int
    epoch: int
    orders: list[PlacedOrder] = field(default_factory=list)


class _Rebuilding:
    def __init__(self, money: Money, epoch_of: Callable[[int], int]) -> None:
        self.ledger = Ledger()
        self.money = money
        self.epoch_of = epoch_of
        self.owners: dict[str, str] = {}
        self.parked: dict[int, tuple[str, int, int]] = {}
        self.newest: dict[str, _Newest] = {}
        self.results: dict[tuple[int, int], Result] = {}

    def apply(self, event: Event) -> None:
        handler = getattr(self, "_on_" + event.name)
        handler(event, event.args)

    # ------------------------------------------------------------- registry, metering

    def _on_MeterAssigned(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self.owners[meter_id_text(args["meterId"])] = args["owner"]

    def _on_MeterReplaced(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        end = self.ledger.registers[meter_id].interval_end
        self._grow(event, Register(meter_id, end, args["finalImportWh"], args["finalExportWh"]))

    def _on_RegisterOpened(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        self.ledger.registers[meter_id] = Register(meter_id, args["openedAt"], args["importWh"], args["exportWh"])

    def _on_ReadingAccepted(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        before = self.ledger.registers[meter_id]
        self._grow(event, Register(meter_id, args["intervalEnd"], args["importWh"], args["exportWh"]))
        self.ledger.readings.append(
            AcceptedReading(
                meter_id,
                self.owners[meter_id],
                args["intervalEnd"],
                args["importWh"],
                args["exportWh"],
                args["importWh"] - before.import_wh,
                args["exportWh"] - before.export_wh,
                event.block,
                event.tx_hash,
            )
        )

    def _grow(self, event: Event, register: Register) -> None:
        meter_id = register.meter_id
        before = self.ledger.registers[meter_id]
        self.ledger.registers[meter_id] = register
        import_wh, export_wh = register.import_wh - before.import_wh, register.export_wh - before.export_wh
        self.ledger.growth_import_wh[meter_id] += import_wh
        self.ledger.growth_export_wh[meter_id] += export_wh
        self._credit(event, meter_id, import_wh, export_wh)

    def _credit(self, event: Event, meter_id: str, import_wh: int, export_wh: int, kind: str = "metered") -> None:
        book = self.ledger.accounts[self.owners[meter_id]]
        self._note(book, event, meter_id, kind, import_wh, export_wh)
        book.minted_wh += export_wh
        book.energy_free_uwh += export_wh * ENERGY_UNITS_PER_WH
        book.owed_wh += import_wh
        if import_wh:
            period = self.epoch_of(event.block) // PERIOD_EPOCHS
            end = self.ledger.registers[meter_id].interval_end
            book.outstanding.append(Owed(period, end, import_wh, event.tx_hash))

    def _note(self, book: Book, event: Event, meter_id: str, kind: str, import_wh: int, export_wh: int) -> None:
        if import_wh or export_wh:
            end = self.ledger.registers[meter_id].interval_end
            book.grown.append(Grown(kind, end, import_wh, export_wh, event.tx_hash))

    def _on_GrowthParked(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self.parked[args["id"]] = (meter_id_text(args["meterId"]), args["importWh"], args["exportWh"])
        self.ledger.parked_import_wh += args["importWh"]
        self.ledger.parked_export_wh += args["exportWh"]
        # The growth was booked by the event right before: take that back, its import being the newest entry.
        book = self.ledger.accounts[args["owner"]]
        self._note(book, event, meter_id_text(args["meterId"]), "parked", -args["importWh"], -args["exportWh"])
        book.minted_wh -= args["exportWh"]
        book.energy_free_uwh -= args["exportWh"] * ENERGY_UNITS_PER_WH
        book.owed_wh -= args["importWh"]
        if args["importWh"]:
            book.outstanding.pop()

    def _on_ParkedReleased(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id, import_wh, export_wh = self.parked.pop(args["id"])
        self.ledger.parked_import_wh -= import_wh
        self.ledger.parked_export_wh -= export_wh
        self._credit(event, meter_id, import_wh, export_wh, "released")

    def _on_Retired(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        energy_wh = args["previousWh"] + args["currentWh"]
        book = self.ledger.accounts[args["account"]]
        book.retired_wh += energy_wh
        if not args["fromWallet"]:
            book.energy_free_uwh -= energy_wh * ENERGY_UNITS_PER_WH
        self.ledger.retired.append((event.block, args["account"], energy_wh))
        book.expire(self.epoch_of(event.block))
        while energy_wh:
            oldest = book.outstanding.popleft()
            taken = min(oldest.energy_wh, energy_wh)
            energy_wh -= taken
            if oldest.energy_wh > taken:
                book.outstanding.appendleft(oldest._replace(energy_wh=oldest.energy_wh - taken))

    def _on_Surrendered(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        book = self.ledger.accounts[args["account"]]
        book.surrendered_wh += args["energyWh"]
        book.energy_free_uwh -= args["energyWh"] * ENERGY_UNITS_PER_WH
        self.ledger.retired.append((event.block, args["account"], args["energyWh"]))

    def _on_Minted(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self.ledger.minted_wei += args["amount"]
        self.ledger.minted.append((event.block, args["amount"] // GRID_WEI_PER_WH))

    def _on_Transfer(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        if args["to"] == ZERO_ADDRESS:
            self.ledger.burnt_wei += args["value"]

    # ------------------------------------------------------------------------ trading

    def _on_AccountSet(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self.ledger.accounts[args["account"]]  # A participant without any movement has a book, too.

    def _on_Deposited(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self._move(args, 1)

    def _on_Withdrawn(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self._move(args, -1)

    def _move(self, args: Mapping[str, Any], sign: int) -> None:
        book = self.ledger.accounts[args["account"]]
        if args["asset"] == 0:
            energy_uwh = args["amountWei"] // ENERGY_UNIT_WEI
            book.energy_free_uwh += sign * energy_uwh
            if sign > 0:
                book.energy_in_uwh += energy_uwh
            else:
                book.energy_out_uwh += energy_uwh
        else:
            units = self.money.from_wei(args["amountWei"])
            book.money_free_units += sign * units
            if sign > 0:
                book.money_in_units += units
            else:
                book.money_out_units += units

    def _on_OrdersEntered(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        orders = [Order.unpack(packed) for packed in args["orders"]]
        self._enter(event, args["account"], args["epoch"], args["zone"], args["firstIndex"], orders)

    def _on_SignedOrderEntered(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self._on_BundleEntered(event, args)

    def _on_BundleEntered(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        e = EnteredBundle.from_event(args)
        self._enter(event, e.account, e.epoch, e.zone, e.first_index, e.orders)
        self.ledger.accounts[e.account].nonce = e.nonce + 1

    def _on_NonceUsed(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self.ledger.accounts[args["account"]].nonce = args["nonce"] + 1

    def _enter(
        self, event: Event, account: str, epoch: int, zone: int, first_index: int, orders: Sequence[Order]
    ) -> None:
        if account not in self.newest or self.newest[account].epoch != epoch:
            self.newest[account] = _Newest(zone, epoch)
        for index, order in enumerate(orders, first_index):
            placed = PlacedOrder(account, order_id(account, epoch, index), order, event.tx_hash)
            self.ledger.epochs[(zone, epoch)].orders.append(placed)
            self.newest[account].orders.append(placed)
            self._lock(account, order, 1)

    def _on_OrdersRolled(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        account, zone, epoch = args["account"], args["zone"], args["epoch"]
        orders = unpack_orders(args["orders"])
        newest = self.newest[account]
        expected = tuple(rest.aged(epoch - newest.epoch) for _, rest in self._rests(newest, epoch))
        for placed in newest.orders:
            placed.ended = True
        self.ledger.continued.append(Continued(epoch, event.block, account, expected, orders))
        # What rested is free again, as everything is once its epoch has ended, and is locked by entering.
        self._enter(event, account, epoch, zone, 0, orders)

    def _on_OrderCancelled(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        account, epoch = args["account"], args["epoch"]
        wanted, now = order_id(account, epoch, args["index"]), self.epoch_of(event.block)
        newest = self.newest[account]
        if now > epoch:
            rests = self._rests(newest, now)
            expected = tuple(rest for placed, rest in rests if placed.order_id == wanted)
            found = (Order.unpack(args["order"]),)
            self.ledger.continued.append(Continued(now, event.block, account, expected, found))
        for placed in newest.orders:
            if placed.order_id == wanted and now > epoch:
                placed.ended = True
            elif placed.order_id == wanted:
                placed.cancelled = True
                self._lock(account, placed.order, -1)

    def _rests(self, newest: "_Newest", now: int) -> list[tuple[PlacedOrder, Order]]:
        """What rests in an epoch of an account's newest orders, whose own epoch is over."""
        if not any(placed.order.life for placed in newest.orders):
            return []
        place = (newest.zone, newest.epoch)
        if place not in self.results:
            self.results[place] = self.ledger.epochs[place].reference()
        found = [(placed, placed.rest(self.results[place], now - newest.epoch)) for placed in newest.orders]
        return [(placed, rest) for placed, rest in found if rest is not None]

    def _lock(self, account: str, order: Order, sign: int) -> None:
        book, locked = self.ledger.accounts[account], escrow(order)
        book.energy_free_uwh -= sign * locked.energy_units
        book.money_free_units -= sign * locked.money_units
        book.energy_escrow_uwh += sign * locked.energy_units
        book.money_escrow_units += sign * locked.money_units

    def _on_EpochCleared(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        book = self.ledger.epochs[(args["zone"], args["epoch"])]
        r = args["result"]
        book.on_chain = Result(
            r["lowerTick"], r["upperTick"], LongSide(r["longSide"]), r["filledWh"], r["offeredWh"], r["volumeWh"]
        )
        book.cleared_block, book.clear_tx = event.block, event.tx_hash

    def settle(self, current_epoch: int) -> None:
        """Settles the orders of every ended epoch by the reference, and ends periods whose time has passed."""
        for book in self.ledger.accounts.values():
            book.expire(current_epoch)
        for (_, epoch), epoch_book in self.ledger.epochs.items():
            if epoch >= current_epoch:
                continue
            epoch_book.settled = True
            result = epoch_book.reference()
            for placed in epoch_book.live:
                self._lock(placed.account, placed.order, -1)
                book = self.ledger.accounts[placed.account]
                locked, back = escrow(placed.order), settle(result, placed.order)
                book.energy_free_uwh += back.energy_units - locked.energy_units
                book.money_free_units += back.money_units - locked.money_units
                filled = fill(result, placed.order)
                if placed.order.side is Side.BID:
                    book.bought_uwh += filled.energy_units
                    book.paid_units += filled.money_units
                else:
                    book.sold_uwh += filled.energy_units
                    book.earned_units += filled.money_units
        for account, newest in self.newest.items():
            rests = self._rests(newest, current_epoch) if newest.epoch < current_epoch else []
            for _, rest in rests:
                self._lock(account, rest, 1)
            if rests:
                self.ledger.resting[account] = len(newest.orders)


@dataclass(frozen=True, slots=True)
class ChainState:
    """What the contracts hold at one block.

    Attributes:
        accounts: Trading accounts, settled.
        imports: Import ledgers.
        registers: Newest registers of every meter.
        energy_total_uwh: Energy that entered and has not left.
        money_total_units: Money likewise.
        grid_supply_wei: GRID in existence.
        grid_held_wei: GRID that Trading holds.
        quote_held_wei: Quote token that Trading holds.
    """

    accounts: Sequence[Account]
    imports: Sequence[Imports]
    registers: Sequence[Register]
    energy_total_uwh: int
    money_total_units: int
    grid_supply_wei: int
    grid_held_wei: int
    quote_held_wei: int


def read_state(chain: Chain, block: int) -> ChainState:
    """The contracts' state at a block."""
    participants = chain.participants(block)
    trading = chain.addresses["Trading"]
    energy, money = chain.view("Trading", "totals", block=block)
    return ChainState(
        chain.accounts(participants, block),
        chain.imports(participants, block),
        chain.registers(chain.meter_ids(block), block),
        energy,
        money,
        chain.view("GridToken", "totalSupply", block=block),
        chain.view("GridToken", "balanceOf", trading, block=block),
        chain.view("BahtToken", "balanceOf", trading, block=block),
    )


def audit(ledger: Ledger, state: ChainState, money: Money) -> list[AuditCheck]:
    """Every sum that must come out, each to the unit.

    Args:
        ledger: Books rebuilt from events.
        state: The contracts' state at the block of the last event.
        money: Money units of the market.
    """
    books = ledger.accounts.values()
    growth_export_wh = sum(ledger.growth_export_wh.values())
    growth_import_wh = sum(ledger.growth_import_wh.values())
    retired_wh = sum(book.retired_wh for book in books)
    open_wh = sum(ledger_.outstanding_wh + ledger_.grid_import_wh for ledger_ in state.imports)
    held_uwh = sum(a.energy_free_uwh + a.energy_escrow_uwh for a in state.accounts)
    held_units = sum(a.money_free_units + a.money_escrow_units for a in state.accounts)
    gave, took = ledger.traded()
    cleared = [book for book in ledger.epochs.values() if book.on_chain is not None]
    agreeing = sum(book.on_chain == book.reference() for book in cleared)
    same = [_agrees(ledger.accounts[a.address], a) for a in state.accounts]
    owed = [_owes(ledger.accounts[i.address], i) for i in state.imports]
    read = [ledger.registers.get(r.meter_id) == r for r in state.registers]
    donated_wei = state.grid_held_wei - state.energy_total_uwh * ENERGY_UNIT_WEI
    given_wei = state.quote_held_wei - money.to_wei(state.money_total_units)
    return [
        _equal(
            "GRID minted = export metered",
            ledger.minted_wei,
            (growth_export_wh - ledger.parked_export_wh) * GRID_WEI_PER_WH,
            "GRID wei",
            "Every watt-hour of GRID stands for a watt-hour that an export register grew by, less what is parked.",
        ),
        _equal(
            "GRID supply = minted - burnt",
            state.grid_supply_wei,
            ledger.minted_wei - ledger.burnt_wei,
            "GRID wei",
            "The token's total supply against its mint and burn events.",
        ),
        _equal(
            "energy sold = energy bought + dust",
            gave.energy_units,
            took.energy_units + ledger.energy_dust_uwh,
            "micro-Wh",
            "What sellers gave against what buyers got, by the results the contract announced; the difference is "
            "rounding, counted order by order by the reference.",
        ),
        _equal(
            "money paid = money earned + dust",
            took.money_units,
            gave.money_units + ledger.money_dust_units,
            "money units",
            "What buyers paid against what sellers received, by the results the contract announced; the difference "
            "is rounding, counted order by order by the reference.",
        ),
        _equal(
            "energy held = accounts + dust",
            state.energy_total_uwh,
            held_uwh + ledger.energy_dust_uwh,
            "micro-Wh",
            f"What the contract must hold against all accounts; {donated_wei} GRID wei beyond are donations.",
        ),
        _equal(
            "money held = accounts + dust",
            state.money_total_units,
            held_units + ledger.money_dust_units,
            "money units",
            f"What the contract must hold against all accounts; {given_wei} quote wei beyond are donations.",
        ),
        _check(
            "GRID owned covers energy held",
            donated_wei >= 0,
            str(state.grid_held_wei),
            str(state.energy_total_uwh * ENERGY_UNIT_WEI),
            "GRID wei",
            "The GRID tokens Trading really owns, at least what it owes; more is a donation.",
        ),
        _check(
            "quote owned covers money held",
            given_wei >= 0,
            str(state.quote_held_wei),
            str(money.to_wei(state.money_total_units)),
            "quote wei",
            "The quote tokens Trading really owns, at least what it owes; more is a donation.",
        ),
        _equal(
            "retired + outstanding + grid import = import",
            retired_wh + open_wh,
            growth_import_wh - ledger.parked_import_wh,
            "Wh",
            "Every metered watt-hour of import is covered by GRID, can still be, or is bought from the grid.",
        ),
        _equal(
            "epochs as the reference clears them",
            agreeing,
            len(cleared),
            "epochs",
            "Price, volume and rationing of each cleared epoch, worked out again from its orders in Python.",
        ),
        _equal(
            "standing orders as the reference leaves them",
            sum(one.expected == one.found for one in ledger.continued),
            len(ledger.continued),
            "times",
            "What was left of standing orders whenever they were rolled or cancelled, worked out again in Python.",
        ),
        _equal(
            "accounts as the reference settles them",
            sum(same),
            len(same),
            "accounts",
            "Free and locked energy and money and the lowest nonce of each account, rebuilt from events alone.",
        ),
        _equal(
            "import ledgers as rebuilt",
            sum(owed),
            len(owed),
            "accounts",
            "Outstanding and grid import of each account, rebuilt from events alone.",
        ),
        _equal(
            "registers as last read",
            sum(read),
            len(ledger.registers),
            "meters",
            "Each meter's registers on chain against its newest accepted reading, or those it joined with.",
        ),
    ]


def _agrees(book: Book, account: Account) -> bool:
    return (
        book.energy_free_uwh,
        book.money_free_units,
        book.energy_escrow_uwh,
        book.money_escrow_units,
        book.nonce,
    ) == (
        account.energy_free_uwh,
        account.money_free_units,
        account.energy_escrow_uwh,
        account.money_escrow_units,
        account.nonce,
    )


def _owes(book: Book, imports: Imports) -> bool:
    return (book.outstanding_wh, book.grid_import_wh) == (imports.outstanding_wh, imports.grid_import_wh)


def _equal(name: str, left: int, right: int, unit: str, meaning: str) -> AuditCheck:
    return _check(name, left == right, str(left), str(right), unit, meaning)


def _check(name: str, ok: bool, left: str, right: str, unit: str, meaning: str) -> AuditCheck:
    return AuditCheck(name=name, ok=ok, left=left, right=right, unit=unit, meaning=meaning)
