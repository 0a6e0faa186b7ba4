"""A statement as PDF: every line's transactions stand in it, however many they are."""

import re
import zlib
from hashlib import sha256

import pytest

from busbar import bill, tools
from busbar.bill import to_pdf
from busbar.statements import Lot, Month, Statement, Tariffs, Trade, grid_lines, market_lines
from busbar.tariff import Share

FILE = tools.project_root() / "data" / "tariffs" / "thailand.csv"
MARCH = Month(2026, 3)
HASH = re.compile(rb"\((0x[0-9a-f]{64})\) Tj")


def tx(name):
    return "0x" + sha256(str(name).encode()).hexdigest()


def statement(readings, fills, covered_days=31):
    """A month with so many readings of 300 Wh, each of a transaction of its own, and so many purchases."""
    share = Share(covered_days, 31)
    lots = [Lot(MARCH.start + 900 * (n + 1), 300, 300, tx(n)) for n in range(readings)]
    trades = [
        Trade(
            epoch=n,
            start=MARCH.start + 900 * n,
            order_id=n,
            side="buy",
            limit_tick=300,
            price2=600,
            energy_uwh=10**9,
            money_wei=3 * 10**18,
            order_tx=tx(f"order {n}"),
            clear_tx=tx(f"clear {n}"),
        )
        for n in range(fills)
    ]
    lines = grid_lines([(lot, lot.left_wh) for lot in lots], MARCH, Tariffs(FILE), 900, share, service=True)
    lines += market_lines(trades, MARCH)
    total = sum(line.amount_uthb for line in lines)
    energy_wh = 300 * readings
    return Statement(
        account="0xBcd4042DE499D14e55001CcbB24a551F3b954096",
        month=str(MARCH),
        covered_days=share.covered_days,
        month_days=share.month_days,
        chain_id=31337,
        block=9_000,
        block_hash=tx("block"),
        provisional=False,
        plan="residential-1.2",
        vat_percent=7,
        import_wh=energy_wh,
        export_wh=0,
        self_supplied_wh=0,
        grid_import_wh=energy_wh,
        bought_uwh=sum(trade.energy_uwh for trade in trades),
        sold_uwh=0,
        lines=lines,
        total_uthb=total,
        baseline_uthb=total,
        saving_uthb=0,
        trades=trades,
        readings=[],
        movements=[],
        assumptions=[],
    )


def listed(pdf):
    """The full hashes on its pages, in order."""
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    found = []
    for stream in streams:
        try:
            found += HASH.findall(zlib.decompress(stream))
        except zlib.error:  # not a page's
            continue
    return [text.decode() for text in found]


@pytest.mark.parametrize(("readings", "fills"), [(1, 0), (0, 1), (1_203, 60), (2_976, 96)])
def test_to_pdf__of_any_number_of_transactions__names_each_in_full_by_line(readings, fills):
    made = statement(readings, fills)
    named = [line for line in made.lines if line.item != "Ft"]
    assert listed(to_pdf(made)) == [hash_ for line in named for hash_ in line.transactions]


def test_to_pdf__of_one_that_names_another_transaction__is_another_file():
    made = statement(3, 1)
    first, *others = made.lines
    altered = first.model_copy(update={"transactions": [tx("other"), *first.transactions[1:]]})
    assert tx("other") in listed(to_pdf(made.model_copy(update={"lines": [altered, *others]})))
    assert tx("other") not in listed(to_pdf(made))


def test_to_pdf__of_a_line_whose_transactions_are_not_those_of_others__lists_them_again():
    """Ft refers to the energy's lines only while it has exactly their transactions."""
    made = statement(3, 0)
    energy, ft, *others = made.lines
    wider = ft.model_copy(update={"transactions": [*ft.transactions, tx("other")]})
    shown = listed(to_pdf(made.model_copy(update={"lines": [energy, wider, *others]})))
    assert shown == [*energy.transactions, *wider.transactions]


def test_to_pdf__of_no_line_with_a_transaction__has_no_page_of_them():
    made = statement(0, 0)
    assert made.lines
    assert listed(to_pdf(made)) == []
    assert len(re.findall(rb"/Type /Page\b", to_pdf(made))) == 1


@pytest.mark.parametrize(("covered_days", "times"), [(0, 0), (2, 1), (31, 0)])
def test_to_pdf__of_a_part_of_a_month__says_which(monkeypatch, covered_days, times):
    written, write = [], bill._text

    def noted(page, text, *args, **options):
        written.append(text)
        write(page, text, *args, **options)

    monkeypatch.setattr(bill, "_text", noted)
    to_pdf(statement(3 if covered_days else 0, 0, covered_days))
    said = (
        "Readings cover 2 of the month's 31 days: blocks of energy count for that share of a month, "
        "the service charge is a whole month's."
    )
    assert (written.count(said), sum(text.startswith("Readings cover") for text in written)) == (times, times)
