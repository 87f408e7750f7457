"""A language model of a run with all that a chat needs of it.

    model = ChatModel.load(WorkDirectory("runs/instruct/ppo"))
    draft = Sampling(temperature=0.7).drafts(model, model.generator, asked)[0]

A run whose tokenizer has no marks of a chat has no template: it continues text, and does not chat.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from gptjax.alignment.rewards import composed
from gptjax.chat.embeddings import Embedder
from gptjax.config import ModelConfig
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation
from gptjax.data.image_text.rows import ImageForm
from gptjax.inference.beam import BeamSearch
from gptjax.inference.generate import Generator
from gptjax.inference.scoring import Scorer
from gptjax.judging.named_rewards import load_rewards
from gptjax.runs.kind import kind_of
from gptjax.runs.run_file import read_run
from gptjax.runs.workdir import WorkDirectory
from gptjax.tokenization import ChatTokenizer, ImageTokenizer, Tokenizer

Ranker = Callable[[Sequence[Conversation], Sequence[str]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ChatModel:
    """A model that writes; it holds parameters and compiled programs, so keep it.

    Attributes:
      name: of the run, for messages.
      model, params: the decoder and its parameters.
      tokenizer: of the run.
      generator: its running batch, which keeps ended texts' caches.
      rankers: what ranks replies, by name: (conversations, replies) -> scores [N].
      made: seconds since 1970 when its checkpoint's run began; 0 where nobody knows.
      experiment: the run's name in the registry.
      images: what images are for it; None: it reads text alone.
    """

    name: str
    model: Any
    params: Any
    tokenizer: Tokenizer
    generator: Generator
    rankers: Mapping[str, Ranker] = dataclasses.field(default_factory=dict)
    made: int = 0
    experiment: str = ""
    images: ImageForm | None = None

    @classmethod
    def load(
        cls,
        workdir: WorkDirectory,
        *,
        name: str = "",
        step: int | None = None,
        rankers: Mapping[str, str] | None = None,
        slots: int = 8,
        max_queue: int | None = None,
        kept_texts: int = 1,
        dtype: str | None = None,
    ) -> Self:
        """Loads a run.

        Args:
          workdir: of a language model.
          name: what it is called; the work directory's name by default.
          step: the checkpoint; None: the one that the run chooses.
          rankers: specifications of rewards, as `load_rewards` has them, by name.
          slots, max_queue, kept_texts, dtype: of the generator.

        Raises:
          ValueError: there is no such run, checkpoint or reward, or it is of another kind.
        """
        model, tokenizer, config = workdir.model(), workdir.tokenizer(), workdir.config()
        params = workdir.params(workdir.resolve_step(step))
        generator = Generator(
            model,
            params,
            tokenizer,
            slots=slots,
            max_queue=max_queue,
            kept_texts=kept_texts,
            dtype=dtype,
        )
        made = {key: _ranker(spec, tokenizer) for key, spec in (rankers or {}).items()}
        began = int((workdir.path / "config.json").stat().st_mtime)
        return cls(
            name=name or workdir.path.resolve().name,
            model=model,
            params=params,
            tokenizer=tokenizer,
            generator=generator,
            rankers=made,
            made=began,
            experiment=read_run(workdir.path, workdir.given_as)["experiment"],
            images=kind_of(config).images(config),
        )

    @property
    def config(self) -> ModelConfig:
        """Of the model."""
        return self.model.config

    @functools.cached_property
    def template(self) -> ChatTemplate:
        """The format of conversations; ValueError says what is missing for a chat."""
        if not self.chats:
            raise ValueError(
                f"chat: {self.name} has a tokenizer of kind {self.tokenizer.kind}, expected one "
                "with the marks of a chat (chat:INNER, as supervised fine-tuning trains with, or "
                "images:chat:INNER); such a run only continues text"
            )
        return ChatTemplate(self.tokenizer, self.images and self.images.tokens)

    @property
    def chats(self) -> bool:
        """Whether it has a template of conversations."""
        inner = self.tokenizer
        if self.images is not None and isinstance(inner, ImageTokenizer):
            inner = inner.inner
        return isinstance(inner, ChatTokenizer)

    @functools.cached_property
    def beam_search(self) -> BeamSearch:
        """Its search, made at the first use; it reads the generator's parameters."""
        return BeamSearch(self.generator.model, self.generator.params, self.tokenizer)

    @functools.cached_property
    def scorer(self) -> Scorer:
        """Its scorer, made at the first use."""
        return Scorer(self.model, self.params)

    @functools.cached_property
    def embedder(self) -> Embedder:
        """What embeds with it, made at the first use."""
        return Embedder(self.model, self.params)

    def ranker(self, name: str) -> Ranker:
        """A ranker by name; ValueError names those that there are."""
        if name not in self.rankers:
            there = ", ".join(self.rankers) or "none: the model was loaded without"
            raise ValueError(f"rank_by: got {name!r}, expected one of: {there}")
        return self.rankers[name]


def _ranker(spec: str, tokenizer: Tokenizer) -> Ranker:
    rewards = load_rewards(spec, tokenizer)
    return lambda prompts, replies: composed(rewards, prompts, replies)[0]
