"""Keystores of meters: either curve, encrypted, opened with the password alone."""

import json
import stat

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from eth_account import Account as EthAccount

from busbar import meter_keys, wallet
from busbar.keys import PASSWORD_VARIABLE, KeyUnusableError
from busbar.meter_keys import Curve, path_of
from busbar.readings import KeyType, MeterDomain, Reading

PASSWORD = "correct horse"
DOMAIN = MeterDomain(31337, "0x" + "11" * 20)
READING = Reading("roof", 900, 5, 7)
CURVES = pytest.mark.parametrize("key_type", list(KeyType), ids=["secp256k1", "P-256"])


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)


def pem(key, password_=PASSWORD):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password_.encode()))


@CURVES
def test_new__either_curve__opens_and_signs_for_the_address_it_told(tmp_path, key_type):
    path = path_of(tmp_path, "roof")
    told = meter_keys.new(path, key_type)
    key = meter_keys.load(path)
    assert (key.key_type, key.address) == (key_type, told)
    assert meter_keys.address(path) == told
    assert key.sign(READING, DOMAIN).signer(DOMAIN) == told
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@CURVES
def test_new__its_file__holds_no_secret_in_the_clear(tmp_path, key_type):
    path = path_of(tmp_path, "roof")
    meter_keys.new(path, key_type)
    key = meter_keys.load(path)
    assert b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    assert key.secret.hex() not in path.read_text("utf-8")
    assert key.secret.hex() not in repr(key)


def test_new__stands_already__is_never_written_over(tmp_path):
    path = path_of(tmp_path, "roof")
    told = meter_keys.new(path, KeyType.P256)
    with pytest.raises(FileExistsError):
        meter_keys.new(path, KeyType.P256)
    assert meter_keys.address(path) == told


def test_new__empty_password__is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(PASSWORD_VARIABLE, "")
    with pytest.raises(KeyUnusableError, match="password is empty"):
        meter_keys.new(tmp_path / "roof.pem", KeyType.P256)


def test_load__wallets_keystore__is_a_secp256k1_key(tmp_path):
    path = tmp_path / "roof.json"
    path.write_text(json.dumps(EthAccount.encrypt(b"\7" * 32, PASSWORD, kdf="pbkdf2", iterations=1)), encoding="utf-8")
    assert meter_keys.load(path).address == EthAccount.from_key(b"\7" * 32).address


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"nonsense", "cannot be opened"),
        (pem(ec.generate_private_key(ec.SECP256R1()), "other"), "cannot be opened: Incorrect password"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "holds no key on secp256k1 or secp256r1"),
        (pem(rsa.generate_private_key(65537, 2048)), "holds no key on secp256k1 or secp256r1"),
    ],
    ids=["missing", "nonsense", "other password", "other curve", "no curve"],
)
def test_load__no_key_of_a_meter__says_why_in_one_line(tmp_path, content, told):
    path = tmp_path / "roof.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeyUnusableError, match=told) as caught:
        meter_keys.load(path)
    assert "\n" not in str(caught.value)


def test_address__no_public_key__says_so(tmp_path):
    path = tmp_path / "roof.pem"
    path.write_bytes(pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(KeyUnusableError, match="names no address"):
        meter_keys.address(path)


def test_path_of__any_meter_id__is_a_file_of_the_folder(tmp_path):
    names = {path_of(tmp_path, meter_id) for meter_id in ("../a", "a/b", "a?b", "%2Fa", "a")}
    assert len(names) == 5
    assert {path.parent for path in names} == {tmp_path}


def test_of__both_curves__take_turns():
    assert [Curve.BOTH.of(n) for n in range(3)] == [KeyType.SECP256K1, KeyType.P256, KeyType.SECP256K1]
    assert {Curve.P256.of(0), Curve.P256.of(1)} == {KeyType.P256}


def test_wallet__p256_key__is_listed_with_its_address(tmp_path):
    made = wallet.new(tmp_path, "roof", KeyType.P256)
    assert [(w.name, w.address, w.path.suffix) for w in wallet.stored(tmp_path)] == [("roof", made.address, ".pem")]
