"""A power law through the mean scores of label budgets, and how far it is followed.

Sources: Hestness et al., arXiv 1712.00409, 2017 and Viering & Loog, IEEE TPAMI 45(6), 2023
(power-law learning curves); Golub & Pereyra, SIAM J. Numer. Anal. 10(2), 1973 (variable
projection).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize


class PowerLaw(NamedTuple):
    """score(n) = a - b · n^(-c) with c > 0 (Hestness et al. 2017).

    b > 0 where more labels raise a score that should be high, b < 0 where they lower a distance.

    >>> law = PowerLaw(a=0.9, b=0.8, c=0.5)
    >>> float(law(4))
    0.5
    """

    a: float
    b: float
    c: float

    def __call__(self, n: float | np.ndarray) -> Any:
        return self.a - self.b * np.asarray(n, dtype=float) ** -self.c


SMALLEST_POWER = 0.05
LARGEST_POWER = 3.0
"""The range in which c is searched."""
_GRID = 25


REACH = 4.0
REACH_OF_THREE = 2.0
"""Multiple of the largest budget up to which a power law is followed: through four budgets or more,
and through three. Up to there its interval covers 0.91 to 0.98; through three budgets it covers
0.89 at 4 times the largest and 0.76 at 16 times (experiments/results/coverage.csv).
"""


def reach(budgets: Sequence[float]) -> float:
    """The largest number of annotated subjects at which a power law through budgets is read.

    >>> reach([4, 8, 16]), reach([4, 8, 16, 32])
    (32.0, 128.0)
    """
    multiple = REACH if len(budgets) > 3 else REACH_OF_THREE
    return float(max(budgets) * multiple)


def fit_power_law(
    budgets: Sequence[float] | np.ndarray,
    means: Sequence[float] | np.ndarray,
    *,
    rising: bool = True,
    top: float = np.inf,
) -> PowerLaw:
    """Least squares over c in [0.05, 3]; for each c, a and b are solved exactly (variable
    projection, Golub & Pereyra 1973).

    Args:
      budgets: at least three numbers of annotated subjects; with three the curve goes through all
        of them where it can.
      means: mean score at each.
      rising: whether b is at least 0 (a score that should be high), else at most 0.
      top: the largest a, where rising.

    >>> law = fit_power_law([4, 16, 64], [0.5, 0.7, 0.8])
    >>> f"{law.a:.2f} - {law.b:.2f} n^-{law.c:.2f}"
    '0.90 - 0.80 n^-0.50'
    """
    n_B = np.asarray(budgets, dtype=float)
    y_B = np.asarray(means, dtype=float)
    if len(n_B) < 3:
        raise ValueError(
            f"a power law has three parameters: it needs three budgets, not {len(n_B)}"
        )

    def squared_error(log_c: float) -> float:
        return _solve(n_B, y_B, log_c, rising, top)[0]

    grid = np.linspace(
        np.log(SMALLEST_POWER),
        np.log(LARGEST_POWER),
        _GRID,
    )
    best = int(np.argmin([squared_error(log_c) for log_c in grid]))
    minimum = scipy.optimize.minimize_scalar(
        squared_error,
        bounds=(grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    refined = _solve(n_B, y_B, float(minimum.x), rising, top)
    on_grid = _solve(
        n_B,
        y_B,
        float(grid[best]),
        rising,
        top,
    )
    return on_grid[1] if on_grid[0] < refined[0] else refined[1]


def _solve(
    n_B: np.ndarray, y_B: np.ndarray, log_c: float, rising: bool, top: float
) -> tuple[float, PowerLaw]:
    """The sum of squared errors of the best law with this c, and the law."""
    sign = 1.0 if rising else -1.0
    x_B = n_B ** -np.exp(log_c)
    dx_B = x_B - x_B.mean()
    b = max(0.0, -sign * float(dx_B @ y_B) / float(dx_B @ dx_B)) * sign
    a = float(y_B.mean() + b * x_B.mean())
    if rising and a > top:
        a = top
        b = max(0.0, float(x_B @ (top - y_B)) / float(x_B @ x_B))
    law = PowerLaw(a, b, float(np.exp(log_c)))
    return float(((law(n_B) - y_B) ** 2).sum()), law
