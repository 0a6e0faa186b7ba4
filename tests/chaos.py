"""Disturbs a running market in every way we can on one machine, and compares the end with an undisturbed run.

Usage: .venv/bin/python -m tests.chaos [--seed 1] [--epochs 200] [--calm] [--keep FOLDER]     (through `make chaos`)

Real anvil, real processes, accelerated epochs. Every third epoch something happens to the bots, to the node or
between them. In the end balances, minted energy and results of epochs must equal those of the undisturbed run, to the
unit. With --calm nothing is disturbed: the memory and the open files of the bots are measured over many epochs.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from busbar import logs
from busbar.deployment import genesis_hash
from busbar.devnet import Devnet
from tests.communities import House, write_community
from tests.faults import FaultyNode
from tests.market import DAY
from tests.operators import EPOCH_S, PATIENCE_S, Operator, judge, undisturbed_replay

BOTS = ("meters", "keeper", "agents")
GWEI = 10**9
INTERVALS_A_DAY = 200
"""Intervals of 432 s: a day is a whole number of them."""

ENVIRONMENT = {
    "BUSBAR_REQUEST_TIMEOUT_S": "1",
    "BUSBAR_SENDING__TIMEOUT_S": "2",
    "BUSBAR_SENDING__REPLACE_AFTER_BLOCKS": "2",
    "BUSBAR_LOG__LEVEL": "info",
}

SKEWED_CLOCK = """
import random, time
_real, _chance = time.time, random.Random()
time.time = lambda: _real() + _chance.choice([-86_400 * 400, -3_600, 0, 3_600, 86_400 * 400])
"""
"""A machine whose clock jumps by hours and years at every look; Python reads this file when it starts."""


def street(path, intervals, days, seed):
    """Three houses whose day is drawn: sun at noon, load at any time."""
    chance = random.Random(seed)

    def load():
        return tuple(chance.randrange(0, 1_500) for _ in range(intervals * days))

    def sun():
        shape = [max(0, 9_000 - abs(n - intervals // 2) * 30_000 // intervals) for n in range(intervals)]
        return tuple(peak * chance.randrange(50, 101) // 100 for _ in range(days) for peak in shape)

    return write_community(
        path, House("ROOF", load(), sun()), House("BAKERY", load()), House("CINEMA", load()), days=days
    )


class Chaos(Operator):
    """An operator with bad luck: faults by name, each a method that leaves the work to go on."""

    def __init__(self, devnet, folder, community, state, seed):
        self.state, self.chance = state, random.Random(seed)
        self.proxy = FaultyNode(devnet.port)
        clock = folder / "skewed"
        clock.mkdir()
        (clock / "sitecustomize.py").write_text(SKEWED_CLOCK, encoding="utf-8")
        self.clock = clock
        environment = {**ENVIRONMENT, "BUSBAR_WS_URL": self.proxy.ws_url}
        super().__init__(devnet, folder, community, self.proxy.url, environment)
        self.restarts = Counter()
        self.wanted = set()

    def __exit__(self, *_):
        super().__exit__()
        self.proxy.stop()
        self.devnet.stop()

    # ---- processes that are wanted are started again when they end

    def launch(self, name):
        self.wanted.add(name)
        self.start(name)

    def start(self, name, *more):
        second = {"keeper 2": ("--account", "dev:9"), "meters 2": ("--account", "dev:8")}
        super().start(name, *more, *second.get(name, ()))

    def until(self, condition):
        """Waits, without making blocks; what has ended is started again, as a supervisor would."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        last_words = {}
        while not condition():
            if time.monotonic() > deadline:
                told = {name: self.said(name)[-2_000:] for name in self.logs}
                raise AssertionError("last words of those that ended", last_words, told, self.restarts)
            for name in self.wanted:
                if self.running[name].poll() is not None:
                    # What is started again may not have said anything yet.
                    last_words[name] = self.said(name)[-2_000:]
                    self.restarts[name] += 1
                    self.start(name)
            time.sleep(0.02)

    def make_blocks_until(self, condition):
        """Makes blocks for what waits, but not for ever for the same: an epoch has only so many seconds."""
        last, since = set(), 0.0

        def met():
            nonlocal last, since
            if condition():
                return True
            waiting = self.pending()
            if waiting and (waiting != last or time.monotonic() > since + 0.2):
                last, since = waiting, time.monotonic()
                self.devnet.mine()
            return False

        self.until(met)

    def some_time(self, seconds=0.6):
        """Lets the bots go on for a moment that nobody chose, and makes blocks for them."""
        end = time.monotonic() + self.chance.uniform(0.0, seconds)
        while time.monotonic() < end:
            if self.pending() and self.chance.random() < 0.3:
                self.devnet.mine()
            time.sleep(0.02)

    def again(self, *names):
        for name in names:
            self.kill(name)
            self.restarts[name] += 1
            self.start(name)

    # ---- faults, in the middle of an epoch's work

    def kill_9_keeper(self):
        self.some_time()
        self.again("keeper")

    def kill_9_meters(self):
        self.some_time()
        self.again("meters")

    def kill_9_agents(self):
        self.some_time()
        self.again("agents")

    def kill_9_all(self):
        self.some_time()
        self.again(*BOTS)

    def node_restarted(self):
        """The node stops in order and comes back with its saved state; what waited for a block is forgotten."""
        self.some_time()
        head, genesis = self.chain.head(), genesis_hash(self.chain)
        self.devnet.save()
        time.sleep(self.chance.uniform(0.0, 1.0))
        # The first block's time again: anvil makes that block anew, and of two unlike ones may show either later.
        self.devnet = Devnet(port=self.devnet.port, timestamp=DAY, state=self.state)
        self.chain.after_send = self.devnet.mine
        assert (genesis_hash(self.chain), self.chain.head().hash) == (genesis, head.hash), "the node forgot its chain"
        # anvil would go on at this machine's time.
        self.devnet.mine(head.timestamp + 1)

    def _between(self, fault, seconds=1.5):
        head = self.chain.node.request("eth_getBlockByNumber", "latest", False)
        self.proxy.begin(fault, head)
        end = time.monotonic() + self.chance.uniform(0.3, seconds)
        while time.monotonic() < end:
            if self.pending():
                self.devnet.mine()
            time.sleep(0.1)
        self.proxy.begin(None)

    def connection_dropped(self):
        self._between("drop")

    def connection_reset(self):
        self._between("reset")

    def connection_delayed(self):
        self._between("delay", 3)

    def connection_half_open(self):
        self._between("half-open", 3)

    def node_answers_errors(self):
        self._between("errors")

    def node_of_another_chain(self):
        self._between("chain id")

    def node_behind(self):
        self._between("stale")

    def reorganisation(self):
        """Up to three blocks are replaced by empty ones; at most those of this epoch, for its end is the chain's."""
        self.some_time(1.0)
        head = self.chain.head()
        start = self.chain.calendar.start(self.chain.calendar.epoch_at(head.timestamp))
        numbers = range(head.number, max(head.number - 3, 0), -1)
        headers = self.chain.node.batch([("eth_getBlockByNumber", [hex(n), False]) for n in numbers])
        depth = sum(int(header["timestamp"], 16) > start for header in headers)
        if depth:
            self.chain.node.request("anvil_reorg", self.chance.randint(1, depth), [])

    def clock_of_the_chain_jumps(self):
        self.some_time()
        head = self.chain.head()
        end = self.chain.calendar.start(self.chain.calendar.epoch_at(head.timestamp) + 1)
        self.devnet.mine(head.timestamp + self.chance.randint(1, max(1, (end - head.timestamp) // 2)))

    def clock_of_the_machine_jumps(self):
        self.environment["PYTHONPATH"] = str(self.clock)
        self.again(*BOTS)

    def bots_out_of_funds(self):
        """Gas has a price for a while, and most accounts have no ether."""
        end = time.monotonic() + self.chance.uniform(0.3, 1.0)
        while time.monotonic() < end:
            self.chain.node.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
            self.devnet.mine()
            time.sleep(0.1)
        self.chain.node.request("anvil_setNextBlockBaseFeePerGas", "0x0")
        self.devnet.mine()

    def two_keepers_two_gateways(self):
        for name in ("keeper 2", "meters 2"):
            if name in self.wanted:
                self.wanted.remove(name)
                self.kill(name)
            else:
                self.launch(name)


FAULTS = (
    "kill_9_keeper",
    "kill_9_meters",
    "kill_9_agents",
    "kill_9_all",
    "node_restarted",
    "connection_dropped",
    "connection_reset",
    "connection_delayed",
    "connection_half_open",
    "node_answers_errors",
    "node_of_another_chain",
    "node_behind",
    "reorganisation",
    "clock_of_the_chain_jumps",
    "clock_of_the_machine_jumps",
    "bots_out_of_funds",
    "two_keepers_two_gateways",
)


def schedule(seed, epochs, every):
    """A fault for every so many epochs: all of them in turn, in an order that is drawn."""
    chance = random.Random(seed)
    drawn = []
    while len(drawn) * every < epochs:
        drawn += chance.sample(FAULTS, len(FAULTS))
    return {epoch: drawn[n] for n, epoch in enumerate(range(2, epochs + 1, every))}


def run(folder, *, seed, intervals, days, plan, watch=None, say=print):
    """Runs a street through these faults; fails unless it ends where the undisturbed one does."""
    community = street(folder / "street.csv", intervals, days, seed)
    undisturbed = undisturbed_replay(community, folder / "undisturbed", days)
    state = folder / "chain.json"
    began = time.monotonic()
    with Chaos(Devnet(timestamp=DAY, state=state), folder, community, state, seed) as chaos:
        chaos.enrol(days=days)
        enrolling = chaos.running.pop("enrol")
        chaos.make_blocks_until(lambda: enrolling.poll() is not None)
        assert enrolling.returncode == 0, chaos.said("enrol")
        chaos.open()
        for name in BOTS:
            chaos.launch(name)
        took = Counter()
        for epoch in range(1, intervals * days + 2):
            start = time.monotonic()
            chaos.to_interval(epoch)
            fault = plan.get(epoch, "nothing")
            if fault != "nothing":
                getattr(chaos, fault)()
            chaos.make_blocks_until(chaos.nothing_left_to_do)
            took[fault] += time.monotonic() - start
            head = chaos.chain.head().timestamp
            assert head < chaos.enrolment.chain_start + (epoch + 1) * EPOCH_S, "an epoch was too short for its work"
            if watch is not None:
                watch(epoch, chaos)
        judge(chaos, undisturbed)
        times = Counter(plan.values()) + Counter({"nothing": intervals * days + 1 - len(plan)})
        say(f"{'fault':<28} {'times':>5} {'s each':>7}   end")
        for fault in (*[f for f in FAULTS if times[f]], "nothing"):
            say(f"{fault.replace('_', ' '):<28} {times[fault]:>5} {took[fault] / times[fault]:>7.1f}   equal")
        traded = sum(row.volume_wh for row in undisturbed.epochs)
        restarts = sum(chaos.restarts.values())
        say(f"{intervals * days} epochs, {traded:,} Wh traded, {restarts} restarts of processes, seed {seed}:")
        took_s = time.monotonic() - began
        say(f"balances, minted energy and epochs equal the undisturbed run's, to the unit ({took_s:.0f} s)")
        return chaos.restarts


def usage(process):
    """(resident KiB, open files) of a process."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return resident, len(list(Path(f"/proc/{process.pid}/fd").iterdir()))


def measure(every):
    """Prints memory and open files of each bot every so many epochs."""

    def watch(epoch, chaos):
        if epoch == 1:
            print(f"{'epoch':>6}" + "".join(f"{bot + ' KiB':>14}{'files':>7}" for bot in BOTS), flush=True)
        if epoch % every == 0:
            figures = [usage(chaos.running[bot]) for bot in BOTS]
            print(f"{epoch:>6}" + "".join(f"{kib:>14,}{files:>7}" for kib, files in figures), flush=True)

    return watch


def main():
    parser = argparse.ArgumentParser(description="Disturb a market and compare its end with an undisturbed one.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=200, help="a multiple of 200")
    parser.add_argument("--calm", action="store_true", help="disturb nothing; measure memory and open files")
    parser.add_argument("--keep", type=Path, help="where logs are kept, an empty folder")
    arguments = parser.parse_args()
    days, rest = divmod(arguments.epochs, INTERVALS_A_DAY)
    if rest or not days:
        parser.error(f"--epochs is a multiple of {INTERVALS_A_DAY}")
    logs.configure()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="busbar-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"logs: {folder}", flush=True)
    plan = {} if arguments.calm else schedule(arguments.seed, arguments.epochs, 3)
    watch = measure(arguments.epochs // 10) if arguments.calm else None
    run(folder, seed=arguments.seed, intervals=INTERVALS_A_DAY, days=days, plan=plan, watch=watch)


if __name__ == "__main__":
    sys.exit(main())
