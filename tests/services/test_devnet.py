"""The chain on this machine: the rules of the chains the market is made for, and nothing left behind."""

import os
import socket
import time

import pytest

from busbar import devnet as devnet_module
from busbar.chain import TRANSACTION_GAS_CAP, Call, Chain, ChainUnreachableError, Node, NodeRefusedError
from busbar.devnet import CHAIN_ID, Devnet, DevnetError, at_pace, dev_meter_key, dev_signer, free_port

START = 1_773_421_260


@pytest.fixture(scope="module")
def devnet():
    """A chain that makes blocks when told."""
    with Devnet(timestamp=START) as running:
        yield running


@pytest.fixture
def chain(devnet):
    """The door to it."""
    return Chain(devnet.url, after_send=devnet.mine)


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# ------------------------------------------------------------------- starting, stopping


def test_devnet__started__answers_with_its_chain_id_and_time():
    with Devnet(timestamp=START) as running:
        assert running.url == f"http://127.0.0.1:{running.port}"
        assert Chain(running.url, chain_id=CHAIN_ID).chain_id == 31337
        head = Chain(running.url).head()
        assert (head.number, head.timestamp) == (0, START)


def test_devnet__stopped__leaves_neither_process_nor_files_and_may_be_stopped_again():
    running = Devnet()
    pid, folder, url = running.pid, running._folder, running.url
    assert folder.is_dir()
    assert not gone(pid)
    running.stop()
    assert gone(pid)
    assert not folder.exists()
    with pytest.raises(ChainUnreachableError):
        Node(url).request("eth_chainId")
    running.stop()


def test_devnet__left_by_an_error__is_stopped_too():
    with pytest.raises(RuntimeError, match="midway"), Devnet() as running:
        raise RuntimeError("midway")
    assert gone(running.pid)
    assert not running._folder.exists()


def test_devnet__killed__can_still_be_stopped():
    with Devnet() as running:
        running._process.kill()
        running._process.wait()
    assert not running._folder.exists()


def test_devnet__two_at_a_time__are_apart():
    with Devnet(timestamp=START) as one, Devnet(timestamp=START + 7) as other:
        assert one.port != other.port
        one.mine()
        assert Chain(one.url).head().number == 1
        assert Chain(other.url).head().number == 0


def test_devnet__port_taken_by_somebody_else__says_so_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(devnet_module.tempfile, "tempdir", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(DevnetError, match=f"port {port} is in use: name another") as caught:
            Devnet(port=port)
        # One who takes calls and never answers.
        taken.listen()
        with pytest.raises(DevnetError, match=f"port {port} is in use: name another"):
            Devnet(port=port)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_devnet__port_taken_by_another_chain__says_so(devnet, chain):
    before = chain.head()
    with pytest.raises(DevnetError, match=f"port {devnet.port} is in use"):
        Devnet(port=devnet.port)
    assert chain.head() == before


@pytest.mark.parametrize("answers", [True, False])
def test_devnet__port_taken_at_the_last_moment__is_not_mistaken_for_its_own(devnet, monkeypatch, tmp_path, answers):
    monkeypatch.setattr(devnet_module.tempfile, "tempdir", str(tmp_path))
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(devnet_module, "free_port", lambda: devnet.port if answers else silent.getsockname()[1])
        with pytest.raises(DevnetError, match="anvil did not start: ") as caught:
            Devnet()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_devnet__port_named_again_after_it_was_stopped__is_free():
    with Devnet(timestamp=START) as running:
        assert Chain(running.url).head().number == 0
    with Devnet(port=running.port, timestamp=START) as second:
        assert second.port == running.port
        assert Chain(second.url).head().number == 0


# ------------------------------------------------------------------------------- rules


def test_devnet__base_fee__is_zero_and_a_participant_without_ether_can_transact(devnet, chain):
    pauper, nobody = dev_signer(20), dev_signer(30)
    assert int(chain.node.request("eth_getBalance", pauper.address, "latest"), 16) == 0
    for _ in range(3):
        (tx,) = chain.broadcast([(pauper, {"to": nobody.address, "data": "0x", "gas": 21_000})])
        receipt = chain._receipts([tx])[tx]
        assert int(receipt["status"], 16) == 1
        assert int(receipt["effectiveGasPrice"], 16) == 0
        block = chain.node.request("eth_getBlockByNumber", "latest", False)
        assert int(block["baseFeePerGas"], 16) == 0


def test_devnet__transaction_gas__is_capped_as_on_real_chains(devnet, chain):
    sender, other = dev_signer(20), dev_signer(21)
    refused, taken = chain.broadcast(
        [
            (sender, {"to": other.address, "data": "0x", "gas": TRANSACTION_GAS_CAP + 1}),
            (other, {"to": sender.address, "data": "0x", "gas": TRANSACTION_GAS_CAP}),
        ]
    )
    assert isinstance(refused, NodeRefusedError)
    assert "gas" in str(refused)
    assert int(chain._receipts([taken])[taken]["status"], 16) == 1


def test_devnet__block__has_room_for_30_million_gas(chain):
    block = chain.node.request("eth_getBlockByNumber", "latest", False)
    assert int(block["gasLimit"], 16) == 30_000_000


# -------------------------------------------------------------------------------- time


def test_mine__told_nothing__moves_time_by_a_second_a_block(devnet, chain):
    before = chain.head()
    for _ in range(5):
        devnet.mine()
    after = chain.head()
    assert (after.number - before.number, after.timestamp - before.timestamp) == (5, 5)


def test_mine__real_time_goes_by__chain_time_stands(devnet, chain):
    devnet.mine()
    before = chain.head()
    time.sleep(2.1)
    assert chain.head() == before
    devnet.mine()
    assert chain.head().timestamp == before.timestamp + 1


def test_mine__told_a_time__is_at_that_time_and_goes_on_from_there(devnet, chain):
    target = chain.head().timestamp + 1_000_000
    devnet.mine(target)
    assert chain.head().timestamp == target
    devnet.mine()
    assert chain.head().timestamp == target + 1


def test_mine__told_a_time_gone_by__is_refused(devnet, chain):
    before = chain.head()
    with pytest.raises(NodeRefusedError):
        devnet.mine(before.timestamp - 1)
    assert chain.head() == before


def test_devnet__without_being_told__makes_no_block_for_a_transaction(devnet):
    silent = Chain(devnet.url)
    before = silent.head()
    (tx,) = silent.broadcast([(dev_signer(22), {"to": dev_signer(30).address, "data": "0x", "gas": 21_000})])
    time.sleep(0.3)
    assert silent.head() == before
    devnet.mine()
    assert silent._receipts([tx])[tx]["blockNumber"] == hex(before.number + 1)


def test_devnet__automine__makes_a_block_a_transaction_a_second_apart():
    with Devnet(timestamp=START, automine=True) as running:
        chain = Chain(running.url)
        for i in range(3):
            sent = chain.broadcast([(dev_signer(20), {"to": dev_signer(30).address, "data": "0x", "gas": 21_000})])
            chain._receipts(sent)
            head = chain.head()
            assert (head.number, head.timestamp) == (i + 1, START + i + 1)


def test_devnet__block_time__makes_blocks_by_itself():
    with Devnet(block_time_s=0.1) as running:
        chain = Chain(running.url)
        deadline = time.monotonic() + 10
        while chain.head().number < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_at_pace__while_it_lasts__blocks_come_by_themselves(devnet, chain):
    before = chain.head().number
    with at_pace(devnet.node, 1):
        deadline = time.monotonic() + 10
        while chain.head().number == before:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    after = chain.head()
    time.sleep(1.3)
    assert chain.head() == after


def test_snapshot__restored__takes_the_chain_back(devnet, chain):
    state, before = devnet.snapshot(), chain.head()
    devnet.mine(before.timestamp + 5_000)
    devnet.restore(state)
    assert chain.head() == before
    devnet.mine()
    assert chain.head().timestamp == before.timestamp + 1


def test_restore__name_used_up_or_never_given__is_refused(devnet):
    state = devnet.snapshot()
    devnet.restore(state)
    for name in (state, hex(10**6)):
        with pytest.raises(DevnetError, match=f"no snapshot {name}") as caught:
            devnet.restore(name)
        assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------- keys


def test_dev_signer__of_an_index__is_foundrys_account():
    assert dev_signer(0).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert len({dev_signer(i).address for i in range(12)}) == 12


def test_dev_meter_key__of_an_index__is_on_a_branch_of_its_own():
    keys = {dev_meter_key(i) for i in range(12)}
    assert len(keys) == 12
    assert all(len(key) == 32 for key in keys)
    assert keys.isdisjoint({bytes(dev_signer(i).account.key) for i in range(12)})


def test_free_port__asked__is_one_nobody_listens_on():
    with pytest.raises(ChainUnreachableError):
        Chain(f"http://127.0.0.1:{free_port()}").read([Call("Trading", "genesis")])
