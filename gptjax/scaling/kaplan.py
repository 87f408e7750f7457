"""Kaplan's laws of loss: by parameters, by tokens, and by both (arXiv 2001.08361).

law = fit_one(parameters, losses)               # L(N) = (N_c / N)^alpha_N, equation 1.1
law = fit_both(parameters, tokens, losses)      # L(N, D), equation 1.5

N counts no embeddings. The laws have no floor: they hold where the loss is far above it.
"""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from gptjax.scaling.power_laws import Floats, checked_points


@dataclasses.dataclass(frozen=True)
class OneLaw:
    """L(x) = (scale / x)^alpha, in nats per token; x is N, D or C.

    Attributes:
      scale: N_c, D_c or C_c.
      alpha: the exponent, above 0.
      residuals: of log L, a point each.
    """

    scale: float
    alpha: float
    residuals: Floats

    def __call__(self, x: ArrayLike) -> Any:
        """The loss at `x`."""
        return (self.scale / np.asarray(x, float)) ** self.alpha


@dataclasses.dataclass(frozen=True)
class BothLaw:
    """L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D, in nats per token.

    Attributes:
      n_c, alpha_n: of parameters.
      d_c, alpha_d: of tokens.
      residuals: of log L, a point each.
    """

    n_c: float
    alpha_n: float
    d_c: float
    alpha_d: float
    residuals: Floats

    def __call__(self, parameters: ArrayLike, tokens: ArrayLike) -> Any:
        """The loss of models of so many parameters, trained to the best on so many tokens."""
        n, d = np.asarray(parameters, float), np.asarray(tokens, float)
        of_size = (self.n_c / n) ** (self.alpha_n / self.alpha_d)
        return (of_size + self.d_c / d) ** self.alpha_d


# Table 5 of the paper (WebText2, a vocabulary of 50,257).
PUBLISHED_N = OneLaw(8.8e13, 0.076, np.array([]))
PUBLISHED_D = OneLaw(5.4e13, 0.095, np.array([]))


def fit_one(x: ArrayLike, losses: ArrayLike) -> OneLaw:
    """Fits a straight line to log L by log x, with least squares.

    Args:
      x: float[n], above 0.
      losses: float[n], above 0, in nats per token.

    Raises:
      ValueError: fewer than two different x, or losses that do not fall.
    """
    x, losses = checked_points(x, losses, at_least=2)
    slope, at_zero = np.polyfit(np.log(x), np.log(losses), 1)
    if slope >= 0:
        raise ValueError(f"points: got losses that rise as x^{slope:.3g}, expected falling ones")
    alpha = float(-slope)
    scale = float(np.exp(at_zero / alpha))
    law = OneLaw(scale, alpha, np.array([]))
    return dataclasses.replace(law, residuals=np.log(losses) - np.log(law(x)))


def fit_both(parameters: ArrayLike, tokens: ArrayLike, losses: ArrayLike) -> BothLaw:
    """Fits the law of both by least squares of log L, from several starts.

    Args:
      parameters, tokens: float[n], N and D, each of several values.
      losses: float[n], in nats per token.

    Raises:
      ValueError: fewer than 5 runs, or all of one N or of one D.
    """
    n, losses = checked_points(parameters, losses, at_least=2)
    d, _ = checked_points(tokens, losses, at_least=2)
    if len(n) < 5:
        raise ValueError(f"runs: got {len(n)}, expected at least 5 for a law of 4 parameters")

    # The two terms are 1 in size at the middle of the points but for e^of_n and e^of_d, which keeps
    # the parameters apart and of order one.
    middle_n, middle_d, logs = np.log(n).mean(), np.log(d).mean(), np.log(losses)

    def errors(values: Floats) -> Floats:
        of_n, of_d, ratio, alpha_d = values[0], values[1], *np.exp(values[2:])
        terms = of_n - ratio * (np.log(n) - middle_n), of_d - (np.log(d) - middle_d)
        return alpha_d * np.logaddexp(*terms) - logs

    bounds = np.array([(-1e3, 1e3), (-1e3, 1e3), (-5.0, 5.0), (-7.0, 2.0)]).T
    starts = [
        (logs.mean() / 0.1 - apart, logs.mean() / 0.1 + apart, np.log(ratio), np.log(0.1))
        for apart in (-2.0, 0.0, 2.0)
        for ratio in (0.5, 1.0, 2.0)
    ]
    tight = {"xtol": 1e-14, "ftol": 1e-14, "gtol": 1e-14, "bounds": bounds, "max_nfev": 500}
    found = min((least_squares(errors, start, **tight) for start in starts), key=lambda f: f.cost)
    of_n, of_d, log_ratio, log_alpha = found.x
    ratio, alpha_d = np.exp(log_ratio), np.exp(log_alpha)
    n_c, d_c = np.exp(middle_n + of_n / ratio), np.exp(middle_d + of_d)
    return BothLaw(
        float(n_c), float(ratio * alpha_d), float(d_c), float(alpha_d), residuals=-found.fun
    )
