"""What every bot has: a log by module, metrics with health on one port, and news of blocks."""

import json
import signal
import socket
import threading
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from busbar import logs, metrics, service
from busbar.chain import Call, NodeRefusedError, NotMinedError
from busbar.devnet import Devnet, free_port
from busbar.errors import BusbarError
from busbar.heads import NewBlocks
from busbar.tools import PortUnusableError
from busbar.watch import Watch
from tests.market import ZONE

PATIENCE_S = 30


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ---------------------------------------------------------------------------------- log


@pytest.fixture
def logged(tmp_path):
    """Sets up the log in a file and gives what stands there."""

    files = []

    def configure(**settings):
        files.append(logs.configure(file=tmp_path / "logs" / "bot.log", **settings))
        return lambda: [json.loads(line) for line in (tmp_path / "logs" / "bot.log").read_text().splitlines()]

    yield configure
    structlog.reset_defaults()
    for file in files:
        file.close()


def test_configure__file__has_a_json_object_a_line_with_module_and_level(logged):
    said = logged(level="info")
    structlog.get_logger("busbar.keeper").info("done", gas=7)
    (line,) = said()
    assert (line["event"], line["gas"], line["module"], line["level"]) == ("done", 7, "keeper", "info")
    assert line["timestamp"].endswith("Z")


def test_configure__level_by_module__is_louder_there_and_quieter_elsewhere(logged):
    said = logged(level="warning", levels={"keeper": "debug", "meters": "error"})
    for module in ("keeper", "meters", "agents"):
        logger = structlog.get_logger(f"busbar.{module}")
        logger.debug("debug")
        logger.warning("warning")
        logger.error("error")
    assert [(line["module"], line["event"]) for line in said()] == [
        ("keeper", "debug"),
        ("keeper", "warning"),
        ("keeper", "error"),
        ("meters", "error"),
        ("agents", "warning"),
        ("agents", "error"),
    ]


def test_configure__console_to_a_file__is_readable_without_colours(logged, tmp_path):
    logged(level="info", style="console")
    structlog.get_logger("busbar.keeper").info("done", gas=7)
    assert "[info     ] done" in (tmp_path / "logs" / "bot.log").read_text()


# ------------------------------------------------------------------------------ metrics


@pytest.fixture
def served():
    """A process's pulse, and a reader of its port: (status, text)."""
    pulse, port = metrics.Pulse(), free_port()
    stop = metrics.serve("127.0.0.1", port, pulse)

    def get(path):
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    yield pulse, get
    stop()


def test_healthz__loop_turns__is_well_and_after_that_it_is_not(served, monkeypatch):
    pulse, get = served
    assert get("/healthz")[0] == 200
    monkeypatch.setattr(metrics, "LONGEST_STEP_S", 0)
    assert get("/healthz")[0] == 503
    assert pulse.stuck_s > 0


def test_readyz__before_the_first_pass_and_after_a_failed_one__is_not_ready_and_says_why(served):
    pulse, get = served
    assert get("/readyz") == (503, "starting\n")
    pulse.beat(None)
    assert get("/readyz") == (200, "ready\n")
    pulse.beat("no node answers")
    assert get("/readyz") == (503, "no node answers\n")


def test_metrics__scraped__are_prometheus_text_with_our_names(served):
    _, get = served
    metrics.failed(NotMinedError("not yet"))
    status, text = get("/metrics")
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert status == 200
    assert samples[("busbar_errors_total", (("error", "NotMinedError"), ("remedy", "retry")))] >= 1


def test_serve__unknown_path__names_what_there_is(served):
    assert served[1]("/") == (404, "/metrics, /healthz, /readyz\n")


def test_serve__port_in_use__fails(served):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(PortUnusableError, match="in use"):
            metrics.serve("127.0.0.1", taken.getsockname()[1], metrics.Pulse())


def value(metric, *labels):
    return (metric.labels(*labels) if labels else metric)._value.get()


def test_look__a_market_with_trade__is_told_in_the_metrics(market, actors):
    first = market.chain.head().number + 1
    before = {m: value(m) for m in (metrics.ORDERS, metrics.TRADED, metrics.TRADES, metrics.MINTED, metrics.RETIRED)}
    meter = market.meter("M-1", actors.consumer)
    market.submit(meter.read(import_wh=300, export_wh=1_000))
    market.sell(actors.consumer, 300, 400)
    market.buy(actors.producer, 400, 400)
    market.next_epoch()
    watch = Watch(market.chain, [actors.keeper.address], [ZONE], first)
    watch.look()
    assert value(metrics.EPOCH_LAG, ZONE) == 1
    market.clear()
    market.chain.send(actors.consumer, Call("Metering", "retire", (300,)))
    watch.look()
    watch.look()
    gained = {m: value(m) - was for m, was in before.items()}
    assert list(gained.values()) == [2, 400, 1, 1_000, 300]
    assert value(metrics.EPOCH_LAG, ZONE) == 0
    assert (value(metrics.PRICE2, ZONE), value(metrics.VOLUME, ZONE)) == (700, 400)
    assert value(metrics.HEIGHT) == market.chain.head().number
    assert value(metrics.EPOCH) == market.epoch
    assert value(metrics.BALANCE, actors.keeper.address) > 0


def test_after__a_look_that_fails__does_not_fail_the_step(market):
    watch = Watch(market.chain, [])
    watch.look = lambda: (_ for _ in ()).throw(NodeRefusedError("no such method"))
    assert watch.after(lambda: ["outcome"])() == ["outcome"]


# --------------------------------------------------------------------------- new blocks


@pytest.fixture
def handlers():
    """Puts back what the loop does to signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def ws(devnet):
    return f"ws://127.0.0.1:{devnet.port}"


def test_new_blocks__a_block__wakes():
    woken = []
    with Devnet() as devnet, NewBlocks(ws(devnet), lambda: woken.append(1)):
        until(lambda: woken)
        for n in range(2, 5):
            devnet.mine()
            until(lambda n=n: len(woken) >= n)


def test_new_blocks__node_started_again__subscribes_again():
    woken = threading.Event()
    with Devnet() as devnet:
        port = devnet.port
        subscription = NewBlocks(ws(devnet), woken.set)
        subscription.__enter__()
        until(woken.is_set)
    woken.clear()
    try:
        with Devnet(port=port) as devnet:
            until(woken.is_set)
            woken.clear()
            devnet.mine()
            until(woken.is_set)
    finally:
        subscription.__exit__()


def test_new_blocks__nobody_listens__stops_when_told():
    with capture_logs() as logged, NewBlocks(f"ws://127.0.0.1:{free_port()}", lambda: None):
        until(lambda: logged)
    assert logged[0]["event"] == "no subscription to new blocks: polling"


def test_run__a_block_comes__looks_at_once_and_not_after_the_pause(handlers):
    looks = []
    with Devnet() as devnet:

        def step():
            looks.append(devnet.node.request("eth_blockNumber"))
            if looks[-1] == "0x0":
                threading.Timer(0.3, devnet.mine).start()
            else:
                signal.raise_signal(signal.SIGTERM)
            return []

        service.run(step, pause_s=3_600, ws_url=ws(devnet))
    assert looks[-1] != "0x0"


def test_run__error_an_operator_must_see_to__is_told_as_one_and_tried_again(handlers, monkeypatch):
    monkeypatch.setattr(service, "LONGEST_WAIT_S", 0.001)
    pulse, problems = metrics.Pulse(), []

    def step():
        problems.append(pulse.problem)
        if len(problems) < 3:
            raise BusbarError("fund the account")
        signal.raise_signal(signal.SIGTERM)
        return []

    with capture_logs() as logged:
        service.run(step, pause_s=0, pulse=pulse)
    assert [entry["log_level"] for entry in logged] == ["error", "error", "info"]
    assert problems == ["starting", "fund the account", "fund the account"]
    assert pulse.problem is None
