"""Tables of a store of feedback, as they are after all of `migrations`.

Whatever people send is one submission: its number orders all of them, whatever their kind. A prompt
is a JSON list of {"role", "content"}, and a reply's text a JSON string: a model may say the
character U+0000, which columns of PostgreSQL do not hold. `migrations` makes these tables, and
changes older ones.
"""

from sqlalchemy import Boolean, Column, ForeignKey, Integer, MetaData, Table, Text

METADATA = MetaData()

VERSION = Table("feedback_version", METADATA, Column("version", Integer, nullable=False))

SUBMISSIONS = Table(
    "feedback_submissions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # ranking, vote or conversation
    Column("created", Text, nullable=False),  # UTC, ISO 8601
    Column("labeller", Text),
)


def _id() -> Column[int]:
    return Column("id", Integer, ForeignKey(SUBMISSIONS.c.id), primary_key=True)


def _said_by() -> tuple[Column[str], Column[str], Column[str]]:
    return (
        Column("text", Text, nullable=False),
        Column("model", Text, nullable=False),
        Column("policy", Text, nullable=False),
    )


RANKINGS = Table(
    "feedback_rankings",
    METADATA,
    _id(),
    Column("prompt", Text, nullable=False),
    Column("anonymous", Boolean, nullable=False),
)

REPLIES = Table(
    "feedback_replies",
    METADATA,
    Column("ranking", Integer, ForeignKey(RANKINGS.c.id), primary_key=True),
    Column("place", Integer, primary_key=True),  # from 0, in the order in which they were shown
    *_said_by(),
    Column("rank", Integer, nullable=False),  # from 1, the best
    Column("follows_instruction", Boolean),  # the labels are null where nothing was said
    Column("harmful", Boolean),
    Column("hallucination", Boolean),
)

VOTES = Table(
    "feedback_votes",
    METADATA,
    _id(),
    Column("prompt", Text, nullable=False),
    *_said_by(),
    Column("vote", Integer, nullable=False),  # 1 or -1
)

CONVERSATIONS = Table(
    "feedback_conversations",
    METADATA,
    _id(),
    Column("messages", Text, nullable=False),  # as a prompt is
    Column("model", Text, nullable=False),
)
