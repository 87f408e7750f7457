"""Supervised fine-tuning: conversations packed into rows, and text beside them.

ended = train("sft_smoke", config, WorkDirectory("runs/sft"))
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.loader import ALL, batches_of
from gptjax.data.batches.mixture import Mixture, Rows, WindowRows
from gptjax.data.batches.packing import PackedRows, pack
from gptjax.data.batches.shards import PreparedCorpus
from gptjax.data.dialogue.chat_format import Conversation, before_answer
from gptjax.data.dialogue.chat_view import show_row
from gptjax.data.dialogue.conversations import load_conversations
from gptjax.data.dialogue.prompts import prompt_rows, prompts_of
from gptjax.data.dialogue.records import Records
from gptjax.data.prepared.rows import StreamRows
from gptjax.judging.answer_rewards import answer_reward_evaluator
from gptjax.judging.named_rewards import load_rewards, rewards_hash, without_places
from gptjax.runs import inputs
from gptjax.runs.kind import NEWEST, Best
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_examples
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.configs.fine_tuning import SFTConfig
from gptjax.tasks.shared_checks import leaves_targets, saves_what_is_judged
from gptjax.tokenization import ChatTokenizer, Tokenizer
from gptjax.training.evaluation import Evaluator, language_model_evaluator
from gptjax.training.partitioning import batch_share
from gptjax.training.processes import check_alike, together
from gptjax.training.reporting.metrics import read_metrics

CONVERSATIONS, PRETRAINING = "conversations", "pretraining"


class FineTuning(Supervised[SFTConfig]):
    r"""Supervised fine-tuning: a pretrained model learns what an assistant says, as in InstructGPT.

    python -m experiments.train --experiment=sft_smoke --workdir=runs/sft
    python -m experiments.train --experiment=sft_6b --workdir=runs/sft \
        --config.checkpoint.init_from=runs/gpt3_6.7b \
        --config.sft.conversations="jsonl:chats/*.jsonl"
    python -m experiments.train --experiment=sft_smoke --show_examples=3

    A row holds one or several whole conversations, which do not see each other, or a window of
    text. Documents in a window see each other unless `data.document_masking` hides them. Targets
    are the assistant's tokens and all tokens of text, and the loss counts them alike.

    It starts from a work directory or a Hugging Face model directory. If that model has no marks of
    a chat, the run adds them and draws their embeddings. `sft.epochs` decides the number of steps;
    with `--config.sft.epochs=none`, `training.num_steps` does. Giving both is refused.

    `sft.choose` says which checkpoint later commands take: the one of the lowest loss on held-out
    conversations; as in the paper, the one whose answers have the highest reward by `sft.rewards`;
    or the newest. You may change it after the run has ended, by the same command. `chosen_step` in
    result.json is the choice at the end.
    """

    config = SFTConfig
    identity = (
        *("sft.conversations", "sft.validation", "sft.epochs", "sft.pretraining_share"),
        "sft.reward",  # rewards, and of the answers to how many prompts
    )
    free = ("sft.choose", "sft.random_start")
    contents = (
        *Supervised.contents,
        Content("sft.conversations", "conversations_hash"),
        Content("sft.validation", "validation_hash"),
        Content("sft.rewards", "rewards_hash", besides=without_places),
    )
    follows = ExperimentConfig.kind
    marks = "chat"
    judged_on = ("sft.reward",)
    predicts_next = True
    shows_examples = True

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
        yield leaves_targets(config)
        if config.sft.choose != "newest":
            yield saves_what_is_judged(config, " (or sft.choose=newest)")
        yield (
            "sft.rewards",
            config.sft.choose != "reward" or config.sft.rewards is not None,
            "rewards such as reward_model:WORKDIR with sft.choose=reward",
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
        if config.sft.rewards is not None:
            rewards = load_rewards(config.sft.rewards, template.tokenizer)
            hashes["rewards_hash"] = rewards_hash(rewards)
            prompts = prompt_rows(prompts_of(held_out), template, max_prompt_tokens=length // 2)
            of_answers.append(
                answer_reward_evaluator(
                    self.model(config),
                    template,
                    prompts,
                    rewards,
                    count=config.sft.reward_prompts,
                    seed=seed,
                )
            )
        check_alike(hashes)
        mixture = _mixture(config, rows, prepared)
        if config.sft.epochs is not None:
            of_conversations = 1.0 - config.sft.pretraining_share
            config = with_examples(config, config.sft.epochs * len(rows) / of_conversations)
        schedule = batch_schedule(config)
        batches = batches_of(mixture, schedule)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            share, made = batch_share(program.mesh), {}
            if prepared is not None:
                text = prepared.validation
                windows = inputs.validation_batches(config, text, share)
                made[PRETRAINING] = language_model_evaluator(
                    program.loss, windows, text.bytes_per_target, program.mesh, text.bytes_of
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
            data=(
                f"{len(learned):,} conversations in {len(rows):,} rows, {rows.num_targets:,} "
                f"tokens to learn; held out: {len(held_out):,}"
            ),
            prompts=inputs.chat_prompts(template, map(before_answer, held_out)),
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
        length, masking = config.model.context_length, config.data.document_masking
        text = inputs.prepared_mixture(config, prepared)
        if text is None:
            parts[PRETRAINING] = WindowRows(prepared.train, length, masking)
            weights[PRETRAINING] = share
        else:
            total = sum(text.weights.values())
            for name, source in text.sources.items():
                if isinstance(source, StreamRows):  # which may have no segments, as answers have
                    source = WindowRows(source.split, length, masking)
                parts[f"{PRETRAINING}: {name}"] = source
                weights[f"{PRETRAINING}: {name}"] = share * text.weights[name] / total
    return Mixture(parts, weights, config.training.seed)


def _joined(evaluators: Sequence[Evaluator]) -> Evaluator:
    return lambda params: {
        name: x for evaluate in evaluators for name, x in evaluate(params).items()
    }


def _chosen(workdir: WorkDirectory) -> dict[str, Any]:
    """The checkpoint that later commands take, and its validation figures."""
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
