"""The experiment registry, one module a paper; importing this package registers all of them."""

import importlib
import pkgutil

from experiments.configs.registry import EXPERIMENTS, experiment_named, maker_named
from gptjax.curation.pipeline.configuration import PREPARATIONS
from gptjax.studies.instruct_pipeline.config import PIPELINES
from gptjax.studies.transfer.config import TRANSFERS

__all__ = [
    "EXPERIMENTS",
    "PIPELINES",
    "PREPARATIONS",
    "STUDIES",
    "TRANSFERS",
    "experiment_named",
    "maker_named",
]

# By the binary that runs them.
STUDIES = {"instruct": PIPELINES, "transfer": TRANSFERS, "prepare_data": PREPARATIONS}

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
