"""Who runs the bots in tests: starts, stops and kills them, makes the blocks, and judges the end.

The chain makes a block only when the operator says so: between a bot's sending and its receipt there is all the time
in the world to kill it. In the end the market must stand exactly where an undisturbed replay of the same data leaves
it.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from busbar import tools
from busbar.agents import Agents
from busbar.chain import Chain
from busbar.deployment import Parameters, deploy
from busbar.devnet import dev_signer
from busbar.enrolment import DatedTariff, Enrolment, agents, simulated_meters
from busbar.keeper import Due, Keeper
from busbar.ledger import KINDS, audit, read_state, rebuild
from busbar.meters import outstanding
from busbar.replay import ReplaySettings, replay
from tests.communities import metered
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

COMPILED_ONCE = {
    "PYTHONDONTWRITEBYTECODE": "",
    "PYTHONPYCACHEPREFIX": str(tools.project_root() / ".cache" / "bytecode"),
}
"""Compiling every module again at every start, as some machines are set to, takes longer than all else of it."""

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

    def __init__(self, devnet, folder, community, url=None, environment=None):
        self.devnet, self.folder, self.community = devnet, folder, community
        self.url, self.environment = url or devnet.url, {**os.environ, **COMPILED_ONCE, **(environment or {})}
        self.record = folder / "record.json"
        self.chain = Chain(devnet.url, after_send=devnet.mine)
        parameters = folder / "market.toml"
        parameters.write_text(PARAMETERS, encoding="utf-8")
        deploy(self.chain, dev_signer(0), Parameters.load(parameters), self.record)
        devnet.mine(self.chain.calendar.start(94))
        self.running = {}
        self.logs = {}
        self.starts = 0

    # ---- processes

    def start(self, name, *more):
        """Starts a bot, or a second one of its kind: `keeper`, `keeper 2`."""
        command = [BUSBAR, name.split()[0], "--url", self.url, "--record", str(self.record), *more]
        if "--headend" in more:
            command += ["--outbox", str(self.folder / "outbox.sqlite")]
        if name.split()[0] in ("keeper", "meters", "agents"):
            command += ["--pause", "0.1"]
        if name.split()[0] in ("meters", "agents", "headend") and "--headend" not in more:
            command += ["--enrolment", str(self.folder / "enrolment.json")]
        self.starts += 1
        log = self.folder / f"{name} {self.starts}.log"
        self.logs[name] = log
        with log.open("wb") as file:
            self.running[name] = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=self.environment)

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

    def enrol(self, *options, days=1):
        out = str(self.folder)
        more = ("--seed", str(SEED), "--days", str(days), *options)
        self.start("enrol", "--community", str(self.community), "--out", out, *more)

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


def undisturbed_replay(community, folder, days=1):
    """The same days with nobody disturbed."""

    class Silent:
        def stage(self, _):
            pass

        epoch = stage

    return replay(ReplaySettings(community, None, days, SEED, folder, EPOCH_S), Silent())


def judge(operator, undisturbed):
    """Every sum comes out, everything happened once, and the day ended as the undisturbed one did."""
    chain, intervals = operator.chain, operator.enrolment.intervals
    head = chain.head()
    headers = chain.node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in range(head.number + 1)])
    epochs = [chain.calendar.epoch_at(int(header["timestamp"], 16)) for header in headers]
    events = chain.events(KINDS, 0, head.number)
    ledger = rebuild(events, chain.money, epochs.__getitem__, epochs[-1])
    assert [c.name for c in audit(ledger, read_state(chain, head.number), chain.money) if not c.ok] == []

    ends = [operator.enrolment.chain_start + n * EPOCH_S for n in range(1, intervals + 1)]
    read = [(r.meter_id, r.interval_end, r.import_wh, r.export_wh) for r in ledger.readings]
    assert sorted(read) == sorted(
        (meter_id, end, *energies)
        for meter_id, series in metered(operator.community).items()
        for end, energies in zip(ends, series, strict=True)
    )

    entered = Counter((e.args["account"], e.args["epoch"]) for e in events if e.name == "OrdersEntered")
    assert set(entered.values()) == {1}
    cleared = Counter(e.args["epoch"] for e in events if e.name == "EpochCleared")
    assert cleared == dict.fromkeys(range(97, 97 + intervals), 1)

    results = [ledger.epochs[(1, row.epoch)].reference() for row in undisturbed.epochs]
    pairs = [
        ((r.price2, r.volume_wh), (row.price2, row.volume_wh))
        for r, row in zip(results, undisturbed.epochs, strict=True)
    ]
    assert {97 + n: pair for n, pair in enumerate(pairs) if pair[0] != pair[1]} == {}, pairs
    assert any(r.traded for r in results)
    for row in undisturbed.participants:
        book = ledger.accounts[row.account]
        assert (book.bought_uwh, book.sold_uwh) == (row.bought_uwh, row.sold_uwh)
        assert chain.money.to_wei(book.paid_units) == row.paid_wei
        assert chain.money.to_wei(book.earned_units) == row.earned_wei
        assert book.retired_wh + book.surrendered_wh == row.retired_wh
        assert (book.outstanding_wh, book.energy_free_uwh) == (row.outstanding_wh, row.grid_held_uwh)
