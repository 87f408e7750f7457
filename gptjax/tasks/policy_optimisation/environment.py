"""Environment of a policy: prompts by index, rewards of answers, text for PPO-ptx, samples.

environment = PolicyEnvironment(policy_inputs, workdir)
optimise(state, reference, programs, environment.as_environment(io.progress.sample), ...)
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from gptjax.alignment.ppo_loop import Environment
from gptjax.alignment.rewards import Reward
from gptjax.alignment.rollouts import Rollouts, draw_rollouts
from gptjax.atomic_files import read_json_lines, write_json_lines
from gptjax.batch_schedule import BatchSchedule
from gptjax.data.batches.loader import mixture_batches, train_batches
from gptjax.data.batches.mixture import Mixture
from gptjax.data.batches.shards import PreparedCorpus
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation, plain_text
from gptjax.data.dialogue.prompts import PromptRows
from gptjax.inference.generate import Generator
from gptjax.judging.named_rewards import scored
from gptjax.models.layers import identity
from gptjax.reports.samples import Sample, write_samples
from gptjax.runs import inputs
from gptjax.runs.kind import kind_of
from gptjax.runs.workdir import WorkDirectory
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tokenization import Tokenizer
from gptjax.training import partitioning

_SHOWN = 2**30  # episodes from here on are samples to look at


@dataclasses.dataclass(frozen=True)
class PolicyInputs:
    """Training inputs of a policy: prompts, rewards, and text for PPO-ptx.

    Attributes:
      config: resolved.
      template: of conversations, in the policy's tokenizer.
      hashes: of all that is read, by name.
      prompts: to answer and to learn from.
      samples: prompts whose answers are shown, and scored where `ppo.samples` names them; None: no
        answers are shown.
      text: pretraining text that PPO-ptx learns; None without ptx.
      rewards: of answers.
      mesh: over which all is divided.
    """

    config: PPOConfig
    template: ChatTemplate
    hashes: dict[str, str]
    prompts: PromptRows
    samples: PromptRows | None
    text: PreparedCorpus | None
    rewards: list[Reward]
    mesh: Mesh

    @property
    def tokenizer(self) -> Tokenizer:
        """The policy's."""
        return self.template.tokenizer


class PolicyEnvironment:
    """Prompts, rewards and text of a run; all is a function of (configuration, iteration)."""

    def __init__(self, given: PolicyInputs, workdir: WorkDirectory):
        """Keeps what it is given.

        Args:
          given: inputs of the run; prompts are answered in an order drawn from the seed.
          workdir: where samples are written.
        """
        config = given.config
        attributes = partitioning.model_attributes(config, given.mesh)
        constrain = attributes.get("constrain", identity)
        self._policy = kind_of(config).model(config, constrain=constrain)
        self._config, self._template, self._text = config, given.template, given.text
        self._prompts, self._samples, self._rewards = given.prompts, given.samples, given.rewards
        self._workdir = workdir
        seed = config.training.seed
        self._mixed_text = given.text and inputs.prepared_mixture(config, given.text)
        self._order = Mixture({"prompts": given.prompts}, {"prompts": 1.0}, seed)
        self._generator: Generator | None = None

    def as_environment(self, sample: Callable[[int, str, str], None]) -> Environment:
        """Environment in the form that the loop takes.

        Args:
          sample: shows a person an answer; takes the iteration, the prompt and the answer.
        """
        show = functools.partial(self._show, sample)
        return Environment(self._draw, self._score, self._text_rows, show)

    def _asked(self, iteration: int) -> np.ndarray:
        """Numbers of the prompts of an iteration; the answers to one follow each other."""
        each = self._config.ppo.answers_per_prompt
        count = self._config.training.batch_size // each
        rows = self._order.batch(np.arange(iteration * count, (iteration + 1) * count))
        return np.repeat(rows["indices"], each)

    def _draw(self, params: Any, iteration: int) -> Rollouts:
        size = self._config.training.batch_size
        episodes = range(iteration * size, (iteration + 1) * size)
        ids = [self._prompts.ids[number] for number in self._asked(iteration)]
        return self._answers(params, ids, episodes)

    def _answers(self, params: Any, ids: list[np.ndarray], episodes: Any) -> Rollouts:
        section, training = self._config.ppo, self._config.training
        if self._generator is None:
            self._generator = Generator(
                self._policy,
                params,
                slots=section.rollout_slots or training.batch_size,
                longest=(section.max_prompt_tokens, section.max_answer_tokens),
            )
        else:
            self._generator.params = params
        return draw_rollouts(
            self._generator,
            ids,
            episodes,
            self._template,
            rows=(section.max_prompt_tokens, section.max_answer_tokens),
            temperature=section.temperature,
            seed=training.seed,
        )

    def _score(
        self, rollouts: Rollouts, iteration: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        asked = [self._prompts.prompts[number] for number in self._asked(iteration)]
        return self._scores(rollouts, asked)

    def _scores(
        self, rollouts: Rollouts, prompts: list[Conversation]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Scores of answers: reward models read the drawn tokens, other rewards their text."""
        lengths = rollouts.prompt_lengths + rollouts.answer_lengths
        return scored(
            self._rewards,
            prompts,
            rollouts.texts(self._template),
            lambda model: model.of_tokens(rollouts.tokens, lengths),
        )

    def _text_rows(self, iteration: int) -> HostBatch | None:
        if self._text is None:
            return None
        config = self._config
        size = config.training.batch_size * config.ppo.pretraining_rows
        schedule = BatchSchedule(size, config.model.context_length)
        if self._mixed_text is not None:
            return next(mixture_batches(self._mixed_text, schedule, iteration, prefetch=1))
        batches = train_batches(
            self._text.train,
            schedule,
            config.training.seed,
            iteration,
            document_masking=config.data.document_masking,
            prefetch=1,
        )
        return next(batches)

    def _show(self, tell: Callable[[int, str, str], None], params: Any, iteration: int) -> None:
        """Shows the first answer; writes all to samples.jsonl and, side by side, samples.html."""
        if self._samples is None:
            return
        rows = self._samples
        count = len(rows)
        rollouts = self._answers(params, list(rows.ids), range(_SHOWN, _SHOWN + count))
        prompts = list(rows.prompts)
        rewards: dict[str, np.ndarray] = {}
        if self._config.ppo.samples is not None:  # the default one costs no call of a reward
            scores, parts = self._scores(rollouts, prompts)
            rewards = {"score": scores, **parts}
        if jax.process_index() != 0:
            return
        path = self._workdir.path / "samples.jsonl"
        kept = []
        if path.exists():
            kept = read_json_lines(path, number="iteration")
            kept = [row for row in kept if row["iteration"] < iteration]
        texts = rollouts.texts(self._template)
        tell(iteration, plain_text(prompts[0]), texts[0])
        for number, text in enumerate(texts):
            kept.append(
                {
                    "iteration": iteration,
                    "prompt": number,
                    "response": text,
                    "finished": bool(rollouts.finished[number]),
                    **{name: float(values[number]) for name, values in rewards.items()},
                }
            )
        write_json_lines(path, kept)
        systems: dict[str, list[Sample]] = {}
        for row in kept:
            earned = {name: row[name] for name in rewards}
            sample = Sample(row["response"], earned, row["finished"])
            systems.setdefault(f"iteration {row['iteration']}", []).append(sample)
        title = f"{self._workdir.path.name}: answers as the policy learns"
        write_samples(self._workdir.path / "samples.html", prompts, systems, title=title)
