"""Whoever connects and says nothing, or not all of it: the door closes after a while, and on nobody else."""

import asyncio
import contextlib
import json
import socket
import time

import httpx
import pytest
from fastapi import FastAPI, Request

from busbar import door
from busbar.api import middleware
from busbar.devnet import free_port

SHORT_S = 0.3
PATIENCE_S = 30


@pytest.fixture
def port(monkeypatch):
    """Where a small application answers that waits as long as its caller asks for."""
    monkeypatch.setattr(door, "HEADERS_S", SHORT_S)
    monkeypatch.setattr(middleware, "BODY_S", SHORT_S)
    app, port = FastAPI(), free_port()

    @app.post("/wait")
    async def wait(request: Request) -> int:
        await asyncio.sleep(float(await request.body() or "0"))
        return 1

    @app.get("/large")
    async def large() -> str:
        return "x" * 20_000_000

    app.add_middleware(middleware.BodyLimit, most_bytes=100)
    app.add_middleware(middleware.Door, rate=None)
    stop = door.serve(app, "127.0.0.1", port)
    yield port
    stop()


def until_it_ends(connection):
    for _ in range(100):
        connection.send(b"\r\n")
        time.sleep(0.1)


def test_serve__answers_are_not_read__closes(port):
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_S)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            until_it_ends(connection)


def heard(port, sent):
    """Everything that is answered until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(sent)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    return answer


WHOLE = b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n0"


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["first", "second"])
@pytest.mark.parametrize("sent", [b"", b"GET /wait HTTP/1.1\r\nHost: x\r\nX: "], ids=["nothing", "half a header"])
def test_serve__headers_do_not_come__closes(port, before, sent):
    assert heard(port, before + sent)[:15] == (b"HTTP/1.1 200 OK" if before else b"")


def asked(port, source, opened):
    """What a connection from an address is answered first; it stays open, and others with it."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_S, (source, 0))
    opened.callback(connection.close)
    connection.sendall(WHOLE)
    return connection.recv(4096)


def test_serve__more_connections_than_an_address_may_have__are_429_until_one_ends(port, monkeypatch):
    monkeypatch.setattr(door, "MOST_OF_ADDRESS", 2)
    monkeypatch.setattr(door, "HEADERS_S", PATIENCE_S)
    with contextlib.ExitStack() as opened:
        first = [asked(port, "127.0.0.2", opened)[:12] for _ in range(2)]
        refusal = asked(port, "127.0.0.2", opened)
        head, _, body = refusal.partition(b"\r\n\r\n")
        assert (first, head[:12]) == ([b"HTTP/1.1 200"] * 2, b"HTTP/1.1 429")
        assert b"application/problem+json" in head
        assert json.loads(body)["title"] == "Too many connections"
        others = [asked(port, source, opened)[:12] for source in ("127.0.0.3", "127.0.0.1", "127.0.0.1", "127.0.0.1")]
        assert others == [b"HTTP/1.1 200"] * 4
    until = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.ExitStack() as opened:
            if asked(port, "127.0.0.2", opened)[:12] == b"HTTP/1.1 200":
                return
        assert time.monotonic() < until
        time.sleep(0.05)


def test_serve__an_answer_takes_long__is_given(port):
    assert httpx.post(f"http://127.0.0.1:{port}/wait", content=str(5 * SHORT_S), timeout=PATIENCE_S).text == "1"


def test_serve__a_body_does_not_end__is_408(port):
    assert heard(port, WHOLE.replace(b": 1\r", b": 2\r")).startswith(b"HTTP/1.1 408 ")
