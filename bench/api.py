"""How fast the API answers, and how many signed orders a second it takes in. `make bench-api`.

Usage: .venv/bin/python -m bench.api [--quick] [--out FOLDER]

Everything runs as an operator runs it, on one machine: an anvil that makes a block every two seconds, `busbar index`,
`busbar relay` and `busbar api` as processes over an index in SQLite. wrk asks over HTTP, at a constant rate that
bench/rate.lua keeps.

Reads: each endpoint for some seconds at 500 requests a second, and a mix of all of them, with blocks coming in; the mix
once more while every block brings orders of the accounts that are asked for.
Orders: signed before, posted at a constant rate to `energy/orders`, or many in one request to `energy/bundles`, and
followed until the chain has all of them; then index and contracts are compared.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.market import MAINNET_GAS, START, ZONE, BenchMarket, Draw
from busbar import errors
from busbar.chain import Chain, KeySigner, enter_bundles_call
from busbar.devnet import BLOCK_GAS_LIMIT, Devnet, at_pace, free_port
from busbar.orders import Side
from busbar.signing import Bundle, SignedBundle
from busbar.units import Asset

RESULTS = Path(__file__).resolve().parent / "results"
COMMAND = "make bench-api"
SCRIPT = Path(__file__).with_name("rate.lua")
BLOCK_S = 2
READ_RATE = 500
READ_P99_MS = 50
ORDER_RATE = 1_000
"""Targets: reads a second and their p99 in milliseconds, orders a second."""
CONNECTIONS = 64
BATCH = 100
PATIENCE_S = 180
BUSY = "mix, orders entering"
FIRST_NONCE = 1_000
"""Of the bundles that are posted: above those of the history."""


class BenchError(errors.BusbarError):
    """Something that must answer or enter did not."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is done.

    Attributes:
        participants: Who sign orders.
        epochs: Epochs of history in the index, each with an order of every participant that trades.
        traders: Participants that trade in them.
        seconds: How long each endpoint is asked.
        posted: (orders to a message, messages posted, messages a second, messages to a request), a run each.
    """

    participants: int
    epochs: int
    traders: int
    seconds: int
    posted: tuple[tuple[int, int, int, int], ...]


ALONE = (1, 8_000, 1_000, 1), (2, 5_000, 700, 1), (5, 2_000, 350, 1)
TOGETHER = (1, 10_000, 1_500, 50), (5, 2_000, 400, 50)
WHOLE = Profile(2_000, 24, 200, 6, ALONE + TOGETHER)
QUICK = Profile(40, 3, 20, 1, ((2, 40, 40, 1), (2, 40, 40, 10)))


@dataclass(frozen=True, slots=True)
class Read:
    """An endpoint under load. Times are milliseconds from sending a request to its whole answer.

    Attributes:
        cpu_ms: CPU time of the API's process for a request.
        load: Load average of the machine when it began; 2 cores that others use too make answers late.
        stolen: Share of the machine's time that its host gave to others, in percent; likewise.
    """

    name: str
    requests: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    lost: int
    refused: int
    cpu_ms: float
    load: float
    stolen: float

    @property
    def rate(self) -> float:
        """Requests a second that were answered."""
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Posted:
    """Orders posted.

    Attributes:
        per_message: Orders to a message.
        together: Messages to a request; one alone goes to `energy/orders`, several to `energy/bundles`.
        orders: Orders posted.
        accepted_s: Seconds until all were accepted, on the relay's disk.
        entered_s: Seconds until the relay knew the last to be on the chain.
        p99_ms: Of the answers to the posts.
        load: Load average of the machine when it began.
        stolen: See `Read`.
        cpu_ms: CPU time of API, relay and chain for a message, by process.
    """

    per_message: int
    together: int
    orders: int
    accepted_s: float
    entered_s: float
    p99_ms: float
    load: float
    stolen: float
    cpu_ms: dict[str, float]


# ------------------------------------------------------------------------------ the processes


class Place:
    """A market with a history, and the processes that serve it."""

    def __init__(self, devnet: Devnet, profile: Profile, folder: Path) -> None:
        self.devnet, self.profile, self.folder = devnet, profile, folder
        self.market = BenchMarket(devnet, folder)
        self.crowd = self.market.participants("api", profile.participants)
        self.market.fund(self.crowd[::2], Asset.ENERGY)
        self.market.fund(self.crowd[1::2], Asset.MONEY)
        self.api, self.relay = free_port(), free_port()
        self.pids: dict[str, int] = {}

    def trade(self) -> None:
        """Fills epochs with orders and clears them."""
        domain = self.market.chain.trading_domain
        draw = Draw("api history")
        for number in range(self.profile.epochs):
            self.market.next_epoch()
            epoch = self.market.epoch
            signed = []
            for place, who in enumerate(self.crowd[: self.profile.traders]):
                order = draw.order(side_of(place))
                bundle = Bundle(who.address, ZONE, number, epoch, epoch, (order,))
                signed.append(SignedBundle.by(bundle, domain, bytes(who.account.key)))
            for start in range(0, len(signed), BATCH):
                self.market.chain.send(self.market.outsider, enter_bundles_call(ZONE, signed[start : start + BATCH]))
        self.market.next_epoch()

    @contextmanager
    def served(self) -> Iterator[None]:
        """Index, relay and API as processes, until the block ends."""
        index = ["index", "--database", self.database, "--pause", "0.5"]
        relay = ["relay", "--port", str(self.relay), "--outbox", str(self.folder / "relay.sqlite"), "--pause", "0.2"]
        api = ["api", "--port", str(self.api), "--database", self.database, "--rate", "", "--relay", self.relay_url]
        with ExitStack() as stack:
            for words in (index, relay, api):
                stack.enter_context(self._process(words))
            self._until(lambda: self._indexed() == self.market.chain.head().number, "the index")
            self._until(lambda: self.relay_status()["problem"] is None, "the relay")
            yield

    @property
    def database(self) -> str:
        """Where the index is."""
        return f"sqlite:///{self.folder / 'index.db'}"

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://127.0.0.1:{self.api}"

    @property
    def relay_url(self) -> str:
        """Where the relay answers."""
        return f"http://127.0.0.1:{self.relay}"

    @contextmanager
    def _process(self, words: Sequence[str]) -> Iterator[None]:
        where = ["--url", self.devnet.url, "--record", str(self.folder / "record.json")]
        command = [sys.executable, "-m", "busbar.cli", *words, *where]
        log = (self.folder / f"{words[0]}.log").open("wb")
        environment = {**os.environ, "BUSBAR_LOG__LEVEL": "warning"}
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.pids[words[0]] = process.pid
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            log.close()

    def _indexed(self) -> int:
        return int(httpx.get(f"{self.api_url}/api/v1/status", trust_env=False).json()["block"])

    def relay_status(self) -> dict[str, Any]:
        """How the relay is."""
        told: dict[str, Any] = httpx.get(f"{self.relay_url}/status", trust_env=False).json()
        return told

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if condition():
                    return
            except (httpx.HTTPError, KeyError, ValueError):
                pass
            if time.monotonic() > deadline:
                raise BenchError(f"{what} did not come up in {PATIENCE_S} s: see the logs in {self.folder}")
            time.sleep(0.1)

    # ---- what is measured

    def paths(self) -> dict[str, list[str]]:
        """Paths of each endpoint, asked in turn; those of accounts and epochs are many."""
        traders = [who.address for who in self.crowd[: self.profile.traders]]
        last = self.market.epoch - 1
        epochs = range(last - self.profile.epochs + 1, last + 1)
        found = {
            "book": ["energy/book"],
            "epochs": ["energy/epochs"],
            "epoch": [f"energy/epochs/{epoch}" for epoch in epochs],
            "orders of an account": [f"energy/orders?account={who}" for who in traders],
            "trades": ["energy/trades"],
            "trades of an account": [f"energy/trades?account={who}" for who in traders],
            "stats by day": ["energy/stats?by=day"],
            "balance": [f"accounts/{who}/balance" for who in traders],
            "history of an account": [f"accounts/{who}/history" for who in traders],
            "blocks": ["blocks"],
            "participants": ["participants"],
            "grid status": ["grid/status"],
            "status": ["status"],
        }
        found = {name: [f"/api/v1/{path}" for path in paths] for name, paths in found.items()}
        turns = max(map(len, found.values()))
        return found | {"mix of all": [paths[turn % len(paths)] for turn in range(turns) for paths in found.values()]}

    def read(self, name: str, paths: Sequence[str]) -> Read:
        """Asks an endpoint at the constant rate."""
        load, before, lost = os.getloadavg()[0], _cpu_s(self.pids["api"]), Lost()
        told = self.wrk(READ_RATE, self.profile.seconds, paths)
        cpu_ms = (_cpu_s(self.pids["api"]) - before) * 1e3 / max(1, told["requests"])
        return Read(name=name, cpu_ms=cpu_ms, load=load, stolen=lost.percent, **told)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Enters orders of accounts that are asked for in every block, until the block ends."""
        # One that waits for blocks, where the market's own makes them.
        chain = Chain(self.devnet.url, self.market.chain.addresses)
        epoch, traders = self.market.epoch, self.crowd[: self.profile.traders][:BATCH]
        draw, stopping = Draw("api busy"), threading.Event()
        batches = [
            [
                SignedBundle.by(
                    Bundle(who.address, ZONE, self.profile.epochs + turn, epoch, epoch, (draw.order(side_of(place)),)),
                    chain.trading_domain,
                    bytes(who.account.key),
                )
                for place, who in enumerate(traders)
            ]
            for turn in range(self.profile.seconds // BLOCK_S + 2)
        ]

        def enter() -> None:
            for batch in batches:
                if stopping.is_set():
                    return
                chain.send(self.market.outsider, enter_bundles_call(ZONE, batch))

        with ThreadPoolExecutor(1) as beside:
            entering = beside.submit(enter)
            try:
                yield
            finally:
                stopping.set()
            entering.result()

    def post(self, lap: int, size: int, messages: int, rate: int, together: int) -> Posted:
        """Posts signed orders at a constant rate, and waits until all are entered."""
        epoch = self.market.epoch
        bodies = [self._body(lap, number, size, epoch) for number in range(messages)]
        where = "orders"
        if together > 1:
            where = "bundles"
            groups = [bodies[start : start + together] for start in range(0, messages, together)]
            bodies = ['{"bundles": [' + ", ".join(group) + "]}" for group in groups]
        file = self.folder / "bodies"
        file.write_text("\n".join(bodies) + "\n", encoding="utf-8")
        before, load, lost = self.relay_status()["done"], os.getloadavg()[0], Lost()
        pids = {"api": self.pids["api"], "relay": self.pids["relay"], "anvil": self.devnet.pid}
        cpu = {name: _cpu_s(pid) for name, pid in pids.items()}
        began = time.monotonic()
        told = self.wrk(rate / together, PATIENCE_S, [f"/api/v1/energy/{where}", "/api/v1/energy/book"], file)
        if told["lost"] or told["refused"]:
            raise BenchError(f"{told['lost']} posts were lost and {told['refused']} refused")
        accepted = time.monotonic() - began
        self._until(lambda: bool(self.relay_status()["done"] - before >= messages), "every order")
        entered = time.monotonic() - began
        cpu_ms = {name: (_cpu_s(pid) - cpu[name]) * 1e3 / messages for name, pid in pids.items()}
        orders = messages * size
        return Posted(size, together, orders, accepted, entered, told["p99_ms"], load, lost.percent, cpu_ms)

    def _body(self, lap: int, number: int, size: int, epoch: int) -> str:
        who: KeySigner = self.crowd[number % len(self.crowd)]
        draw = Draw(f"api {lap} {number}")
        side = side_of(number % len(self.crowd))
        orders = tuple(draw.order(side) for _ in range(size))
        nonce = FIRST_NONCE * (lap + 1) + number // len(self.crowd)
        bundle = Bundle(who.address, ZONE, nonce, epoch, epoch, orders)
        signed = SignedBundle.by(bundle, self.market.chain.trading_domain, bytes(who.account.key))
        return json.dumps({"message": bundle.fields(), "signature": "0x" + signed.signature.hex()})

    def wrk(self, rate: float, seconds: int, paths: Sequence[str], bodies: Path | None = None) -> dict[str, Any]:
        """What wrk measured."""
        file = self.folder / "paths"
        file.write_text("\n".join(paths) + "\n", encoding="utf-8")
        # With few requests few connections: the server ends those that ask nothing for some seconds.
        connections = min(CONNECTIONS, max(8, round(rate / 4)))
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "60s",
            "-s",
            str(SCRIPT),
            self.api_url,
        ]
        command += ["--", str(rate), str(file), *([str(bodies)] if bodies else [])]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BenchError(f"wrk failed: {result.stderr.strip()}")
        told: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
        return told

    def verify(self) -> None:
        """Holds the index against the contracts.

        Raises:
            BenchError: They differ.
        """
        where = ["--url", self.devnet.url, "--record", str(self.folder / "record.json"), "--database", self.database]
        once = [sys.executable, "-m", "busbar.cli", "index", "--once", *where]
        compare = [sys.executable, "-m", "busbar.cli", "verify", *where]
        for command in (once, compare):
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode:
                raise BenchError(result.stderr.strip().splitlines()[-1])


def side_of(place: int) -> Side:
    """What the participant at a place of the crowd has funds for."""
    return Side.BID if place % 2 else Side.ASK


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process, as Linux counts them."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Lost:
    """How much of the machine's time its host gives to others, from here on."""

    def __init__(self) -> None:
        self._before = self._times()

    @property
    def percent(self) -> float:
        """So much until now, in percent."""
        passed = [now - before for now, before in zip(self._times(), self._before, strict=True)]
        return 100 * passed[7] / max(1, sum(passed))

    @staticmethod
    def _times() -> list[int]:
        first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
        return [int(field) for field in first.split()[1:9]]


def measure(profile: Profile, folder: Path, say: Callable[[str], None]) -> tuple[list[Read], list[Posted]]:
    """Runs the bench.

    Args:
        profile: How much is done.
        folder: For index, outbox and logs.
        say: Told what happens.

    Raises:
        BenchError: Something did not answer, did not enter, or index and chain differ in the end.
    """
    if shutil.which("wrk") is None:
        raise BenchError("wrk is missing: install Debian's package `wrk`")
    with Devnet(timestamp=START) as devnet:
        say(f"{profile.participants:,} participants, {profile.epochs} epochs of {profile.traders} orders")
        place = Place(devnet, profile, folder)
        place.trade()
        devnet.node.request("anvil_setBlockTimestampInterval", BLOCK_S)
        reads: list[Read] = []
        posted: list[Posted] = []
        with place.served():
            with at_pace(devnet.node, BLOCK_S):
                for name, paths in place.paths().items():
                    say(f"reads: {name}")
                    reads.append(place.read(name, paths))
                say(f"reads: {BUSY}")
                with place.busy():
                    reads.append(place.read(BUSY, paths))
            for lap, (size, messages, rate, together) in enumerate(profile.posted):
                say(f"orders: {messages:,} messages of {size}, {together} to a request")
                place.market.next_epoch()
                devnet.node.request("evm_setBlockGasLimit", hex(MAINNET_GAS))
                with at_pace(devnet.node, BLOCK_S):
                    posted.append(place.post(lap, size, messages, rate, together))
        place.verify()
        return reads, posted


# ------------------------------------------------------------------------------ the result


def table(reads: Sequence[Read], posted: Sequence[Posted]) -> str:
    """The result as Markdown."""
    lines = [
        f"Written by `{COMMAND}`: wrk against `busbar api` over HTTP, with `busbar index`, `busbar relay` and an anvil",
        f"beside it that makes a block of {BLOCK_GAS_LIMIT:,} gas every {BLOCK_S} s. All of it, wrk too, and whatever",
        f"else runs on the machine, shares {os.cpu_count()} cores; `load` is the machine's load average at the start,",
        "`stolen` the share of its time that its host gave to others.",
        "",
        "## Reads",
        "",
        f"Asked at {READ_RATE} requests a second. The target is a p99 below {READ_P99_MS} ms. Blocks are",
        f"empty but in the last row, in which each brings an order of each of {BATCH} accounts that are asked for.",
        "",
        (
            "| endpoint | answered a second | p50 ms | p90 ms | p99 ms | longest | failed | CPU ms each | load "
            "| stolen | target |"
        ),
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for read in reads:
        good = read.p99_ms < READ_P99_MS and read.rate > READ_RATE * 0.98 and not (read.lost or read.refused)
        failed = read.lost + read.refused
        times = f"{read.p50_ms:.1f} | {read.p90_ms:.1f} | {read.p99_ms:.1f} | {read.max_ms:.1f}"
        verdict = "reached" if good else "missed"
        machine = f"{read.load:.1f} | {read.stolen:.0f} %"
        lines.append(
            f"| {read.name} | {read.rate:.0f} | {times} | {failed} | {read.cpu_ms:.2f} | {machine} | {verdict} |"
        )
    lines += [
        "",
        "## Orders",
        "",
        "Signed orders posted at a constant rate, and entered by the relay: a message alone to `energy/orders`,",
        f"several in one request to `energy/bundles`. Blocks of {MAINNET_GAS:,} gas. The target is",
        f"{ORDER_RATE:,} orders a second, accepted and entered, from first request to last receipt. All entered;",
        "index and contracts agreed afterwards. CPU times are for a message, whatever it holds.",
        "",
        (
            "| to a message | to a request | orders | accepted / s | entered / s | p99, ms | CPU ms: API, relay, anvil "
            "| load | stolen | target |"
        ),
        "|---:|---:|---:|---:|---:|---:|---|---:|---:|---|",
    ]
    for run in posted:
        accepted, entered = run.orders / run.accepted_s, run.orders / run.entered_s
        verdict = "reached" if entered >= ORDER_RATE else "missed"
        cpu = ", ".join(f"{run.cpu_ms[name]:.1f}" for name in ("api", "relay", "anvil"))
        figures = f"{run.orders:,} | {accepted:,.0f} | {entered:,.0f} | {run.p99_ms:.0f} | {cpu} | {run.load:.1f} "
        figures += f"| {run.stolen:.0f} %"
        lines.append(f"| {run.per_message} | {run.together} | {figures} | {verdict} |")
    return "\n".join(lines) + "\n"


def write(reads: Sequence[Read], posted: Sequence[Posted], folder: Path) -> None:
    """Writes api.json and api.md."""
    folder.mkdir(parents=True, exist_ok=True)
    told = {"command": COMMAND, "reads": [asdict(read) for read in reads], "orders": [asdict(run) for run in posted]}
    (folder / "api.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    (folder / "api.md").write_text("# API\n\n" + table(reads, posted), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench.api", description="How fast the API answers and takes orders in.")
    parser.add_argument("--quick", action="store_true", help="a first look; writes nothing unless --out is given")
    parser.add_argument("--out", type=Path, help="folder of the result; bench/results if not given")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="busbar-bench-") as folder:
        try:
            found = measure(QUICK if asked.quick else WHOLE, Path(folder), lambda text: print(text, file=sys.stderr))
        except errors.BusbarError as problem:
            sys.exit(f"bench.api: {problem}")
    print(table(*found))
    if asked.out or not asked.quick:
        write(*found, asked.out or RESULTS)


if __name__ == "__main__":
    main()
