"""The API on a real socket, in a thread of the tests' process."""

import contextlib
import logging
import threading
import time

import structlog
import uvicorn

from busbar.api.app import create_app
from busbar.devnet import free_port
from busbar.history import History


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
