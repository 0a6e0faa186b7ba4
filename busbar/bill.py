"""A statement on paper: a PDF in A4, the bill on its first page, every day, trade and transaction after it."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from fpdf import FPDF
from fpdf.enums import TableCellFillMode, XPos, YPos
from fpdf.fonts import FontFace

from busbar import tools
from busbar.statements import BANGKOK, Line, Statement
from busbar.units import ENERGY_UNITS_PER_WH

FONT_FOLDER = "node_modules/@expo-google-fonts/sarabun"
"""Sarabun, the typeface of Thai official documents: names are written in Thai and Latin letters."""

HASH_FONT, HASH_SIZE, HASH_HEIGHT = "Courier", 6, 2.7
"""Two hashes of 66 characters stand side by side; in points, and the height of a line in mm."""

INK, SOFT, RULE, SHADE = (24, 32, 40), (96, 106, 116), (205, 212, 218), (243, 246, 248)


class _Page(FPDF):
    footer_text = ""

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font("Sarabun", size=7)
        self.set_text_color(*SOFT)
        self.cell(0, 4, self.footer_text)
        self.cell(0, 4, f"{self.page_no()} / {{nb}}", align="R")


def to_pdf(statement: Statement, name: str | None = None) -> bytes:
    """The statement as a PDF file.

    Args:
        statement: What to print.
        name: Name of the participant, if it may be printed.

    Raises:
        tools.ToolMissing: The typeface is not installed.
    """
    page = _Page(format="A4")
    fonts = tools.project_root() / FONT_FOLDER
    for style, file in (("", "400Regular/Sarabun_400Regular.ttf"), ("B", "600SemiBold/Sarabun_600SemiBold.ttf")):
        if not (fonts / file).exists():
            raise tools.ToolMissing(f"{fonts / file} is missing: run `make setup`")
        page.add_font("Sarabun", style, fonts / file)
    page.set_text_shaping(True)
    page.alias_nb_pages()
    page.set_margins(18, 16)
    page.set_auto_page_break(True, 18)
    page.set_title(f"Energy statement {statement.month}")
    page.set_creation_date(datetime.fromtimestamp(0, UTC))  # the same statement is the same file
    page.footer_text = f"{statement.account}   {statement.month}   chain {statement.chain_id}, block {statement.block}"
    page.add_page()
    _heading(page, statement, name)
    _sums(page, statement)
    _bill(page, statement)
    _remarks(page, statement)
    _annex(page, statement)
    _transactions(page, statement)
    return bytes(page.output())


def _text(page: FPDF, text: str, size: float, *, bold: bool = False, color: tuple[int, int, int] = INK) -> None:
    page.set_font("Sarabun", "B" if bold else "", size)
    page.set_text_color(*color)
    page.multi_cell(0, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")


def _heading(page: FPDF, statement: Statement, name: str | None) -> None:
    first = datetime.strptime(statement.month, "%Y-%m").replace(tzinfo=BANGKOK)
    _text(page, f"Energy statement, {first:%B %Y}", 20, bold=True)
    page.ln(1)
    _text(page, name or statement.account, 11)
    if name:
        _text(page, statement.account, 8, color=SOFT)
    if statement.provisional:
        _text(page, "Provisional: the month, or the time to cover its import, has not ended.", 9, color=(176, 88, 0))
    page.ln(4)


def _sums(page: FPDF, statement: Statement) -> None:
    shown = (
        ("Imported", _kwh(statement.import_wh)),
        ("Exported", _kwh(statement.export_wh)),
        ("Supplied by GRID", _kwh(statement.self_supplied_wh)),
        ("Bought", _kwh(statement.bought_uwh // ENERGY_UNITS_PER_WH)),
        ("Sold", _kwh(statement.sold_uwh // ENERGY_UNITS_PER_WH)),
        ("From the grid", _kwh(statement.grid_import_wh)),
    )
    width = page.epw / len(shown)
    top = page.get_y()
    page.set_fill_color(*SHADE)
    page.rect(page.l_margin, top, page.epw, 16, style="F")
    for i, (label, value) in enumerate(shown):
        page.set_xy(page.l_margin + i * width + 2, top + 2.5)
        page.set_font("Sarabun", "", 7.5)
        page.set_text_color(*SOFT)
        page.cell(width - 2, 4, label)
        page.set_xy(page.l_margin + i * width + 2, top + 7.5)
        page.set_font("Sarabun", "B", 10)
        page.set_text_color(*INK)
        page.cell(width - 2, 5, value)
    page.set_xy(page.l_margin, top + 21)


def _bill(page: FPDF, statement: Statement) -> None:
    rows = [["", "from", "to", "kWh", "THB/kWh", "THB"]]
    rows += [_row(number, line) for number, line in enumerate(statement.lines, start=1)]
    rows.append(
        ["To pay" if statement.total_uthb >= 0 else "To receive", "", "", "", "", _thb(abs(statement.total_uthb))]
    )
    _table(page, rows, (62, 22, 22, 22, 22, 24), last_bold=True)
    page.ln(4)
    saved, spent = statement.saving_uthb, statement.baseline_uthb
    verdict = f"You saved {_thb(saved)} THB" if saved >= 0 else f"The market cost you {_thb(-saved)} THB more"
    _text(page, f"{verdict} against retail and buyback alone, which would have come to {_thb(spent)} THB.", 10)
    if covered := _covered(statement):
        _text(page, covered, 10)
    page.ln(3)


def _covered(statement: Statement) -> str:
    """Which part of its month a statement is of; nothing where that is all of it, or there is no reading."""
    if statement.covered_days in (0, statement.month_days):
        return ""
    told = f"Readings cover {statement.covered_days} of the month's {statement.month_days} days"
    return f"{told}: blocks of energy count for that share of a month, the service charge is a whole month's."


def _row(number: int, line: Line) -> list[str]:
    return [
        f"{number}.  {line.item}",
        f"{line.first_day:%d.%m.%Y}",
        f"{line.last_day:%d.%m.%Y}",
        "" if line.quantity_wh is None else _fixed(line.quantity_wh, 3, 3),
        "" if line.price_uthb_per_kwh is None else _fixed(line.price_uthb_per_kwh, 6, 4),
        _thb(line.amount_uthb),
    ]


def _remarks(page: FPDF, statement: Statement) -> None:
    digest = hashlib.sha256(statement.model_dump_json().encode()).hexdigest()
    remarks = [
        "Prices of the grid are before VAT; trades between neighbours are shown as settled, without VAT.",
        *dict.fromkeys(f"Source: {line.source}" for line in statement.lines if line.section == "grid" and line.source),
        *[f"Assumption: {assumption}" for assumption in statement.assumptions],
        f"Transactions of every line: on the last pages. SHA-256 of the JSON the API gives: {digest}",
        f"As of block {statement.block}, {statement.block_hash}",
    ]
    for remark in remarks:
        _text(page, remark, 7, color=SOFT)
    page.ln(2)


def _annex(page: FPDF, statement: Statement) -> None:
    if statement.readings:
        page.add_page()
        _text(page, "Day by day", 13, bold=True)
        page.ln(2)
        _table(page, _days(statement), (28, 30, 30, 30, 28, 28))
    if statement.trades:
        page.add_page()
        _text(page, "Trades", 13, bold=True)
        page.ln(2)
        rows = [["start of epoch", "", "kWh", "half ticks/kWh", "THB", "order's transaction", "cleared by"]]
        rows += [
            [
                f"{datetime.fromtimestamp(trade.start, BANGKOK):%d.%m. %H:%M}",
                "bought" if trade.side == "buy" else "sold",
                _fixed(trade.energy_uwh, 9, 3),
                str(trade.price2),
                _fixed(trade.money_wei, 18, 2),
                _short(trade.order_tx),
                _short(trade.clear_tx),
            ]
            for trade in statement.trades
        ]
        _table(page, rows, (26, 16, 20, 24, 18, 35, 35))


def _transactions(page: FPDF, statement: Statement) -> None:
    """Every transaction, by line of the bill; a line that has those of lines before it, as Ft has, names these."""
    lines = [(n, line) for n, line in enumerate(statement.lines, start=1) if line.transactions]
    if not lines:
        return
    page.add_page()
    _text(page, "Transactions", 13, bold=True)
    told = f"Behind the numbered lines of the bill, in the order in which they count, on chain {statement.chain_id}."
    _text(page, told, 7, color=SOFT)
    seen: list[tuple[int, list[str]]] = []
    for number, line in lines:
        page.ln(3)
        if page.will_page_break(10):
            page.add_page()
        count = len(line.transactions)
        _text(page, f"{number}.  {line.item}: {count:,} transaction{'s' if count != 1 else ''}", 9, bold=True)
        same = [n for n, hashes in seen if not {*hashes} - {*line.transactions}]
        if {tx for n, hashes in seen if n in same for tx in hashes} == {*line.transactions}:
            which = f"line {same[0]}" if len(same) == 1 else f"lines {', '.join(map(str, same))}"
            _text(page, f"Those of {which}, each once.", 7, color=SOFT)
            continue
        seen.append((number, line.transactions))
        page.set_font(HASH_FONT, "", HASH_SIZE)
        page.set_text_color(*INK)
        for place, tx_hash in enumerate(line.transactions):
            last = place % 2 or place == count - 1
            new_x, new_y = (XPos.LMARGIN, YPos.NEXT) if last else (XPos.RIGHT, YPos.TOP)
            page.cell(page.epw / 2, HASH_HEIGHT, tx_hash, new_x=new_x, new_y=new_y)
            if place % 20 == 19:
                page.ln(HASH_HEIGHT / 2)  # the eye counts in tens


def _days(statement: Statement) -> list[list[str]]:
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for reading in statement.readings:
        day = sums[f"{datetime.fromtimestamp(reading.interval_end - 1, BANGKOK):%d.%m.%Y}"]
        for i, value in enumerate((reading.import_wh, reading.export_wh, reading.grid_import_wh)):
            day[i] += value
    traded: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for trade in statement.trades:
        day = traded[f"{datetime.fromtimestamp(trade.start, BANGKOK):%d.%m.%Y}"]
        day[trade.side == "sell"] += trade.energy_uwh
    rows = [["day", "imported kWh", "exported kWh", "from the grid kWh", "bought kWh", "sold kWh"]]
    rows += [
        [shown, *(_fixed(v, 3, 3) for v in sums[shown]), *(_fixed(v, 9, 3) for v in traded[shown])]
        for shown in sorted({*sums, *traded}, key=lambda text: text.split(".")[::-1])
    ]
    return rows


def _table(page: FPDF, rows: Sequence[Sequence[str]], widths: Sequence[int], *, last_bold: bool = False) -> None:
    page.set_fill_color(255)
    page.set_draw_color(*RULE)
    page.set_text_color(*INK)
    page.set_font("Sarabun", "", 8.5)
    aligns = ["LEFT" if i == 0 else "RIGHT" for i in range(len(widths))]
    with page.table(
        rows=(),
        col_widths=tuple(widths),
        text_align=tuple(aligns),
        borders_layout="HORIZONTAL_LINES",
        line_height=5,
        headings_style=FontFace(emphasis="", color=SOFT),
        cell_fill_mode=TableCellFillMode.NONE,
    ) as table:
        for number, cells in enumerate(rows):
            row = table.row(style=FontFace(emphasis="B") if last_bold and number == len(rows) - 1 else None)
            for cell in cells:
                row.cell(cell)


def _short(tx_hash: str) -> str:
    return f"{tx_hash[:8]}…{tx_hash[-6:]}"


def _kwh(energy_wh: int) -> str:
    return f"{_fixed(energy_wh, 3, 3)} kWh"


def _thb(amount_uthb: int) -> str:
    return _fixed(amount_uthb, 6, 2)


def _fixed(value: int, scale: int, digits: int) -> str:
    """`value` x 10**-scale for people, rounded half to even."""
    step = 10 ** (scale - digits)
    whole, rest = divmod(abs(value), step)
    if 2 * rest > step or (2 * rest == step and whole % 2):
        whole += 1
    text = f"{whole // 10**digits:,}.{whole % 10**digits:0{digits}d}"
    return f"-{text}" if value < 0 and whole else text
