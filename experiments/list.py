"""Shows the experiment registry.

python -m experiments.list
python -m experiments.list --experiment=gpt3_small   # its configuration, every default visible
"""

import json
from collections.abc import Sequence

from absl import flags

from experiments.binary import run
from experiments.configs import EXPERIMENTS
from experiments.configs.instruct import PIPELINES
from gptjax.config import resolve
from gptjax.settings import to_dict

_EXPERIMENT = flags.DEFINE_string("experiment", None, "Shows this one in full.")


def main(argv: Sequence[str]) -> None:
    """Prints one line an experiment, or one experiment in full."""
    del argv
    if _EXPERIMENT.value is not None:
        make = EXPERIMENTS.get(_EXPERIMENT.value)
        print(make.__doc__)
        print(json.dumps(to_dict(resolve(make())), indent=2))
        return
    width = max(len(name) for name in EXPERIMENTS)
    for registry in (EXPERIMENTS, PIPELINES):
        for name in registry:
            summary = (registry.get(name).__doc__ or "").splitlines()[0]
            print(f"{name:{width}}  {summary}")


if __name__ == "__main__":
    run(main)
