"""Meter readings: what a meter signs, and how anyone checks who signed it.

A reading states a meter's cumulative registers in Wh at the end of an interval. The meter's own key signs it
as EIP-712 typed data, so that a reading for one contract on one chain is worth nothing elsewhere. The
signature is compact (EIP-2098): 32 bytes `r`, and 32 bytes `vs` with the parity in the highest bit.
"""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from eth_keys.datatypes import PrivateKey, Signature
from eth_keys.exceptions import BadSignature
from eth_typing import ChecksumAddress
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from busbar import errors

MAX_METER_ID_LENGTH: Final = 31
"""Most characters of a meter id: with one zero byte at least, text and bytes32 map one to one."""

_DOMAIN_TYPE: Final = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_READING_TYPE: Final = b"Reading(bytes32 meterId,uint64 intervalEnd,uint64 importWh,uint64 exportWh)"
_DOMAIN_TYPEHASH: Final = keccak(_DOMAIN_TYPE)
_READING_TYPEHASH: Final = keccak(_READING_TYPE)
_NAME_HASH: Final = keccak(b"Busbar Metering")
_VERSION_HASH: Final = keccak(b"1")

_UINT64_END: Final = 2**64
_MAX_JSON_LENGTH: Final = 1024  # three times what a signed reading needs
_BYTES32: Final = re.compile("0x[0-9a-fA-F]{64}")
_PARITY_SHIFT: Final = 255
_S_MASK: Final = (1 << _PARITY_SHIFT) - 1
_HALF_ORDER: Final = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


class InvalidReading(errors.BusbarError):
    """A reading cannot be expressed on chain, or its JSON is malformed.

    Attributes:
        field: Name of the field to blame, as in the JSON; empty if it is the whole.
        value: What stood there, or None if nothing did.
    """

    def __init__(self, field: str, value: object, reason: str) -> None:
        self.field = field
        self.value = value
        super().__init__(f"{field or 'reading'}: {reason}")


@dataclass(frozen=True, slots=True)
class MeterDomain:
    """Where a reading counts.

    Attributes:
        chain_id: The chain.
        verifying_contract: Address of the Metering contract.
    """

    chain_id: int
    verifying_contract: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A meter's registers at the end of an interval.

    Attributes:
        meter_id: 1 to 31 printable ASCII characters without spaces.
        interval_end: End of the interval, Unix seconds.
        import_wh: Cumulative import register (OBIS 1.8.0).
        export_wh: Cumulative export register (OBIS 2.8.0).

    Raises:
        InvalidReading: The id is no such text, or a number does not fit 64 bits.
    """

    meter_id: str
    interval_end: int
    import_wh: int
    export_wh: int

    def __post_init__(self) -> None:
        meter_id_bytes(self.meter_id)
        for field, value in (
            ("intervalEnd", self.interval_end),
            ("importWh", self.import_wh),
            ("exportWh", self.export_wh),
        ):
            if not 0 <= value < _UINT64_END:
                raise InvalidReading(field, value, "must be a whole number from 0 to 2**64 - 1")


@dataclass(frozen=True, slots=True)
class SignedReading:
    """A reading with a signature, whoever gave it: compare `signer` with the meter's key.

    Attributes:
        reading: What was signed.
        r: First half of the compact signature, 32 bytes.
        vs: Second half: s, and the parity in the highest bit; 32 bytes.

    Raises:
        errors.ECDSAInvalidSignatureLength: A half is not 32 bytes long.
    """

    reading: Reading
    r: bytes
    vs: bytes

    def __post_init__(self) -> None:
        if len(self.r) != 32 or len(self.vs) != 32:
            raise errors.ECDSAInvalidSignatureLength(len(self.r) + len(self.vs))

    def signer(self, domain: MeterDomain) -> ChecksumAddress:
        """The address whose key signed this reading for this domain, by the contract's rules.

        Raises:
            errors.ECDSAInvalidSignatureS: s is in the upper half, where every signature has a twin.
            errors.ECDSAInvalidSignature: No key can have signed this.
        """
        vs = int.from_bytes(self.vs, "big")
        s = vs & _S_MASK
        if s > _HALF_ORDER:
            raise errors.ECDSAInvalidSignatureS(s.to_bytes(32, "big"))
        try:
            signature = Signature(vrs=(vs >> _PARITY_SHIFT, int.from_bytes(self.r, "big"), s))
            public_key = signature.recover_public_key_from_msg_hash(digest(self.reading, domain))
        except (BadSignature, ValidationError) as e:
            raise errors.ECDSAInvalidSignature from e
        return public_key.to_checksum_address()

    def to_json(self) -> str:
        """The signed reading as one JSON object, fields named as in the contract."""
        reading = self.reading
        return json.dumps(
            {
                "meterId": reading.meter_id,
                "intervalEnd": reading.interval_end,
                "importWh": reading.import_wh,
                "exportWh": reading.export_wh,
                "r": "0x" + self.r.hex(),
                "vs": "0x" + self.vs.hex(),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Reads what `to_json` wrote. Takes nothing that is not exactly so: what comes in may come from anyone.

        Raises:
            InvalidReading: It is no such object; the error names the field.
        """
        # Checked first: nesting deep enough to exhaust the stack needs a long text.
        if len(text) > _MAX_JSON_LENGTH:
            raise InvalidReading("", None, f"is longer than {_MAX_JSON_LENGTH} characters")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise InvalidReading("", None, "is not JSON") from e
        if not isinstance(data, dict):
            raise InvalidReading("", data, "must be a JSON object")
        known = ("meterId", "intervalEnd", "importWh", "exportWh", "r", "vs")
        for field in data:
            if field not in known:
                raise InvalidReading(field, data[field], "is no field of a reading")
        meter_id = data.get("meterId")
        if not isinstance(meter_id, str):
            raise InvalidReading("meterId", meter_id, "must be a text")
        numbers = [_json_number(data, field) for field in known[1:4]]
        return cls(Reading(meter_id, *numbers), _json_bytes32(data, "r"), _json_bytes32(data, "vs"))


def digest(reading: Reading, domain: MeterDomain) -> bytes:
    """The 32 bytes that a meter signs; the contract's `readingDigest`.

    Hashed directly, as a gateway checks thousands of readings; a test compares with eth_account's encoder.
    """
    message = b"".join(
        (
            _READING_TYPEHASH,
            meter_id_bytes(reading.meter_id),
            _word(reading.interval_end),
            _word(reading.import_wh),
            _word(reading.export_wh),
        )
    )
    return keccak(b"\x19\x01" + _domain_separator(domain) + keccak(message))


def sign(reading: Reading, domain: MeterDomain, key: bytes) -> SignedReading:
    """Signs a reading, as the meter does.

    Args:
        reading: What to sign.
        domain: Where it shall count.
        key: The meter's secp256k1 private key, 32 bytes.
    """
    signature = PrivateKey(bytes(key)).sign_msg_hash(digest(reading, domain))
    return SignedReading(reading, _word(signature.r), _word(signature.v << _PARITY_SHIFT | signature.s))


def meter_id_bytes(meter_id: str) -> bytes:
    """A meter's id as the contracts hold it: 32 bytes, zeros to the right.

    Raises:
        InvalidReading: The id is not 1 to 31 printable ASCII characters without spaces.
    """
    plain = meter_id.isascii() and meter_id.isprintable() and " " not in meter_id
    if not plain or not 1 <= len(meter_id) <= MAX_METER_ID_LENGTH:
        raise InvalidReading(
            "meterId", meter_id, f"must be 1 to {MAX_METER_ID_LENGTH} printable ASCII characters without spaces"
        )
    return meter_id.encode("ascii").ljust(32, b"\0")


def meter_id_text(meter_id: bytes) -> str:
    """A meter's id as people write it.

    Raises:
        InvalidReading: The bytes are not what `meter_id_bytes` gives.
    """
    text = bytes(meter_id).rstrip(b"\0").decode("ascii", errors="replace")
    if meter_id_bytes(text) != bytes(meter_id):
        raise InvalidReading("meterId", meter_id, "must be 32 bytes")
    return text


@lru_cache(maxsize=64)
def _domain_separator(domain: MeterDomain) -> bytes:
    contract = to_canonical_address(domain.verifying_contract)
    return keccak(_DOMAIN_TYPEHASH + _NAME_HASH + _VERSION_HASH + _word(domain.chain_id) + contract.rjust(32, b"\0"))


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _json_number(data: dict[str, Any], field: str) -> int:
    value = data.get(field)
    # JSON's true is an int to Python, and 1.0 is none.
    if type(value) is not int:
        raise InvalidReading(field, value, "must be a whole number")
    return value


def _json_bytes32(data: dict[str, Any], field: str) -> bytes:
    value = data.get(field)
    if not isinstance(value, str) or not _BYTES32.fullmatch(value):
        raise InvalidReading(field, value, "must be 0x and 64 hex digits")
    return bytes.fromhex(value[2:])
