"""Pytest plug-in: no skip goes unnoticed.

The last lines of a run count the skipped tests by reason; with BUSBAR_REQUIRE=all every skip is a failure. Loaded by
conftest.py in the root folder.
"""

from collections import Counter

import pytest

from tests.requires import everything_required


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    # An expected failure reports itself as skipped too, and is none.
    if everything_required() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped under BUSBAR_REQUIRE=all: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    if everything_required() and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped under BUSBAR_REQUIRE=all: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    result = yield
    skipped = [report for report in terminalreporter.getreports("skipped") if not hasattr(report, "wasxfail")]
    if skipped:
        terminalreporter.write_sep("-", f"{len(skipped)} skipped")
        for reason, count in Counter(_reason(report) for report in skipped).most_common():
            terminalreporter.write_line(f"{count} skipped: {reason}")
    return result


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
