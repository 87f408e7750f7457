"""Pretraining: a language model learns the next token of a corpus.

python -m experiments.train --experiment=gpt2_smoke --workdir=runs/gpt2
"""

from collections.abc import Iterable, Iterator
from typing import Any

from gptjax.batch_schedule import BatchShare
from gptjax.config import ExperimentConfig, batch_schedule
from gptjax.data.batches.ledger import Passage, document_names, passages
from gptjax.data.batches.loader import mixture_batches, step_windows
from gptjax.data.batches.skipping import Ranges, nth_example
from gptjax.data.batches.token_stream import HostBatch
from gptjax.data.corpora.text import load_corpus
from gptjax.data.prepared.ledger import mixed_passages
from gptjax.runs import inputs
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.shared_checks import leaves_targets
from gptjax.training.evaluation import Evaluator, language_model_evaluator
from gptjax.training.partitioning import batch_share


class LanguageModelling(Supervised[ExperimentConfig]):
    """Pretraining: a language model learns the next token of a corpus, from random parameters.

    python -m experiments.train --experiment=gpt2_smoke --workdir=runs/gpt2_smoke
    python -m experiments.train --experiment=demo --workdir=runs/wide --config.model.d_model=512
    python -m experiments.train --experiment=gpt2_xl --dry_run --device_memory_gib=80

    It may start from the parameters of another run or of a model directory of Hugging Face's,
    which `checkpoint.init_from` names. Later commands take its newest checkpoint.
    """

    config = ExperimentConfig
    predicts_next = True

    def checks(self, config: ExperimentConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield leaves_targets(config)

    def prepare(self, config: ExperimentConfig) -> Task:
        """Reads the corpus; see `Kind.prepare`."""
        tokenizer = inputs.load_model_tokenizer(config)
        prepared = inputs.prepare_corpus(config, tokenizer)
        mixture = inputs.prepared_mixture(config, prepared)
        schedule = batch_schedule(config)

        def batches(step: int, skipped: Ranges, share: BatchShare) -> Iterator[HostBatch]:
            if mixture is not None:
                return mixture_batches(mixture, schedule, step, share=share, skipped=skipped)
            return inputs.training_batches(config, prepared.train, step, skipped, share)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            evaluate = language_model_evaluator(
                program.loss,
                inputs.validation_batches(config, prepared.validation, batch_share(program.mesh)),
                prepared.validation.bytes_per_target,
                program.mesh,
                prepared.validation.bytes_of,
            )
            return {"validation": evaluate}

        def read_at(step: int, skipped: Ranges) -> tuple[list[Passage], dict[int, str]]:
            rows, seed = range(schedule.batch_size_at(step - 1)), config.training.seed
            if mixture is not None:
                first = schedule.examples(step - 1)
                return mixed_passages(mixture, [nth_example(first + r, skipped) for r in rows])
            windows = step_windows(prepared.train, schedule, seed, step - 1, rows, skipped)
            found = passages(prepared.train, windows, config.model.context_length)
            corpus = load_corpus(config.data.corpus or "", invalid_utf8=config.data.invalid_utf8)
            numbers = {passage.document for passage in found}
            return found, document_names(corpus, config.data.validation_fraction, numbers)

        def final_metrics(_: Program, __: Any, workdir: WorkDirectory) -> dict[str, Any]:
            if mixture is None:
                return {}
            taken = schedule.examples(config.training.num_steps)
            return {"mixture": mixture.report(taken, workdir.skipped_examples())}

        train, held_out = prepared.train, prepared.validation
        return Task(
            config=config,
            data=(
                f"{len(train.document_starts):,} documents, {len(train.tokens):,} tokens; held "
                f"out: {len(held_out.document_starts):,}, {len(held_out.tokens):,}"
            ),
            prompts=[inputs.text_prompt(held_out, tokenizer)],
            tokenizer=tokenizer,
            hashes=prepared.hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            passages=read_at,
        )


KIND = LanguageModelling()
