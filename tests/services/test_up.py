"""`busbar up`: what ends is started again, what is asked to stop stops, and nothing outlives its supervisor."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from busbar.chain import Call
from busbar.devnet import free_port
from busbar.supervisor import Supervisor
from tests.market import bid

PATIENCE_S = 60
STAYS = "import time\nwhile True: time.sleep(0.05)"
DEAF = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + STAYS
SUPERVISES = """
import sys
from busbar.supervisor import Supervisor
Supervisor({"stays": [sys.executable, "-c", sys.argv[1]]}, restart_s=0.1, restart_max_s=1, stop_s=5).run()
"""


@pytest.fixture(autouse=True)
def settings_of_the_folder(monkeypatch):
    """What is started goes by the file in its folder."""
    monkeypatch.delenv("BUSBAR_CONFIG")


def until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def supervised():
    """Runs a supervisor of these programs on this thread's behalf, and stops it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(meanwhile, stop_s=5.0, **programs):
        commands = {name: [sys.executable, "-c", text] for name, text in programs.items()}
        supervisor = Supervisor(commands, restart_s=0.05, restart_max_s=0.2, stop_s=stop_s)
        problems = []

        def watch():
            try:
                meanwhile(supervisor)
            except BaseException as problem:  # noqa: BLE001  (told on the test's own thread)
                problems.append(problem)
            finally:
                supervisor.stop()

        thread = threading.Thread(target=watch)
        thread.start()
        supervisor.run()
        thread.join()
        if problems:
            raise problems[0]

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_run__a_process_is_killed__starts_it_again_and_leaves_the_others(supervised):
    def kill_one(supervisor):
        until(lambda: len(supervisor.pids) == 2)
        before = supervisor.pids
        os.kill(before["one"], signal.SIGKILL)
        until(lambda: supervisor.pids.get("one") not in (None, before["one"]))
        assert supervisor.pids["two"] == before["two"]

    supervised(kill_one, one=STAYS, two=STAYS)


def test_run__a_process_that_ends_at_once__is_tried_with_longer_pauses(supervised, tmp_path):
    starts = tmp_path / "starts"
    text = f"import time; open({str(starts)!r}, 'a').write('x')"

    def wait(supervisor):
        until(lambda: starts.exists() and len(starts.read_text()) >= 4)
        assert [child.pause_s for child in supervisor._children] == [0.2]

    supervised(wait, ends=text)


def test_run__told_to_stop__stops_everything(supervised):
    pids = []

    def started(supervisor):
        until(lambda: len(supervisor.pids) == 2)
        pids.extend(supervisor.pids.values())

    supervised(started, one=STAYS, two=STAYS)
    assert [pid for pid in pids if alive(pid)] == []


def test_run__a_process_does_not_stop_when_asked__is_killed(supervised):
    pids = []

    def started(supervisor):
        until(lambda: supervisor.pids)
        pids.extend(supervisor.pids.values())
        # Until it has said so, it still hears.
        time.sleep(0.5)

    supervised(started, stop_s=0.2, deaf=DEAF)
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's promise to end children is Linux's")
def test_run__the_supervisor_is_killed__its_processes_end():
    supervisor = subprocess.Popen([sys.executable, "-c", SUPERVISES, STAYS])
    try:
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
        until(lambda: children.read_text().split())
        (child,) = map(int, children.read_text().split())
    finally:
        supervisor.kill()
        supervisor.wait()
    until(lambda: not alive(child))


def test_up__as_an_operator_runs_it__brings_a_killed_keeper_back_and_stops_in_order(market, tmp_path):
    record = tmp_path / "record.json"
    market.record.save(record)
    log = tmp_path / "keeper.log"
    (tmp_path / "busbar.toml").write_text(
        f'url = "{market.devnet.url}"\nrecord = "{record}"\n'
        f'[up]\nrun = ["keeper"]\nrestart_s = 0.1\n[log]\nfile = "{log}"\nstyle = "json"\n',
        encoding="utf-8",
    )
    up = subprocess.Popen([str(Path(sys.executable).with_name("busbar")), "up"], cwd=tmp_path)
    try:
        children = Path(f"/proc/{up.pid}/task/{up.pid}/children")
        until(lambda: children.exists() and children.read_text().split())
        (first,) = children.read_text().split()
        os.kill(int(first), signal.SIGKILL)
        until(lambda: children.read_text().split() not in ([], [first]))
        up.terminate()
        assert up.wait(PATIENCE_S) == 0
    finally:
        up.kill()
        up.wait()
    said = log.read_text(encoding="utf-8")
    assert '"event": "ended"' in said
    assert '"event": "stopped"' in said


def test_up__relay_beside_the_keeper__is_brought_back_with_what_it_took_on(market, actors, tmp_path):
    record, port = tmp_path / "record.json", free_port()
    market.record.save(record)
    (tmp_path / "busbar.toml").write_text(
        f'url = "{market.devnet.url}"\nrecord = "{record}"\n'
        f'[up]\nrun = ["keeper", "relay"]\nrestart_s = 0.1\n[relay]\nport = {port}\n'
        f'[log]\nfile = "{tmp_path / "log"}"\n',
        encoding="utf-8",
    )
    busbar = str(Path(sys.executable).with_name("busbar"))
    market.chain.send(actors.regulator, Call("Trading", "setPaused", (1, True)))
    signed = market.signed_orders(actors.consumer, bid(300, 100))
    body = {"message": signed.bundle.fields(), "signature": "0x" + signed.signature.hex()}
    up = subprocess.Popen([busbar, "up"], cwd=tmp_path)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE_S) as http:
            until(lambda: answers(http))
            key = http.post("/bundles", json=body).json()["id"]
            children = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()
            (relay,) = [pid for pid in children if b"relay" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(int(relay), signal.SIGKILL)
            until(lambda: not alive(relay))
            until(lambda: answers(http))
            assert http.get(f"/bundles/{key}").json()["state"] in ("accepted", "sent")
            told = subprocess.run([busbar, "doctor"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
            assert f"ok     relay: works at http://127.0.0.1:{port}, 1 messages wait" in told
        up.terminate()
        assert up.wait(PATIENCE_S) == 0
    finally:
        up.kill()
        up.wait()
        market.devnet.node.request("anvil_dropAllTransactions")


def test_up__index_and_api_beside_the_relay__are_brought_back_and_know_each_other(market, actors, tmp_path):
    record, port, metrics_port = tmp_path / "record.json", free_port(), free_port()
    database = f"sqlite:///{tmp_path / 'index.db'}"
    market.record.save(record)
    (tmp_path / "busbar.toml").write_text(
        f'url = "{market.devnet.url}"\nrecord = "{record}"\ndatabase = "{database}"\npause_s = 0.1\n'
        f'[up]\nrun = ["relay", "index", "api"]\nrestart_s = 0.1\n[relay]\nport = {free_port()}\n'
        f'[api]\nport = {port}\nmetrics_port = {metrics_port}\n[log]\nfile = "{tmp_path / "log"}"\n',
        encoding="utf-8",
    )
    busbar = str(Path(sys.executable).with_name("busbar"))
    up = subprocess.Popen([busbar, "up"], cwd=tmp_path)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=PATIENCE_S) as http:
            until(lambda: follows(http, market))
            for name in ("index", "api"):
                children = Path(f"/proc/{up.pid}/task/{up.pid}/children").read_text().split()
                (pid,) = [pid for pid in children if name in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]
                os.kill(int(pid), signal.SIGKILL)
                until(lambda pid=pid: not alive(pid))
                market.devnet.mine()
                until(lambda: follows(http, market))
            signed = market.signed_orders(actors.consumer, bid(300, 100))
            body = {"message": signed.bundle.fields(), "signature": "0x" + signed.signature.hex()}
            assert http.post("/energy/orders", json=body).status_code == 202
        with httpx.Client(base_url=f"http://127.0.0.1:{metrics_port}", trust_env=False) as http:
            assert (http.get("/readyz").text, http.get("/healthz").status_code) == ("ready\n", 200)
            assert 'busbar_http_requests_total{status="202"} 1.0' in http.get("/metrics").text
        told = subprocess.run([busbar, "doctor"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
        assert f"ok     api: door: Busbar answers at http://127.0.0.1:{port}/api/v1" in told
        assert "ok     index: follows the chain" in told
        up.terminate()
        assert up.wait(PATIENCE_S) == 0
    finally:
        up.kill()
        up.wait()
        market.devnet.node.request("anvil_dropAllTransactions")


def follows(http, market):
    """Whether the API answers at the newest block, with a relay that works."""
    try:
        told = http.get("/status").json()
    except httpx.HTTPError:
        return False
    return told.get("block") == market.chain.head().number and told["relay"]["state"] == "working"


def answers(http):
    """Whether the relay answers, and its last pass came to its end."""
    try:
        return http.get("/status").json()["problem"] is None
    except httpx.HTTPError:
        return False
