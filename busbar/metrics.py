"""What a process counts about itself, for Prometheus: one registry, named here, filled where things happen.

`serve` answers at one port: `/metrics`, `/healthz` (the loop turns) and `/readyz` (the last pass came to its end).
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import Counter, Gauge, make_wsgi_app

from busbar import errors, tools

TRANSACTIONS = Counter("busbar_transactions", "Calls by what became of them.", ["call", "result"])
GAS = Counter("busbar_gas_used", "Gas of included transactions.", ["call"])
ERRORS = Counter("busbar_errors", "Errors by name and by what is done about them.", ["error", "remedy"])
REPLACED = Counter("busbar_transactions_offered_again", "Stuck transactions offered again.")
REORGS = Counter("busbar_reorganisations", "Times the newest block seen was no longer there.")
RECEIPTS_LOST = Counter("busbar_receipts_lost", "Receipts that disappeared before they were deep enough.")
RECONNECTS = Counter("busbar_reconnects", "Times the subscription to new blocks was opened.")
STEPS = Counter("busbar_steps", "Passes that came to their end.")
STEP_SECONDS = Gauge("busbar_step_seconds", "Length of the last pass.")

HEIGHT = Gauge("busbar_chain_height", "Number of the newest block.")
HEAD_TIME = Gauge("busbar_chain_head_timestamp_seconds", "Time of the newest block, Unix seconds.")
BLOCK_SECONDS = Gauge("busbar_chain_block_seconds", "Seconds between the two newest blocks.")
POOL = Gauge("busbar_chain_pool_transactions", "Transactions that wait at the node, by kind.", ["kind"])
PEERS = Gauge("busbar_chain_peers", "The node's peers.")
BALANCE = Gauge("busbar_account_balance_wei", "What a bot's account has to pay for gas.", ["account"])

EPOCH = Gauge("busbar_market_epoch", "Epoch of the newest block.")
EPOCH_LAG = Gauge("busbar_market_epoch_lag", "Epochs by which clearing is behind; 0 if nothing is due.", ["zone"])
PRICE2 = Gauge("busbar_market_price_half_ticks", "Price of the newest epoch with trade, half ticks per kWh.", ["zone"])
VOLUME = Gauge("busbar_market_volume_wh", "Energy traded in that epoch.", ["zone"])
ORDERS = Counter("busbar_market_orders", "Orders entered since this process started, or its first look back.")
TRADED = Counter("busbar_market_traded_wh", "Energy traded, likewise.")
TRADES = Counter("busbar_market_epochs_with_trade", "Epochs cleared with trade, likewise.")
MINTED = Counter("busbar_market_minted_wh", "GRID minted for readings, likewise.")
ROLLED = Counter("busbar_keeper_rolled", "Standing orders rolled (entered), and accounts not (skipped).", ["result"])
RETIRED = Counter("busbar_market_retired_wh", "GRID retired or surrendered, likewise.")

BUNDLES = Counter("busbar_relay_bundles", "Signed bundles by what became of them, and why not.", ["result", "reason"])
READINGS = Counter("busbar_meters_readings", "Readings at the doors by what was answered.", ["door", "result"])
OUTCOMES = Counter("busbar_meters_outcomes", "Submitted readings by what the chain made of them.", ["result", "reason"])
POLLS = Counter("busbar_meters_polls", "Pages asked of the head-end by what came of it.", ["result"])
PAGE_READ = Gauge(
    "busbar_meters_page_read_timestamp_seconds",
    "When a page of the head-end was last read, or polling began; Unix seconds.",
    ["headend"],
)
QUEUE = Gauge("busbar_queue_items", "Items of the outbox by state.", ["state"])
INDEXED = Gauge("busbar_index_height", "Number of the newest block in the index.")
REQUESTS = Counter("busbar_http_requests", "HTTP requests by the status of their answer.", ["status"])

LONGEST_STEP_S = 180
"""A loop that has not turned for so long is stuck: every wait inside it is shorter."""


def failed(problem: errors.BusbarError) -> None:
    """Counts an error."""
    ERRORS.labels(type(problem).__name__, problem.remedy.value).inc()


class Vitals(Protocol):
    """What `serve` tells of a process besides its metrics: see `Pulse`."""

    @property
    def problem(self) -> str | None:
        """What keeps it from being of use; None if nothing does."""

    @property
    def stuck_s(self) -> float:
        """Seconds for which it has not moved."""


@dataclass(slots=True)
class Pulse:
    """Whether a process is alive and of use.

    Attributes:
        turned: When the loop last turned, by the monotonic clock.
        problem: What the last pass failed with; None if it came to its end. Before the first it has not.
    """

    turned: float = field(default_factory=time.monotonic)
    problem: str | None = "starting"

    def beat(self, problem: str | None) -> None:
        """The loop has turned."""
        self.turned, self.problem = time.monotonic(), problem

    @property
    def stuck_s(self) -> float:
        """Seconds since the loop last turned."""
        return time.monotonic() - self.turned


class _Server(WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's name)
        """Says nothing: being scraped is no news."""


@contextmanager
def served(host: str, port: int, pulse: Vitals) -> Iterator[None]:
    """Answers at a port meanwhile; at none if it is 0.

    Raises:
        PortUnusableError: The port is somebody else's.
    """
    if not port:
        yield
        return
    stop = serve(host, port, pulse)
    try:
        yield
    finally:
        stop()


def serve(host: str, port: int, pulse: Vitals) -> Callable[[], None]:
    """Answers at a port until the function it returns is called.

    Raises:
        PortUnusableError: The port is somebody else's.
    """
    scraped = make_wsgi_app()

    def app(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return cast(Iterable[bytes], scraped(environ, start))
            case "/healthz":
                good, told = pulse.stuck_s < LONGEST_STEP_S, f"turned {pulse.stuck_s:.0f} s ago"
            case "/readyz":
                good, told = pulse.problem is None, pulse.problem or "ready"
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/metrics, /healthz, /readyz\n"]
        start("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [told.encode() + b"\n"]

    try:
        server = make_server(host, port, app, _Server, _Handler)
    except OSError as problem:
        raise tools.PortUnusableError(host, port, "metrics", problem) from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
