"""Chat in a terminal: a line is a user's message, or a command.

session = Session(model, write=print_now)
session.hear("Hello")           # the reply comes through `write`, piece by piece
session.hear("/temperature 0.7")    # `HELP` lists the commands
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gptjax.chat.chat_model import ChatModel
from gptjax.chat.context import OVERFLOW, check_roles, fitted
from gptjax.chat.dialogue import Dialogue
from gptjax.chat.drafts import Asked, Draft, finish_reason
from gptjax.chat.replies import Beams, BestOf, ReplyPolicy, Sampling
from gptjax.registry import unknown_name

HELP = """\
/help              this list              /reset             forgets the conversation
/undo              takes back a turn      /retry             answers again, by another seed
/system TEXT       the system message     /temperature 0.7   draws by this temperature; 0: none
/beam 4            beam search; 0: none   /best 4 [RANKER]   the best of 4 draws; 0: none
/seed 7            of the next draws      /overflow NAME     refuse, drop_oldest or slide
/save FILE         keeps the conversation /load FILE         goes on with a kept one"""


class Session:
    """A conversation with one model, and how its replies are chosen."""

    def __init__(
        self,
        model: ChatModel,
        write: Callable[[str], Any],
        note: Callable[[str], Any],
        *,
        sampling: Sampling | None = None,
        policy: ReplyPolicy | None = None,
        system: str | None = None,
        seed: int = 0,
        max_new_tokens: int | None = None,
        overflow: str = "refuse",
    ):
        """A session without a turn.

        Args:
          model: of a chat; another one raises ValueError.
          write: takes pieces of replies.
          note: takes lines about the conversation.
          sampling: how tokens are drawn, where they are.
          policy: how a reply is chosen; `sampling` by default.
          system: the system message.
          seed: of the first reply; each further one has the next.
          max_new_tokens: of a reply; None: all that fit.
          overflow: see `context`.
        """
        self._template = model.template  # refuses what is no chat model
        self._model, self._write, self._note = model, write, note
        self._sampling = sampling or Sampling()
        self._policy = policy or self._sampling
        self._seed, self._most, self._overflow = seed, max_new_tokens, overflow
        self.dialogue = Dialogue(system)

    def hear(self, line: str) -> bool:
        """Does what a line says; returns whether that was possible. A reply may be interrupted.

        `KeyboardInterrupt` ends a reply where it is; the conversation keeps it. What is wrong is
        said by `note`, and changes nothing.
        """
        before = self.dialogue.messages.copy()
        try:
            if line.startswith("/"):
                self._command(*line[1:].partition(" ")[::2])
            else:
                self._answer_to(line)
        except (OSError, RuntimeError, ValueError) as error:
            self.dialogue.messages = before
            self._note(str(error))
            return False
        return True

    def _answer_to(self, text: str) -> None:
        self.dialogue.say(text)
        messages, marks = self.dialogue.turns, self._template.tokenizer
        check_roles(messages)
        read = fitted(
            self._template,
            messages,
            context_length=self._model.config.context_length,
            reserved=self._reserved(),
            overflow=self._overflow,
        )
        asked = Asked(
            read.tokens,
            stop_token=marks.end_of_turn,
            banned=self._template.outside_answers,
            messages=tuple(m for i, m in enumerate(messages) if i not in read.dropped),
            max_new_tokens=self._most,
            seed=self._seed,
        )
        (draft,) = self._policy.drafts(self._model, self._model.generator, asked)
        if read.dropped:
            self._note(f"{len(read.dropped)} of {len(messages)} messages no longer fit")
        if read.cut:
            self._note(f"the oldest {read.cut} tokens no longer fit")
        self._seed += 1
        self.dialogue.answered(self._written(draft))

    def _reserved(self) -> int:
        if self._overflow == "refuse":
            return 1
        return self._most or max(1, self._model.config.context_length // 4)

    def _written(self, draft: Draft) -> str:
        """The text of a reply, as it came."""
        pieces = []
        try:
            for piece in draft.text():
                pieces.append(piece)
                self._write(piece)
        except KeyboardInterrupt:
            draft.cancel()
            self._note("\n[stopped]")
            return "".join(pieces)
        self._write("\n")
        if finish_reason(draft) == "length":
            self._note("[cut: length]")
        return "".join(pieces)

    def _command(self, name: str, argument: str) -> None:
        commands: dict[str, Callable[[str], None]] = {
            "help": lambda _: self._note(HELP),
            "reset": lambda _: self.dialogue.reset(),
            "undo": lambda _: self._note(f"taken back: {self.dialogue.undo()}"),
            "retry": lambda _: self._answer_to(self.dialogue.undo()),
            "system": lambda text: setattr(self.dialogue, "system", text or None),
            "temperature": self._set_temperature,
            "beam": self._set_beams,
            "best": self._set_best,
            "seed": self._set_seed,
            "overflow": self._set_overflow,
            "save": lambda path: self.dialogue.save(_path("/save", path)),
            "load": self._load,
        }
        if name not in commands:
            raise unknown_name("command", f"/{name}", [f"/{each}" for each in commands])
        commands[name](argument.strip())

    def _set_temperature(self, argument: str) -> None:
        sampling = dataclasses.replace(
            self._sampling, temperature=_number("/temperature", argument)
        )
        sampling.sampler(self._model, ())  # refuses what is out of range
        if isinstance(self._policy, BestOf):
            self._policy = dataclasses.replace(self._policy, sampling=sampling)
        else:
            self._policy = sampling
        self._sampling = sampling
        self._note(str(self._policy))

    def _set_beams(self, argument: str) -> None:
        count = _count("/beam", argument)
        self._policy = Beams(num_beams=count) if count else self._sampling
        self._note(str(self._policy))

    def _set_best(self, argument: str) -> None:
        number, _, ranker = argument.partition(" ")
        count = _count("/best", number)
        if ranker:
            self._model.ranker(ranker)
        self._policy = BestOf(count, ranker or None, self._sampling) if count else self._sampling
        self._note(str(self._policy))

    def _set_seed(self, argument: str) -> None:
        self._seed = _count("/seed", argument)

    def _set_overflow(self, argument: str) -> None:
        if argument not in OVERFLOW:
            raise unknown_name("overflow", argument, OVERFLOW)
        self._overflow = argument

    def _load(self, argument: str) -> None:
        self.dialogue.load(_path("/load", argument))
        for message in self.dialogue.messages:
            self._note(f"{message.role}: {message.content}")


def _number(command: str, argument: str) -> float:
    try:
        return float(argument)
    except ValueError as error:
        raise ValueError(f"{command}: got {argument!r}, expected a number") from error


def _count(command: str, argument: str) -> int:
    if not argument.isdecimal() or int(argument) >= 2**31:
        raise ValueError(f"{command}: got {argument!r}, expected a whole number, 0 or more")
    return int(argument)


def _path(command: str, argument: str) -> Path:
    if not argument:
        raise ValueError(f"{command}: got no file, expected one")
    return Path(argument).expanduser()
