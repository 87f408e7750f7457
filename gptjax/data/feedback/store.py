"""The store of feedback: what people said of replies, never lost once `add` has returned.

    with open_store("runs/feedback.db", create=True) as store:
        number = store.add(ranked_replies({...}))
        for number, ranked in store.rankings(): ...

Each submission has a number; a later one has a higher number, whatever its kind. So `until=N`
reads the same each time. Several threads and processes may use one store at once.
"""

import datetime
import itertools
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, Table, func, insert, select

from gptjax.data.corpora.json_fields import parsed
from gptjax.data.dialogue import records
from gptjax.data.dialogue.chat_format import Conversation, messages_of
from gptjax.data.feedback.databases import engine_of, in_one_line, is_whole
from gptjax.data.feedback.migrations import MIGRATIONS, migrate, version_of
from gptjax.data.feedback.records import (
    LABELS,
    KeptConversation,
    Labels,
    RankedReplies,
    Reply,
    Vote,
)
from gptjax.data.feedback.schema import CONVERSATIONS, RANKINGS, REPLIES, SUBMISSIONS, VOTES

_KINDS = {RankedReplies: "ranking", Vote: "vote", KeptConversation: "conversation"}


class FeedbackStore:
    """An open store; `close` it, or use it as a context.

    Attributes:
      name: of the database, for messages; without a password.
    """

    def __init__(self, location: str, create: bool = False):
        """See `opening.open_store`."""
        self._engine, self.name = engine_of(location, create)
        self._writer = self._engine.execution_options(writes=True)
        self._lock = threading.Lock()  # of our writers: SQLite has them wait in ever longer sleeps
        try:
            with in_one_line(self.name):
                self._prepare(create)
        except BaseException:
            self.close()
            raise

    def _prepare(self, create: bool) -> None:
        with self._engine.begin() as connection:
            if not is_whole(connection):
                raise ValueError(f"store of feedback {self.name!r}: got a damaged one")
            version = version_of(self.name, connection)
            if version == 0 and not create:
                raise ValueError(
                    f"no store of feedback in {self.name!r}, which has none of its tables; "
                    "expected one that gptjax has made"
                )
        if version != len(MIGRATIONS):
            with self._writer.begin() as connection:
                migrate(self.name, connection)

    def close(self) -> None:
        """Closes all connections."""
        self._engine.dispose()

    def __enter__(self) -> "FeedbackStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, said: RankedReplies | Vote | KeptConversation) -> int:
        """Keeps a submission, in one transaction, and returns its number once it is on the disk.

        Raises:
          OSError: the database cannot be written; nothing is kept.
          ValueError: it is damaged.
        """
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        submission = {"kind": _KINDS[type(said)], "created": now, "labeller": said.labeller}
        with self._lock, in_one_line(self.name), self._writer.begin() as connection:
            made = connection.execute(
                insert(SUBMISSIONS).values(submission).returning(SUBMISSIONS.c.id)
            )
            number = made.scalar_one()
            for table, rows in _rows(number, said):
                connection.execute(insert(table), rows)
        return number

    def counts(self) -> dict[str, int]:
        """How many there are of "rankings", "votes" and "conversations"."""
        tables = {"rankings": RANKINGS, "votes": VOTES, "conversations": CONVERSATIONS}
        with in_one_line(self.name), self._engine.begin() as connection:
            return {
                name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for name, table in tables.items()
            }

    def last(self) -> int:
        """Number of the last submission; 0 where there is none."""
        with in_one_line(self.name), self._engine.begin() as connection:
            return connection.execute(select(func.max(SUBMISSIONS.c.id))).scalar_one() or 0

    def rankings(self, until: int | None = None) -> Iterator[tuple[int, RankedReplies]]:
        """All rankings with their numbers, in order; None: up to the last, else up to `until`.

        Raises:
          OSError: the database cannot be read.
          ValueError: it is damaged.
        """
        joined = SUBMISSIONS.join(RANKINGS).join(REPLIES)
        columns = (
            *(SUBMISSIONS.c.id, SUBMISSIONS.c.labeller, RANKINGS.c.prompt, RANKINGS.c.anonymous),
            *(column for column in REPLIES.c if column is not REPLIES.c.ranking),
        )
        rows = self._read(select(*columns).select_from(joined), until, REPLIES.c.place)
        for number, several in itertools.groupby(rows, lambda row: row.id):
            ranked = list(several)
            first = ranked[0]
            yield (
                number,
                RankedReplies(
                    self._conversation(number, first.prompt),
                    tuple(self._reply(number, row) for row in ranked),
                    tuple(row.rank for row in ranked),
                    tuple(Labels(*(getattr(row, name) for name in LABELS)) for row in ranked),
                    first.labeller,
                    first.anonymous,
                ),
            )

    def votes(self, until: int | None = None) -> Iterator[tuple[int, Vote]]:
        """All votes with their numbers, in order; as `rankings`."""
        wanted = select(SUBMISSIONS.c.labeller, VOTES).select_from(SUBMISSIONS.join(VOTES))
        for row in self._read(wanted, until):
            prompt, reply = self._conversation(row.id, row.prompt), self._reply(row.id, row)
            yield row.id, Vote(prompt, reply, row.vote, row.labeller)

    def conversations(self, until: int | None = None) -> Iterator[tuple[int, KeptConversation]]:
        """All conversations that were kept, with their numbers, in order; as `rankings`."""
        joined = SUBMISSIONS.join(CONVERSATIONS)
        wanted = select(SUBMISSIONS.c.labeller, CONVERSATIONS).select_from(joined)
        for row in self._read(wanted, until):
            messages = self._conversation(row.id, row.messages)
            yield row.id, KeptConversation(messages, row.model, row.labeller)

    def _read(self, wanted: Select[Any], until: int | None, *then_by: Any) -> Sequence[Row[Any]]:
        """Rows in the order of submissions; all at once, so that no transaction stays open."""
        wanted = wanted.order_by(SUBMISSIONS.c.id, *then_by)
        if until is not None:
            wanted = wanted.where(SUBMISSIONS.c.id <= until)
        with in_one_line(self.name), self._engine.begin() as connection:
            return connection.execute(wanted).all()

    def _conversation(self, number: int, text: str) -> Conversation:
        name = self._submission(number)
        messages = parsed(name, text, "a list of messages")
        return messages_of(records.Row(name, {"messages": messages}), "messages")

    def _reply(self, number: int, row: Row[Any]) -> Reply:
        return Reply(parsed(self._submission(number), row.text, "a string"), row.model, row.policy)

    def _submission(self, number: int) -> str:
        return f"store of feedback {self.name!r}: submission {number}"


def _rows(
    number: int, said: RankedReplies | Vote | KeptConversation
) -> list[tuple[Table, list[dict[str, Any]]]]:
    """What goes into which tables."""
    if isinstance(said, RankedReplies):
        ranking = {"id": number, "prompt": _json(said.prompt), "anonymous": said.anonymous}
        replies = [
            {"ranking": number, "place": place, "rank": rank, **_said(reply), **vars(labels)}
            for place, (reply, rank, labels) in enumerate(
                zip(said.replies, said.ranks, said.labels, strict=True)
            )
        ]
        return [(RANKINGS, [ranking]), (REPLIES, replies)]
    if isinstance(said, Vote):
        row = {"prompt": _json(said.prompt), "vote": said.vote, **_said(said.reply)}
        return [(VOTES, [{"id": number, **row}])]
    kept = {"id": number, "messages": _json(said.messages), "model": said.model}
    return [(CONVERSATIONS, [kept])]


def _said(reply: Reply) -> dict[str, str]:
    return {**vars(reply), "text": json.dumps(reply.text, ensure_ascii=False)}


def _json(messages: Conversation) -> str:
    return json.dumps([vars(message) for message in messages], ensure_ascii=False)
