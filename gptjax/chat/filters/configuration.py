r"""Configuration of filters: a list in YAML, checked field by field.

    - stage: blocklist          # words and phrases, however they are written
      name: words               # as decisions say it; by default the kind of stage
      where: both               # input, output or both (default)
      action: redact            # refuse (default), redact or end
      category: names           # of all its words; by default none
      words: [secret, a phrase]
      file: blocked.txt         # a word or phrase a line; # begins a comment line
      whole_words: true         # default
      replacement: "[removed]"  # default
    - stage: expressions        # regular expressions of the package regex
      action: end
      patterns: {card: '\b\d{16}\b'}
    - stage: classifier         # a run of the kind moderation
      run: runs/moderation
      thresholds: {S: 0.8}      # by default those that the run has chosen
      every: 200                # characters between two judgements of a stream (default)
      hold: false               # default: text is shown before it has been judged

stages = parse_stages(text, load)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml

from gptjax.chat.filters.classifier import ClassifierStage, Classify
from gptjax.chat.filters.decision import ACTIONS, BOTH, INPUT, OUTPUT, REDACT, REFUSE
from gptjax.chat.filters.normal_form import NormalForm
from gptjax.chat.filters.stages import REPLACEMENT, Blocklist, Expressions, Stage
from gptjax.chat.moderation import Moderator
from gptjax.registry import unknown_name


class Classifier(Protocol):
    """What a classifier stage needs of a run."""

    @property
    def categories(self) -> Sequence[str]: ...

    @property
    def thresholds(self) -> Mapping[str, float | None]: ...

    @property
    def scores(self) -> Classify: ...


Load = Callable[[str], Classifier]


def parse_stages(configuration: str | Sequence[Any], load: Load | None = None) -> tuple[Stage, ...]:
    """The stages of a configuration, of which the module has an example.

    Args:
      configuration: YAML, or the list that YAML gives.
      load: gives the classifier of the directory of a run; by default `Moderator.load`.

    Raises:
      ValueError: in one line, naming the stage and the field, what it got and what is allowed.
    """
    values: Any = configuration
    if isinstance(configuration, str):
        try:
            values = yaml.safe_load(configuration)
        except yaml.YAMLError as error:
            said = " ".join(str(error).split())
            raise ValueError(f"filters: got no YAML ({said}), expected a list of stages") from None
    if values is None:
        values = []
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"filters: got {type(values).__name__}, expected a list of stages")
    stages = tuple(_stage(number, value, load) for number, value in enumerate(values))
    for number, stage in enumerate(stages):
        if stage.name in [other.name for other in stages[:number]]:
            raise ValueError(
                f"filters[{number}]: name: got {stage.name!r} a second time, expected names that "
                "differ"
            )
    return stages


class _Fields:
    """The fields of one stage, each taken once."""

    def __init__(self, number: int, values: Any):
        self._place = f"filters[{number}]"
        if not isinstance(values, Mapping):
            raise ValueError(f"{self._place}: got {type(values).__name__}, expected fields")
        self._left = dict(values)

    def wrong(self, field: str, got: object, expected: str) -> ValueError:
        return ValueError(f"{self._place}: {field}: got {got}, expected {expected}")

    def take(self, field: str, kind: type | tuple[type, ...], expected: str, default: Any) -> Any:
        value = self._left.pop(field, default)
        if value is default:
            return value
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(field, repr(value)[:60], expected)
        return value

    def choice(self, field: str, choices: Sequence[str], default: str | None) -> str:
        value = self._left.pop(field, default)
        if value not in choices:
            got = "none" if value is None else repr(value)[:60]
            raise self.wrong(field, got, f"one of {', '.join(choices)}")
        return str(value)

    def finish(self, known: Sequence[str]) -> None:
        for field in self._left:
            raise ValueError(f"{self._place}: {unknown_name('field', str(field), known)}")


_SHARED = ("stage", "name", "where", "action")


def _stage(number: int, values: Any, load: Load | None) -> Stage:
    fields = _Fields(number, values)
    kind = fields.choice("stage", tuple(_KINDS), None)
    name = fields.take("name", str, "a text", kind)
    where = fields.choice("where", (INPUT, OUTPUT, BOTH), BOTH)
    action = fields.choice("action", ACTIONS, REFUSE)
    make, own = _KINDS[kind]
    stage = make(fields, (name, where, action), load)
    fields.finish((*_SHARED, *own))
    return stage


def _blocklist(fields: _Fields, shared: tuple[str, str, str], load: Load | None) -> Stage:
    del load
    listed = fields.take("words", list, "a list of words", [])
    file = fields.take("file", str, "a path", None)
    words = [*listed, *([] if file is None else _lines(fields, file))]
    for word in words:
        if not isinstance(word, str) or not _can_be_found(word):
            raise fields.wrong("words", repr(word)[:60], "texts with a letter or sign")
    if not words:
        raise fields.wrong("words", "none", "words, or a file with a word a line")
    return Blocklist(
        *shared,
        words=tuple(words),
        category=fields.take("category", str, "a text", None),
        whole_words=fields.take("whole_words", bool, "true or false", True),
        replacement=fields.take("replacement", str, "a text", REPLACEMENT),
    )


def _can_be_found(word: str) -> bool:
    return all(NormalForm(word, look_alikes=form).text.strip() for form in (False, True))


def _lines(fields: _Fields, file: str) -> Iterator[str]:
    try:
        lines = Path(file).expanduser().read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise fields.wrong("file", f"{file} ({reason})", "a text file, a word a line") from None
    return (line.strip() for line in lines if line.strip() and not line.startswith("#"))


def _expressions(fields: _Fields, shared: tuple[str, str, str], load: Load | None) -> Stage:
    del load
    expected = "a mapping from categories to regular expressions"
    patterns = fields.take("patterns", Mapping, expected, {})
    texts = {str(name): pattern for name, pattern in patterns.items()}
    if not texts or not all(isinstance(pattern, str) for pattern in texts.values()):
        raise fields.wrong("patterns", repr(patterns)[:60], expected)
    replacement = fields.take("replacement", str, "a text", REPLACEMENT)
    try:
        return Expressions(*shared, patterns=texts, replacement=replacement)
    except ValueError as error:
        raise fields.wrong("patterns", str(error), expected) from None


def _classifier(fields: _Fields, shared: tuple[str, str, str], load: Load | None) -> Stage:
    if shared[2] == REDACT:
        raise fields.wrong(
            "action", REDACT, f"{REFUSE} or end of a classifier, which finds no place"
        )
    run = fields.take("run", str, "the directory of a run", None)
    if run is None:
        raise fields.wrong("run", "none", "the directory of a run of the kind moderation")
    every = fields.take("every", int, "a number of characters from 1", 200)
    if every < 1:
        raise fields.wrong("every", every, "a number of characters from 1")
    hold = fields.take("hold", bool, "true or false", False)
    given = fields.take("thresholds", Mapping, "a mapping from categories to numbers", None)
    classifier = (load or Moderator.load)(run)
    thresholds = classifier.thresholds if given is None else given
    for name, value in thresholds.items():
        if name not in classifier.categories:
            known = ", ".join(classifier.categories)
            raise fields.wrong("thresholds", repr(name), f"categories of the run: {known}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 <= value <= 1):
            raise fields.wrong("thresholds", f"{name}: {value!r}", "numbers from 0 to 1, or none")
    kept = {name: float(value) for name, value in thresholds.items() if value is not None}
    return ClassifierStage(*shared, classifier.scores, kept, every, hold)


_KINDS: dict[str, tuple[Callable[..., Stage], tuple[str, ...]]] = {
    "blocklist": (_blocklist, ("words", "file", "category", "whole_words", "replacement")),
    "expressions": (_expressions, ("patterns", "replacement")),
    "classifier": (_classifier, ("run", "thresholds", "every", "hold")),
}
