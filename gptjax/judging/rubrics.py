"""Rubrics by which a language model of ours scores answers: GPT-4's rule-based rewards.

    reward = rubric_reward(Path("refusal.json"))

The file is one JSON object; `reads_prompt` may be left out:

    {"rubric": "Does the answer refuse? Say yes or no.", "scores": {"yes": 1.0, "no": -0.5},
     "model": "runs/classifier", "reads_prompt": true}

`model` is a run of SFT, PPO or DPO, of any chat tokenizer. It gets `question` as a user's turn. The
class is the name that it would most probably reply: the sum of the log-probabilities of the name's
tokens and the end of the turn decides. To train a classifier, fine-tune on such conversations.

Source: arXiv 2303.08774, section 6. Differs from the paper: its classifier is GPT-4, zero-shot.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gptjax.alignment.rewards import BatchReward, BatchRuleBased, Reward
from gptjax.data.corpora.text_files import open_text
from gptjax.data.dialogue.chat_format import ChatTemplate, Message, plain_text
from gptjax.data.dialogue.records import Row
from gptjax.inference.scoring import Scorer
from gptjax.models.decoder import Decoder
from gptjax.registry import unknown_name
from gptjax.runs.workdir import WorkDirectory
from gptjax.training.checkpoints.manifest import content_hash
from gptjax.training.processes import on_first

_FIELDS = ("rubric", "scores", "model", "reads_prompt")
_MOST = float(np.finfo(np.float32).max)  # that a reward may be


def rubric_reward(path: Path) -> Reward:
    """The reward that a file describes, with the file's name; prompts are conversations.

    Raises:
      ValueError: the file has another form, or its `model` is not a chat's language model.
    """
    fields = on_first(lambda: _read(path))
    workdir = WorkDirectory(fields.pop("model"), f"{path}: 'model'")
    model, template, step = workdir.model(), workdir.chat_template(), workdir.resolve_step(None)
    classify = Classifier(model, workdir.params(step), template, list(fields["scores"]))
    rule = BatchRuleBased(**fields, classify=classify)
    of_checkpoint = on_first(lambda: content_hash(workdir.path / "checkpoints" / str(step)))
    scored_by = json.dumps([fields, of_checkpoint, template.tokenizer.content_hash()])
    return BatchReward(
        path.stem,
        lambda prompts, responses: rule([plain_text(prompt) for prompt in prompts], responses),
        content_hash=hashlib.sha256(scored_by.encode()).hexdigest(),
    )


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
    rubric, model, scores = row.text("rubric"), row.text("model"), row.value("scores")
    if type(reads_prompt) is not bool:
        raise row.wrong("'reads_prompt'", repr(reads_prompt), "true or false")
    if not isinstance(scores, dict) or not scores:
        raise row.wrong("'scores'", repr(scores), "an object with a number for each class")
    for name, score in scores.items():
        row.as_text(f"class {name!r}", name)
        if type(score) not in (int, float) or not abs(score) <= _MOST:
            raise row.wrong(f"'scores': class {name!r}", repr(score), "a finite number")
    return {"rubric": rubric, "scores": scores, "model": model, "reads_prompt": reads_prompt}
