"""What supervised fine-tuning learns from: conversations packed into rows, and text beside them.

outcome = train("sft_smoke", config, WorkDirectory("runs/sft"), fine_tuning)
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from experiments import sources
from experiments.alignment.answer_rewards import answer_rewards
from experiments.alignment.judges import judges_hash, load_judge
from experiments.task_checks import check_task
from experiments.task_configs import SFTConfig, with_examples
from experiments.training_run import Program, Task
from experiments.workdir import WorkDirectory
from gptjax.config import batch_schedule
from gptjax.data.chat_format import Conversation
from gptjax.data.chat_view import show_row
from gptjax.data.conversations import load_conversations
from gptjax.data.loader import ALL, Share, mixture_batches
from gptjax.data.mixture import Mixture, Rows, WindowRows
from gptjax.data.packing import PackedRows, pack
from gptjax.data.prompts import prompt_rows, prompts_of
from gptjax.data.records import Records
from gptjax.data.shards import Batch, PreparedCorpus
from gptjax.data.skipping import Ranges
from gptjax.models.gpt import GPT
from gptjax.training.evaluation import Evaluator, language_model_evaluator
from gptjax.training.metrics import read_metrics
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike, together

CONVERSATIONS, PRETRAINING = "conversations", "pretraining"


def fine_tuning(config: SFTConfig) -> Task:
    """Learning what an assistant says, mixed with text where `config.sft.pretraining_share` asks.

    A row is a whole conversation or several, which do not see each other, or a window of text,
    whose documents do unless `config.data.document_masking` hides them. The loss counts every
    target alike: an assistant's tokens, and all of the text's.

    Raises:
      ValueError: what the configuration names cannot be had, or nothing of it fits.
    """
    check_task(config)
    template = sources.load_chat_template(config)
    learned, held_out = together(lambda: _conversations(config))
    length, seed = config.model.context_length, config.training.seed
    rows, validation = together(
        lambda: tuple(pack(each, template, length, seed=seed) for each in (learned, held_out))
    )
    hashes = {
        "tokenizer_hash": template.tokenizer.content_hash(),
        "conversations_hash": learned.content_hash(),
        "validation_hash": held_out.content_hash(),
    }
    prepared = None
    if config.sft.pretraining_share:
        prepared = sources.prepare_corpus(config, template.tokenizer)
        hashes |= prepared.hashes
    of_answers: list[Evaluator] = []
    if config.sft.judges is not None:
        rewards = load_judge(config.sft.judges, template.tokenizer)
        hashes["judges_hash"] = judges_hash(rewards)
        prompts = prompt_rows(prompts_of(held_out), template, max_prompt_tokens=length // 2)
        of_answers.append(
            answer_rewards(
                GPT(config.model),
                template,
                prompts,
                rewards,
                count=config.sft.judged_prompts,
                seed=seed,
            )
        )
    check_alike(hashes)
    mixture = _mixture(config, rows, prepared)
    if config.sft.epochs is not None:
        of_conversations = 1.0 - config.sft.pretraining_share
        config = with_examples(config, config.sft.epochs * len(rows) / of_conversations)
    schedule = batch_schedule(config)

    def batches(step: int, skipped: Ranges, share: Share) -> Iterator[Batch]:
        return mixture_batches(mixture, schedule, step, share=share, skipped=skipped)

    def evaluators(program: Program) -> dict[str, Evaluator]:
        share, made = batch_share(program.mesh), {}
        if prepared is not None:
            text = prepared.validation
            windows = sources.validation_batches(config, text, share)
            made[PRETRAINING] = language_model_evaluator(
                program.loss, windows, text.bytes_per_target, program.mesh
            )
        loss = language_model_evaluator(
            program.loss, sources.row_batches(config, validation, share), None, program.mesh
        )
        made["validation"] = _joined([loss, *of_answers])
        return made

    def figures(_: Program, __: Any, workdir: WorkDirectory) -> dict[str, Any]:
        return {
            **_chosen(workdir),
            "mixture": mixture.report(
                schedule.examples(config.training.num_steps), sources.skipped_examples(workdir)
            ),
            "targets_an_epoch": rows.num_targets,
            "fill": rows.fill,
            "dropped": rows.dropped,
        }

    return Task(config, template.tokenizer, hashes, batches, evaluators, figures)


def shown_examples(config: SFTConfig, count: int, colour: bool = False) -> Iterator[str]:
    """The first rows that a run of a resolved `config` would train on, as a person reads them.

    Args:
      config: of the run.
      count: how many.
      colour: whether to add a terminal's colours.

    Raises:
      ValueError: as `fine_tuning`.
    """
    task = fine_tuning(config)
    rows = (
        {name: array[row] for name, array in batch.items()}
        for batch in task.batches(0, (), ALL)
        for row in range(len(batch["tokens"]))
    )
    for number, row in enumerate(itertools.islice(rows, count)):
        yield show_row(task.tokenizer, row, number, colour)


def _conversations(config: SFTConfig) -> tuple[Records[Conversation], Records[Conversation]]:
    """What is learned from, and what is held out."""
    if config.sft.conversations is None:
        raise ValueError(
            "config.sft.conversations: got none, expected jsonl:PATH with rows of prompt and "
            "response or of messages, another set of conversations, or instructions to try it out"
        )
    return sources.learned_and_held_out(
        load_conversations,
        config.sft.conversations,
        config.sft.validation,
        lambda conversation: conversation,
        config.data.validation_fraction,
    )


def _mixture(config: SFTConfig, rows: PackedRows, prepared: PreparedCorpus | None) -> Mixture:
    parts: dict[str, Rows] = {CONVERSATIONS: rows}
    share = config.sft.pretraining_share
    weights = {CONVERSATIONS: 1.0 - share}
    if prepared is not None:
        parts[PRETRAINING] = WindowRows(
            prepared.train, config.model.context_length, config.data.document_masking
        )
        weights[PRETRAINING] = share
    return Mixture(parts, weights, config.training.seed)


def _joined(evaluators: Sequence[Evaluator]) -> Evaluator:
    return lambda params: {
        name: x for evaluate in evaluators for name, x in evaluate(params).items()
    }


def _chosen(workdir: WorkDirectory) -> dict[str, Any]:
    """The checkpoint that later commands take, and what validation said of it."""
    step = workdir.chosen_step()
    judged = [
        row
        for row in read_metrics(workdir.path / "metrics.jsonl")
        if row["step"] == step and row.get("split") == "validation"
    ]
    said = judged[-1] if judged else {}
    return {
        "chosen_step": step,
        "chosen_loss": said.get("loss"),
        **({"chosen_reward": said["reward"]} if "reward" in said else {}),
    }
