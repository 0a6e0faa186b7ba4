"""Reads on the event loop's own thread: of one moment, given up when they take long, and then answered all the same."""

import httpx
import pytest
from sqlalchemy import insert, make_url, select, text

from busbar import tables
from busbar.api import quick
from busbar.api.context import Settings
from busbar.api.quick import NotQuickError, Quick
from busbar.history import in_file, open_database
from tests.market import bid
from tests.served import followed, served

LONG = text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 10000000) SELECT count(*) FROM n")


@pytest.fixture
def engine(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def reads(engine):
    reads = Quick(engine.url)
    yield reads
    reads.engine.dispose()


def block(number):
    same = {"timestamp": 1, "epoch": None, "gas_used": 0, "transactions": 0}
    return insert(tables.blocks).values(number=number, hash=str(number), parent_hash="", **same)


def numbers(connection):
    return connection.scalars(select(tables.blocks.c.number)).all()


def test_snapshot__a_block_is_written_meanwhile__is_not_in_it(engine, reads):
    with reads.snapshot() as connection:
        assert numbers(connection) == []
        with engine.begin() as writing:
            writing.execute(block(1))
        assert numbers(connection) == []
    with reads.snapshot() as connection:
        assert numbers(connection) == [1]


def test_snapshot__takes_long__is_given_up_and_the_next_is_not(reads):
    with pytest.raises(NotQuickError, match="interrupted"), reads.snapshot() as connection:
        connection.execute(LONG)
    with reads.snapshot() as connection:
        assert numbers(connection) == []


def test_snapshot__somebody_has_the_file_to_himself__is_given_up_at_once(engine, reads):
    with engine.connect() as other:
        other.execute(text("PRAGMA locking_mode=EXCLUSIVE"))
        other.execute(block(1))
        other.commit()
        with pytest.raises(NotQuickError, match="locked"), reads.snapshot() as connection:
            numbers(connection)
        other.execute(text("PRAGMA locking_mode=NORMAL"))
        numbers(other)
    with reads.snapshot() as connection:
        assert numbers(connection) == [1]


def test_get__takes_longer_than_a_moment__is_answered_all_the_same(market, engine, monkeypatch):
    market.next_epoch()
    market.enter(market.actors.consumer, bid(310, 500), bid(320, 500))
    settings = Settings(engine, market.chain, rate=None)
    asked = ("energy/orders", "energy/book", f"accounts/{market.actors.consumer.address}/balance")
    with followed(market.chain, engine), served(settings) as url:
        soon = [httpx.get(f"{url}/api/v1/{path}").json() for path in asked]
        market.chain.after_send()  # the answers are not repeated from memory
        monkeypatch.setattr(quick, "MOST_S", -1)
        monkeypatch.setattr(quick, "STEPS", 1)
        settings.quick.engine.dispose()  # a new connection counts every step
        late = [httpx.get(f"{url}/api/v1/{path}").json() for path in asked]
    assert [answer | {"block": 0} for answer in late] == [answer | {"block": 0} for answer in soon]
    assert len(late[0]["items"]) == 2


def test_quick__index_in_memory_or_on_a_server__is_not_for_the_loop(engine):
    assert Settings(engine).quick is not None
    assert [Settings(open_database(url)).quick for url in ("sqlite://", "sqlite:///:memory:")] == [None, None]
    assert not in_file(make_url("postgresql+psycopg://busbar@/market"))


def test_version__somebody_writes__is_another_one(engine, reads):
    before = reads.version()
    assert reads.version() == before
    with engine.begin() as writing:
        writing.execute(block(1))
    after = reads.version()
    assert after != before
    with reads.snapshot() as connection:
        assert numbers(connection) == [1]
    assert reads.version() == after


def test_is_replaced__another_file_in_its_place__is_told_once(engine, reads, tmp_path):
    assert not reads.is_replaced()
    with reads.snapshot() as connection:
        assert numbers(connection) == []
    other = open_database(f"sqlite:///{tmp_path / 'other.db'}")
    with other.begin() as writing:
        writing.execute(block(7))
    other.dispose()
    engine.dispose()
    for file in tmp_path.glob("index.db*"):
        file.unlink()
    (tmp_path / "other.db").replace(tmp_path / "index.db")
    assert (reads.is_replaced(), reads.is_replaced()) == (True, False)
    with reads.snapshot() as connection:
        assert numbers(connection) == [7]
