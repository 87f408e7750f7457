"""The parametric law of Chinchilla, L(N, D) = E + A / N^alpha + B / D^beta, and its fit.

law = fit_parametric(parameters, tokens, losses)
law.optimum(5.76e23)

Source: Hoffmann et al. 2022 (arXiv 2203.15556), section 3.3 and appendix D.4: L-BFGS from a grid of
starts on the Huber loss of the error of log L, which is a log-sum-exp of the three terms. Besiroglu
et al. 2024 (arXiv 2404.10102) showed that the published parameters are no optimum: the Huber loss
was averaged over points, so that L-BFGS met its tolerance early. `Fitting` has both choices.
"""

import dataclasses
import itertools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import logsumexp

from gptjax.scaling.power_laws import Floats

DELTA = 1e-3  # where the Huber loss turns from a square into a line
GRID = (
    np.arange(0.0, 26.0, 5.0),  # log A
    np.arange(0.0, 26.0, 5.0),  # log B
    np.arange(-1.0, 1.1, 0.5),  # log E
    np.arange(0.0, 2.1, 0.5),  # alpha
    np.arange(0.0, 2.1, 0.5),  # beta
)


@dataclasses.dataclass(frozen=True)
class ParametricLaw:
    """L(N, D) = E + A / N^alpha + B / D^beta, in nats per token.

    Attributes:
      a, b, e: A, B and E.
      alpha, beta: the exponents of parameters and of tokens.
      objective: the sum of Huber losses over its points; NaN of published parameters.
      converged: whether the search met its tolerance.
    """

    a: float
    b: float
    e: float
    alpha: float
    beta: float
    objective: float = float("nan")
    converged: bool = True

    def __call__(self, parameters: ArrayLike, tokens: ArrayLike) -> Any:
        """The loss of models of so many parameters after so many tokens."""
        n, d = np.asarray(parameters, float), np.asarray(tokens, float)
        return self.e + self.a / n**self.alpha + self.b / d**self.beta

    @property
    def exponent(self) -> float:
        """a of N_opt ~ C^a (equation 4): beta / (alpha + beta)."""
        return self.beta / (self.alpha + self.beta)

    def optimum(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens with the lowest loss where 6 N D = flops (equation 4)."""
        ratio = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = ratio * (flops / 6) ** self.exponent
        return parameters, flops / 6 / parameters


PUBLISHED = ParametricLaw(406.4, 410.7, 1.69, 0.34, 0.28)  # arXiv 2203.15556, equation 10
REPLICATED = ParametricLaw(482.01, 2085.43, 1.8169, 0.3478, 0.3658)  # arXiv 2404.10102
# Standard errors of the replication, in the order A, B, E, alpha, beta.
REPLICATED_ERRORS = (124.5, 1293.0, 0.026, 0.015, 0.021)


@dataclasses.dataclass(frozen=True)
class Fitting:
    """How the law is searched.

    Attributes:
      average: whether Huber losses are averaged over points, not summed, as Chinchilla did.
      function_tolerance: L-BFGS stops where a step gains less than this share of the objective, or
        of 1 where that is smaller; SciPy's own is 2.2e-9.
      starts: float[s, 5] of log A, log B, log E, alpha, beta; None: the paper's grid of 4,500.
      searched: only so many starts, those that fit best, are searched from; None: all.
    """

    average: bool = False
    function_tolerance: float = 1e-16
    starts: Floats | None = None
    searched: int | None = 40


def fit_parametric(
    parameters: ArrayLike, tokens: ArrayLike, losses: ArrayLike, fitting: Fitting | None = None
) -> ParametricLaw:
    """Fits the law to runs.

    Args:
      parameters, tokens: float[n], N and D.
      losses: float[n], in nats per token.
      fitting: how.

    Raises:
      ValueError: fewer than 5 runs, or all of one N or of one D.
    """
    fitting = fitting or Fitting()
    n, d, losses = (np.asarray(each, float) for each in (parameters, tokens, losses))
    sizes, lengths = len(np.unique(n)), len(np.unique(d))
    if len(n) < 6 or sizes < 3 or lengths < 3:
        raise ValueError(
            f"runs: got {len(n)} of {sizes} sizes and {lengths} numbers of tokens, expected at "
            "least 6 of 3 sizes and 3 numbers of tokens for a law of 5 parameters"
        )
    points = np.log(n), np.log(d), np.log(losses)
    starts = fitting.starts
    if starts is None:
        starts = np.array(list(itertools.product(*GRID)))
    scale = 1 / len(n) if fitting.average else 1.0
    if fitting.searched is not None and len(starts) > fitting.searched:
        at_start = [_objective(start, *points, scale)[0] for start in starts]
        starts = starts[np.argsort(at_start, kind="stable")[: fitting.searched]]
    options = {"ftol": fitting.function_tolerance, "gtol": 1e-9, "maxiter": 10000, "maxfun": 20000}
    found = min(
        (
            minimize(_objective, start, (*points, scale), "L-BFGS-B", jac=True, options=options)
            for start in starts
        ),
        key=lambda found: found.fun,
    )
    log_a, log_b, log_e, alpha, beta = found.x
    a, b, e = (float(np.exp(each)) for each in (log_a, log_b, log_e))
    return ParametricLaw(
        a, b, e, float(alpha), float(beta), float(found.fun / scale), found.success
    )


def _objective(
    values: Floats, log_n: Floats, log_d: Floats, log_loss: Floats, scale: float
) -> tuple[float, Floats]:
    """The Huber loss of errors of log L, and its gradient."""
    log_a, log_b, log_e, alpha, beta = values
    terms = np.stack([log_a - alpha * log_n, log_b - beta * log_d, np.full_like(log_n, log_e)])
    predicted = np.asarray(logsumexp(terms, axis=0))
    error = predicted - log_loss
    small = np.abs(error) <= DELTA
    huber = np.where(small, 0.5 * error**2, DELTA * (np.abs(error) - 0.5 * DELTA))
    slope = np.clip(error, -DELTA, DELTA)
    of_a, of_b, of_e = np.exp(terms - predicted) * slope
    gradient = [of_a.sum(), of_b.sum(), of_e.sum(), -(of_a * log_n).sum(), -(of_b * log_d).sum()]
    return scale * float(huber.sum()), scale * np.array(gradient)
