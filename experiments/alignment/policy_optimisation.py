"""A run of PPO or of a relative, from its configuration to its result.

outcome = optimise_policy("ppo_smoke", config, WorkDirectory("runs/ppo"))
"""

import functools
import time

import jax
from jax.sharding import Mesh

from experiments import sources
from experiments.alignment.judges import judges_hash, load_judge
from experiments.alignment.policy_checks import check_divides, check_room
from experiments.alignment.policy_networks import Networks
from experiments.alignment.policy_world import PolicyWorld
from experiments.initial_params import find_origin
from experiments.task_checks import check_task
from experiments.task_configs import PPOConfig
from experiments.workdir import WorkDirectory
from gptjax.alignment.model_reward import ModelReward
from gptjax.alignment.ppo_loop import Outcome, optimise
from gptjax.alignment.rewards import Reward
from gptjax.data.chat_format import ChatTemplate
from gptjax.data.prompts import PromptRows, load_prompts, prompt_rows
from gptjax.models.costs import parameter_count
from gptjax.settings import fields
from gptjax.training import metrics, partitioning
from gptjax.training.processes import check_alike, together
from gptjax.training.start import start


def optimise_policy(
    experiment: str, config: PPOConfig, workdir: WorkDirectory, restore_step: int | None = None
) -> Outcome:
    """Runs a resolved `config` in `workdir` to its end, or until a signal.

    Args:
      experiment: the name the configuration was made from, or what the run is called.
      config: resolved.
      workdir: new, or of this run, which then goes on from its newest checkpoint.
      restore_step: the checkpoint to go on from instead; later ones are removed.

    Raises:
      ValueError: another run is in `workdir`, what the configuration names cannot be had, or the
        policy is lost (see `ppo_loop.optimise`).
    """
    began = time.monotonic()
    given = {f"config.{path}": value for path, value in fields(config).items()}
    check_alike({"--experiment": experiment, "--restore_step": restore_step} | given)
    check_task(config)
    mesh = partitioning.make_mesh(config.parallelism)
    check_divides(config, mesh)
    template = sources.load_chat_template(config)
    prompts, samples = together(lambda: _prompts(config, template))
    text = None
    hashes = {
        "tokenizer_hash": template.tokenizer.content_hash(),
        "prompts_hash": prompts.prompts.content_hash(),
    }
    if config.ppo.pretraining_coefficient:
        text = sources.prepare_corpus(config, template.tokenizer)
        hashes |= text.hashes
    rewards = _rewards(config, template, mesh)
    hashes["judges_hash"] = judges_hash(rewards)
    check_alike(hashes)
    workdir.begin(experiment, config, hashes, lambda: find_origin(config))
    workdir.keep_tokenizer(template.tokenizer)

    networks = Networks(config, rewards, mesh)
    world = PolicyWorld(config, template, prompts, samples, text, rewards, workdir, mesh)
    with (
        workdir.checkpoints() as checkpoints,
        metrics.MetricsWriter(workdir.path, last_good_step=checkpoints.latest_step) as writer,
        metrics.Progress(config.training.num_steps) as progress,
    ):
        checkpoints.claim()
        reference = networks.reference(workdir.origin())
        new = functools.partial(networks.begin, reference)
        state, _ = start(new, networks.target, checkpoints, restore_step=restore_step)
        writer.truncate_after(int(state.step))
        workdir.drop_result_of_another_step(int(state.step))
        outcome = optimise(
            state,
            reference,
            networks.programs(text is not None),
            world.as_world(),
            config,
            config.ppo,
            config.stop,
            checkpoints=checkpoints,
            data_record=hashes,
            writer=writer,
            progress=progress,
        )
    if outcome.interrupted_by is not None or (outcome.steps == 0 and workdir.has_result()):
        return outcome
    if jax.process_index() == 0:
        workdir.write_result(
            {
                "experiment": experiment,
                "parameters": parameter_count(config.model),
                **metrics.read_metrics(workdir.path / "metrics.jsonl")[-1],
                "dropped": dict(prompts.prompts.dropped),
                "seconds": time.monotonic() - began,
            }
        )
    return outcome


def _prompts(config: PPOConfig, template: ChatTemplate) -> tuple[PromptRows, PromptRows | None]:
    """What is answered, and what is answered to be shown."""
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
