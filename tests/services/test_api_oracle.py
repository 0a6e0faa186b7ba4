"""The oracle over HTTP: every answer, the median, outliers and silence; and how the relay is."""

import pytest

from busbar.api.context import Settings
from busbar.chain import Call
from busbar.client import ApiError, Client
from busbar.devnet import free_port
from busbar.history import History, open_database, verify
from tests.contracts.test_oracle_client import (
    DATUM,
    FT,
    METER,
    TIMEOUT_BLOCKS,
    fulfil,
    number,
    request,
    time_out,
    to_block,
)
from tests.contracts.test_oracle_panel import OTHERS, seat, set_operator, set_panel
from tests.market import bid
from tests.served import followed, served
from tests.services.test_relay import running


@pytest.fixture
def live(market, tmp_path):
    """A client of a server that follows every block, and its index."""
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    with (
        followed(market.chain, engine),
        served(Settings(engine, market.chain, rate=None)) as url,
        Client(url) as client,
    ):
        yield client, engine
    engine.dispose()


@pytest.fixture
def client(live):
    return live[0]


@pytest.fixture
def operators(market, actors):
    """Five operators of whom three decide, with a tolerance of 10 %."""
    five = [actors.oracle_operator, *OTHERS[:4]]
    seat(market, *five[1:])
    set_panel(market, 3)
    return five


def asked_for_ft(market, actors):
    asked = request(market, actors.oracle_operator, DATUM, FT)
    return asked, "0x" + asked.hex()


def record_of(client, operator):
    """(asked, answered, outliers, silent) of an operator."""
    (found,) = [shape for shape in client.panel().operators if shape.account == operator.address]
    return found.asked, found.answered, found.outliers, found.silent


def test_request__answered_by_a_quorum__shows_answers_median_outliers_and_silence(market, actors, client, operators):
    asked, key = asked_for_ft(market, actors)
    for operator, value in zip(operators, (100, 104, 300, 101), strict=False):
        fulfil(market, asked, number(value), by=operator)
    told = client.request(key)
    assert (told.status, told.quorum, told.median) == ("fulfilled", 3, 104)
    assert [(a.operator, a.value, a.deciding, a.outlier) for a in told.answers] == [
        (operators[0].address, 100, True, False),
        (operators[1].address, 104, True, False),
        (operators[2].address, 300, True, True),
        (operators[3].address, 101, False, False),
    ]
    assert told.silent == [operators[4].address]


def test_request__negative_median__is_told_with_its_sign(market, actors, client, operators):
    asked, key = asked_for_ft(market, actors)
    for operator, value in zip(operators, (-5, -(2**90), 7), strict=False):
        fulfil(market, asked, number(value), by=operator)
    assert client.request(key).median == -5
    assert client.request(key).answers[1].value == -(2**90)


def test_request__below_the_quorum__has_no_median(market, actors, client, operators):
    asked, key = asked_for_ft(market, actors)
    fulfil(market, asked, number(100), by=operators[0])
    told = client.request(key)
    assert (told.status, told.median, len(told.answers), len(told.silent)) == ("pending", None, 1, 4)


def test_request__quorum_changed_since__is_that_of_the_request(market, actors, client, operators):
    _, key = asked_for_ft(market, actors)
    set_panel(market, 5)
    assert (client.request(key).quorum, client.panel().quorum) == (3, 5)


def test_request__of_a_reading__has_no_panel(market, actors, client):
    market.meter("roof", actors.producer)
    key = "0x" + request(market, actors.oracle_operator, METER, b"roof".ljust(32, b"\0")).hex()
    told = client.request(key)
    assert (told.kind, told.quorum, told.answers, told.silent, told.median) == ("meter", None, [], [], None)


def test_request__that_nobody_made__is_404(client):
    with pytest.raises(ApiError) as refused:
        client.request("0x" + "00" * 32)
    assert refused.value.status == 404


def test_panel__who_answered_lied_and_kept_silent__is_as_the_contract_has_it(market, actors, live, operators):
    client, engine = live
    asked, _ = asked_for_ft(market, actors)
    for operator, value in zip(operators, (100, 104, 300), strict=False):
        fulfil(market, asked, number(value), by=operator)
    assert record_of(client, operators[3]) == (1, 0, 0, 0)
    to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 1)
    History(market.chain, engine).step()
    assert [record_of(client, operator) for operator in operators] == [
        (1, 1, 0, 0),
        (1, 1, 0, 0),
        (1, 1, 1, 0),
        (1, 0, 0, 1),
        (1, 0, 0, 1),
    ]
    assert verify(market.chain, engine)[1] == []


def test_panel__an_operator_leaves_and_comes_back__was_asked_only_while_it_sat(market, actors, live, operators):
    client, engine = live
    last = operators[4]
    asked_for_ft(market, actors)
    set_operator(market, last, False)
    asked_for_ft(market, actors)
    active = {shape.account: shape.active for shape in client.panel().operators}
    assert (active[last.address], record_of(client, last)[0]) == (False, 1)
    set_operator(market, last)
    asked_for_ft(market, actors)
    assert record_of(client, last)[0] == 2
    assert verify(market.chain, engine)[1] == []


def test_request__timed_out__is_told(market, actors, client, operators):
    asked, key = asked_for_ft(market, actors)
    to_block(market, market.chain.head().number + TIMEOUT_BLOCKS + 1)
    time_out(market, asked)
    assert (client.request(key).status, client.request(key).median) == ("timed out", None)


# ------------------------------------------------------------------------------ the relay's health


@pytest.fixture
def status_with(market, tmp_path):
    """The status of a server that knows a relay at an address."""

    def of(relay_url):
        engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
        settings = Settings(engine, market.chain, rate=None, relay_url=relay_url)
        with followed(market.chain, engine), served(settings) as url, Client(url) as client:
            status = client.status()
        engine.dispose()
        return status

    return of


def test_status__relay_works__says_so_and_what_waits(market, actors, tmp_path, status_with):
    with running(market, tmp_path) as relay:
        relay.until(lambda: relay.client.get("/status").json()["problem"] is None)
        market.chain.send(actors.regulator, Call("Trading", "setPaused", (1, True)))
        relay.take(market.signed_orders(actors.consumer, bid(300, 100)))
        health = status_with(str(relay.client.base_url)).relay
    assert (health.state, health.waiting) == ("working", 1)


def test_status__relay_is_gone__is_away(status_with):
    health = status_with(f"http://127.0.0.1:{free_port()}").relay
    assert (health.state, health.waiting, health.turned_s) == ("away", None, None)


def test_status__no_relay__has_none(status_with):
    assert status_with(None).relay is None
