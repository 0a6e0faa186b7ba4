"""Whose key signs: published keys on the development chain only, keystores with a password from the environment."""

import json

import pytest
from eth_account import Account as EthAccount

from busbar.devnet import CHAIN_ID, dev_signer
from busbar.keys import PASSWORD_VARIABLE, KeyUnusableError, signer

KEY = bytes([7]) * 32
PASSWORD = "correct horse"


@pytest.fixture
def keystore(tmp_path, monkeypatch):
    """A keystore, its password in the environment."""
    path = tmp_path / "keeper.json"
    # One round: what costs an attacker a second costs the tests as much.
    path.write_text(json.dumps(EthAccount.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=1)), encoding="utf-8")
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    return path


def refusal(who, chain_id=CHAIN_ID):
    """The one line that says why a key cannot be used."""
    with pytest.raises(KeyUnusableError) as caught:
        signer(who, chain_id)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_signer__development_account__is_foundrys():
    assert signer("dev:0", CHAIN_ID).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert signer("dev:12", CHAIN_ID) == dev_signer(12)


def test_signer__development_account_on_another_chain__is_refused():
    said = refusal("dev:0", chain_id=1)
    assert "published key" in said
    assert "chain 1" in said


@pytest.mark.parametrize("who", ["dev:", "dev:x", "dev:-1", "dev:1.5", "dev:²", "dev: 1"])
def test_signer__no_development_account__is_told_how_to_write_one(who):
    assert "dev:0" in refusal(who)


@pytest.mark.parametrize("chain_id", [CHAIN_ID, 1])
def test_signer__keystore_with_the_password_in_the_environment__signs_on_any_chain(keystore, chain_id):
    assert signer(str(keystore), chain_id).address == EthAccount.from_key(KEY).address


def test_signer__password_not_in_the_environment__names_the_variable(keystore, monkeypatch):
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert PASSWORD_VARIABLE in refusal(str(keystore))


def test_signer__empty_password__is_a_password_and_a_wrong_one(keystore, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    assert "cannot be opened" in refusal(str(keystore))


def test_signer__wrong_password__is_refused_without_repeating_it(keystore, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "battery staple")
    said = refusal(str(keystore))
    assert str(keystore) in said
    assert "cannot be opened" in said
    assert "battery" not in said


def test_signer__missing_file__says_so(keystore):
    path = keystore.with_name("nobody.json")
    assert refusal(str(path)) == f"the keystore {path} cannot be read: No such file or directory"


def test_signer__folder__says_so(keystore):
    assert "cannot be read: Is a directory" in refusal(str(keystore.parent))


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "{}", '{"version": 2}', '{"version": 3}', '{"version": 3, "crypto": {}}', "\x80"],
)
def test_signer__file_that_is_no_keystore__says_so(keystore, text):
    keystore.write_bytes(text.encode("latin-1"))
    assert "cannot be opened" in refusal(str(keystore))
