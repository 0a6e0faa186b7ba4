"""The commands of an operator, as typed: doctor, roles, outbox, wallet, up."""

import sys

import pytest
import structlog

from busbar import cli
from busbar.chain import Call
from busbar.devnet import dev_signer, free_port
from busbar.outbox import Item, Outbox, State
from tests.market import bid


@pytest.fixture(autouse=True)
def logs_put_back():
    """Commands run here set up logging to a standard error that is gone after the test."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def typed(monkeypatch, capsys, tmp_path):
    """Runs a command in an empty folder: (exit status, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BUSBAR_CONFIG")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["busbar", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return run


@pytest.fixture
def place(market, tmp_path):
    """Options that name the tests' market."""
    path = tmp_path / "record.json"
    market.record.save(path)
    return ("--url", market.devnet.url, "--record", path)


def test_doctor__node_is_away__says_what_is_wrong_and_fails(typed, place):
    status, out, err = typed("doctor", "--url", f"http://127.0.0.1:{free_port()}", *place[2:])
    assert status == 1
    assert out.startswith("WRONG  node and deployment: no node answers at")
    assert err == "busbar: 1 of the checks found something wrong\n"


def test_doctor__keeper_without_its_role__says_which_and_what_to_do(typed, place, market, monkeypatch):
    monkeypatch.setenv("BUSBAR_KEEPER__ACCOUNT", "dev:33")
    status, out, _ = typed("doctor", *place)
    assert status == 1
    assert f"WRONG  keeper: role: {dev_signer(33).address} is no market maker" in out
    assert "-> the regulator grants it" in out
    assert "ok     meters: role" in out


def test_enrol__node_set_in_the_file__goes_by_it(typed, place, tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "busbar.toml").write_text(f'url = "{url}"\nrecord = "{place[3]}"\n', encoding="utf-8")
    status, _, err = typed("enrol", "--out", "live")
    assert status == 1
    assert err.startswith(f"busbar: no node answers at {url} ")
    assert not (tmp_path / "live").exists()


def test_roles__as_deployed__lists_them_and_succeeds(typed, place, actors):
    status, out, _ = typed("roles", *place)
    assert status == 0
    assert f"ok     market maker     {actors.keeper.address}" in out


def test_roles__somebody_too_many__fails(typed, place, market, actors):
    market.chain.send(actors.regulator, Call("Authority", "grantRole", (3, actors.outsider.address, 0)))
    status, out, err = typed("roles", *place)
    assert status == 1
    assert f"WRONG  minter           {actors.outsider.address}" in out
    assert err == "busbar: 1 findings: roles are not as the network's file says\n"


def test_outbox__with_a_refusal__counts_and_names_it(typed, tmp_path):
    outbox = Outbox(tmp_path / "outbox.sqlite", "31337:0xabc")
    outbox.accept([Item("ROOF@900", b"one"), Item("ROOF@1800", b"two")])
    outbox.mark(["ROOF@900"], State.REFUSED, "revoked meter")
    status, out, _ = typed("outbox", tmp_path / "outbox.sqlite", "--backup", tmp_path / "copy.sqlite")
    assert (status, out) == (
        0,
        "1 accepted, 0 sent, 0 done, 1 refused, 0 expired\nrefused ROOF@900: revoked meter\n",
    )
    assert [item.key for item in Outbox(tmp_path / "copy.sqlite", "31337:0xabc").open()] == ["ROOF@1800"]


def test_outbox__no_file__says_so_and_makes_none(typed, tmp_path):
    status, _, err = typed("outbox", tmp_path / "outbox.sqlite")
    assert status == 1
    assert err == f"busbar: {tmp_path / 'outbox.sqlite'} is missing: `busbar meters` makes one\n"
    assert not (tmp_path / "outbox.sqlite").exists()


def test_wallet__new_and_list__names_the_same_address(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("BUSBAR_KEYSTORE_PASSWORD", "correct horse")
    status, out, _ = typed("wallet", "new", "keeper", "--keystores", tmp_path / "keys")
    address = out.split()[0]
    assert status == 0
    assert typed("wallet", "list", "--keystores", tmp_path / "keys")[1] == f"{address} keeper\n"


def test_wallet__key_on_p256__is_listed_with_its_address(typed, tmp_path, monkeypatch):
    monkeypatch.setenv("BUSBAR_KEYSTORE_PASSWORD", "correct horse")
    status, out, _ = typed("wallet", "new", "roof", "--p256", "--keystores", tmp_path / "keys")
    address, path = out.split()
    assert (status, path) == (0, str(tmp_path / "keys" / "roof.pem"))
    assert typed("wallet", "list", "--keystores", tmp_path / "keys")[1] == f"{address} roof\n"


def test_wallet__sign_and_verify__agree(typed):
    signature = typed("wallet", "sign", "dev:3", "mine")[1].strip()
    address = dev_signer(3).address
    assert typed("wallet", "verify", address, "mine", signature)[:2] == (0, f"signed by {address}\n")
    status, _, err = typed("wallet", "verify", dev_signer(4).address, "mine", signature)
    assert (status, err) == (1, f"busbar: signed by {address}, not by {dev_signer(4).address}\n")


def test_keeper__once_and_refused__says_why_in_one_line_and_fails(typed, place, market, actors):
    market.enter(actors.consumer, bid(310, 500))
    market.next_epoch()
    status, _, err = typed("keeper", "--once", "--quiet", "--account", "dev:33", *place)
    assert status == 1
    refusal = "busbar: 1 of 1 refused, the first: Trading.matchOrders: AccessManagedUnauthorized: "
    assert err.splitlines()[-1].startswith(refusal)


def test_verify__no_index__says_how_to_make_one_and_makes_none(typed, place, tmp_path):
    file = tmp_path / "index.db"
    status, _, err = typed("verify", "--database", f"sqlite:///{file}", *place)
    assert (status, err) == (1, f"busbar: {file} is missing: run `busbar index` first\n")
    assert not file.exists()


def test_statement__no_index__says_how_to_make_one_and_makes_none(typed, actors, tmp_path):
    status, _, err = typed("statement", actors.consumer.address, "2026-03", tmp_path / "bill.json")
    assert (status, err) == (1, "busbar: out/history.db is missing: run `busbar index` first\n")
    assert list(tmp_path.iterdir()) == []


def test_keeper__setting_that_does_not_exist__is_named_in_one_line(typed, tmp_path):
    (tmp_path / "busbar.toml").write_text("[keeper]\nzone = [1]\n", encoding="utf-8")
    status, _, err = typed("keeper", "--once")
    assert status == 1
    assert err == "busbar: setting keeper.zone: Extra inputs are not permitted (in busbar.toml or the environment)\n"


def test_meters__no_enrolment_named__says_how(typed, place):
    status, _, err = typed("meters", "--once", *place)
    assert status == 2
    assert "name the file `busbar enrol` wrote" in err


def test_meters__head_end_away__says_so_in_one_line(typed, place):
    status, _, err = typed("meters", "--once", "--headend", f"http://127.0.0.1:{free_port()}", *place)
    assert status == 1
    assert err.startswith("busbar: http://127.0.0.1:")
    assert "ConnectError" in err


def test_meters__door_and_no_enrolment__needs_none(typed, place, tmp_path):
    status, _, err = typed("meters", "--once", "--port", 0, "--outbox", tmp_path / "box.sqlite", *place)
    assert status == 0, err
    assert typed("outbox", tmp_path / "box.sqlite")[1].startswith("0 accepted")


def test_enrol__curve_that_is_none__says_which_there_are(typed, place, tmp_path):
    keys = ("--meter-keys", tmp_path / "keys", "--meter-curve", "ed25519")
    status, _, err = typed("enrol", "--out", tmp_path / "live", *keys, *place)
    assert (status, err) == (
        2,
        "busbar: Invalid value for --meter-curve: 'ed25519' is none of secp256k1, p256, both: see `busbar --help`\n",
    )


def test_keeper__dry_run__sends_nothing_and_says_what_it_would(typed, place, market, actors, monkeypatch):
    market.buy(actors.consumer, 300, 1_000)
    market.next_epoch()
    head = market.chain.head()
    monkeypatch.setenv("BUSBAR_SENDING__DRY_RUN", "true")
    status, _, err = typed("keeper", "--once", *place)
    assert status == 0
    assert "dry run: Trading.matchOrders would be sent" in err
    assert market.chain.head() == head
