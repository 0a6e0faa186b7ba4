"""Gateway, keeper and agents as the processes an operator runs: killed at any moment, nothing is lost or doubled.

The chain makes a block only when the test says so: between a bot's sending and its receipt there is all the time in
the world to kill it. In the end the market stands exactly where an undisturbed replay of the same day leaves it.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from busbar import service
from busbar.agents import Agents
from busbar.chain import Chain, ChainUnreachableError, WrongChainError
from busbar.deployment import Parameters, deploy
from busbar.devnet import Devnet, dev_signer
from busbar.enrolment import DatedTariff, Enrolment, agents, simulated_meters
from busbar.keeper import Due, Keeper
from busbar.ledger import KINDS, audit, read_state, rebuild
from busbar.meters import outstanding
from busbar.replay import ReplaySettings, replay
from tests.communities import House, metered, write_community
from tests.market import DAY

BUSBAR = str(Path(sys.executable).with_name("busbar"))
EPOCH_S = 60
GENESIS = DAY - 93 * EPOCH_S
SEED = 4
KEEPER, METERS, UTILITY, HOUSEHOLDS = 5, 4, 7, range(10, 13)
"""Development accounts of those who send."""
NOTHING = Due((), (), ())
PATIENCE_S = 60
"""Longest wait for a process to do what it must; a bound, not an expectation."""

HOUSES = (
    House("ROOF", (310, 280, 260, 0, 0, 90, 300, 700, 650, 400), (0, 0, 900, 2_400, 3_100, 1_500, 800, 120, 0, 0)),
    House("BAKERY", (900, 1_300, 700, 350, 40, 30, 20, 10, 0, 75)),
    House("CINEMA", (20, 30, 20, 60, 800, 950, 40, 1_200, 1_900, 1_100)),
)
INTERVALS = 10

PARAMETERS = f"""
chain_id = 31337
url = "http://127.0.0.1:1"

[market]
epoch_seconds = {EPOCH_S}
genesis = {GENESIS}
tick_wei = "10000000000000000"

[[zones]]
id = 1

[roles]
regulator = "dev:0"
distributors = ["dev:1", "dev:2"]
minters = ["dev:4", "dev:8"]
market_makers = ["dev:5", "dev:9"]
issuers = ["dev:6"]
"""


class Waiting(Agents):
    """Agents that send nothing: `step` gives what they would."""

    def _send(self, batch, _):
        return list(batch)


class Operator:
    """Who runs the bots: starts, stops and kills them, and makes the blocks."""

    def __init__(self, devnet, folder, community):
        self.devnet, self.folder, self.community = devnet, folder, community
        self.record = folder / "record.json"
        self.chain = Chain(devnet.url, after_send=devnet.mine)
        parameters = folder / "market.toml"
        parameters.write_text(PARAMETERS, encoding="utf-8")
        deploy(self.chain, dev_signer(0), Parameters.load(parameters), self.record)
        devnet.mine(self.chain.calendar.start(94))
        self.running = {}
        self.logs = {}

    # ---- processes

    def start(self, name, *more):
        """Starts a bot, or a second one of its kind: `keeper`, `keeper 2`."""
        command = [BUSBAR, name.split()[0], "--url", self.devnet.url, "--record", str(self.record), *more]
        if name.split()[0] in ("keeper", "meters", "agents"):
            command += ["--pause", "0.1"]
        if name.split()[0] in ("meters", "agents"):
            command += ["--enrolment", str(self.folder / "enrolment.json")]
        log = self.folder / f"{name} {len(self.logs)}.log"
        self.logs[name] = log
        with log.open("wb") as file:
            self.running[name] = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    def kill(self, name):
        process = self.running.pop(name)
        process.kill()
        process.wait()

    def stop(self, name):
        """Asks a bot to stop, and gives its exit status."""
        process = self.running.pop(name)
        process.send_signal(signal.SIGTERM)
        self.until(lambda: process.poll() is not None)
        return process.returncode

    def enrol(self):
        out = str(self.folder)
        self.start("enrol", "--community", str(self.community), "--out", out, "--seed", str(SEED))

    def said(self, name):
        return self.logs[name].read_text(encoding="utf-8")

    # ---- the chain

    def pending(self):
        """Senders of what waits for a block."""
        return {sender.lower() for sender in self.chain.node.request("txpool_content")["pending"]}

    def until(self, condition):
        """Waits, without making blocks."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, {name: self.said(name)[-2_000:] for name in self.logs}
            for name, process in self.running.items():
                assert process.poll() in (None, 0), self.said(name)
            time.sleep(0.02)

    def sent_by(self, *indices):
        """Whether one of these development accounts has something waiting for a block."""
        return bool(self.pending() & {dev_signer(i).address.lower() for i in indices})

    def make_blocks_until(self, condition):
        def met():
            if condition():
                return True
            if self.pending():
                self.devnet.mine()
            return False

        self.until(met)

    # ---- the street

    def open(self):
        self.enrolment = Enrolment.load(self.folder / "enrolment.json")
        data = self.enrolment.community()
        self.source = simulated_meters(self.enrolment, data)
        first = self.chain.calendar.epoch_at(self.enrolment.chain_start)
        self.keeper = Keeper(self.chain, dev_signer(5))
        epochs = self.enrolment.trading_epochs(first)
        self.agents = Waiting(self.chain, agents(self.enrolment), DatedTariff(self.enrolment, data), SEED, epochs)

    def nothing_left_to_do(self):
        head = self.chain.head()
        registers = self.chain.registers(self.source.meter_ids, head.number)
        return (
            not outstanding(self.source, registers, head.timestamp)
            and self.keeper.look() == NOTHING
            and not self.agents.step()
            and not self.pending()
        )

    def to_interval(self, number):
        """The chain's time goes on to the end of an interval."""
        self.devnet.mine(self.enrolment.chain_start + number * EPOCH_S)

    def finish(self):
        self.make_blocks_until(self.nothing_left_to_do)

    def kill_between_sending_and_receipt(self, name, *indices):
        """Kills a bot whose transaction waits for a block, and lets its successor act before the block is made."""
        self.until(lambda: self.sent_by(*indices))
        self.kill(name)
        self.start(name)
        # The successor finds the old state, and says what it came to when it tried again.
        self.until(lambda: self.said(name).strip())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.kill()
            process.wait()


@pytest.fixture
def community(tmp_path):
    return write_community(tmp_path / "street.csv", *HOUSES)


@pytest.fixture
def operator(tmp_path, community):
    with Devnet(timestamp=DAY) as devnet, Operator(devnet, tmp_path, community) as operator:
        yield operator


@pytest.fixture
def undisturbed(tmp_path, community):
    """The same day with nobody killed."""

    class Silent:
        def stage(self, _):
            pass

        epoch = stage

    return replay(ReplaySettings(community, None, 1, SEED, tmp_path / "undisturbed", EPOCH_S), Silent())


def test_bots__killed_at_any_moment__lose_and_double_nothing(operator, community, undisturbed):
    # Enrolling is killed with the first registrations under way, goes on, and has nothing to do the third time.
    operator.enrol()
    operator.until(operator.pending)
    operator.kill("enrol")
    for expected in ("going on with it", " 0 transactions"):
        operator.enrol()
        enrolling = operator.running["enrol"]
        operator.make_blocks_until(lambda enrolling=enrolling: enrolling.poll() is not None)
        assert enrolling.returncode == 0
        assert expected in operator.said("enrol")
    del operator.running["enrol"]
    operator.open()
    assert operator.chain.calendar.epoch_at(operator.enrolment.chain_start) == 96

    for name in ("meters", "keeper", "agents"):
        operator.start(name)
    operator.to_interval(1)
    operator.finish()

    # Each is killed between its sending and the receipt.
    operator.to_interval(2)
    operator.kill_between_sending_and_receipt("meters", METERS)
    operator.finish()
    operator.to_interval(3)
    # The utility bids without waiting for readings; everybody else only after them.
    operator.until(lambda: operator.sent_by(METERS) and operator.sent_by(UTILITY))
    operator.devnet.mine()
    operator.kill_between_sending_and_receipt("agents", *HOUSEHOLDS)
    operator.finish()
    operator.to_interval(4)
    operator.kill_between_sending_and_receipt("keeper", KEEPER)
    operator.finish()

    # All three at once, whatever they are at.
    operator.to_interval(5)
    operator.until(operator.pending)
    for name in ("meters", "keeper", "agents"):
        operator.kill(name)
    operator.devnet.mine()
    for name in ("agents", "keeper", "meters"):
        operator.start(name)
    operator.finish()

    # Nobody keeps the market for an epoch: the next orders clear it themselves.
    operator.kill("keeper")
    operator.to_interval(6)
    operator.make_blocks_until(lambda: not operator.agents.step() and not operator.pending())
    operator.to_interval(7)
    operator.start("keeper")
    operator.finish()

    # Asked to stop, they stop in order, and go on later as if nothing had been.
    assert [operator.stop(name) for name in ("meters", "keeper", "agents")] == [0, 0, 0]
    operator.to_interval(8)

    # Two of each, whoever comes first.
    for name in ("meters", "keeper", "agents"):
        operator.start(name)
    operator.start("meters 2", "--account", "dev:8")
    operator.start("keeper 2", "--account", "dev:9")
    operator.start("agents 2")
    operator.finish()
    operator.to_interval(9)
    operator.finish()
    operator.to_interval(10)
    operator.finish()
    operator.to_interval(11)
    operator.finish()
    assert {name: operator.stop(name) for name in list(operator.running)} == {
        f"{name}{number}": 0 for name in ("meters", "keeper", "agents") for number in ("", " 2")
    }

    judge(operator, community, undisturbed)


def judge(operator, community, undisturbed):
    """Every sum comes out, everything happened once, and the day ended as the undisturbed one did."""
    chain = operator.chain
    head = chain.head()
    headers = chain.node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in range(head.number + 1)])
    epochs = [chain.calendar.epoch_at(int(header["timestamp"], 16)) for header in headers]
    events = chain.events(KINDS, 0, head.number)
    ledger = rebuild(events, chain.money, epochs.__getitem__, epochs[-1])
    assert [c.name for c in audit(ledger, read_state(chain, head.number), chain.money) if not c.ok] == []

    ends = [operator.enrolment.chain_start + n * EPOCH_S for n in range(1, INTERVALS + 1)]
    read = [(r.meter_id, r.interval_end, r.import_wh, r.export_wh) for r in ledger.readings]
    assert sorted(read) == sorted(
        (meter_id, end, *energies)
        for meter_id, series in metered(community).items()
        for end, energies in zip(ends, series, strict=True)
    )

    entered = Counter((e.args["account"], e.args["epoch"]) for e in events if e.name == "OrdersEntered")
    assert set(entered.values()) == {1}
    cleared = Counter(e.args["epoch"] for e in events if e.name == "EpochCleared")
    assert cleared == dict.fromkeys(range(97, 97 + INTERVALS), 1)

    results = [ledger.epochs[(1, row.epoch)].reference() for row in undisturbed.epochs]
    assert [(r.price2, r.volume_wh) for r in results] == [(row.price2, row.volume_wh) for row in undisturbed.epochs]
    assert any(r.traded for r in results)
    for row in undisturbed.participants:
        book = ledger.accounts[row.account]
        assert (book.bought_uwh, book.sold_uwh) == (row.bought_uwh, row.sold_uwh)
        assert chain.money.to_wei(book.paid_units) == row.paid_wei
        assert chain.money.to_wei(book.earned_units) == row.earned_wei
        assert book.retired_wh + book.surrendered_wh == row.retired_wh
        assert (book.outstanding_wh, book.energy_free_uwh) == (row.outstanding_wh, row.grid_held_uwh)


# ----------------------------------------------------------------------- the loop they all run


@pytest.fixture
def handlers():
    """Puts back what the loop does to signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Steps:
    """A bot's steps, each as told; after the last the bot is asked to stop."""

    def __init__(self, *steps, stop=signal.SIGTERM):
        self.steps = list(steps)
        self.stop = stop
        self.taken = 0

    def __call__(self):
        self.taken += 1
        if self.taken == len(self.steps):
            os.kill(os.getpid(), self.stop)
        if isinstance(problem := self.steps[self.taken - 1], Exception):
            raise problem
        return []


AWAY = ChainUnreachableError("no node answers")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run__told_to_stop__finishes_the_step_under_way_and_returns(handlers, number):
    step = Steps(None, None, None, stop=number)
    with capture_logs() as logged:
        service.run(step, pause_s=0)
    assert step.taken == 3
    assert [entry["event"] for entry in logged] == ["stopped"]


def test_run__node_does_not_answer__waits_longer_each_time_and_goes_on(handlers, monkeypatch):
    monkeypatch.setattr(service, "LONGEST_WAIT_S", 0.001)
    step = Steps(AWAY, AWAY, AWAY, None)
    with capture_logs() as logged:
        service.run(step, pause_s=0)
    assert [entry["event"] for entry in logged] == ["waiting to try again"] * 3 + ["stopped"]
    assert step.taken == 4


def test_run__once__takes_a_single_step(handlers):
    step = Steps(None, None)
    service.run(step, pause_s=0, once=True)
    assert step.taken == 1


def test_run__once_and_no_node__says_so(handlers):
    with pytest.raises(ChainUnreachableError):
        service.run(Steps(AWAY, None), pause_s=0, once=True)


def test_run__what_waiting_would_not_mend__ends_the_process(handlers):
    step = Steps(WrongChainError("another chain"), None)
    with pytest.raises(WrongChainError):
        service.run(step, pause_s=0)
    assert step.taken == 1
