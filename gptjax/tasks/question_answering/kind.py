"""BERT's fine-tuning on SQuAD: the start and the end of the answer to a question in a passage.

ended = train("bert_squad", config, WorkDirectory("runs/squad"))
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gptjax.config import batch_schedule
from gptjax.data.batches.loader import ALL, batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.batches.span_rows import SpanRows, span_rows
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.squad import Question, load_questions
from gptjax.judging.free_answers import exact_match, f1
from gptjax.judging.metrics import with_intervals
from gptjax.models.classifier import SpanReader
from gptjax.runs import inputs
from gptjax.runs.kind import Best
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Costs, Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_epochs
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.classification.report import SEED, Judged, judge
from gptjax.tasks.configs.masked_lm import MaskedLMConfig
from gptjax.tasks.encoders import (
    adopt_bert,
    attention_calls_of_bert,
    checks_of_bert,
    costs_of_bert,
    wordpiece_of,
)
from gptjax.tasks.question_answering.answers import answers, best_texts, write_answers
from gptjax.tasks.question_answering.config import QuestionAnsweringConfig
from gptjax.tasks.shared_checks import saves_what_is_judged, whole_rows
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Loss
from gptjax.training.processes import together
from gptjax.training.task_losses import mean_loss, span_parts


class QuestionAnswering(Supervised[QuestionAnsweringConfig]):
    r"""Questions about passages: a pretrained BERT learns where the answer starts and ends.

    python -m experiments.train --experiment=bert_squad --workdir=runs/squad \
        --config.checkpoint.init_from=downloads/bert-base-uncased \
        --config.squad.train=train-v1.1.json --config.squad.validation=dev-v1.1.json

    A row is `[CLS] question [SEP] passage [SEP]`. A long passage is read in windows. The loss is
    the mean of the cross-entropies of the start and of the end; in a window without the answer both
    are at [CLS].

    It starts from a work directory with a masked language model or a Hugging Face directory of a
    BERT, whose heads and pooler are dropped. Evaluations have SQuAD's exact_match and f1 as shares,
    each with a 95% interval (NAME_low, NAME_high). The checkpoint of the highest f1 is taken by
    later commands; result.json has its figures in `chosen`. predictions.json has its answers by id,
    as SQuAD's own script reads them, and nbest_predictions.json the best twenty.
    """

    config = QuestionAnsweringConfig
    identity = (
        *("squad.train", "squad.validation", "squad.max_tokens", "squad.max_question_tokens"),
        *("squad.doc_stride", "squad.epochs", "squad.warmup_fraction", "model."),
    )
    free = ("squad.max_answer_tokens", "squad.random_start")
    contents = (
        *Supervised.contents,
        Content("squad.train", "train_hash"),
        Content("squad.validation", "validation_hash"),
    )
    follows = MaskedLMConfig.kind
    makes = "reader of passages"
    takes = "masked language model"
    chunks_loss = False
    shows_examples = True
    curves = (("loss", "loss (nats, mean of start and end)"),)

    def model(self, config: QuestionAnsweringConfig, **attributes: Any) -> SpanReader:
        return SpanReader(config.model, **attributes)

    def inputs(self, config: QuestionAnsweringConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
        del config
        return array(1, 1), array(1), array(1, 1)

    def loss(self, config: QuestionAnsweringConfig, model: SpanReader) -> Loss:
        del config
        return mean_loss(span_parts(model))

    def costs(self, config: QuestionAnsweringConfig) -> Costs:
        return costs_of_bert(self, config, num_outputs=2, has_pooler=False)

    def largest_batch(self, config: QuestionAnsweringConfig) -> Shapes:
        rows = config.training.batch_size
        whole = {name: array(rows, config.row_tokens) for name in ("tokens", "token_types")}
        return whole | {
            **{name: array(rows) for name in ("lengths", "starts", "ends")},
            "weights": array(rows, dtype="float32"),
        }

    def attention_calls(self, config: QuestionAnsweringConfig) -> Sequence[Mapping[str, Any]]:
        return attention_calls_of_bert(self.largest_batch(config))

    def checks(self, config: QuestionAnsweringConfig) -> Iterable[Check]:
        yield from super().checks(config)
        yield from whole_rows(config)
        yield from checks_of_bert(config)
        yield saves_what_is_judged(config)
        length, squad = config.model.context_length, config.squad
        fits = config.row_tokens <= length
        yield "squad.max_tokens", fits, f"at most context_length = {length}"
        fits = squad.max_question_tokens + 3 < config.row_tokens
        room = f"less than {config.row_tokens - 3}: the tokens in a row, less [CLS] and two [SEP]"
        yield "squad.max_question_tokens", fits, room

    def starts_at_random(self, config: QuestionAnsweringConfig) -> bool:
        return config.squad.random_start

    def best(self, config: QuestionAnsweringConfig) -> Best:
        del config
        return Best("f1", highest=True)

    def adopt(
        self, config: QuestionAnsweringConfig, read: Callable[[Any], Any], target: Any
    ) -> Any:
        """BERT's parameters, with a new head."""
        return adopt_bert(self, config, read, target)

    def prepare(self, config: QuestionAnsweringConfig) -> Task:
        """Reads the questions; see `Kind.prepare`."""
        tokenizer, squad = wordpiece_of(config), config.squad
        learned, held_out = together(lambda: _questions(config))
        encoded = functools.partial(
            span_rows,
            tokenizer=tokenizer,
            max_tokens=config.row_tokens,
            stride=squad.doc_stride,
            max_question_tokens=squad.max_question_tokens,
        )
        rows, validation = encoded(learned), encoded(held_out)
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, train_hash=learned, validation_hash=held_out
        )
        config = with_epochs(config, squad.epochs, squad.warmup_fraction, len(rows))
        mixture = Mixture({"windows": rows}, {"windows": 1.0}, config.training.seed)
        batches = batches_of(mixture, batch_schedule(config))

        def judged_by(program: Program) -> Judged:
            return judge(program, config, validation, span_parts)

        def evaluators(program: Program) -> dict[str, Evaluator]:
            judged = judged_by(program)
            return {
                "validation": lambda params: _figures(
                    *judged(params), validation, squad.max_answer_tokens
                )
            }

        def final_metrics(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
            """The figures of the chosen checkpoint, whose answers are written."""
            step, params = workdir.chosen(params, config.training.num_steps, program.mesh)
            scores, losses = judged_by(program)(params)
            found = answers(scores, validation, squad.max_answer_tokens)
            write_answers(workdir.path, found, validation)
            return {
                "chosen_step": step,
                "chosen": _figures(scores, losses, validation, squad.max_answer_tokens),
                "questions": len(learned),
                "windows": len(rows),
                "held_out": len(held_out),
                "dropped": dict(learned.dropped),
            }

        def examples(colour: bool) -> Iterator[str]:
            del colour
            for batch in batches(0, (), ALL):
                for ids, length in zip(batch["tokens"], batch["lengths"], strict=True):
                    yield tokenizer.decode(ids[:length])

        return Task(
            config=config,
            data=f"{len(learned):,} questions, {len(rows):,} windows; held out: {len(held_out):,}",
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            tokens_a_row=rows.length,
            examples=examples,
        )


def _questions(config: QuestionAnsweringConfig) -> tuple[Records[Question], Records[Question]]:
    """Loads the questions to learn from, and the held-out ones; a passage is on one side."""
    if config.squad.train is None:
        raise ValueError(
            "config.squad.train: got none, expected a file of questions in SQuAD's format, such as "
            "train-v1.1.json"
        )
    return inputs.learned_and_held_out(
        load_questions,
        config.squad.train,
        config.squad.validation,
        lambda question: (Message("user", question.context),),
        config.data.validation_fraction,
    )


def _figures(
    scores: np.ndarray, losses: Mapping[str, np.ndarray], rows: SpanRows, max_answer_tokens: int
) -> dict[str, Any]:
    """The loss, and exact_match and f1 of the questions that were judged, with their intervals."""
    texts = best_texts(answers(scores, rows, max_answer_tokens))
    right = {number: rows.questions[number].answers for number in texts}
    values = {
        "exact_match": np.array([exact_match(text, right[n]) for n, text in texts.items()]),
        "f1": np.array([f1(text, right[n]) for n, text in texts.items()]),
    }
    figures = with_intervals(
        lambda chosen: {name: float(x[chosen].mean()) for name, x in values.items()},
        len(texts),
        SEED,
        clusters=[rows.questions[number].context for number in texts],
    )
    means = {name: float(np.mean(x, dtype=np.float64)) for name, x in losses.items()}
    return {"loss": means["task_loss"], **means, **figures}


KIND = QuestionAnswering()
