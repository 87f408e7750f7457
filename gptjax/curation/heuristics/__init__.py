"""Rules that drop documents, or lines of them, by figures of their text.

apply_rules(text, [RULES.get(name)() for name in ("c4", "gopher_quality", "gopher_repetition")])
"""

from gptjax.curation.heuristics import (  # noqa: F401, to register their rules
    c4,
    fineweb,
    gopher_quality,
    gopher_repetition,
)
from gptjax.curation.heuristics.rules import RULES, Outcome, RuleSet, apply_rules

__all__ = ["RULES", "Outcome", "RuleSet", "apply_rules"]
