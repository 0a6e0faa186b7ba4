"""Bodies without an end: the API reads no more of one than it says, and no more of all than it can hold."""

import contextlib
import json
import socket
import time

import httpx
import pytest

from busbar.api.app import MOST_BYTES, MOST_HELD_BYTES
from busbar.api.context import Settings
from busbar.history import open_database
from tests.served import served

PIECE = b" " * 100_000


@pytest.fixture
def address(tmp_path):
    """Where the API answers over an empty index."""
    engine = open_database(f"sqlite:///{tmp_path / 'index.db'}")
    with served(Settings(engine, rate=None)) as url:
        yield httpx.URL(url).host, httpx.URL(url).port
    engine.dispose()


class Sender:
    """A connection that sends a chunked body, piece by piece."""

    def __init__(self, address, path):
        self.connection = socket.create_connection(address, timeout=20)
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        self.connection.sendall(head.encode())

    def send(self, size):
        # The last piece is sent whole: what is unread when a connection is closed takes the answer with it.
        for length in (len(PIECE),) * (size // len(PIECE)) + (size % len(PIECE),) * (size % len(PIECE) > 0):
            self.connection.sendall(f"{length:x}\r\n".encode() + PIECE[:length] + b"\r\n")

    def answer(self):
        """Status and problem, told while the body has no end yet."""
        with self.connection.makefile("rb") as told:
            status = int(told.readline().split()[1])
            while told.readline().strip():
                pass
            return status, json.loads(told.readline())["title"]


@pytest.mark.parametrize("path", ["/api/v1/accounts", "/api/v1/energy/orders", "/api/v1/typed-data/orders"])
def test_body__chunked_without_an_end__is_413_at_the_bound(address, path):
    sender = Sender(address, path)
    with contextlib.closing(sender.connection):
        sender.send(MOST_BYTES + 1)
        assert sender.answer() == (413, "Body too large")


def test_body__announced_as_too_large__is_413_unread(address):
    url = f"http://{address[0]}:{address[1]}/api/v1/accounts"
    assert httpx.post(url, content=b" " * (MOST_BYTES + 1), headers={"connection": "close"}).status_code == 413


def test_bodies__of_many_at_a_time__are_503_beyond_what_is_held_together(address):
    with contextlib.ExitStack() as opened:
        for _ in range(MOST_HELD_BYTES // MOST_BYTES):
            sender = Sender(address, "/api/v1/accounts")
            opened.callback(sender.connection.close)
            sender.send(MOST_BYTES)
        told_until(address, "Too many bodies")
    told_until(address, "No node")


def told_until(address, title):
    """Returns once a small body is answered with this title."""
    url = f"http://{address[0]}:{address[1]}/api/v1/accounts"
    for _ in range(200):
        answer = httpx.post(url, content=b"{}", headers={"connection": "close"})
        if answer.json()["title"] == title:
            return
        time.sleep(0.05)
    pytest.fail(f"never told: {title}")
