"""A replay's report: one HTML page to forward, four CSV files to compute with, and a summary for the terminal.

All three show the same figures, computed once from the integers of a `Run`. Nothing is rounded before it is
shown; what is shown is rounded half to even, and shares are whole per mille.

The page carries everything it needs and is forbidden to load anything (`Content-Security-Policy`); only the two
scripts put in here may run in it, by their hash, so that a participant's name can never become code. Pure: reads
the template and the chart library, writes the folder, knows no chain and no clock.
"""

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from busbar.results import EpochRow, Model, ParticipantRow, ReadingRow, Run, TickVolume, TradeRow
from busbar.tools import ToolMissing, project_root
from busbar.units import ENERGY_UNITS_PER_WH as UWH_PER_WH
from busbar.units import price as price_text

__all__ = ["Figures", "ReportFiles", "figures", "print_summary", "write_report"]

REPORT_FILE = "report.html"
TRADES_FILE = "trades.csv"
READINGS_FILE = "readings.csv"
EPOCHS_FILE = "epochs.csv"
PARTICIPANTS_FILE = "participants.csv"

UWH_PER_KWH = 10**9
WH_PER_KWH = 10**3
WEI_PER_THB = 10**18
WEI_PER_UTHB = 10**12
UTHB_PER_THB = 10**6

FLOW_NODES = 10
"""Sellers and buyers with a band of their own in the flow chart; the rest is summed up."""
CONSOLE_ROWS = 30
"""Participants listed in the terminal; the rest is summed up."""
WIDE_CONSOLE = 100
"""Columns from which the terminal shows grid import too."""

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_ECHARTS = Path("node_modules") / "echarts" / "dist" / "echarts.min.js"

_CSV_UNITS = {"orders": "orders_count", "price2": "price2_half_ticks", "interval_end": "interval_end_unix_s"}
"""Fields of `busbar.results` whose name is short of its unit, and their column's name."""

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_MINUS = "\N{MINUS SIGN}"
_WHOLE_NUMBER = re.compile(r"(?<![\w.,])[1-9][0-9]{3,99}(?!\w|[.,]\d)")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """What `write_report` wrote."""

    html: Path
    run: Path
    trades: Path
    readings: Path
    epochs: Path
    participants: Path


@dataclass(frozen=True, slots=True)
class Figures:
    """The sums a report opens with. The utility's own account is in none of the energy and bill sums.

    Attributes:
        consumption_wh: Gross consumption behind all meters.
        generation_wh: Gross generation behind all meters.
        import_wh: Drawn from the network, summed over meters.
        export_wh: Fed into the network, summed over meters: the surplus.
        simultaneous_wh: Surplus that neighbours drew in the same interval, whatever the market did.
        retired_wh: Import covered by energy tokens: what the market made local.
        retired_bought_wh: The part of `retired_wh` that was bought, at most what was bought.
        traded_wh: Cleared volume of all epochs.
        neighbour_uwh: Bought by participants other than the utility.
        utility_uwh: Bought by the utility.
        turnover_wei: Money paid by all buyers.
        bill_uthb: What participants pay with the market.
        baseline_uthb: What they would pay with retail and buyback alone.
        saving_uthb: The difference.
        gas: Gas of all transactions.
        transactions: Number of all transactions.
        orders: Orders in all epochs.
        traded_epochs: Epochs in which energy changed hands.
        failed: Audit checks that do not hold.
    """

    consumption_wh: int
    generation_wh: int
    import_wh: int
    export_wh: int
    simultaneous_wh: int
    retired_wh: int
    retired_bought_wh: int
    traded_wh: int
    neighbour_uwh: int
    utility_uwh: int
    turnover_wei: int
    bill_uthb: int
    baseline_uthb: int
    saving_uthb: int
    gas: int
    transactions: int
    orders: int
    traded_epochs: int
    failed: int

    @property
    def own_use_wh(self) -> int:
        """Consumption met by the roof above it in the same interval."""
        return self.consumption_wh - self.import_wh

    @property
    def grid_wh(self) -> int:
        """Import that no energy token covers."""
        return self.import_wh - self.retired_wh

    @property
    def kept_uwh(self) -> int:
        """Surplus not sold: kept for later hours."""
        return max(0, self.export_wh * UWH_PER_WH - self.neighbour_uwh - self.utility_uwh)


def figures(run: Run) -> Figures:
    """Add up what the page and the terminal summary open with."""
    members = _members(run)
    utilities = {row.account for row in run.participants if row.role == "utility"}
    buys = [trade for trade in run.trades if trade.side == "buy"]
    utility_uwh = sum(trade.energy_uwh for trade in buys if trade.account in utilities)
    return Figures(
        consumption_wh=sum(row.consumption_wh for row in members),
        generation_wh=sum(row.generation_wh for row in members),
        import_wh=sum(row.import_wh for row in members),
        export_wh=sum(row.export_wh for row in members),
        simultaneous_wh=sum(min(epoch.import_wh, epoch.export_wh) for epoch in run.epochs),
        retired_wh=sum(row.retired_wh for row in members),
        retired_bought_wh=sum(min(row.retired_wh, row.bought_uwh // UWH_PER_WH) for row in members),
        traded_wh=sum(epoch.volume_wh for epoch in run.epochs),
        neighbour_uwh=sum(trade.energy_uwh for trade in buys) - utility_uwh,
        utility_uwh=utility_uwh,
        turnover_wei=sum(trade.money_wei for trade in buys),
        bill_uthb=sum(row.bill_uthb for row in members),
        baseline_uthb=sum(row.baseline_bill_uthb for row in members),
        saving_uthb=sum(row.saving_uthb for row in members),
        gas=sum(row.total for row in run.gas),
        transactions=sum(row.count for row in run.gas),
        orders=sum(epoch.orders for epoch in run.epochs),
        traded_epochs=sum(epoch.volume_wh > 0 for epoch in run.epochs),
        failed=sum(not check.ok for check in run.audit),
    )


def write_report(run: Run, folder: Path) -> ReportFiles:
    """Write `run.json`, `report.html` and the four CSV files into a folder, which is made if missing.

    Raises:
        ToolMissing: The chart library is not in `node_modules`; nothing is written.
        OSError: The folder cannot be written.
    """
    page = _page(run)
    folder.mkdir(parents=True, exist_ok=True)
    files = ReportFiles(
        html=folder / REPORT_FILE,
        run=run.save(folder),
        trades=folder / TRADES_FILE,
        readings=folder / READINGS_FILE,
        epochs=folder / EPOCHS_FILE,
        participants=folder / PARTICIPANTS_FILE,
    )
    _write_csv(files.trades, TradeRow, run.trades)
    _write_csv(files.readings, ReadingRow, run.readings)
    _write_csv(files.epochs, EpochRow, run.epochs)
    _write_csv(files.participants, ParticipantRow, run.participants)
    files.html.write_text(page, encoding="utf-8", newline="\n")
    return files


# ---- numbers for people ---------------------------------------------------------------------------------------


def _ratio(numerator: int, denominator: int) -> int:
    """Divide, rounding half to even."""
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1))


def _decimal(amount: int, unit: int, digits: int) -> str:
    """Write `amount / unit` with so many decimals and separated thousands."""
    scaled = _ratio(amount * 10**digits, unit)
    whole, fraction = divmod(abs(scaled), 10**digits)
    sign = "-" if scaled < 0 else ""
    return f"{sign}{whole:,}.{fraction:0{digits}}" if digits else f"{sign}{whole:,}"


def _wh(wh: int) -> str:
    return _decimal(wh, WH_PER_KWH, 3)


def _uwh(uwh: int) -> str:
    return _decimal(uwh, UWH_PER_KWH, 3)


def _thb(uthb: int) -> str:
    return _decimal(uthb, UTHB_PER_THB, 2)


def _wei(wei: int) -> str:
    return _decimal(wei, WEI_PER_THB, 2)


def _percent(part: int, whole: int) -> str:
    return "n/a" if whole == 0 else f"{_decimal(part * 100, whole, 1)} %"


def _mean_price(wei: int, uwh: int) -> str:
    """THB/kWh of a purchase or sale, to a tenth of a satang."""
    return "n/a" if uwh == 0 else _decimal(wei * UWH_PER_KWH, uwh * WEI_PER_THB, 3)


def _price_range(run: Run, ticks: Iterable[int]) -> str:
    """One price, or the two between which a tariff moves over the run."""
    found = sorted(set(ticks))
    if not found:
        return "n/a"
    low, high = (_decimal(tick * run.market.tick_wei, WEI_PER_THB, 2) for tick in (found[0], found[-1]))
    return low if low == high else f"{low} to {high}"


def _grouped(text: str) -> str:
    """Separate the thousands of the whole numbers in a text, such as an audit's "20000 GRID, 5 quote"."""
    return _WHOLE_NUMBER.sub(lambda match: f"{int(match[0]):,}", text)


def _days(days: Sequence[str]) -> str:
    dates = sorted(date.fromisoformat(day) for day in days)
    if not dates:
        return "no days"
    first, last = dates[0], dates[-1]
    end = f"{last.day} {_MONTHS[last.month - 1]} {last.year}"
    if first == last:
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {end}"
    return f"{first.day} {_MONTHS[first.month - 1]}{'' if first.year == last.year else f' {first.year}'} to {end}"


def _members(run: Run) -> list[ParticipantRow]:
    return [row for row in run.participants if row.role != "utility"]


def _grid_wh(row: ParticipantRow) -> int:
    """What the bill charges as grid import, whether or not there is still time to cover it."""
    return row.grid_import_wh + row.outstanding_wh


def _title(run: Run) -> str:
    name = run.community.name
    return f"{name[:1].upper()}{name[1:]}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


# ---- CSV ------------------------------------------------------------------------------------------------------


def _write_csv(path: Path, model: type[Model], rows: Sequence[Model]) -> None:
    """Write rows under their field names; numbers stay the integers they are."""
    fields = list(model.model_fields)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([_column(model, field) for field in fields])
        writer.writerows([_cell(getattr(row, field)) for field in fields] for row in rows)


def _column(model: type[Model], field: str) -> str:
    if model is EpochRow and field in ("bids", "asks"):
        return f"{field}_tick_wh"
    return _CSV_UNITS.get(field, field)


def _cell(value: object) -> str | int:
    if isinstance(value, int):
        return value
    if isinstance(value, list):
        return " ".join(f"{v.tick}:{v.energy_wh}" if isinstance(v, TickVolume) else str(v) for v in value)
    text = str(value)
    # A spreadsheet would run a name that begins like a formula.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


# ---- the page -------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    """One line of a bill: money positive if it is owed."""

    label: str
    energy: str
    price: str
    amount: str
    total: bool = False


class _Bill(NamedTuple):
    row: ParticipantRow
    lines: list[_Line]
    baseline: list[_Line]
    saving_permille: int
    """Length of the saving's bar, relative to the largest saving or loss of all."""


def _page(run: Run) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "wh": _signed(_wh),
        "uwh": _signed(_uwh),
        "thb": _signed(_thb),
        "wei": _signed(_wei),
        "whole": lambda count: f"{count:,}".replace("-", _MINUS),
        "grouped": _grouped,
        "plural": _plural,
    }
    library_file = project_root() / _ECHARTS
    if not library_file.is_file():
        raise ToolMissing(f"{library_file.name} is missing at {library_file}: run `make setup`")
    library = library_file.read_text(encoding="utf-8").strip()
    program = (_TEMPLATES / "report.js").read_text(encoding="utf-8").strip()
    scripts = [_script(library), _script(program)]
    sums = figures(run)
    members = _members(run)
    flows = _flow_matrix(run)
    bills = _bills(run, members)
    return environment.get_template(
        "report.html"
    ).render(
        run=run,
        sums=sums,
        name=_title(run),
        days=_days(run.run.days),
        style=Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        library=scripts[0][0],
        program=scripts[1][0],
        policy="; ".join(
            (
                "default-src 'none'",
                " ".join(("script-src", *(f"'sha256-{digest}'" for _, digest in scripts))),
                "style-src 'unsafe-inline'",
                "img-src data:",
                "base-uri 'none'",
                "form-action 'none'",
            )
        ),
        data=_json(_chart_data(run, flows)),
        percent=lambda part, whole: _percent(part, whole).replace("-", _MINUS).replace(" ", "\N{NO-BREAK SPACE}"),
        permille=lambda part, whole: _ratio(part * 1000, whole) if whole else 0,
        mean_price=_mean_price,
        price=lambda price2: price_text(price2, run.market.tick_wei),
        clock=_clock,
        day_of=lambda stamp: stamp[:10],
        buyback=_price_range(run, (epoch.buyback_tick for epoch in run.epochs)),
        retail=_price_range(run, (epoch.retail_tick for epoch in run.epochs)),
        grid_wh=_grid_wh,
        to_pay_uthb=_to_pay_uthb,
        to_pay_total_uthb=sum(map(_to_pay_uthb, members)),
        million=lambda count: _decimal(count, 10**6, 1),
        grid_total_wh=sum(_grid_wh(row) for row in members),
        members=members,
        utilities=[row for row in run.participants if row.role == "utility"],
        bills=bills,
        flows=flows,
        files=[PARTICIPANTS_FILE, EPOCHS_FILE, TRADES_FILE, READINGS_FILE, "run.json"],
        echarts_licence="Apache-2.0",
    )


def _signed(write: object) -> object:
    """A number format with a minus sign as wide as a digit, for the page."""
    assert callable(write)  # noqa: S101 - narrows the type
    return lambda amount: write(amount).replace("-", _MINUS)


def _script(text: str) -> tuple[Markup, str]:
    """A script's text and its hash for the page's policy. The text must not end its own element."""
    assert "</script" not in text.lower()  # noqa: S101 - both scripts are ours and pinned
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return Markup(text), base64.b64encode(digest).decode("ascii")  # noqa: S704


def _json(data: object) -> Markup:
    """JSON that cannot end the element it stands in, nor open a comment in it."""
    text = json.dumps(data, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)  # noqa: S704


def _clock(stamp: str) -> str:
    return f"{datetime.fromisoformat(stamp):%H:%M}"


def _chart_data(run: Run, flows: "_Flows") -> dict[str, object]:
    utilities = {row.account for row in run.participants if row.role == "utility"}
    utility_uwh: dict[int, int] = {}
    for trade in run.trades:
        if trade.side == "buy" and trade.account in utilities:
            utility_uwh[trade.epoch] = utility_uwh.get(trade.epoch, 0) + trade.energy_uwh
    return {
        "tickWei": str(run.market.tick_wei),
        "days": len(run.run.days),
        "epochSeconds": run.market.epoch_seconds,
        "epochs": [
            {
                "n": epoch.epoch,
                "day": epoch.start[:10],
                "at": _clock(epoch.start),
                "metered": _clock(epoch.interval_start),
                "import": epoch.import_wh,
                "export": epoch.export_wh,
                "orders": epoch.orders,
                "volume": epoch.volume_wh,
                "utility": min(epoch.volume_wh, _ratio(utility_uwh.get(epoch.epoch, 0), UWH_PER_WH)),
                "price2": epoch.price2,
                "lower": epoch.lower_tick,
                "upper": epoch.upper_tick,
                "long": epoch.long_side,
                "filled": epoch.filled_wh,
                "offered": epoch.offered_wh,
                "buyback": epoch.buyback_tick,
                "retail": epoch.retail_tick,
                "bids": [[level.tick, level.energy_wh] for level in epoch.bids],
                "asks": [[level.tick, level.energy_wh] for level in epoch.asks],
            }
            for epoch in run.epochs
        ],
        "flows": {
            "sellers": flows.sellers,
            "buyers": flows.buyers,
            "energy": flows.energy_wh,
            "utilities": flows.utilities,
        },
    }


class _Flows(NamedTuple):
    """Energy from sellers to buyers, largest first; the last of each may stand for the rest.

    `energy_wh[s][b]` went from seller `s` to buyer `b`; `utilities` are the buyers that are one.
    """

    sellers: list[str]
    buyers: list[str]
    energy_wh: list[list[int]]
    utilities: list[int]

    @property
    def sold_wh(self) -> list[int]:
        return [sum(row) for row in self.energy_wh]

    @property
    def bought_wh(self) -> list[int]:
        return [sum(column) for column in zip(*self.energy_wh, strict=True)]


def _flow_matrix(run: Run) -> _Flows:
    names = {row.account: row.name for row in run.participants}
    sold: dict[str, int] = {}
    bought: dict[str, int] = {}
    for flow in run.flows:
        sold[flow.seller] = sold.get(flow.seller, 0) + flow.energy_wh
        bought[flow.buyer] = bought.get(flow.buyer, 0) + flow.energy_wh
    sellers, seller_labels = _leaders(sold, names)
    buyers, buyer_labels = _leaders(bought, names)
    matrix = [[0] * len(buyer_labels) for _ in seller_labels]
    for flow in run.flows:
        matrix[sellers[flow.seller]][buyers[flow.buyer]] += flow.energy_wh
    utilities = {who for row in run.participants if row.role == "utility" for who in (row.account, row.name)}
    own = len(buyer_labels) - (len(buyer_labels) < len(buyers))
    shown = [place for who, place in buyers.items() if who in utilities and place < own]
    return _Flows(seller_labels, buyer_labels, matrix, shown)


def _leaders(volumes: dict[str, int], names: dict[str, str]) -> tuple[dict[str, int], list[str]]:
    """Rank by volume: the place of each, and the places' labels; one place is left for all the small ones."""
    ranked = sorted(volumes, key=lambda who: (-volumes[who], names.get(who, who)))
    own = len(ranked) if len(ranked) <= FLOW_NODES + 1 else FLOW_NODES
    places = {who: min(n, own) for n, who in enumerate(ranked)}
    labels = [names.get(who, who) for who in ranked[:own]]
    if own < len(ranked):
        labels.append(f"{len(ranked) - own} others")
    return places, labels


def _bills(run: Run, members: Sequence[ParticipantRow]) -> list[_Bill]:
    longest = max((abs(row.saving_uthb) for row in members), default=0)
    return [
        _Bill(
            row=row,
            lines=_bill_lines(run, row),
            baseline=_baseline_lines(run, row),
            saving_permille=_ratio(abs(row.saving_uthb) * 1000, longest) if longest else 0,
        )
        for row in members
    ]


def _bill_lines(run: Run, row: ParticipantRow) -> list[_Line]:
    grid_wh = _grid_wh(row)
    return [
        *_grid_lines("Grid import", grid_wh, row.grid_cost_uthb, row.grid_ft_uthb),
        *_traded_line("Bought in the market", row.bought_uwh, row.paid_wei),
        *_traded_line("Sold in the market", row.sold_uwh, -row.earned_wei),
        _Line("Bill before service and VAT", "", "", _thb(row.bill_uthb), total=True),
        *_charge_lines(run, row.service_uthb, row.vat_uthb),
        _Line("To pay", "", "", _thb(_to_pay_uthb(row)), total=True),
    ]


def _baseline_lines(run: Run, row: ParticipantRow) -> list[_Line]:
    income_wei = -row.buyback_only_income_uthb * WEI_PER_UTHB
    return [
        *_grid_lines("All import", row.import_wh, row.retail_only_cost_uthb, row.retail_only_ft_uthb),
        *_traded_line("All export at buyback", row.export_wh * UWH_PER_WH, income_wei),
        _Line("Bill before service and VAT", "", "", _thb(row.baseline_bill_uthb), total=True),
        *_charge_lines(run, row.service_uthb, row.baseline_vat_uthb),
        _Line("To pay", "", "", _thb(row.baseline_bill_uthb + row.service_uthb + row.baseline_vat_uthb), total=True),
    ]


def _to_pay_uthb(row: ParticipantRow) -> int:
    """What a participant pays in the end: its bill, service charge, and VAT on what the grid charges."""
    return row.bill_uthb + row.service_uthb + row.vat_uthb


def _grid_lines(label: str, energy_wh: int, cost_uthb: int, ft_uthb: int) -> list[_Line]:
    """Energy charge and Ft: always there, so that a bill says when there was none."""
    uwh = energy_wh * UWH_PER_WH
    return [
        _Line(f"{label}, {part}", _uwh(uwh), _mean_price(uthb * WEI_PER_UTHB, uwh) if uwh else "", _thb(uthb))
        for part, uthb in (("energy charge", cost_uthb - ft_uthb), ("Ft", ft_uthb))
    ]


def _traded_line(label: str, uwh: int, wei: int) -> list[_Line]:
    return [_Line(label, _uwh(uwh), _mean_price(abs(wei), uwh) if uwh else "", _wei(wei))] if uwh or wei else []


def _charge_lines(run: Run, service_uthb: int, vat_uthb: int) -> list[_Line]:
    return [
        _Line(f"Service charge, {_plural(len(run.run.days), 'day')}", "", "", _thb(service_uthb)),
        _Line(f"VAT {run.tariff.vat_percent} % on grid and service", "", "", _thb(vat_uthb)),
    ]


# ---- the terminal ---------------------------------------------------------------------------------------------


def print_summary(run: Run, console: Console, report: Path | None = None) -> None:
    """Print a replay's outcome: the headline, participants, gas, the audit, and where the report is.

    Args:
        run: What the replay found out.
        console: Where to print. Nothing in `run` is taken as markup.
        report: The page `write_report` wrote, if it did.
    """
    sums = figures(run)
    console.print()
    console.print(Text(_plain(f"{_title(run)}, {_days(run.run.days)}"), style="bold"), highlight=False, soft_wrap=True)
    console.print(_headline(sums), highlight=False)
    console.print(_participant_table(run, sums, console.width), highlight=False)
    console.print(_gas_table(run), highlight=False)
    console.print(_audit_table(run), highlight=False)
    count = len(run.audit)
    if sums.failed:
        console.print(Text(f"AUDIT FAILED: {sums.failed} of {_plural(count, 'check')}", style="bold white on red"))
    elif count:
        console.print(Text(f"Audit: all {_plural(count, 'check')} hold, to the unit.", style="green"))
    else:
        console.print(Text("Audit: nothing was checked.", style="bold yellow"))
    if report is not None:
        console.print(Text.assemble("Report: ", (str(report), "bold")), highlight=False, soft_wrap=True)


def _plain(text: str) -> str:
    """Text without control characters, which a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _headline(sums: Figures) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    price = _mean_price(sums.turnover_wei, sums.neighbour_uwh + sums.utility_uwh)
    table.add_row("Traded", f"{_wh(sums.traded_wh)} kWh in {_plural(sums.traded_epochs, 'epoch')}")
    neighbours = _percent(sums.neighbour_uwh, sums.export_wh * UWH_PER_WH)
    table.add_row("", f"{neighbours} of the surplus went to neighbours, {_uwh(sums.utility_uwh)} kWh to the utility")
    table.add_row("Average price", f"{price} THB/kWh")
    before, after = sums.own_use_wh, sums.own_use_wh + sums.retired_wh
    table.add_row(
        "Self-sufficiency",
        f"{_percent(before, sums.consumption_wh)} before, {_percent(after, sums.consumption_wh)} after",
    )
    table.add_row(
        "Saved",
        f"{_thb(sums.saving_uthb)} THB, {_percent(sums.saving_uthb, abs(sums.baseline_uthb))} of "
        f"{_thb(sums.baseline_uthb)} THB with retail and buyback alone",
    )
    return table


def _participant_table(run: Run, sums: Figures, width: int) -> Table:
    """Energy and money of each; a narrow terminal loses the column that the page can best make good."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Participants (kWh, THB)",
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    grid = width >= WIDE_CONSOLE
    table.add_column("", no_wrap=True, min_width=8, max_width=24)
    for name in (*["grid"] * grid, "bought", "sold", "paid", "earned", "bill", "no market", "saved"):
        table.add_column(name, justify="right", no_wrap=True)
    members = _members(run)
    for row in members[:CONSOLE_ROWS]:
        table.add_row(
            Text(_plain(row.name)),
            *[_wh(_grid_wh(row))] * grid,
            _uwh(row.bought_uwh),
            _uwh(row.sold_uwh),
            _wei(row.paid_wei),
            _wei(row.earned_wei),
            _thb(row.bill_uthb),
            _thb(row.baseline_bill_uthb),
            Text(_thb(row.saving_uthb), style="red" if row.saving_uthb < 0 else ""),
        )
    if len(members) > CONSOLE_ROWS:
        table.add_row(f"{len(members) - CONSOLE_ROWS:,} more")
    table.add_section()
    table.add_row(
        "all",
        *[_wh(sum(_grid_wh(row) for row in members))] * grid,
        _uwh(sum(row.bought_uwh for row in members)),
        _uwh(sum(row.sold_uwh for row in members)),
        _wei(sum(row.paid_wei for row in members)),
        _wei(sum(row.earned_wei for row in members)),
        _thb(sums.bill_uthb),
        _thb(sums.baseline_uthb),
        _thb(sums.saving_uthb),
        style="bold",
    )
    for row in run.participants:
        if row.role == "utility":
            cells = [_uwh(row.bought_uwh), _uwh(row.sold_uwh), _wei(row.paid_wei), _wei(row.earned_wei)]
            table.add_row(Text(_plain(row.name)), *[""] * grid, *cells, style="dim")
    return table


def _gas_table(run: Run) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Gas", title_justify="left", title_style="bold")
    table.add_column("")
    for name in ("count", "median", "maximum", "total"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in run.gas:
        numbers = (row.count, row.median, row.maximum, row.total)
        table.add_row(Text(_plain(row.operation)), *[f"{number:,}" for number in numbers])
    return table


def _audit_table(run: Run) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Audit", title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("")
    table.add_column("numbers", overflow="fold")
    table.add_column("unit")
    for check in run.audit:
        left, right = _plain(_grouped(check.left)), _plain(_grouped(check.right))
        equal = left == right
        table.add_row(
            Text("OK", style="green") if check.ok else Text("FAILED", style="bold white on red"),
            Text(_plain(check.name)),
            Text(left if check.ok and equal else f"{left} against {right}"),
            Text(_plain(check.unit)),
        )
    return table
