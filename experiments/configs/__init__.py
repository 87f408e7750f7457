"""The experiment registry, one module a paper; importing this package registers all of them."""

import importlib
import pkgutil

from experiments.configs.registry import EXPERIMENTS, experiment_named, maker_named
from gptjax.curation.pipeline.configuration import PREPARATIONS
from gptjax.studies.instruct_pipeline.config import PIPELINES

__all__ = ["EXPERIMENTS", "PIPELINES", "PREPARATIONS", "experiment_named", "maker_named"]

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
