"""The store: what was added is there, after a kill too; old, new, damaged and foreign databases."""

import concurrent.futures
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from gptjax.data.feedback import migrations
from gptjax.data.feedback.databases import engine_of
from gptjax.data.feedback.opening import open_store
from gptjax.data.feedback.records import kept_conversation, ranked_replies, vote
from gptjax.data.feedback.schema import METADATA
from tests.support.said import ranking, talk, thumb

ROOT = Path(__file__).resolve().parents[3]
ALL = (
    ranked_replies(
        ranking(
            'Why "é🙂\u2028"?',
            {"a": 2, "'b';--\0": 1, "": 2},
            labels=[{"harmful": True}, {"follows_instruction": False}, {}],
            labeller="ann",
            anonymous=True,
        )
    ),
    vote(thumb("q", "a", -1)),
    kept_conversation(talk("q", "a", labeller="bob")),
    ranked_replies(ranking("q", {"a": 1, "b": 1})),
)
# Adds votes, of which each says its number once it is kept.
VOTER = """
import sys
from gptjax.data.feedback.opening import open_store
from gptjax.data.feedback.records import vote
from tests.support.said import thumb

store, i = open_store(sys.argv[1], create=True), 0
while i != int(sys.argv[3]):
    print(store.add(vote(thumb(f"{sys.argv[2]} {i}", "a", 1))), flush=True)
    i += 1
"""


def voter(location, name, count=-1):
    command = [sys.executable, "-c", VOTER, location, name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_what_is_added_is_read_back_in_order(location):
    with open_store(location, create=True) as store:
        assert store.counts() == {"rankings": 0, "votes": 0, "conversations": 0}
        assert store.last() == 0
        assert [store.add(said) for said in ALL] == [1, 2, 3, 4]
    with open_store(location) as store:
        assert list(store.rankings()) == [(1, ALL[0]), (4, ALL[3])]
        assert list(store.votes()) == [(2, ALL[1])]
        assert list(store.conversations()) == [(3, ALL[2])]
        assert [number for number, _ in store.rankings(until=3)] == [1]
        assert store.counts() == {"rankings": 2, "votes": 1, "conversations": 1}
        assert store.last() == 4


def test_tables_say_what_people_sent(tmp_path):
    """As any other program reads them."""
    with open_store(f"{tmp_path}/x.db", create=True) as store:
        for said in ALL:
            store.add(said)
    rows = sqlite3.connect(tmp_path / "x.db").execute
    assert rows("SELECT id, kind, labeller FROM feedback_submissions").fetchall() == [
        (1, "ranking", "ann"),
        (2, "vote", None),
        (3, "conversation", "bob"),
        (4, "ranking", None),
    ]
    replies = rows("SELECT text, model, rank, harmful FROM feedback_replies").fetchall()
    assert [(json.loads(said), *others) for said, *others in replies] == [
        ("a", "sft", 2, 1),
        ("'b';--\0", "ppo", 1, None),
        ("", "sft", 2, None),
        ("a", "sft", 1, None),
        ("b", "ppo", 1, None),
    ]
    assert rows(
        "SELECT json_extract(prompt, '$[0].content') FROM feedback_rankings"
    ).fetchone() == ('Why "é🙂\u2028"?',)
    assert rows("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_commit_waits_for_the_disk(tmp_path):
    engine, _ = engine_of(f"{tmp_path}/x.db", create=True)
    with engine.begin() as connection:
        modes = [
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert modes == ["wal", 2, 1]


def test_a_failing_submission_leaves_nothing(location, monkeypatch):
    with open_store(location, create=True) as store:
        module = sys.modules[type(store).__module__]
        rows = module._rows
        with monkeypatch.context() as patch:
            patch.setattr(module, "_rows", lambda *given: [*rows(*given), *rows(*given)])
            with pytest.raises(ValueError, match="store of feedback"):  # a number twice
                store.add(ALL[0])
        assert (store.last(), store.counts()["rankings"]) == (0, 0)
        assert store.add(ALL[1]) > 0


def test_a_killed_process_loses_nothing_that_it_has_kept(location):
    """Killed at any time after some votes, mostly in the midst of the next."""
    child = voter(location, "killed")
    printed = [int(child.stdout.readline()) for _ in range(5)]
    child.send_signal(signal.SIGKILL)
    printed += map(int, child.stdout.read().split())
    assert child.wait() == -signal.SIGKILL
    with open_store(location) as store:
        found = dict(store.votes())
        assert set(printed) <= set(found)
        assert [found[number].prompt[0].content for number in printed] == [
            f"killed {i}" for i in range(len(printed))
        ]
        assert store.last() == max(found)  # no submission without its vote
        assert store.add(ALL[1]) > max(printed)


@pytest.mark.slow
def test_threads_and_processes_write_at_once(location):
    """Two processes make the store, while eight threads of this one add to it."""
    children = [voter(location, name, 10) for name in "xy"]
    numbers = [[int(child.stdout.readline())] for child in children]
    with open_store(location) as store, concurrent.futures.ThreadPoolExecutor(8) as threads:
        ours = list(threads.map(lambda _: store.add(ALL[0]), range(20)))
        for child, printed in zip(children, numbers, strict=True):
            printed += map(int, child.stdout.read().split())
            assert child.wait() == 0 and printed == sorted(printed) and len(printed) == 10
        assert sorted([*numbers[0], *numbers[1], *ours]) == list(range(1, 41))
        assert [said for _, said in store.rankings()] == [ALL[0]] * 20


def test_the_first_tables_are_those_of_the_schema(location):
    """What migrations make is what is read and written: columns, kinds, nulls and keys."""
    with open_store(location, create=True):
        pass
    engine, _ = engine_of(location, create=False)
    found = inspect(engine)
    assert set(found.get_table_names()) >= set(METADATA.tables)
    for name, table in METADATA.tables.items():
        columns = found.get_columns(name)
        assert [column["name"] for column in columns] == table.columns.keys(), name
        for column in columns:
            ours = table.c[column["name"]]
            assert column["type"]._type_affinity is ours.type._type_affinity, column
            assert column["nullable"] == ours.nullable, column
        keys = found.get_pk_constraint(name)["constrained_columns"]
        assert keys == [column.name for column in table.primary_key]
        foreign = {
            (key["constrained_columns"][0], key["referred_table"])
            for key in found.get_foreign_keys(name)
        }
        assert foreign == {(key.parent.name, key.column.table.name) for key in table.foreign_keys}
    engine.dispose()


def test_an_old_store_is_brought_to_the_latest_version(location, monkeypatch):
    """Of three later steps one fails at first: then all are undone, and the store is as it was."""
    with open_store(location, create=True) as store:
        store.add(ALL[1])

    def column(connection):
        connection.execute(text("ALTER TABLE feedback_votes ADD COLUMN seconds INTEGER"))

    def value(connection):
        connection.execute(text("UPDATE feedback_votes SET seconds = 7"))

    def failing(connection):
        connection.execute(text("UPDATE feedback_votes SET minutes = 7"))

    def state(expected):
        engine, name = engine_of(location, create=False)
        with engine.begin() as connection:
            version = migrations.version_of(name, connection)
            columns = [each["name"] for each in inspect(connection).get_columns("feedback_votes")]
            assert (version, "seconds" in columns) == expected
            if "seconds" in columns:
                seconds = connection.execute(text("SELECT seconds FROM feedback_votes"))
                assert seconds.scalars().all() == [7]
        engine.dispose()

    def know(*later):
        steps = (*migrations.MIGRATIONS[:1], *later)
        for module in (migrations, sys.modules["gptjax.data.feedback.store"]):
            monkeypatch.setattr(module, "MIGRATIONS", steps)

    know(column, value, failing)
    with pytest.raises((OSError, ValueError), match="minutes"):
        open_store(location)
    state((1, False))
    know(column, value)
    with open_store(location) as store:
        assert list(store.votes()) == [(1, ALL[1])]
    state((3, True))
    know()
    for create in (False, True):
        with pytest.raises(ValueError, match="got version 3, expected at most 1, the latest that"):
            open_store(location, create=create)
    state((3, True))


def damaged(path):
    """A store of which all but the first page is overwritten."""
    open_store(path, create=True).close()
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:4096] + b"x" * (len(content) - 4096))


def cut(path):
    open_store(path, create=True).close()
    os.truncate(path, 5000)


def foreign(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine (x)")
    connection.close()


def two_versions(path):
    open_store(path, create=True).close()
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO feedback_version VALUES (1)")
    connection.commit()
    connection.close()


def words(path):
    Path(path).write_text("words " * 1000)


def folder(path):
    Path(path).mkdir()


BAD = {
    "/x.db": "no store of feedback at '{}/x.db'; expected a path, sqlite:///PATH or postgresql://",
    "": "store of feedback: got '', expected a path, ",
    "mysql://ann:secret@host/x": "store of feedback: got 'mysql://ann:***@host/x', expected a path",
    "sqlite://": "store of feedback: got 'sqlite://', expected a path",
    "x y://": "store of feedback: got 'x y://...', expected a path",
}
BAD_FILES = {
    damaged: "store of feedback '{}': got a damaged one",
    cut: "store of feedback '{}': got a damaged one, or another file or database (database disk",
    words: "store of feedback '{}': got a damaged one, or another file or database (file is not",
    foreign: "no store of feedback in '{}', which has none of its tables",
    two_versions: "store of feedback '{}': got 2 rows in feedback_version, expected one",
    folder: "store of feedback: got '{}', expected a path, sqlite:///PATH or postgresql://",
}


def refusal(location, *errors):
    with pytest.raises(errors or ValueError) as caught:
        open_store(location)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("given", BAD)
def test_places_where_no_store_is(tmp_path, given):
    place = f"{tmp_path}{given}" if given.startswith("/") else given
    assert refusal(place).startswith(BAD[given].format(tmp_path))
    assert not list(tmp_path.iterdir())  # nothing is made by looking


@pytest.mark.parametrize("make", BAD_FILES, ids=lambda make: make.__name__)
def test_files_that_are_no_stores(tmp_path, make):
    make(f"{tmp_path}/x.db")
    assert refusal(f"{tmp_path}/x.db").startswith(BAD_FILES[make].format(f"{tmp_path}/x.db"))


def test_a_store_that_may_not_be_written_is_read(tmp_path, monkeypatch):
    with open_store(f"{tmp_path}/x.db", create=True) as store:
        store.add(ALL[1])
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write all
    with open_store(f"{tmp_path}/x.db") as store:
        assert list(store.votes()) == [(1, ALL[1])]
        with pytest.raises(OSError, match="readonly database"):
            store.add(ALL[1])


def test_a_store_that_may_not_be_read():
    """Where root runs the tests, nobody looks, who may enter the folder."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.db")
        open_store(str(path), create=True).close()
        os.chmod(folder, 0o755)
        path.chmod(0)
        os.seteuid(user or 65534)
        try:
            assert "unable to open database file" in refusal(str(path), OSError)
        finally:
            os.seteuid(user)


def test_without_sqlalchemy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(ValueError, match=r"needs the package sqlalchemy.*gptjax\[serve\]"):
        open_store("x.db")


def test_without_a_driver_its_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    message = refusal("postgresql://ann:secret@host/x")
    assert message.startswith("store of feedback 'postgresql://ann:***@host/x': got import of psyc")
    assert message.endswith("expected a driver of PostgreSQL (pip install 'psycopg[binary]')")
