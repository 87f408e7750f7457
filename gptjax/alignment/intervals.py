"""The interval of a share whose items hang together: comparisons of one prompt, and such.

low, high = wilson_interval([3, 0, 2], [3, 2, 2])   # 5 of 7, of three prompts
"""

import math

import numpy as np
import numpy.typing as npt
import scipy.stats

_Z = 1.959963984540054  # the 97.5% quantile of the standard normal distribution


def wilson_interval(right: npt.ArrayLike, total: npt.ArrayLike) -> tuple[float, float]:
    """95% interval of sum(right) / sum(total), with all items of a cluster as dependent.

    It is Wilson's interval (1927) of an effective number of items: the number of independent ones
    whose share would have the variance that the ratio has over clusters (Cochran 1977, "Sampling
    Techniques", equation 6.13), at most the real one. Where clusters have several items, that
    variance is an estimate of G clusters, and the number is lowered by what it may be off (Korn and
    Graubard 1998, Survey Methodology 24). If the variance is 0, or there is one cluster, each
    cluster counts as one item.

    Near 0 and 1 a few exceptions cannot show that items hang together: with 60 clusters of five,
    half of whose variance is between them, the interval of 0.97 holds it in 91% of cases.

    Args:
      right: [G], each cluster's items that count, such as comparisons in the annotators' order.
      total: [G], each cluster's items.
    """
    right, total = np.asarray(right, np.float64), np.asarray(total, np.float64)
    clusters, items = int(np.count_nonzero(total)), float(total.sum())
    share = float(right.sum()) / items
    # Whole numbers, but for ties' halves: exactly 0 where all clusters have the same share.
    gaps = right * items - right.sum() * total
    variance = float(np.square(gaps).sum()) / items**4
    size = float(clusters)
    if variance > 0 and clusters > 1:
        size = share * (1 - share) / variance
        if items > clusters:
            known, estimated = scipy.stats.t.ppf(0.975, [items - 1, clusters - 1])
            size *= (clusters - 1) / clusters * float(known / estimated) ** 2
        size = min(size, items)
    centre = (share + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = _Z / (1 + _Z**2 / size) * math.sqrt(share * (1 - share) / size + (_Z / (2 * size)) ** 2)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return min(low, share), max(high, share)  # which rounding alone can leave out, at 0 and 1
