"""The even average of the last iterates of a training, which may be evaluated in place of the last.

Stochastic weight averaging (Izmailov et al., UAI 2018, algorithm 1, with every step averaged) after
a share of the training, under the learning rate's own schedule. Normalisation statistics are
averaged as the weights are, and not computed anew with the averaged weights.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from semiseg.types import Params


class Late(NamedTuple):
    """An average that grows.

    Attributes:
      average: of the network that is trained; of a student and its teacher, the student.
      iterates: float32, how many iterates it is the mean of.
    """

    average: Params
    iterates: jax.Array


def nothing(params: Params) -> Late:
    """An average of no iterate, shaped like ``params``."""
    return Late(params, jnp.float32(0))


def grown(
    late: Late,
    params: Params,
    progress: jax.Array,
    share: jax.Array | float,
    anew: jax.Array | None = None,
) -> Late:
    """The average with the iterate after a step, or without it before the last ``share``.

    Args:
      late: the average before.
      params: the iterate.
      progress: share of the training that is done with this step.
      share: of the training, at its end, that is averaged.
      anew: whether ``params`` are of a fresh network, of which the average then is; None: no.

    >>> params = [Params(jnp.float32(x), ()) for x in (9.0, 1.0, 3.0)]
    >>> late = nothing(params[0])
    >>> for i, iterate in enumerate(params):
    ...     late = grown(late, iterate, jnp.float32((i + 1) / 3), 0.5)
    >>> float(late.average.weights), float(late.iterates)
    (2.0, 2.0)
    """
    before = late.iterates if anew is None else jnp.where(anew, 0.0, late.iterates)
    is_late = progress > 1.0 - share
    count = jnp.where(is_late, before + 1.0, before)
    part = jnp.where(is_late, 1.0 / jnp.maximum(count, 1.0), 0.0)
    average = jax.tree.map(
        lambda a, new: (a + part * (new - a)).astype(a.dtype), late.average, params
    )
    return Late(average, count)


def chosen(late: Late, otherwise: Params) -> Params:
    """The average, or ``otherwise`` where it is of nothing yet."""
    return jax.tree.map(lambda a, b: jnp.where(late.iterates > 0, a, b), late.average, otherwise)
