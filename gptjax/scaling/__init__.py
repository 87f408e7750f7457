"""Scaling laws, as pure functions of tables of runs: fits, intervals, and predictions.

A table may come from anywhere. `gptjax.studies.scaling_laws` makes one by training.
"""

from typing import TYPE_CHECKING

from gptjax.rooms import public_names

if TYPE_CHECKING:
    from gptjax.scaling.chinchilla import Fitting, ParametricLaw, fit_parametric
    from gptjax.scaling.counting import non_embedding_parameters
    from gptjax.scaling.frontier import Curve, envelope, iso_flop, optimal_size
    from gptjax.scaling.intervals import Interval, Prediction, predict, resampled
    from gptjax.scaling.kaplan import fit_both, fit_one
    from gptjax.scaling.power_laws import PowerLaw, fit_power_law, mean_log_pass_rate
    from gptjax.scaling.recipes import Recipe, recipe_for

__all__ = [
    "Curve",
    "Fitting",
    "Interval",
    "ParametricLaw",
    "PowerLaw",
    "Prediction",
    "Recipe",
    "envelope",
    "fit_both",
    "fit_one",
    "fit_parametric",
    "fit_power_law",
    "iso_flop",
    "mean_log_pass_rate",
    "non_embedding_parameters",
    "optimal_size",
    "predict",
    "recipe_for",
    "resampled",
]
__getattr__, __dir__ = public_names(__name__)
