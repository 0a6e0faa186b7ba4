"""The index against a real chain: what it holds, where it goes on, and how it goes back."""

import base64
import os
import shutil
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from sqlalchemy import insert, select, update

from busbar import people, tables
from busbar.api.context import Settings
from busbar.chain import Call
from busbar.devnet import dev_meter_key
from busbar.history import (
    _HANDLERS,
    History,
    HistoryError,
    head_of,
    holdings,
    import_ledgers,
    lowest_nonces,
    open_database,
    snapshot,
    verify,
)
from tests.market import ENERGY, ZONE, ask, bid
from tests.relayed import trade_by_signature
from tests.requires import needs_program
from tests.served import followed, served

DAY_OF_TRADE_EPOCH = 5


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """A fresh database of each kind, by URL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.db'}"
    return request.getfixturevalue("fresh_postgres")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory):
    """A PostgreSQL server of our own, on a socket in a temporary folder."""
    server = needs_program("postgres", apt="postgresql", folders="/usr/lib/postgresql/*/bin")
    folder = tmp_path_factory.mktemp("pg")
    # The server refuses to run for root: somebody else owns its folder then.
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user:
        for path in (folder, *folder.parents[:2]):
            path.chmod(0o755)
        shutil.chown(folder, "nobody")
    initdb = str(Path(server).resolve().parent / "initdb")
    data = str(folder / "data")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder}
    subprocess.run([*as_user, initdb, "-D", data, "-U", "busbar", "-A", "trust", "-N"], check=True, **quiet)
    command = [*as_user, server, "-D", data, "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, text=True)
    for line in process.stderr:
        if "ready to accept connections" in line:
            break
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield f"postgresql+psycopg://busbar@/{{}}?host={folder}"
    process.terminate()
    process.wait()
    process.stderr.close()


@pytest.fixture
def fresh_postgres(postgres):
    url = postgres.format("postgres")
    engine = open_database(url)
    tables.metadata.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def engine(database):
    engine = open_database(database)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'history.db'}")
    yield engine
    engine.dispose()


def test_api__on_either_database__answers_pages_and_refuses_what_is_no_cursor(market, engine):
    trade(market)
    History(market.chain, engine).step()
    consumer = market.actors.consumer.address
    with served(Settings(engine, market.chain, rate=None)) as url, httpx.Client(base_url=url + "/api/v1/") as http:
        whole = http.get("energy/orders").json()["items"]
        first = http.get("energy/orders?limit=2").json()
        then = http.get("energy/orders", params={"cursor": first["next_cursor"]}).json()
        assert first["items"] + then["items"] == whole
        assert len(whole) == 6
        for path in ("energy/book", "energy/epochs/5", "energy/stats", "energy/trades", "meters", "participants"):
            assert http.get(path).status_code == 200
        for path in ("balance", "history", "statement?month=2026-03"):
            assert http.get(f"accounts/{consumer}/{path}").status_code == 200
        for place in ('[5,"\\ud800",0]', '[5,"\\u0000",0]', '[5,"a",1099511627776]', "[9223372036854775808,0,0]"):
            cursor = base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")
            assert http.get("energy/orders", params={"cursor": cursor}).json()["title"] == "Invalid cursor"


def test_api__index_is_made_again__is_503_meanwhile(market, engine):
    History(market.chain, engine).step()
    with served(Settings(engine, market.chain, rate=None)) as url, httpx.Client(base_url=url + "/api/v1/") as http:
        assert http.get("energy/stats").status_code == 200
        tables.metadata.drop_all(engine)
        answers = [http.get(path) for path in ("energy/stats", "energy/book", "blocks")]
    assert {(answer.status_code, answer.json()["title"]) for answer in answers} == {(503, "The index does not answer")}


def test_snapshot__a_block_is_written_meanwhile__is_not_in_it(market, engine):
    market.next_epoch()
    history = History(market.chain, engine)
    history.step()
    with snapshot(engine) as connection:
        before = head_of(connection)
        market.enter(market.actors.consumer, bid(310, 500))
        history.step()
        assert head_of(connection) == before
        assert connection.execute(select(tables.orders)).all() == []
    with snapshot(engine) as connection:
        assert head_of(connection).number > before.number
        assert len(connection.execute(select(tables.orders)).all()) == 1


def contents(engine):
    """All that came from the chain, table by table."""
    with engine.connect() as connection:
        return {
            table.name: sorted(tuple(row) for row in connection.execute(select(table))) for table in tables.FROM_CHAIN
        }


def trade(market):
    """An afternoon with a bit of everything: meters, parked growth, rationing, a cancel, retirement, a request."""
    actors = market.actors
    roof = market.meter("roof", actors.producer)
    shop = market.meter("shop", actors.consumer, kind=2)
    market.to_epoch(DAY_OF_TRADE_EPOCH)
    market.submit(roof.read(export_wh=2_000), shop.read(import_wh=1_500))
    market.enter(actors.producer, ask(300, 1_000), ask(310, 600), ask(320, 200))
    market.give_energy(actors.other_producer, 500)
    market.enter(actors.other_producer, ask(310, 500))
    market.enter(actors.consumer, bid(350, 1_200))
    market.enter(actors.other_consumer, bid(310, 143))
    market.cancel(actors.producer, market.order_id(actors.producer, 2))
    market.next_epoch()
    market.clear()
    market.chain.send(actors.keeper, Call("Metering", "retireFor", ([actors.consumer.address],)))
    market.withdraw(actors.producer, ENERGY, 10**15)
    market.chain.send(actors.oracle_operator, Call("OracleClient", "requestEnergyData", (1, b"ft".ljust(32, b"\0"))))
    market.assign_meter("weak", actors.other_producer, export_w=100, export_wh=0)
    weak = market.signed("weak", key_of("weak"), market.chain.head().timestamp + 1, 5_000_000, 9_000)
    market.submit(weak)
    market.chain.send(actors.distributor, Call("Metering", "releaseParked", (1,)))
    market.chain.send(actors.consumer, Call("Metering", "setAutoRetire", (False,)))


def key_of(meter_id):
    return dev_meter_key(sum(meter_id.encode()) * 31 % 977)


def test_step__growth_of_a_replaced_meter_is_parked__is_taken_back_where_it_was_booked(market, sqlite):
    shop = market.meter("shop", market.actors.consumer, kind=2, import_w=1_000)
    market.to_epoch(DAY_OF_TRADE_EPOCH)
    market.replace_meter(shop, key_of("other"), (shop.import_wh + 9_000_000, shop.export_wh), (0, 0))
    History(market.chain, sqlite).step()
    j = tables.journal
    with sqlite.connect() as connection:
        rows = connection.execute(select(j.c.interval_end, j.c.kind, j.c.import_wh).where(j.c.import_wh != 0)).all()
    (end, *_), _ = rows
    assert rows == [(end, "metered", 9_000_000), (end, "parked", -9_000_000)]


def test_step__a_day_of_trade__agrees_with_the_chain(market, engine):
    trade(market)
    history = History(market.chain, engine)
    assert history.step() == market.chain.head().number + 1
    assert verify(market.chain, engine) == (market.chain.head().number, [])
    with engine.connect() as connection:
        kinds = set(connection.scalars(select(tables.journal.c.kind)))
    assert kinds == {
        "deposited", "withdrawn", "metered", "parked", "released", "ordered", "cancelled", "settled", "retired",
    }  # fmt: skip


def test_step__an_afternoon_of_signed_messages__agrees_with_the_chain(market, engine):
    trade_by_signature(market)
    History(market.chain, engine).step()
    assert verify(market.chain, engine) == (market.chain.head().number, [])
    o, k = tables.orders, tables.meter_keys
    with engine.connect() as connection:
        nonces = connection.scalars(select(o.c.nonce).order_by(o.c.block, o.c.log_index, o.c.index)).all()
        curves = connection.execute(select(k.c.meter_id, k.c.key_type).order_by(k.c.block)).all()
        used = lowest_nonces(connection)
    assert nonces == [3, 3, 3, 0, 7, 7, None, 2]
    assert curves == [("roof", 1), ("shop", 0), ("roof", 0), ("shop", 1)]
    actors = market.actors
    everybody = (actors.producer, actors.consumer, actors.other_consumer, actors.third_consumer)
    assert used == dict(zip([p.address for p in everybody], (4, 3, 8, 42), strict=True))


def stand(market, follow):
    """Standing orders that trade in part, rest, are rolled, cancelled, missed and expire; told after each."""
    a = market.actors
    market.give_energy(a.producer, 2_000)
    market.enter(a.consumer, replace(bid(300, 1_000), life=3), bid(200, 400), replace(bid(250, 700), life=9))
    market.enter(a.other_consumer, replace(bid(300, 900), life=1))
    market.enter(a.producer, replace(ask(300, 777), life=5))
    follow()
    market.next_epoch()
    follow()
    market.settle(a.consumer)
    follow()
    market.chain.send(a.outsider, Call("Trading", "roll", ([a.consumer.address, a.producer.address],)))
    market.enter(a.producer, ask(300, 150))
    follow()
    market.next_epoch(2)
    follow()
    market.cancel(a.consumer, market.order_id(a.consumer, 1, market.epoch - 2))
    follow()
    market.enter(a.consumer, bid(100, 100))
    market.next_epoch(2)
    market.buy(a.third_consumer, 10, 100)
    follow()


def test_step__standing_orders__agree_with_the_chain_at_every_step(market, engine):
    history = History(market.chain, engine)

    def follow():
        market.devnet.mine()
        history.step()
        assert verify(market.chain, engine) == (market.chain.head().number, [])

    stand(market, follow)
    o = tables.orders
    with engine.connect() as connection:
        ended = connection.execute(select(o.c.ended, o.c.rolled, o.c.life).order_by(o.c.block, o.c.index)).all()
    assert {(how, rolled) for how, rolled, _ in ended} == {
        (None, False), (None, True), ("rolled", False), ("rolled", True), ("cancelled", True),
    }  # fmt: skip
    followed = contents(engine)
    History.forget(engine)
    History(market.chain, engine).step()
    assert contents(engine) == followed


def test_holdings__of_one_account__are_what_they_are_among_all(market, sqlite):
    history, actors = History(market.chain, sqlite), market.actors
    market.give_energy(actors.producer, 3_000)
    market.enter(actors.consumer, replace(bid(300, 1_000), life=5))
    market.next_epoch()
    market.clear()
    # One rests; an epoch with a trade between the others is over and not cleared.
    market.enter(actors.producer, ask(290, 2_000))
    market.enter(actors.other_consumer, bid(310, 700))
    market.next_epoch()
    market.devnet.mine()
    history.step()
    assert verify(market.chain, sqlite) == (market.chain.head().number, [])
    with sqlite.connect() as connection:
        head = head_of(connection)
        everybody = holdings(connection, head)
        alone = {who: holdings(connection, head, [who])[who] for who in everybody}
    assert alone == everybody
    assert everybody[actors.consumer.address].money_escrow_units > 0
    assert everybody[actors.producer.address].energy_escrow_uwh == 0


def test_step__rolled_and_reorganised_away__rests_again(market, sqlite):
    history = History(market.chain, sqlite)
    market.enter(market.actors.consumer, replace(bid(300, 1_000), life=3))
    market.next_epoch()
    market.devnet.mine()
    history.step()
    before, fork = contents(sqlite), market.devnet.snapshot()
    market.chain.send(market.actors.outsider, Call("Trading", "roll", ([market.actors.consumer.address],)))
    history.step()
    assert contents(sqlite)["orders"] != before["orders"]
    market.devnet.restore(fork)
    for _ in range(3):
        market.devnet.mine()
    history.step()
    assert contents(sqlite)["orders"] == before["orders"]
    assert verify(market.chain, sqlite) == (market.chain.head().number, [])


def test_step__late_readings__are_kept_and_count_nothing(market, sqlite):
    trade_by_signature(market)
    History(market.chain, sqlite).step()
    r = tables.readings
    with sqlite.connect() as connection:
        rows = connection.execute(select(r).where(r.c.meter_id == "shop").order_by(r.c.block, r.c.log_index)).mappings()
        grown = [(row["kind"], row["import_register_wh"], row["import_wh"]) for row in rows]
        ledger = import_ledgers(connection, head_of(connection))[market.actors.consumer.address]
    assert grown == [
        ("opened", 5_000_000, 0),
        ("reading", 5_001_500, 1_500),
        ("final", 5_001_550, 50),
        ("opened", 7, 0),
        ("late", 5_001_505, 0),
        ("reading", 18, 11),
    ]
    assert ledger.current_wh == 1_500 + 50 + 11


def test_step__signed_messages_block_after_block__equal_a_rebuild(market, sqlite):
    with followed(market.chain, sqlite):
        trade_by_signature(market)
    before = contents(sqlite)
    History.forget(sqlite)
    History(market.chain, sqlite).step()
    assert contents(sqlite) == before


def test_step__signed_messages_are_reorganised_away__leave_nothing(market, sqlite):
    history = History(market.chain, sqlite)
    fork = market.devnet.snapshot()
    history.step()
    before = contents(sqlite)
    trade_by_signature(market)
    history.step()
    market.devnet.restore(fork)
    history.step()
    assert contents(sqlite) == before


def test_history__a_database_of_another_layout__is_refused_until_rebuilt(market, sqlite):
    History(market.chain, sqlite)
    with sqlite.begin() as connection:
        connection.execute(update(tables.market).values(layout=tables.LAYOUT - 1))
    with pytest.raises(HistoryError, match="index with --rebuild"):
        History(market.chain, sqlite)
    History.forget(sqlite)
    History(market.chain, sqlite).step()
    assert verify(market.chain, sqlite)[1] == []


def test_history__a_database_of_before_there_were_layouts__is_refused_until_rebuilt(market, sqlite):
    with sqlite.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE market DROP COLUMN layout")
    with pytest.raises(HistoryError, match=r"no such column.*index with --rebuild"):
        History(market.chain, sqlite)
    History.forget(sqlite)
    assert History(market.chain, sqlite).step() > 0


def test_step__repeated__changes_nothing(market, sqlite):
    trade(market)
    history = History(market.chain, sqlite)
    history.step()
    before = contents(sqlite)
    assert history.step() == 0
    assert contents(sqlite) == before


def test_step__block_after_block_by_new_processes__equals_a_rebuild(market, engine):
    history = History(market.chain, engine)
    history.step()
    mine = market.chain.after_send

    def mine_and_follow():
        mine()
        History(market.chain, engine).step()

    market.chain.after_send = mine_and_follow
    try:
        trade(market)
    finally:
        market.chain.after_send = mine
    followed = contents(engine)
    assert len(followed["fills"]) == 5
    History.forget(engine)
    History(market.chain, engine).step()
    assert contents(engine) == followed


def test_step__batches_end_in_mid_epoch__makes_no_difference(market, sqlite, monkeypatch, tmp_path):
    trade(market)
    History(market.chain, sqlite).step()
    monkeypatch.setattr("busbar.history.BATCH_BLOCKS", 3)
    small = open_database(f"sqlite:///{tmp_path / 'small.db'}")
    History(market.chain, small).step()
    assert contents(small) == contents(sqlite)
    small.dispose()


def test_step__the_chain_goes_back__follows_the_other_branch(market, engine):
    """A branch with cancels, a clearing, retirement and parked growth is given up for one with other trades."""
    history = History(market.chain, engine)
    market.to_epoch(4)
    fork = market.devnet.snapshot()
    common = market.chain.head().number
    trade(market)
    history.step()
    abandoned = contents(engine)
    market.devnet.restore(fork)
    market.to_epoch(4, 60)
    market.give_energy(market.actors.producer, 700)
    market.enter(market.actors.producer, ask(200, 700))
    for _ in range(60):
        market.devnet.mine()
    history.step()
    followed = contents(engine)
    assert verify(market.chain, engine) == (market.chain.head().number, [])
    assert [row for row in followed["blocks"] if row[0] <= common] == [
        row for row in abandoned["blocks"] if row[0] <= common
    ]
    History.forget(engine)
    History(market.chain, engine).step()
    assert contents(engine) == followed


def test_step__anvil_reorgs_under_it__agrees_again(market, sqlite):
    history = History(market.chain, sqlite)
    trade(market)
    history.step()
    before = contents(sqlite)
    market.devnet.node.request("anvil_reorg", 6, [])
    history.step()
    assert verify(market.chain, sqlite) == (market.chain.head().number, [])
    after = contents(sqlite)
    assert before["parked"] != after["parked"]
    assert {row[1] for row in after["blocks"]} != {row[1] for row in before["blocks"]}


def test_step__a_shorter_chain__goes_back_with_it(market, sqlite):
    history = History(market.chain, sqlite)
    fork = market.devnet.snapshot()
    history.step()
    before = contents(sqlite)
    trade(market)
    history.step()
    market.devnet.restore(fork)
    history.step()
    assert contents(sqlite) == before


def test_step__interrupted_while_writing__leaves_no_trace(market, sqlite, monkeypatch):
    history = History(market.chain, sqlite)
    history.step()
    before = contents(sqlite)
    trade(market)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setitem(_HANDLERS, ("Metering", "Retired"), interrupt)
        with pytest.raises(KeyboardInterrupt):
            history.step()
    assert contents(sqlite) == before
    history.step()
    assert verify(market.chain, sqlite)[1] == []


def test_step__a_second_indexer__is_told(market, sqlite):
    trade(market)
    history = History(market.chain, sqlite)
    batch = history._fetch(0, 10)
    history.step()
    with pytest.raises(HistoryError, match="does another indexer write to it"):
        history._write(batch)


def test_history__a_database_of_another_market__is_refused(market, sqlite):
    History(market.chain, sqlite)
    other = market.another_trading()
    with pytest.raises(HistoryError, match="holds another market"):
        History(other, sqlite)


def test_verify__a_row_was_changed__names_it(market, sqlite):
    trade(market)
    History(market.chain, sqlite).step()
    consumer = market.actors.consumer.address
    a = tables.accounts
    with sqlite.begin() as connection:
        held = holdings(connection, head_of(connection))[consumer]
        changed = update(a).where(a.c.account == consumer).values(money_free_units=held.money_free_units + 1)
        connection.execute(changed)
    _, differences = verify(market.chain, sqlite)
    assert [(d.what, int(d.database) - int(d.chain)) for d in differences] == [(f"money_free_units of {consumer}", 1)]


def test_verify__an_ended_epoch_waits_for_clearing__is_counted_as_cleared(market, sqlite):
    market.give_energy(market.actors.producer, 900)
    market.enter(market.actors.producer, ask(300, 900))
    market.enter(market.actors.consumer, bid(300, 700))
    market.next_epoch()
    assert market.chain.clearing_due(ZONE) is not None
    History(market.chain, sqlite).step()
    assert verify(market.chain, sqlite)[1] == []
    with sqlite.connect() as connection:
        held = holdings(connection, head_of(connection), [market.actors.producer.address])
    assert held[market.actors.producer.address].energy_free_uwh == 200 * 10**6


def test_verify__midnight_has_passed__agrees_on_grid_import(market, sqlite):
    shop = market.meter("shop", market.actors.consumer, kind=2)
    market.to_epoch(90)
    market.submit(shop.read(import_wh=1_234))
    consumer = market.actors.consumer.address
    for epoch, (previous_wh, grid_wh) in {97: (1_234, 0), 100: (0, 1_234)}.items():
        market.to_epoch(epoch)
        History(market.chain, sqlite).step()
        assert verify(market.chain, sqlite)[1] == []
        with sqlite.connect() as connection:
            ledger = import_ledgers(connection, head_of(connection))[consumer]
        assert (ledger.current_wh, ledger.previous_wh, ledger.grid_import_wh) == (0, previous_wh, grid_wh)


def test_verify__behind_the_chain__compares_at_its_own_block(market, sqlite):
    trade(market)
    History(market.chain, sqlite).step()
    block = market.chain.head().number
    market.fund(market.actors.consumer, 5)
    assert verify(market.chain, sqlite) == (block, [])


def test_verify__nothing_indexed_or_another_branch__is_refused(market, sqlite):
    with pytest.raises(HistoryError, match="is empty"):
        verify(market.chain, sqlite)
    trade(market)
    History(market.chain, sqlite).step()
    market.devnet.node.request("anvil_reorg", 3, [])
    with pytest.raises(HistoryError, match="is not the chain's any more"):
        verify(market.chain, sqlite)


@pytest.mark.parametrize("value", [0, 1, -1, 2**53 + 1, 2**63, 2**76, 10**77, 2**256 - 1, 1 - 2**256])
def test_exact__whatever_fits_256_bits__comes_back(engine, value):
    with engine.begin() as connection:
        row = {"block": 1, "log_index": 0, "tx_hash": "0x", "amount_wei": value, "total_wei": 0}
        connection.execute(insert(tables.supply), row)
        assert connection.scalars(select(tables.supply.c.amount_wei)).all() == [value]


def test_exact__beyond_256_bits__is_refused(sqlite):
    row = {"block": 1, "log_index": 0, "tx_hash": "0x", "amount_wei": 2**256, "total_wei": 0}
    with sqlite.begin() as connection, pytest.raises(Exception, match="more than 256 bits"):
        connection.execute(insert(tables.supply), row)


@pytest.mark.parametrize("value", [2**60 - 1, 2**63 - 1, -(2**63)])
def test_energy__of_64_bits__comes_back(engine, value):
    row = dict.fromkeys(("energy_escrow_uwh", "money_free_units", "money_escrow_units"), 0)
    with engine.begin() as connection:
        connection.execute(insert(tables.accounts), row | {"account": "0x", "energy_free_uwh": value})
        assert connection.scalars(select(tables.accounts.c.energy_free_uwh)).all() == [value]


@pytest.mark.parametrize("url", ["sqlite:////no/such/folder/x.db", "postgresql+psycopg://x@127.0.0.1:1/x", "nonsense"])
def test_open_database__none_there__says_so_in_one_line(url):
    with pytest.raises(HistoryError, match=r"^the database does not open: [^\n]+$"):
        open_database(url)


def test_holding__of_nobody__is_nothing(sqlite, market):
    History(market.chain, sqlite).step()
    with sqlite.connect() as connection:
        held = holdings(connection, head_of(connection), [market.actors.outsider.address])
    assert held == {}


def test_clear__somebody_reads_in_postgresql__gives_up_after_a_while_and_clears_later(fresh_postgres, monkeypatch):
    monkeypatch.setattr(people, "PATIENCE_S", 0.2)
    engine = open_database(fresh_postgres)
    who = people.Person("0x" + 40 * "1", "Somchai", None, None)
    with engine.begin() as connection:
        people.remember(connection, who)
    with engine.connect() as reader:
        assert people.look_up(reader, who.account) == who
        with engine.begin() as connection:
            people.forget(connection, who.account)
        with pytest.raises(people.StillReadError, match="erase again"):
            people.clear(engine)
        # Whoever asks after it waits for nobody.
        with engine.connect() as connection:
            assert people.look_up(connection, who.account) is None
    people.clear(engine)
    engine.dispose()
