"""What kinds of run share that learn a task with labels: examples, metrics, predictions.

class Classification(LabelledTask[ClassificationConfig]): ...
"""

import abc
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from gptjax.config import batch_schedule
from gptjax.data.batches.loader import ALL, batches_of
from gptjax.data.batches.mixture import Mixture
from gptjax.data.batches.task_inputs import SHORTEST, TaskRows
from gptjax.data.dialogue.chat_format import Message
from gptjax.data.dialogue.records import Records
from gptjax.data.labelled.examples import Example, Fields, load_examples
from gptjax.runs import inputs
from gptjax.runs.kind import Best
from gptjax.runs.life.moved import Content
from gptjax.runs.planning.costs import Shapes, array
from gptjax.runs.program import Program
from gptjax.runs.supervised import Supervised
from gptjax.runs.task import Task, with_epochs
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import Check
from gptjax.tasks.classification.config import Labelled, LabelledConfig, checks_of_task
from gptjax.tasks.classification.report import judge, task_evaluator, write_predictions
from gptjax.tasks.shared_checks import saves_what_is_judged, whole_rows
from gptjax.tokenization import Tokenizer
from gptjax.training.evaluation import Evaluator
from gptjax.training.losses import Loss
from gptjax.training.processes import together
from gptjax.training.task_losses import mean_loss, task_parts

Encode = Callable[[Records[Example]], TaskRows]


class LabelledTask(Supervised[Labelled]):
    """A pretrained model learns to classify, compare or choose.

    The checkpoint of the highest `task.metric` is taken by later commands.
    """

    identity = (
        *("task.train", "task.validation", "task.form", "task.text", "task.choices", "task.label"),
        *("task.epochs", "task.warmup_fraction", "task.head_dropout"),
    )
    free = ("task.metric", "task.random_start")
    contents = (
        *Supervised.contents,
        Content("task.train", "train_hash"),
        Content("task.validation", "validation_hash"),
    )
    judged_on = ("task.form", "task.text", "task.choices", "task.label")
    makes = "classifier"
    chunks_loss = False
    shows_examples = True

    @abc.abstractmethod
    def encoder(self, config: Labelled) -> tuple[Tokenizer, Encode]:
        """The tokenizer, and what makes rows of examples; ValueError if it is of another kind."""
        ...

    def lm_weight(self, config: Labelled) -> float:
        """Weight of a language model's loss beside that of the task."""
        del config
        return 0.0

    def loss(self, config: Labelled, model: Any) -> Loss:
        weight = self.lm_weight(config)
        return mean_loss(task_parts(model, weight), weight)

    def largest_batch(self, config: Labelled) -> Shapes:
        rows, task = config.training.batch_size, config.task
        return {
            "tokens": array(rows, task.width, config.model.context_length),
            "lengths": array(rows, task.width),
            "targets": array(rows, dtype="float32" if task.names is None else "int32"),
            "weights": array(rows, dtype="float32"),
        }

    def checks(self, config: Labelled) -> Iterable[Check]:
        yield from super().checks(config)
        yield from whole_rows(config)
        yield from checks_of_task(config.task)
        yield saves_what_is_judged(config)
        fits = config.model.context_length >= SHORTEST
        yield "model.context_length", fits, f"at least {SHORTEST}"
        fits = not config.task.head_dropout or config.parallelism.strategy != "pmap"
        yield "task.head_dropout", fits, "0 with parallelism.strategy=pmap"

    def starts_at_random(self, config: Labelled) -> bool:
        return config.task.random_start

    def best(self, config: Labelled) -> Best:
        return Best(config.task.metric, highest=True)

    def prepare(self, config: Labelled) -> Task:
        """Reads the examples; see `Kind.prepare`."""
        (tokenizer, encoded), task = self.encoder(config), config.task
        lm_weight = self.lm_weight(config)
        learned, held_out = together(lambda: labelled_examples(config))
        rows, validation = together(lambda: (encoded(learned), encoded(held_out)))
        hashes = inputs.content_hashes(
            tokenizer_hash=tokenizer, train_hash=learned, validation_hash=held_out
        )
        config = with_epochs(config, task.epochs, task.warmup_fraction, len(rows))
        mixture = Mixture({"examples": rows}, {"examples": 1.0}, config.training.seed)
        batches = batches_of(mixture, batch_schedule(config))

        def evaluators(program: Program) -> dict[str, Evaluator]:
            judged = judge(program, config, validation, task_parts, lm_weight)
            return {"validation": task_evaluator(judged, validation, task.names, lm_weight)}

        def final_metrics(program: Program, params: Any, workdir: WorkDirectory) -> dict[str, Any]:
            """The figures of the chosen checkpoint, whose predictions are written."""
            step, params = workdir.chosen(params, config.training.num_steps, program.mesh)
            judged = judge(program, config, validation, task_parts, lm_weight)
            write_predictions(workdir.path, judged(params)[0], validation, task.names)
            evaluate = task_evaluator(judged, validation, task.names, lm_weight)
            return {
                "chosen_step": step,
                "chosen": evaluate(params),
                "examples": len(rows),
                "held_out": len(validation),
                "majority_share": _majority_share(validation) if task.names else None,
                "truncated": rows.truncated + validation.truncated,
                "dropped": dict(learned.dropped),
            }

        def examples(colour: bool) -> Iterator[str]:
            del colour
            for batch in batches(0, (), ALL):
                for several, lengths in zip(batch["tokens"], batch["lengths"], strict=True):
                    real = zip(several, lengths, strict=True)
                    yield "\n".join(tokenizer.decode(ids[:n]) for ids, n in real if n)

        return Task(
            config=config,
            data=f"{len(rows):,} examples; held out: {len(validation):,}",
            tokenizer=tokenizer,
            hashes=hashes,
            batches=batches,
            evaluators=evaluators,
            final_metrics=final_metrics,
            tokens_a_row=self.tokens(rows.batch(np.arange(1))),
            examples=examples,
        )


def labelled_examples(config: LabelledConfig) -> tuple[Records[Example], Records[Example]]:
    """Loads the examples to learn from, and the held-out ones."""
    task = config.task
    if task.train is None:
        raise ValueError(
            "config.task.train: got none, expected jsonl:PATH or tsv:PATH with labelled examples, "
            "or embedded to try it out"
        )
    fields = Fields(task.text, task.text_b, task.choice_fields, task.label, task.names)
    learned, held_out = inputs.learned_and_held_out(
        functools.partial(load_examples, fields=fields),
        task.train,
        task.validation,
        lambda example: (Message("user", example.texts[0]),),
        config.data.validation_fraction,
    )
    if task.names is not None and task.form != "choice":
        found = {example.target for example in learned}
        missing = [name for i, name in enumerate(task.names) if i not in found]
        if missing:
            raise ValueError(
                f"config.task.train: got no example of {', '.join(missing)} in {learned.name}, "
                f"expected one of each of {task.labels}"
            )
    return learned, held_out


def _majority_share(rows: TaskRows) -> float:
    """Share of the most frequent label: the accuracy of who always says it."""
    return float(np.bincount([int(x.target) for x in rows.examples]).max() / len(rows))
