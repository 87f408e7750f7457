"""Tables of papers, one module a paper; importing this package registers all of them.

A module makes `Table`s: the published values with their sources, the models that are trained for
the cells, how each cell is measured, and what the paper claims.
"""

import importlib
import pkgutil

from gptjax.studies.paper_tables.table import TABLES

__all__ = ["TABLES"]

for module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{module.name}")
