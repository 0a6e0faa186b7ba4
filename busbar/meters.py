"""The gateway: takes readings in and submits them.

A reading is taken into the outbox, signed, before anything is sent, and from then on its source may forget it. What
is on chain decides what is still to be sent: a reading counts only if it is newer than the meter's register there.
So a reading is never sent because it was not sent before, but because the chain does not show it: stopped anywhere
and started again, or after a reorganisation, the gateway goes on where the chain is. What the contract passed over is
remembered, lest the gateway pays for the same refusal again.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from busbar import metrics
from busbar.chain import Chain, Outcome, Register, Signer
from busbar.outbox import Item, Outbox, State
from busbar.readings import Reading, SignedReading, meter_id_text, sign

BATCH = 100
"""Readings to a transaction: about 3 million gas, far below the cap."""

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
"""How long the outbox keeps what is done: longer than any reorganisation."""

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
    def keys(self) -> Mapping[str, bytes]:
        """Each meter's private key, which in the field never leaves the meter."""


@dataclass(frozen=True, slots=True)
class SimulatedMeters:
    """Meters of a replayed community: their readings, and the keys that sign them.

    Attributes:
        readings: By meter, oldest first.
        keys: Each meter's private key, which in the field never leaves the meter.
    """

    readings: Mapping[str, Sequence[Reading]]
    keys: Mapping[str, bytes]

    @property
    def meter_ids(self) -> Sequence[str]:
        """The meters, in order of their ids."""
        return sorted(self.readings)

    def after(self, meter_id: str, interval_end: int, now: int) -> Sequence[Reading]:
        """Readings whose interval ends after `interval_end` and not after `now`, oldest first."""
        return [r for r in self.readings[meter_id] if interval_end < r.interval_end <= now]


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
    return sorted(found, key=lambda r: (r.interval_end, r.meter_id))


class Gateway:
    """Submits a source's readings.

    Args:
        chain: The market.
        signer: A minter (the AMI service).
        source: Simulated meters; their signatures are made here, as if in the meter.
        outbox: Where readings are kept until the chain has them; in memory if not given.
    """

    def __init__(self, chain: Chain, signer: Signer, source: SigningSource, outbox: Outbox | None = None) -> None:
        self.chain = chain
        self.signer = signer
        self.source = source
        self.outbox = outbox or Outbox(None)

    def step(self) -> list[Outcome]:
        """Takes in what the source has, and submits what the chain does not show on the newest block.

        A refused batch is due again at the next step.
        """
        head = self.chain.head()
        meter_ids = {*self.source.meter_ids, *(signed.reading.meter_id for signed in self._accepted())}
        registers = self.chain.registers(sorted(meter_ids), head.number)
        read = [register for register in registers if register.meter_id in self.source.meter_ids]
        self._take_in(outstanding(self.source, read, head.timestamp))
        due = self._due({r.meter_id: r.interval_end for r in registers}, head.timestamp)
        outcomes = []
        for start in range(0, len(due), BATCH):
            batch = due[start : start + BATCH]
            self.outbox.mark([_key(signed.reading) for signed in batch], State.SENT)
            outcome = self.chain.send_many([(self.signer, self.chain.submit_readings_call(batch))])[0]
            outcomes.append(outcome)
            if outcome.error is not None:
                # The rest builds on these: better all of them with the next step than out of order now.
                metrics.failed(outcome.error)
                log.warning("refused", readings=len(batch), reason=str(outcome.error))
                break
            self._note_passed_over(outcome, len(batch))
        for state, count in self.outbox.counts().items():
            metrics.QUEUE.labels(state.value).set(count)
        return outcomes

    def _accepted(self) -> list[SignedReading]:
        return [SignedReading.from_json(item.body) for item in self.outbox.open()]

    def _take_in(self, readings: Sequence[Reading]) -> None:
        """Accepts what is new. What was done and is not on the chain any more is due again."""
        states = self.outbox.states(_key(reading) for reading in readings)
        self.outbox.mark([key for key, state in states.items() if state is State.DONE], State.ACCEPTED)
        new = [self._sign(reading) for reading in readings if _key(reading) not in states]
        if new:
            self.outbox.accept(Item(_key(s.reading), s.to_json().encode()) for s in new)
            self.outbox.forget(int(time.time()) - KEEP_S)

    def _due(self, read_until: Mapping[str, int], now: int) -> list[SignedReading]:
        """Accepted readings that the chain does not have, oldest first."""
        accepted = self._accepted()
        known = [s for s in accepted if read_until.get(s.reading.meter_id)]
        on_chain = [s for s in known if s.reading.interval_end <= read_until[s.reading.meter_id]]
        self.outbox.mark([_key(signed.reading) for signed in on_chain], State.DONE)
        due = [s for s in known if read_until[s.reading.meter_id] < s.reading.interval_end <= now]
        return sorted(due, key=lambda s: (s.reading.interval_end, s.reading.meter_id))

    def _note_passed_over(self, outcome: Outcome, count: int) -> None:
        skipped = [e for e in self.chain.decode_logs(outcome.logs) if e.name == "ReadingSkipped"]
        log.info("submitted", readings=count, skipped=len(skipped), gas=outcome.gas_used)
        for event in skipped:
            meter_id, interval_end = meter_id_text(event.args["meterId"]), event.args["intervalEnd"]
            reason = SKIP_REASONS[event.args["reason"]]
            log.warning("passed over", meter=meter_id, interval_end=interval_end, reason=reason)
            if event.args["reason"] not in (IN_FUTURE, NOT_NEWER):
                self.outbox.mark([f"{meter_id}@{interval_end}"], State.REFUSED, reason)

    def _sign(self, reading: Reading) -> SignedReading:
        return sign(reading, self.chain.meter_domain, self.source.keys[reading.meter_id])


def _key(reading: Reading) -> str:
    """What makes a reading the same when it comes again."""
    return f"{reading.meter_id}@{reading.interval_end}"
