"""What a run started from: written down then, and the same whenever it starts there again.

A run goes back to its start when no checkpoint comes before steps that were not finite, and
`experiments.verify` replays it from there. Its source may have been trained on since, or replaced.

    workdir.begin(experiment, config, hashes, lambda: find_origin(config))
    init_from = initial_params(config, workdir.origin())
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Origin:
    """The parameters before the first step; random ones where there is no `path`.

    Attributes:
      path: the work directory, or the model directory of Hugging Face's, that they were read from.
      step: of the work directory's checkpoint; None of a model directory.
      sha256: of the checkpoint's manifest, or over the model directory's files; empty without.
    """

    path: str | None = None
    step: int | None = None
    sha256: str = ""
