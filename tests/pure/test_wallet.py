"""Keystores: made once, readable by their owner alone, and of use to every wallet."""

import json
import stat

import pytest
from eth_account import Account as EthAccount

from busbar.devnet import CHAIN_ID, dev_signer
from busbar.keys import PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, KeyUnusableError, address, signer
from busbar.wallet import WalletError, new, sign, signed_by, stored

PASSWORD = "correct horse"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for keystores, the password in a file."""
    (tmp_path / "password").write_text(f"{PASSWORD}\nnot this\n", encoding="utf-8")
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, str(tmp_path / "password"))
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    # What costs an attacker a second costs the tests as much.
    monkeypatch.setattr(EthAccount, "default_kdf", "pbkdf2", raising=False)
    return tmp_path / "keystores"


def test_new__a_name__makes_a_keystore_that_opens_by_name_and_signs(folder):
    made = new(folder, "keeper")
    assert made.path == folder / "keeper.json"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert signer("keeper", 1, folder).address == made.address == address("keeper", 1, folder)
    assert PASSWORD not in made.path.read_text(encoding="utf-8")


def test_new__name_stands_already__is_never_written_over(folder):
    folder.mkdir()
    (folder / "keeper.json").write_text("precious", encoding="utf-8")
    with pytest.raises(WalletError, match="stands already"):
        new(folder, "keeper")
    assert (folder / "keeper.json").read_text(encoding="utf-8") == "precious"


@pytest.mark.parametrize("name", ["", "../keeper", "a/b", ".hidden", "dev:1"])
def test_new__no_name_for_a_file__is_refused(folder, name):
    with pytest.raises(WalletError, match="is no name for a keystore"):
        new(folder, name)


def test_new__empty_password__is_refused(folder, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    with pytest.raises(WalletError, match="password is empty"):
        new(folder, "keeper")


def test_new__no_password__names_both_variables(folder, monkeypatch):
    monkeypatch.delenv(PASSWORD_FILE_VARIABLE)
    with pytest.raises(KeyUnusableError, match=f"{PASSWORD_VARIABLE} .* {PASSWORD_FILE_VARIABLE}"):
        new(folder, "keeper")


def test_password__file_is_missing__says_so(folder, monkeypatch):
    monkeypatch.setenv(PASSWORD_FILE_VARIABLE, "/nowhere")
    with pytest.raises(KeyUnusableError, match="the password file /nowhere cannot be read"):
        new(folder, "keeper")


def test_stored__keystores_and_other_files__lists_the_keystores(folder):
    folder.mkdir()
    for name, key in (("b", 2), ("a", 1)):
        text = json.dumps(EthAccount.encrypt(bytes([key]) * 32, PASSWORD, kdf="pbkdf2", iterations=1))
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / "notes.json").write_text("[]", encoding="utf-8")
    (folder / "binary.json").write_bytes(b"\xff")
    assert [(w.name, w.address) for w in stored(folder)] == [
        (name, EthAccount.from_key(bytes([key]) * 32).address) for name, key in (("a", 1), ("b", 2))
    ]


def test_stored__no_folder__is_empty(folder):
    assert stored(folder) == []


def test_sign__a_text__is_recognised_as_the_signers(folder):
    signature = sign("dev:3", CHAIN_ID, folder, "I run the keeper")
    assert signed_by("I run the keeper", signature) == dev_signer(3).address
    assert signed_by("I run the meters", signature) != dev_signer(3).address


@pytest.mark.parametrize("signature", ["", "0x", "0x1234", "hello", "0x" + "ff" * 65, "0x" + "00" * 65])
def test_signed_by__no_signature__is_refused_in_one_line(signature):
    with pytest.raises(WalletError, match="is no signature") as caught:
        signed_by("text", signature)
    assert "\n" not in str(caught.value)


def test_address__keystore_without_one__says_so(folder):
    folder.mkdir()
    (folder / "bare.json").write_text("{}", encoding="utf-8")
    with pytest.raises(KeyUnusableError, match="names no address"):
        address("bare", 1, folder)
