"""A replayed street, audited from its archive: nothing is wrong with it, and whatever byte is altered is found."""

import json
import random

import pytest

from busbar import audit, errors, tools
from busbar.archive import NAMED, Archive, ArchiveError, collect
from busbar.chain import Call
from busbar.history import History, open_database
from busbar.readings import meter_id_bytes
from busbar.sheets import Sheet
from busbar.statements import Month, Statement, Tariffs, make, to_csv
from tests.market import ENERGY, ask, bid
from tests.relayed import READINGS, trade_by_signature

TARIFFS = Tariffs(tools.project_root() / "data" / "tariffs" / "thailand.csv")


@pytest.fixture(scope="module")
def archive(street_day):
    return Archive.load(street_day.archive)


@pytest.fixture(scope="module")
def lines(street_day):
    return street_day.archive.read_text(encoding="ascii").splitlines(keepends=True)


@pytest.fixture(scope="module")
def ledger(archive):
    return audit.run(archive).ledger


@pytest.fixture(scope="module")
def statements(street_day):
    engine = open_database(street_day.url)
    with engine.connect() as connection:
        made = [make(connection, p.account, Month(2026, 3), TARIFFS) for p in street_day.run.participants]
    engine.dispose()
    return made


@pytest.fixture
def audited(tmp_path):
    """Audits a copy, given as its lines: what is found, or why it cannot be read."""

    def of(copy):
        path = tmp_path / "copy.jsonl"
        path.write_text("".join(copy), encoding="ascii")
        return audit.run(Archive.load(path))

    return of


def changed(text, place):
    """The text with another hex digit, or else another character, at a place."""
    old = text[place]
    new = "01"[old == "0"] if old in "0123456789abcdef" else "~"
    return text[:place] + new + text[place + 1 :]


def line_of(lines, kind):
    """Number of the last line of a kind."""
    return max(i for i, line in enumerate(lines) if kind in json.loads(line))


def test_run__a_replayed_street__finds_nothing_wrong(archive, street_day):
    result = audit.run(archive, archive.head.hash)
    assert result.findings == []
    assert result.ok
    assert len(result.checks) == 14
    assert result.readings == len(street_day.run.readings) == 40


def test_run__a_street__works_out_what_the_replay_reported(ledger, street_day):
    for p in street_day.run.participants:
        book = ledger.accounts[p.account]
        assert (book.bought_uwh, book.sold_uwh, book.energy_free_uwh) == (p.bought_uwh, p.sold_uwh, p.grid_held_uwh)
    prices = {row.epoch: row.price2 for row in street_day.run.epochs}
    assert {epoch: book.reference().price2 for (_, epoch), book in ledger.epochs.items()}.items() <= prices.items()


@pytest.mark.parametrize("field", ["transactions", "receipts"])
def test_run__a_byte_of_a_block_altered__is_found_by_epoch_and_account(archive, lines, audited, field):
    number = line_of(lines, "receipts")
    value = json.loads(lines[number])[field][0]
    place = lines[number].index(value) + len(value) // 2
    first = audited([*lines[:number], changed(lines[number], place), *lines[number + 1 :]]).findings[0]
    assert first.epoch == archive.epoch_of(number - 1)
    assert first.account
    assert f"block {number - 1}: must be as hashed, is {field} do not hash" in str(first)


def test_run__a_byte_of_a_header_altered__is_found_where_it_is(archive, lines, audited):
    number = line_of(lines[:-20], "receipts")
    place = lines[number].index("header") + 400
    first = audited([*lines[:number], changed(lines[number], place), *lines[number + 1 :]]).findings[0]
    assert first.epoch == archive.epoch_of(number - 1)
    assert first.what == f"hash of block {number - 1}, as block {number} names it"


def test_load__a_byte_of_the_last_header_altered__is_no_archive(lines, audited):
    number = line_of(lines, "header")
    place = lines[number].index("header") + 60
    with pytest.raises(ArchiveError, match="names another last block"):
        audited([*lines[:number], changed(lines[number], place), *lines[number + 1 :]])


def test_run__a_forged_last_block__is_found_by_its_hash(archive):
    first = audit.run(archive, "0x" + 64 * "0").findings[0]
    assert (first.what, first.found) == ("hash of the last block", archive.head.hash)


def test_run__a_signature_altered__names_meter_and_owner(archive, lines, audited, street_day):
    """The transaction is forged together with its root, as only a dishonest node could: the meter's key is not."""
    row = street_day.run.readings[-1]
    block = next(b for b, found in archive.events() if any(e.tx_hash == row.tx_hash for e in found))
    signed = next(r for r in block.readings() if r.reading.meter_id == row.meter_id)
    number = block.number + 1
    copy = lines[number].replace(signed.vs.hex(), signed.vs[:-1].hex() + f"{signed.vs[-1] ^ 1:02x}")
    result = audited([*lines[:number], copy, *lines[number + 1 :]])
    told = [f for f in result.findings if f.what.startswith("reading of")]
    assert [(f.account, f.what) for f in told] == [
        (row.account, f"reading of {row.meter_id} ending at {row.interval_end}")
    ]


@pytest.mark.parametrize("field", ["energy_free_uwh", "money_free_units", "status", "zone", "order_count", "nonce"])
def test_run__an_account_of_the_state_altered__is_named(archive, lines, audited, field):
    number = line_of(lines, "state")
    entry = json.loads(lines[number])
    account = entry["state"]["accounts"][0]
    account[field] += 1
    copy = json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"
    first = audited([*lines[:number], copy, *lines[number + 1 :]]).findings[0]
    assert first.account == account["address"]
    assert first.epoch == archive.epoch_of(archive.head.number)


@pytest.mark.parametrize(
    ("part", "field"),
    [
        *[("imports", name) for name in ("period", "current_wh", "previous_wh", "grid_import_wh")],
        *[("registers", name) for name in ("interval_end", "import_wh", "export_wh")],
        *[(None, name) for name in ("grid_supply_wei", "grid_held_wei", "quote_held_wei")],
        *[(None, name) for name in ("energy_total_uwh", "money_total_units")],
    ],
)
def test_run__any_number_of_the_state_altered__is_found(lines, audited, part, field):
    number = line_of(lines, "state")
    entry = json.loads(lines[number])
    record = entry["state"][part][0] if part else entry["state"]
    record[field] += 1
    copy = json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"
    assert not audited([*lines[:number], copy, *lines[number + 1 :]]).ok


@pytest.mark.parametrize("field", ["chain_id", "genesis", "epoch_seconds", "tick_wei"])
def test_run__another_market_claimed__is_found(lines, audited, field):
    entry = json.loads(lines[0])
    entry["market"][field] *= 2
    assert not audited([json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n", *lines[1:]]).ok


def claiming(lines, **changes):
    """The lines with another market in the first."""
    entry = json.loads(lines[0])
    entry["market"] |= changes
    return [json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n", *lines[1:]]


@pytest.mark.parametrize("name", NAMED)
def test_run__an_address_of_the_market_altered__is_named(archive, lines, audited, name):
    """Whether nothing stands at it, or a participant, or another of the market's contracts."""
    mine = archive.market.addresses
    nobody, participant = "0x000000000000000000000000000000000000dEaD", archive.state.accounts[0].address
    for other in (nobody, participant, *(address for key, address in mine.items() if key != name)):
        first = audited(claiming(lines, addresses=mine | {name: other})).findings[0]
        assert (first.what, first.found) == (f"address of {name}", other)


def test_run__two_contracts_of_the_market_exchanged__are_both_named(archive, lines, audited):
    mine = archive.market.addresses
    swapped = mine | {"OracleClient": mine["Registry"], "Registry": mine["OracleClient"]}
    told = [found.what for found in audited(claiming(lines, addresses=swapped)).findings]
    assert {"address of OracleClient", "address of Registry"} <= {*told}


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("chain_id", "chain"),
        ("genesis", "genesis"),
        ("epoch_seconds", "length of an epoch in seconds"),
        ("tick_wei", "tick in wei"),
    ],
)
def test_run__a_number_of_the_market_altered_a_little__is_named(archive, lines, audited, field, what):
    least = 2 * 10**9 if field == "tick_wei" else 1  # a tick is a multiple of that
    value = getattr(archive.market, field)
    for other in (value - least, value + least):
        assert (what, str(value), str(other)) in {
            (found.what, found.expected, found.found) for found in audited(claiming(lines, **{field: other})).findings
        }


@pytest.mark.parametrize("name", [*NAMED, "Auction", "Treasury"])
def test_load__a_contract_too_few_or_too_many__is_no_archive(archive, lines, audited, name):
    addresses = dict(archive.market.addresses)
    if addresses.pop(name, None) is None:
        addresses[name] = addresses["Trading"]
    with pytest.raises(ArchiveError, match="line 1: does not name Authority, GridToken"):
        audited(claiming(lines, addresses=addresses))


def test_run__whatever_byte_is_altered__it_is_found(lines, audited):
    """A byte here and there in the whole file: none of them can differ without being noticed."""
    text, chance = "".join(lines), random.Random(7)
    for _ in range(20):
        place = chance.randrange(len(text))
        try:
            found = not audited([changed(text, place)]).ok
        except ArchiveError:
            found = True
        assert found, f"character {place}, {text[place - 20 : place + 20]!r}"


def test_load__receipts_left_out__is_noticed_by_the_bloom_filter(lines, audited, archive):
    number = line_of(lines, "receipts")
    header = json.loads(lines[number])["header"]
    copy = json.dumps({"header": header}, separators=(",", ":")) + "\n"
    told = [f.found for f in audited([*lines[:number], copy, *lines[number + 1 :]]).findings]
    assert "has events of the market, by its bloom filter, but no receipts" in told


def test_load__cut_off__says_so(lines, audited):
    with pytest.raises(ArchiveError, match="is cut off"):
        audited(lines[:-1])


def test_bills__statements_from_the_database__are_what_the_books_say(archive, ledger, statements):
    assert list(audit.bills(archive, ledger, statements, TARIFFS.path, TARIFFS.plan)) == []


FIGURES = (
    *(
        "covered_days",
        "month_days",
        "chain_id",
        "block",
        "vat_percent",
        "import_wh",
        "export_wh",
        "self_supplied_wh",
        "grid_import_wh",
    ),
    *("bought_uwh", "sold_uwh", "total_uthb", "baseline_uthb", "saving_uthb"),
)
ENTRIES = {
    "lines": ("quantity_wh", "price_uthb_per_kwh", "amount_uthb"),
    "trades": ("epoch", "start", "order_id", "limit_tick", "price2", "energy_uwh", "money_wei"),
    "readings": ("interval_end", "import_wh", "export_wh", "grid_import_wh"),
    "movements": ("time", "energy_uwh", "money_wei"),
}


def reckoned(archive, ledger, statement):
    """What is found in a statement, the first first."""
    return sorted(audit.bills(archive, ledger, [statement], TARIFFS.path, TARIFFS.plan))


@pytest.mark.parametrize("field", FIGURES)
def test_bills__a_figure_altered__is_named(archive, ledger, statements, field):
    wrong = statements[0].model_copy(update={field: getattr(statements[0], field) + 1})
    told = reckoned(archive, ledger, wrong)
    assert {f.account for f in told} == {wrong.account}
    assert len(told) == 1


@pytest.mark.parametrize(("part", "field"), [(part, field) for part, fields in ENTRIES.items() for field in fields])
def test_bills__a_figure_of_an_entry_altered__is_named(archive, ledger, statements, part, field):
    statement = next(one for one in statements if getattr(one, part))
    first, *others = getattr(statement, part)
    altered = first.model_copy(update={field: getattr(first, field) + 1})
    told = reckoned(archive, ledger, statement.model_copy(update={part: [altered, *others]}))
    assert {f.account for f in told} == {statement.account}
    what = "grid import of each interval" if field == "grid_import_wh" else f"{part.removesuffix('s')} 1"
    assert told[0].what.startswith(f"statement 2026-03: {what}")


@pytest.mark.parametrize("part", ENTRIES)
def test_bills__an_entry_left_out__is_named(archive, ledger, statements, part):
    statement = next(one for one in statements if getattr(one, part))
    told = reckoned(archive, ledger, statement.model_copy(update={part: getattr(statement, part)[:-1]}))
    assert f"{part.removesuffix('s')} {len(getattr(statement, part))}" in {f.what.partition(": ")[2] for f in told}


@pytest.mark.parametrize(("part", "field"), [("trades", "order_tx"), ("trades", "clear_tx"), ("readings", "tx_hash")])
def test_bills__a_transaction_altered__is_named(archive, ledger, statements, part, field):
    statement = next(one for one in statements if getattr(one, part))
    first, *others = getattr(statement, part)
    altered = first.model_copy(update={field: "0x" + 64 * "0"})
    assert reckoned(archive, ledger, statement.model_copy(update={part: [altered, *others]}))


@pytest.mark.parametrize("update", [{"provisional": False}, {"block_hash": "0x" + 64 * "0"}, {"plan": "tou-1.3"}])
def test_bills__another_block_or_plan_claimed__is_named(archive, ledger, statements, update):
    assert reckoned(archive, ledger, statements[0].model_copy(update=update))


def test_bills__a_difference_in_a_trade__is_told_with_the_trades_epoch(archive, ledger, statements):
    statement = next(one for one in statements if one.trades)
    first, *others = statement.trades
    altered = first.model_copy(update={"money_wei": first.money_wei + 1})
    told = reckoned(archive, ledger, statement.model_copy(update={"trades": [altered, *others]}))
    assert [(f.epoch, f.account) for f in told] == [(first.epoch, statement.account)]


def test_bills__provisional_and_the_market_went_on__is_compared_at_its_own_block(market):
    trade_by_signature(market)
    engine, consumer = open_database("sqlite://"), market.actors.consumer
    History(market.chain, engine).step()
    with engine.connect() as connection:
        made = make(connection, consumer.address, Month(2026, 3), TARIFFS)
    market.enter(consumer, bid(300, 200))
    market.next_epoch()
    market.clear()
    archive = collect(market.chain)
    assert made.block < archive.head.number
    ledger = audit.run(archive).ledger
    assert reckoned(archive, ledger, made) == []
    wrong = made.model_copy(update={"baseline_uthb": made.baseline_uthb + 1})
    assert [f.what for f in reckoned(archive, ledger, wrong)] == [
        "statement 2026-03: cost without the market in micro-THB"
    ]


def test_bills__as_csv__are_what_the_books_say(archive, ledger, statements):
    sheets = [Sheet.parse(to_csv(statement)) for statement in statements]
    assert list(audit.bills(archive, ledger, sheets, TARIFFS.path, TARIFFS.plan)) == []


READ = {"json": Statement.model_validate_json, "csv": Sheet.parse}
WRITTEN = {"json": lambda statement: statement.model_dump_json(indent=1), "csv": to_csv}


@pytest.mark.parametrize("kind", READ)
def test_bills__any_character_altered__is_found_unless_it_means_nothing(archive, ledger, statements, kind):
    statement = next(one for one in statements if one.trades and one.readings and one.movements)
    text, read, draw = WRITTEN[kind](statement), READ[kind], random.Random(7)
    unaltered, altered = read(text), 0
    for place in draw.sample(range(len(text)), 60):
        try:
            copy = read(changed(text, place))
            if copy != unaltered:
                assert reckoned(archive, ledger, copy), (place, text[place - 20 : place + 20])
        except (errors.BusbarError, ValueError):
            pass
        else:
            altered += copy != unaltered
    assert altered > 20


@pytest.mark.parametrize("field", ["item", "source", "last_day", "transactions"])
def test_bills__a_lines_words_altered__are_named(archive, ledger, statements, field):
    statement = next(one for one in statements if one.lines[0].transactions)
    first, *others = statement.lines
    wrong = {"item": "Rent", "source": "", "last_day": first.first_day, "transactions": []}
    copy = statement.model_copy(update={"lines": [first.model_copy(update={field: wrong[field]}), *others]})
    assert [found.what for found in reckoned(archive, ledger, copy)] == ["statement 2026-03: lines 1"]


def test_bills__an_assumption_left_out__is_named(archive, ledger, statements):
    copy = statements[0].model_copy(update={"assumptions": statements[0].assumptions[:-1]})
    what = f"statement 2026-03: assumptions {len(statements[0].assumptions)}"
    assert [found.what for found in reckoned(archive, ledger, copy)] == [what]


def test_bills__a_figure_of_the_csv_altered__names_its_line(archive, ledger, statements):
    text = to_csv(statements[0])
    number, line = next((n, line) for n, line in enumerate(text.split("\n"), start=1) if line.startswith("total,"))
    sheet = Sheet.parse(text.replace(line, line.replace(str(statements[0].total_uthb), "1")))
    assert [found.what for found in reckoned(archive, ledger, sheet)] == [
        f"statement 2026-03: line {number} of the file"
    ]


def test_bills__provisional_of_a_later_block__says_so(archive, ledger, statements):
    later = statements[0].model_copy(update={"provisional": True, "block": archive.head.number + 1})
    assert [f.what for f in reckoned(archive, ledger, later)] == ["block of a provisional statement"]


@pytest.mark.parametrize("plan", ["residential-1.2", "tou-1.3"])
def test_bills__parked_growth_late_readings_and_wallets__are_what_the_books_say(market, plan):
    trade_by_signature(market)
    archive, engine = collect(market.chain), open_database("sqlite://")
    History(market.chain, engine).step()
    tariffs = Tariffs(TARIFFS.path, plan)
    with engine.connect() as connection:
        made = [
            make(connection, who.address, Month(2026, 3), tariffs)
            for who in (market.actors.producer, market.actors.consumer)
        ]
    assert {m.kind for one in made for m in one.movements} >= {"deposited", "withdrawn"}
    assert list(audit.bills(archive, audit.run(archive).ledger, made, TARIFFS.path, plan)) == []


def test_bills__of_readings_without_growth__cover_their_days(market):
    """The first reading only opens the days, the last has export only: both are in the archive, one in no bill."""
    producer = market.actors.producer
    roof = market.meter("roof", producer)
    for import_wh, export_wh in ((0, 0), (12_000, 0), (0, 700)):
        market.submit(roof.read(import_wh=import_wh, export_wh=export_wh))
        market.pass_time(2 * 86_400)
    engine = open_database("sqlite://")
    History(market.chain, engine).step()
    with engine.connect() as connection:
        made = make(connection, producer.address, Month(2026, 3), TARIFFS)
    assert (made.covered_days, made.month_days, len(made.readings)) == (5, 31, 2)
    # 150 kWh x 5 / 31 are 24,193.5 Wh.
    assert [(line.item, line.quantity_wh) for line in made.lines if line.item.startswith("Energy")] == [
        ("Energy charge, 1 to 150 kWh a month, 5 of 31 days", 12_000)
    ]
    archive = collect(market.chain)
    ledger = audit.run(archive).ledger
    assert reckoned(archive, ledger, made) == []
    assert reckoned(archive, ledger, Sheet.parse(to_csv(made))) == []
    told = reckoned(archive, ledger, made.model_copy(update={"covered_days": 3}))
    assert [found.what for found in told] == ["statement 2026-03: days that readings cover"]


def test_bills__of_a_month_in_every_block__are_what_the_books_say(market):
    """Two meters of one account; some of the import is covered by GRID, the rest fills all three blocks."""
    consumer = market.actors.consumer
    shop, cellar = (market.meter(name, consumer, kind=2) for name in ("shop", "cellar"))
    roof = market.meter("roof", market.actors.producer)
    for shop_wh, cellar_wh in ((3_000, 1_999), (400, 3), (9_000, 9_000)):
        market.next_epoch()
        market.submit(shop.read(import_wh=shop_wh), cellar.read(import_wh=cellar_wh), roof.read(export_wh=500))
    market.enter(market.actors.producer, ask(300, 500))
    market.enter(consumer, bid(310, 500))
    market.next_epoch()
    market.clear()
    market.chain.send(market.actors.keeper, Call("Metering", "retireFor", ([consumer.address],)))
    engine = open_database("sqlite://")
    History(market.chain, engine).step()
    with engine.connect() as connection:
        made = make(connection, consumer.address, Month(2026, 3), TARIFFS)
    energy = [(line.quantity_wh, len(line.transactions)) for line in made.lines if line.item.startswith("Energy")]
    assert (made.covered_days, made.month_days) == (1, 31)
    # Of one day of 31 the blocks end at 4,838 and 12,903 Wh. 500 Wh of the first interval are covered: 4,499 Wh of it,
    # then 339 of the second, fill the first block.
    assert energy == [(4_838, 2), (8_065, 2), (23_402 - 500 - 12_903, 1)]
    archive = collect(market.chain)
    ledger = audit.run(archive).ledger
    assert reckoned(archive, ledger, made) == []
    assert reckoned(archive, ledger, Sheet.parse(to_csv(made))) == []
    for place, line in enumerate(made.lines[:3]):
        wrong = [
            *made.lines[:place],
            line.model_copy(update={"quantity_wh": line.quantity_wh - 1}),
            *made.lines[place + 1 :],
        ]
        told = reckoned(archive, ledger, made.model_copy(update={"lines": wrong}))
        assert [found.what for found in told] == [f"statement 2026-03: line {place + 1}"]


def test_bills__the_replays_own_bill__is_the_statement_at_one_price_less_service_and_vat(statements, street_day):
    for statement, p in zip(statements, street_day.run.participants, strict=True):
        at_market = [line for line in statement.lines if not line.item.startswith(("Service", "VAT"))]
        grid_wh = p.grid_import_wh + p.outstanding_wh
        assert (statement.covered_days, statement.month_days) == (1 if p.meter_ids else 0, 31)
        # By the blocks of a 31st of a month here, 4,838 and 12,903 Wh, at the flat price of the second there; rounded
        # once a line, or once an interval.
        first_wh, last_wh = min(grid_wh, 4_838), max(0, grid_wh - 12_903)
        cheaper_uthb = (first_wh * (4_221_800 - 3_248_400) - last_wh * (4_421_700 - 4_221_800)) // 1_000
        charged_uthb = sum(line.amount_uthb for line in at_market)
        assert abs(charged_uthb + cheaper_uthb - p.bill_uthb) <= len(p.meter_ids) * 8
        assert statement.grid_import_wh == p.grid_import_wh + p.outstanding_wh


def test_statement__as_json__reads_back_the_same(statements):
    for statement in statements:
        assert Statement.model_validate_json(statement.model_dump_json()) == statement


def test_collect__from_a_live_chain__audits_clean(market):
    """An oracle operator delivers, a wallet retires, growth is parked: what a replay does not do."""
    actors = market.actors
    roof = market.meter("roof", actors.producer)
    shop = market.meter("shop", actors.consumer, kind=2)
    market.submit(roof.read(export_wh=2_000), shop.read(import_wh=900))
    market.enter(actors.producer, ask(300, 1_000))
    market.enter(actors.consumer, bid(300, 700))
    market.next_epoch()
    market.clear()
    market.withdraw(actors.producer, ENERGY, 500 * 10**15)
    market.chain.send(actors.keeper, Call("Metering", "retireFor", ([actors.consumer.address],)))
    market.enter(actors.consumer, bid(300, 200))
    archive = collect(market.chain)
    result = audit.run(archive)
    assert (result.findings, result.ok, result.readings) == ([], True, 2)


def test_collect__an_afternoon_of_signed_messages__audits_clean(market, tmp_path):
    trade_by_signature(market)
    file = tmp_path / "signed.jsonl"
    collect(market.chain).save(file)
    result = audit.run(Archive.load(file))
    assert (result.findings, result.ok, result.readings) == ([], True, READINGS)
    grown = {"roof": 50, "shop": 1_500 + 50}
    assert result.ledger.growth_import_wh == {meter: wh + 11 for meter, wh in grown.items()}


@pytest.mark.parametrize("meter_id", ["roof", "shop"])
def test_run__the_signature_of_a_late_reading_altered__names_it(market, tmp_path, meter_id):
    trade_by_signature(market)
    archive = collect(market.chain)
    late = next(
        (block, event)
        for block, found in archive.events()
        for event in found
        if event.name == "LateReadingRecorded" and event.args["meterId"] == meter_id_bytes(meter_id)
    )
    (signed,) = late[0].readings()
    file = tmp_path / "altered.jsonl"
    archive.save(file)
    text = file.read_text(encoding="ascii")
    assert text.count(signed.r.hex()) == 1
    file.write_text(text.replace(signed.r.hex(), signed.r[:-1].hex() + f"{signed.r[-1] ^ 1:02x}"), encoding="ascii")
    told = [f.what for f in audit.run(Archive.load(file)).findings if f.what.startswith("reading of")]
    assert told == [f"reading of {meter_id} ending at {signed.reading.interval_end}"]


def test_run__a_message_used_twice__is_found(market):
    trade_by_signature(market)
    archive = collect(market.chain)
    entered = next(e for _, found in archive.events() for e in found if e.name == "BundleEntered")
    told = list(audit._replays(archive, [entered, entered]))
    assert [(f.account, f.expected, f.found) for f in told] == [(market.actors.producer.address, "at least 4", "3")]
