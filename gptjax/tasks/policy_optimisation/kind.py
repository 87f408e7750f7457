"""PPO, GRPO and RLOO: a policy learns from the rewards of its own answers.

ended = train("ppo_smoke", config, WorkDirectory("runs/ppo"))
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.ppo_loop import PPOOutcome, optimise
from gptjax.alignment.ppo_settings import check
from gptjax.alignment.rewards import Reward
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.prompts import PromptRows, load_prompts, prompt_rows
from gptjax.data.dialogue.records import Records
from gptjax.inference.requests import check_answerable
from gptjax.judging.named_rewards import load_rewards, rewards_hash, without_places
from gptjax.models.transformer import looks_ahead
from gptjax.runs import inputs
from gptjax.runs.kind import Kind, Plan, Saving
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import LargestProgram
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.policy_optimisation import plan
from gptjax.tasks.policy_optimisation.checks import check_room, minibatches_divide
from gptjax.tasks.policy_optimisation.config import PPOConfig
from gptjax.tasks.policy_optimisation.environment import PolicyEnvironment, PolicyInputs
from gptjax.tasks.policy_optimisation.networks import ActorCritic
from gptjax.tasks.shared_checks import follows_a_work_directory, has_room_for_answers
from gptjax.training import partitioning
from gptjax.training.evaluation import Evaluator
from gptjax.training.loop import RunIO
from gptjax.training.processes import check_alike, together
from gptjax.training.state import TrainState


class PolicyOptimisation(Kind[PPOConfig]):
    r"""PPO: a fine-tuned model learns to give answers that a reward model prefers (InstructGPT).

    python -m experiments.train --experiment=ppo_smoke --workdir=runs/ppo \
        --config.checkpoint.init_from=runs/sft --config.ppo.rewards=reward_model:runs/reward
    python -m experiments.train --experiment=grpo_smoke --workdir=runs/grpo \
        --config.checkpoint.init_from=runs/sft --config.ppo.rewards=gold

    The score is a weighted sum of rewards, each of which is logged separately; docs/alignment.md
    lists them. `ppo.pretraining_coefficient` above 0 makes it PPO-ptx; with `ppo.advantages` grpo
    or rloo it needs no value network. samples.html shows a fixed set of prompts as the policy
    learns.
    """

    config = PPOConfig
    identity = ("ppo.",)
    free = ("stop.",)
    contents = (
        *Kind.contents,
        Content("ppo.prompts", "prompts_hash"),
        Content("ppo.rewards", "rewards_hash", besides=without_places),
    )
    follows = "sft"
    marks = "chat"
    curves = (
        ("score", "score of an answer"),
        ("kl", "KL from the start (nats an answer)"),
        ("entropy", "entropy (nats a token)"),
        ("answer_length", "tokens of an answer"),
    )

    def checks(self, config: PPOConfig) -> Iterable[Check]:
        yield from super().checks(config)
        check(config.ppo, config.training.batch_size)
        yield from has_room_for_answers(config, "ppo", config.ppo)
        loop = f"the kind of run {self.name}, whose loop has no such thing"
        fits = config.parallelism.strategy != "pmap"
        yield "parallelism.strategy", fits, f"single or mesh for the kind of run {self.name}"
        for name in ("batch_ramp_start", "skip_grad_norm", "rollback_after", "eval_batches"):
            fits = getattr(config.training, name) is None
            yield f"training.{name}", fits, f"none for {loop}"
        yield "profile.num_steps", config.profile.num_steps == 0, f"0 for {loop}"
        yield follows_a_work_directory(config)

    def savings(self, config: PPOConfig) -> Iterable[Saving]:
        yield from super().savings(config)
        slots = math.gcd(config.training.batch_size, 64)
        if (config.ppo.rollout_slots or config.training.batch_size) > slots:
            yield "ppo.rollout_slots", slots, "slower: fewer answers are written at once"

    def prepare(self, config: PPOConfig) -> PolicyInputs:
        """Reads prompts, rewards, and text where PPO-ptx asks; see `Kind.prepare`."""
        mesh = partitioning.make_mesh(config.parallelism)
        minibatches_divide(config, mesh)
        template = inputs.load_chat_template(config)
        prompts, samples = together(lambda: _prompts(config, template))
        asked = [*prompts.ids, *(samples.ids if samples is not None else ())]
        check_answerable(config.model, asked, config.ppo.max_answer_tokens)
        text = None
        hashes = {
            "tokenizer_hash": template.tokenizer.content_hash(),
            "prompts_hash": prompts.prompts.content_hash(),
        }
        if config.ppo.pretraining_coefficient:
            text = inputs.prepare_corpus(config, template.tokenizer)
            hashes |= text.hashes
        rewards = _rewards(config, template, mesh)
        hashes["rewards_hash"] = rewards_hash(rewards)
        check_alike(hashes)
        return PolicyInputs(config, template, hashes, prompts, samples, text, rewards, mesh)

    def learner(self, prepared: PolicyInputs, workdir: WorkDirectory) -> "PolicyLearner":
        """Makes the training loop of the run in `workdir`."""
        return PolicyLearner(prepared, workdir)

    def attention_calls(self, config: PPOConfig) -> Sequence[Mapping[str, Any]]:
        """Those of a prompt and its answer."""
        length = config.ppo.max_prompt_tokens + config.ppo.max_answer_tokens
        segments = looks_ahead(config.model)
        return [{"num_queries": length, "num_keys": length, "segments": segments}]

    def plan(self, config: PPOConfig, mesh: Any) -> Plan:
        """Policy, value network, reference, reward models and rollouts; see `plan`."""
        return plan.plan(config, mesh)

    def largest_program(self, config: PPOConfig, mesh: Mesh | None = None) -> LargestProgram:
        """One update, with answers at their limits; see `Kind.largest_program`."""
        return plan.planned_update(config, mesh)


class PolicyLearner:
    """The iterations of one run.

    Attributes:
      target: the shapes of the state's arrays, and where each lives.
      evaluators: none; a policy is judged by its own answers while it learns.
    """

    evaluators: Mapping[str, Evaluator] = {}

    def __init__(self, given: PolicyInputs, workdir: WorkDirectory):
        """Computes nothing yet."""
        self._given, self._workdir = given, workdir
        self._networks = ActorCritic(given.config, given.rewards, given.mesh)
        self.target = self._networks.target

    @property
    def header(self) -> Mapping[str, str]:
        """Prompts, and what an iteration does with them."""
        config, section, prompts = self._given.config, self._given.config.ppo, self._given.prompts
        answers = config.training.batch_size
        return {
            "data": f"{len(prompts):,} prompts; rewards: {section.rewards}",
            "a step": (
                f"{answers:,} answers of at most {section.max_answer_tokens:,} tokens, "
                f"{section.inner_epochs} x {section.minibatches} updates"
            ),
        }

    def on_start(self) -> None:
        """Reads the parameters that KL is measured from, and those that stay as they are."""
        self._reference = self._networks.reference(self._workdir.initial_checkpoint())
        self._bases = self._networks.bases(self._reference)

    def initial_state(self) -> TrainState:
        """The state before the first iteration, of what the run started from."""
        return self._networks.initial_state(self._reference, self._bases)

    def learn(self, state: TrainState, io: RunIO) -> PPOOutcome:
        """Takes iterations from `state.step` to the last; see `optimise`."""
        given, config = self._given, self._given.config
        environment = PolicyEnvironment(given, self._workdir)
        return optimise(
            state,
            self._reference,
            self._networks.programs(given.text is not None),
            environment.as_environment(io.progress.sample),
            config,
            config.ppo,
            config.stop,
            io,
            self._bases,
        )

    def final_metrics(self, params: Any) -> dict[str, Any]:
        """Number of dropped prompts by reason."""
        del params
        return {"dropped": dict(self._given.prompts.prompts.dropped)}


def _prompts(config: PPOConfig, template: ChatTemplate) -> tuple[PromptRows, PromptRows | None]:
    """Loads the prompts to learn from, and those whose answers are shown."""
    section = config.ppo
    if section.prompts is None:
        raise ValueError(
            "config.ppo.prompts: got none, expected jsonl:PATH with rows of prompt, a set of "
            "conversations or rankings, or instructions to try it out"
        )
    encode = functools.partial(
        prompt_rows, template=template, max_prompt_tokens=section.max_prompt_tokens
    )
    prompts = encode(load_prompts(section.prompts))
    if section.samples is not None:
        return prompts, encode(load_prompts(section.samples))
    first = dataclasses.replace(
        prompts, prompts=Records(prompts.name, (prompts.prompts[0],)), ids=prompts.ids[:1]
    )
    return prompts, first if config.training.sample_tokens else None


def _rewards(config: PPOConfig, template: ChatTemplate, mesh: Mesh) -> list[Reward]:
    section = config.ppo
    if section.rewards is None:
        raise ValueError(
            "config.ppo.rewards: got none, expected rewards such as reward_model:WORKDIR, "
            "0.5*python:MODULE:FUNCTION, or gold for the embedded tasks"
        )
    width = section.max_prompt_tokens + section.max_answer_tokens
    rewards = load_rewards(section.rewards, template.tokenizer, width=width, mesh=mesh)
    for reward in rewards:
        if isinstance(reward.function, ModelReward):
            check_room("rewards", reward.function.model.config.context_length, config)
    return rewards


KIND = PolicyOptimisation()
