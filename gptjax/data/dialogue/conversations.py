"""Conversations to learn from, by name: demonstrations for supervised fine-tuning.

    for conversation in load_conversations("jsonl:chats/*.jsonl"):
        print(conversation[-1].content)

A specification is the name of an entry of `CONVERSATIONS`, with a location:

    jsonl:PATH          rows {"prompt", "response"} or {"messages": [{"role", "content"}, ...]}
    jsonl:PATH#a.b      the same in a field of the rows, here b of the object in a; or the messages
    dolly:PATH          the same, prompts in Alpaca's wrapper, which is taken off
    self_instruct:PATH  instructions with instances (Wang et al., arXiv 2212.10560)
    oasst:PATH          message trees, see `message_trees`
    votes:STORE         what people kept or liked, see `gptjax.data.feedback.readers`
    instructions[:split=held_out,count=500,...]   the embedded tasks, see `instructions_sets`
    refusals[:split=held_out,kind=allowed,...]    made-up requests to refuse, see `refusals_sets`

PATH is a file, a directory or a glob, as for corpora. To add a set, register a function
`(spec, location) -> Records[Conversation]`.
"""

import dataclasses
from collections.abc import Callable, Iterator

from gptjax.data.dialogue.chat_format import Conversation, Message, conversation_of
from gptjax.data.dialogue.instructions_sets import (
    DemonstrationOptions,
    demonstrations,
    parse_options,
)
from gptjax.data.dialogue.message_trees import threads, tree_of
from gptjax.data.dialogue.records import Records, Row, log_dropped, read_records
from gptjax.data.dialogue.refusals_sets import RefusalOptions, refusal_demonstrations
from gptjax.data.feedback.readers import feedback_conversations
from gptjax.registry import Registry, of_path

CONVERSATIONS: Registry[Callable[[str, str], Records[Conversation]]] = Registry(
    "set of conversations"
)

_ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes "
    "the request.\n\n### Instruction:\n",
    "\n\n### Response:\n",
)


def load_conversations(spec: str) -> Records[Conversation]:
    """Reads a set of conversations; what it drops is counted and logged.

    Raises:
      ValueError: no such set, no files there, a row that is not as it should be (named), or
        nothing left.
    """
    name, _, location = spec.partition(":")
    records = CONVERSATIONS.get(name, of_path("jsonl:PATH", spec))(spec, location)
    log_dropped(records)
    return records


@CONVERSATIONS.register("jsonl")
def json_lines(spec: str, location: str) -> Records[Conversation]:
    """One conversation a line."""
    return read_records(spec, location, lambda row: [conversation_of(row)])


@CONVERSATIONS.register("dolly")
def dolly(spec: str, location: str) -> Records[Conversation]:
    """MosaicML's dolly_hhrlhf: prompts in Alpaca's wrapper, of which the instruction is kept."""

    def read(row: Row) -> Iterator[Conversation]:
        prompt = row.text("prompt")
        bare = prompt.removeprefix(_ALPACA[0]).removesuffix(_ALPACA[1])
        if len(prompt) - len(bare) != sum(map(len, _ALPACA)):
            got = f"{prompt[:40]!r}..."
            raise row.wrong("'prompt'", got, "Alpaca's wrapper; jsonl:PATH reads it as it is")
        yield Message("user", bare), Message("assistant", row.text("response"))

    return read_records(spec, location, read)


@CONVERSATIONS.register("self_instruct")
def self_instruct(spec: str, location: str) -> Records[Conversation]:
    """Self-Instruct's seed tasks and its evaluation: one conversation an instance of a task."""

    def read(row: Row) -> list[Conversation]:
        conversations = []
        for index, instance in enumerate(row.as_list("'instances'", row.value("instances"))):
            if not isinstance(instance, dict):
                raise row.wrong(f"instances[{index}]", type(instance).__name__, "an object")
            part = Row(f"{row.name}: instances[{index}]", instance)
            question = with_input(row.text("instruction"), part.text("input"))
            answer = Message("assistant", part.text("output"))
            conversations.append((Message("user", question), answer))
        return conversations

    return read_records(spec, location, read)


def with_input(instruction: str, text: str) -> str:
    """An instruction and, where there is one, the text it is about, a blank line between."""
    return f"{instruction}\n\n{text}" if text else instruction


@CONVERSATIONS.register("oasst")
def open_assistant(spec: str, location: str) -> Records[Conversation]:
    """Open Assistant's trees: each user's path through them, with the best answers."""
    return read_records(spec, location, lambda row: threads(tree_of(row)))


@CONVERSATIONS.register("votes")
def votes(spec: str, location: str) -> Records[Conversation]:
    """Conversations of a store of feedback."""
    return feedback_conversations(spec, location)


@CONVERSATIONS.register("instructions")
def instructions(spec: str, location: str) -> Records[Conversation]:
    """Demonstrations of the embedded tasks; options are the arguments of `demonstrations`."""
    options = parse_options(spec, location, DemonstrationOptions)
    return Records(spec, demonstrations(**dataclasses.asdict(options)))


@CONVERSATIONS.register("refusals")
def refusals(spec: str, location: str) -> Records[Conversation]:
    """Made-up requests with answers; options are the arguments of `refusal_demonstrations`."""
    options = parse_options(spec, location, RefusalOptions)
    return Records(spec, refusal_demonstrations(**dataclasses.asdict(options)))
