"""What an hour buys: a gain per hour of annotation and per hour of computing.

The hours are inputs: what one subject costs an annotator, and what runs took. Only the gain has an
interval; hours are taken as they are.

Source: Drummond et al., Methods for the Economic Evaluation of Health Care Programmes, 4th ed.,
2015, chapter 2 (incremental effect over incremental cost).
"""

from __future__ import annotations

from typing import NamedTuple

from semiseg.analysis.curves import Equivalence
from semiseg.analysis.statistics import Interval
from semiseg.errors import UserError


class Rate(NamedTuple):
    """A gain, what it costs more, and the gain of one hour.

    Attributes:
      gain: in the unit of the scores; positive is better.
      hours: what it costs more than the alternative.
      per_hour, low, high: gain of one hour, and its 95 % interval.
    """

    gain: Interval
    hours: float
    per_hour: float
    low: float
    high: float


def gain_per_hour(gain: Interval, hours: float) -> Rate:
    """The gain that one additional hour buys.

    Args:
      gain: paired difference of the two alternatives, positive where the costlier one is better.
      hours: additional hours of the costlier one.

    Raises:
      UserError: it costs no more hours, so that there is no rate.

    >>> rate = gain_per_hour(Interval(0.04, 0.01, 0.07, 9, 3, 20), hours=2.0)
    >>> f"{rate.per_hour:.3f} [{rate.low:.3f}, {rate.high:.3f}] an hour"
    '0.020 [0.005, 0.035] an hour'
    """
    if not hours > 0:
        raise UserError(
            f"the alternative costs {hours:g} hours more, so a gain per hour has no meaning",
            remedy="compare with the cheaper alternative",
        )
    return Rate(gain, hours, gain.mean / hours, gain.low / hours, gain.high / hours)


def hours_saved(
    equivalence: Equivalence,
    labels: float,
    minutes: float,
) -> tuple[float, float, float]:
    """Hours of annotation that a setting saves: estimate, and the ends of its 95 % interval.

    0 labels ("fewer than the smallest budget") and inf ("more than the largest") are counted as the
    smallest and the largest budget: the saving is then at most, or at least, what is returned.

    Args:
      equivalence: labels with which the baseline scores the same.
      labels: annotated subjects that the setting was given.
      minutes: of annotation that one subject costs.

    >>> hours_saved(Equivalence(12.0, 8.0, float("inf"), 4.0, 32.0), labels=8, minutes=30)
    (2.0, 0.0, 12.0)
    """
    hours = []
    for n in (equivalence.labels, equivalence.low, equivalence.high):
        within = min(max(n, equivalence.smallest), equivalence.largest)
        hours.append((within - labels) * minutes / 60)
    return hours[0], hours[1], hours[2]
