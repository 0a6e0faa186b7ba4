"""Bundles on their way to the relay: many go in one request, and nobody waits for ever."""

import asyncio
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from busbar.api.gathered import Gathered
from busbar.api.messages import MOST_BUNDLES
from busbar.api.problems import Problem


@contextmanager
def standing_in(answer):
    """A server where the relay should be; gives its address and how many bundles came in each request."""
    groups = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            bundles = json.loads(self.rfile.read(int(self.headers["content-length"])))["bundles"]
            groups.append(len(bundles))
            body = json.dumps({"bundles": answer(bundles)}).encode()
            self.send_response(202)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", groups
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def taken(bundles):
    return [{"taken": {"id": str(number), "state": "accepted"}} for number in bundles]


async def all_at_once(url, count):
    async with httpx.AsyncClient(base_url=url, trust_env=False) as relay:
        gathered = Gathered(relay)
        return await asyncio.gather(*(gathered.take(str(n).encode()) for n in range(count)))


def test_take__many_at_once__go_in_few_requests_and_each_gets_its_own():
    with standing_in(taken) as (url, groups):
        answers = asyncio.run(all_at_once(url, MOST_BUNDLES + 1))
    assert [answer.taken.id for answer in answers] == [str(n) for n in range(MOST_BUNDLES + 1)]
    assert groups == [MOST_BUNDLES, 1]


def test_take__the_relay_leaves_one_out__answers_nobody():
    with standing_in(lambda bundles: taken(bundles[1:])) as (url, _), pytest.raises(Problem, match="try again later"):
        asyncio.run(all_at_once(url, 3))


def test_take__client_is_closed_meanwhile__raises_and_leaves_nobody_waiting():
    async def closed():
        relay = httpx.AsyncClient(base_url="http://127.0.0.1:1", trust_env=False)
        gathered = Gathered(relay)
        await relay.aclose()
        await asyncio.wait_for(gathered.take(b"{}"), 10)

    with pytest.raises(RuntimeError, match="closed"):
        asyncio.run(closed())
