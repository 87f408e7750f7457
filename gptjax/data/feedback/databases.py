"""Databases that hold a store: SQLite files, PostgreSQL; and what they say, in one line.

    engine, name = engine_of("runs/feedback.db", create=True)
    with in_one_line(name), engine.begin() as connection: ...

SQLite writes ahead (WAL) and waits for the disk at every commit (synchronous=FULL): a transaction
that has ended is kept, whatever happens to the process or the machine. Readers and one writer work
at the same time; another writer waits.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError

from gptjax.registry import with_home

WAIT = 30.0  # seconds that a writer waits for others
_LOCK = 0x67707466  # of PostgreSQL's advisory locks, the one of writers of feedback
_EXPECTED = "a path, sqlite:///PATH or postgresql://USER@HOST/DATABASE"


def engine_of(location: str, create: bool) -> tuple[Engine, str]:
    """The engine of a database, and its name for messages, without a password.

    Args:
      location: as of `opening.open_store`.
      create: whether an SQLite file is made where there is none.

    Raises:
      ValueError: another scheme, no driver, or no file.
      OSError: its folder cannot be made.
    """
    if "://" not in location:
        return _sqlite(with_home(location), create)
    try:
        url = make_url(location)
    except (ArgumentError, ValueError):
        got = f"{location.partition('://')[0]}://..."
        raise ValueError(f"store of feedback: got {got!r}, expected {_EXPECTED}") from None
    name = url.render_as_string(hide_password=True)
    if url.drivername == "sqlite" and url.database and not url.query:
        return _sqlite(with_home(url.database), create)
    if url.get_backend_name() != "postgresql":
        raise ValueError(f"store of feedback: got {name!r}, expected {_EXPECTED}")
    return _postgresql(url, name), name


def _sqlite(path: str, create: bool) -> tuple[Engine, str]:
    if not path or os.path.isdir(path):
        raise ValueError(f"store of feedback: got {path!r}, expected {_EXPECTED} of a file")
    if create:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    elif not os.path.exists(path):
        raise ValueError(f"no store of feedback at {path!r}; expected {_EXPECTED} of one")
    mode = "mode=rwc" if create else "mode=rw"
    if os.path.exists(path) and not all(
        os.access(one, os.W_OK) for one in (path, os.path.dirname(os.path.abspath(path)))
    ):
        mode = "mode=ro" if os.path.exists(f"{path}-wal") else "mode=ro&immutable=1"
    uri = f"file:{quote(os.path.abspath(path))}?{mode}"

    def connect() -> sqlite3.Connection:
        # No isolation level: the driver begins nothing by itself, `_begin` does.
        connection = sqlite3.connect(
            uri, uri=True, timeout=WAIT, isolation_level=None, check_same_thread=False
        )
        if "mode=ro" not in mode:
            _write_ahead(connection)
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        kind = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
        connection.exec_driver_sql(f"BEGIN {kind}")

    return engine, path


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Sets the modes of writing; SQLite does not wait by itself where several set WAL at once."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                connection.close()
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")


def _postgresql(url: URL, name: str) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except (ImportError, SQLAlchemyError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"store of feedback {name!r}: got {said}; expected a driver of PostgreSQL "
            "(pip install 'psycopg[binary]')"
        ) from None

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # One writer at a time, so that numbers come to readers in their order.
        if connection.get_execution_options().get("writes"):
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))

    return engine


@contextlib.contextmanager
def in_one_line(name: str) -> Iterator[None]:
    """Has what a database complains of said in one line.

    Raises:
      OSError: it cannot be reached, read or written, or is busy.
      ValueError: it is damaged, or no store of feedback.
    """
    try:
        yield
    except OperationalError as error:
        raise OSError(f"store of feedback {name!r}: {_said(error)}") from error
    except DBAPIError as error:
        raise ValueError(
            f"store of feedback {name!r}: got a damaged one, or another file or database "
            f"({_said(error)}), expected one that gptjax has made"
        ) from error
    except SQLAlchemyError as error:
        raise OSError(f"store of feedback {name!r}: {' '.join(str(error).split())}") from error


def _said(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())


def is_whole(connection: Connection) -> bool:
    """Whether SQLite finds the structure of its file whole; of other databases always true."""
    if connection.dialect.name != "sqlite":
        return True
    return connection.execute(text("PRAGMA quick_check(1)")).scalar_one() == "ok"
