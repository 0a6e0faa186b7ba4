"""Keystores of meters' keys, on either curve: for simulated meters, and for whoever makes a meter's first key.

A file holds the public key in the clear and the private key encrypted: PEM, PKCS#8, AES-256. OpenSSL and most hardware
security modules read it. A secp256k1 key may also be in a keystore of `busbar wallet`. The password is that of all
keystores (`busbar.keys`).
"""

import json
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from eth_account import Account as EthAccount

from busbar import keys
from busbar.keys import KeyUnusableError
from busbar.readings import KeyType, MeterKey
from busbar.recovery import key_address

_CURVES: dict[KeyType, ec.EllipticCurve] = {KeyType.SECP256K1: ec.SECP256K1(), KeyType.P256: ec.SECP256R1()}
_NAMES = {curve.name: key_type for key_type, curve in _CURVES.items()}


class Curve(StrEnum):
    """Curves of the keys that are made for meters."""

    SECP256K1 = "secp256k1"
    P256 = "p256"
    BOTH = "both"

    def of(self, number: int) -> KeyType:
        """The curve of the meter with this number: with both, meters take turns."""
        if self is Curve.BOTH:
            return KeyType(number % 2)
        return KeyType.P256 if self is Curve.P256 else KeyType.SECP256K1


def path_of(folder: Path, meter_id: str) -> Path:
    """The keystore of a meter; ids may hold characters that names of files may not."""
    return folder / f"{quote(meter_id, safe='')}.pem"


def new(path: Path, key_type: KeyType) -> str:
    """Makes a key, keeps it in a file readable by this user alone, and returns the address that names it.

    Raises:
        KeyUnusableError: No password was given, or it is empty.
        FileExistsError: The file stands already.
    """
    secret = keys.password(path.stem)
    if not secret:
        raise KeyUnusableError("the password is empty: a keystore needs one")
    key = ec.generate_private_key(_CURVES[key_type])
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(secret.encode()))
    keys.keep(path, (public + private).decode("ascii"))
    return _address(key.public_key())


def load(path: Path) -> MeterKey:
    """Opens a keystore: `.pem` on either curve, or `.json` of a wallet.

    Raises:
        KeyUnusableError: One line says why.
    """
    secret = keys.password(path.name)
    try:
        if path.suffix == ".json":
            return MeterKey(bytes(EthAccount.decrypt(json.loads(path.read_text("utf-8")), secret)))
        key = load_pem_private_key(path.read_bytes(), secret.encode() or None)
    except OSError as problem:
        raise KeyUnusableError(f"the keystore {path} cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, NotImplementedError, UnsupportedAlgorithm) as problem:
        raise KeyUnusableError(f"the keystore {path} cannot be opened: {problem}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _NAMES:
        raise KeyUnusableError(f"the keystore {path} holds no key on {' or '.join(_NAMES)}")
    return MeterKey(key.private_numbers().private_value.to_bytes(32, "big"), _NAMES[key.curve.name])


def address(path: Path) -> str:
    """The address that names the key of a `.pem`, without its password.

    Raises:
        KeyUnusableError: It holds no public key.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyUnusableError(f"the keystore {path} names no address")
    return _address(key)


def _address(key: ec.EllipticCurvePublicKey) -> str:
    return key_address(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:])
