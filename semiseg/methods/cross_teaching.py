"""Cross-teaching: two networks of different architecture, each taught with the other's decisions."""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.losses import Dice
from semiseg.methods.cps import CPS
from semiseg.nets import UNet
from semiseg.types import IGNORE, Model, Net, hyper, static


@hyper
class CrossTeaching(CPS):
    """Luo et al., MIDL 2022 (equations 2-4): as CPS, with Dice for the cross term and a second architecture.

    Loss = Σ criterion(f_i(x_l), y) + w(t) · (Dice(f_1(u), argmax f_2(u)) + Dice(f_2(u), argmax f_1(u))). In the paper the networks are a
    U-Net and a transformer; here ``other`` may be any network, by default a U-Net that normalises each image by itself.

    Attributes:
      other: the second network; trained along, and thrown away.
    """

    other: Net = static(default=UNet(norm="instance", activation="gelu"))

    paper: ClassVar[str] = "Luo et al., MIDL 2022"

    def second(self, model: Model) -> Model:
        """The second network: the other architecture."""
        return model._replace(net=self.other)

    def teach(self, pupil: jax.Array, other: jax.Array, valid: jax.Array) -> jax.Array:
        """Dice of ``pupil`` against the decision of ``other``."""
        return Dice(background=True)(pupil, jnp.where(valid, jnp.argmax(other, -1), IGNORE))
