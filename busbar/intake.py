"""What the gateway takes on from elsewhere: signed readings, checked as the contract will check them.

A reading that could never count is refused at once, by name. One that is taken on is on the disk when that is
answered; from then on it is the gateway's to bring to the chain (`busbar.meters`).

The same reading again is the same item, whatever has become of it and however often it was signed: of a meter, one
reading counts for one time. Only a signature that holds uses up what a meter may bring, so nobody can use up
another's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from busbar import errors, metrics
from busbar.chain import Chain, Head, Meter, Register
from busbar.outbox import Cursor, Item, KeyConflictError, Outbox
from busbar.rates import Rate
from busbar.readings import KeyType, SignedReading, meter_id_text

KEEP_S = 7 * 86_400
"""Oldest reading that is taken on. The outbox keeps what is done as long: a replay is known, or too old."""

AHEAD_S = 30
"""How far after the newest block a reading may end: blocks may lie that far apart. It waits for its time."""

MAX_REGISTER_WH = 2**48 - 1
"""Largest register that the contract takes."""

ACTIVE, REVOKED = 1, 2
"""Standing of a meter, as the Registry numbers it."""

METERS_CHANGE = [("Registry", name) for name in ("MeterAssigned", "MeterReplaced", "MeterRevoked")]
MOST_BLOCKS = 1_000
"""Blocks that are looked through for changes of meters; after more, meters are read again."""


class UnknownMeterError(errors.BusbarError):
    """No meter has this id."""


class RevokedMeterError(errors.BusbarError):
    """The meter was revoked: nothing it says counts."""


class FutureReadingError(errors.BusbarError):
    """The reading ends after the chain's newest block."""


class OldReadingError(errors.BusbarError):
    """The reading is older than what is taken on; the meter's next one carries its energy."""


class OvertakenError(errors.BusbarError):
    """The chain has a newer reading of the meter, which carries this one's energy."""


class RegisterWentBackError(errors.BusbarError):
    """A register is lower than the chain's: registers only grow."""


class OutOfRangeError(errors.BusbarError):
    """A register is above what a meter can show."""


class ForgedReadingError(errors.BusbarError):
    """The reading was not signed by the meter's present key."""


class MeterRateError(errors.BusbarError):
    """A meter brings more readings than the settings allow: wait."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What a reading is judged by."""

    meter: Meter
    register: Register


class Intake:
    """Takes readings on.

    Args:
        chain: The market; of this thread alone.
        outbox: Where readings are kept; of this thread alone, the file is shared.
        door: What the readings come through, for the metrics.
        rate: Most readings of one meter, such as `60/minute`; None for no bound.
    """

    def __init__(self, chain: Chain, outbox: Outbox, *, door: str = "http", rate: str | None = None) -> None:
        self.chain = chain
        self.outbox = outbox
        self.door = door
        self.rate = None if rate is None else Rate(rate)
        self._meters: dict[str, Meter] = {}
        self._seen: Head | None = None
        self._reorganisations = 0

    def take(self, readings: Sequence[SignedReading], cursor: Cursor | None = None) -> list[str | errors.BusbarError]:
        """The key of each reading that was taken on, or why it was not. When it returns they are on the disk.

        Args:
            readings: What came in.
            cursor: Where their source is to be asked next; moved with the readings, those refused included.

        Raises:
            BusbarError: The node does not answer, or the outbox cannot be written; then none was taken on.
        """
        kept = {
            key: SignedReading.from_json(item.body)
            for key, item in self.outbox.found(signed.reading.key for signed in readings).items()
        }
        new = {s.reading.meter_id for s in readings if s.reading.key not in kept}
        head = self.chain.head()
        judged_by = self._known(sorted(new), head)
        items: list[Item] = []
        answers: list[str | errors.BusbarError] = []
        for signed in readings:
            key = signed.reading.key
            try:
                if key not in kept:
                    self._check(signed, judged_by[signed.reading.meter_id], head)
                    kept[key] = signed
                    items.append(_item(signed))
                    result = "taken on"
                elif kept[key].reading == signed.reading:
                    result = "known"
                else:
                    raise _conflict(key)
                answers.append(key)
            except errors.BusbarError as problem:
                answers.append(problem)
                result = type(problem).__name__
            metrics.READINGS.labels(self.door, result).inc()
        try:
            self.outbox.accept(items, cursor)
        except KeyConflictError:
            # Another door on the same file has taken one of them on since the look: that one stands, and is known now.
            return self.take(readings, cursor)
        return answers

    def _check(self, signed: SignedReading, known: _Known, head: Head) -> None:
        """Refuses what could never count, in the contract's order."""
        reading, register = signed.reading, known.register
        if known.meter.status == REVOKED:
            raise RevokedMeterError(f"meter {reading.meter_id} was revoked")
        if known.meter.status != ACTIVE:
            raise UnknownMeterError(f"no meter has the id {reading.meter_id}")
        if reading.interval_end > head.timestamp + AHEAD_S:
            raise FutureReadingError(f"it ends at {reading.interval_end}, after the newest block ({head.timestamp})")
        if reading.interval_end < head.timestamp - KEEP_S:
            raise OldReadingError(f"it ends at {reading.interval_end}, more than 7 days before {head.timestamp}")
        if reading.interval_end <= register.interval_end:
            raise OvertakenError(f"the chain has a reading of {reading.meter_id} at {register.interval_end}")
        if reading.import_wh < register.import_wh or reading.export_wh < register.export_wh:
            raise RegisterWentBackError(
                f"the chain has {register.import_wh} and {register.export_wh} Wh of {reading.meter_id}"
            )
        if max(reading.import_wh, reading.export_wh) > MAX_REGISTER_WH:
            raise OutOfRangeError(f"a register is above {MAX_REGISTER_WH} Wh")
        if not self._is_by(signed, known.meter):
            raise ForgedReadingError(f"it was not signed by the present key of {reading.meter_id}")
        if self.rate is not None and not self.rate.hit(reading.meter_id):
            raise MeterRateError(f"{reading.meter_id} brings more than {self.rate}")

    def _is_by(self, signed: SignedReading, meter: Meter) -> bool:
        # A key of the one curve cannot sign as one of the other, whatever its address.
        if bool(signed.public_key) != (meter.key_type == KeyType.P256):
            return False
        try:
            return signed.signer(self.chain.meter_domain) == meter.key
        except errors.BusbarError:
            return False

    # ---- what the chain says of meters

    def _known(self, meter_ids: Sequence[str], head: Head) -> dict[str, _Known]:
        if not meter_ids:
            return {}
        self._drop_changed(head)
        missing = [meter_id for meter_id in meter_ids if meter_id not in self._meters]
        read = {meter.meter_id: meter for meter in self.chain.meters(missing, head.number)}
        # Unknown meters are not remembered: there is no end to their ids.
        self._meters |= {meter_id: meter for meter_id, meter in read.items() if meter.status}
        registers = self.chain.registers(meter_ids, head.number)
        return {r.meter_id: _Known(self._meters.get(r.meter_id) or read[r.meter_id], r) for r in registers}

    def _drop_changed(self, head: Head) -> None:
        """Forgets the records of meters that were changed since they were read."""
        seen, self._seen = self._seen, head
        went_back = self._reorganisations != self.chain.reorganisations
        self._reorganisations = self.chain.reorganisations
        if seen is None or went_back or head.number - seen.number > MOST_BLOCKS:
            self._meters.clear()
        elif head.number > seen.number:
            for event in self.chain.events(METERS_CHANGE, seen.number + 1, head.number):
                self._meters.pop(meter_id_text(event.args["meterId"]), None)


def _item(signed: SignedReading) -> Item:
    return Item(signed.reading.key, signed.to_json().encode())


def _conflict(key: str) -> KeyConflictError:
    return KeyConflictError(f"{key} was accepted before with other registers")
