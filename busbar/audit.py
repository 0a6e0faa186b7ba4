"""The independent audit: from an archive alone to every price, fill, balance, supply and bill.

Nothing here asks a contract to calculate anything, and nothing reads the database. Blocks must hash to one another,
what is in them to its header, readings must be signed by their meter's key; prices, fills and balances are worked out
again by the reference auction (`busbar.ledger`) and held against what the contracts announced and hold.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import zip_longest
from pathlib import Path

from busbar import errors
from busbar.archive import Archive, ArchiveError, Block
from busbar.chain import Event, reading_delivered
from busbar.clearing import fill
from busbar.deployment import PERMISSIONS, selector
from busbar.ledger import KINDS, EpochBook, Grown, Ledger, Owed, audit, rebuild
from busbar.orders import OrderId, Side
from busbar.readings import MeterDomain, SignedReading, meter_id_text
from busbar.reckoning import Deal, Interval, Rates, covered_days, from_grid, from_neighbours, without_market
from busbar.results import AuditCheck
from busbar.sheets import Sheet
from busbar.signing import EnteredBundle
from busbar.statements import Line, Metered, Month, Movement, Statement, Trade
from busbar.tariff import load_tariff
from busbar.units import ENERGY_UNIT_WEI, ENERGY_UNITS_PER_WH, GRACE_EPOCHS, PERIOD_EPOCHS, Asset, Calendar, Money

END = 1 << 63
"""Block number of what concerns the state at the end."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        epoch: Epoch it happened in, or that it concerns.
        block: Block it shows in; what the contracts hold in the end comes after every block.
        account: Whose it is; empty if it is nobody's alone.
        what: What was looked at.
        expected: What it must be.
        found: What stands there.
    """

    epoch: int
    block: int
    account: str
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        whose = f", account {self.account}" if self.account else ""
        return f"epoch {self.epoch}{whose}: {self.what}: must be {self.expected}, is {self.found}"


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of an audit.

    Attributes:
        findings: Everything wrong, the earliest epoch first.
        checks: The sums over the whole market.
        ledger: The rebuilt books; None if the events make no sense.
        readings: Signed readings found for the accepted ones.
    """

    findings: list[Finding]
    checks: list[AuditCheck]
    ledger: Ledger | None
    readings: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings and all(check.ok for check in self.checks)


def run(archive: Archive, head_hash: str | None = None) -> Audit:
    """Audits an archive.

    Args:
        archive: What to audit.
        head_hash: Hash of the last block as known from elsewhere; what proves that the archive is of that chain.
    """
    findings = list(_blocks(archive, head_hash))
    events: list[Event] = []
    signed: list[tuple[int, SignedReading]] = []
    try:
        for block, found in archive.events():
            events += found
            signed += [(block.number, reading) for reading in (*block.readings(), *_delivered(found))]
        findings += _header(archive, events)
        findings += _orders(archive, events)
        findings += _replays(archive, events)
        proofs = _Proofs(archive, signed)
        findings += proofs.check(events)
        epoch = archive.epoch_of(archive.head.number)
        ledger = _books(archive, events)
    except (errors.BusbarError, ValueError, LookupError, TypeError) as problem:
        # What makes no sense at all cannot be rebuilt; where it begins has been found above, or is told here.
        at = problem.block if isinstance(problem, ArchiveError) and problem.block is not None else None
        last = min(at or (events[-1].block if events else 0), archive.head.number)
        told = Finding(archive.epoch_of(last), END, "", "events", "a sequence that can happen", _told(problem))
        findings.append(told)
        return Audit(sorted(findings), [], None, 0)
    findings += _results(ledger)
    findings += _continued(ledger)
    findings += _state(archive, ledger, epoch)
    findings += _standing(archive, events, ledger, epoch)
    findings += _held(archive, events, epoch)
    checks = audit(ledger, archive.state, archive.market.money)
    return Audit(sorted(findings), checks, ledger, proofs.proven)


def _books(archive: Archive, events: Sequence[Event]) -> Ledger:
    """The books after an archive's last block."""
    wanted = [event for event in events if (event.contract, event.name) in KINDS]
    return rebuild(wanted, archive.market.money, archive.epoch_of, archive.epoch_of(archive.head.number))


def _delivered(events: Sequence[Event]) -> Iterator[SignedReading]:
    """Signed readings that oracle operators answered with, whichever contract they went through."""
    for event in events:
        reading = reading_delivered(event.args["data"]) if event.name == "EnergyDataFulfilled" else None
        if reading is not None:
            yield reading


def _told(problem: Exception) -> str:
    return " ".join(str(problem).split()) or type(problem).__name__


# ------------------------------------------------------------------------------ is it the chain's?


def _blocks(archive: Archive, head_hash: str | None) -> Iterator[Finding]:
    addresses = archive.market.addresses.values()
    for place, block in enumerate(archive.blocks):
        epoch = archive.epoch_of(place)
        if block.number != place:
            yield Finding(epoch, place, "", f"number of block {place}", str(place), str(block.number))
        if place and block.parent_hash != archive.blocks[place - 1].hash:
            what = f"hash of block {place - 1}, as block {place} names it"
            yield Finding(
                archive.epoch_of(place - 1),
                place - 1,
                _whose(archive, place - 1),
                what,
                block.parent_hash,
                archive.blocks[place - 1].hash,
            )
        for fault in block.faults(addresses):
            yield Finding(epoch, place, _whose(archive, place), f"block {place}", "as hashed", fault)
    if head_hash is not None and archive.head.hash != head_hash:
        last = archive.head.number
        yield Finding(archive.epoch_of(last), last, "", "hash of the last block", head_hash, archive.head.hash)


def _whose(archive: Archive, place: int) -> str:
    """The first account that the events of a block are about; its first sender if they cannot be read."""
    single = Archive(archive.market, [archive.blocks[place]], archive.state)
    try:
        named = [
            str(event.args["account"]) for _, found in single.events() for event in found if "account" in event.args
        ]
    except errors.BusbarError:
        return archive.sender_in(place)
    return named[0] if named else ""


def _header(archive: Archive, events: Sequence[Event]) -> Iterator[Finding]:
    """What the first line claims, against what the deployment left in the blocks.

    Each contract named the Authority when it was created, and the Authority was told of each which role may call its
    functions. The transaction that created Trading ends with its clock and its tick, and is of one chain.
    """
    market = archive.market

    def claimed(what: str, expected: object, found: object) -> Iterator[Finding]:
        if expected != found:
            yield Finding(0, 0, "", what, str(expected), str(found))

    born: dict[str, Event] = {}
    guarded: dict[bytes, str] = {}
    for event in events:
        if event.name == "AuthorityUpdated":
            born.setdefault(event.contract, event)
        elif event.name == "TargetFunctionRoleUpdated":
            guarded.setdefault(event.args["selector"], event.args["target"])
    authorities = {event.args["authority"] for event in born.values()}
    if authorities != {market.addresses["Authority"]}:
        told = " and ".join(sorted(authorities)) or "told by a contract"
        yield from claimed("address of Authority", told, market.addresses["Authority"])
        return
    for name, by_role in PERMISSIONS.items():
        first = next(function for functions in by_role.values() for function in functions)
        target = guarded.get(selector(name, first), f"what the Authority guards as {name}")
        yield from claimed(f"address of {name}", target, market.addresses[name])
    if "Trading" not in born:
        return
    created = born["Trading"]
    chain_id, code = archive.blocks[created.block].sent(created.tx_hash)
    tick_wei, genesis, epoch_seconds, _ = (
        int.from_bytes(code[i : i + 32], "big") for i in range(len(code) - 128, len(code), 32)
    )
    yield from claimed("tick in wei", tick_wei, market.tick_wei)
    yield from claimed("genesis", genesis, market.genesis)
    yield from claimed("length of an epoch in seconds", epoch_seconds, market.epoch_seconds)
    if chain_id is not None:
        yield from claimed("chain", chain_id, market.chain_id)


def _orders(archive: Archive, events: Sequence[Event]) -> Iterator[Finding]:
    for event in events:
        if event.name in ("OrdersEntered", "OrdersRolled"):
            told = event.args["epoch"]
        elif event.name == "OrderCancelled":
            # Of an earlier epoch is what rests of a standing order, see `_continued`.
            told = max(event.args["epoch"], archive.epoch_of(event.block))
        elif event.name in ("SignedOrderEntered", "BundleEntered"):
            told = EnteredBundle.from_event(event.args).epoch
        else:
            continue
        epoch = archive.epoch_of(event.block)
        if told != epoch:
            what = f"epoch of {event.name} in block {event.block}"
            yield Finding(epoch, event.block, event.args["account"], what, str(epoch), str(told))


def _nonces(events: Sequence[Event]) -> Iterator[tuple[Event, int]]:
    """Every nonce that was used up, with the event that tells."""
    for event in events:
        if event.name in ("SignedOrderEntered", "BundleEntered"):
            yield event, EnteredBundle.from_event(event.args).nonce
        elif event.name == "NonceUsed":
            yield event, event.args["nonce"]


def _replays(archive: Archive, events: Sequence[Event]) -> Iterator[Finding]:
    """A message that was used although its nonce was used up."""
    lowest: dict[str, int] = {}
    for event, nonce in _nonces(events):
        account = event.args["account"]
        if nonce < lowest.get(account, 0):
            what = f"nonce of {event.name} in block {event.block}"
            must = f"at least {lowest[account]}"
            yield Finding(archive.epoch_of(event.block), event.block, account, what, must, str(nonce))
        lowest[account] = nonce + 1


class _Proofs:
    """Which key each meter has when, and whether it signed what was accepted."""

    def __init__(self, archive: Archive, signed: Sequence[tuple[int, SignedReading]]) -> None:
        self.archive = archive
        self.domain = MeterDomain(archive.market.chain_id, archive.market.addresses["Metering"])
        self.signed: dict[tuple[int, str, int], list[SignedReading]] = {}
        for block, one in signed:
            self.signed.setdefault((block, one.reading.meter_id, one.reading.interval_end), []).append(one)
        self.keys: dict[str, str] = {}
        self.former: dict[str, list[str]] = {}
        self.owners: dict[str, str] = {}
        self.proven = 0

    def check(self, events: Sequence[Event]) -> Iterator[Finding]:
        for event in events:
            args = event.args
            if event.name == "MeterAssigned":
                meter_id = meter_id_text(args["meterId"])
                self.keys[meter_id], self.owners[meter_id] = args["config"]["key"], args["owner"]
            elif event.name == "MeterReplaced":
                meter_id = meter_id_text(args["meterId"])
                self.keys[meter_id] = args["newKey"]
                self.former.setdefault(meter_id, []).append(args["oldKey"])
            elif event.name == "ReadingAccepted":
                meter_id = meter_id_text(args["meterId"])
                yield from self._signed(event, meter_id, [self.keys.get(meter_id, "")])
            elif event.name == "LateReadingRecorded":
                meter_id = meter_id_text(args["meterId"])
                yield from self._signed(event, meter_id, self.former.get(meter_id, []))

    def _signed(self, event: Event, meter_id: str, keys: Sequence[str]) -> Iterator[Finding]:
        args = event.args
        registers = (args["importWh"], args["exportWh"])
        for one in self.signed.get((event.block, meter_id, args["intervalEnd"]), []):
            if (one.reading.import_wh, one.reading.export_wh) == registers and self._signer(one) in keys:
                self.proven += 1
                return
        yield Finding(
            self.archive.epoch_of(event.block),
            event.block,
            self.owners.get(meter_id, ""),
            f"reading of {meter_id} ending at {args['intervalEnd']}",
            f"signed by the meter's key {' or '.join(keys)}",
            "in no transaction of its block with that signature",
        )

    def _signer(self, one: SignedReading) -> str:
        try:
            return str(one.signer(self.domain))
        except errors.BusbarError:
            return ""


# ------------------------------------------------------------------------------ does it come out?


def _results(ledger: Ledger) -> Iterator[Finding]:
    for (zone, epoch), book in ledger.epochs.items():
        if book.on_chain is not None and book.on_chain != book.reference():
            yield Finding(
                epoch, book.cleared_block, "", f"result of zone {zone}", str(book.reference()), str(book.on_chain)
            )


def _continued(ledger: Ledger) -> Iterator[Finding]:
    for one in ledger.continued:
        if one.expected != one.found:
            what = f"what was left of standing orders in block {one.block}"
            yield Finding(one.epoch, one.block, one.account, what, str(one.expected), str(one.found))


BALANCES = ("energy_free_uwh", "energy_escrow_uwh", "money_free_units", "money_escrow_units")


def _state(archive: Archive, ledger: Ledger, epoch: int) -> Iterator[Finding]:
    """The contracts' state against the books, account by account."""
    known = {account.address for account in archive.state.accounts}
    for address in set(ledger.accounts) - known:
        yield Finding(epoch, END, address, "account", "in the contracts' state", "missing")
    for account in archive.state.accounts:
        book = ledger.accounts[account.address]
        for name in BALANCES:
            yield from _compare(epoch, account.address, name, getattr(book, name), getattr(account, name))
    for imports in archive.state.imports:
        book = ledger.accounts[imports.address]
        yield from _compare(epoch, imports.address, "outstanding_wh", book.outstanding_wh, imports.outstanding_wh)
        yield from _compare(epoch, imports.address, "grid_import_wh", book.grid_import_wh, imports.grid_import_wh)
    for register in archive.state.registers:
        expected = ledger.registers.get(register.meter_id)
        yield from _compare(epoch, "", f"registers of {register.meter_id}", expected, register)
    supply_wei = ledger.minted_wei - ledger.burnt_wei
    yield from _compare(epoch, "", "GRID supply in wei", supply_wei, archive.state.grid_supply_wei)


def _standing(archive: Archive, events: Sequence[Event], ledger: Ledger, epoch: int) -> Iterator[Finding]:
    """Status, zone, number of orders, nonces, settlement periods and auto-retire, as the events tell them."""
    standings: dict[str, tuple[int, int]] = {}
    switched: dict[str, bool] = {}
    for event in events:
        if event.name == "AccountSet":
            standings[event.args["account"]] = (event.args["status"], event.args["zone"])
        elif event.name == "AutoRetireSet":
            switched[event.args["account"]] = event.args["enabled"]
    orders = Counter(placed.account for (_, of), book in ledger.epochs.items() if of == epoch for placed in book.orders)
    for account in archive.state.accounts:
        count = orders[account.address] or ledger.resting.get(account.address, 0)
        expected = (*standings.get(account.address, (0, 0)), count)
        found = (account.status, account.zone, account.order_count)
        yield from _compare(epoch, account.address, "status, zone and orders", expected, found)
        yield from _compare(
            epoch, account.address, "lowest nonce", ledger.accounts[account.address].nonce, account.nonce
        )
    period = epoch // PERIOD_EPOCHS
    for imports in archive.state.imports:
        outstanding = ledger.accounts[imports.address].outstanding
        now, before = (sum(o.energy_wh for o in outstanding if o.period == of) for of in (period, period - 1))
        expected_ledger = (period, now, before, switched.get(imports.address, True))
        found_ledger = (imports.period, imports.current_wh, imports.previous_wh, imports.auto_retire)
        yield from _compare(epoch, imports.address, "period and its import", expected_ledger, found_ledger)


def _held(archive: Archive, events: Sequence[Event], epoch: int) -> Iterator[Finding]:
    """Tokens that Trading owns, by every transfer to and from it."""
    trading = archive.market.addresses["Trading"]
    held: Counter[str] = Counter()
    for event in events:
        if event.name == "Transfer":
            held[event.contract] += event.args["value"] * (
                (event.args["to"] == trading) - (event.args["from"] == trading)
            )
    yield from _compare(epoch, "", "GRID wei of Trading", held["GridToken"], archive.state.grid_held_wei)
    yield from _compare(epoch, "", "quote wei of Trading", held["BahtToken"], archive.state.quote_held_wei)


def _compare(epoch: int, account: str, what: str, expected: object, found: object) -> Iterator[Finding]:
    if expected != found:
        yield Finding(epoch, END, account, what, str(expected), str(found))


# ------------------------------------------------------------------------------ bills


def bills(
    archive: Archive, ledger: Ledger, statements: Sequence[Statement | Sheet], tariff_file: Path, plan: str
) -> Iterator[Finding]:
    """Statements against bills reckoned again from the rebuilt books and the tariff file.

    Everything is looked at: energy, the lines with their words and transactions, their sum, what the month would have
    cost without the market, the saving, and each trade, reading and movement. A provisional statement is compared with
    the books as they were at its own block. None of it is worked out by `busbar.statements`; what the tariff assumes is
    asked of `busbar.tariff`.
    """
    rates = Rates(tariff_file, plan)
    happened = list(archive.events())
    metered = {event.args["owner"] for _, found in happened for event in found if event.name == "MeterAssigned"}
    for statement in statements:
        at, books = archive, ledger
        if statement.provisional and 0 <= statement.block < archive.head.number:
            at = Archive(archive.market, archive.blocks[: statement.block + 1], archive.state)
            events = [event for block, found in happened if block.number <= statement.block for event in found]
            books = _books(at, events)
        elif statement.provisional and statement.block != archive.head.number:
            epoch, told = archive.epoch_of(archive.head.number), (str(archive.head.number), str(statement.block))
            yield Finding(epoch, END, statement.account, "block of a provisional statement", *told)
            continue
        seen = [(block, found) for block, found in happened if block.number <= at.head.number]
        moved = _movements(seen, statement.account, Month.parse(statement.month))
        first_day = Month.parse(statement.month).first
        assumed = load_tariff(tariff_file, first_day, plan).bill_assumptions
        made = _made(at, books, statement, rates, assumed, moved, has_meter=statement.account in metered)
        if isinstance(statement, Sheet):
            yield from _sheet(at, made, statement)
        else:
            found = list(_bill(at, made, statement))
            yield from found or _words(at, made, statement)


def _made(
    archive: Archive,
    ledger: Ledger,
    claimed: Statement | Sheet,
    rates: Rates,
    assumed: Sequence[str],
    moved: Sequence[Movement],
    *,
    has_meter: bool,
) -> Statement:
    """The statement as it must be."""
    month, who, market = Month.parse(claimed.month), claimed.account, archive.market
    calendar, book = market.calendar, ledger.accounts[who]
    first_day = date(month.year, month.month, 1)
    grown = [one for one in book.grown if month.start < one.interval_end <= month.end]
    owed = [one for one in (*book.grid_import, *book.outstanding) if month.start < one.interval_end <= month.end]
    left = [Interval(one.interval_end, one.energy_wh, one.tx_hash) for one in owed]
    trades = _trades(ledger, who, month, calendar, market.money)
    bought, sold = (
        [Deal(t.energy_uwh, t.money_wei, (t.order_tx, t.clear_tx)) for t in trades if t.side == side]
        for side in ("buy", "sell")
    )
    # A reading without growth is in no book of an account, and covers its day all the same.
    read = [one.interval_end for one in ledger.readings if one.account == who]
    counted = [*(end for end in read if month.start < end <= month.end), *(one.interval_end for one in grown)]
    covered = covered_days(first_day, counted, calendar.epoch_seconds)
    charges = from_grid(rates, first_day, left, calendar.epoch_seconds, covered, service=has_meter)
    charges += from_neighbours(first_day, month.last, bought, sold)
    total = sum(one.amount_uthb for one in charges)
    imported = [Interval(g.interval_end, g.import_wh) for g in grown]
    exported_wh, left_wh = sum(one.export_wh for one in grown), sum(one.import_wh for one in left)
    alone = total
    if has_meter:
        alone = without_market(rates, first_day, imported, exported_wh, calendar.epoch_seconds, covered)
    import_wh = sum(one.import_wh for one in imported)
    said = archive.blocks[claimed.block] if 0 <= claimed.block <= archive.head.number else None
    ends = calendar.start((calendar.period_of(calendar.epoch_at(max(month.end, calendar.genesis))) + 1) * PERIOD_EPOCHS)
    final = ends + GRACE_EPOCHS * calendar.epoch_seconds
    return Statement(
        account=who,
        month=str(month),
        covered_days=covered,
        month_days=month.last.day,
        chain_id=market.chain_id,
        block=claimed.block,
        block_hash="a block of the archive" if said is None else said.hash,
        provisional=said is not None and said.timestamp < final,
        plan=rates.plan,
        vat_percent=int(rates.on(first_day).value("vat")),
        import_wh=import_wh,
        export_wh=exported_wh,
        self_supplied_wh=import_wh - left_wh,
        grid_import_wh=left_wh,
        bought_uwh=sum(deal.energy_uwh for deal in bought),
        sold_uwh=sum(deal.energy_uwh for deal in sold),
        lines=[Line.model_validate(charge._asdict()) for charge in charges],
        total_uthb=total,
        baseline_uthb=alone,
        saving_uthb=alone - total,
        trades=trades,
        readings=_readings(grown, owed),
        movements=list(moved),
        assumptions=list(assumed),
    )


def _readings(grown: Sequence[Grown], owed: Sequence[Owed]) -> list[Metered]:
    """Growth with what of its import no GRID covers: of one transaction, GRID covers what came first."""
    left: Counter[tuple[int, str]] = Counter()
    for one in owed:
        left[one.interval_end, one.tx_hash] += one.energy_wh
    taken_back: Counter[tuple[int, str, int]] = Counter()
    rows = []
    for growth in reversed(grown):
        place = growth.interval_end, growth.tx_hash
        uncovered_wh = 0
        if growth.kind == "parked":
            taken_back[*place, -growth.import_wh] += 1
        elif taken_back[*place, growth.import_wh]:
            taken_back[*place, growth.import_wh] -= 1
        else:
            uncovered_wh = min(left[place], growth.import_wh)
            left[place] -= uncovered_wh
        rows.append(Metered(**growth._asdict(), grid_import_wh=uncovered_wh))
    return rows[::-1]


def _bill(archive: Archive, made: Statement, statement: Statement) -> Iterator[Finding]:
    """The figures of a statement."""
    who, calendar = statement.account, archive.market.calendar
    epoch = archive.epoch_of(archive.head.number)

    def compared(what: str, expected: object, found: object, at: int = epoch) -> Iterator[Finding]:
        return _compare(at, who, f"statement {statement.month}: {what}", expected, found)

    for place, (expected, found) in enumerate(zip_longest(made.trades, statement.trades)):
        at = (expected or found).epoch
        yield from compared(f"trade {place + 1}", expected, found, at)
    for place, (one, row) in enumerate(zip_longest(made.readings, statement.readings)):
        ended = (one or row).interval_end
        at = calendar.epoch_at(max(ended - 1, calendar.genesis))
        yield from compared(f"reading {place + 1}", one and _growth(one), row and _growth(row), at)
    expected, found = (
        _by_interval((row.interval_end, row.grid_import_wh) for row in of.readings) for of in (made, statement)
    )
    yield from compared("grid import of each interval in Wh", expected, found)
    for place, (expected, found) in enumerate(zip_longest(made.movements, statement.movements)):
        at = calendar.epoch_at(max((expected or found).time, calendar.genesis))
        yield from compared(f"movement {place + 1}", expected, found, at)
    for place, (line, charged) in enumerate(zip_longest(made.lines, statement.lines)):
        yield from compared(f"line {place + 1}", line and _amount(line), charged and _amount(charged))
    for what, field in (
        ("days that readings cover", "covered_days"),
        ("days of the month", "month_days"),
        ("chain", "chain_id"),
        ("hash of its block", "block_hash"),
        ("whether it is provisional", "provisional"),
        ("plan", "plan"),
        ("VAT in percent", "vat_percent"),
        ("import in Wh", "import_wh"),
        ("export in Wh", "export_wh"),
        ("import supplied by GRID in Wh", "self_supplied_wh"),
        ("grid import in Wh", "grid_import_wh"),
        ("energy bought in micro-Wh", "bought_uwh"),
        ("energy sold in micro-Wh", "sold_uwh"),
        ("total in micro-THB", "total_uthb"),
        ("cost without the market in micro-THB", "baseline_uthb"),
        ("saving in micro-THB", "saving_uthb"),
    ):
        yield from compared(what, getattr(made, field), getattr(statement, field))


def _growth(row: Metered) -> Grown:
    return Grown(row.kind, row.interval_end, row.import_wh, row.export_wh, row.tx_hash)


def _amount(line: Line) -> tuple[str, int | None, int | None, int]:
    return line.section, line.quantity_wh, line.price_uthb_per_kwh, line.amount_uthb


def _words(archive: Archive, made: Statement, statement: Statement) -> Iterator[Finding]:
    """Whatever else a statement says, of one whose figures are right."""
    epoch = archive.epoch_of(archive.head.number)
    expected, found = made.model_dump(mode="json"), statement.model_dump(mode="json")
    for field, must in expected.items():
        entries = [(field, must, found[field])]
        if isinstance(must, list):
            entries = [(f"{field} {n + 1}", *both) for n, both in enumerate(zip_longest(must, found[field]))]
        for what, one, other in entries:
            yield from _compare(epoch, statement.account, f"statement {statement.month}: {what}", one, other)


def _sheet(archive: Archive, made: Statement, sheet: Sheet) -> Iterator[Finding]:
    """A statement as CSV, line by line."""
    epoch = archive.epoch_of(archive.head.number)
    for place, must, found in sheet.faults(made):
        yield from _compare(epoch, sheet.account, f"statement {sheet.month}: {place}", must, found)


def _by_interval(rows: Iterable[tuple[int, int]]) -> dict[int, int]:
    sums: Counter[int] = Counter()
    for end, energy_wh in rows:
        sums[end] += energy_wh
    return {end: energy_wh for end, energy_wh in sorted(sums.items()) if energy_wh}


def _movements(happened: Iterable[tuple[Block, list[Event]]], who: str, month: Month) -> list[Movement]:
    """Deposits, withdrawals, retirements and surrenders of an account's month, in order of the chain."""
    moved = []
    for block, events in happened:
        if not month.start <= block.timestamp < month.end:
            continue
        for event in events:
            args = event.args
            if args.get("account") != who:
                continue
            amounts: list[tuple[str, int, int]] = []
            if event.name in ("Deposited", "Withdrawn"):
                wei = args["amountWei"] if event.name == "Deposited" else -args["amountWei"]
                is_energy = args["asset"] == Asset.ENERGY
                energy_uwh, money_wei = (_toward_zero(wei), 0) if is_energy else (0, wei)
                amounts = [(event.name.lower(), energy_uwh, money_wei)]
            elif event.name == "Retired":
                kind = "retired_out" if args["fromWallet"] else "retired"
                amounts = [(kind, -args[part] * ENERGY_UNITS_PER_WH, 0) for part in ("previousWh", "currentWh")]
            elif event.name == "Surrendered":
                amounts = [("surrendered", -args["energyWh"] * ENERGY_UNITS_PER_WH, 0)]
            moved += [
                Movement(kind=kind, time=block.timestamp, energy_uwh=uwh, money_wei=wei, tx_hash=event.tx_hash)
                for kind, uwh, wei in amounts
                if uwh or wei
            ]
    return moved


def _toward_zero(wei: int) -> int:
    return wei // ENERGY_UNIT_WEI if wei >= 0 else -(-wei // ENERGY_UNIT_WEI)


def _trades(ledger: Ledger, who: str, month: Month, calendar: Calendar, money: Money) -> list[Trade]:
    found = [
        trade
        for (_, epoch), book in ledger.epochs.items()
        if book.settled and month.start <= calendar.start(epoch) < month.end
        for trade in _fills(book, who, calendar, money)
    ]
    return sorted(found, key=lambda trade: trade.order_id)


def _fills(book: EpochBook, who: str, calendar: Calendar, money: Money) -> Iterator[Trade]:
    result = book.reference()
    for placed in book.live:
        filled = fill(result, placed.order)
        if placed.account == who and filled.energy_units:
            epoch = OrderId.parse(placed.order_id).epoch
            yield Trade(
                epoch=epoch,
                start=calendar.start(epoch),
                order_id=placed.order_id,
                side="buy" if placed.order.side is Side.BID else "sell",
                limit_tick=placed.order.tick,
                price2=result.price2,
                energy_uwh=filled.energy_units,
                money_wei=money.to_wei(filled.money_units),
                order_tx=placed.tx_hash,
                clear_tx=book.clear_tx,
            )
