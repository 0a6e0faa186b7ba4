"""Readings handed on to the gateway by the API: as at the gateway's own door, and honest when it is away."""

import json

import pytest

from busbar.devnet import free_port
from tests.served import servers
from tests.services.test_meters_door import assigned, now, problem, running


@pytest.fixture
def http_of(market, tmp_path):
    """A client of a server before a gateway, or without."""
    with servers(market.chain, tmp_path) as of:
        yield of


@pytest.fixture
def gateway(market, tmp_path):
    with running(market, tmp_path) as gateway:
        yield gateway


@pytest.fixture
def roof(market, actors):
    return assigned(market, "roof/1", actors.producer)


def test_post__a_meters_reading__is_taken_on_and_followed_until_it_counts(http_of, market, gateway, roof):
    http = http_of(gateway_url=str(gateway.client.base_url))
    signed = roof.read(export_wh=700, at=now(market))
    answer = http.post("readings", json=json.loads(signed.to_json()))
    told = answer.json()
    assert (answer.status_code, told["follow"]) == (202, f"/api/v1/readings/roof%2F1@{signed.reading.interval_end}")
    assert answer.headers["location"] == told["follow"]
    gateway.until(lambda: http.get(told["follow"].removeprefix("/api/v1/")).json()["state"] == "counted", mine=True)
    found = http.get("readings/roof@1")
    assert (found.status_code, found.json()["title"]) == (404, "Unknown reading")


def test_post__refused_at_the_gateway__is_refused_by_the_same_name(http_of, market, gateway, roof):
    http = http_of(gateway_url=str(gateway.client.base_url))
    fields = json.loads(roof.read(at=now(market)).to_json())
    assert problem(http.post("readings", json=fields | {"exportWh": 9_000_000})) == (422, "ForgedReadingError")
    assert problem(http.post("readings", json=fields | {"meterId": "nobody"})) == (422, "UnknownMeterError")


def test_post__too_many_of_a_meter__says_when_to_come_again(http_of, market, tmp_path, roof):
    with running(market, tmp_path, rate="1/hour") as gateway:
        http = http_of(gateway_url=str(gateway.client.base_url))
        at = now(market)
        answers = [http.post("readings", json=json.loads(roof.read(at=at + n).to_json())) for n in range(2)]
        assert [answer.status_code for answer in answers] == [202, 429]
        assert answers[1].headers["retry-after"] == "10"


def test_post__no_gateway__says_so(http_of, market, roof):
    fields = json.loads(roof.read(at=now(market)).to_json())
    assert http_of().post("readings", json=fields).json()["title"] == "No gateway"


def test_post__gateway_away__does_not_tell_its_address(http_of, market, roof):
    port = free_port()
    answer = http_of(gateway_url=f"http://127.0.0.1:{port}").post(
        "readings", json=json.loads(roof.read(at=now(market)).to_json())
    )
    assert (answer.status_code, answer.json()["title"]) == (503, "The gateway does not answer")
    assert str(port) not in answer.text
