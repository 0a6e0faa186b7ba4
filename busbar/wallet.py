"""Keystores of an installation: made, listed, and used to sign and check a text.

Files are Web3 Secret Storage, version 3, as every wallet reads them; a meter's key on P-256 is in PEM
(`busbar.meter_keys`). The password comes from the environment or a file (`busbar.keys`), never from a command line.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from eth_account import Account as EthAccount
from eth_account.messages import encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError
from web3 import Web3

from busbar import errors, keys, meter_keys
from busbar.readings import KeyType


class WalletError(errors.BusbarError):
    """A keystore cannot be made or read. The message says why."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """A keystore: its name, its address, its file."""

    name: str
    address: str
    path: Path


def new(folder: Path, name: str, key_type: KeyType = KeyType.SECP256K1) -> Wallet:
    """Makes a key and keeps it in `folder/<name>.json`, or `.pem` on P-256, readable by this user alone.

    Raises:
        WalletError: The name is no file name, or stands already.
        keys.KeyUnusableError: No password was given.
    """
    if not name or Path(name).name != name or name.startswith((".", "dev:")):
        raise WalletError(f"{name!r} is no name for a keystore: use letters, digits and dashes")
    path = folder / f"{name}{'.pem' if key_type is KeyType.P256 else '.json'}"
    try:
        return Wallet(name, meter_keys.new(path, key_type) if path.suffix == ".pem" else _new(path), path)
    except FileExistsError:
        raise WalletError(f"{path} stands already: a keystore is never written over") from None


def _new(path: Path) -> str:
    secret = keys.password(path.stem)
    if not secret:
        raise WalletError("the password is empty: a keystore needs one")
    account = EthAccount.create()
    keys.keep(path, json.dumps(EthAccount.encrypt(account.key, secret), indent=1) + "\n")
    return str(account.address)


def stored(folder: Path) -> list[Wallet]:
    """The keystores of a folder by name; other files are passed over."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            address = json.loads(path.read_text(encoding="utf-8"))["address"]
            found.append(Wallet(path.stem, str(Web3.to_checksum_address(f"0x{address.removeprefix('0x')}")), path))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
    for path in sorted(folder.glob("*.pem")):
        with suppress(keys.KeyUnusableError):
            found.append(Wallet(path.stem, meter_keys.address(path), path))
    return found


def sign(who: str, chain_id: int, folder: Path, text: str) -> str:
    """Signs a text as wallets do (EIP-191), to show that one holds a key; the signature in hex.

    Raises:
        keys.KeyUnusableError: The key cannot be used.
    """
    signer = keys.signer(who, chain_id, folder)
    return "0x" + bytes(signer.account.sign_message(encode_defunct(text=text)).signature).hex()


def signed_by(text: str, signature: str) -> str:
    """The address whose key signed a text.

    Raises:
        WalletError: It is no signature.
    """
    try:
        return str(EthAccount.recover_message(encode_defunct(text=text), signature=signature))
    except (ValueError, TypeError, IndexError, BadSignature, ValidationError) as problem:
        raise WalletError(f"{signature[:24]}... is no signature: {' '.join(str(problem).split())}") from None
