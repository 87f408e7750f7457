"""Our own models as a system of the study: each member is a run in a directory of its own.

members = Members(plan, root, "moderation_smoke", config, "jsonl:samples-1680.jsonl.gz", None)
predict = members(0, 1)     # outer fold 0, inner fold 1: trained, or read where it has ended
"""

import copy
import dataclasses
from collections.abc import Collection
from pathlib import Path

from gptjax.config import resolve
from gptjax.interrupted import Interrupted
from gptjax.runs.initial.inherited import inherit
from gptjax.runs.kind import kind_of
from gptjax.runs.train import train
from gptjax.runs.workdir import WorkDirectory
from gptjax.studies.moderation.nested import Plan, Predict
from gptjax.tasks.moderation.config import ModerationConfig
from gptjax.tasks.moderation.scoring import TextScorer


@dataclasses.dataclass(frozen=True)
class Members:
    """Trains the members of the study, or goes on with them.

    Attributes:
      plan: the folds.
      root: directory of the study.
      experiment: name of the configuration.
      config: not resolved; its data are replaced.
      data: the rows, a specification that takes `,folds=K,of=...` behind it.
      init_from: what the members start from; None: as the configuration says.
      given: paths of the fields of `config` that the user gave.
    """

    plan: Plan
    root: Path
    experiment: str
    config: ModerationConfig
    data: str
    init_from: str | None
    given: Collection[str] = ()

    def workdir(self, outer: int, inner: int) -> WorkDirectory:
        """Where a member lives."""
        return WorkDirectory(str(self.root / f"outer{outer}" / f"inner{inner}"))

    def configured(self, outer: int, inner: int) -> ModerationConfig:
        """The configuration of a member, resolved.

        Raises:
          ValueError: see `inherit` and `Kind.check`.
        """
        config, folds = copy.deepcopy(self.config), self.plan.folds
        learned = "+".join(map(str, self.plan.learned(outer, inner)))
        config.moderation.train = f"{self.data},folds={folds},of={learned}"
        config.moderation.validation = f"{self.data},folds={folds},of={inner}"
        config.moderation.precision = self.plan.precision
        if self.init_from is not None:
            config.checkpoint.init_from = self.init_from
        inherit(config, {*self.given, "moderation.train"})
        config = resolve(config)
        kind_of(config).check(config)
        return config

    def __call__(self, outer: int, inner: int) -> Predict:
        """The member, trained to its end.

        Raises:
          Interrupted: a signal came; the same study goes on from there.
          ValueError: see `train`.
        """
        workdir = self.workdir(outer, inner)
        ended = train(self.experiment, self.configured(outer, inner), workdir)
        if ended.interrupted_by is not None:
            raise Interrupted(ended.interrupted_by)
        return TextScorer.load(workdir)
