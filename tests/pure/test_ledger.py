"""The books rebuilt from events, and the audit: a good day passes, and every check fails when its sum is broken.

The day is made by hand, so that each figure below can be checked with pencil and paper:

- epoch 2: the roof exports 1,500 Wh, the kitchen imports 1,000 Wh and the other kitchen 200 Wh.
- The roof asks 301 for 700 and for 800 Wh; the kitchen bids 400 for 1,000 Wh. The price is 301, asks are rationed:
  R = 1,000 of M = 1,500, so the shares are 466,666,666.67 and 533,333,333.33 micro-Wh. Rounding up what is given and
  down what is earned leaves a micro-Wh and a money unit in the market.
- epoch 3: the kitchen retires the 1,000 Wh, and one bid is open.
"""

from dataclasses import replace

import pytest

from busbar.chain import Account, Event, Imports, Register
from busbar.clearing import LongSide, Result
from busbar.ledger import ZERO_ADDRESS, ChainState, audit, rebuild
from busbar.orders import Order, Side
from busbar.readings import meter_id_bytes
from busbar.units import ENERGY_UNIT_WEI, GRID_WEI_PER_WH, PERIOD_EPOCHS, SATANG_WEI, Money

ROOF, KITCHEN, OTHER = ("0x" + digit * 40 for digit in "123")
TRADING = "0x" + "9" * 40
MONEY = Money(SATANG_WEI)
WH = 10**6
"""Micro-Wh in a Wh."""
DEPOSIT_WEI = 100 * 10**18
DEPOSIT = DEPOSIT_WEI // MONEY.unit_wei

MINTED = "GRID minted = export metered"
SUPPLY = "GRID supply = minted - burnt"
SOLD = "energy sold = energy bought + dust"
PAID = "money paid = money earned + dust"
ENERGY_HELD = "energy held = accounts + dust"
MONEY_HELD = "money held = accounts + dust"
GRID_OWNED = "GRID owned covers energy held"
QUOTE_OWNED = "quote owned covers money held"
IMPORT = "retired + outstanding + grid import = import"
EPOCHS = "epochs as the reference clears them"
ACCOUNTS = "accounts as the reference settles them"
IMPORTS = "import ledgers as rebuilt"
REGISTERS = "registers as last read"
STANDING = "standing orders as the reference leaves them"
ALL = {MINTED, SUPPLY, SOLD, PAID, ENERGY_HELD, MONEY_HELD, GRID_OWNED, QUOTE_OWNED}
ALL |= {IMPORT, EPOCHS, ACCOUNTS, IMPORTS, REGISTERS, STANDING}


class Story:
    """Writes events down, a block each; `day` of them make an epoch."""

    def __init__(self):
        self.events = []
        self.epochs = [0]  # by block

    @property
    def block(self):
        return len(self.epochs) - 1

    def at(self, epoch):
        self.epochs.append(epoch)
        return self

    def tell(self, contract, name, **args):
        self.events.append(Event(contract, name, args, self.block, len(self.events), f"0x{len(self.events):064x}"))
        return self

    def joins(self, account, meter_id=None, import_wh=5_000, export_wh=3_000, deposit_wei=0):
        self.tell("Trading", "AccountSet", account=account, status=1, zone=1)
        if meter_id:
            meter = meter_id_bytes(meter_id)
            self.tell("Registry", "MeterAssigned", meterId=meter, owner=account, config={})
            self.tell("Metering", "RegisterOpened", meterId=meter, openedAt=100, importWh=import_wh, exportWh=export_wh)
        if deposit_wei:
            self.tell("Trading", "Deposited", account=account, asset=1, amountWei=deposit_wei)
        return self

    def reads(self, meter_id, end, import_wh, export_wh, minted_wh=0):
        meter = meter_id_bytes(meter_id)
        self.tell("Metering", "ReadingAccepted", meterId=meter, intervalEnd=end, importWh=import_wh, exportWh=export_wh)
        return self.mints(minted_wh) if minted_wh else self

    def parks(self, id_, meter_id, owner, import_wh=0, export_wh=0):
        meter = meter_id_bytes(meter_id)
        return self.tell(
            "Metering", "GrowthParked", id=id_, meterId=meter, owner=owner, importWh=import_wh, exportWh=export_wh
        )

    def mints(self, energy_wh):
        amount = energy_wh * GRID_WEI_PER_WH
        self.tell("GridToken", "Transfer", **{"from": ZERO_ADDRESS}, to=TRADING, value=amount)
        return self.tell("GridToken", "Minted", to=TRADING, amount=amount, meterId=bytes(32))

    def burns(self, energy_wh, holder=TRADING):
        amount = energy_wh * GRID_WEI_PER_WH
        return self.tell("GridToken", "Transfer", **{"from": holder}, to=ZERO_ADDRESS, value=amount)

    def enters(self, account, epoch, *orders, first=0):
        packed = tuple(order.pack() for order in orders)
        return self.tell(
            "Trading", "OrdersEntered", account=account, epoch=epoch, zone=1, firstIndex=first, orders=packed
        )

    def cancels(self, account, epoch, index, order):
        return self.tell(
            "Trading", "OrderCancelled", account=account, epoch=epoch, zone=1, index=index, order=order.pack()
        )

    def rolls(self, account, epoch, *orders):
        packed = b"".join(order.pack().to_bytes(6, "big") for order in orders)
        return self.tell("Trading", "OrdersRolled", account=account, epoch=epoch, zone=1, orders=packed)

    def clears(self, epoch, lower, upper, long_side, filled, offered, volume):
        result = {
            "price2": lower + upper,
            "lowerTick": lower,
            "upperTick": upper,
            "longSide": long_side,
            "filledWh": filled,
            "offeredWh": offered,
            "volumeWh": volume,
        }
        return self.tell("Trading", "EpochCleared", zone=1, epoch=epoch, result=result)

    def retires(self, account, previous_wh, current_wh, from_wallet=False):
        self.burns(previous_wh + current_wh, account if from_wallet else TRADING)
        return self.tell(
            "Metering",
            "Retired",
            account=account,
            previousWh=previous_wh,
            currentWh=current_wh,
            fromWallet=from_wallet,
        )

    def books(self, epoch=None):
        now = self.epochs[-1] if epoch is None else epoch
        return rebuild(self.events, MONEY, self.epochs.__getitem__, now)


def ask(tick, energy_wh):
    return Order(Side.ASK, tick, energy_wh)


def bid(tick, energy_wh):
    return Order(Side.BID, tick, energy_wh)


def the_day():
    story = Story()
    story.joins(ROOF, "ROOF-1").joins(KITCHEN, "KITCHEN-1", deposit_wei=DEPOSIT_WEI).joins(OTHER, "OTHER-1")
    story.at(2).reads("ROOF-1", 1_800, 5_000, 4_500).reads("KITCHEN-1", 1_800, 6_000, 3_000)
    story.reads("OTHER-1", 1_800, 5_200, 3_000).mints(1_500)
    story.at(2).enters(ROOF, 2, ask(301, 700), ask(301, 800)).enters(KITCHEN, 2, bid(400, 1_000))
    story.at(3).clears(2, 301, 301, 2, 1_000, 1_500, 1_000)
    story.at(3).retires(KITCHEN, 0, 1_000)
    story.at(3).enters(KITCHEN, 3, bid(220, 100))
    return story


GOOD = ChainState(
    accounts=(
        # Free energy: 1,500 Wh less what was given, both shares rounded up. Money: both rounded down.
        Account(ROOF, 1, 1, 2, 0, 0, 1_500 * WH - 466_666_667 - 533_333_334, 280_933_333_333 + 321_066_666_666, 0, 0),
        # It paid 1,000 Wh at 602 half ticks, and has locked 100 Wh at 2 x 220.
        Account(KITCHEN, 1, 1, 3, 1, 0, 0, DEPOSIT - 1_000 * WH * 602 - 100 * WH * 440, 0, 100 * WH * 440),
        Account(OTHER, 1, 1, 0, 0, 0, 0, 0, 0, 0),
    ),
    imports=(
        Imports(ROOF, 0, 0, 0, 0, True),
        Imports(KITCHEN, 0, 0, 0, 0, True),
        Imports(OTHER, 0, 200, 0, 0, True),
    ),
    registers=(
        Register("ROOF-1", 1_800, 5_000, 4_500),
        Register("KITCHEN-1", 1_800, 6_000, 3_000),
        Register("OTHER-1", 1_800, 5_200, 3_000),
    ),
    energy_total_uwh=500 * WH,
    money_total_units=DEPOSIT,
    grid_supply_wei=500 * GRID_WEI_PER_WH,
    grid_held_wei=500 * GRID_WEI_PER_WH,
    quote_held_wei=DEPOSIT_WEI,
)


def failing(story, state=GOOD):
    """Names of the checks that fail."""
    return {check.name for check in audit(story.books(), state, MONEY) if not check.ok}


def of_account(address, **changes):
    """The state with an account's figures changed by so much."""
    return replace(GOOD, accounts=tuple(_changed(a, changes) if a.address == address else a for a in GOOD.accounts))


def of_imports(address, **changes):
    return replace(GOOD, imports=tuple(_changed(i, changes) if i.address == address else i for i in GOOD.imports))


def of_register(meter_id, **changes):
    found = tuple(_changed(r, changes) if r.meter_id == meter_id else r for r in GOOD.registers)
    return replace(GOOD, registers=found)


def of_sums(**changes):
    return _changed(GOOD, changes)


def _changed(thing, changes):
    return replace(thing, **{name: getattr(thing, name) + by for name, by in changes.items()})


def in_event(name, number=0, **changes):
    """The day with an event's values changed by so much; `result.x` reaches into the event's result."""
    story = the_day()
    index = [i for i, event in enumerate(story.events) if event.name == name][number]
    args = dict(story.events[index].args)
    for key, by in changes.items():
        if key in args.get("result", ()):
            args["result"] = args["result"] | {key: args["result"][key] + by}
        else:
            args[key] += by
    story.events[index] = replace(story.events[index], args=args)
    return story


def without(name, number=0):
    """The day as told by somebody who missed an event."""
    story = the_day()
    index = [i for i, event in enumerate(story.events) if event.name == name][number]
    del story.events[index]
    return story


# ----------------------------------------------------------------------------- a good day


def test_audit__good_day__passes_every_check():
    checks = audit(the_day().books(), GOOD, MONEY)
    assert {check.name for check in checks} == ALL
    assert [check.name for check in checks if not check.ok] == []
    assert all(check.left and check.right and check.unit and check.meaning for check in checks)


def test_audit__donated_tokens__harm_nobody():
    assert failing(the_day(), of_sums(quote_held_wei=1)) == set()


def test_audit__open_epoch__need_not_be_cleared():
    assert (1, 3) in the_day().books().epochs
    assert the_day().books().epochs[(1, 3)].on_chain is None


def test_audit__ended_epoch_that_nobody_cleared_yet__comes_out_all_the_same():
    """Views settle accounts as soon as an epoch ends; the keeper may come later."""
    story = the_day()
    story.events = [event for event in story.events if event.name != "EpochCleared"]
    assert failing(story) == set()


def test_audit__market_without_anybody__comes_out():
    nothing = ChainState((), (), (), 0, 0, 0, 0, 0)
    assert all(check.ok for check in audit(rebuild([], MONEY, {}.__getitem__, 0), nothing, MONEY))


def test_rebuild__good_day__tells_who_traded_what():
    books = the_day().books()
    roof, kitchen = books.accounts[ROOF], books.accounts[KITCHEN]
    assert (roof.minted_wh, roof.sold_uwh, roof.earned_units) == (1_500, 1_000_000_001, 601_999_999_999)
    assert (kitchen.bought_uwh, kitchen.paid_units) == (1_000_000_000, 602_000_000_000)
    assert (kitchen.owed_wh, kitchen.retired_wh, kitchen.outstanding_wh) == (1_000, 1_000, 0)
    assert (books.energy_dust_uwh, books.money_dust_units) == (1, 1)
    assert books.epochs[(1, 2)].on_chain == Result(301, 301, LongSide.ASKS, 1_000, 1_500, 1_000)
    assert [(r.meter_id, r.import_wh, r.export_wh) for r in books.readings] == [
        ("ROOF-1", 0, 1_500),
        ("KITCHEN-1", 1_000, 0),
        ("OTHER-1", 200, 0),
    ]
    assert books.minted == [(1, 1_500)]
    assert books.retired == [(4, KITCHEN, 1_000)]


# --------------------------------------------------------------- each check broken on purpose

BROKEN = {
    # What the contracts hold is a unit off.
    "a wei of GRID too many exists": (the_day(), of_sums(grid_supply_wei=1), {SUPPLY}),
    "a wei of GRID too few exists": (the_day(), of_sums(grid_supply_wei=-1), {SUPPLY}),
    "the market counts a micro-Wh too many": (the_day(), of_sums(energy_total_uwh=1), {ENERGY_HELD, GRID_OWNED}),
    "the market counts a micro-Wh too few": (the_day(), of_sums(energy_total_uwh=-1), {ENERGY_HELD}),
    "the market counts a money unit too many": (the_day(), of_sums(money_total_units=1), {MONEY_HELD, QUOTE_OWNED}),
    "the market counts a money unit too few": (the_day(), of_sums(money_total_units=-1), {MONEY_HELD}),
    "a wei of GRID is gone": (the_day(), of_sums(grid_held_wei=-1), {GRID_OWNED}),
    "a wei of money is gone": (the_day(), of_sums(quote_held_wei=-1), {QUOTE_OWNED}),
    "an account has a micro-Wh too many": (the_day(), of_account(ROOF, energy_free_uwh=1), {ENERGY_HELD, ACCOUNTS}),
    "an account has a unit of money too few": (
        the_day(),
        of_account(KITCHEN, money_free_units=-1),
        {MONEY_HELD, ACCOUNTS},
    ),
    "a unit of money is free that should be locked": (
        the_day(),
        of_account(KITCHEN, money_free_units=1, money_escrow_units=-1),
        {ACCOUNTS},
    ),
    "a micro-Wh is locked that should be free": (
        the_day(),
        of_account(ROOF, energy_free_uwh=-1, energy_escrow_uwh=1),
        {ACCOUNTS},
    ),
    "a Wh of import is forgotten": (the_day(), of_imports(OTHER, current_wh=-1), {IMPORT, IMPORTS}),
    "a Wh of import became grid import too early": (
        the_day(),
        of_imports(OTHER, current_wh=-1, grid_import_wh=1),
        {IMPORTS},
    ),
    "an import register is a Wh off": (the_day(), of_register("OTHER-1", import_wh=1), {REGISTERS}),
    "an export register is a Wh off": (the_day(), of_register("ROOF-1", export_wh=-1), {REGISTERS}),
    "a register is a second off": (the_day(), of_register("ROOF-1", interval_end=1), {REGISTERS}),
    # What the contracts told is a unit off.
    "a wei too many was minted": (in_event("Minted", amount=1), GOOD, {MINTED, SUPPLY}),
    "a wei too few was burnt": (in_event("Transfer", number=1, value=-1), GOOD, {SUPPLY}),
    "a Wh too many was exported": (in_event("ReadingAccepted", exportWh=1), GOOD, {MINTED, ACCOUNTS, REGISTERS}),
    "a Wh too many was imported": (
        in_event("ReadingAccepted", number=1, importWh=1),
        GOOD,
        {IMPORT, IMPORTS, REGISTERS},
    ),
    "a Wh too few was retired": (in_event("Retired", currentWh=-1), GOOD, {IMPORT, IMPORTS, ACCOUNTS}),
    "a money unit too many was deposited": (in_event("Deposited", amountWei=MONEY.unit_wei), GOOD, {ACCOUNTS}),
    "a Wh too many was rationed": (in_event("EpochCleared", filledWh=1), GOOD, {SOLD, PAID, EPOCHS}),
    "a Wh too many was on offer": (in_event("EpochCleared", offeredWh=1), GOOD, {SOLD, PAID, EPOCHS}),
    "the volume is a Wh off": (in_event("EpochCleared", volumeWh=1), GOOD, {EPOCHS}),
    "the price is a tick too high, and nobody is rationed": (
        in_event("EpochCleared", lowerTick=1, upperTick=1, longSide=-2),
        GOOD,
        # Nobody asked so much: at that price both asks trade whole against a bid of two thirds.
        {SOLD, PAID, EPOCHS},
    ),
    # An event was missed.
    "a mint was missed": (without("Minted"), GOOD, {MINTED, SUPPLY}),
    "a deposit was missed": (without("Deposited"), GOOD, {ACCOUNTS}),
    "an open order was missed": (without("OrdersEntered", 2), GOOD, {ACCOUNTS}),
    "a reading was missed": (without("ReadingAccepted", 2), GOOD, {IMPORT, IMPORTS, REGISTERS}),
    "a burn was missed": (without("Transfer", 1), GOOD, {SUPPLY}),
    "a bid was missed": (
        without("OrdersEntered", 1),
        GOOD,
        # Without the bid nothing should have traded, and retiring what was never bought leaves a hole.
        {SOLD, PAID, ENERGY_HELD, MONEY_HELD, EPOCHS, ACCOUNTS},
    ),
}


@pytest.mark.parametrize(("story", "state", "expected"), BROKEN.values(), ids=BROKEN)
def test_audit__one_unit_off__fails_exactly_the_checks_that_count_it(story, state, expected):
    assert failing(story, state) == expected


def test_audit__cases_above__break_every_check_but_that_of_standing_orders():
    assert set().union(*(expected for _, _, expected in BROKEN.values())) == ALL - {STANDING}


# ------------------------------------------------------------------------- standing orders

STANDING_BID = Order(Side.BID, 300, 1_000, 4)
"""A third of it trades in epoch 1."""


def standing():
    """A bid that stands for four epochs more takes part with a third in the first."""
    story = Story().joins(ROOF, "ROOF-1").joins(KITCHEN, deposit_wei=DEPOSIT_WEI)
    story.at(1).reads("ROOF-1", 200, 5_000, 4_000, minted_wh=1_000)
    story.enters(KITCHEN, 1, bid(200, 500), STANDING_BID).enters(ROOF, 1, ask(300, 333))
    return story.at(2).clears(1, 300, 300, 1, 333, 1_000, 333)


def locked_units(story, epoch=None):
    return story.books(epoch).accounts[KITCHEN].money_escrow_units


@pytest.mark.parametrize(("epoch", "rests"), [(2, True), (5, True), (6, False), (500, False)])
def test_rebuild__standing_order__rests_as_long_as_it_lives(epoch, rests):
    books = standing().books(epoch)
    kitchen = books.accounts[KITCHEN]
    assert kitchen.money_escrow_units == (667 * WH * 600 if rests else 0)
    assert kitchen.money_free_units + kitchen.money_escrow_units == DEPOSIT - 333 * WH * 600
    assert kitchen.bought_uwh == 333 * WH
    assert books.resting == ({KITCHEN: 2} if rests else {})


def test_rebuild__rolled__is_locked_once_and_takes_part_in_the_epoch_it_was_rolled_into():
    rest = Order(Side.BID, 300, 667, 3)
    story = standing().rolls(KITCHEN, 2, rest)
    books = story.books(2)
    assert books.accounts[KITCHEN].money_escrow_units == 667 * WH * 600
    assert [placed.order for placed in books.epochs[(1, 2)].live] == [rest]
    (continued,) = books.continued
    assert continued.expected == continued.found == (rest,)
    assert locked_units(story, 3) == 667 * WH * 600
    assert locked_units(story, 6) == 0


def test_rebuild__cancelled_while_it_rests__is_free():
    story = standing().cancels(KITCHEN, 1, 1, Order(Side.BID, 300, 667, 4))
    assert locked_units(story) == 0
    assert story.books().accounts[KITCHEN].bought_uwh == 333 * WH
    (continued,) = story.books().continued
    assert continued.expected == continued.found


@pytest.mark.parametrize(
    "orders",
    [
        (),
        (Order(Side.BID, 300, 668, 3),),
        (Order(Side.BID, 300, 667, 4),),
        (Order(Side.BID, 300, 667, 3), bid(200, 500)),
    ],
    ids=["none", "a Wh more", "an epoch longer", "one that has ended"],
)
def test_audit__rolled_otherwise_than_the_reference_leaves_them__is_told(orders):
    assert STANDING in failing(standing().rolls(KITCHEN, 2, *orders))


def test_audit__cancelled_otherwise_than_it_rested__is_told():
    assert STANDING in failing(standing().cancels(KITCHEN, 1, 1, STANDING_BID))


# ------------------------------------------------------------------------- parked growth


def parked_export():
    """The roof's register jumps by 90 kWh; the reading counts, its growth waits."""
    story = Story().joins(ROOF, "ROOF-1").at(1)
    return story.reads("ROOF-1", 900, 5_010, 93_000).parks(1, "ROOF-1", ROOF, export_wh=90_000)


def test_rebuild__parked_growth__is_neither_minted_nor_owed_and_the_register_stands():
    books = parked_export().books()
    roof = books.accounts[ROOF]
    assert (roof.minted_wh, roof.energy_free_uwh) == (0, 0)
    assert (roof.owed_wh, roof.outstanding_wh) == (10, 10)
    assert (books.parked_import_wh, books.parked_export_wh) == (0, 90_000)
    assert books.registers["ROOF-1"] == Register("ROOF-1", 900, 5_010, 93_000)


def test_rebuild__parked_import__leaves_the_imports_before_it_alone():
    story = Story().joins(KITCHEN, "KITCHEN-1").at(1).reads("KITCHEN-1", 900, 5_300, 3_000)
    story.at(2).reads("KITCHEN-1", 1_800, 99_000, 3_000).parks(1, "KITCHEN-1", KITCHEN, import_wh=93_700)
    books = story.books()
    assert books.accounts[KITCHEN].outstanding_wh == 300
    assert books.parked_import_wh == 93_700


def test_rebuild__parked_growth_released__is_minted_and_owed_after_all():
    story = parked_export().at(3).tell("Metering", "ParkedReleased", id=1).mints(90_000)
    books = story.books()
    assert (books.accounts[ROOF].minted_wh, books.parked_export_wh) == (90_000, 0)
    assert books.accounts[ROOF].energy_free_uwh == 90_000 * WH
    state = ChainState(
        (Account(ROOF, 1, 1, 0, 0, 0, 90_000 * WH, 0, 0, 0),),
        (Imports(ROOF, 0, 10, 0, 0, True),),
        (Register("ROOF-1", 900, 5_010, 93_000),),
        90_000 * WH,
        0,
        90_000 * GRID_WEI_PER_WH,
        90_000 * GRID_WEI_PER_WH,
        0,
    )
    assert failing(story, state) == set()
    # As if it had been minted twice over.
    assert MINTED in failing(story.mints(90_000), state)


def test_rebuild__parked_growth_never_released__stays_out_of_every_sum():
    state = ChainState(
        (Account(ROOF, 1, 1, 0, 0, 0, 0, 0, 0, 0),),
        (Imports(ROOF, 0, 10, 0, 0, True),),
        (Register("ROOF-1", 900, 5_010, 93_000),),
        *(0, 0, 0, 0, 0),
    )
    assert failing(parked_export(), state) == set()
    assert failing(parked_export().mints(90_000), state) == {MINTED, SUPPLY}


def test_rebuild__parked_import_released_later__is_owed_in_the_period_of_its_release():
    story = Story().joins(KITCHEN, "KITCHEN-1").at(1).reads("KITCHEN-1", 900, 99_000, 3_000)
    story.parks(1, "KITCHEN-1", KITCHEN, import_wh=94_000)
    story.at(2 * PERIOD_EPOCHS + 10).tell("Metering", "ParkedReleased", id=1)
    assert story.books().accounts[KITCHEN].outstanding_wh == 94_000


# --------------------------------------------------------------------------- replacement


def replaced():
    """A meter reads 5,100/3,200 last, is taken down at 5,150/3,280, and its successor starts at 7/0."""
    meter = meter_id_bytes("ROOF-1")
    story = Story().joins(ROOF, "ROOF-1").at(1).reads("ROOF-1", 900, 5_100, 3_200, minted_wh=200).at(2)
    story.tell(
        "Registry",
        "MeterReplaced",
        meterId=meter,
        oldKey=ROOF,
        newKey=OTHER,
        finalImportWh=5_150,
        finalExportWh=3_280,
        initialImportWh=7,
        initialExportWh=0,
    )
    return story.tell("Metering", "RegisterOpened", meterId=meter, openedAt=2_000, importWh=7, exportWh=0)


def replaced_state(register, minted_wh, import_wh):
    held_wei = minted_wh * GRID_WEI_PER_WH
    return ChainState(
        (Account(ROOF, 1, 1, 0, 0, 0, minted_wh * WH, 0, 0, 0),),
        (Imports(ROOF, 0, import_wh, 0, 0, True),),
        (register,),
        *(minted_wh * WH, 0, held_wei, held_wei, 0),
    )


def test_rebuild__meter_replaced__counts_to_the_final_registers_and_starts_at_the_new_ones():
    story = replaced().mints(80)
    assert failing(story, replaced_state(Register("ROOF-1", 2_000, 7, 0), 280, 150)) == set()


def test_rebuild__new_meter_read__goes_on_from_its_own_registers():
    story = replaced().mints(80).at(3).reads("ROOF-1", 2_700, 9, 40, minted_wh=40)
    assert failing(story, replaced_state(Register("ROOF-1", 2_700, 9, 40), 320, 152)) == set()


def test_rebuild__final_registers_implausible__are_parked():
    story = replaced().parks(1, "ROOF-1", ROOF, import_wh=50, export_wh=80)
    assert failing(story, replaced_state(Register("ROOF-1", 2_000, 7, 0), 200, 100)) == set()


# ------------------------------------------------------------------- cancels and wallets


def test_rebuild__order_cancelled__is_free_again_and_takes_no_part():
    order = ask(301, 800)
    story = the_day()
    index = next(i for i, event in enumerate(story.events) if event.name == "EpochCleared")
    later, story.events = story.events[index:], story.events[:index]
    story.at(2).cancels(ROOF, 2, 1, order)
    books = story.books(epoch=2)
    assert books.accounts[ROOF].energy_escrow_uwh == 700 * WH
    assert books.accounts[ROOF].energy_free_uwh == 800 * WH
    story.events += later
    # What is left: 700 Wh on offer against a bid of 1,000, so the bid is the long side.
    reference = story.books().epochs[(1, 2)].reference()
    assert reference.volume_wh == 700
    assert failing(story) >= {EPOCHS}


def test_rebuild__cancel_named_by_index__takes_that_order_and_no_other():
    story = Story().joins(KITCHEN, deposit_wei=DEPOSIT_WEI).at(1)
    story.enters(KITCHEN, 1, bid(300, 100)).enters(KITCHEN, 1, bid(301, 100), bid(302, 100), first=1)
    story.cancels(KITCHEN, 1, 1, bid(301, 100))
    (book,) = story.books().epochs.values()
    assert [placed.order.tick for placed in book.live] == [300, 302]


def test_rebuild__retired_from_the_wallet__leaves_the_trading_account_alone():
    story = the_day().at(3).tell("Trading", "Withdrawn", account=ROOF, asset=0, to=OTHER, amountWei=200 * 10**15)
    story.retires(OTHER, 0, 200, from_wallet=True)
    assert story.books().accounts[OTHER].energy_free_uwh == 0
    roof, kitchen, other = GOOD.accounts
    state = replace(
        GOOD,
        accounts=(replace(roof, energy_free_uwh=roof.energy_free_uwh - 200 * WH), kitchen, other),
        imports=(*GOOD.imports[:2], Imports(OTHER, 0, 0, 0, 0, True)),
        energy_total_uwh=300 * WH,
        grid_supply_wei=300 * GRID_WEI_PER_WH,
        grid_held_wei=300 * GRID_WEI_PER_WH,
    )
    assert failing(story, state) == set()


def test_rebuild__surrendered__is_burnt_against_no_import():
    story = the_day().burns(300).tell("Metering", "Surrendered", account=ROOF, energyWh=300)
    roof = GOOD.accounts[0]
    state = replace(
        GOOD,
        accounts=(replace(roof, energy_free_uwh=roof.energy_free_uwh - 300 * WH), *GOOD.accounts[1:]),
        energy_total_uwh=200 * WH,
        grid_supply_wei=200 * GRID_WEI_PER_WH,
        grid_held_wei=200 * GRID_WEI_PER_WH,
    )
    assert failing(story, state) == set()
    assert story.books().accounts[ROOF].surrendered_wh == 300


def test_rebuild__energy_deposited_and_withdrawn__is_counted_to_the_micro_wh():
    story = Story().joins(ROOF).tell("Trading", "Deposited", account=ROOF, asset=0, amountWei=5 * ENERGY_UNIT_WEI)
    story.tell("Trading", "Withdrawn", account=ROOF, asset=0, to=ROOF, amountWei=3 * ENERGY_UNIT_WEI)
    book = story.books().accounts[ROOF]
    assert (book.energy_in_uwh, book.energy_out_uwh, book.energy_free_uwh) == (5, 3, 2)


# ------------------------------------------------------------------------------- periods


def owing(*epochs):
    """The kitchen imports 100 Wh in each of these epochs; each reading says when by its interval's end."""
    story = Story().joins(KITCHEN, "KITCHEN-1")
    for n, epoch in enumerate(epochs, start=1):
        story.at(epoch).reads("KITCHEN-1", epoch * 900, 5_000 + 100 * n, 3_000)
    return story


@pytest.mark.parametrize(
    ("now", "outstanding_wh", "grid_wh"),
    [(95, 100, 0), (96, 100, 0), (99, 100, 0), (100, 0, 100), (192, 0, 100), (1_000, 0, 100)],
)
def test_rebuild__import_of_a_period__can_be_retired_until_four_epochs_into_the_next(now, outstanding_wh, grid_wh):
    book = owing(95).books(now).accounts[KITCHEN]
    assert (book.outstanding_wh, book.grid_import_wh) == (outstanding_wh, grid_wh)


def test_rebuild__retired_in_a_later_period__leaves_what_became_grid_import_where_it_was():
    """Yesterday's evening was bought from the grid; today's noon cannot undo that, and its price was yesterday's."""
    story = owing(90, 150).at(151).retires(KITCHEN, 0, 100)
    book = story.books().accounts[KITCHEN]
    assert [owed.interval_end for owed in book.grid_import] == [90 * 900]
    assert book.outstanding_wh == 0


def test_rebuild__retired_within_the_grace__takes_the_older_import_first():
    story = owing(95, 97).at(98).retires(KITCHEN, 100, 50)
    book = story.books().accounts[KITCHEN]
    assert [(owed.interval_end, owed.energy_wh) for owed in book.outstanding] == [(97 * 900, 50)]
