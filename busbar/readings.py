"""Meter readings: what a meter signs, and how anyone checks who signed it.

A reading states a meter's cumulative registers in Wh at the end of an interval. The meter's own key signs it
as EIP-712 typed data, so that a reading for one contract on one chain is worth nothing elsewhere.

A meter's key is of secp256k1 or of P-256 (DLMS/COSEM suite 1). A secp256k1 signature is compact (EIP-2098): 32 bytes
`r`, and 32 bytes `vs` with the parity in the highest bit. A P-256 signature is `r` and `s`, and comes with the public
key, which cannot be told from it. Either way `s` is in the lower half, and the key is named by its address: the last 20
bytes of the Keccak hash of its 64 bytes.
"""

import json
import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey
from eth_typing import ChecksumAddress
from eth_utils.address import to_canonical_address

from busbar import errors
from busbar.recovery import key_address, recover, sign_digest

MAX_METER_ID_LENGTH: Final = 31
"""Most characters of a meter id: with one zero byte at least, text and bytes32 map one to one."""

METER_ID_PATTERN: Final = f"^([!-~]{{1,{MAX_METER_ID_LENGTH}}}|0x[0-9a-f]{{64}})$"
"""What `meter_id_text` gives."""

_DOMAIN_TYPE: Final = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_READING_TYPE: Final = b"Reading(bytes32 meterId,uint64 intervalEnd,uint64 importWh,uint64 exportWh)"
_DOMAIN_TYPEHASH: Final = keccak(_DOMAIN_TYPE)
_READING_TYPEHASH: Final = keccak(_READING_TYPE)
_NAME_HASH: Final = keccak(b"Busbar Metering")
_VERSION_HASH: Final = keccak(b"1")

_UINT64_END: Final = 2**64
_MAX_JSON_LENGTH: Final = 1024  # three times what a signed reading needs
_BYTES32: Final = re.compile("0x[0-9a-fA-F]{64}")
_PLAIN_ID: Final = re.compile(f"[!-~]{{1,{MAX_METER_ID_LENGTH}}}")
_PLAIN: Final = f"must be 1 to {MAX_METER_ID_LENGTH} printable ASCII characters without spaces"
_BYTES64: Final = re.compile("0x[0-9a-fA-F]{128}")
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Order of P-256: with s, `P256_ORDER` - s signs too, so only the lower one is taken."""
# A digest is signed as it is; the name tells the library its length. RFC 6979: no signature ever depends on chance.
_P256_SCHEME: Final = ec.ECDSA(Prehashed(SHA256()), deterministic_signing=True)
_PUBLIC_KEY_SIZE: Final = 64


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
        meter_id: 1 to 31 printable ASCII characters without spaces, or what `meter_id_text` gives.
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

    @property
    def key(self) -> str:
        """What makes a reading the same when it comes again: of a meter, only one reading counts for one time."""
        return f"{self.meter_id}@{self.interval_end}"

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
        r: First half of the signature, 32 bytes.
        vs: Second half: s, and for secp256k1 the parity in the highest bit; 32 bytes.
        public_key: The P-256 key that shall have signed, x and y, 64 bytes; empty for secp256k1.

    Raises:
        errors.ECDSAInvalidSignatureLength: A half is not 32 bytes long.
        InvalidReading: The public key is of another length.
    """

    reading: Reading
    r: bytes
    vs: bytes
    public_key: bytes = b""

    def __post_init__(self) -> None:
        if len(self.r) != 32 or len(self.vs) != 32:
            raise errors.ECDSAInvalidSignatureLength(len(self.r) + len(self.vs))
        if self.public_key and len(self.public_key) != _PUBLIC_KEY_SIZE:
            raise InvalidReading("publicKey", self.public_key, f"must be {_PUBLIC_KEY_SIZE} bytes")

    def signer(self, domain: MeterDomain) -> ChecksumAddress:
        """Address of the key that signed this reading for this domain, by the contract's rules.

        Raises:
            errors.ECDSAInvalidSignatureS: s is in the upper half, where every signature has a twin.
            errors.ECDSAInvalidSignature: No key can have signed this, or the public key did not.
        """
        if self.public_key:
            return self._p256_signer(domain)
        return recover(digest(self.reading, domain), self.r + self.vs)

    def _p256_signer(self, domain: MeterDomain) -> ChecksumAddress:
        r, s = (int.from_bytes(half, "big") for half in (self.r, self.vs))
        if s > P256_ORDER // 2:
            raise errors.ECDSAInvalidSignatureS(self.vs)
        try:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + self.public_key)
            key.verify(encode_dss_signature(r, s), digest(self.reading, domain), _P256_SCHEME)
        except (ValueError, InvalidSignature) as e:
            raise errors.ECDSAInvalidSignature from e
        return key_address(self.public_key)

    def to_json(self) -> str:
        """The signed reading as one JSON object, fields named as in the contract."""
        reading = self.reading
        fields = {
            "meterId": reading.meter_id,
            "intervalEnd": reading.interval_end,
            "importWh": reading.import_wh,
            "exportWh": reading.export_wh,
            "r": "0x" + self.r.hex(),
            "vs": "0x" + self.vs.hex(),
        }
        if self.public_key:
            fields["publicKey"] = "0x" + self.public_key.hex()
        return json.dumps(fields)

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
        return cls.from_fields(data)

    @classmethod
    def from_fields(cls, data: dict[str, Any]) -> Self:
        """Reads the object that `to_json` wrote, as strictly.

        Raises:
            InvalidReading: It is no such object; the error names the field.
        """
        known = ("meterId", "intervalEnd", "importWh", "exportWh", "r", "vs", "publicKey")
        for field, value in data.items():
            if field not in known:
                raise InvalidReading(field, value, "is no field of a reading")
        meter_id = data.get("meterId")
        if not isinstance(meter_id, str):
            raise InvalidReading("meterId", meter_id, "must be a text")
        if not _PLAIN_ID.fullmatch(meter_id):
            raise InvalidReading("meterId", meter_id, _PLAIN)
        numbers = [_json_number(data, field) for field in known[1:4]]
        r, vs = (_json_bytes(data, field, _BYTES32) for field in known[4:6])
        public_key = _json_bytes(data, "publicKey", _BYTES64) if "publicKey" in data else b""
        return cls(Reading(meter_id, *numbers), r, vs, public_key)


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
    """Signs a reading, as a meter with a secp256k1 key does.

    Args:
        reading: What to sign.
        domain: Where it shall count.
        key: The meter's secp256k1 private key, 32 bytes.
    """
    signature = sign_digest(digest(reading, domain), key)
    return SignedReading(reading, signature[:32], signature[32:])


def sign_p256(reading: Reading, domain: MeterDomain, key: ec.EllipticCurvePrivateKey) -> SignedReading:
    """Signs a reading, as a meter with a P-256 key does.

    Args:
        reading: What to sign.
        domain: Where it shall count.
        key: The meter's P-256 private key; `p256_key` makes one of 32 bytes.
    """
    r, s = decode_dss_signature(key.sign(digest(reading, domain), _P256_SCHEME))
    return SignedReading(reading, _word(r), _word(min(s, P256_ORDER - s)), p256_public_key(key))


def p256_key(secret: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 private key of 32 bytes, a number from 1 to the curve's order less one.

    Raises:
        ValueError: It is no such number.
    """
    return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256R1())


def p256_public_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key, x and y, 64 bytes."""
    numbers = key.public_key().public_numbers()
    return _word(numbers.x) + _word(numbers.y)


class KeyType(IntEnum):
    """Curve of a meter's key, numbered as in the Registry. Private keys are 32 bytes on both."""

    SECP256K1 = 0
    P256 = 1

    def address(self, secret: bytes) -> ChecksumAddress:
        """The address that names the public key of this private key."""
        if self is KeyType.P256:
            return key_address(p256_public_key(p256_key(secret)))
        return PrivateKey(bytes(secret)).public_key.to_checksum_address()

    def sign(self, reading: Reading, domain: MeterDomain, secret: bytes) -> SignedReading:
        """Signs a reading with this private key."""
        return sign_p256(reading, domain, p256_key(secret)) if self is KeyType.P256 else sign(reading, domain, secret)


@dataclass(frozen=True, slots=True, repr=False)
class MeterKey:
    """A meter's private key, which in the field never leaves the meter. It is never shown.

    Attributes:
        secret: 32 bytes.
        key_type: Its curve.
    """

    secret: bytes
    key_type: KeyType = KeyType.SECP256K1

    @property
    def address(self) -> ChecksumAddress:
        """The address that names its public key."""
        return self.key_type.address(self.secret)

    def sign(self, reading: Reading, domain: MeterDomain) -> SignedReading:
        """Signs a reading."""
        return self.key_type.sign(reading, domain, self.secret)


def meter_id_bytes(meter_id: str) -> bytes:
    """A meter's id as the contracts hold it: 32 bytes, zeros to the right; of hex digits, see `meter_id_text`, those.

    Raises:
        InvalidReading: The id is not 1 to 31 printable ASCII characters without spaces, nor what `meter_id_text` gives.
    """
    if _BYTES32.fullmatch(meter_id):
        raw = bytes.fromhex(meter_id[2:])
        if meter_id_text(raw) == meter_id:
            return raw
    if not _PLAIN_ID.fullmatch(meter_id):
        raise InvalidReading("meterId", meter_id, _PLAIN)
    return meter_id.encode("ascii").ljust(32, b"\0")


def meter_id_text(meter_id: bytes) -> str:
    """A meter's id, 32 bytes from the chain, as people write it: `meter_id_bytes` gives the same bytes again.

    The contracts take any bytes but zeros, whoever assigns a meter. What is no plain text is 0x and 64 hex digits,
    which no plain text can be: it is longer.
    """
    raw = bytes(meter_id)
    text = raw.rstrip(b"\0").decode("ascii", errors="replace")
    return text if _PLAIN_ID.fullmatch(text) else f"0x{raw.hex()}"


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


def _json_bytes(data: dict[str, Any], field: str, pattern: re.Pattern[str]) -> bytes:
    value = data.get(field)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        digits = 64 if pattern is _BYTES32 else 128
        raise InvalidReading(field, value, f"must be 0x and {digits} hex digits")
    return bytes.fromhex(value[2:])
