"""The gateway: brings readings to the chain.

Readings come from simulated meters, or through the doors that `busbar.intake` stands behind. Each is in the outbox,
signed, before anything is sent, and from then on its source may forget it. What is on chain decides what is still to
be sent: a reading counts only if it is newer than the meter's register there. So a reading is never sent because it
was not sent before, but because the chain does not show it: stopped anywhere and started again, or after a
reorganisation, the gateway goes on where the chain is. What the contract passed over is remembered, lest the gateway
pays for the same refusal again.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from busbar import errors, metrics
from busbar.chain import (
    ROLL_GAS,
    TRANSACTION_GAS_CAP,
    Call,
    Chain,
    Head,
    NodeRefusedError,
    Outcome,
    Register,
    Signer,
)
from busbar.outbox import OPEN, Item, Outbox, State
from busbar.readings import MeterKey, Reading, SignedReading, meter_id_text

BATCH = 200
"""Most readings to a transaction; a share of a block is fewer where blocks hold 30 million gas."""

TOGETHER = 9
"""Transactions that fill a block together. A node leaves room for a transaction's limit, which is more than it takes:
of many small ones little room is left over, and each costs `BATCH_GAS`."""

LOOKED_BACK = 100_000
"""Newest readings that a reorganisation may make due again: ten quarter-hours of 10,000 meters."""

READING_GAS = 60_000
"""What a reading is taken to need until a receipt shows better: an account's words used for the first time."""

LEAST_READING_GAS = 25_000
"""What it is taken to need at least: import alone takes less, but the sun will rise."""

P256_GAS = 5_600
"""What one signed on P-256 needs besides, by bench/results/gas.md."""

BATCH_GAS = 86_000
"""What a batch needs besides, by bench/results/gas.md."""

MOST_READING_GAS = 160_000
"""How far the gateway goes when a batch runs out of gas: many readings whose growth is parked."""

SKIP_REASONS = (
    "none",
    "unknown meter",
    "revoked meter",
    "ends in the future",
    "not newer than the newest",
    "a register went back",
    "not signed by the meter",
    "more than a register can show",
    "of a replaced device, too late",
    "of a replaced device, above its final registers",
)
"""Why the contract passes a reading over, by number (IMetering.SkipReason)."""

IN_FUTURE, NOT_NEWER = 3, 4
"""Reasons that are no refusal: the reading's time has not come, or the chain has a newer one."""

KEEP_S = 7 * 86_400
"""How long the outbox keeps what is done: longer than any reorganisation, and as long as a replay could be taken on."""

log = structlog.get_logger(__name__)


class ReadingSource(Protocol):
    """Where readings come from."""

    @property
    def meter_ids(self) -> Sequence[str]:
        """The meters it reads."""

    def after(self, meter_id: str, interval_end: int, now: int) -> Sequence[Reading]:
        """Readings of a meter whose interval ends after `interval_end` and not after `now`, oldest first."""


class SigningSource(ReadingSource, Protocol):
    """A source that holds the keys of its meters."""

    @property
    def keys(self) -> Mapping[str, MeterKey]:
        """Each meter's private key, which in the field never leaves the meter."""


@dataclass(frozen=True, slots=True)
class SimulatedMeters:
    """Meters of a replayed community: their readings, and the keys that sign them.

    Attributes:
        readings: By meter, oldest first.
        keys: Each meter's private key.
    """

    readings: Mapping[str, Sequence[Reading]]
    keys: Mapping[str, MeterKey]

    @property
    def meter_ids(self) -> Sequence[str]:
        """The meters, in order of their ids."""
        return sorted(self.readings)

    def after(self, meter_id: str, interval_end: int, now: int) -> Sequence[Reading]:
        """Readings whose interval ends after `interval_end` and not after `now`, oldest first."""
        return [r for r in self.readings[meter_id] if interval_end < r.interval_end <= now]


NO_METERS = SimulatedMeters({}, {})
"""For a gateway whose readings come through its doors alone."""


def outstanding(source: ReadingSource, registers: Sequence[Register], now: int) -> list[Reading]:
    """Readings the chain does not have yet, oldest first, so that a batch may hold several of one meter.

    A meter without a register is not assigned yet: its readings wait.
    """
    found = [
        r
        for register in registers
        if register.interval_end
        for r in source.after(register.meter_id, register.interval_end, now)
    ]
    return sorted(found, key=_place)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reading that was accepted and is not known to be done.

    Attributes:
        signed: The reading.
        state: Whether it was ever sent.
        note: What its receipt told, see `Gateway._note`.
    """

    signed: SignedReading
    state: State
    note: str

    @property
    def key(self) -> str:
        """The reading's."""
        return self.signed.reading.key


class Gateway:
    """Submits readings.

    Args:
        chain: The market.
        signer: A minter (the AMI service).
        source: Simulated meters; their signatures are made here, as if in the meter.
        outbox: Where readings are kept until the chain has them; in memory if not given.
    """

    def __init__(
        self, chain: Chain, signer: Signer, source: SigningSource = NO_METERS, outbox: Outbox | None = None
    ) -> None:
        self.chain = chain
        self.signer = signer
        self.source = source
        self.outbox = outbox or Outbox(None)
        self._parsed: dict[str, SignedReading] = {}
        self._reading_gas = READING_GAS
        self._reorganisations = -1
        self._forgot_in = -1

    def step(self) -> list[Outcome]:
        """Takes in what the source has, and submits what the chain does not show on the newest block.

        A refused batch is due again at the next step.
        """
        head, groups = self._look()
        outcomes = self._bring(groups[:-1])
        if all(outcome.error is None for outcome in outcomes):
            if outcomes:
                # What does not fill a block may be joined by what came in while others were filled.
                head, groups = self._look()
            outcomes += self._bring(groups)
        self._tidy(head)
        return outcomes

    def _look(self) -> tuple[Head, list[list[list[SignedReading]]]]:
        """The newest block, and what is due there as it is sent; what the source has is taken in before."""
        head = self.chain.head()
        self._reopen(head)
        waiting = self._waiting()
        meter_ids = {*self.source.meter_ids, *(entry.signed.reading.meter_id for entry in waiting)}
        registers = {r.meter_id: r for r in self.chain.registers(sorted(meter_ids), head.number)}
        read = [registers[meter_id] for meter_id in self.source.meter_ids]
        if self._take_in(outstanding(self.source, read, head.timestamp)):
            waiting = self._waiting()
        return head, together(self._due(waiting, registers, head.timestamp), self._expected, share(head))

    def _bring(self, groups: Sequence[Sequence[Sequence[SignedReading]]]) -> list[Outcome]:
        """Sends groups one after another, up to one that fails.

        The rest builds on it: better all of them with the next step than out of order now.
        """
        outcomes: list[Outcome] = []
        for batches in groups:
            outcomes += self._submit(batches)
            if any(outcome.error is not None for outcome in outcomes):
                break
        return outcomes

    def _reopen(self, head: Head) -> None:
        """Finds due again what was done on blocks that are gone: after a reorganisation, and when starting."""
        if self._reorganisations == self.chain.reorganisations:
            return
        ends: dict[str, list[int]] = defaultdict(list)
        for key in self.outbox.keys(State.DONE, LOOKED_BACK):
            meter_id, _, end = key.rpartition("@")
            ends[meter_id].append(int(end))
        registers = self.chain.registers(sorted(ends), head.number)
        gone = [f"{r.meter_id}@{end}" for r in registers for end in ends[r.meter_id] if end > r.interval_end]
        self.outbox.mark(gone, State.ACCEPTED)
        self._reorganisations = self.chain.reorganisations

    def _waiting(self) -> list[Waiting]:
        """All that is still to be done; what is known from the last pass is not read again."""
        items = self.outbox.open(-1)
        self._parsed = {i.key: self._parsed.get(i.key) or SignedReading.from_json(i.body) for i in items}
        return [Waiting(self._parsed[item.key], item.state, item.reason) for item in items]

    def _take_in(self, readings: Sequence[Reading]) -> int:
        """Accepts what is new."""
        states = self.outbox.states(reading.key for reading in readings)
        new = [self._sign(reading) for reading in readings if reading.key not in states]
        return self.outbox.accept(Item(s.reading.key, s.to_json().encode()) for s in new) if new else 0

    def _due(self, waiting: Iterable[Waiting], registers: Mapping[str, Register], now: int) -> list[SignedReading]:
        """Accepted readings that the chain does not have, oldest first; the others are noted as done."""
        done: dict[str, str] = {}
        due = []
        for entry in waiting:
            reading, register = entry.signed.reading, registers[entry.signed.reading.meter_id]
            if not register.interval_end:
                continue
            if reading.interval_end <= register.interval_end:
                done[entry.key] = _ended(entry, register)
            elif reading.interval_end <= now:
                due.append(entry.signed)
        self.outbox.mark_each(done, State.DONE, synced=False)
        return sorted(due, key=lambda s: _place(s.reading))

    def _submit(self, batches: Sequence[Sequence[SignedReading]]) -> list[Outcome]:
        if not self.chain.policy.dry_run:
            self.outbox.mark([signed.reading.key for batch in batches for signed in batch], State.SENT)
        outcomes = self.chain.send_many([(self.signer, self._call(batch)) for batch in batches])
        self._learn(batches, outcomes)
        for batch, outcome in zip(batches, outcomes, strict=True):
            if outcome.error is not None:
                metrics.failed(outcome.error)
                log.warning("refused", readings=len(batch), reason=str(outcome.error))
            else:
                self._note(outcome, len(batch))
        return outcomes

    def _call(self, batch: Sequence[SignedReading]) -> Call:
        # An estimate would have the node run every signature several times.
        gas = BATCH_GAS + sum(self._expected(signed) for signed in batch)
        return replace(self.chain.submit_readings_call(batch), gas=min(gas * 5 // 4 + ROLL_GAS, TRANSACTION_GAS_CAP))

    def _expected(self, signed: SignedReading) -> int:
        """Gas that a reading is taken to need."""
        return self._reading_gas + (P256_GAS if signed.public_key else 0)

    def _learn(self, batches: Sequence[Sequence[SignedReading]], outcomes: Sequence[Outcome]) -> None:
        """Corrects what a reading is taken to need, by what the newest ones took."""
        if any(self._may_lack_gas(outcome.error) for outcome in outcomes):
            self._reading_gas = min(self._reading_gas * 2, MOST_READING_GAS)
            return
        taken = [
            (outcome.gas_used - BATCH_GAS - P256_GAS * sum(bool(s.public_key) for s in batch)) // len(batch)
            for batch, outcome in zip(batches, outcomes, strict=True)
            if outcome.ok
        ]
        if taken:
            self._reading_gas = max(LEAST_READING_GAS, *taken)

    def _may_lack_gas(self, problem: errors.BusbarError | None) -> bool:
        """Whether a batch may have run out of gas: no contract's error, and nodes tell it each in their words.

        With almost none left, a contract cannot ask the authority any more and takes that for a no: to itself, and
        not to the minter.
        """
        if isinstance(problem, errors.AccessManagedUnauthorized):
            return str(problem.values["caller"]).lower() != self.signer.address.lower()
        return type(problem) in (NodeRefusedError, errors.UnknownRevert)

    def _note(self, outcome: Outcome, count: int) -> None:
        """Notes what a receipt tells of each reading: where it counted, what was parked, why it was passed over."""
        notes: dict[str, dict[str, Any]] = {}
        refused: dict[str, str] = {}
        newest = ""
        events = self.chain.decode_logs(outcome.logs)
        for event in events:
            if event.name in ("ReadingAccepted", "ReadingSkipped"):
                newest = f"{meter_id_text(event.args['meterId'])}@{event.args['intervalEnd']}"
            if event.name == "ReadingAccepted":
                notes[newest] = {"transaction": event.tx_hash, "block": event.block}
            elif event.name == "GrowthParked":
                # Told right after the reading it grew by.
                parked = {"import_wh": event.args["importWh"], "export_wh": event.args["exportWh"]}
                notes[newest]["parked"] = {"id": event.args["id"], **parked}
            elif event.name == "ReadingSkipped":
                reason = SKIP_REASONS[event.args["reason"]]
                log.warning("passed over", reading=newest, reason=reason)
                metrics.OUTCOMES.labels("skipped", reason).inc()
                if event.args["reason"] == NOT_NEWER:
                    notes[newest] = {"overtaken": True}
                elif event.args["reason"] != IN_FUTURE:
                    refused[newest] = reason
        counted = [note for note in notes.values() if "transaction" in note]
        parked_count = sum("parked" in note for note in counted)
        metrics.OUTCOMES.labels("parked", "").inc(parked_count)
        metrics.OUTCOMES.labels("counted", "").inc(len(counted) - parked_count)
        # Where a reading counted is a courtesy to who asks; that it did, the chain tells again.
        self.outbox.mark_each({key: json.dumps(note) for key, note in notes.items()}, State.SENT, synced=False)
        self.outbox.mark_each(refused, State.REFUSED)
        log.info("submitted", readings=count, skipped=count - len(counted), gas=outcome.gas_used)

    def _tidy(self, head: Head) -> None:
        epoch = self.chain.calendar.epoch_at(head.timestamp)
        if epoch != self._forgot_in:
            self._forgot_in = epoch
            self.outbox.forget(int(time.time()) - KEEP_S)
        # Not those that are done: counting them would go over a week of readings.
        for state in (*OPEN, State.REFUSED):
            metrics.QUEUE.labels(state.value).set(self.outbox.count(state))

    def _sign(self, reading: Reading) -> SignedReading:
        return self.source.keys[reading.meter_id].sign(reading, self.chain.meter_domain)


def share(head: Head) -> int:
    """Gas of a batch, so that `TOGETHER` of them fill a block: all take what they need, the last has room for more."""
    most = min((head.gas_limit - ROLL_GAS) * 4 // (4 * TOGETHER + 1), (TRANSACTION_GAS_CAP - ROLL_GAS) * 4 // 5)
    return max(most, 0)


def together(
    due: Sequence[SignedReading], expected: Callable[[SignedReading], int], most_gas: int
) -> list[list[list[SignedReading]]]:
    """Cuts readings into batches, and these into groups that are sent together and fill a block.

    No two batches of a group hold readings of one meter, so that one which fails leaves the order of the others right.

    Args:
        due: In the order in which they are brought.
        expected: Gas that a reading is taken to need.
        most_gas: Gas of a batch; it holds one reading all the same.
    """
    batches: list[list[SignedReading]] = []
    room = 0
    for signed in due:
        needed = expected(signed)
        if not batches or needed > room or len(batches[-1]) == BATCH:
            batches.append([])
            room = most_gas - BATCH_GAS
        batches[-1].append(signed)
        room -= needed
    groups: list[list[list[SignedReading]]] = []
    meters: set[str] = set()
    for batch in batches:
        of_batch = {signed.reading.meter_id for signed in batch}
        if not groups or len(groups[-1]) == TOGETHER or meters & of_batch:
            groups.append([])
            meters = set()
        groups[-1].append(batch)
        meters |= of_batch
    return groups


def _ended(entry: Waiting, register: Register) -> str:
    """What is noted of a reading that the chain's register has reached: what its receipt told, as far as it is known.

    A reading that was sent counted, unless another gateway was first; one that never was, was overtaken.
    """
    reading = entry.signed.reading
    if (reading.interval_end, reading.import_wh, reading.export_wh) == (
        register.interval_end,
        register.import_wh,
        register.export_wh,
    ):
        return "" if "overtaken" in entry.note else entry.note
    return entry.note if entry.state is State.SENT else json.dumps({"overtaken": True})


def _place(reading: Reading) -> tuple[int, str]:
    return reading.interval_end, reading.meter_id
