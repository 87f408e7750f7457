"""Runs of ours as completion functions: language models, and models of a chat.

    our_run("runs/lm", {"max_tokens": 32}, seed=0)

A language model continues the prompt as text, with 16 tokens where nothing else is said, as
OpenAI's completions do. A model whose tokenizer has the marks of a chat answers the messages in its
own format, to the end of its turn; with chat=false it continues text, too. The temperature is 1
where an eval sends none, as OpenAI's is; each answer is drawn with the seed and the number of its
sample. Of a prompt that leaves no room for an answer the end is taken, which is logged as `cut`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.data.dialogue.chat_format import ChatTemplate, Message
from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.models.of_runs import of_run
from gptjax.evals.openai_evals.classes.base import Call
from gptjax.evals.openai_evals.completion import Answer, CompletionFunction, Numbered
from gptjax.evals.openai_evals.prompts import as_chat, as_text, speaker
from gptjax.evals.requests import Generation, GenerationAnswer, room_for_prompt
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import ChatTokenizer
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.checkpoints.retention import StepDirectories

_MAX_TOKENS = 16
_OPTIONS = ("temperature", "max_tokens", "stop", "chat", "step", "batch_size")


class TextRun:
    """A language model that continues prompts."""

    def __init__(self, model: LanguageModel, options: Mapping[str, Any], seed: int):
        """`options`: of `_OPTIONS`; they take the place of what an eval sends."""
        self.identity = model.content_hash
        self._model, self._options, self._seed = model, options, seed

    def answers(self, calls: Sequence[Call]) -> Numbered:
        for number, answer in self._model.answers([self._request(call) for call in calls]):
            assert isinstance(answer, GenerationAnswer)
            yield number, Answer(answer.text, {"cut": True} if answer.cut else {})

    def _request(self, call: Call) -> Generation:
        asked = {**call.arguments, **self._options}
        return Generation(
            as_text(call.prompt),
            stop=_stops(asked),
            max_new_tokens=asked.get("max_tokens", _MAX_TOKENS),
            temperature=float(asked.get("temperature", 1.0)),
            seed=self._seed,
            draw=call.draw,
        )


class ChatRun:
    """A model of a chat that answers messages."""

    def __init__(
        self,
        generator: Generator,
        template: ChatTemplate,
        context_length: int,
        identity: str,
        options: Mapping[str, Any],
        seed: int,
    ):
        """`options`: see `TextRun`; the identity is that of the model's parameters."""
        self.identity = identity
        self._generator, self._template = generator, template
        self._length, self._options, self._seed = context_length, options, seed

    def answers(self, calls: Sequence[Call]) -> Numbered:
        alike: dict[tuple[Any, ...], list[int]] = defaultdict(list)
        for number, call in enumerate(calls):
            asked = {**call.arguments, **self._options}
            alike[float(asked.get("temperature", 1.0)), asked.get("max_tokens")].append(number)
        marks = self._template.tokenizer
        for (temperature, new), numbers in alike.items():
            prompts = [self._prompt(calls[number], new) for number in numbers]
            requests = self._generator.complete(
                [prompt for prompt, _ in prompts],
                sample_indices=[calls[number].draw for number in numbers],
                sampler=make_sampler(
                    temperature, banned_tokens=marks.outside_answers, vocab_size=marks.vocab_size
                ),
                seed=self._seed,
                max_new_tokens=new,
                stop_token=marks.end_of_turn,
            )
            for number, request, (_, cut) in zip(numbers, requests, prompts, strict=True):
                text, _ = self._template.response(request.result())
                for stop in _stops(self._options):
                    text = text.partition(stop)[0]
                yield number, Answer(text, {"cut": True} if cut else {})

    def _prompt(self, call: Call, new: int | None) -> tuple[np.ndarray, bool]:
        """The end of a prompt's tokens that leaves room, and whether it was cut."""
        messages = [Message(speaker(each), each["content"]) for each in as_chat(call.prompt)]
        tokens = self._template.prompt(messages)
        most = room_for_prompt(self._length, new)
        return tokens[-most:], tokens.size > most


def our_run(path: str, options: Mapping[str, Any], seed: int) -> CompletionFunction:
    """The completion function of a run.

    Args:
      path: its work directory.
      options: temperature, max_tokens, stop, chat, step (of the checkpoint), batch_size.
      seed: of the answers that are drawn.

    Raises:
      ValueError: no language model, or an option that there is not.
    """
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(
                f"--completion_args: got {name!r} for a run, expected one of: {', '.join(_OPTIONS)}"
            )
    workdir = WorkDirectory(path, given_as="completion_fn")
    step, batch_size = options.get("step"), options.get("batch_size", 32)
    tokenizer = workdir.tokenizer()
    chat = str(options.get("chat", isinstance(tokenizer, ChatTokenizer))).lower()
    if chat not in ("true", "false"):
        raise ValueError(f"--completion_args: got chat={chat}, expected true or false")
    if chat == "false":
        return TextRun(of_run(workdir, step, batch_size=batch_size), options, seed)
    model, step = workdir.model(), workdir.resolve_step(step)
    generator = Generator(model, workdir.params(step), slots=batch_size)
    identity = content_hash(StepDirectories(workdir.path / "checkpoints")[step])
    length = model.config.context_length
    return ChatRun(generator, ChatTemplate(tokenizer), length, identity, options, seed)


def _stops(asked: Mapping[str, Any]) -> tuple[str, ...]:
    stop = asked.get("stop", ())
    return (stop.replace("\\n", "\n"),) if isinstance(stop, str) else tuple(stop)
