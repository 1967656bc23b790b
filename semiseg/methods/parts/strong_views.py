"""The two strong views of UniMatch and its second version."""

from __future__ import annotations

from typing import Literal

import jax

from semiseg.augment.mix import jitter
from semiseg.types import Batch

Kind = Literal["strong", "jitter", "weak"]


def two_views(
    batch: Batch,
    kind: Kind,
    k_first: jax.Array,
    k_second: jax.Array,
    jitter_p: jax.Array | float,
    blur_p: jax.Array | float,
) -> tuple[jax.Array, jax.Array]:
    """Two pictures ``(U, *space, C)`` of each unlabelled image, of the same pixels.

    Args:
      batch: its weak and strong views.
      kind: "strong": the trainer's strong view, and one drawn from the weak view by other
        contrast, brightness and blur; "jitter": both are drawn so; "weak": both are the weak view.
      k_first: draws the first view.
      k_second: draws the second view.
      jitter_p: probability of other contrast and brightness.
      blur_p: probability of a blur.
    """
    if kind == "weak":
        return batch.weak, batch.weak
    second = jitter(k_second, batch.weak, jitter_p, blur_p)
    if kind == "jitter":
        return jitter(k_first, batch.weak, jitter_p, blur_p), second
    return batch.strong, second
