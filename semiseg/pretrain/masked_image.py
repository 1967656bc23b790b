"""Masked images: hide random patches and paint them in from what is around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.methods.parts.heads import channels_of, dims_of, run, stack
from semiseg.pretrain.objective import Objective
from semiseg.types import Aux, Batch, Model, Params, PyTree, hyper


@hyper
class MaskedImage(Objective):
    """Masked image modelling, He et al., CVPR 2022 (MAE), and Xie et al., CVPR 2022 (SimMIM), for a
    convolutional network.

    Loss = 1/|M| Σ over M of (g(f(x · (1 - m))) - x)², with m the patches that are hidden, M their
    pixels inside the frame, and g a 1 × 1 convolution. As in SimMIM the encoder sees the whole grid
    with the patches blanked out; a blank is the mean of the image, to which views are standardised,
    instead of a learnt token. The metric ``explained`` is 1 - loss / (the loss of painting the
    mean): 0 says that nothing is learnt.

    Attributes:
      share: of the patches that is hidden.
      patches: along each side of the window.
    """

    share: float = number(0.6, within=(0, 1))
    patches: int = count(8, at_least=2)

    paper: ClassVar[str] = "He et al., CVPR 2022; Xie et al., CVPR 2022"

    def head(
        self,
        model: Model,
        key: jax.Array,
    ) -> Params:
        widths = (channels_of(model), model.sample.shape[-1])
        return stack(key, widths, (1,), dims_of(model))

    def loss(
        self,
        model: Model,
        params: dict[str, Params],
        memory: PyTree,
        batch: Batch,
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, Aux]:
        k_mask, k_net = jax.random.split(key)
        image = batch.weak
        hidden = mask(k_mask, image.shape[:-1], self.patches, self.share)
        visible = jnp.where(hidden[..., None], 0, image)
        output = model.apply(params["net"], visible, train=True, key=k_net)
        painted = run(params["head"], output.aux["features"])
        counted = (hidden & batch.valid)[..., None]
        values = jnp.maximum(counted.sum(), 1) * image.shape[-1]
        error = (jnp.square(painted - image) * counted).sum() / values
        error_of_the_mean = (jnp.square(jnp.zeros_like(image) - image) * counted).sum() / values
        metrics = {
            "explained": 1 - error / jnp.maximum(error_of_the_mean, 1e-6),
            "error_of_the_mean": error_of_the_mean,
        }
        states = {"net": output.new_state, "head": params["head"].state}
        return error, Aux(
            metrics=metrics,
            state=states,
        )


def mask(
    key: jax.Array,
    shape: Sequence[int],
    patches: int,
    share: jax.Array | float,
) -> jax.Array:
    """Bool ``shape`` ``(B, *space)``: True in a ``share`` (rounded) of the ``patches`` along each
    axis, drawn for each image.

    >>> int(mask(jax.random.key(0), (1, 6, 6), patches=3, share=1 / 3).sum())  # 3 patches of 2 × 2
    12
    """
    images, *space = shape
    cells = patches ** len(space)
    rank = jax.random.uniform(key, (images, cells)).argsort(-1).argsort(-1)
    hidden = rank < jnp.round(share * cells)
    hidden = hidden.reshape(images, *(patches,) * len(space))
    for axis, n in enumerate(space, 1):
        hidden = jnp.take(hidden, jnp.arange(n) * patches // n, axis)
    return hidden
