"""Whose key signs: a development account, or an encrypted keystore whose password comes from the environment."""

import json
import os
from pathlib import Path

from eth_account import Account as EthAccount

from busbar import errors
from busbar.chain import KeySigner
from busbar.devnet import CHAIN_ID as DEV_CHAIN_ID
from busbar.devnet import dev_signer

PASSWORD_VARIABLE = "BUSBAR_KEYSTORE_PASSWORD"  # noqa: S105  (the variable's name, not a password)


class KeyUnusableError(errors.BusbarError):
    """A key was named that does not exist, cannot be opened, or must not be used on this chain."""


def signer(who: str, chain_id: int) -> KeySigner:
    """The signer a setting names.

    Args:
        who: `dev:N` for account N of Foundry's published mnemonic, on the development chain only, or the path of an
            encrypted keystore (Web3 Secret Storage, version 3), whose password is in BUSBAR_KEYSTORE_PASSWORD.
        chain_id: Chain it is to sign for.

    Raises:
        KeyUnusableError: One line says why.
    """
    if who.startswith("dev:"):
        if chain_id != DEV_CHAIN_ID:
            raise KeyUnusableError(f"{who} is a published key and must not be used on chain {chain_id}")
        if not (who[4:].isascii() and who[4:].isdigit()):
            raise KeyUnusableError(f"{who!r} is no development account: write dev:0, dev:1 ...")
        return dev_signer(int(who[4:]))
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        raise KeyUnusableError(f"set {PASSWORD_VARIABLE} to the password of the keystore {who}")
    try:
        return KeySigner.from_key(bytes(EthAccount.decrypt(json.loads(Path(who).read_text("utf-8")), password)))
    except OSError as problem:
        raise KeyUnusableError(f"the keystore {who} cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError, NotImplementedError) as problem:
        raise KeyUnusableError(f"the keystore {who} cannot be opened: {problem}") from None
