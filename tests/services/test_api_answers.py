"""Answers kept until the next block: repeated from memory, made again after a block, and never another request's."""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import event

from busbar import tables
from busbar.api import answers
from busbar.api.app import create_app
from busbar.api.context import Settings
from busbar.api.lately import Lately
from busbar.api.streams import MOST_OF_ADDRESS
from busbar.history import History, open_database
from tests.market import bid
from tests.served import followed, served


@pytest.fixture
def live(market, tmp_path):
    """The market, a client, and the queries that the server makes."""
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    asked = []
    settings = Settings(engine, market.chain, rate=None, cors_origins=("https://app.example",))
    for asking in (engine, settings.quick.engine):
        event.listen(asking, "before_cursor_execute", lambda *args: asked.append(args[2]))
    with followed(market.chain, engine), served(settings) as url, httpx.Client(base_url=url + "/api/v1/") as http:
        yield market, http, asked
    engine.dispose()


def test_get__the_same_again__is_answered_from_memory_with_headers_of_its_own(live):
    _, http, asked = live
    first = http.get("energy/book", headers={"Origin": "https://app.example"})
    asked.clear()
    again = http.get("energy/book", headers={"X-Request-ID": "mine"})
    assert again.content == first.content
    assert asked == []  # nothing was written since
    assert again.headers.get_list("x-request-id") == ["mine"]
    assert first.headers.get_list("x-request-id") != ["mine"]
    assert (first.headers["access-control-allow-origin"], "access-control-allow-origin" in again.headers) == (
        "https://app.example",
        False,
    )


def test_get__after_the_next_block__is_another_answer(live):
    market, http, _ = live
    assert http.get("energy/book").json()["orders"] == 0
    market.enter(market.actors.consumer, bid(310, 500))
    assert http.get("energy/book").json()["orders"] == 1


def test_get__etag_of_an_answer_in_memory__is_304(live):
    _, http, _ = live
    etag = [http.get("energy/book") for _ in range(2)][1].headers["etag"]
    answer = http.get("energy/book", headers={"If-None-Match": f'"other", {etag}'})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)


def test_get__etag_of_an_answer_not_in_memory__is_304(live):
    market, http, asked = live
    etag = http.get("energy/book").headers["etag"]
    path = f"accounts/{market.actors.consumer.address}/balance"
    answer = http.get(path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
    asked.clear()
    assert http.get(path).json()["account"] == market.actors.consumer.address
    assert asked == []


def test_get__etag_of_the_block_for_what_is_not_there__is_404(live):
    market, http, _ = live
    known = {"If-None-Match": http.get("energy/book").headers["etag"]}
    stranger = market.actors.outsider.address
    paths = (f"accounts/{stranger}", f"accounts/{stranger}/balance", "energy/orders/1", "blocks/99999")
    answers = [http.get(path, headers=known) for path in paths]
    assert [answer.status_code for answer in answers] == [404] * 4


def test_status__the_same_again__is_answered_from_memory_without_an_etag(live):
    _, http, asked = live
    first = http.get("status")
    asked.clear()
    again = http.get("status", headers={"If-None-Match": http.get("energy/book").headers["etag"]})
    assert (again.status_code, again.content, "etag" in again.headers) == (200, first.content, False)
    # What it alone tells is not looked up again.
    assert not any("chain_id" in query for query in asked)


def test_status__after_the_next_block__tells_of_it(live):
    market, http, _ = live
    before = http.get("status").json()["block"]
    market.chain.after_send()
    assert http.get("status").json()["block"] == before + 1


def test_status__kept_for_its_time__is_made_again(live, monkeypatch):
    _, http, asked = live
    monkeypatch.setattr(answers, "PASSES_S", -1)
    http.get("status")
    asked.clear()
    http.get("status")
    assert any("market" in query for query in asked)


def test_get__other_query__is_another_answer(live):
    _, http, _ = live
    assert [http.get("energy/book", params={"epoch": n}).json()["epoch"] for n in (1, 2, 1)] == [1, 2, 1]


def test_get__failure__is_not_kept(live):
    market, http, asked = live
    path = f"accounts/{market.actors.outsider.address}/balance"
    assert http.get(path).status_code == 404
    asked.clear()
    assert http.get(path).status_code == 404
    assert len(asked) > 1


def test_get__signed_request__is_never_answered_from_memory(live):
    market, http, _ = live
    path = f"accounts/{market.actors.consumer.address}/person"
    assert [http.get(path).status_code for _ in range(2)] == [401, 401]


def test_get__more_than_is_kept__drops_what_was_kept_first(live, monkeypatch):
    _, http, asked = live
    monkeypatch.setattr(answers, "MOST_BYTES", 2 * (len(http.get("energy/book").content) + 2_100))
    for n in (2, 3):
        http.get("energy/book", params={"epoch": n})
    asked.clear()
    http.get("energy/book", params={"epoch": 3})
    assert asked == []
    http.get("energy/book")
    assert len(asked) > 2


def test_get__the_address_is_long__is_kept_as_what_it_takes(live, monkeypatch):
    _, http, asked = live
    monkeypatch.setattr(answers, "MOST_BYTES", 30_000)
    for zeros, kept in ((10, True), (40_000, False)):
        query = {"zone": "0" * zeros + "1"}
        first = http.get("energy/book", params=query)
        asked.clear()
        assert (http.get("energy/book", params=query).content, asked == []) == (first.content, kept)


def test_get__somebody_does_not_read_the_answer__others_have_it(market, tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    app = create_app(Settings(engine, market.chain, rate=None))
    scope = {"type": "http", "method": "GET", "path": "/api/v1/energy/book", "query_string": b"", "headers": []}

    async def ask(send):
        await app({**scope, "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1)}, nothing, send)

    async def nothing():
        return {"type": "http.request", "body": b""}

    async def both():
        stuck, heard = asyncio.Event(), []

        async def never(_):
            stuck.set()
            await asyncio.Event().wait()

        async def hear(message):
            heard.append(message)

        first = asyncio.create_task(ask(never))
        await stuck.wait()
        async with asyncio.timeout(20):
            await ask(hear)
        first.cancel()
        return heard[0]["status"]

    with followed(market.chain, engine):
        assert asyncio.run(both()) == 200
    engine.dispose()


@pytest.mark.parametrize("tag", ["*", "{}", '"other", {}'])
def test_get__etag_as_a_proxy_sends_it__is_304(live, tag):
    _, http, _ = live
    etag = http.get("energy/book").headers["etag"].removeprefix("W/")
    answer = http.get("energy/book", headers={"If-None-Match": tag.format(etag)})
    assert (answer.status_code, answer.headers["cache-control"]) == (304, "no-cache")


def test_get__index_is_made_again_meanwhile__is_503_until_it_is_there(market, tmp_path):
    engine = open_database(f"sqlite:///{tmp_path / 'live.db'}")
    with followed(market.chain, engine), served(Settings(engine, market.chain, rate=None)) as url:
        assert httpx.get(f"{url}/api/v1/energy/book").status_code == 200
        tables.metadata.drop_all(engine)
        gone = httpx.get(f"{url}/api/v1/energy/book")
        tables.metadata.create_all(engine)
        empty = httpx.get(f"{url}/api/v1/energy/book")
        History(market.chain, engine).step()
        back = httpx.get(f"{url}/api/v1/energy/book")
    assert [answer.status_code for answer in (gone, empty, back)] == [503, 503, 200]
    assert (gone.json()["title"], empty.json()["title"]) == ("The index does not answer", "Nothing indexed yet")
    engine.dispose()


def test_get__many_at_once__are_answered_alike(live):
    _, http, _ = live
    with ThreadPoolExecutor(16) as crowd:
        told = list(crowd.map(lambda _: http.get("energy/stats").text, range(64)))
    assert len(set(told)) == 1


def test_lately__asked_within_its_time__looks_once():
    looks = []
    look = Lately(lambda: looks.append(1) or len(looks), 60)
    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (look(), looks) == (1, [1])


def test_lately__time_over__looks_again():
    looks = []
    look = Lately(lambda: looks.append(1) or len(looks), -1)
    assert (look(), look()) == (1, 2)


def test_stream__two_listen_to_the_same__both_hear(live):
    _, http, _ = live
    with http.stream("GET", "streams/blocks", timeout=5) as first:
        assert next(first.iter_lines()).startswith("event: block")
        with http.stream("GET", "streams/blocks", timeout=5) as second:
            assert next(second.iter_lines()).startswith("event: block")


def test_streams__more_than_an_address_may_have__are_429_until_one_ends(live):
    _, http, _ = live
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_OF_ADDRESS):
            stream = opened.enter_context(http.stream("GET", "streams/blocks"))
            assert stream.status_code == 200
        answer = http.get("streams/blocks")
        assert (answer.status_code, answer.json()["title"]) == (429, "Too many streams")
    for _ in range(200):
        with http.stream("GET", "streams/blocks") as stream:
            if stream.status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail("none ends")


LASTING = (
    "energy/book",
    "energy/orders",
    "energy/epochs",
    "energy/trades",
    "energy/stats",
    "grid/status",
    "participants",
    "meters",
    "accounts/{account}",
    "accounts/{account}/balance",
    "accounts/{account}/history",
)


@pytest.mark.parametrize("path", LASTING)
def test_get__block_without_events__is_the_kept_answer_as_a_fresh_server_gives_it(live, path):
    market, http, asked = live
    market.enter(market.actors.consumer, bid(310, 500))
    path = path.format(account=market.actors.consumer.address)
    before = http.get(path)
    market.chain.after_send()
    asked.clear()
    after = http.get(path)
    assert len(asked) == 1
    assert after.headers["etag"] != before.headers["etag"]
    assert int(after.headers["content-length"]) == len(after.content)
    # Asked for with another address that means the same, it is made anew.
    assert after.content == http.get(path + "?&").content
    assert len(asked) > 2


def test_get__block_without_events__is_another_answer_where_blocks_are_told(live):
    market, http, _ = live
    before = http.get("blocks").json()["items"][0]["number"]
    market.chain.after_send()
    assert http.get("blocks").json()["items"][0]["number"] == before + 1


def test_get__epoch_over_without_an_event__is_another_answer(live):
    market, http, _ = live
    market.enter(market.actors.consumer, bid(310, 500))
    assert http.get("energy/orders").json()["items"][0]["status"] == "open"
    market.next_epoch()
    market.chain.after_send()
    assert http.get("energy/orders").json()["items"][0]["status"] == "waiting"
    assert http.get("energy/book").json()["orders"] == 0


def test_get__chain_went_back__is_another_answer(live):
    market, http, _ = live
    account = market.actors.consumer
    path = f"accounts/{account.address}/balance"
    free = http.get(path).json()["money_free_units"]
    state = market.devnet.snapshot()
    market.enter(account, bid(310, 500))
    assert http.get(path).json()["money_free_units"] != free
    market.devnet.restore(state)
    market.chain.after_send()
    market.chain.after_send()
    assert http.get(path).json()["money_free_units"] == free
