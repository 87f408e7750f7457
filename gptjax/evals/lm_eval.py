r"""lm-evaluation-harness asks our models: `--model gptjax`, with the extra `lm_eval`.

    python -m gptjax.evals.lm_eval run --model gptjax --model_args workdir=runs/lm \
        --tasks lambada_openai --batch_size 32

That is lm-eval's own command, to which the name `gptjax` is added first. lm-eval 0.4.13 looks for
no models outside itself; later ones read this package's entry point of the group `lm_eval.models`,
so that plain `lm_eval --model gptjax` does it. In Python:

    lm_eval.simple_evaluate(model=GptjaxLM("runs/lm"), tasks=["lambada_openai"])
"""

import collections
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gptjax.data.dialogue.chat_format import Message
from gptjax.evals.models.language_model import LanguageModel
from gptjax.evals.models.of_runs import of_run
from gptjax.evals.requests import (
    Answer,
    Generation,
    GenerationAnswer,
    Likelihood,
    LikelihoodAnswer,
    Request,
)
from gptjax.evals.screen import Screen
from gptjax.runs.caches import enable_compilation_cache
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import ChatTokenizer
from gptjax.tokenization.chat import END_OF_TURN

try:
    from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"gptjax.evals.lm_eval: got no package {error.name}, expected the extra `lm_eval` "
        "(pip install 'gptjax[lm_eval]')"
    ) from error

_NAME = "gptjax"
_BATCH_SIZE = 32
_MAX_NEW_TOKENS = 256  # where a task says nothing: lm-eval's own default
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_CHOICES_OF_TOKENS = ("top_p", "top_k", "min_p")
# A private character, before each mark that we write and none that a message spells.
_WRITTEN = "\ue000"


class GptjaxLM(LM):
    """The language model of a run, for lm-evaluation-harness.

    Attributes:
      model: what answers.
    """

    def __init__(
        self,
        workdir: str,
        step: int | str | None = None,
        batch_size: int | str = _BATCH_SIZE,
        max_batch_size: int | None = None,
        device: str | None = None,
    ):
        """A model that is ready to be asked.

        Args:
          workdir: of the run.
          step: of the checkpoint; None: the one that the run chooses.
          batch_size: texts that are scored, or written, at the same time; "auto": 32.
          max_batch_size, device: what lm-eval says to every model; JAX has its own devices.

        Raises:
          ValueError: there is no such run or checkpoint, or it is not of a language model.
        """
        super().__init__()
        del max_batch_size, device
        place = WorkDirectory(str(workdir))
        tokenizer = place.tokenizer()
        size = _BATCH_SIZE if str(batch_size).startswith("auto") else int(batch_size)
        self.model: LanguageModel = of_run(
            place,
            None if step is None else int(step),
            batch_size=size,
            tokenizer=_WithMarks(tokenizer.inner) if isinstance(tokenizer, ChatTokenizer) else None,
        )

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: Mapping[str, Any], additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """A model of `--model_args`, which may have a batch size of its own."""
        given = {
            key: value for key, value in (additional_config or {}).items() if value is not None
        }
        if "workdir" not in arg_dict:
            raise ValueError(
                f"--model_args: got {', '.join(arg_dict) or 'none'}, expected workdir=DIR of a run"
            )
        return cls(**{**given, **arg_dict})

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: Mapping[str, Any] | None = None
    ) -> Self:
        """A model of `--model_args` as text: KEY=VALUE with commas between."""
        pairs = (part.partition("=") for part in arg_string.split(",") if part)
        return cls.create_from_arg_obj({key: value for key, _, value in pairs}, additional_config)

    def loglikelihood(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Log-probability in nats of each continuation, and whether greedy decoding writes it."""
        asked = [Likelihood(*request.args) for request in requests]
        found: list[tuple[float, bool]] = []
        for request, answer in zip(
            requests, self._answers("loglikelihood", asked, disable_tqdm), strict=True
        ):
            assert isinstance(answer, LikelihoodAnswer)
            found.append((answer.log_prob, answer.greedy))
            self.cache_hook.add_partial("loglikelihood", request.args, found[-1])
        return found

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-probability in nats of each text, in lm-eval's windows: see `rolling_windows`."""
        del disable_tqdm
        encoded = self.model.tokenizer.encode_batch([request.args[0] for request in requests])
        start, length = self.model.start, self.model.context_length
        windows = [list(rolling_windows(tokens, start, length)) for tokens in encoded]
        scores = iter(self.model.log_probs([each for text in windows for each in text]))
        found = [float(sum(next(scores) for _ in text)) for text in windows]
        for request, score in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, score)
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes after each prompt; equal requests have draws of their own."""
        asked, seen = [], collections.Counter[str]()
        always = (END_OF_TURN,) if isinstance(self.model.tokenizer, ChatTokenizer) else ()
        for request in requests:
            prompt, options = request.args
            same = json.dumps([prompt, options], sort_keys=True, default=str)
            asked.append(generation_of(prompt, options, always, draw=seen[same]))
            seen[same] += 1
        found: list[str] = []
        for request, answer in zip(
            requests, self._answers("generate_until", asked, disable_tqdm), strict=True
        ):
            assert isinstance(answer, GenerationAnswer)
            found.append(answer.text)
            self.cache_hook.add_partial("generate_until", request.args, answer.text)
        return found

    def apply_chat_template(
        self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The messages as text; without the prompt of an answer, the last one is to be gone on.

        A mark that a message spells is no mark.

        Raises:
          ValueError: a run whose tokenizer has no chat, or another role.
        """
        tokenizer = self.model.tokenizer
        if not isinstance(tokenizer, ChatTokenizer):
            raise ValueError(
                f"--apply_chat_template: got a run with a tokenizer of kind {tokenizer.kind}, "
                "expected one of a chat, such as an SFT run has"
            )
        text = ""
        for one in chat_history:
            message = Message(one["role"], one["content"].replace(f"{_WRITTEN}<", "<"))
            text += f"{_WRITTEN}<|{message.role}|>{message.content}{_WRITTEN}{END_OF_TURN}"
        if add_generation_prompt:
            return f"{text}{_WRITTEN}<|assistant|>"
        return text.removesuffix(f"{_WRITTEN}{END_OF_TURN}")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The form of a turn, for lm-eval's records."""
        return f"<|ROLE|>CONTENT{END_OF_TURN}" if chat_template else ""

    @property
    def tokenizer_name(self) -> str:
        """Stands for the tokenizer in the names of lm-eval's caches."""
        return f"{_NAME}-{self.model.tokenizer.content_hash()}"

    def get_model_info(self) -> dict[str, str]:
        """What lm-eval writes beside the results: the hash of checkpoint, model and tokenizer."""
        return {"model_sha": self.model.content_hash}

    def _answers(self, what: str, requests: Sequence[Request], quiet: bool) -> list[Answer]:
        found: dict[int, Answer] = {}
        with Screen() as screen:
            for number, answer in self.model.answers(requests):
                found[number] = answer
                if not quiet:
                    screen.say(what, len(found), len(requests))
        return [found[number] for number in range(len(requests))]


def rolling_windows(
    tokens: npt.ArrayLike, start: int, length: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields what a text is scored by: (tokens before, tokens that are scored).

    Windows of `length` tokens, each behind the last token before it; the last one, which is
    shorter, reaches back as far as the context does (lm-eval's `get_rolling_token_windows`).

    Args:
      tokens: ids [n] of the text.
      start: the token before its first.
      length: of the model's context.
    """
    text = np.concatenate([[start], np.asarray(tokens, np.int32)]).astype(np.int32)
    for at in range(1, text.size, length):
        end = min(at + length, text.size)
        yield text[max(end - length - 1, 0) : at], text[at:end]


def generation_of(
    prompt: str, options: Mapping[str, Any], stop: Iterable[str] = (), draw: int = 0
) -> Generation:
    """The request of a prompt and lm-eval's `gen_kwargs`.

    Args:
      prompt: text.
      options: until, max_gen_toks or its other names, do_sample, temperature, num_beams.
      stop: further strings that end the answer.
      draw: see `Generation`.

    Raises:
      ValueError: an option that would change the answer and is none of these.
    """
    left = dict(options)
    until = left.pop("until", None) or []
    lengths = [left.pop(name, None) for name in _LENGTHS]
    temperature = float(left.pop("temperature", None) or 0.0)
    sampled = left.pop("do_sample", None)
    if sampled and not temperature:
        temperature = 1.0
    if sampled is False:
        temperature = 0.0
    num_beams = int(left.pop("num_beams", None) or 1)
    neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
    for name in _CHOICES_OF_TOKENS:
        value = left.pop(name, None)
        if temperature and value not in (None, neutral[name]):
            left[name] = value
    if left:
        raise ValueError(
            f"gen_kwargs: got {', '.join(left)}, expected until, max_gen_toks, do_sample, "
            "temperature, num_beams"
        )
    strings = [until] if isinstance(until, str) else list(until)
    return Generation(
        prompt,
        stop=tuple(dict.fromkeys(filter(None, [*strings, *stop]))),
        max_new_tokens=next((int(each) for each in lengths if each), _MAX_NEW_TOKENS),
        num_beams=num_beams,
        temperature=temperature,
        draw=draw if temperature else 0,
    )


class _WithMarks(ChatTokenizer):
    """A chat's tokenizer for which the marks that `apply_chat_template` writes are marks."""

    def _encode_ordinary(self, texts: Sequence[str]) -> Iterable[npt.ArrayLike]:
        pattern = f"{_WRITTEN}({'|'.join(map(re.escape, self.marks))})"
        divided = [re.split(pattern, text) for text in texts]
        ordinary = iter(self.inner.encode_batch([part for parts in divided for part in parts[::2]]))
        for parts in divided:
            ids = [next(ordinary)]
            for mark in parts[1::2]:
                ids += [np.array([self.special_tokens[mark]], np.int32), next(ordinary)]
            yield np.concatenate(ids)


def main() -> None:
    """lm-eval's command line, with the name `gptjax` among its models."""
    import lm_eval.models  # noqa: F401  # pyright: ignore[reportMissingImports]
    from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]
    from lm_eval.api.registry import model_registry  # pyright: ignore[reportMissingImports]

    if _NAME not in model_registry:
        model_registry.register(_NAME, target="gptjax.evals.lm_eval:GptjaxLM")
    enable_compilation_cache()
    cli_evaluate()


if __name__ == "__main__":
    main()
