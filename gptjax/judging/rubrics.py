"""Rubrics by which answers are scored: GPT-4's rule-based rewards.

    reward = rubric_reward(Path("refusal.json"))

The file is one JSON object, of which `reads_prompt` and `prompts` may be left out:

    {"rubric": "Does the answer refuse? Say yes or no.", "scores": {"yes": 1.0, "no": -0.5},
     "model": "runs/classifier", "reads_prompt": true}

`model` is a run of SFT, PPO or DPO, of any chat tokenizer. It gets `question` as a user's turn. The
class is the name that it would most probably reply: the sum of the log-probabilities of the name's
tokens and the end of the turn decides. To train a classifier, fine-tune on such conversations.

`"rules": NAME` takes the place of `model`: a function of `RULES` then says the class, and `rubric`
only says what is meant.

With `prompts`, classes are worth something else on each kind of prompt; a prompt that is in none
of the sets earns 0. This rewards refusals on prompts that are known to ask for harm, and answers
on those known to be safe:

    {"rubric": ..., "rules": "refusals",
     "prompts": {"allowed": "jsonl:safe.jsonl", "disallowed": "jsonl:unsafe.jsonl"},
     "scores": {"allowed": {"safe answer": 1.0, ...}, "disallowed": {"desired refusal": 1.0, ...}}}

Source: arXiv 2303.08774, section 6. Differs from the paper: its classifier is GPT-4, zero-shot.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gptjax.alignment.rewards import BatchReward, BatchRuleBased, Reward
from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.chat_format import ChatTemplate, Conversation, Message, plain_text
from gptjax.data.dialogue.prompts import load_prompts
from gptjax.data.dialogue.records import Row
from gptjax.inference.scoring import Scorer
from gptjax.judging.refusal_rules import CLASSES, refusal_class
from gptjax.models.decoder import Decoder
from gptjax.registry import Registry, unknown_name
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.processes import on_first, together

_FIELDS = ("rubric", "scores", "model", "rules", "reads_prompt", "prompts")
_MOST = float(np.finfo(np.float32).max)  # that a reward may be


class Rules(NamedTuple):
    """Rules that take the place of a classifier: (prompt, answer, kind of prompt) -> a class."""

    classes: tuple[str, ...]
    classify: Callable[[str, str, str | None], str]


RULES: Registry[Rules] = Registry("set of rules")
RULES.register("refusals")(Rules(CLASSES, refusal_class))


def rubric_reward(path: Path) -> Reward:
    """The reward that a file describes, with the file's name; prompts are conversations.

    Raises:
      ValueError: the file has another form, its `model` is not a chat's language model, or a prompt
        is of two kinds.
    """
    fields = on_first(lambda: _read(path))
    kinds, hashes = _kinds(path, fields.pop("prompts", {}))
    worth: Mapping[str | None, Mapping[str, float]]
    worth = fields["scores"] if kinds else {None: fields["scores"]}
    classifier, of_classifier = _classifier(path, fields.pop("model"), worth)

    def classify(kind: str | None, rubric: str, prompts: Any, responses: Sequence[str]):
        if classifier is not None:
            return classifier(rubric, prompts, responses)
        named = RULES.get(fields["rules"]).classify
        return [named(*each, kind) for each in zip(prompts, responses, strict=True)]

    of_kind = {
        kind: BatchRuleBased(
            fields["rubric"], functools.partial(classify, kind), scores, fields["reads_prompt"]
        )
        for kind, scores in worth.items()
    }

    def scored(prompts: Sequence[Conversation], responses: Sequence[str]) -> np.ndarray:
        earned, found = np.zeros(len(prompts)), [kinds.get(prompt) for prompt in prompts]
        for kind, rule in of_kind.items():
            rows = [row for row, each in enumerate(found) if each == kind]
            if rows:
                texts = [plain_text(prompts[row]) for row in rows]
                earned[rows] = rule(texts, [responses[row] for row in rows])
        return earned

    scored_by = json.dumps([fields, *of_classifier, *hashes])
    return BatchReward(
        path.stem, scored, content_hash=hashlib.sha256(scored_by.encode()).hexdigest()
    )


def _classifier(
    path: Path, run: str | None, worth: Mapping[str | None, Mapping[str, float]]
) -> tuple["Classifier | None", list[str]]:
    """A run as a classifier of the classes, and the hashes of what it is made of; None without."""
    if run is None:
        return None, []
    workdir = WorkDirectory(run, f"{path}: 'model'")
    model, template, step = workdir.model(), workdir.chat_template(), workdir.resolve_step(None)
    classes = list(next(iter(worth.values())))
    classifier = Classifier(model, workdir.params(step), template, classes)
    of_checkpoint = on_first(lambda: content_hash(workdir.path / "checkpoints" / str(step)))
    return classifier, [of_checkpoint, template.tokenizer.content_hash()]


def _kinds(path: Path, sets: Mapping[str, str]) -> tuple[dict[Conversation, str], list[str]]:
    """The kind of each known prompt, and the hashes of the sets."""
    kinds: dict[Conversation, str] = {}
    hashes = []
    for kind, spec in sets.items():
        prompts = together(functools.partial(load_prompts, spec))
        hashes.append(prompts.content_hash())
        for prompt in prompts:
            if kinds.setdefault(prompt, kind) != kind:
                text = plain_text(prompt)[:40]
                raise ValueError(
                    f"{path}: 'prompts': got {text!r} as {kinds[prompt]} and as {kind}, expected "
                    "one kind of each prompt"
                )
    return kinds, hashes


def question(rubric: str, prompt: str | None, response: str) -> str:
    """Question put to the classifier; without a prompt it is about the response alone."""
    return rubric + ("" if prompt is None else f"\n\nPrompt: {prompt}") + f"\n\nAnswer: {response}"


class Classifier:
    """Finds the classes of answers; it holds compiled programs, so keep it."""

    def __init__(self, model: Decoder, params: Any, template: ChatTemplate, classes: Sequence[str]):
        """A classifier by a `model` and its `params`, whose replies are the names of `classes`."""
        self._template, self._classes = template, classes
        self._replies = [template.answer(name) for name in classes]
        self._context = model.config.context_length
        self._scorer = Scorer(model, params, batch_size=32)

    def __call__(
        self, rubric: str, prompts: Sequence[str] | None, responses: Sequence[str]
    ) -> list[str]:
        """The class of each response, with its prompt or without; the first of equal ones.

        Raises:
          ValueError: a question that does not fit in the model's context, naming the row.
        """
        room = self._context + 1 - max(reply.size for reply in self._replies)
        questions = []
        for row, response in enumerate(responses):
            text = question(rubric, None if prompts is None else prompts[row], response)
            tokens = self._template.prompt([Message("user", text)])
            if tokens.size > room:
                raise ValueError(
                    f"row {row}: got a question of {tokens.size} tokens, expected at most {room} "
                    f"before a class, of the classifier's context of {self._context}"
                )
            questions.append((tokens, self._replies))
        found = self._scorer.score_questions(questions)
        best = [np.argmax([reply.total for reply in replies]) for replies in found]
        return [self._classes[int(i)] for i in best]


def _read(path: Path) -> dict[str, Any]:
    """Reads all fields of a file, checked."""
    with open_text(path) as file:
        content = file.read()
    try:
        fields = json.loads(content.decode())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected an object") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: got a JSON {type(fields).__name__}, expected an object")
    for name in fields:
        if name not in _FIELDS:
            raise unknown_name(f"field in {path}:", name, _FIELDS)
    row, reads_prompt = Row(str(path), fields), fields.get("reads_prompt", True)
    rubric, model, scores = row.text("rubric"), None, row.value("scores")
    classes = None
    if "rules" in fields:
        rules = RULES.get(row.text("rules"))
        classes = sorted(rules.classes)
        if "model" in fields or reads_prompt is not True:
            raise row.wrong("row", "'rules' with 'model' or 'reads_prompt'", "'rules' alone")
    else:
        model = row.text("model")
    if type(reads_prompt) is not bool:
        raise row.wrong("'reads_prompt'", repr(reads_prompt), "true or false")
    read = {"rubric": rubric, "scores": scores, "model": model, "reads_prompt": reads_prompt}
    if "prompts" not in fields:
        _check_scores(row, "'scores'", scores, classes)
    else:
        sets = read["prompts"] = row.value("prompts")
        if not isinstance(sets, dict) or not sets:
            raise row.wrong("'prompts'", repr(sets), "an object with a set for each kind")
        for kind, spec in sets.items():
            row.as_text(f"'prompts': kind {kind!r}", spec)
        if not isinstance(scores, dict) or scores.keys() != sets.keys():
            raise row.wrong("'scores'", repr(scores), f"an object with {', '.join(sets)}")
        for kind, each in scores.items():
            _check_scores(row, f"'scores': kind {kind!r}", each, classes)
            classes = classes or sorted(each)
    return read | ({"rules": fields["rules"]} if "rules" in fields else {})


def _check_scores(row: Row, what: str, scores: Any, classes: Sequence[str] | None) -> None:
    """Refuses anything but a finite number for each class; `classes`: which there must be."""
    if not isinstance(scores, dict) or not scores:
        raise row.wrong(what, repr(scores), "an object with a number for each class")
    for name, score in scores.items():
        row.as_text(f"class {name!r}", name)
        if type(score) not in (int, float) or not abs(score) <= _MOST:
            raise row.wrong(f"{what}: class {name!r}", repr(score), "a finite number")
    if classes is not None and sorted(scores) != list(classes):
        raise row.wrong(what, f"classes {', '.join(scores)}", f"classes {', '.join(classes)}")
