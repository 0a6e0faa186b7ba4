"""`busbar doctor` and `busbar roles`: what is wrong is named, with what to do; what is well is left alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from busbar import tables
from busbar.chain import Call
from busbar.deployment import ROLES, connect
from busbar.devnet import dev_signer, free_port
from busbar.doctor import Bot, Door, examine
from busbar.history import History, open_database
from busbar.roles import findings, holdings, misassigned
from tests.market import ZONE
from tests.services.test_meters_door import running as gateway_running
from tests.services.test_relay import running

MINTER, MARKET_MAKER = ROLES["minter"], ROLES["market maker"]


@pytest.fixture
def index(tmp_path):
    """Where an index may be."""
    return f"sqlite:///{tmp_path / 'index.db'}"


@pytest.fixture
def record(market):
    return market.record


@pytest.fixture
def examined(market, actors, record):
    """Findings by name, for a well-kept installation unless told otherwise."""

    def examine_(**changes):
        settings = {
            "connect": lambda: connect(record, market.devnet.url),
            "record": record,
            "bots": [Bot("keeper", actors.keeper.address, "market maker")],
            "zones": [ZONE],
            "now": market.chain.head().timestamp + 1,
        } | changes
        return {finding.name: finding for finding in examine(**settings)}

    return examine_


def wrong(found):
    return {name: finding.told for name, finding in found.items() if not finding.ok}


def test_examine__all_is_well__finds_nothing(examined):
    found = examined()
    assert wrong(found) == {}
    assert list(found) == ["node and deployment", "clock", "sources", "keeper: role", "keeper: funds", f"zone {ZONE}"]


def test_examine__nobody_answers__says_so_and_looks_no_further(examined, record):
    url = f"http://127.0.0.1:{free_port()}"
    (finding,) = examined(connect=lambda: connect(record, url)).values()
    assert not finding.ok
    assert url in finding.told


def test_examine__another_chain__says_so_and_looks_no_further(examined, market, record):
    other = replace(record, chain_id=1)
    (finding,) = examined(connect=lambda: connect(other, market.devnet.url)).values()
    assert "serves chain 31337, not 1" in finding.told


def test_examine__record_of_a_chain_that_is_gone__says_so(examined, market, record):
    other = replace(record, genesis_hash="0x" + "11" * 32)
    (finding,) = examined(connect=lambda: connect(other, market.devnet.url)).values()
    assert "deploy again" in finding.told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-31, "this machine's clock is 31 s behind the newest block"), (301, "the newest block is 301 s old")],
)
def test_examine__clock_and_chain_differ__says_by_how_much(examined, market, seconds, told):
    found = examined(now=market.chain.head().timestamp + seconds)
    assert wrong(found) == {"clock": told}


def test_examine__bot_without_its_role__names_role_and_remedy(examined, actors):
    found = examined(bots=[Bot("keeper", actors.outsider.address, "market maker")])
    assert wrong(found) == {"keeper: role": f"{actors.outsider.address} is no market maker"}
    assert "grants it" in found["keeper: role"].remedy


def test_examine__bot_that_cannot_pay_for_gas__names_the_account_to_fund(examined, market):
    pauper = dev_signer(61).address
    market.chain.node.request("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    market.devnet.mine()
    found = examined(bots=[Bot("keeper", pauper, "market maker")])
    assert found["keeper: funds"].remedy == f"send ether to {pauper}"
    market.chain.node.request("anvil_setNextBlockBaseFeePerGas", "0x0")


def test_examine__nobody_clears__says_since_when(examined, market, actors):
    market.buy(actors.consumer, 300, 1_000)
    epoch = market.epoch
    market.next_epoch()
    assert wrong(examined()) == {}
    market.next_epoch(2)
    assert wrong(examined()) == {f"zone {ZONE}": f"epoch {epoch} waits to be cleared since 2 epochs"}


def test_examine__door_that_answers__is_well(examined, market, tmp_path):
    with gateway_running(market, tmp_path) as gateway:
        door = Door("meters", str(gateway.client.base_url).rstrip("/"), "Busbar gateway")
        assert wrong(examined(doors=[door])) == {}
        assert "meters: door" in examined(doors=[door])
        # Somebody else answers there.
        found = examined(doors=[Door("relay", door.url, "Busbar relay")])
        assert wrong(found) == {"relay: door": f"no Busbar relay answers at {door.url} (Busbar gateway)"}


def test_examine__door_that_nobody_keeps__names_the_bot_to_start(examined):
    url = f"http://127.0.0.1:{free_port()}"
    found = examined(doors=[Door("meters", url, "Busbar gateway")])
    assert wrong(found) == {"meters: door": f"no Busbar gateway answers at {url} (ConnectError)"}
    assert found["meters: door"].remedy.startswith("start `busbar meters`")


def test_examine__index_that_follows__is_well(examined, market, index):
    History(market.chain, open_database(index)).step()
    assert examined(database=index)["index"].told == "follows the chain"


def test_examine__index_left_behind__says_by_how_much(examined, market, index):
    History(market.chain, open_database(index)).step()
    market.chain.node.request("anvil_mine", hex(21))
    assert wrong(examined(database=index)) == {"index": "21 blocks behind the chain"}


def test_examine__no_index__names_the_file_and_makes_none(examined, index):
    assert wrong(examined(database=index)) == {"index": f"{index.removeprefix('sqlite:///')} is missing"}
    assert not Path(index.removeprefix("sqlite:///")).exists()


def test_examine__index_of_nothing__says_so(examined, index):
    open_database(index)
    assert wrong(examined(database=index)) == {"index": "nothing is indexed yet"}


def test_examine__index_of_another_market__says_so(examined, market, index):
    engine = open_database(index)
    History(market.chain, engine).step()
    with engine.begin() as connection:
        connection.execute(update(tables.market).values(genesis=tables.market.c.genesis + 1))
    assert wrong(examined(database=index)) == {"index": "the database holds another market"}


def test_examine__database_that_is_none__says_so(examined, tmp_path):
    (tmp_path / "index.db").write_text("no database", encoding="utf-8")
    told = wrong(examined(database=f"sqlite:///{tmp_path / 'index.db'}"))
    assert told == {"index": "the database does not answer: (sqlite3.DatabaseError) file is not a database"}


def test_examine__zone_that_was_never_opened__says_so(examined):
    assert wrong(examined(zones=[77])) == {"zone 77": "was never opened"}


def test_examine__deployed_from_other_sources__names_the_commit(examined, record):
    changed = {**record.contracts, "Trading": record.contracts["Trading"] | {"source_hash": "other"}}
    found = examined(record=replace(record, contracts=changed, commit="abc"))
    assert list(wrong(found)) == ["sources"]
    assert found["sources"].remedy == "use the checkout that deployed it, commit abc"


# -------------------------------------------------------------------------------- roles


@pytest.fixture
def audited(market):
    """(holdings, findings) of the deployed market."""

    def audit():
        held = holdings(market.chain, market.parameters, 0)
        return held, findings(held) + misassigned(market.chain)

    return audit


def test_holdings__as_deployed__are_as_the_file_says(audited, market, actors):
    held, wrong_ = audited()
    assert wrong_ == []
    assert ("market maker", actors.keeper.address, "") in {(h.role, h.account, h.who) for h in held}
    assert ("token minter", market.chain.addresses["Metering"], "Metering") in {
        (h.role, h.account, h.who) for h in held
    }
    assert [h.role for h in held].count("regulator") == 1


def test_findings__somebody_the_file_does_not_name__is_told(audited, market, actors):
    market.chain.send(actors.regulator, Call("Authority", "grantRole", (MINTER, actors.outsider.address, 0)))
    (line,) = audited()[1]
    assert line.startswith(f"{actors.outsider.address} (minter) holds the role")


def test_findings__role_was_revoked__is_told(audited, market, actors):
    market.chain.send(actors.regulator, Call("Authority", "revokeRole", (MARKET_MAKER, actors.keeper.address)))
    (line,) = audited()[1]
    assert line.startswith(f"{actors.keeper.address} (market maker) does not hold the role")


def test_misassigned__function_given_to_another_role__is_told(audited, market, actors):
    selector = bytes.fromhex(market.chain._encode(Call("Trading", "matchOrders", (1,)))[2:10])
    target = market.chain.addresses["Trading"]
    call = Call("Authority", "setTargetFunctionRole", (target, [selector], MINTER))
    market.chain.send(actors.regulator, call)
    assert audited()[1] == ["Trading.matchOrders may be called by the minter, not the market maker"]


# ------------------------------------------------------------------------------ relay


def relay_bot(actors):
    return Bot("relay", actors.outsider.address, None)


def test_examine__relay_works__is_told_with_its_funds_and_needs_no_role(examined, market, actors, tmp_path):
    with running(market, tmp_path) as relay:
        # Its first pass has come to its end.
        relay.until(lambda: relay.client.get("/status").json()["problem"] is None)
        found = examined(bots=[relay_bot(actors)], relay_url=str(relay.client.base_url))
    assert wrong(found) == {}
    assert list(found)[3:5] == ["relay: funds", "relay"]
    assert found["relay"].told.endswith("0 messages wait, 0 were refused")


def test_examine__no_relay_answers__says_so(examined):
    url = f"http://127.0.0.1:{free_port()}"
    assert wrong(examined(relay_url=url)) == {"relay": f"none answers at {url} (ConnectError)"}


def test_examine__something_else_stands_where_the_relay_should__says_so(examined, market):
    assert list(wrong(examined(relay_url=market.devnet.url))) == ["relay"]


def test_examine__relay_of_another_market__says_so(examined, market, tmp_path):
    elsewhere = market.another_trading()
    with running(market, tmp_path) as relay:
        url = str(relay.client.base_url)
        found = examined(connect=lambda: elsewhere, zones=[], bots=[], relay_url=url)
    assert wrong(found) == {"relay": f"{url} serves another market"}
