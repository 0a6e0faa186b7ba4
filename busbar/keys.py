"""Whose key signs: a development account, or an encrypted keystore.

A keystore's password comes from the environment or from a file that the environment names, never from a command line.
"""

import json
import os
from pathlib import Path

from eth_account import Account as EthAccount
from eth_utils.address import is_checksum_address, is_hex_address
from web3 import Web3

from busbar import errors
from busbar.chain import KeySigner
from busbar.devnet import CHAIN_ID as DEV_CHAIN_ID
from busbar.devnet import dev_signer

PASSWORD_VARIABLE = "BUSBAR_KEYSTORE_PASSWORD"  # noqa: S105  (the variable's name, not a password)


PASSWORD_FILE_VARIABLE = "BUSBAR_KEYSTORE_PASSWORD_FILE"  # noqa: S105  (likewise)


LAST_DEV = 2**31 - 1
"""Last account that a mnemonic has (BIP-44)."""


class KeyUnusableError(errors.BusbarError):
    """A key was named that does not exist, cannot be opened, or must not be used on this chain."""

    remedy = errors.Remedy.STOP


class AddressError(errors.BusbarError):
    """An address was written that is none."""


def written_address(text: str) -> str:
    """An address as a person wrote it: in small letters, or with the capitals that are its checksum (EIP-55).

    Raises:
        AddressError: It is none, or its capitals are those of another: a letter of it was mistyped.
    """
    if not text.startswith("0x") or not is_hex_address(text):
        raise AddressError(f"{text!r} is no address: write 0x and 40 hex digits")
    if text[2:] not in (text[2:].lower(), text[2:].upper()) and not is_checksum_address(text):
        raise AddressError(f"{text!r} is mistyped: its capitals do not fit the rest (EIP-55)")
    return str(Web3.to_checksum_address(text))


def password(keystore: str) -> str:
    """The password from BUSBAR_KEYSTORE_PASSWORD, or the first line of the file BUSBAR_KEYSTORE_PASSWORD_FILE names.

    Args:
        keystore: What it is for, for the message.

    Raises:
        KeyUnusableError: Neither is set, or the file cannot be read.
    """
    told = os.environ.get(PASSWORD_VARIABLE)
    if told is not None:
        return told
    file = os.environ.get(PASSWORD_FILE_VARIABLE)
    if file is None:
        raise KeyUnusableError(
            f"set {PASSWORD_VARIABLE} to the password of the keystore {keystore}, "
            f"or {PASSWORD_FILE_VARIABLE} to a file that holds it"
        )
    try:
        return next(iter(Path(file).read_text("utf-8").splitlines()), "")
    except (OSError, UnicodeDecodeError) as problem:
        raise KeyUnusableError(f"the password file {file} cannot be read: {problem}") from None


def keep(path: Path, text: str) -> None:
    """Writes a keystore that stands from then on, readable by this user alone.

    Raises:
        FileExistsError: It stands already.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Made for this user alone from the first byte on, and never over another.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def signer(who: str, chain_id: int, folder: Path | None = None) -> KeySigner:
    """The signer a setting names.

    Args:
        who: `dev:N` for account N of Foundry's published mnemonic, on the development chain only, or an encrypted
            keystore (Web3 Secret Storage, version 3): its path, or its name in `folder`.
        chain_id: Chain it is to sign for.
        folder: Where keystores are looked up by name.

    Raises:
        KeyUnusableError: One line says why.
    """
    if who.startswith("dev:"):
        if chain_id != DEV_CHAIN_ID:
            raise KeyUnusableError(f"{who} is a published key and must not be used on chain {chain_id}")
        if not (who[4:].isascii() and who[4:].isdigit() and int(who[4:]) <= LAST_DEV):
            raise KeyUnusableError(f"{who!r} is no development account: write dev:0, dev:1 ...")
        return dev_signer(int(who[4:]))
    path = _keystore(who, folder)
    try:
        stored = path.read_bytes()  # before the password is asked for: it may not be there
    except OSError as problem:
        raise KeyUnusableError(f"the keystore {who} cannot be read: {problem.strerror}") from None
    secret = password(who)
    try:
        return KeySigner.from_key(bytes(EthAccount.decrypt(json.loads(stored.decode("utf-8")), secret)))
    except (ValueError, KeyError, TypeError, NotImplementedError) as problem:
        why = "the password is another's" if "MAC" in str(problem) else problem
        raise KeyUnusableError(f"the keystore {who} cannot be opened: {why}") from None


def address(who: str, chain_id: int, folder: Path | None = None) -> str:
    """The address a setting names, without its password: as `signer`, for who only wants to look; or an address.

    Raises:
        KeyUnusableError: One line says why.
        AddressError: It begins as an address and is none.
    """
    if who.startswith("0x"):
        return written_address(who)
    if who.startswith("dev:"):
        return signer(who, chain_id).address
    path = _keystore(who, folder)
    try:
        return str(Web3.to_checksum_address("0x" + json.loads(path.read_text("utf-8"))["address"].removeprefix("0x")))
    except OSError as problem:
        raise KeyUnusableError(f"the keystore {who} cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise KeyUnusableError(f"the keystore {who} names no address") from None


def _keystore(who: str, folder: Path | None) -> Path:
    """The file of a keystore: by its name in the folder, or by its path."""
    if folder is not None and Path(who).name == who and (folder / f"{who}.json").is_file():
        return folder / f"{who}.json"
    return Path(who)
