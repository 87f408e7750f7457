"""Rankings of answers by annotators, for reward models and preference losses.

    for ranking in load_rankings("hh:harmless/test.jsonl.gz"):
        print(ranking.responses, ranking.ranks)

A specification is the name of an entry of `RANKINGS`, with a location:

    jsonl:PATH      rows {"prompt", "chosen", "rejected"}, or {"prompt", "responses", "ranks"}
    jsonl:PATH#a.b  the same in a field of the rows, here b of the object in a
    hh:PATH         pairs of transcripts with a common beginning (Bai et al., arXiv 2204.05862)
    pandalm:PATH    two answers, judged by three annotators (Wang et al., arXiv 2306.05087)
    oasst:PATH      message trees, see `message_trees`
    votes:STORE     what people ranked, see `gptjax.data.feedback.readers`
    instructions[:split=held_out,count=500,...]   the embedded tasks, see `instructions_sets`

A prompt is a text or a list of messages. `ranks` has a number for each response, the lower the
better, equal for a tie; or a list of such lists, one an annotator. `annotators`, an object from
their names to such lists, may stand in its place. To add a set, register a function
`(spec, location) -> Records[Ranking]`.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Any

from gptjax.data.dialogue.chat_format import Conversation, Message, messages_of
from gptjax.data.dialogue.conversations import with_input
from gptjax.data.dialogue.instructions_sets import RankingOptions, parse_options, ranked_tasks
from gptjax.data.dialogue.message_trees import ranked_answers, tree_of
from gptjax.data.dialogue.rankings import Ranking
from gptjax.data.dialogue.records import Dropped, Records, Row, log_dropped, read_records
from gptjax.data.feedback.readers import feedback_rankings
from gptjax.registry import Registry, of_path

RANKINGS: Registry[Callable[[str, str], Records[Ranking]]] = Registry("set of rankings")

_TURN = re.compile(r"\n\n(Human|Assistant):")
_HH_ROLES = {"Human": "user", "Assistant": "assistant"}
_PANDALM_RANKS = {0: (1.0, 1.0), 1: (1.0, 2.0), 2: (2.0, 1.0)}  # by which answer is the better


def load_rankings(spec: str) -> Records[Ranking]:
    """Reads a set of rankings; what it drops is counted and logged.

    Raises:
      ValueError: no such set, no files there, a row that is not as it should be (named), or
        nothing left.
    """
    name, _, location = spec.partition(":")
    records = RANKINGS.get(name, of_path("jsonl:PATH", spec))(spec, location)
    log_dropped(records)
    return records


def ranking_of(row: Row) -> Ranking:
    """Reads a comparison or a ranking, in any of the forms of the module's docstring.

    Raises:
      Dropped: answers that are all the same, which say nothing, or a null.
      ValueError: another form, fewer than two answers, or ranks that do not fit them.
    """
    fields = row.fields.keys()
    pair, several = {"chosen", "rejected"} & fields, {"responses", "ranks", "annotators"} & fields
    if pair and several:
        raise row.wrong("row", f"{min(pair)!r} and {min(several)!r}", "one form or the other")
    if several:
        responses = row.as_list("'responses'", row.value("responses"))
        texts = [row.as_text(f"responses[{i}]", text) for i, text in enumerate(responses)]
        ranks = _ranks(row)
    elif pair:
        texts = [row.text("chosen"), row.text("rejected")]
        ranks = [[1, 2]]
    else:
        got = f"fields {', '.join(fields)}" if fields else "no fields"
        raise row.wrong("row", got, "'chosen' and 'rejected', or 'responses' and 'ranks'")
    prompt, same = messages_of(row, "prompt"), len(texts) > 1 and len(set(texts)) == 1
    # Of a pair there are no ranks that could contradict it.
    ranking = None if pair and same else _ranking(row, prompt, texts, ranks)
    if ranking is None or same:
        reason = "rankings of one and the same answer"
        raise Dropped(f"{row.name}: {reason}", reason)
    return ranking


def _ranks(row: Row) -> list[Any]:
    """A list of ranks for each annotator."""
    if "annotators" in row.fields:
        if "ranks" in row.fields:
            raise row.wrong("row", "'ranks' and 'annotators'", "one or the other")
        annotators = row.value("annotators")
        if not isinstance(annotators, dict) or not annotators:
            raise row.wrong("'annotators'", repr(annotators), "an object from names to ranks")
        return [row.as_list(f"ranks of {name!r}", ranks) for name, ranks in annotators.items()]
    ranks = row.as_list("'ranks'", row.value("ranks"))
    return ranks if all(isinstance(one, list) for one in ranks) else [ranks]


def _ranking(row: Row, prompt: Conversation, texts: list[str], ranks: list[Any]) -> Ranking:
    for annotator, given in enumerate(ranks):
        for rank in given:
            row.check_not_null(f"ranks of annotator {annotator}", rank, "finite numbers")
    try:
        return Ranking(prompt, tuple(texts), tuple(map(tuple, ranks)))
    except ValueError as error:
        raise ValueError(f"{row.name}: {error}") from None


@RANKINGS.register("jsonl")
def json_lines(spec: str, location: str) -> Records[Ranking]:
    """One comparison or ranking a line."""
    return read_records(spec, location, lambda row: [ranking_of(row)])


@RANKINGS.register("hh")
def helpful_harmless(spec: str, location: str) -> Records[Ranking]:
    """Anthropic's pairs of transcripts, which differ in the assistant's last message.

    Pairs that differ before it have no common prompt: they are dropped and counted.
    """

    def read(row: Row) -> Iterator[Ranking]:
        chosen, rejected = (transcript(row, field) for field in ("chosen", "rejected"))
        if chosen[:-1] != rejected[:-1] or chosen == rejected:
            reason = "transcripts that do not differ in their last message alone"
            raise Dropped(f"{row.name}: {reason}", reason)
        texts = [chosen[-1].content, rejected[-1].content]
        yield _ranking(row, chosen[:-1], texts, [(1.0, 2.0)])

    return read_records(spec, location, read)


def transcript(row: Row, field: str) -> Conversation:
    r"""Reads turns that begin with "\n\nHuman:" or "\n\nAssistant:", without the space around.

    Raises:
      ValueError: another beginning, or an end that is not an assistant's.
    """
    before, *turns = _TURN.split(row.text(field))
    roles = [_HH_ROLES[name] for name in turns[::2]]
    if before.strip() or len(roles) < 2 or roles[-1] != "assistant":
        got = repr(row.text(field)[:40])
        raise row.wrong(repr(field), got, "turns from a Human's to an Assistant's")
    pairs = zip(roles, turns[1::2], strict=True)
    return tuple(Message(role, text.strip()) for role, text in pairs)


@RANKINGS.register("pandalm")
def pandalm(spec: str, location: str) -> Records[Ranking]:
    """PandaLM's test set, a JSON list: annotators say 1 or 2 for the better answer, 0 for a tie."""

    def read(row: Row) -> Iterator[Ranking]:
        # Of the published file a few answers are the JSON value true, where "True" was meant.
        texts = [
            str(row.value(field)) if isinstance(row.value(field), bool) else row.text(field)
            for field in ("response1", "response2")
        ]
        labels = [row.value(f"annotator{i}") for i in (1, 2, 3)]
        for label in labels:
            if type(label) is not int or label not in _PANDALM_RANKS:
                raise row.wrong("annotator's label", repr(label), "0, 1 or 2")
        question = with_input(row.text("instruction"), row.text("input"))
        ranks = [_PANDALM_RANKS[label] for label in labels]
        yield _ranking(row, (Message("user", question),), texts, ranks)

    return read_records(spec, location, read, ".json")


@RANKINGS.register("oasst")
def open_assistant(spec: str, location: str) -> Records[Ranking]:
    """Open Assistant's trees: every message of a prompter that has two or more ranked replies."""

    def read(row: Row) -> Iterator[Ranking]:
        for prompt, answers, ranks in ranked_answers(tree_of(row)):
            yield _ranking(row, prompt, list(answers), [ranks])

    return read_records(spec, location, read)


@RANKINGS.register("votes")
def votes(spec: str, location: str) -> Records[Ranking]:
    """Rankings of a store of feedback."""
    return feedback_rankings(spec, location)


@RANKINGS.register("instructions")
def instructions(spec: str, location: str) -> Records[Ranking]:
    """Rankings of the embedded tasks; options are the arguments of `ranked_tasks`."""
    options = parse_options(spec, location, RankingOptions)
    return Records(spec, ranked_tasks(**dataclasses.asdict(options)))
