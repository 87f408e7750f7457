"""Names, bounds and defaults of studies that command lines offer."""

import dataclasses

from gptjax.settings import setting

BUDGETS = ("tokens", "flops", "seconds")  # what is equal for all variants of a comparison
EQUAL = ("tokens", "flops")  # what is equal in all pretraining of a transfer study
FORMS = ("mini", "full")  # of a paper's table
LARGEST_SHARE = 1e-2  # of the target's compute, which a run of a ladder may take


@dataclasses.dataclass
class DetectionPlan:
    """What is sampled and judged."""

    texts: int = setting(600, "texts of each kind to fit and to choose on", low=20)
    judged: int = setting(200, "texts of each kind to judge on", low=10)
    context: int = setting(8, "tokens of the corpus before each text", low=1)
    tokens: int = setting(96, "tokens of a text", low=1)
    fewest_texts: int = setting(5, "texts that a 1- or 2-gram is in, to be a feature", low=1)
    seed: int = setting(0, "of the windows and the samples", low=0)
