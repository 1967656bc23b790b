"""β-FFT: two networks learn from copy-pasted pictures and from each other, and once more from
pictures whose low frequencies are exchanged between the two views; one of them is trained further.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from semiseg.augment.fourier import with_amplitude, with_low_frequencies
from semiseg.augment.mix import partner
from semiseg.fields import number
from semiseg.losses import softmax_mse
from semiseg.methods.co_training import CoTraining, Seen, View
from semiseg.methods.ict import mix
from semiseg.methods.parts.ramps import gaussian_ramp
from semiseg.methods.parts.terms import supervised_loss
from semiseg.types import Batch, Model, Params, PyTree, hyper

EXCHANGES = {"parts": with_low_frequencies, "amplitudes": with_amplitude}


@hyper
class BetaFFT(CoTraining):
    """Nonlinear interpolation and differentiated training, Hu et al., CVPR 2025, as in its code for
    ACDC.

    The mixes of BCP are made twice, of the weak views for the first network and of strong ones for
    the second, with one box and the pseudo-labels of one teacher, the average of the first. To the
    loss of BCP for each network, cross · Dice against the argmax of the other is added twice: on
    the mixes; and, by both networks, on the mixes of one view with the low frequencies of the other
    view's (nonlinear interpolation). Only the first network is trained further (differentiated
    training), on weak and on strong views: extra · criterion on the labelled images, and v(t) ·
    ||p(λ u1 + (1 - λ) u2) - (λ q1 + (1 - λ) q2)||² on unlabelled ones, with q the teacher's
    probability and a λ ~ Beta(alpha, alpha) for each image; v(t) = interpolation · exp(-5 (1 -
    t)²). In the pre-training there are neither cross nor further terms. The first network is
    evaluated.

    Differences from the published code (the paper's equations were not compared): as for BCP, and
    there one network is pre-trained and both begin as copies of it, while here each has a start of
    its own. The low-frequency part of a picture there loses its sign. Each unlabelled image is
    mixed with the next one, there one half of them with the other. The strong view of a labelled
    image is drawn by contrast and brightness; there it also has cut-outs, labelled as background.
    Pixels that a view does not show, outside its frame or under a cut-out, teach nothing. Pictures
    pass in sets of the size of the mixes, there all at once.

    Attributes:
      side: of the box, share of each axis.
      ramp: share of the training after the pre-training at whose end v(t) is ``interpolation``; no
        other weight ramps.
      share: how many frequencies are low: those of at most this share of the shorter side, in
        periods an image, along both axes.
      exchange: "parts": the low frequencies with their phases, as published; "amplitudes": without
        them, so that shapes stay.
      extra: weight of the further criterion on labelled images.
      interpolation: weight of the mixed images at the end of its ramp.
      alpha: of the Beta distribution; where it is small, λ is nearly always close to 0 or to 1.
    """

    side: float = number(0.6, within=(0, 1))
    ramp: float = number(1.0, at_least=0)
    share: float = number(30 / 256, within=(0, 0.5))
    exchange: Literal["parts", "amplitudes"] = "parts"
    extra: float = number(1.0, at_least=0)
    interpolation: float = number(0.5, at_least=0)
    alpha: float = number(0.1, above=0)

    title: ClassVar[str] = "β-FFT"
    paper: ClassVar[str] = "Hu et al., CVPR 2025"
    passes: ClassVar[str] = "5 L + 5 U | 2 U"
    remade: ClassVar[str] = "exchanged"

    def remake(self, mixes: Seen, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Pictures ``(m, *space, C)`` with exchanged low frequencies, and the pixels that both
        views know: those of the first network's mixes, then those of the second's.
        """
        with_low = jax.vmap(EXCHANGES[self.exchange], (0, 0, None))
        sets = []
        for name, other in (("net", "other"), ("other", "net")):
            for a, b in zip(mixes[name], mixes[other], strict=True):
                picture = with_low(a.picture, b.picture, self.share)
                sets.append((picture, a.known & b.known))
        return sets

    def train_first(
        self,
        model: Model,
        params: Params,
        batch: Batch,
        views: dict[str, View],
        key: jax.Array,
        progress: jax.Array,
    ) -> tuple[jax.Array, dict[str, jax.Array], PyTree]:
        labelled = jnp.float32(0)
        mixed = jnp.float32(0)
        for i, view in enumerate(views.values()):
            k_labelled, k_mix, k_mixed = jax.random.split(jax.random.fold_in(key, i), 3)
            n = len(view.labelled)
            weight = None if batch.weight is None else batch.weight[:n]
            output = model.apply(params, view.labelled, train=True, key=k_labelled)
            labelled += supervised_loss(self.criterion, output, batch.label[:n], weight)
            params = params._replace(state=output.new_state)
            of_own = jax.random.beta(k_mix, self.alpha, self.alpha, (n,))
            of_own = of_own.reshape(-1, *(1,) * (view.unlabelled.ndim - 1))
            output = model.apply(params, mix(view.unlabelled, of_own), train=True, key=k_mixed)
            target = mix(view.probability, of_own)
            both_valid = view.valid & partner(view.valid)
            mixed += softmax_mse(jax.nn.softmax(output.logits), target, both_valid)
            params = params._replace(state=output.new_state)
        rest = jnp.maximum(1 - jnp.asarray(self.pretrain), 1e-8)
        v = self.interpolation * gaussian_ramp((progress - self.pretrain) / rest, self.ramp)
        metrics = {"further": labelled, "interpolated": mixed, "interpolation_weight": v}
        return self.extra * labelled + v * mixed, metrics, params.state
