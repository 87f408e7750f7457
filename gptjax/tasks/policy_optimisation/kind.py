"""PPO and its relatives: a policy learns from what its own answers earn.

ended = train("ppo_smoke", config, WorkDirectory("runs/ppo"))
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from jax.sharding import Mesh

from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.ppo_loop import PPOOutcome, optimise
from gptjax.alignment.ppo_settings import check
from gptjax.alignment.rewards import Reward
from gptjax.data.dialogue.chat_format import ChatTemplate
from gptjax.data.dialogue.prompts import PromptRows, load_prompts, prompt_rows
from gptjax.inference.requests import check_answerable
from gptjax.judging.judges import judges_hash, load_judge
from gptjax.runs import inputs
from gptjax.runs.kind import Check, Kind, Plan
from gptjax.runs.workdir import WorkDirectory
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

    Rewards add up, each with its weight and each logged apart; docs/alignment.md says what there
    is. `ppo.pretraining_coefficient` above 0 makes it PPO-ptx; `ppo.advantages` grpo or rloo do
    without a value network. samples.html shows a fixed set of prompts as the policy learns.
    """

    config = PPOConfig
    identity = ("ppo.",)
    free = ("stop.",)
    follows = "sft"
    curve = ("score", "score of an answer")

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

    def prepare(self, config: PPOConfig) -> PolicyInputs:
        """Reads prompts, judges, and text where PPO-ptx asks; see `Kind.prepare`."""
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
        hashes["judges_hash"] = judges_hash(rewards)
        check_alike(hashes)
        return PolicyInputs(config, template, hashes, prompts, samples, text, rewards, mesh)

    def learner(self, prepared: PolicyInputs, workdir: WorkDirectory) -> "PolicyLearner":
        """Makes the training loop of the run in `workdir`."""
        return PolicyLearner(prepared, workdir)

    def plan(self, config: PPOConfig, mesh: Any) -> Plan:
        """Policy, value network, reference, reward models and rollouts; see `plan`."""
        return plan.plan(config, mesh)

    def planned_bytes(self, config: PPOConfig) -> int:
        """Bytes on each device of one update, with answers at their limits."""
        return plan.planned_update_bytes(config)


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

    def on_start(self) -> None:
        """Reads the parameters that KL is measured from."""
        self._reference = self._networks.reference(self._workdir.initial_checkpoint())

    def initial_state(self) -> TrainState:
        """The state before the first iteration, of what the run started from."""
        return self._networks.initial_state(self._reference)

    def learn(self, state: TrainState, io: RunIO) -> PPOOutcome:
        """Takes iterations from `state.step` to the last; see `optimise`."""
        given, config = self._given, self._given.config
        environment = PolicyEnvironment(given, self._workdir)
        return optimise(
            state,
            self._reference,
            self._networks.programs(given.text is not None),
            environment.as_environment(),
            config,
            config.ppo,
            config.stop,
            io,
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
    samples = None if section.samples is None else encode(load_prompts(section.samples))
    return encode(load_prompts(section.prompts)), samples


def _rewards(config: PPOConfig, template: ChatTemplate, mesh: Mesh) -> list[Reward]:
    section = config.ppo
    if section.rewards is None:
        raise ValueError(
            "config.ppo.rewards: got none, expected judges such as reward_model:WORKDIR, "
            "0.5*python:MODULE:FUNCTION, or gold for the embedded tasks"
        )
    width = section.max_prompt_tokens + section.max_answer_tokens
    rewards = load_judge(section.rewards, template.tokenizer, width=width, mesh=mesh)
    for reward in rewards:
        if isinstance(reward.function, ModelReward):
            check_room("rewards", reward.function.model.config.context_length, config)
    return rewards


KIND = PolicyOptimisation()
