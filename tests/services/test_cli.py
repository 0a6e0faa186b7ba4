"""The commands as people type them: one line when something is wrong, and a chain only when all is well."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import structlog
from rich.console import Console

from busbar import __version__, cli
from busbar.chain import Chain
from busbar.community import load_community
from busbar.deployment import Record
from busbar.devnet import Devnet, free_port
from busbar.display import PLAIN_EVERY, SHOWN, LiveDisplay
from busbar.enrolment import Enrolment, plan
from busbar.replay import Progress
from busbar.results import Run
from busbar.tools import project_root
from tests.communities import House, write_community
from tests.market import DAY

BIN = Path(sys.executable).parent
PATIENCE_S = 120
"""Longest wait for a process; a bound, not an expectation."""

ROOF = House("ROOF", (100, 900), (2_500, 0))
SHOP = House("SHOP", (700, 800))


def busbar(*arguments, cwd=None, **environment):
    """Runs the real executable to its end."""
    return subprocess.run(
        [str(BIN / "busbar"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=PATIENCE_S,
        env={**os.environ, "COLUMNS": "200", **environment},
        check=False,
    )


def one_line(result):
    """What a failed command said: one line on standard error, exit status 1."""
    assert result.returncode == 1, result
    assert result.stderr.startswith("busbar: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.rstrip("\n").removeprefix("busbar: ")


def in_process(monkeypatch, capsys, *arguments):
    """Runs a command here, which spares a start of Python: its exit status, and the lines on both outputs."""
    monkeypatch.setattr(sys, "argv", ["busbar", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out.splitlines(), said.err.splitlines()


@pytest.fixture(autouse=True)
def logs_put_back():
    """Commands run here set up logging to a standard error that is gone after the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def no_chain(monkeypatch):
    """Fails the test if a chain is started."""

    def started(*_, **__):
        raise AssertionError("a chain was started")

    monkeypatch.setattr("busbar.replay.Devnet", started)


@pytest.fixture
def street(tmp_path):
    """A roof and a shop in a day of two intervals."""
    return write_community(tmp_path / "street.csv", ROOF, SHOP)


# ------------------------------------------------------------------------------ real time


@pytest.fixture(scope="module", autouse=True)
def real_time(tmp_path_factory):
    """A replay by the clock, which goes on beside the other tests of this file."""
    folder = tmp_path_factory.mktemp("real-time")
    community = write_community(folder / "street.csv", ROOF, SHOP)
    command = [str(BIN / "busbar"), "replay", "--community", str(community), "--out", str(folder / "out")]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*command, "--real-time", "--epoch-seconds", "10"], stdout=said, stderr=subprocess.STDOUT
        )
        yield process, folder
        process.kill()
        process.wait()


# --------------------------------------------------------------------- what one may ask for


def test_help__replay__names_every_option():
    result = busbar("replay", "--help")
    assert result.returncode == 0
    for option in ("community", "day", "days", "seed", "out", "epoch-seconds", "real-time", "plan"):
        assert f"--{option} " in result.stdout


def test_help__of_all__names_every_command(monkeypatch, capsys):
    status, lines, _ = in_process(monkeypatch, capsys, "--help")
    assert status == 0
    for command in ("replay", "report", "enrol", "keeper", "meters", "agents", "version"):
        assert any(f" {command} " in line for line in lines)


def test_version__asked__is_the_packages(monkeypatch, capsys):
    assert in_process(monkeypatch, capsys, "version") == (0, [__version__], [])


# -------------------------------------------------------------- refused before anything is sent


def spoil(path, row, column, text):
    """Writes a text into a cell of a file; rows count from 1, which is the header."""
    lines = path.read_text(encoding="utf-8").splitlines()
    cells = lines[row - 1].split(",")
    cells[column] = text
    lines[row - 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_replay__malformed_csv__says_file_row_column_and_reason_in_one_line(street, tmp_path):
    spoil(street, 3, 3, "-5")
    result = busbar("replay", "--community", street, "--out", tmp_path / "out")
    assert one_line(result) == f"{street}, row 3, column consumption_wh: '-5' is not a whole number of Wh, 0 or more"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "column", "text", "said"),
    [
        (1, 2, "time", "row 1, column timestamp"),
        (2, 0, "ROOF 1", "row 2, column meter_id"),
        (2, 1, "battery", "row 2, column role"),
        (2, 2, "noon", "row 2, column timestamp"),
        (3, 2, "2026-03-14T00:00:00+07:00", "row 3, column timestamp"),
        (5, 4, "3", "row 5, column generation_wh"),
        (4, 4, "0,0", "row 4, column 6"),
    ],
)
def test_replay__malformed_csv__starts_no_chain(monkeypatch, capsys, no_chain, street, row, column, text, said):
    spoil(street, row, column, text)
    assert refused(monkeypatch, capsys, "replay", "--community", street).startswith(f"{street}, {said}: ")


def refused(monkeypatch, capsys, *arguments):
    """The one line on standard error with which a command fails."""
    status, _, lines = in_process(monkeypatch, capsys, *arguments)
    assert status == 1
    (line,) = lines
    assert line.startswith("busbar: ")
    return line.removeprefix("busbar: ")


def test_replay__unknown_day__lists_the_available_days(monkeypatch, capsys, no_chain, tmp_path):
    monkeypatch.chdir(tmp_path)
    said = refused(monkeypatch, capsys, "replay", "--day", "2027-01-01")
    assert said == "neighbourhood: 2027-01-01 not available; available: 2026-03-09 to 2026-03-15 (7 days)"
    assert list(tmp_path.iterdir()) == []


def test_replay__more_days_than_there_are__lists_the_available_days(monkeypatch, capsys, no_chain):
    said = refused(monkeypatch, capsys, "replay", "--day", "2026-03-15", "--days", "2")
    assert said == "neighbourhood: 2 days from 2026-03-15 not available; available: 2026-03-09 to 2026-03-15 (7 days)"


def test_replay__file_that_is_not_there__says_so(monkeypatch, capsys, no_chain, tmp_path):
    path = tmp_path / "nobody.csv"
    said = refused(monkeypatch, capsys, "replay", "--community", path)
    assert said == f"{path}: cannot be read: No such file or directory"


def test_replay__unknown_plan__names_the_plans(monkeypatch, capsys, no_chain, street):
    said = refused(monkeypatch, capsys, "replay", "--community", street, "--plan", "free")
    assert "plans are residential-1.1, residential-1.2 and tou-1.3" in said


def test_replay__epochs_too_short__says_the_least(monkeypatch, capsys, no_chain, street):
    said = refused(monkeypatch, capsys, "replay", "--community", street, "--epoch-seconds", "5")
    assert said == "--epoch-seconds 5 is too short: 10 is the least"


@pytest.mark.parametrize(
    ("community", "days", "first"),
    [(None, 1, date(2026, 3, 14)), (None, 7, None), (Path("my.csv"), 1, None)],
    ids=["the shipped day", "the shipped week", "a community's own"],
)
def test_day__not_named__is_the_shipped_one_or_the_community_s_first(community, days, first):
    assert cli._day(None, community, days) == first


@pytest.mark.parametrize("arguments", [("--day", "14.3.2026"), ("--days", "0"), ("--nights", "1")])
def test_replay__not_understood__is_a_usage_error(monkeypatch, capsys, no_chain, arguments):
    status, _, lines = in_process(monkeypatch, capsys, "replay", *arguments)
    assert status == 2
    assert any(arguments[0] in line for line in lines)


def test_replay__report_cannot_be_written__says_so(monkeypatch, capsys, street, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("a file, no folder", encoding="utf-8")
    said = refused(monkeypatch, capsys, "replay", "--community", street, "--out", taken)
    assert str(taken) in said


def test_replay__audit_fails__says_so_after_writing_the_report(monkeypatch, capsys, street, tmp_path):
    """Broken on purpose: the books are told of a Wh of GRID that no meter measured."""
    import busbar.replay

    honest = busbar.replay.rebuild

    def with_a_wh_from_nothing(*arguments):
        ledger = honest(*arguments)
        ledger.minted_wei += 10**15
        return ledger

    monkeypatch.setattr(busbar.replay, "rebuild", with_a_wh_from_nothing)
    out = tmp_path / "out"
    assert refused(monkeypatch, capsys, "replay", "--community", street, "--out", out) == (
        f"the audit failed: see {out / 'report.html'}"
    )
    failed = [check.name for check in Run.load(out).audit if not check.ok]
    assert failed == ["GRID minted = export metered", "GRID supply = minted - burnt"]
    assert "GRID minted" in (out / "report.html").read_text(encoding="utf-8")


# -------------------------------------------------------------------------------- report


def test_report__missing_folder__says_how_to_make_one(tmp_path):
    folder = tmp_path / "nothing"
    result = busbar("report", folder)
    assert one_line(result) == f"{folder / 'run.json'} is missing: `busbar replay --out {folder}` makes one"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "no JSON"])
def test_report__folder_of_something_else__says_so(monkeypatch, capsys, tmp_path, text):
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    assert str(tmp_path / "run.json") in refused(monkeypatch, capsys, "report", tmp_path)


# ---------------------------------------------------------------------------------- bots


@pytest.fixture
def record(market, tmp_path):
    """The tests' market as a record in a file of its own."""
    path = tmp_path / "record.json"
    market.record.save(path)
    return path


def change(path, **fields):
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **fields}), encoding="utf-8")
    return path


def test_keeper__no_node__says_so_in_one_line(record):
    url = f"http://127.0.0.1:{free_port()}"
    said = one_line(busbar("keeper", "--once", "--url", url, "--record", record))
    assert f"no node answers at {url}" in said
    assert "make devnet" in said


def test_keeper__nothing_due__looks_once_and_sends_nothing(market, record):
    before = market.chain.head()
    result = busbar("keeper", "--once", "--url", market.devnet.url, "--record", record)
    assert (result.returncode, result.stderr) == (0, "")
    assert market.chain.head() == before


def test_keeper__no_record__says_to_deploy(monkeypatch, capsys, tmp_path):
    path = tmp_path / "31337.json"
    said = refused(monkeypatch, capsys, "keeper", "--once", "--record", path)
    assert said == f"{path} is missing: deploy first, with `ape run deploy`"


def test_keeper__record_of_a_chain_that_is_gone__says_to_deploy_again(monkeypatch, capsys, market, record):
    change(record, genesis_hash="0x" + "00" * 32)
    said = refused(monkeypatch, capsys, "keeper", "--once", "--url", market.devnet.url, "--record", record)
    assert said.endswith("deploy again")


def test_keeper__record_of_another_chain_id__names_both(monkeypatch, capsys, market, record):
    change(record, chain_id=97)
    said = refused(monkeypatch, capsys, "keeper", "--once", "--url", market.devnet.url, "--record", record)
    assert "serves chain 31337, not 97" in said


def test_keeper__record_half_written__says_what_is_missing(monkeypatch, capsys, market, record):
    contracts = dict(market.record.contracts)
    del contracts["OracleClient"]
    change(record, contracts=contracts)
    said = refused(monkeypatch, capsys, "keeper", "--once", "--url", market.devnet.url, "--record", record)
    assert said.startswith("OracleClient not deployed yet")


@pytest.mark.parametrize("text", ["", "no JSON", "{}", '{"chain": 1}'])
def test_keeper__file_that_is_no_record__says_so(monkeypatch, capsys, tmp_path, text):
    path = tmp_path / "31337.json"
    path.write_text(text, encoding="utf-8")
    said = refused(monkeypatch, capsys, "keeper", "--once", "--record", path)
    assert said.startswith(f"{path} is no deployment record")


def test_keeper__folder_for_a_record__says_so(monkeypatch, capsys, tmp_path):
    assert str(tmp_path) in refused(monkeypatch, capsys, "keeper", "--once", "--record", tmp_path)


def test_keeper__unknown_network__says_where_its_file_should_be(monkeypatch, capsys):
    assert "mars.toml is missing" in refused(monkeypatch, capsys, "keeper", "--once", "--network", "mars")


def test_keeper__keystore_without_password__names_the_variable(monkeypatch, capsys, market, record):
    monkeypatch.delenv("BUSBAR_KEYSTORE_PASSWORD", raising=False)
    keystore = record.with_name("keeper.json")
    keystore.write_text("{}", encoding="utf-8")
    arguments = ("--url", market.devnet.url, "--record", record, "--account", keystore)
    said = refused(monkeypatch, capsys, "keeper", "--once", *arguments)
    assert said.startswith(f"set BUSBAR_KEYSTORE_PASSWORD to the password of the keystore {keystore}, or BUSBAR_")


@pytest.mark.parametrize("bot", ["meters", "agents"])
def test_bot__enrolment_missing__says_how_to_write_one(monkeypatch, capsys, market, record, tmp_path, bot):
    path = tmp_path / "enrolment.json"
    arguments = ("--url", market.devnet.url, "--record", record, "--enrolment", path)
    said = refused(monkeypatch, capsys, bot, "--once", *arguments)
    assert said.startswith(f"{path} is missing")
    path.write_text("{}", encoding="utf-8")
    said = refused(monkeypatch, capsys, bot, "--once", *arguments)
    assert said == f"{path}: community_file: Field required"


@pytest.mark.parametrize("bot", ["meters", "agents"])
def test_bot__data_changed_since_the_enrolment__says_to_enrol_again(
    monkeypatch, capsys, market, record, tmp_path, street, bot
):
    community = load_community(street)
    start = market.chain.calendar.start(5)
    plan(community, street, range(2), chain_start=start, epoch_seconds=900, seed=1).save(tmp_path)
    spoil(street, 2, 3, "101")
    arguments = ("--url", market.devnet.url, "--record", record, "--enrolment", tmp_path / "enrolment.json")
    assert refused(monkeypatch, capsys, bot, "--once", *arguments).endswith("enrol again")


# ------------------------------------------------------------------------------- enrolling


@pytest.fixture
def automine(tmp_path):
    """A chain that makes a block a transaction, and the record of a market with short epochs on it."""
    from busbar.deployment import Parameters, deploy, parameters_path
    from busbar.devnet import dev_signer

    with Devnet(timestamp=DAY, automine=True) as devnet:
        parameters = Parameters.load(parameters_path("devnet"))
        chain = Chain(devnet.url)

        def market(epoch_seconds):
            short = parameters.market.model_copy(update={"epoch_seconds": epoch_seconds})
            path = tmp_path / "market.json"
            deploy(chain, dev_signer(0), parameters.model_copy(update={"market": short}), path)
            return ("--url", devnet.url, "--record", path)

        yield chain, market


def test_enrol__data_begin_meanwhile__says_to_enrol_again_and_that_works(monkeypatch, capsys, automine, tmp_path):
    """Two epochs of ten seconds, half a minute a block: the data has begun before anybody is funded."""
    chain, market = automine
    chain.node.request("anvil_setBlockTimestampInterval", 30)
    houses = [House(f"SHOP-{n}", (700, 800)) for n in range(4)]
    where = ("--community", write_community(tmp_path / "many.csv", *houses), "--out", tmp_path, *market(10))
    said = refused(monkeypatch, capsys, "enrol", *where)
    file = tmp_path / "enrolment.json"
    assert said == f"the data began while enrolling: remove {file} and enrol again"
    file.unlink()
    status, lines, _ = in_process(monkeypatch, capsys, "enrol", *where)
    assert status == 0
    assert lines[0].startswith("5 participants enrolled with 0 transactions")
    assert Enrolment.load(file).chain_start > chain.head().timestamp


def test_enrol__days_before_what_the_chain_has__are_refused_and_nothing_is_sent(
    monkeypatch, capsys, automine, tmp_path
):
    chain, market = automine
    where = ("--community", write_community(tmp_path / "many.csv", House("SHOP", (700, 800)), days=2), *market(900))
    assert in_process(monkeypatch, capsys, "enrol", *where, "--out", tmp_path / "1", "--day", "2026-03-15")[0] == 0
    before = chain.head()
    said = refused(monkeypatch, capsys, "enrol", *where, "--out", tmp_path / "2", "--day", "2026-03-14")
    assert re.fullmatch(
        r"SHOP has an import register of \d+ Wh on the chain, and the data of these days begin .*", said
    )
    assert chain.head() == before
    assert not (tmp_path / "2").exists()


def test_enrol__another_day_than_the_file_that_stands__is_refused(monkeypatch, capsys, automine, tmp_path):
    _, market = automine
    where = ("--community", write_community(tmp_path / "many.csv", House("SHOP", (700, 800)), days=2), *market(900))
    assert in_process(monkeypatch, capsys, "enrol", *where, "--out", tmp_path, "--day", "2026-03-15")[0] == 0
    said = refused(monkeypatch, capsys, "enrol", *where, "--out", tmp_path, "--day", "2026-03-14")
    file = tmp_path / "enrolment.json"
    assert said == f"{file} is for other days: remove it, or name no day to go on with it"
    assert in_process(monkeypatch, capsys, "enrol", *where, "--out", tmp_path)[1][0].endswith("going on with it")


def test_enrol__no_complete_day__says_so_and_sends_nothing(monkeypatch, capsys, automine, tmp_path):
    chain, market = automine
    file = tmp_path / "noon.csv"
    rows = [f"H01,prosumer,2026-03-14T12:{minute}:00+07:00,100,900" for minute in ("00", "15")]
    file.write_text("\n".join(["meter_id,role,timestamp,consumption_wh,generation_wh", *rows]), encoding="utf-8")
    where = market(900)
    before = chain.head()
    assert "no complete day" in refused(
        monkeypatch, capsys, "enrol", "--community", file, "--out", tmp_path / "out", *where
    )
    assert chain.head() == before
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------- ape run deploy


def ape_run_deploy(port, record):
    """`ape run deploy` against a node on another port than the default one, which somebody else may hold."""
    network = f"ethereum:devnet:http://127.0.0.1:{port}"
    return subprocess.run(
        [str(BIN / "ape"), "run", "deploy", "--network", network, "--record", str(record)],
        capture_output=True,
        text=True,
        cwd=project_root(),
        timeout=PATIENCE_S,
        check=False,
    )


def test_ape_run_deploy__twice__changes_nothing_the_second_time(tmp_path):
    path = tmp_path / "record.json"
    with Devnet(automine=True) as devnet:
        first = ape_run_deploy(devnet.port, path)
        assert first.returncode == 0, first.stderr
        assert "changes made" in first.stdout
        written, chain = path.read_bytes(), Chain(devnet.url)
        head = chain.head()
        second = ape_run_deploy(devnet.port, path)
        assert second.returncode == 0, second.stderr
        assert "nothing to change: everything stands" in second.stdout
        assert path.read_bytes() == written
        assert chain.head() == head
        for name, address in Record.load(path).addresses.items():
            assert f"{name:<13} stands at {address}" in second.stdout


def test_ape_run_deploy__no_node__says_how_to_start_one(tmp_path):
    result = ape_run_deploy(free_port(), tmp_path / "record.json")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.strip()]
    assert "start one with `make devnet`" in line
    assert not (tmp_path / "record.json").exists()


# -------------------------------------------------------------------------------- display


def progress(number):
    moment = datetime(2026, 3, 14, 0, 15, tzinfo=UTC)
    return Progress(number, 96, 96 + number, moment, 2 * 300 * (number % 2), 1_500 * (number % 2), 7, 84_000)


def shown(terminal):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with LiveDisplay(console) as display:
        display.stage("trading")
        for number in range(1, 2 * PLAIN_EVERY + 1):
            display.epoch(progress(number))
    return out.getvalue()


def test_display__without_a_terminal__prints_a_line_now_and_then():
    lines = shown(terminal=False).splitlines()
    assert lines == [
        "trading",
        f"epoch {PLAIN_EVERY}/96  2026-03-14 00:15  no trade, 84,000 gas",
        f"epoch {2 * PLAIN_EVERY}/96  2026-03-14 00:15  no trade, 84,000 gas",
    ]


def test_display__on_a_terminal__shows_the_newest_epochs_with_price_volume_and_gas():
    display = LiveDisplay(Console(file=io.StringIO(), force_terminal=True, width=120))
    for number in range(1, 21):
        display.epoch(progress(number))
    out = io.StringIO()
    Console(file=out, width=120).print(display._picture())
    picture = out.getvalue()
    assert "20/96" in picture
    assert [f" {96 + number} " in picture for number in (20 - SHOWN, 21 - SHOWN, 20)] == [False, True, True]
    assert "3.000" in picture
    assert "1.500 kWh" in picture
    assert "no trade" in picture
    assert "84,000" in picture


# ------------------------------------------------------------------- real time, in the end


def test_replay__real_time__trades_by_the_clock_and_adds_up(real_time):
    process, folder = real_time
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < deadline, (folder / "said").read_text(encoding="utf-8")
        time.sleep(0.2)
    said = (folder / "said").read_text(encoding="utf-8")
    assert process.returncode == 0, said
    run = Run.load(folder / "out")
    assert [check.name for check in run.audit if not check.ok] == []
    assert run.run.real_time
    assert len(run.epochs) == 2
    assert {p.name: (p.import_wh, p.export_wh) for p in run.participants} == {
        "ROOF": (900, 2_400),
        "SHOP": (1_500, 0),
        "utility": (0, 0),
    }
    assert len(run.readings) == 4
    assert any("Dates were moved" in note for note in run.community.notes)
    # Both houses and the utility were there for both epochs.
    assert all(row.cleared_block for row in run.epochs)
    assert sum(row.orders for row in run.epochs) >= 4


def test_report__after_a_replay__writes_the_page_again(real_time, monkeypatch, capsys, tmp_path):
    process, folder = real_time
    process.wait(PATIENCE_S)
    copy = tmp_path / "out"
    shutil.copytree(folder / "out", copy)
    before = (copy / "report.html").read_bytes()
    (copy / "report.html").unlink()
    assert in_process(monkeypatch, capsys, "report", copy)[0] == 0
    assert (copy / "report.html").read_bytes() == before
