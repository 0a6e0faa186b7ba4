"""How many readings a second the gateway brings from its door onto the chain, and how long a month takes.

Usage: .venv/bin/python -m bench.metering [--quick] [--meters N] [--homes N] [--days N] [--out FOLDER]

Two runs, each on an anvil of its own under the rules of busbar.devnet.

*A quarter-hour*: so many meters, half of them with P-256 keys, have signed their registers. Another process posts them
to the gateway's door, first as a concentrator does, 500 to a request, then each meter for itself. The gateway is the
shipped one: door, intake and submitting in one process, an outbox in a file, a block every two seconds. The clock runs
from the first request to the last receipt. A quarter-hour before warms up the accounts.

*A month*: so many homes, a reading each for every quarter-hour, through the same intake and outbox, one quarter-hour
after another on a chain that makes blocks when told to. As in the shipped processes, one thread takes in and another
submits: while a quarter-hour is brought to the chain the next one is checked, and never the one after. A keeper beside
them retires once an hour. The clock runs over everything but set-up and the meters' own signing. In the end minted =
credited = retired + held, to the watt-hour, and every register is that of the last reading.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from bench.market import FIRST_EXPORT_WH, FIRST_IMPORT_WH, START, ZONE, BenchMarket, Draw, key
from bench.throughput import BLOCK_S, PATIENCE_S, RESULTS, BenchError, Profile, Stage, cpu_s
from busbar import door, errors, logs
from busbar.chain import Chain, KeySigner
from busbar.devnet import BLOCK_GAS_LIMIT, Devnet, at_pace, free_port
from busbar.door import GROUP
from busbar.intake import Intake
from busbar.keeper import Keeper
from busbar.meters import Gateway
from busbar.meters_api import create_app
from busbar.outbox import OPEN, Outbox
from busbar.readings import KeyType, Reading, SignedReading
from busbar.units import ENERGY_UNITS_PER_WH, GRID_WEI_PER_WH

COMMAND = "make bench-throughput"
TARGET_S = 300
"""A month of 80 homes; the closest published figure is 1,395 s."""
INTERVAL_S = 900
RETIRE_EVERY = 4
CONNECTIONS = 32
"""Meters that post at a time, each for itself."""
QUICK = 60, 3, 1
"""Meters, homes and days, for a test and a first look."""

STAGES = {
    "check": "check readings at the door: signatures, registers, meters",
    "keep": "write to the outbox",
    "read": "read what waits, and compare with the chain's registers",
    "encode": "batch, encode and sign transactions",
    "send": "simulate and send: requests to the node and its answers",
    "mine": "wait for receipts",
    "note": "read receipts and note what became of each",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run measured."""

    name: str
    readings: int
    meters: int
    seconds: float
    door_seconds: float
    blocks: int
    transactions: int
    gas: int
    cores: int
    load_before: float
    anvil_cpu_s: float
    python_cpu_s: float
    stages: dict[str, Stage]
    minted_wh: int = 0
    retired_wh: int = 0
    held_wh: int = 0

    @property
    def rate(self) -> float:
        """Readings a second."""
        return self.readings / self.seconds


def _profiled(gateway: Gateway, intake: Intake) -> Profile:
    profile = Profile({name: Stage() for name in STAGES})
    profile.watch(intake, "take", "check")
    profile.watch(intake.outbox, "accept", "keep")
    profile.watch(gateway, "step", "encode")
    profile.watch(gateway, "_look", "read")
    profile.watch(gateway, "_tidy", "read")
    profile.watch(gateway, "_note", "note")
    profile.watch(gateway.outbox, "mark_each", "keep")
    for chain in {id(intake.chain): intake.chain, id(gateway.chain): gateway.chain}.values():
        profile.watch(chain.node, "batch", "send")
        profile.watch(chain.node, "request", "send")
        profile.watch(chain, "_receipts", "mine")
        # Known to a gateway that runs.
        _ = (chain.calendar, chain.meter_domain, chain.decode_logs([]))
    return profile


@dataclass(slots=True)
class _Clock:
    """What is counted from here on."""

    pid: int
    wall: float = 0.0
    cpu: float = 0.0
    anvil: float = 0.0
    load: float = 0.0

    def start(self) -> None:
        """Starts it."""
        self.load = os.getloadavg()[0]
        self.anvil, self.cpu, self.wall = cpu_s(self.pid), time.process_time(), time.monotonic()

    def figures(self) -> dict[str, Any]:
        """Seconds since."""
        return {
            "seconds": time.monotonic() - self.wall,
            "python_cpu_s": time.process_time() - self.cpu,
            "anvil_cpu_s": cpu_s(self.pid) - self.anvil,
            "load_before": self.load,
            "cores": os.cpu_count() or 1,
        }


def _joined(market: BenchMarket, count: int) -> tuple[list[KeySigner], list[tuple[str, KeyType]]]:
    """So many participants with a meter each, half of them on either curve."""
    owners = market.participants("metering", count)
    half = count // 2
    plain, p256 = market.assign_meters(owners[:half]), market.assign_meters(owners[half:], KeyType.P256)
    return owners, [*((m, KeyType.SECP256K1) for m in plain), *((m, KeyType.P256) for m in p256)]


# ------------------------------------------------------------------------------ a quarter-hour


def quarter_hour(meters: int, folder: Path, say: Callable[[str], None]) -> list[Figures]:
    """One reading of each of many meters, posted to the door.

    Raises:
        BenchError: A reading did not count, or the energy is not what the registers say.
    """
    with Devnet(timestamp=START) as devnet:
        say(f"{meters:,} meters: registering and assigning")
        market = BenchMarket(devnet, folder)
        _, found = _joined(market, meters)
        devnet.node.request("anvil_setBlockTimestampInterval", BLOCK_S)
        laps = [_Lap(market, found, number) for number in range(3)]
        hands = _Door(devnet, market, folder / "outbox.sqlite")
        try:
            figures = []
            for lap, (name, size) in zip(
                laps,
                (("to warm up", GROUP), ("500 to a request", GROUP), ("one to a request", 1)),
                strict=True,
            ):
                say(f"{meters:,} readings, {name}")
                with at_pace(devnet.node, BLOCK_S):
                    figures.append(hands.bring(name, lap.sign(), size, folder))
                lap.compare()
        finally:
            hands.stop()
        return figures[1:]


class _Lap:
    """A quarter-hour: every meter's registers have grown by an amount drawn for it."""

    def __init__(self, market: BenchMarket, meters: Sequence[tuple[str, KeyType]], number: int) -> None:
        self.market, self.meters, self.number = market, meters, number
        self.supply_wei = 0

    def sign(self) -> list[SignedReading]:
        """The signed readings, of the newest block's time."""
        self.supply_wei = self.market.chain.view("GridToken", "totalSupply")
        self.market.devnet.mine()
        at, domain = self.market.chain.head().timestamp, self.market.chain.meter_domain
        return [
            curve.sign(Reading(meter_id, at, *_registers(meter_id, self.number + 1)), domain, key(meter_id))
            for meter_id, curve in self.meters
        ]

    def compare(self) -> None:
        """Holds supply and registers against what was signed."""
        chain = self.market.chain
        meter_ids = [meter_id for meter_id, _ in self.meters]
        shown = {r.meter_id: (r.import_wh, r.export_wh) for r in chain.registers(meter_ids)}
        wrong = [meter_id for meter_id in meter_ids if shown[meter_id] != _registers(meter_id, self.number + 1)]
        grown = sum(_registers(m, self.number + 1)[1] - _registers(m, self.number)[1] for m in meter_ids)
        minted = (chain.view("GridToken", "totalSupply") - self.supply_wei) // GRID_WEI_PER_WH
        if wrong or minted != grown:
            raise BenchError(f"{len(wrong)} registers differ; {minted} Wh minted of {grown}")


def _registers(meter_id: str, laps: int) -> tuple[int, int]:
    """A meter's import and export after so many laps."""
    draw = Draw(meter_id)
    grown = [(draw.between(0, 300), draw.between(1, 900)) for _ in range(laps)]
    return FIRST_IMPORT_WH + sum(wh for wh, _ in grown), FIRST_EXPORT_WH + sum(wh for _, wh in grown)


class _Door:
    """Door, intake and gateway as in `busbar meters`."""

    def __init__(self, devnet: Devnet, market: BenchMarket, file: Path) -> None:
        self.devnet = devnet
        self.intake = Intake(Chain(devnet.url, market.chain.addresses), Outbox(file))
        chain = Chain(devnet.url, market.chain.addresses, timeout_s=PATIENCE_S)
        self.gateway = Gateway(chain, market.minter, outbox=Outbox(file))
        self.profile = _profiled(self.gateway, self.intake)
        port = free_port()
        self.stop = door.serve(create_app(self.intake, None), "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    def bring(self, name: str, signed: Sequence[SignedReading], size: int, folder: Path) -> Figures:
        """Lets another process post the readings, and this one submit them."""
        file = folder / "readings.jsonl"
        file.write_text("".join(one.to_json() + "\n" for one in signed), encoding="utf-8")
        self.profile.stages = {stage: Stage() for stage in STAGES}
        clock = _Clock(self.devnet.pid)
        with ThreadPoolExecutor(1) as thread:
            command = [sys.executable, "-m", "bench.metering", "--push", self.url, str(file), str(size)]
            pusher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert pusher.stdout is not None  # noqa: S101  (a pipe was asked for)
            pusher.stdout.readline()  # it has read the file
            clock.start()
            posted = thread.submit(_posted, pusher, clock.wall)
            outcomes, deadline = [], time.monotonic() + PATIENCE_S
            while not posted.done() or self._open():
                done = self.gateway.step()
                outcomes += [outcome for outcome in done if outcome.ok]
                if not done:
                    time.sleep(0.02)
                if time.monotonic() > deadline or (posted.done() and posted.exception()):
                    raise BenchError(f"not everything counted: {self._open()} readings wait")
            measured = clock.figures()
            return Figures(
                name=name,
                readings=len(signed),
                meters=len(signed),
                door_seconds=posted.result(),
                blocks=max(o.block for o in outcomes) - min(o.block for o in outcomes) + 1,
                transactions=len(outcomes),
                gas=sum(o.gas_used for o in outcomes),
                stages=self.profile.stages,
                **measured,
            )

    def _open(self) -> int:
        """Readings that were taken on and are not known to be done."""
        return sum(self.gateway.outbox.count(state) for state in OPEN)


def _posted(pusher: "subprocess.Popen[str]", began: float) -> float:
    """Seconds until everything was answered 202."""
    told, _ = pusher.communicate("go\n")
    if pusher.returncode or told.strip() != "all taken on":
        raise BenchError(f"the door refused: {told[-500:]}")
    return time.monotonic() - began


def push(url: str, file: Path, size: int) -> None:
    """The other process: posts a file's readings once it is told to, so many to a request."""
    lines = file.read_text(encoding="utf-8").splitlines()
    if size == 1:
        bodies = [("/readings", line) for line in lines]
    else:
        groups = [lines[start : start + size] for start in range(0, len(lines), size)]
        bodies = [("/readings/batch", f'{{"readings": [{",".join(group)}]}}') for group in groups]
    limits = httpx.Limits(max_connections=CONNECTIONS)
    with (
        httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False, limits=limits) as client,
        ThreadPoolExecutor(CONNECTIONS if size == 1 else 2) as threads,
    ):

        def post(body: tuple[str, str]) -> str:
            answer = client.post(body[0], content=body[1], headers={"Content-Type": "application/json"})
            good = answer.status_code == httpx.codes.ACCEPTED and '"refused":{' not in answer.text
            return "" if good else answer.text

        print("ready", flush=True)
        sys.stdin.readline()
        refused = [text for text in threads.map(post, bodies) if text]
    print(refused[0] if refused else "all taken on")


# ------------------------------------------------------------------------------ a month


def month(homes: int, days: int, folder: Path, say: Callable[[str], None]) -> Figures:
    """A month of readings of many homes, every quarter-hour of it.

    Raises:
        BenchError: The sums do not come out.
    """
    with Devnet(timestamp=START) as devnet:
        say(f"{homes} homes: registering and assigning")
        market = BenchMarket(devnet, folder)
        owners, meters = _joined(market, homes)
        market.next_epoch()
        start = market.chain.calendar.start(market.epoch)
        say(f"{days} days: {homes * days * 96:,} readings, signed by their meters")
        quarters = _signed_month(meters, start, days, market)
        return _Month(devnet, market, owners, folder / "month.sqlite").replay(quarters, say)


def _signed_month(
    meters: Sequence[tuple[str, KeyType]], start: int, days: int, market: BenchMarket
) -> list[list[SignedReading]]:
    """Every home's readings by quarter-hour: load all day, with an evening peak; sun from six to six."""
    registers = {meter_id: [FIRST_IMPORT_WH, FIRST_EXPORT_WH] for meter_id, _ in meters}
    draw = Draw("month")
    size = {meter_id: draw.between(50, 150) for meter_id, _ in meters}
    domain = market.chain.meter_domain
    quarters = []
    for number in range(days * 96):
        hour = number % 96 / 4
        load_wh = 80 + (160 if 18 <= hour < 22 else 0)
        sun_wh = int(900 * max(0.0, math.sin(math.pi * (hour - 6) / 12)))
        quarter = []
        for meter_id, curve in meters:
            net_wh = (sun_wh - load_wh) * size[meter_id] // 100
            registers[meter_id][net_wh > 0] += abs(net_wh)
            reading = Reading(meter_id, start + (number + 1) * INTERVAL_S, *registers[meter_id])
            quarter.append(curve.sign(reading, domain, key(meter_id)))
        quarters.append(quarter)
    return quarters


class _Month:
    def __init__(self, devnet: Devnet, market: BenchMarket, owners: Sequence[KeySigner], file: Path) -> None:
        self.devnet, self.market, self.owners = devnet, market, owners
        chain = Chain(devnet.url, market.chain.addresses, after_send=devnet.mine)
        self.intake = Intake(Chain(devnet.url, market.chain.addresses), Outbox(file))
        self.gateway = Gateway(chain, market.minter, outbox=Outbox(file))
        self.keeper = Keeper(Chain(devnet.url, chain.addresses, after_send=devnet.mine), market.keeper, (ZONE,))
        self.profile = _profiled(self.gateway, self.intake)

    def replay(self, quarters: Sequence[Sequence[SignedReading]], say: Callable[[str], None]) -> Figures:
        """Replays quarter-hour after quarter-hour, and settles with the registers."""
        self.profile.stages = {stage: Stage() for stage in STAGES}
        before = self._energy_wh()
        outcomes = []
        taken_s = 0.0
        first = self.gateway.chain.head().number
        clock = _Clock(self.devnet.pid)
        clock.start()
        with ThreadPoolExecutor(1) as beside:
            for number, quarter in enumerate(quarters, 1):
                self.devnet.mine(quarter[0].reading.interval_end)
                taken = beside.submit(self._take, quarter)
                kept = beside.submit(self.keeper.step) if number % RETIRE_EVERY == 0 else None
                # It brings the quarter-hour before.
                sent = self.gateway.step()
                refused, seconds = taken.result()
                taken_s += seconds
                done = sent if kept is None else [*sent, *kept.result()]
                if refused or not all(outcome.ok for outcome in done):
                    raise BenchError(f"quarter-hour {number}: {(refused or done)[:1]}")
                outcomes += sent
                if number % 960 == 0:
                    say(f"{number // 96} days after {time.monotonic() - clock.wall:.0f} s")
        outcomes += self.gateway.step()
        self.gateway.step()
        measured = clock.figures()
        supply, held, retired = (now - then for now, then in zip(self._energy_wh(), before, strict=True))
        minted = supply + retired
        self._compare(quarters, minted, retired, held)
        return Figures(
            name="a month",
            readings=sum(len(quarter) for quarter in quarters),
            meters=len(quarters[0]),
            door_seconds=taken_s,
            blocks=self.gateway.chain.head().number - first,
            transactions=len(outcomes),
            gas=sum(outcome.gas_used for outcome in outcomes),
            stages=self.profile.stages,
            minted_wh=minted,
            retired_wh=retired,
            held_wh=held,
            **measured,
        )

    def _take(self, quarter: Sequence[SignedReading]) -> tuple[list[errors.BusbarError], float]:
        """Hands a quarter-hour to the intake; what was refused, and after how many seconds everything was kept."""
        began = time.monotonic()
        answers = self.intake.take(quarter)
        return [answer for answer in answers if not isinstance(answer, str)], time.monotonic() - began

    def _energy_wh(self) -> tuple[int, int, int]:
        """GRID in existence, in the homes' accounts, and what was ever retired; Wh."""
        chain = self.market.chain
        supply, rest = divmod(chain.view("GridToken", "totalSupply"), GRID_WEI_PER_WH)
        accounts = chain.accounts([owner.address for owner in self.owners])
        held, more = divmod(sum(account.energy_free_uwh for account in accounts), ENERGY_UNITS_PER_WH)
        events = chain.events([("Metering", "Retired")], 0, chain.head().number)
        if rest or more:
            raise BenchError("a fraction of a watt-hour came from nowhere")
        return supply, held, sum(event.args["previousWh"] + event.args["currentWh"] for event in events)

    def _compare(self, quarters: Sequence[Sequence[SignedReading]], minted: int, retired: int, held: int) -> None:
        last = {signed.reading.meter_id: signed.reading for signed in quarters[-1]}
        registers = self.market.chain.registers(sorted(last))
        wrong = [r.meter_id for r in registers if (r.import_wh, r.export_wh) != _of(last[r.meter_id])]
        exported = sum(reading.export_wh - FIRST_EXPORT_WH for reading in last.values())
        if wrong or not minted == exported == retired + held:
            sums = f"{exported} Wh exported, {minted} minted, {retired} retired, {held} held"
            raise BenchError(f"{len(wrong)} registers differ; {sums}")


def _of(reading: Reading) -> tuple[int, int]:
    return reading.import_wh, reading.export_wh


# ------------------------------------------------------------------------------ the result


def table(found: Sequence[Figures], months: Figures) -> str:
    """The result as Markdown."""
    everything = [*found, months]
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("readings", lambda f: f"{f.readings:,}"),
        ("meters", lambda f: f"{f.meters:,}"),
        ("seconds", lambda f: f"{f.seconds:.1f}"),
        ("**readings a second**, from the door to the last receipt", lambda f: f"**{f.rate:,.0f}**"),
        ("checked and on the disk after, seconds", lambda f: f"{f.door_seconds:.1f}"),
        ("blocks", lambda f: f"{f.blocks:,}"),
        ("transactions", lambda f: f"{f.transactions:,}"),
        ("gas for a reading", lambda f: f"{f.gas // f.readings:,}"),
        ("CPU for a reading, gateway and chain, us", lambda f: f"{_cpu_us(f):,.0f}"),
        ("readings a second by CPU, on all cores", lambda f: f"{f.cores * 1e6 / _cpu_us(f):,.0f}"),
        ("load average when the clock started", lambda f: f"{f.load_before:.1f}"),
    ]
    stages: list[tuple[str, Callable[[Figures], str]]] = [
        (title, lambda f, name=name: _shown(f, f.stages[name].cpu_s, f.stages[name].wall_s))  # type: ignore[misc]
        for name, title in STAGES.items()
    ]
    stages.append(("the rest of the gateway: HTTP, JSON, keeper", lambda f: _shown(f, _rest_s(f), None)))
    stages.append(("anvil: simulate, include, answer", lambda f: _shown(f, f.anvil_cpu_s, None)))
    head = f"| {{}} | {' | '.join(f.name for f in everything)} |"
    ruler = "|---|" + "---:|" * len(everything)
    verdict = "reached" if months.seconds < TARGET_S else "missed"
    gas_bound = BLOCK_GAS_LIMIT / BLOCK_S / (found[0].gas / found[0].readings)
    lines = [
        f"Written by `{COMMAND}`. Half of the meters sign with P-256. A quarter-hour of {found[0].meters:,} meters is",
        f"posted to the door while the chain makes a block every {BLOCK_S} s with {BLOCK_GAS_LIMIT:,} gas, which holds",
        f"{gas_bound:,.0f} such readings a second. The month's chain makes blocks when told to.",
        f"{found[0].cores} cores, shared with whatever the load average tells of.",
        "",
        head.format("figure"),
        ruler,
        *(f"| {title} | {' | '.join(told(f) for f in everything)} |" for title, told in rows),
        "",
        f"The month, {months.meters} homes: {months.minted_wh:,} Wh minted = {months.retired_wh:,} retired",
        f"+ {months.held_wh:,} held, all of it credited, in {months.seconds:.0f} s. Target for 230,400 readings: below",
        f"{TARGET_S} s, {verdict}. Nobody trades in it: it is the metering path alone, retired once an hour.",
        "",
        "Where the time goes: CPU microseconds for a reading / wall seconds of the run. The gateway's two threads, the",
        "chain, and the process that posts or the keeper run side by side, so wall times overlap and hold the wait for",
        "a core.",
        "",
        head.format("stage"),
        ruler,
        *(f"| {title} | {' | '.join(told(f) for f in everything)} |" for title, told in stages),
    ]
    return "\n".join(lines) + "\n"


def _cpu_us(figures: Figures) -> float:
    return (figures.anvil_cpu_s + figures.python_cpu_s) * 1e6 / figures.readings


def _rest_s(figures: Figures) -> float:
    return max(0.0, figures.python_cpu_s - sum(stage.cpu_s for stage in figures.stages.values()))


def _shown(figures: Figures, cpu: float, wall_s: float | None) -> str:
    told = f"{cpu * 1e6 / figures.readings:,.0f}"
    return told if wall_s is None else f"{told} / {wall_s:.1f}"


def write(found: Sequence[Figures], months: Figures, folder: Path) -> None:
    """Writes metering.json and metering.md."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [{"readings_a_second": round(f.rate), **asdict(f)} for f in (*found, months)]
    text = json.dumps({"command": COMMAND, "runs": runs}, indent=1)
    (folder / "metering.json").write_text(text + "\n", encoding="utf-8")
    (folder / "metering.md").write_text("# Metering\n\n" + table(found, months), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="bench.metering", description="Readings a second, and a month of them.")
    parser.add_argument("--quick", action="store_true", help="60 meters and a day; writes nothing without --out")
    parser.add_argument("--meters", type=int, default=10_000)
    parser.add_argument("--homes", type=int, default=80)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--out", type=Path, help="folder of the result; bench/results if not given")
    parser.add_argument("--push", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.push:
        push(asked.push[0], Path(asked.push[1]), int(asked.push[2]))
        return
    meters, homes, days = QUICK if asked.quick else (asked.meters, asked.homes, asked.days)

    logs.configure(level="warning")

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="busbar-bench-") as first, tempfile.TemporaryDirectory() as second:
        try:
            months = month(homes, days, Path(first), say)
            found = quarter_hour(meters, Path(second), say)
        except errors.BusbarError as problem:
            sys.exit(f"bench.metering: {problem}")
    print(table(found, months))
    if asked.out or not asked.quick:
        write(found, months, asked.out or RESULTS)


if __name__ == "__main__":
    main()
