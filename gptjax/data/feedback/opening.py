"""Opens a store of feedback; the one way in for who does not need SQLAlchemy otherwise.

with open_store("runs/feedback.db", create=True) as store:
    store.add(vote({...}))
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gptjax.data.feedback.store import FeedbackStore


def open_store(location: str, *, create: bool = False) -> "FeedbackStore":
    """Opens the store, of an older version too, which is then brought to the latest.

    Args:
      location: the path of an SQLite file, or sqlite:///PATH, or postgresql://USER@HOST/DATABASE,
        which needs the package psycopg.
      create: whether a store is made where there is none.

    Raises:
      ValueError: no SQLAlchemy or no driver; another scheme; no store there; a damaged store, a
        database of something else, or a store of a newer version.
      OSError: the database cannot be reached, read or written.
    """
    try:
        importlib.import_module("sqlalchemy")
    except ImportError:
        raise ValueError(
            f"the store of feedback {location.partition('://')[0]!r} needs the package sqlalchemy, "
            "which is not installed; expected the extra `serve` (pip install 'gptjax[serve]')"
        ) from None
    return importlib.import_module("gptjax.data.feedback.store").FeedbackStore(location, create)
