"""How many signed orders a second a relay brings from its hands into the market, settled. `make bench-throughput`.

Usage: .venv/bin/python -m bench.throughput [--quick] [--orders N] [--out FOLDER]

Participants sign orders, one or several to a message, once or several times in an epoch; the shipped intake and relay
verify, keep and enter them, on an outbox in a file and an anvil that makes a block every two seconds, under the rules
of busbar.devnet. Participants, funds and signatures are made before, and an epoch of as many orders, so that the words
of accounts and book are in use as in a market that lives. The rate counts from the first bundle handed in to the
receipt of the last one. Afterwards the epoch is cleared by a keeper, everybody is settled, and every balance is held
against the reference auction.

Wall time is what a person waits and depends on who else uses the machine; CPU time is what the work takes, so it
says where the time goes on any machine: of this process by stage, and of anvil as a whole.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.market import MAINNET_GAS, START, ZONE, BenchMarket, Draw
from busbar import errors
from busbar.chain import Call, Chain, KeySigner, Outcome
from busbar.clearing import clear_orders, fill
from busbar.devnet import BLOCK_GAS_LIMIT, Devnet, at_pace, dev_signer
from busbar.keeper import Keeper
from busbar.orders import Order, Side
from busbar.outbox import Outbox, State
from busbar.relay import Intake, Relay
from busbar.signing import Bundle, SignedBundle
from busbar.units import ENERGY_UNITS_PER_WH, Asset

RESULTS = Path(__file__).resolve().parent / "results"
COMMAND = "make bench-throughput"
TARGET = 1_000
"""Orders a second on two quiet cores."""
BLOCK_S = 2
HANDED = 500
"""Bundles handed in together."""
SETTLE_BATCH = 50
PATIENCE_S = 900

STAGES = {
    "verify": "verify signatures and read accounts at the door",
    "keep": "write to the outbox",
    "read": "read what waits, and its accounts",
    "encode": "sort, pack, encode and sign transactions",
    "send": "simulate and send: requests to the node and its answers",
    "mine": "wait for blocks",
    "note": "read receipts and note what became of each",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a run is like.

    Attributes:
        participants: Who sign; each has as many orders as the others.
        per_message: Orders to a message.
        block_gas: Gas of a block.
    """

    participants: int
    per_message: int
    block_gas: int = BLOCK_GAS_LIMIT


SHAPES = (
    Shape(10_000, 1, MAINNET_GAS),
    Shape(10_000, 1),
    Shape(2_000, 1),
    Shape(2_000, 2),
    Shape(2_000, 5),
)
"""For 10,000 orders: everybody one, and everybody five in as many messages, three, or one."""
QUICK = 300, (Shape(300, 1, MAINNET_GAS), Shape(60, 1), Shape(60, 5))
"""Orders and shapes for a test and a first look."""


class BenchError(errors.BusbarError):
    """The market does not stand where it must after the run."""


@dataclass(slots=True)
class Stage:
    """Seconds spent in a stage, of all threads."""

    wall_s: float = 0.0
    cpu_s: float = 0.0


@dataclass(slots=True)
class Profile:
    """Where the time goes. A stage inside another one is counted once, as its own."""

    stages: dict[str, Stage] = field(default_factory=lambda: {name: Stage() for name in STAGES})
    _open: threading.local = field(default_factory=threading.local)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts what happens inside."""
        outer: list[Stage] = self._open.__dict__.setdefault("inner", [])
        inner, wall, cpu = Stage(), time.monotonic(), time.thread_time()
        outer.append(inner)
        try:
            yield
        finally:
            outer.pop()
            wall, cpu = time.monotonic() - wall, time.thread_time() - cpu
            self.stages[name].wall_s += wall - inner.wall_s
            self.stages[name].cpu_s += cpu - inner.cpu_s
            if outer:
                outer[-1].wall_s += wall
                outer[-1].cpu_s += cpu

    def watch(self, owner: Any, method: str, name: str) -> None:
        """Counts a method of an object as a stage."""
        original: Callable[..., Any] = getattr(owner, method)

        def counted(*args: Any, **more: Any) -> Any:
            with self.stage(name):
                return original(*args, **more)

        setattr(owner, method, counted)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run measured."""

    per_message: int
    orders: int
    messages: int
    participants: int
    block_gas: int
    cores: int
    load_before: float
    seconds: float
    intake_seconds: float
    blocks: int
    transactions: int
    gas: int
    clearing_block: int
    settle_seconds: float
    traded_wh: int
    price2: int
    anvil_cpu_s: float
    python_cpu_s: float
    stages: dict[str, Stage]

    @property
    def rate(self) -> float:
        """Orders a second, from the first handed in to the last included."""
        return self.orders / self.seconds

    @property
    def most(self) -> float:
        """Orders a second that full blocks would hold."""
        return self.block_gas / BLOCK_S / (self.gas / self.orders)

    @property
    def cpu_us(self) -> float:
        """CPU time of relay and chain for an order, in microseconds."""
        return (self.anvil_cpu_s + self.python_cpu_s) * 1e6 / self.orders


def measure(orders: int, shapes: Sequence[Shape], folder: Path, say: Callable[[str], None]) -> list[Figures]:
    """Runs the bench.

    Args:
        orders: Signed orders, dealt evenly; half of the participants sell.
        shapes: A run for each.
        folder: For outboxes and the record.
        say: Told what happens.

    Raises:
        BenchError: A bundle did not enter, or a balance is not what the reference says.
    """
    with Devnet(timestamp=START) as devnet:
        everybody = max(shape.participants for shape in shapes)
        say(f"{everybody:,} participants: registering and funding")
        market = BenchMarket(devnet, folder)
        crowd = market.participants("throughput", everybody)
        market.fund(crowd[::2], Asset.ENERGY)
        market.fund(crowd[1::2], Asset.MONEY)
        # Blocks made on demand are a second apart, and so are all until here.
        devnet.node.request("anvil_setBlockTimestampInterval", BLOCK_S)
        hands = Hands(devnet, market.chain.addresses, folder / "relay.sqlite")
        # Before the clock counts, everybody has had an order, and those who have more to give had as many.
        warm = sorted({Shape(shape.participants, 1, MAINNET_GAS) for shape in shapes}, key=lambda s: -s.participants)
        found = []
        for number, shape in enumerate((*warm, *shapes)):
            market.next_epoch()
            say(f"{orders:,} orders of {shape.participants:,}, {shape.per_message} to a message")
            lap = Lap(market, crowd[: shape.participants], orders, shape, number)
            devnet.node.request("evm_setBlockGasLimit", hex(shape.block_gas))
            with at_pace(devnet.node, BLOCK_S):
                found.append(lap.run(hands))
        return found[len(warm) :]


def _book(crowd: Sequence[KeySigner], orders: int, size: int, epoch: int, lap: int) -> list[tuple[KeySigner, Bundle]]:
    """Each participant's orders, `size` to a message, in an order in which participants take turns."""
    draw = Draw(f"throughput {lap}")
    book = []
    for number in range(-(-orders // size)):
        turn, place = divmod(number, len(crowd))
        side = Side.BID if place % 2 else Side.ASK
        drawn = tuple(draw.order(side) for _ in range(min(size, orders - number * size)))
        book.append((crowd[place], Bundle(crowd[place].address, ZONE, lap * orders + turn, epoch, epoch, drawn)))
    return book


class Lap:
    """One epoch: its bundles entered, cleared, settled and compared."""

    def __init__(self, market: BenchMarket, crowd: Sequence[KeySigner], orders: int, shape: Shape, number: int) -> None:
        book = _book(crowd, orders, shape.per_message, market.epoch, number)
        self.market = market
        self.shape = shape
        self.addresses = [who.address for who in crowd]
        self.bundles = [bundle for _, bundle in book]
        domain = market.chain.trading_domain
        self.signed = [SignedBundle.by(bundle, domain, bytes(who.account.key)) for who, bundle in book]

    def run(self, hands: "Hands") -> Figures:
        """Enters, clears, settles and compares."""
        before = _balances(self.market.chain, self.addresses)
        entered = hands.enter(self.signed)
        settled = _settle(self.market.devnet, self.market, self.addresses)
        orders = [(bundle.account, order) for bundle in self.bundles for order in bundle.orders]
        traded_wh, price2 = _compare(self.market.chain, self.addresses, before, orders)
        return Figures(
            per_message=self.shape.per_message,
            block_gas=self.shape.block_gas,
            orders=len(orders),
            messages=len(self.bundles),
            participants=len(self.addresses),
            cores=os.cpu_count() or 1,
            traded_wh=traded_wh,
            price2=price2,
            **entered,
            **settled,
        )


class Hands:
    """An intake and a relay as in `busbar relay`, on one outbox, and the profile of both."""

    def __init__(self, devnet: Devnet, addresses: dict[str, str], file: Path) -> None:
        self.devnet = devnet
        self.profile = profile = Profile()
        self.door = Intake(Chain(devnet.url, addresses), Outbox(file), rate="1000000/minute", most_waiting=10**6)
        self.relay = Relay(Chain(devnet.url, addresses, timeout_s=PATIENCE_S), dev_signer(8), Outbox(file))
        profile.watch(self.door, "take", "verify")
        profile.watch(self.door.outbox, "accept", "keep")
        profile.watch(self.relay, "step", "encode")
        profile.watch(self.relay, "_waiting", "read")
        profile.watch(self.relay, "_alive", "read")
        profile.watch(self.relay.outbox, "mark_each", "keep")
        profile.watch(self.relay.chain, "_receipts", "mine")
        profile.watch(self.relay.chain.node, "batch", "send")
        profile.watch(self.relay.chain, "_outcome", "note")
        profile.watch(self.relay, "_note", "note")
        # Both clients know the market before the clock starts, as those of a running relay do.
        for chain in (self.door.chain, self.relay.chain):
            _ = (chain.calendar, chain.trading_domain, chain.decode_logs([]))

    def enter(self, signed: Sequence[SignedBundle]) -> dict[str, Any]:
        """Hands everything to the intake on one thread and lets the relay enter it on this one."""
        self.profile.stages = {name: Stage() for name in STAGES}
        load = os.getloadavg()[0]
        anvil, python = cpu_s(self.devnet.pid), time.process_time()
        began = time.monotonic()
        with ThreadPoolExecutor(1, "intake") as thread:
            handing = thread.submit(_hand_in, self.door, signed)
            outcomes, last = _work(self.relay, handing, len(signed))
            taken = handing.result()
        blocks = {outcome.block for outcome in outcomes}
        return {
            "load_before": load,
            "seconds": last - began,
            "intake_seconds": taken - began,
            "blocks": max(blocks) - min(blocks) + 1,
            "transactions": len(outcomes),
            "gas": sum(outcome.gas_used for outcome in outcomes),
            "anvil_cpu_s": cpu_s(self.devnet.pid) - anvil,
            "python_cpu_s": time.process_time() - python,
            "stages": self.profile.stages,
        }


def _hand_in(door: Intake, signed: Sequence[SignedBundle]) -> float:
    """Hands everything in, and tells when that was done."""
    for start in range(0, len(signed), HANDED):
        for answer in door.take(signed[start : start + HANDED]):
            if isinstance(answer, errors.BusbarError):
                raise answer
    return time.monotonic()


def _work(relay: Relay, handing: Future[float], count: int) -> tuple[list[Outcome], float]:
    """Lets the relay work until so many have entered; gives what it sent, and when the last receipt was there."""
    outcomes: list[Outcome] = []
    last = time.monotonic()
    deadline = last + PATIENCE_S
    count += relay.outbox.counts()[State.DONE]
    while (counts := relay.outbox.counts())[State.DONE] < count:
        done = relay.step()
        outcomes += [outcome for outcome in done if outcome.ok]
        last = time.monotonic() if done else last
        if not done:
            time.sleep(0.02)
        if handing.done():
            handing.result()
        if counts[State.REFUSED] or counts[State.EXPIRED] or time.monotonic() > deadline:
            raise BenchError(f"not everything entered: {counts}")
    return outcomes, last


def _settle(devnet: Devnet, market: BenchMarket, addresses: Sequence[str]) -> dict[str, Any]:
    """Ends the epoch, lets a keeper clear it and settles everybody; tells in which of its blocks it was cleared."""
    chain = Chain(devnet.url, market.chain.addresses, timeout_s=PATIENCE_S)
    keeper = Keeper(chain, market.keeper, (ZONE,))
    head = chain.head()
    end = chain.calendar.end(chain.calendar.epoch_at(head.timestamp))
    devnet.node.request("evm_setNextBlockTimestamp", hex(end))
    while chain.head().timestamp < end:
        time.sleep(0.05)
    first = next(n for n in range(head.number + 1, chain.head().number + 1) if _time(chain, n) >= end)
    cleared = next(outcome for outcome in keeper.step() if outcome.ok and outcome.call.function == "matchOrders")
    began = time.monotonic()
    pages = [list(addresses[start : start + SETTLE_BATCH]) for start in range(0, len(addresses), SETTLE_BATCH)]
    for outcome in chain.send_many([(market.outsider, Call("Trading", "settle", (page,))) for page in pages]):
        if outcome.error is not None:
            raise outcome.error
    return {"clearing_block": cleared.block - first + 1, "settle_seconds": time.monotonic() - began}


def _time(chain: Chain, block: int) -> int:
    return int(chain.node.request("eth_getBlockByNumber", hex(block), False)["timestamp"], 16)


def _balances(chain: Chain, addresses: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Free energy and money by account."""
    accounts = chain.accounts(addresses)
    if any(account.energy_escrow_uwh or account.money_escrow_units for account in accounts):
        raise BenchError("an account has something in orders that should be settled")
    return {account.address: (account.energy_free_uwh, account.money_free_units) for account in accounts}


def _compare(
    chain: Chain,
    addresses: Sequence[str],
    before: dict[str, tuple[int, int]],
    orders: Sequence[tuple[str, Order]],
) -> tuple[int, int]:
    """Holds every balance against the reference auction, to the unit; gives volume and doubled price."""
    result = clear_orders([order for _, order in orders])
    expected = {address: list(balances) for address, balances in before.items()}
    for address, order in orders:
        done = fill(result, order)
        sign = 1 if order.side is Side.BID else -1
        expected[address][0] += sign * done.energy_units
        expected[address][1] -= sign * done.money_units
    after = _balances(chain, addresses)
    wrong = [address for address in addresses if after[address] != tuple(expected[address])]
    if wrong or not result.traded:
        raise BenchError(f"{len(wrong)} of {len(addresses)} balances differ from the reference: {wrong[:3]}")
    moved = sum(after[address][0] - before[address][0] for address in addresses[1::2])
    if moved > result.volume_wh * ENERGY_UNITS_PER_WH:
        raise BenchError("buyers hold more than was traded")
    return result.volume_wh, result.price2


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, as Linux counts them."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ------------------------------------------------------------------------------ the result


def table(found: Sequence[Figures]) -> str:
    """The result as Markdown."""
    first = found[0]
    titles = [f"{f.orders // f.participants} each, {f.per_message} to a message" for f in found]
    rows: list[tuple[str, Callable[[Figures], str]]] = [
        ("participants", lambda f: f"{f.participants:,}"),
        ("messages", lambda f: f"{f.messages:,}"),
        ("gas of a block, million", lambda f: f"{f.block_gas / 1e6:,.0f}"),
        ("**orders a second**, first handed in to last included", lambda f: f"**{f.rate:,.0f}**"),
        (f"target on two quiet cores: {TARGET:,}", lambda f: "reached" if f.rate >= TARGET else "missed"),
        ("seconds of that", lambda f: f"{f.seconds:.1f}"),
        ("all verified and on the disk after, seconds", lambda f: f"{f.intake_seconds:.1f}"),
        ("blocks from the first to the last", lambda f: str(f.blocks)),
        ("transactions", lambda f: str(f.transactions)),
        ("gas for an order", lambda f: f"{f.gas // f.orders:,}"),
        ("orders a second that blocks have gas for", lambda f: f"{f.most:,.0f}"),
        ("CPU for an order, relay and chain, us", lambda f: f"{f.cpu_us:,.0f}"),
        ("orders a second by CPU, on all cores", lambda f: f"{f.cores * 1e6 / f.cpu_us:,.0f}"),
        ("load average when the clock started", lambda f: f"{f.load_before:.1f}"),
        ("cleared in block of the next epoch", lambda f: str(f.clearing_block)),
        ("everybody settled, seconds", lambda f: f"{f.settle_seconds:.1f}"),
        ("energy traded, Wh", lambda f: f"{f.traded_wh:,}"),
        ("balances that differ from the reference", lambda _: "0"),
    ]
    stages: list[tuple[str, Callable[[Figures], str]]] = [
        (title, lambda f, name=name: _shown(f, f.stages[name].cpu_s, f.stages[name].wall_s))  # type: ignore[misc]
        for name, title in STAGES.items()
    ]
    stages.append(("anvil: simulate, include, answer", lambda f: _shown(f, f.anvil_cpu_s, None)))
    head = [f"| {{}} | {' | '.join(titles)} |", "|---|" + "---:|" * len(found)]
    lines = [
        f"Written by `{COMMAND}`. {first.orders:,} signed orders in a run, a block every {BLOCK_S} s,",
        f"{first.cores} cores.",
        "",
        head[0].format("figure"),
        head[1],
        *(f"| {title} | {' | '.join(told(f) for f in found)} |" for title, told in rows),
        "",
        "Where the time goes: CPU microseconds for an order / wall seconds of the run. The relay's two threads and the",
        "chain run side by side, so wall times overlap and hold the wait for a core.",
        "",
        head[0].format("stage"),
        head[1],
        *(f"| {title} | {' | '.join(told(f) for f in found)} |" for title, told in stages),
    ]
    return "\n".join(lines) + "\n"


def _shown(figures: Figures, cpu: float, wall_s: float | None) -> str:
    told = f"{cpu * 1e6 / figures.orders:,.0f}"
    return told if wall_s is None else f"{told} / {wall_s:.1f}"


def write(found: Sequence[Figures], folder: Path) -> None:
    """Writes throughput.json and throughput.md."""
    folder.mkdir(parents=True, exist_ok=True)
    runs = [{"orders_a_second": round(f.rate), **asdict(f)} for f in found]
    text = json.dumps({"command": COMMAND, "runs": runs}, indent=1)
    (folder / "throughput.json").write_text(text + "\n", encoding="utf-8")
    (folder / "throughput.md").write_text("# Throughput\n\n" + table(found), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="bench.throughput", description="Signed orders a second, entered and settled."
    )
    parser.add_argument("--quick", action="store_true", help="300 orders; writes nothing unless --out is given")
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--out", type=Path, help="folder of the result; bench/results if not given")
    asked = parser.parse_args()
    orders, shapes = QUICK if asked.quick else (asked.orders, SHAPES)
    with tempfile.TemporaryDirectory(prefix="busbar-bench-") as folder:
        try:
            figures = measure(orders, shapes, Path(folder), lambda text: print(text, file=sys.stderr))
        except errors.BusbarError as problem:
            sys.exit(f"bench.throughput: {problem}")
    print(table(figures))
    if asked.out or not asked.quick:
        write(figures, asked.out or RESULTS)


if __name__ == "__main__":
    main()
