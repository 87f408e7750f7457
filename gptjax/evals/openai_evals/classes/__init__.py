"""The classes of evals that run here, by the name that the registry gives them.

make("evals.elsuite.basic.match:Match", context, {"samples_jsonl": "test_match/samples.jsonl"})
"""

import dataclasses
from typing import Any

from gptjax.evals.openai_evals.classes.base import Context, Eval
from gptjax.evals.openai_evals.classes.basic import FuzzyMatch, Includes, Match, TestMatch
from gptjax.evals.openai_evals.classes.json_answers import JsonMatch, JsonValidator
from gptjax.evals.openai_evals.classes.model_graded import ModelBasedClassify
from gptjax.evals.openai_evals.classes.multiple_choice import MMLU, Lambada, MultipleChoice
from gptjax.evals.openai_evals.classes.translate import Translate

CLASSES: dict[str, type[Eval]] = {
    "evals.elsuite.basic.match:Match": Match,
    "evals.elsuite.basic.includes:Includes": Includes,
    "evals.elsuite.basic.fuzzy_match:FuzzyMatch": FuzzyMatch,
    "evals.elsuite.basic.json_match:JsonMatch": JsonMatch,
    "evals.elsuite.basic.json_validator:JsonValidator": JsonValidator,
    "evals.elsuite.multiple_choice:MultipleChoice": MultipleChoice,
    "evals.elsuite.lambada:Lambada": Lambada,
    "evals.elsuite.translate:Translate": Translate,
    "evals.elsuite.sandbagging.mmlu_eval:MMLU": MMLU,
    "evals.elsuite.modelgraded.classify:ModelBasedClassify": ModelBasedClassify,
    "evals.elsuite.test.match:TestMatch": TestMatch,
}
OTHER_NEEDS = {  # what the classes of the public registry that do not run here need
    "images": ("MMMU",),
    "a solver": (
        *("MatchWithSolvers", "SelfPrompting", "Sandbagging", "Steganography"),
        *("TextCompression", "IdentifyingVariables", "TrackTheStat"),
    ),
    "a solver that acts over several turns": (
        *("AlreadySaidThat", "BallotsEval", "BluffEval", "BuggedTools", "CantDoThatAnymore"),
        *("ErrorRecovery", "FunctionDeductionEval", "InContextRl", "MakeMePay", "MakeMeSay"),
        *("SchellingPoint", "SkillAcquisition", "TwentyQuestions"),
    ),
    "an agent with tools and containers": ("MLAgentBench", "MultistepWebTasks"),
}


def lack(class_name: str) -> str | None:
    """What a class needs that is not here; None: it runs."""
    if class_name.strip() in CLASSES:
        return None
    name = class_name.rpartition(":")[2]
    for need, names in OTHER_NEEDS.items():
        if name in names:
            return need
    return "a class that is not known here"


def make(key: str, class_name: str, context: Context, args: dict[str, Any]) -> Eval:
    """An eval of a registry's entry.

    Args:
      key: full name of the eval, for errors.
      class_name: as "module:Class".
      context: what it is given besides.
      args: of the entry.

    Raises:
      ValueError: a class that does not run here, or arguments that it does not take.
    """
    if (missing := lack(class_name)) is not None:
        names = ", ".join(each.__name__ for each in CLASSES.values())
        raise ValueError(
            f"eval {key!r}: got the class {class_name}, which needs {missing}, expected one of "
            f"{names}"
        )
    made = CLASSES[class_name.strip()]
    fields = {each.name: each for each in dataclasses.fields(made) if each.name != "context"}
    for name in args:
        if name not in fields:
            raise ValueError(
                f"eval {key!r}: got the argument {name!r}, expected one of: {', '.join(fields)}"
            )
    for name, each in fields.items():
        if each.default is dataclasses.MISSING and name not in args:
            raise ValueError(f"eval {key!r}: got no {name!r}, expected a value")
    made_eval = made(context, **args)
    try:
        made_eval.check()
    except ValueError as error:
        raise ValueError(f"eval {key!r}: {error}") from error
    return made_eval
