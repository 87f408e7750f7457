"""Supervised fine-tuning: conversations packed into rows, and text beside them.

ended = train("sft_smoke", config, WorkDirectory("runs/sft"))
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from gptjax.batch_schedule import BatchShare
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import ALL, mixture_batches
from gptjax.data.batches.mixture import Mixture, Rows, WindowRows
from gptjax.data.batches.packing import PackedRows, pack
from gptjax.data.batches.shards import HostBatch, PreparedCorpus
from gptjax.data.batches.skipping import Ranges
from gptjax.data.dialogue.chat_format import Conversation
from gptjax.data.dialogue.chat_view import show_row
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.prompts import prompt_rows, prompts_of
from gptjax.data.dialogue.records import Records
from gptjax.judging.answer_rewards import answer_reward_evaluator
from gptjax.judging.judges import judges_hash, load_judge
from gptjax.runs import inputs
from gptjax.runs.costs import Shapes, array
from gptjax.runs.kind import NEWEST, Best, Check
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_examples
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import setting
from gptjax.tasks.shared_checks import follows_a_work_directory, leaves_targets
from gptjax.tokenization import ChatTokenizer, Tokenizer
from gptjax.training.evaluation import Evaluator, language_model_evaluator
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike, together
from gptjax.training.reporting.metrics import read_metrics

CONVERSATIONS, PRETRAINING = "conversations", "pretraining"


@dataclasses.dataclass
class SFTSection:
    """Supervised fine-tuning: what is learned from, for how long, and which model it makes."""

    conversations: str | None = setting(
        None,
        "set of conversations: instructions, jsonl:PATH, dolly:PATH, ...; none: it must be given",
    )
    validation: str | None = setting(
        None,
        "set of conversations that are held out; none: data.validation_fraction of the prompts in "
        "sft.conversations",
    )
    epochs: int | None = setting(
        None, "passes over the conversations; none: training.num_steps decides", low=1
    )
    pretraining_share: float = setting(
        0.0, "share of the rows that is text from data.corpus", low=0.0, below=1.0
    )
    choose: str = setting(
        "loss",
        "checkpoint that later commands take: of the lowest loss, the highest reward, or the "
        "newest",
        choices=("loss", "reward", "newest"),
    )
    judges: str | None = setting(
        None,
        "judges of its answers and their weights, as in ppo.rewards; none: answers are not judged",
    )
    judged_prompts: int = setting(256, "held-out prompts whose answers are judged, at most", low=1)
    random_start: bool = setting(
        False, "whether a run without checkpoint.init_from starts at random parameters"
    )


@dataclasses.dataclass
class SFTConfig(ExperimentConfig):
    """A run of supervised fine-tuning."""

    kind: ClassVar[str] = "sft"

    sft: SFTSection = dataclasses.field(default_factory=SFTSection)


class FineTuning(Supervised[SFTConfig]):
    r"""Supervised fine-tuning: a pretrained model learns what an assistant says, as in InstructGPT.

    python -m experiments.train --experiment=sft_smoke --workdir=runs/sft
    python -m experiments.train --experiment=sft_6b --workdir=runs/sft \
        --config.checkpoint.init_from=runs/gpt3_6.7b --config.data.tokenizer=chat:gpt2:data/gpt2 \
        --config.sft.conversations="jsonl:chats/*.jsonl"
    python -m experiments.train --experiment=sft_smoke --show_examples=3

    A row is a whole conversation or several, which do not see each other, or a window of text,
    whose documents do unless `data.document_masking` hides them. The loss counts every target
    alike: an assistant's tokens, and all of the text's.

    It starts from the parameters of a work directory, whose tokenizer may be the one inside
    `chat:INNER`; experiments.convert makes one of a model of Hugging Face's. Epochs decide the
    steps, or, with `--config.sft.epochs=none`, `training.num_steps` does; to give both is refused.

    Later commands take the checkpoint that `sft.choose` says: of those that are saved and judged
    the one of the lowest loss on held-out conversations or, as in the paper, of the highest reward
    of its answers by `sft.judges`; or else the newest. That may be changed once the run has ended,
    by the same command; `chosen_step` in result.json is what it said at the end.
    """

    config = SFTConfig
    identity = (
        *("sft.conversations", "sft.validation", "sft.epochs", "sft.pretraining_share"),
        "sft.judge",  # judges, and how many prompts they judge
    )
    free = ("sft.choose", "sft.random_start")
    follows = ExperimentConfig.kind

    def starts_at_random(self, config: SFTConfig) -> bool:
        return config.sft.random_start

    def best(self, config: SFTConfig) -> Best:
        best = {"loss": Best("loss"), "reward": Best("reward", highest=True), "newest": NEWEST}
        return best[config.sft.choose]

    def fitting_tokenizers(self, ours: Tokenizer) -> list[str]:
        """The tokenizer itself, or the one to which it adds the marks of a chat."""
        inner = [ours.inner.content_hash()] if isinstance(ours, ChatTokenizer) else []
        return [ours.content_hash(), *inner]

    def largest_batch(self, config: SFTConfig) -> Shapes:
        shape = config.training.batch_size, config.model.context_length
        return super().largest_batch(config) | {
            name: array(*shape) for name in ("segment_ids", "positions")
        }

    def checks(self, config: SFTConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield follows_a_work_directory(config)
        yield leaves_targets(config)
        saved, judged = config.checkpoint.every_steps, config.training.eval_every
        yield (
            "checkpoint.every_steps",
            config.sft.choose == "newest" or saved % judged == 0 or judged % saved == 0,
            f"a multiple or a divisor of training.eval_every = {judged}, so that what is judged is "
            "saved (or sft.choose=newest)",
        )
        yield (
            "sft.judges",
            config.sft.choose != "reward" or config.sft.judges is not None,
            "judges such as reward_model:WORKDIR with sft.choose=reward",
        )

    def prepare(self, config: SFTConfig) -> Task:
        """Reads conversations, and text where `sft.pretraining_share` asks; see `Kind.prepare`."""
        template = inputs.load_chat_template(config)
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
            prepared = inputs.prepare_corpus(config, template.tokenizer)
            hashes |= prepared.hashes
        of_answers: list[Evaluator] = []
        if config.sft.judges is not None:
            rewards = load_judge(config.sft.judges, template.tokenizer)
            hashes["judges_hash"] = judges_hash(rewards)
            prompts = prompt_rows(prompts_of(held_out), template, max_prompt_tokens=length // 2)
            of_answers.append(
                answer_reward_evaluator(
                    self.model(config),
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

        def batches(step: int, skipped: Ranges, share: BatchShare) -> Iterator[HostBatch]:
            return mixture_batches(mixture, schedule, step, share=share, skipped=skipped)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            share, made = batch_share(program.mesh), {}
            if prepared is not None:
                text = prepared.validation
                windows = inputs.validation_batches(config, text, share)
                made[PRETRAINING] = language_model_evaluator(
                    program.loss, windows, text.bytes_per_target, program.mesh
                )
            loss = language_model_evaluator(
                program.loss, inputs.row_batches(config, validation, share), None, program.mesh
            )
            made["validation"] = _joined([loss, *of_answers])
            return made

        def final_metrics(_: Program, __: Any, workdir: WorkDirectory) -> dict[str, Any]:
            return {
                **_chosen(workdir),
                "mixture": mixture.report(
                    schedule.examples(config.training.num_steps), workdir.skipped_examples()
                ),
                "targets_an_epoch": rows.num_targets,
                "fill": rows.fill,
                "dropped": rows.dropped,
            }

        def examples(colour: bool) -> Iterator[str]:
            shown = (
                {name: array[row] for name, array in batch.items()}
                for batch in batches(0, (), ALL)
                for row in range(len(batch["tokens"]))
            )
            for number, row in enumerate(shown):
                yield show_row(template.tokenizer, row, number, colour)

        return Task(
            config=config,
            tokenizer=template.tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            examples=examples,
        )


def _conversations(config: SFTConfig) -> tuple[Records[Conversation], Records[Conversation]]:
    """Loads the conversations to learn from, and the held-out ones."""
    if config.sft.conversations is None:
        raise ValueError(
            "config.sft.conversations: got none, expected jsonl:PATH with rows of prompt and "
            "response or of messages, another set of conversations, or instructions to try it out"
        )
    return inputs.learned_and_held_out(
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


KIND = FineTuning()
