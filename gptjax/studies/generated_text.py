r"""How well samples of trained models are told from text, by sampler, size of the model and length.

    workdirs = [WorkDirectory("runs/small"), WorkDirectory("runs/large")]
    rows = detect(workdirs, SAMPLERS, DetectionPlan())
    print("\n".join(detection_lines(rows)))

Each text is what follows a few tokens of the corpus: as it is written there, or as a model goes on
from the same tokens, of the same length in tokens and without an end of text in it, so that neither
lengths nor beginnings give it away. A detector is fitted on windows of the training split for each
model and sampler, and judged on windows of held-out documents. GPT-2's release (1908.09203, section
4) finds that top-k is easier to detect than temperature 1, larger models harder, and longer text
easier.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from gptjax.curation.quality.detector import Texts, by_length, detection, fit_detector
from gptjax.data.batches.token_stream import TokenizedSplit
from gptjax.inference.generate import Generator
from gptjax.inference.sampling import make_sampler
from gptjax.runs import inputs
from gptjax.runs.workdir import WorkDirectory
from gptjax.settings import validate
from gptjax.studies.choices import DetectionPlan
from gptjax.tokenization import Tokenizer

SAMPLERS: dict[str, dict[str, Any]] = {
    "temperature 1": {},
    "top-k 40": {"top_k": 40},
    "nucleus 0.9": {"top_p": 0.9},
}
LENGTHS = (50, 100, 200)  # characters to which texts are cut
_FITTED = 0.7  # share of the windows of the training split that detectors are fitted on


def detect(
    workdirs: Sequence[WorkDirectory],
    samplers: Mapping[str, Mapping[str, Any]],
    plan: DetectionPlan,
) -> list[dict[str, Any]]:
    """Detection of each model and sampler, in their order.

    Args:
      workdirs: runs of language models, on text.
      samplers: options of `make_sampler` by name.
      plan: numbers of texts, and their lengths.

    Returns:
      Rows of `model` (its work directory), `parameters`, `sampler`, `accuracy`, `auc`, `strength`,
      and `by_length`: {characters: accuracy}.

    Raises:
      ValueError: texts that are longer than a model's context, or a split with too few windows
        that no document ends in.
    """
    validate(plan, "plan.")
    rows = []
    for workdir in workdirs:
        config, tokenizer, model = workdir.config(), workdir.tokenizer(), workdir.model()
        if plan.context + plan.tokens > model.config.context_length:
            raise ValueError(
                f"{workdir.path}: got texts of {plan.context} + {plan.tokens} tokens, expected at "
                f"most the model's context of {model.config.context_length}"
            )
        prepared = inputs.prepare_corpus(config, tokenizer)
        params = workdir.params(workdir.resolve_step(None))
        generator = Generator(model, params, tokenizer, slots=32)
        fitted = windows(prepared.train, tokenizer, plan.texts, plan)
        judged = windows(prepared.validation, tokenizer, plan.judged, plan)
        size = sum(leaf.size for leaf in jax.tree.leaves(params))
        for name, options in samplers.items():
            at = int(_FITTED * len(fitted))
            to_fit, to_choose, to_judge = (
                _texts(generator, tokenizer, of, options, plan)
                for of in (fitted[:at], fitted[at:], judged)
            )
            detector = fit_detector(to_fit, to_choose, plan.fewest_texts)
            whole = detection(detector, to_judge)
            rows.append(
                {
                    "model": str(workdir.path),
                    "parameters": size,
                    "sampler": name,
                    "accuracy": whole.accuracy,
                    "auc": whole.auc,
                    "strength": detector.strength,
                    "by_length": {
                        str(found.characters): found.accuracy
                        for found in by_length(detector, to_judge, LENGTHS)
                    },
                }
            )
    return rows


def windows(
    split: TokenizedSplit, tokenizer: Tokenizer, number: int, plan: DetectionPlan
) -> np.ndarray:
    """Windows of a split without an end of text, drawn by the seed, int32 [number, tokens].

    Raises:
      ValueError: there are fewer.
    """
    length = plan.context + plan.tokens
    usable = len(split.tokens) // length
    rows = np.asarray(split.tokens[: usable * length], np.int32).reshape(usable, length)
    rows = rows[(rows != tokenizer.end_of_text).all(axis=1)]
    if len(rows) < number:
        raise ValueError(
            f"the {split.name}: got {len(rows)} windows of {length} tokens in which no document "
            f"ends, expected at least {number}"
        )
    return rows[np.random.default_rng(plan.seed).permutation(len(rows))[:number]]


def _texts(
    generator: Generator,
    tokenizer: Tokenizer,
    rows: np.ndarray,
    options: Mapping[str, Any],
    plan: DetectionPlan,
) -> Texts:
    """What follows the context of each window, as it is and as the model goes on."""
    end = tokenizer.end_of_text
    banned = () if end is None else (end,)
    sampler = make_sampler(**options, banned_tokens=banned, vocab_size=tokenizer.vocab_size)
    contexts = [row[: plan.context] for row in rows]
    made = generator.generate(contexts, max_new_tokens=plan.tokens, sampler=sampler, seed=plan.seed)
    return Texts(
        real=[tokenizer.decode(row[plan.context :]) for row in rows],
        generated=[tokenizer.decode(tokens) for tokens in made],
    )


def detection_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of the rows as text."""
    lengths = [str(length) for length in LENGTHS]
    heads = "".join(f"{f'{length} chars':>12}" for length in lengths)
    lines = [f"{'model':24} {'parameters':>12} {'sampler':16} {'all':>7}{heads} {'AUC':>7}"]
    for row in rows:
        rates = (row["by_length"].get(length, float("nan")) for length in lengths)
        cut = "".join(f"{rate:12.1%}" for rate in rates)
        lines.append(
            f"{row['model'][-24:]:24} {row['parameters']:12,} {row['sampler']:16} "
            f"{row['accuracy']:7.1%}{cut} {row['auc']:7.3f}"
        )
    return lines
