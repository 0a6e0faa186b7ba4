"""A distributor assigns a meter whose id is no plain text, as the contracts let it: everybody goes on and shows it."""

import pytest

from busbar import audit
from busbar.archive import collect
from busbar.history import History, open_database, verify
from busbar.intake import Intake
from busbar.meters import Gateway
from busbar.outbox import Outbox
from tests.served import servers

ODD = {"no text": "0x" + "ff" * 32, "a space": "0x" + b"a meter".ljust(32, b"\0").hex()}


@pytest.fixture(params=ODD.values(), ids=ODD)
def odd(request, market, actors):
    return market.meter(request.param, actors.producer)


@pytest.mark.parametrize("meter_id", ODD.values(), ids=ODD)
def test_index__a_meter_of_odd_bytes__goes_on_and_the_api_shows_it(market, actors, tmp_path, meter_id):
    with servers(market.chain, tmp_path) as of:
        http = of()
        odd = market.meter(meter_id, actors.producer)
        market.to_epoch(5)
        market.submit(odd.read(export_wh=700))
        shown = http.get(f"meters/{meter_id}").json()
        assert (shown["meter_id"], shown["account"]) == (meter_id, actors.producer.address)
        newest, _ = http.get(f"meters/{meter_id}/readings").json()["items"]
        assert newest["export_wh"] == 700
        assert [m["meter_id"] for m in http.get("meters").json()["items"]] == market.chain.meter_ids() == [meter_id]


def test_verify__a_meter_of_odd_bytes__agrees_with_the_chain(market, odd, tmp_path):
    market.to_epoch(5)
    market.submit(odd.read(export_wh=700))
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    History(market.chain, engine).step()
    assert verify(market.chain, engine)[1] == []
    engine.dispose()


def test_audit__a_meter_of_odd_bytes__proves_its_readings(market, odd):
    market.to_epoch(5)
    market.submit(odd.read(export_wh=700))
    market.submit(odd.read(export_wh=1))
    result = audit.run(collect(market.chain))
    assert (result.findings, result.readings) == ([], 2)


def test_gateway__a_meter_of_odd_bytes_is_assigned_meanwhile__takes_the_others_on(market, actors):
    roof = market.meter("roof", actors.producer)
    gateway = Gateway(market.chain, actors.minter, outbox=Outbox(None))
    intake = Intake(gateway.chain, gateway.outbox)
    market.to_epoch(5)
    assert intake.take([roof.read(export_wh=1)]) == [f"roof@{market.chain.head().timestamp + 1}"]
    market.meter(ODD["no text"], actors.consumer)
    later = roof.read(export_wh=1)
    assert intake.take([later]) == [later.reading.key]
