"""The report in a real browser: opened from its file, without a network, and used."""

import json
import os
import subprocess
from datetime import UTC, datetime

import pytest

from busbar.report import write_report
from busbar.tools import project_root
from tests.pure.builders import STREET, make_run
from tests.requires import needs_program

SCRIPT = project_root() / "scripts" / "open_report.mjs"
LATE = datetime(2026, 3, 14, 23, 30, tzinfo=UTC)
DESKTOP, PHONE = 1280, 390


def looked_at(page, *options):
    browser = needs_program("chromium", apt="chromium")
    done = subprocess.run(
        [needs_program("node", apt="nodejs"), str(SCRIPT), str(page), *options],
        env={**os.environ, "CHROMIUM": browser},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return write_report(make_run(), tmp_path_factory.mktemp("report")).html


@pytest.fixture(scope="module", params=[DESKTOP, PHONE])
def seen(page, request):
    return looked_at(page, "--width", str(request.param), "--dark")


def test_page__opened_from_its_file__asks_for_nothing_and_has_no_errors(seen):
    assert seen["requests"] == []
    assert seen["errors"] == []


def test_page__every_chart__draws(seen):
    assert seen["charts"].keys() == {"chart-prices", "chart-curves", "chart-flows"}
    # An empty set of axes has fewer marks.
    assert min(seen["charts"].values()) >= 15


def test_page__on_any_screen__is_no_wider_than_it(seen):
    assert seen["overflow"] == 0


def test_page__another_epoch_chosen__draws_another_curve_and_says_so(seen):
    run = make_run()
    assert seen["epochs"] == len(run.epochs)
    opened, last, before_last, first = seen["chosen"]
    at = [epoch.start[11:16] for epoch in run.epochs]
    assert [last[6:11], before_last[6:11], first[6:11]] == [at[-1], at[-2], at[0]]
    assert "kWh at" in opened
    assert seen["curves"] == len({(str(epoch.bids), str(epoch.asks)) for epoch in run.epochs})


def test_page__of_two_days__draws_and_names_the_day(tmp_path):
    run = make_run(STREET, start=LATE)
    run = run.model_copy(update={"run": run.run.model_copy(update={"days": ["2026-03-14", "2026-03-15"]})})
    seen = looked_at(write_report(run, tmp_path).html)
    assert seen["errors"] == []
    assert all("Mar, " in text for text in seen["chosen"])


def test_page__without_any_trade__opens_without_errors(tmp_path):
    run = make_run().model_copy(update={"epochs": [], "trades": [], "flows": []})
    seen = looked_at(write_report(run, tmp_path).html)
    assert seen["errors"] == []
    assert seen["requests"] == []


def test_page__printed__shows_the_overview_and_every_bill_though_closed_on_the_screen(seen):
    members = len(make_run().participants) - 1
    assert seen["printed"] == {"overview": members, "bills": members}
