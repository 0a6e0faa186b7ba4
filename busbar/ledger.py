"""The market's books, kept a second time: rebuilt from events with the reference auction, then held against the chain.

`rebuild` reads nothing but events. `audit` compares what came out with the contracts' own state at one block, sum by
sum and account by account, to the unit. Neither asks a contract to calculate anything.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from busbar.chain import Account, Chain, Event, Imports, Register
from busbar.clearing import Result, clear, dust, escrow, fill, histogram, settle
from busbar.orders import Order, Side, order_id
from busbar.readings import meter_id_text
from busbar.results import AuditCheck
from busbar.units import ENERGY_UNIT_WEI, ENERGY_UNITS_PER_WH, GRID_WEI_PER_WH, Money

KINDS: tuple[tuple[str, str], ...] = (
    ("Registry", "MeterAssigned"),
    ("Registry", "MeterReplaced"),
    ("Trading", "Deposited"),
    ("Trading", "Withdrawn"),
    ("Trading", "AccountSet"),
    ("Trading", "OrdersEntered"),
    ("Trading", "OrderCancelled"),
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
    """An order as it was entered; `cancelled` if it was taken back."""

    account: str
    order_id: int
    order: Order
    tx_hash: str
    cancelled: bool = False


@dataclass(slots=True)
class EpochBook:
    """One zone's epoch.

    Attributes:
        orders: Everything entered, cancelled orders included.
        on_chain: The result in the contract's event; None until it was cleared.
        cleared_block: Block of that event.
        clear_tx: Transaction of that event.
    """

    orders: list[PlacedOrder] = field(default_factory=list)
    on_chain: Result | None = None
    cleared_block: int = 0
    clear_tx: str = ""

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
    import_queue: deque[tuple[int, int]] = field(default_factory=deque)
    """Import not retired: (interval end, Wh), oldest first. Retiring takes from the front."""


@dataclass(slots=True)
class Ledger:
    """The rebuilt books."""

    accounts: dict[str, Book] = field(default_factory=lambda: defaultdict(Book))
    epochs: dict[tuple[int, int], EpochBook] = field(default_factory=lambda: defaultdict(EpochBook))
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

    @property
    def energy_dust_uwh(self) -> int:
        """Energy that rounding left in the contract, in accounting units."""
        return sum(dust(book.reference(), [p.order for p in book.live]).energy_units for book in self._ended())

    @property
    def money_dust_units(self) -> int:
        """Money that rounding left in the contract, in money units."""
        return sum(dust(book.reference(), [p.order for p in book.live]).money_units for book in self._ended())

    def _ended(self) -> list[EpochBook]:
        return [book for book in self.epochs.values() if book.on_chain is not None]


def rebuild(events: Iterable[Event], money: Money, current_epoch: int) -> Ledger:
    """The books after these events.

    Args:
        events: All events of `KINDS` from the market's first block on, in order of the chain.
        money: Money units of the market.
        current_epoch: The chain's epoch; orders of this one are open, those before are settled.

    Returns:
        Books in which every ended order is settled by the reference auction.
    """
    rebuilding = _Rebuilding(money)
    for event in events:
        rebuilding.apply(event)
    rebuilding.settle(current_epoch)
    return rebuilding.ledger


class _Rebuilding:
    def __init__(self, money: Money) -> None:
        self.ledger = Ledger()
        self.money = money
        self.owners: dict[str, str] = {}
        self.registers: dict[str, tuple[int, int]] = {}
        self.parked: dict[int, tuple[str, int, int]] = {}
        self.interval_end: dict[str, int] = {}

    def apply(self, event: Event) -> None:
        handler = getattr(self, "_on_" + event.name)
        handler(event, event.args)

    # ------------------------------------------------------------- registry, metering

    def _on_MeterAssigned(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        self.owners[meter_id_text(args["meterId"])] = args["owner"]

    def _on_MeterReplaced(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        self._grow(event, meter_id, args["finalImportWh"], args["finalExportWh"])

    def _on_RegisterOpened(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        self.registers[meter_id] = (args["importWh"], args["exportWh"])
        self.interval_end[meter_id] = args["openedAt"]

    def _on_ReadingAccepted(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        self.interval_end[meter_id] = args["intervalEnd"]
        before = self.registers[meter_id]
        self._grow(event, meter_id, args["importWh"], args["exportWh"])
        self.ledger.readings.append(
            AcceptedReading(
                meter_id,
                self.owners[meter_id],
                args["intervalEnd"],
                args["importWh"],
                args["exportWh"],
                args["importWh"] - before[0],
                args["exportWh"] - before[1],
                event.block,
                event.tx_hash,
            )
        )

    def _grow(self, _: Event, meter_id: str, import_wh: int, export_wh: int) -> None:
        before = self.registers[meter_id]
        self.registers[meter_id] = (import_wh, export_wh)
        self.ledger.growth_import_wh[meter_id] += import_wh - before[0]
        self.ledger.growth_export_wh[meter_id] += export_wh - before[1]
        self._credit(meter_id, self.owners[meter_id], import_wh - before[0], export_wh - before[1])

    def _credit(self, meter_id: str, owner: str, import_wh: int, export_wh: int) -> None:
        book = self.ledger.accounts[owner]
        book.minted_wh += export_wh
        book.energy_free_uwh += export_wh * ENERGY_UNITS_PER_WH
        book.owed_wh += import_wh
        if import_wh > 0:
            book.import_queue.append((self.interval_end[meter_id], import_wh))
        elif import_wh < 0:
            # Growth was parked right after it was booked: take the newest entry back.
            end, energy_wh = book.import_queue.pop()
            if energy_wh + import_wh:
                book.import_queue.append((end, energy_wh + import_wh))

    def _on_GrowthParked(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id = meter_id_text(args["meterId"])
        self.parked[args["id"]] = (meter_id, args["importWh"], args["exportWh"])
        self.ledger.parked_import_wh += args["importWh"]
        self.ledger.parked_export_wh += args["exportWh"]
        self._credit(meter_id, args["owner"], -args["importWh"], -args["exportWh"])

    def _on_ParkedReleased(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        meter_id, import_wh, export_wh = self.parked.pop(args["id"])
        self.ledger.parked_import_wh -= import_wh
        self.ledger.parked_export_wh -= export_wh
        self._credit(meter_id, self.owners[meter_id], import_wh, export_wh)

    def _on_Retired(self, event: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        energy_wh = args["previousWh"] + args["currentWh"]
        book = self.ledger.accounts[args["account"]]
        book.retired_wh += energy_wh
        if not args["fromWallet"]:
            book.energy_free_uwh -= energy_wh * ENERGY_UNITS_PER_WH
        self.ledger.retired.append((event.block, args["account"], energy_wh))
        while energy_wh:
            end, oldest_wh = book.import_queue.popleft()
            taken = min(oldest_wh, energy_wh)
            energy_wh -= taken
            if oldest_wh > taken:
                book.import_queue.appendleft((end, oldest_wh - taken))

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
        self.ledger.accounts[args["account"]]  # noqa: B018  (a participant without any movement has a book, too)

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
        account, epoch = args["account"], args["epoch"]
        for i, packed in enumerate(args["orders"]):
            order = Order.unpack(packed)
            placed = PlacedOrder(account, order_id(account, epoch, args["firstIndex"] + i), order, event.tx_hash)
            self.ledger.epochs[(args["zone"], epoch)].orders.append(placed)
            self._lock(account, order, 1)

    def _on_OrderCancelled(self, _: Event, args: Mapping[str, Any]) -> None:  # noqa: N802
        wanted = order_id(args["account"], args["epoch"], args["index"])
        for placed in self.ledger.epochs[(args["zone"], args["epoch"])].orders:
            if placed.order_id == wanted:
                placed.cancelled = True
                self._lock(args["account"], placed.order, -1)

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
            r["lowerTick"], r["upperTick"], r["longSide"], r["filledWh"], r["offeredWh"], r["volumeWh"]
        )
        book.cleared_block, book.clear_tx = event.block, event.tx_hash

    def settle(self, current_epoch: int) -> None:
        """Settles the orders of every ended epoch by the reference."""
        for (_, epoch), epoch_book in self.ledger.epochs.items():
            if epoch >= current_epoch:
                continue
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
    sold_uwh, bought_uwh = sum(b.sold_uwh for b in books), sum(b.bought_uwh for b in books)
    paid, earned = sum(b.paid_units for b in books), sum(b.earned_units for b in books)
    cleared = [book for book in ledger.epochs.values() if book.on_chain is not None]
    agreeing = sum(book.on_chain == book.reference() for book in cleared)
    same = [_agrees(ledger.accounts[a.address], a) for a in state.accounts]
    meters = {r.meter_id: (r.import_wh, r.export_wh) for r in state.registers}
    newest = {r.meter_id: (r.import_register_wh, r.export_register_wh) for r in ledger.readings}
    read = [meters.get(m) == registers for m, registers in newest.items()]
    donated_wei = state.grid_held_wei - state.energy_total_uwh * ENERGY_UNIT_WEI
    given_wei = state.quote_held_wei - money.to_wei(state.money_total_units)
    return [
        _equal(
            "GRID minted = export metered",
            ledger.minted_wei // GRID_WEI_PER_WH,
            growth_export_wh - ledger.parked_export_wh,
            "Wh",
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
            sold_uwh,
            bought_uwh + ledger.energy_dust_uwh,
            "micro-Wh",
            "What sellers gave against what buyers got; the difference is rounding, counted order by order.",
        ),
        _equal(
            "money paid = money earned + dust",
            paid,
            earned + ledger.money_dust_units,
            "money units",
            "What buyers paid against what sellers received; the difference is rounding, counted order by order.",
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
            "tokens cover what is held",
            donated_wei >= 0 and given_wei >= 0,
            f"{state.grid_held_wei} GRID, {state.quote_held_wei} quote",
            f"{state.energy_total_uwh * ENERGY_UNIT_WEI} GRID, {money.to_wei(state.money_total_units)} quote",
            "wei",
            "The tokens Trading really owns against what it owes.",
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
            "accounts as the reference settles them",
            sum(same),
            len(same),
            "accounts",
            "Free and locked energy and money of each account, rebuilt from events alone.",
        ),
        _equal(
            "registers as last read",
            sum(read),
            len(read),
            "meters",
            "Each meter's registers on chain against its newest accepted reading.",
        ),
    ]


def _agrees(book: Book, account: Account) -> bool:
    return (book.energy_free_uwh, book.money_free_units, book.energy_escrow_uwh, book.money_escrow_units) == (
        account.energy_free_uwh,
        account.money_free_units,
        account.energy_escrow_uwh,
        account.money_escrow_units,
    )


def _equal(name: str, left: int, right: int, unit: str, meaning: str) -> AuditCheck:
    return _check(name, left == right, str(left), str(right), unit, meaning)


def _check(name: str, ok: bool, left: str, right: str, unit: str, meaning: str) -> AuditCheck:  # noqa: FBT001
    return AuditCheck(name=name, ok=ok, left=left, right=right, unit=unit, meaning=meaning)
