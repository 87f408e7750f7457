"""A store of feedback as rankings, conversations and prompts: the sets called `votes:STORE`.

    load_rankings("votes:runs/feedback.db")           # for reward models, DPO and IPO
    load_conversations("votes:runs/feedback.db#120")  # of the first 120 submissions alone

STORE is a path or a URL, see `opening.open_store`. Without #N a set grows with its store, and a run
that is started again after new submissions is refused; the log says which #N it had.

Of one labeller the last word on the same thing counts. Where no labeller is named, each counts.
"""

import contextlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from absl import logging

from gptjax.data.dialogue.chat_format import Conversation, Message, before_answer
from gptjax.data.dialogue.rankings import Ranking
from gptjax.data.dialogue.records import Records, sift
from gptjax.data.feedback.opening import open_store
from gptjax.data.feedback.records import RankedReplies, Vote
from gptjax.registry import with_home

if TYPE_CHECKING:
    from gptjax.data.feedback.store import FeedbackStore

Said = TypeVar("Said", RankedReplies, Vote)

_AGAIN = "conversations that came before"
_CHANGED = "rankings that their labeller has changed"
_DISLIKED = "conversations with a reply that is disliked"
_HARMFUL = "conversations with a reply that is called harmful"
_NOT_LIKED = "replies that are not liked"
_SAME = "rankings of one and the same answer"


def feedback_rankings(spec: str, location: str) -> Records[Ranking]:
    """Rankings as they were given, of K replies with ties. Thumbs are not compared.

    Rankings of the same texts for the same prompt are one, with an annotator for each, so that no
    answer is learned from twice (InstructGPT, section 3.5). Replies of the same text are one.

    Args:
      spec: the set, for messages.
      location: STORE or STORE#N.

    Raises:
      ValueError: as `open_store`; N is above the last submission; nothing is left.
      OSError: the database cannot be read.
    """
    with _opened(spec, location) as (store, until):
        given = [ranked for _, ranked in store.rankings(until)]
    groups = alike(given)
    changed = len(given) - sum(map(len, groups))
    judged: list[tuple[Ranking | None, str | None]] = [(None, _CHANGED)] * changed
    for several in groups:
        responses = tuple(dict.fromkeys(reply.text for reply in several[0].replies))
        if len(responses) == 1:
            judged += [(None, _SAME)] * len(several)
            continue
        rank_of = [
            {reply.text: rank for reply, rank in zip(one.replies, one.ranks, strict=True)}
            for one in several
        ]
        ranks = tuple(tuple(each[text] for text in responses) for each in rank_of)
        judged.append((Ranking(several[0].prompt, responses, ranks), None))
    return sift(spec, judged)


def alike(rankings: Iterable[RankedReplies]) -> list[list[RankedReplies]]:
    """Those that count, in groups of the same prompt and the same texts, in order."""
    groups: dict[tuple[Conversation, frozenset[str]], list[RankedReplies]] = {}
    for ranked in rankings:
        texts = frozenset(reply.text for reply in ranked.replies)
        groups.setdefault((ranked.prompt, texts), []).append(ranked)
    return list(map(last_words, groups.values()))


def counted_rankings(spec: str, location: str) -> list[RankedReplies]:
    """Rankings with who said what, for ratings; of a labeller's on the same replies the last.

    Args:
      spec: the set, for messages.
      location: STORE or STORE#N.

    Raises:
      ValueError: as `open_store`, or N is above the last submission.
      OSError: the database cannot be read.
    """
    with _opened(spec, location) as (store, until):
        return list(itertools.chain(*alike(ranked for _, ranked in store.rankings(until))))


def feedback_conversations(spec: str, location: str) -> Records[Conversation]:
    """Conversations that people kept, and replies that more of them like than dislike.

    Left out, with a count: a conversation with a reply that someone called harmful in a ranking, or
    that more people dislike than like; and what comes a second time.

    Args:
      spec: the set, for messages.
      location: STORE or STORE#N.

    Raises:
      ValueError: as `feedback_rankings`.
      OSError: the database cannot be read.
    """
    with _opened(spec, location) as (store, until):
        rankings = [ranked for _, ranked in store.rankings(until)]
        votes = list(store.votes(until))
        kept = [(number, one.messages) for number, one in store.conversations(until)]
    about: dict[Conversation, list[Vote]] = {}
    first: dict[Conversation, int] = {}
    for number, vote in votes:
        whole = (*vote.prompt, Message("assistant", vote.reply.text))
        about.setdefault(whole, []).append(vote)
        first.setdefault(whole, number)
    liked = {whole: sum(v.vote for v in last_words(several)) for whole, several in about.items()}
    harmful = _harmful(rankings)
    seen: set[Conversation] = set()

    def reason(conversation: Conversation) -> str | None:
        if conversation in about and liked[conversation] <= 0:
            return _NOT_LIKED
        ends = (i + 1 for i, each in enumerate(conversation) if each.role == "assistant")
        parts = [conversation[:end] for end in ends]
        if not harmful.isdisjoint(parts):
            return _HARMFUL
        if any(liked.get(part, 0) < 0 for part in parts):
            return _DISLIKED
        if conversation in seen:
            return _AGAIN
        seen.add(conversation)
        return None

    found = sorted([*((number, whole) for whole, number in first.items()), *kept])
    return sift(spec, ((each, reason(each)) for _, each in found))


def feedback_prompts(spec: str, location: str) -> Records[Conversation]:
    """Prompts of all submissions, in their order: what was ranked, voted on, and kept.

    Args:
      spec: the set, for messages.
      location: STORE or STORE#N.

    Raises:
      ValueError: as `feedback_rankings`, or a conversation that holds nothing but an answer.
      OSError: the database cannot be read.
    """
    with _opened(spec, location) as (store, until):
        found = [
            *((number, ranked.prompt) for number, ranked in store.rankings(until)),
            *((number, vote.prompt) for number, vote in store.votes(until)),
            *((number, before_answer(one.messages)) for number, one in store.conversations(until)),
        ]
    empty = "conversations without a prompt"
    ordered = (prompt for _, prompt in sorted(found, key=lambda each: each[0]))
    return sift(spec, ((prompt, None if prompt else empty) for prompt in ordered))


def last_words(several: Iterable[Said]) -> list[Said]:
    """Of each labeller's submissions about one thing the last, in order; all without a labeller."""
    kept = list(several)
    last = {one.labeller: i for i, one in enumerate(kept)}
    return [one for i, one in enumerate(kept) if one.labeller is None or last[one.labeller] == i]


def _harmful(rankings: Iterable[RankedReplies]) -> set[Conversation]:
    """Prompts with their replies, of which some labeller says last that they are harmful."""
    said: dict[tuple[Conversation, object], bool] = {}
    for i, ranked in enumerate(rankings):
        for reply, labels in zip(ranked.replies, ranked.labels, strict=True):
            if labels.harmful is not None:
                whole = (*ranked.prompt, Message("assistant", reply.text))
                said[whole, ranked.labeller or i] = labels.harmful
    return {whole for (whole, _), harmful in said.items() if harmful}


@contextlib.contextmanager
def _opened(spec: str, location: str) -> "Iterator[tuple[FeedbackStore, int]]":
    """The store, and the number of the last submission that is read."""
    path, until = location, None
    found = re.fullmatch(r"(.+)#(\d+)", location)
    if found and not os.path.exists(with_home(location)):
        path, until = found[1], int(found[2])
    with open_store(path) as store:
        last = store.last()
        if until is None:
            again = f"{spec}#{last} reads the same again"
            logging.warning("%s: read up to submission %d, and may grow; %s", spec, last, again)
        elif until > last:
            raise ValueError(
                f"{spec!r}: got #{until}, expected at most #{last}, the last submission"
            )
        yield store, last if until is None else until
