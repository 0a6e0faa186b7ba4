"""The API on a real socket, in a thread of the tests' process."""

import contextlib
import logging
import threading
import time

import httpx
import structlog
import uvicorn

from busbar.api.app import create_app
from busbar.api.context import Settings
from busbar.devnet import free_port
from busbar.history import History, open_database


@contextlib.contextmanager
def served(settings):
    """Serves the API until the block ends; gives its address."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    port = free_port()
    config = uvicorn.Config(create_app(settings), host="127.0.0.1", port=port, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
        structlog.reset_defaults()


@contextlib.contextmanager
def followed(chain, engine):
    """Indexes every block as soon as somebody's transaction made it."""
    history, mine = History(chain, engine), chain.after_send
    history.step()

    def mine_and_follow():
        mine()
        history.step()

    chain.after_send = mine_and_follow
    try:
        yield history
    finally:
        chain.after_send = mine


@contextlib.contextmanager
def servers(chain, folder):
    """Serves the market, followed block by block, as often as asked; gives a function of settings to a client.

    Every address of the client begins at the API's own.
    """
    engine = open_database(f"sqlite:///{folder / 'index.db'}")
    with contextlib.ExitStack() as opened:
        opened.callback(engine.dispose)

        def of(**settings):
            url = opened.enter_context(served(Settings(engine, chain, rate=None, **settings)))
            # A server that is told to stop waits for connections that are kept.
            client = httpx.Client(base_url=url + "/api/v1/", headers={"connection": "close"}, timeout=30)
            return opened.enter_context(client)

        with followed(chain, engine):
            yield of
