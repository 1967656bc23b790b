"""Cross-teaching: two different architectures, each taught with the other's decisions."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import static
from semiseg.losses import Dice
from semiseg.methods.cps import CPS
from semiseg.nets import SwinUnet
from semiseg.types import IGNORE, Model, Net, hyper


@hyper
class CrossTeaching(CPS):
    """Luo et al., MIDL 2022 (equations 2-4): as CPS, with Dice for the cross term and a second
    architecture.

    Loss = Σ criterion(f_i(x_l), y) + w(t) · (Dice(f_1(u), argmax f_2(u)) + Dice(f_2(u), argmax
    f_1(u))). As in the paper the second network is a Swin-Unet; of a third of the published width,
    so that it costs no more than the U-Net it teaches, and never pre-trained (theirs starts from
    ImageNet's weights). Published code squares the probabilities in the Dice's denominator; here
    they are not.

    Attributes:
      other: the second network; trained beside the first, and not part of the result.
    """

    other: Net = static(default=SwinUnet(features=32, heads=(1, 2, 4, 8), window=8))

    title: ClassVar[str] = "cross teaching"
    paper: ClassVar[str] = "Luo et al., MIDL 2022"

    def architectures(self, net: Net) -> tuple[Net, ...]:
        """The networks that it trains: the run's, and the other one."""
        return (net, self.other)

    def second(self, model: Model) -> Model:
        """The second network: the other architecture."""
        return model._replace(net=self.other)

    def teach(
        self,
        pupil: jax.Array,
        other: jax.Array,
        valid: jax.Array,
    ) -> jax.Array:
        """Dice of ``pupil`` against the decision of ``other``."""
        label = jnp.where(valid, jnp.argmax(other, -1), IGNORE)
        return Dice(background=True)(pupil, label)
