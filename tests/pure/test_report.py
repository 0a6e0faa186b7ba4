"""The report: exact figures, hostile names, nothing from the network, and an audit that cannot fail unseen."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from busbar import report
from busbar.report import ReportFiles, figures, print_summary, write_report
from busbar.results import EpochRow, Run
from busbar.tools import ToolMissing
from tests.pure.builders import STREET, failed_check, make_run

RUN = make_run()
HOSTILE = "</script><script>alert(1)</script>"


class Page(HTMLParser):
    """What a browser would see: tags with attributes, and text by element."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.scripts, self.styles, self.stack = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.stack.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self.stack and self.stack[-1][0] == tag:
            self.stack.pop()

    def handle_data(self, data):
        if not self.stack:
            self.texts.append(data)
        elif self.stack[-1][0] == "script":
            self.scripts.append((self.stack[-1][1], data))
        else:
            self.styles.append(data)

    @property
    def text(self):
        """All visible text, blanks joined, minus signs and hard blanks as typed on a keyboard."""
        text = " ".join(" ".join(self.texts).split())
        return text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")

    @property
    def data(self):
        return next(json.loads(text) for attrs, text in self.scripts if attrs.get("type") == "application/json")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_report(RUN, tmp_path_factory.mktemp("new") / "report")


@pytest.fixture(scope="module")
def page(files):
    return Page(files.html.read_text(encoding="utf-8"))


def page_of(run, tmp_path):
    return Page(write_report(run, tmp_path).html.read_text(encoding="utf-8"))


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def summary_of(run, width=120, report_file=None):
    console = Console(file=io.StringIO(), width=width)
    print_summary(run, console, report_file)
    return console.file.getvalue()


def renamed(name):
    """The run with the first participant called so, everywhere."""
    first = RUN.participants[0]
    return RUN.model_copy(
        update={
            "participants": [first.model_copy(update={"name": name}), *RUN.participants[1:]],
            "trades": [
                trade.model_copy(update={"participant": name}) if trade.account == first.account else trade
                for trade in RUN.trades
            ],
            "flows": [
                flow.model_copy(
                    update={
                        end: name if getattr(flow, end) == first.name else getattr(flow, end)
                        for end in ("seller", "buyer")
                    }
                )
                for flow in RUN.flows
            ],
        }
    )


# ---- figures


def test_figures__add_up_from_the_rows():
    sums = figures(RUN)
    members = RUN.participants[:-1]
    assert sums.consumption_wh == sum(sum(member.consumption_wh) for member in STREET)
    assert sums.export_wh == 1_500 + 700 + 550
    assert sums.traded_wh == sum(epoch.volume_wh for epoch in RUN.epochs) > 0
    assert sums.utility_uwh == RUN.participants[-1].bought_uwh > 0
    assert sums.neighbour_uwh == sum(row.bought_uwh for row in members) > 0
    assert sums.own_use_wh + sums.import_wh == sums.consumption_wh
    assert sums.grid_wh == sum(row.grid_import_wh + row.outstanding_wh for row in members)
    assert sums.saving_uthb == sums.baseline_uthb - sums.bill_uthb
    assert sums.gas == sum(row.total for row in RUN.gas)
    assert sums.failed == 0


def test_figures__of_a_run_without_anything__are_zero_and_can_be_shown(tmp_path):
    empty = RUN.model_copy(
        update={part: [] for part in ("epochs", "trades", "readings", "participants", "flows", "gas", "audit")}
    )
    assert figures(empty).traded_wh == 0
    page = page_of(empty, tmp_path)
    assert "No energy was traded" in page.text
    assert "Not audited" in page.text
    assert "nothing was checked" in summary_of(empty)


@pytest.mark.parametrize(
    ("amount", "unit", "digits", "text"),
    [
        (0, 1_000, 3, "0.000"),
        (1_234_567, 1_000, 3, "1,234.567"),
        (-5, 1_000, 2, "0.00"),
        (5, 1_000, 2, "0.00"),
        (15, 1_000, 2, "0.02"),
        (-15, 1_000, 2, "-0.02"),
        (10**30 + 10**16, 10**18, 2, "1,000,000,000,000.01"),
        (2_005 * 10**15, 10**18, 2, "2.00"),
        (2_015 * 10**15, 10**18, 2, "2.02"),
        (7, 2, 0, "4"),
    ],
)
def test_decimal__rounds_half_to_even_and_stays_exact_beyond_floats(amount, unit, digits, text):
    assert report._decimal(amount, unit, digits) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("123", "123"),
        ("-1234567", "-1,234,567"),
        ("20000 GRID, 5335000 quote", "20,000 GRID, 5,335,000 quote"),
        ("0x12345678", "0x12345678"),
        ("12345.678", "12345.678"),
    ],
)
def test_grouped__separates_thousands_of_whole_numbers_only(text, shown):
    assert report._grouped(text) == shown


@pytest.mark.parametrize(
    ("days", "text"),
    [
        (["2026-03-14"], "14 March 2026"),
        (["2026-03-15", "2026-03-09"], "9 to 15 March 2026"),
        (["2026-02-27", "2026-03-01"], "27 February to 1 March 2026"),
        (["2025-12-31", "2026-01-01"], "31 December 2025 to 1 January 2026"),
    ],
)
def test_days__read_as_a_person_writes_them(days, text):
    assert report._days(days) == text


# ---- files


def test_write_report__makes_the_folder_and_six_files(files):
    assert isinstance(files, ReportFiles)
    folder = files.html.parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "epochs.csv",
        "participants.csv",
        "readings.csv",
        "report.html",
        "run.json",
        "trades.csv",
    ]
    assert Run.load(folder) == RUN


def test_write_report__twice__writes_the_same_bytes(files, tmp_path):
    again = write_report(RUN, tmp_path)
    for path in files.html.parent.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert again.html == tmp_path / "report.html"


def test_write_report__without_the_chart_library__names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "project_root", lambda: tmp_path)
    with pytest.raises(ToolMissing, match="make setup"):
        write_report(RUN, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_csv__trades_parse_back_to_the_run(files):
    rows = rows_of(files.trades)
    assert len(rows) == len(RUN.trades) > 0
    for row, trade in zip(rows, RUN.trades, strict=True):
        expected = trade.model_dump(mode="json")
        expected["price2_half_ticks"] = expected.pop("price2")
        assert row == {name: str(value) for name, value in expected.items()}
    assert sum(int(row["money_wei"]) for row in rows if row["side"] == "buy") == figures(RUN).turnover_wei


def test_csv__readings_add_up_to_the_participants(files):
    rows = rows_of(files.readings)
    assert sum(int(row["export_wh"]) for row in rows) == figures(RUN).export_wh
    assert {int(row["interval_end_unix_s"]) for row in rows} == {row.interval_end for row in RUN.readings}


def test_csv__epochs_hold_their_books(files):
    rows = rows_of(files.epochs)
    assert sum(int(row["volume_wh"]) for row in rows) == figures(RUN).traded_wh
    for row, epoch in zip(rows, RUN.epochs, strict=True):
        for side in ("bids", "asks"):
            levels = [level.split(":") for level in row[f"{side}_tick_wh"].split()]
            assert [(int(tick), int(wh)) for tick, wh in levels] == [
                (level.tick, level.energy_wh) for level in getattr(epoch, side)
            ]


def test_csv__participants_add_up_to_the_page(files):
    rows = rows_of(files.participants)
    saved = sum(int(row["saving_uthb"]) for row in rows if row["role"] != "utility")
    assert saved == figures(RUN).saving_uthb


def test_csv__every_number_says_its_unit(files):
    dimensionless = {"epoch", "long_side", "cleared_block"}
    units = ("_wh", "_uwh", "_wei", "_uthb", "_tick", "_half_ticks", "_gas", "_count", "_unix_s")
    for path in (files.trades, files.readings, files.epochs, files.participants):
        rows = rows_of(path)
        for name in rows[0]:
            if all(re.fullmatch(r"-?\d+", row[name]) for row in rows):
                assert name.endswith(units) or name in dimensionless, f"{path.name}: {name}"


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_csv__a_name_that_a_spreadsheet_would_run__is_quoted(name, tmp_path):
    files = write_report(renamed(name), tmp_path)
    assert rows_of(files.participants)[0]["name"] == f"'{name}"


# ---- the page


def test_page__opens_with_the_exact_figures(page):
    sums = figures(RUN)
    for figure in (
        report._wh(sums.traded_wh),
        report._uwh(sums.neighbour_uwh),
        report._thb(sums.saving_uthb),
        report._thb(sums.baseline_uthb),
        report._percent(sums.own_use_wh, sums.consumption_wh),
        report._percent(sums.own_use_wh + sums.retired_wh, sums.consumption_wh),
        f"{sums.gas:,}",
    ):
        assert figure in page.text


def test_page__shows_every_epoch_and_every_bill(page):
    for epoch in RUN.epochs:
        assert report._wh(epoch.export_wh) in page.text
    for row in RUN.participants[:-1]:
        for figure in (row.bill_uthb, row.baseline_bill_uthb, row.saving_uthb, row.grid_ft_uthb, row.vat_uthb):
            assert report._thb(figure) in page.text
        assert row.account in page.text


def test_page__chart_data_are_the_run_s(page):
    for shown, epoch in zip(page.data["epochs"], RUN.epochs, strict=True):
        assert (shown["volume"], shown["price2"]) == (epoch.volume_wh, epoch.price2)
        assert shown["bids"] == [[level.tick, level.energy_wh] for level in epoch.bids]
    flows = page.data["flows"]
    assert sum(map(sum, flows["energy"])) == sum(flow.energy_wh for flow in RUN.flows) > 0
    assert [flows["buyers"][n] for n in flows["utilities"]] == ["MEA"]


def test_page__says_what_the_data_are_and_where_they_come_from(page):
    for text in (
        *RUN.community.notes,
        *RUN.tariff.assumptions,
        *RUN.market.addresses.values(),
        *RUN.market.roles["keeper"],
        RUN.community.sha256,
        RUN.tariff.plan,
        RUN.run.commit,
        "Chain id 31337",
    ):
        assert text in page.text


def test_page__asks_the_network_for_nothing(page):
    loads = {"src", "srcset", "href", "xlink:href", "action", "formaction", "poster", "data", "background", "ping"}
    for tag, attrs in page.tags:
        for name in loads & attrs.keys():
            assert attrs[name].startswith(("#", "data:")), f"<{tag} {name}={attrs[name]}>"
        assert tag not in ("iframe", "object", "embed", "base")
    assert not any("url(" in style or "@import" in style for style in page.styles)
    assert len(page.styles) == 1


def test_page__lets_only_its_own_two_scripts_run(page):
    policy = next(attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    programs = [text for attrs, text in page.scripts if "type" not in attrs]
    assert len(programs) == 2
    for text in programs:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)


@pytest.mark.parametrize(
    "name", [HOSTILE, "<img src=x onerror=alert(1)>", "<!--<script>", '"><b>', "&lt;", "{{ 7*7 }}"]
)
def test_page__hostile_names__stay_text(name, page, tmp_path):
    hostile = page_of(renamed(name), tmp_path)
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in page.tags]
    assert len(hostile.scripts) == len(page.scripts)
    assert name in hostile.text
    flows = hostile.data["flows"]
    assert name in flows["sellers"] + flows["buyers"]


def test_page__every_table_has_a_caption_and_scoped_headings(page):
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == tags.count("caption")
    for tag, attrs in page.tags:
        if tag == "th" and attrs.get("aria-hidden") != "true":
            assert attrs["scope"] in ("row", "col")


def test_page__every_chart_is_described_in_words(page):
    charts = [attrs for _, attrs in page.tags if "chart" in attrs.get("class", "").split()]
    assert len(charts) == 3
    assert all(attrs["role"] == "img" and "table" in attrs["aria-label"] for attrs in charts)


def test_page__ids_are_unique_and_references_lead_somewhere(page):
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("aria-controls", "aria-labelledby", "for"):
            assert attrs.get(name, ids[0]) in ids
        if attrs.get("href", "").startswith("#"):
            assert attrs["href"][1:] in ids


def test_page__program_finds_every_element_it_asks_for(page):
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    program = (Path(report.__file__).parent / "templates" / "report.js").read_text(encoding="utf-8")
    wanted = set(re.findall(r'byId\("([^"]+)"\)', program))
    assert wanted
    assert wanted <= ids


def test_page__with_a_failed_audit__says_so_first(tmp_path):
    run = make_run(audit=[*RUN.audit, failed_check()])
    text = page_of(run, tmp_path).text
    assert "Audit failed. 1 of 3 checks does not come out" in text
    assert text.index("Audit failed") < text.index("at a glance")
    assert "FAILED GRID supply" in text
    assert "1,234,567" in text
    assert "1,234,568" in text
    assert "Audit passed" not in text


def test_page__a_loss_is_not_called_a_saving(tmp_path):
    row = RUN.participants[0]
    worse = row.model_copy(update={"bill_uthb": 10**9, "saving_uthb": row.baseline_bill_uthb - 10**9})
    text = page_of(RUN.model_copy(update={"participants": [worse, *RUN.participants[1:]]}), tmp_path).text
    assert "THB more than with retail" in text
    assert "Lost" in text


def test_flows__of_many__keep_the_largest_and_sum_up_the_rest():
    flow = RUN.flows[0]
    many = [flow.model_copy(update={"seller": f"s{n}", "buyer": f"b{n}", "energy_wh": 100 + n}) for n in range(30)]
    flows = report._flow_matrix(RUN.model_copy(update={"flows": many}))
    assert flows.sellers[0] == "s29"
    assert flows.sellers[-1] == "20 others"
    assert len(flows.sellers) == len(flows.buyers) == report.FLOW_NODES + 1
    assert sum(flows.sold_wh) == sum(flows.bought_wh) == sum(row.energy_wh for row in many)


# ---- bills


def uthb(line):
    """A line's amount as it was rounded."""
    return round(float(line.amount.replace(",", "")) * 10**6)


def test_bill__of_a_consumer__names_every_line():
    consumer = next(row for row in RUN.participants if row.name == "C01")
    assert [line.label for line in report._bill_lines(RUN, consumer)] == [
        "Grid import, energy charge",
        "Grid import, Ft",
        "Bought in the market",
        "Bill before service and VAT",
        "Service charge, 1 day",
        "VAT 7 % on grid and service",
        "To pay",
    ]


@pytest.mark.parametrize("row", RUN.participants[:-1], ids=lambda row: row.name)
def test_bill__its_lines__add_up_to_the_rounding_of_each(row):
    for lines, before_vat in (
        (report._bill_lines(RUN, row), row.bill_uthb),
        (report._baseline_lines(RUN, row), row.baseline_bill_uthb),
    ):
        middle = next(n for n, line in enumerate(lines) if line.total)
        assert abs(sum(map(uthb, lines[:middle])) - before_vat) <= 5_000 * middle
        assert abs(uthb(lines[middle]) - before_vat) <= 5_000
        assert abs(sum(map(uthb, lines[middle:-1])) - uthb(lines[-1])) <= 20_000


def test_bill__ft_below_zero__is_taken_off():
    consumer = next(row for row in RUN.participants if row.name == "C01")
    cheaper = consumer.model_copy(update={"grid_ft_uthb": -1_000_000})
    energy, ft = report._bill_lines(RUN, cheaper)[:2]
    assert ft.amount == "-1.00"
    assert uthb(energy) + uthb(ft) == uthb(energy._replace(amount=report._thb(consumer.grid_cost_uthb)))


# ---- the terminal


def test_summary__shows_the_headline_and_every_participant():
    text = summary_of(RUN)
    sums = figures(RUN)
    for figure in (report._wh(sums.traded_wh), report._thb(sums.saving_uthb), f"{RUN.gas[0].median:,}"):
        assert figure in text
    for row in RUN.participants:
        assert row.name in text
    assert "all 2 checks hold" in text
    assert "FAILED" not in text


def test_summary__fits_eighty_columns_without_cutting_numbers():
    text = summary_of(RUN, width=80)
    assert "…" not in text
    assert report._thb(RUN.participants[0].saving_uthb) in text


def test_summary__a_failed_audit_is_loud():
    text = summary_of(make_run(audit=[*RUN.audit, failed_check()]))
    assert "AUDIT FAILED: 1 of 3 checks" in text
    assert "1,234,567 against 1,234,568" in text


def test_summary__says_where_the_report_is(files):
    assert str(files.html) in summary_of(RUN, width=40, report_file=files.html)


def test_summary__names_are_neither_markup_nor_control_codes():
    assert "[red]bad[/red]" in summary_of(renamed("[red]bad[/red]"))
    assert "\x1b" not in summary_of(renamed("\x1b[31mred\x1b]0;title\x07"))


def test_summary__of_many_participants__lists_the_first_and_counts_the_rest():
    row = RUN.participants[0]
    many = [row.model_copy(update={"account": f"a{n}", "name": f"P{n:03}"}) for n in range(100)]
    text = summary_of(RUN.model_copy(update={"participants": many}))
    assert "P029" in text
    assert "P030" not in text
    assert "70 more" in text


def test_long_side__is_spelled_out_in_the_page_s_program():
    program = (Path(report.__file__).parent / "templates" / "report.js").read_text(encoding="utf-8")
    assert EpochRow.model_fields["long_side"].annotation.__args__ == (0, 1, 2)
    assert "demand was the longer side" in program
    assert "supply was the longer side" in program
