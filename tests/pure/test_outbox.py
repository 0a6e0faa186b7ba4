"""The outbox: what was accepted survives the process, the node and the machine, and is one thing under one key."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from busbar.outbox import OPEN, Cursor, Item, KeyConflictError, Outbox, OutboxError, State

KEEPS_ACCEPTING = """
import sys
from pathlib import Path
from busbar.outbox import Item, Outbox

outbox = Outbox(Path(sys.argv[1]))
n = 0
while True:
    outbox.accept([Item(f"{n}-{part}", b"x" * 200) for part in range(3)])
    print(n, flush=True)
    n += 1
"""
"""Says a number only once its three items were accepted."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "outbox.sqlite"


@pytest.fixture
def outbox(path):
    opened = Outbox(path)
    yield opened
    opened.close()


def item(key, body=b"body", **more):
    return Item(key, body, **more)


def keys(items):
    return [one.key for one in items]


def test_accept__new_items__are_open_in_order(outbox):
    assert outbox.accept([item("b"), item("a")]) == 2
    assert outbox.open() == [item("b"), item("a")]


def test_accept__the_same_again__is_one_item(outbox):
    outbox.accept([item("a")])
    assert outbox.accept([item("a"), item("a")]) == 0
    assert keys(outbox.open()) == ["a"]


def test_accept__the_same_after_it_was_done__stays_done(outbox):
    outbox.accept([item("a")])
    outbox.mark(["a"], State.DONE)
    assert outbox.accept([item("a")]) == 0
    assert outbox.open() == []


def test_accept__another_content_under_the_same_key__takes_none_of_them(outbox):
    outbox.accept([item("a")])
    with pytest.raises(KeyConflictError, match="a was accepted before with other content"):
        outbox.accept([item("b"), item("a", b"else")])
    assert outbox.open() == [item("a")]


def test_accept__with_a_cursor__moves_it_with_the_items(outbox, path):
    outbox.accept([item("a")], Cursor("http://here", "1"))
    outbox.accept([], Cursor("http://here", "2"))
    outbox.accept([], Cursor("http://there", "9"))
    outbox.close()
    opened = Outbox(path)
    assert [opened.cursor(f"http://{where}") for where in ("here", "there", "nowhere")] == ["2", "9", None]
    opened.forget_cursor("http://here")
    assert (opened.cursor("http://here"), opened.cursor("http://there")) == (None, "9")
    opened.close()


def test_accept__items_refused__leaves_the_cursor(outbox):
    outbox.accept([item("a")], Cursor("http://here", "1"))
    with pytest.raises(KeyConflictError):
        outbox.accept([item("b"), item("a", b"else")], Cursor("http://here", "2"))
    assert outbox.cursor("http://here") == "1"


def test_mark__sent_and_done__leaves_the_open_ones(outbox):
    outbox.accept([item("a"), item("b"), item("c")])
    outbox.mark(["a", "b"], State.SENT)
    outbox.mark(["a"], State.DONE)
    assert [(one.key, one.state) for one in outbox.open()] == [("b", State.SENT), ("c", State.ACCEPTED)]
    assert outbox.states(["a", "b", "nobody"]) == {"a": State.DONE, "b": State.SENT}
    assert outbox.counts() == dict.fromkeys(State, 0) | {State.ACCEPTED: 1, State.SENT: 1, State.DONE: 1}


def test_mark__refused__keeps_the_reason(outbox):
    outbox.accept([item("a")])
    outbox.mark(["a"], State.REFUSED, "unknown meter")
    assert outbox.of(State.REFUSED) == [item("a", state=State.REFUSED, reason="unknown meter")]


def test_mark_each__several__have_a_reason_each(outbox):
    outbox.accept([item("a"), item("b"), item("c")])
    outbox.mark_each({"a": "one", "b": "two"}, State.DONE)
    assert [(outbox.find(key).state, outbox.find(key).reason) for key in "abc"] == [
        (State.DONE, "one"),
        (State.DONE, "two"),
        (State.ACCEPTED, ""),
    ]


def test_find__never_accepted__is_none(outbox):
    assert outbox.find("a") is None


def test_open_count__keys_that_begin_alike__counts_what_is_still_to_be_done(outbox):
    outbox.accept([item("0xa1"), item("0xa2"), item("0xa3"), item("0xb1")])
    outbox.mark(["0xa1"], State.SENT)
    outbox.mark(["0xa2"], State.DONE)
    assert [outbox.open_count(prefix) for prefix in ("0xa", "0xb", "0xc")] == [2, 1, 0]


def test_expire__past_the_deadline__is_given_up(outbox):
    outbox.accept([item("early", deadline=10), item("late", deadline=20), item("ever"), item("over", deadline=5)])
    outbox.mark(["over"], State.DONE)
    assert outbox.expire(10) == 0
    assert outbox.expire(11) == 1
    assert keys(outbox.open()) == ["late", "ever"]
    assert keys(outbox.of(State.EXPIRED)) == ["early"]


def test_forget__what_ended_long_ago__is_dropped_and_refusals_stay(outbox):
    outbox.accept([item("done"), item("refused"), item("open")])
    outbox.mark(["done"], State.DONE)
    outbox.mark(["refused"], State.REFUSED, "no")
    assert outbox.forget(0) == 0
    assert outbox.forget(2**40) == 1
    assert outbox.states(["done", "refused", "open"]) == {"refused": State.REFUSED, "open": State.ACCEPTED}


def work_of(outbox, act):
    """How many hundreds of steps of SQLite's machine a call takes: the same on every computer."""
    turns = []
    outbox._db.set_progress_handler(lambda: turns.append(1) and None, 100)
    act()
    outbox._db.set_progress_handler(None, 100)
    return len(turns)


@pytest.mark.parametrize(
    "act",
    [
        lambda outbox: outbox.forget(1),
        lambda outbox: outbox.open(-1),
        lambda outbox: [outbox.count(state) for state in (*OPEN, State.REFUSED)],
        lambda outbox: outbox.found(["7", "open"]),
        lambda outbox: outbox.open_count("ope"),
        lambda outbox: outbox.mark(["open"], State.SENT),
        lambda outbox: outbox.accept([item("new")]),
        lambda outbox: outbox.expire(0),
    ],
    ids=["forget", "open", "count", "found", "open_count", "mark", "accept", "expire"],
)
def test_outbox__much_has_ended__does_not_work_longer(outbox, tmp_path, act):
    outbox.accept([item("open")])
    full = Outbox(tmp_path / "full.sqlite")
    full.accept([item("open"), *(item(str(n)) for n in range(3_000))])
    full.mark([str(n) for n in range(3_000)], State.DONE)
    assert work_of(full, lambda: act(full)) <= work_of(outbox, lambda: act(outbox)) + 1
    full.close()


def test_forget__file_from_before_it_could_be_found_by_age__is_given_the_index(outbox, path):
    outbox._db.execute("DROP INDEX items_by_age")
    outbox.close()
    opened = Outbox(path)
    assert [row[0] for row in opened._db.execute("SELECT name FROM sqlite_schema WHERE name = 'items_by_age'")]
    opened.close()


def test_open__two_processes__see_each_others_items(outbox, path):
    other = Outbox(path)
    outbox.accept([item("a")])
    other.accept([item("b")])
    assert keys(outbox.open()) == keys(other.open()) == ["a", "b"]
    other.close()


# ------------------------------------------------------------------------------- crashes


def test_accept__process_killed_at_any_moment__keeps_all_it_said_and_no_half_of_a_call(path):
    for _ in range(3):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", KEEPS_ACCEPTING, str(path)], stdout=subprocess.PIPE) as process:
            said = [process.stdout.readline() for _ in range(random.Random(1).randint(5, 40))]
            os.kill(process.pid, signal.SIGKILL)
            said += process.stdout.readlines()
        told = len([line for line in said if line.endswith(b"\n")])
        held = keys(Outbox(path).open())
        assert held[: 3 * told] == [f"{n}-{part}" for n in range(told) for part in range(3)]
        assert len(held) % 3 == 0
        assert len(held) // 3 - told in (0, 1)


def test_mark_each__not_synced_and_killed_at_once__is_kept(path):
    script = (
        "import os, signal, sys; from pathlib import Path; from busbar.outbox import Item, Outbox, State\n"
        "outbox = Outbox(Path(sys.argv[1])); outbox.accept([Item('a', b'')])\n"
        "outbox.mark_each({'a': 'seen'}, State.DONE, synced=False); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    found = Outbox(path).find("a")
    assert (found.state, found.reason) == (State.DONE, "seen")


def test_mark_each__not_synced__leaves_what_is_accepted_afterwards_synced(outbox):
    outbox.accept([item("a")])
    outbox.mark_each({"a": ""}, State.DONE, synced=False)
    assert outbox._db.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("seed", range(8))
def test_open__power_was_lost_while_the_log_was_written__keeps_every_whole_call_before_it(tmp_path, path, seed):
    """The machine loses the end of the write-ahead log, or finds other bytes there."""
    chance = random.Random(seed)
    outbox = Outbox(path)
    outbox.accept([item("first")])
    log = path.with_name(path.name + "-wal")
    whole = log.stat().st_size
    for n in range(10):
        outbox.accept([item(f"{n}-{part}", bytes(200)) for part in range(3)])
    after = tmp_path / "after" / path.name
    after.parent.mkdir()
    shutil.copy(path, after)
    kept = bytearray(log.read_bytes()[: chance.randint(whole, log.stat().st_size)])
    for position in range(max(whole, len(kept) - 64), len(kept)):
        kept[position] = chance.randrange(256)
    after.with_name(log.name).write_bytes(kept)
    held = keys(Outbox(after).open())
    assert held[0] == "first"
    assert held[1:] == [f"{n}-{part}" for n in range(len(held) // 3) for part in range(3)]
    outbox.close()


# ---------------------------------------------------------------------------- wrong files


def test_outbox__file_of_another_market__is_refused(path):
    Outbox(path, "31337:0xabc").close()
    with pytest.raises(OutboxError, match="is of the market 31337:0xabc, not 1:0xdef"):
        Outbox(path, "1:0xdef")


def test_outbox__no_database__is_refused_in_one_line(path):
    path.write_bytes(b"meter readings" * 100)
    with pytest.raises(OutboxError, match="cannot be opened: file is not a database"):
        Outbox(path)


def test_outbox__somebody_elses_database__is_refused(path):
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE things (name TEXT)")
    other.close()
    with pytest.raises(OutboxError, match="is no outbox of this version"):
        Outbox(path)


def test_outbox__file_in_a_file__is_refused_in_one_line(path):
    path.write_text("")
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox(path / "outbox.sqlite")


# -------------------------------------------------------------------------------- backups


def test_backup__while_it_is_open__is_whole(outbox, tmp_path):
    outbox.accept([item("a"), item("b")])
    outbox.backup(tmp_path / "copy.sqlite")
    outbox.accept([item("c")])
    assert keys(Outbox(tmp_path / "copy.sqlite").open()) == ["a", "b"]


def test_backup__file_stands_already__is_refused(outbox, tmp_path):
    (tmp_path / "copy.sqlite").write_text("precious")
    with pytest.raises(OutboxError, match="stands already"):
        outbox.backup(tmp_path / "copy.sqlite")
    assert (tmp_path / "copy.sqlite").read_text() == "precious"
