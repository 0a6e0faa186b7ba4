"""The gateway: takes readings in and submits them.

What is on chain decides what is still to be sent: a reading counts only if it is newer than the meter's register
there. So the gateway keeps no state that matters; stopped anywhere and started again, it goes on where the chain is.
It only remembers which readings the contract passed over, lest it pays for the same refusal at every step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from busbar.chain import Chain, Outcome, Register, Signer
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

log = structlog.get_logger(__name__)


class ReadingSource(Protocol):
    """Where readings come from."""

    @property
    def meter_ids(self) -> Sequence[str]:
        """The meters it reads."""

    def after(self, meter_id: str, interval_end: int, now: int) -> Sequence[Reading]:
        """Readings of a meter whose interval ends after `interval_end` and not after `now`, oldest first."""


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
    """

    def __init__(self, chain: Chain, signer: Signer, source: SimulatedMeters) -> None:
        self.chain = chain
        self.signer = signer
        self.source = source
        self._passed_over: set[tuple[str, int]] = set()

    def step(self) -> list[Outcome]:
        """Submits every reading that is due on the newest block. A refused batch is due again at the next step."""
        head = self.chain.head()
        registers = self.chain.registers(self.source.meter_ids, head.number)
        due = [
            r
            for r in outstanding(self.source, registers, head.timestamp)
            if (r.meter_id, r.interval_end) not in self._passed_over
        ]
        outcomes = []
        for start in range(0, len(due), BATCH):
            signed = [self._sign(reading) for reading in due[start : start + BATCH]]
            call = self.chain.submit_readings_call(signed)
            outcome = self.chain.send_many([(self.signer, call)])[0]
            outcomes.append(outcome)
            if outcome.error is not None:
                # The rest builds on these: better all of them with the next step than out of order now.
                log.warning("refused", readings=len(signed), reason=str(outcome.error))
                break
            skipped = [e for e in self.chain.decode_logs(outcome.logs) if e.name == "ReadingSkipped"]
            log.info("submitted", readings=len(signed), skipped=len(skipped), gas=outcome.gas_used)
            for event in skipped:
                meter_id, interval_end = meter_id_text(event.args["meterId"]), event.args["intervalEnd"]
                self._passed_over.add((meter_id, interval_end))
                reason = SKIP_REASONS[event.args["reason"]]
                log.warning("passed over", meter=meter_id, interval_end=interval_end, reason=reason)
        return outcomes

    def _sign(self, reading: Reading) -> SignedReading:
        return sign(reading, self.chain.meter_domain, self.source.keys[reading.meter_id])
