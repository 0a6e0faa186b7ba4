"""The dapp in a real browser, with a wallet that signs, against the market as `make run` serves it.

One tour by dapp/e2e/tour.mjs; a test for what came of each scenario. Time and the relay are the operator's: the tour
asks for an epoch's end, an absent relay or a chain that stands still at a small server here.
"""

import importlib.util
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from busbar import tools
from busbar.api.dapp import require_built
from busbar.devnet import free_port
from busbar.history import History
from busbar.live import LiveMarket
from busbar.replay import ReplaySettings, replayed
from tests.communities import shipped_day
from tests.days import Silent
from tests.requires import needs_program

ROOT = tools.project_root()
TOUR = ROOT / "dapp" / "e2e" / "tour.mjs"
SCREENS = ROOT / ".build" / "screens"
TOUR_S = 800
"""Longest time for the whole tour; a bound, not an expectation."""
UNREAD_S = 3
"""How long an epoch stands open before its meters are read, where it is asked for; pages have asked by then."""
MOST_SCRIPT_BYTES = 300_000
"""Compressed script of the first page."""

pytestmark = pytest.mark.timeout(TOUR_S + 120)
"""The tour is a fixture of whichever test is first."""

SCENARIOS = (
    "first visit",
    "eight windows share one stream",
    "a window that hangs loses the stream to another",
    "a page that is opened after the news ended says how old they are",
    "a page whose script does not come offers to load it again",
    "keyboard alone",
    "connect",
    "wrong network",
    "network changed meanwhile",
    "deposit with permit",
    "signature rejected",
    "order, seen in the book, filled when the epoch clears",
    "cancel",
    "order placed and taken back by keyboard alone",
    "standing order, tried again in the next epoch, taken back",
    "withdraw",
    "not enough balance",
    "trade traced back to its reading",
    "explorer finds what it is asked for, or says that there is nothing",
    "today has the newest quarter hour once its meter has brought it",
    "balance and statement are of one block",
    "relay down",
    "relay gone after the signature",
    "answer to an order lost, page loaded again, asked again",
    "order lost on its way, let go",
    "answer to a withdrawal lost, page loaded again, sent oneself",
    "own transaction, dialog closed, page loaded again",
    "signature given after its epochs were over",
    "signature given after the dialog was closed",
    "without an API",
    "admin registers a participant and a meter",
    "distributor replaces a meter",
    "distributor decides on parked readings",
    "distributor revokes a meter",
    "regulator grants and revokes a role",
    "regulator pauses and resumes",
    "screens light en 1280",
    "screens light en 360",
    "screens light th 1280",
    "screens dark en 1280",
    "screens dark th 360",
    "suspended account",
    "reinstated account",
    "a stranger is told how to become a participant",
    "no news: what is shown is the chain's, and said to be old",
)


class Operator:
    """Runs a live market whose time passes as it is told: a second a block, and whole epochs when asked."""

    def __init__(self, done, folder):
        self.market = LiveMarket(done, folder / "replay" / "deployment.json", folder)
        self.market.pace = 1
        self.market.prepare()
        self.market.step()
        self.relay_port, port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.stop_relay = self.market.open_relay(self.relay_port)
        self.stop_api = self.market.open_api(require_built(tools.dapp_folder()), port, self.relay_port)
        self.lock, self.over = threading.Lock(), threading.Event()
        self.frozen, self.indexed = False, True
        self.problem = None
        self.thread = threading.Thread(target=self._run, name="market")
        self.thread.start()

    def _run(self):
        while not self.over.wait(0.25):
            with self.lock:
                if not self.frozen:
                    self._turn()

    def _turn(self, timestamp=None):
        self.market.devnet.mine(timestamp)
        if self.indexed:
            self.market.step()

    def do(self, what):
        with self.lock:
            if what == "next-epoch":
                chain = self.market.chain
                epoch = chain.calendar.epoch_at(chain.head().timestamp)
                self._turn(chain.calendar.start(epoch + 1))
                self._turn()
            elif what == "next-epoch-unread":
                # As where the index runs by itself: it tells of the epoch before anybody has acted in it.
                chain = self.market.chain
                self.indexed = False
                self._turn(chain.calendar.start(chain.calendar.epoch_at(chain.head().timestamp) + 1))
                self.follow()
                time.sleep(UNREAD_S)
                self.indexed = True
                self._turn()
            elif what == "stop-relay":
                self.stop_relay()
            elif what == "start-relay":
                self.stop_relay = self.market.open_relay(self.relay_port)
            elif what in ("take-ether", "give-ether"):
                wei = 0 if what == "take-ether" else 10**18
                self.market.devnet.node.request("anvil_setBalance", self.market.guest.address, hex(wei))
            elif what in ("freeze", "thaw"):
                self.frozen = what == "freeze"
            elif what in ("stop-index", "start-index"):
                self.indexed = what == "start-index"
            else:
                raise ValueError(what)

    def follow(self):
        """The index alone follows the chain."""
        History(self.market.chain, self.market.engine).step()

    def stop(self):
        self.over.set()
        self.thread.join()
        self.stop_api()
        self.stop_relay()
        self.market.engine.dispose()


def controlled(operator):
    """A server that hands on what the tour asks of the operator."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            operator.do(self.path.strip("/"))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def operator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dapp")
    community = shipped_day(folder / "street.csv", ("H01", "H05", "H10", "B018", "B038"))
    with replayed(ReplaySettings(community, None, 1, 1, folder / "replay"), Silent()) as done:
        operator = Operator(done, folder)
        try:
            yield operator
        finally:
            operator.stop()


def toured(operator, url, folder, *part):
    """What came of a tour of the dapp at an address, or of a part of it."""
    browser, node = needs_program("chromium", apt="chromium"), needs_program("node", apt="nodejs")
    control = controlled(operator)
    try:
        ran = subprocess.run(
            [node, str(TOUR), url, f"http://127.0.0.1:{control.server_port}", str(folder), *part],
            env={**os.environ, "CHROMIUM": browser},
            capture_output=True,
            text=True,
            timeout=TOUR_S,
            check=False,
        )
    finally:
        control.shutdown()
        control.server_close()
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def tour(operator):
    return toured(operator, operator.url, SCREENS)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_dapp__used_as_people_do__does_as_it_says(tour, scenario):
    assert tour["outcomes"][scenario] == "ok"


def test_dapp__every_scenario_of_the_tour__is_judged(tour):
    assert set(tour["outcomes"]) == set(SCENARIOS)


def test_dapp__every_page_in_both_themes__has_no_serious_fault_for_axe(tour):
    assert tour["told"]["serious"] == []


def test_dapp__its_first_page__is_below_300_kb_of_compressed_script(tour):
    assert tour["told"]["scripts"] >= 2
    assert 0 < tour["told"]["scriptBytes"] < MOST_SCRIPT_BYTES


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@dataclass(frozen=True)
class HotReload:
    made: subprocess.Popen
    url: str
    files: dict

    def read(self, path):
        return requests.get(self.url + path, timeout=30)


@pytest.fixture
def hot_reload(operator):
    """`make dapp` over the operator's market, in a process group of its own; with the dapp's files before."""
    operator.do("thaw")
    port, files = free_port(), files_of(ROOT / "dapp")
    env = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    with subprocess.Popen(
        [needs_program("make", apt="make"), "dapp", f"ARGS=--port {port} --strictPort"],
        cwd=ROOT,
        env={**env, "BUSBAR_API_URL": operator.url},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as made:
        try:
            served = HotReload(made, f"http://127.0.0.1:{port}", files)
            until_served(served)
            yield served
        finally:
            if made.poll() is None:
                os.killpg(made.pid, signal.SIGKILL)


def until_served(hot_reload):
    for _ in range(600):
        try:
            return hot_reload.read("/")
        except requests.ConnectionError:
            time.sleep(0.1)
    raise AssertionError(f"nothing at {hot_reload.url}")


def test_make_dapp__over_a_market_that_is_served__shows_it_with_vites_client(operator, hot_reload, tmp_path):
    assert "/@vite/client" in hot_reload.read("/").text
    assert "javascript" in hot_reload.read("/@vite/client").headers["Content-Type"]
    theirs = requests.get(f"{operator.url}/deployment.json", timeout=30).json()
    assert hot_reload.read("/deployment.json").json()["contracts"] == theirs["contracts"]
    assert hot_reload.read("/api/v1/status").json()["chain_id"] == theirs["chainId"]
    assert toured(operator, hot_reload.url, tmp_path, "first visit")["outcomes"] == {"first visit": "ok"}


def test_make_dapp__ended_as_by_ctrl_c__leaves_neither_a_process_nor_a_file_behind(hot_reload):
    hot_reload.read("/src/main.tsx").raise_for_status()
    os.killpg(hot_reload.made.pid, signal.SIGINT)
    hot_reload.made.wait(30)
    with pytest.raises(ProcessLookupError):
        os.killpg(hot_reload.made.pid, 0)
    with pytest.raises(requests.ConnectionError):
        hot_reload.read("/")
    assert files_of(ROOT / "dapp") == hot_reload.files


def test_generated_files__of_the_dapp__are_what_the_artifacts_give():
    spec = importlib.util.spec_from_file_location("export_dapp", ROOT / "scripts" / "export_dapp.py")
    exporter = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(exporter)
    stale = [
        name
        for name, text in exporter.current().items()
        if (exporter.TARGET / name).read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run scripts/export_dapp.py"


def test_logic__of_the_dapp__passes_its_own_tests():
    node = needs_program("node", apt="nodejs")
    done = subprocess.run(
        [node, str(ROOT / "node_modules" / "vitest" / "vitest.mjs"), "run", "--config", "vitest.config.mts"],
        cwd=ROOT / "dapp",
        capture_output=True,
        text=True,
        timeout=TOUR_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
