"""ABD: two networks learn from copy-pasted pictures and from each other, and once more from
pictures in which patches that one is unsure of are overwritten by patches that the other is sure
of.
"""

from __future__ import annotations

from typing import ClassVar

import jax
import jax.numpy as jnp

from semiseg.fields import count, number
from semiseg.methods.bcp import Mix
from semiseg.methods.co_training import CoTraining, Seen
from semiseg.methods.parts.displacement import displaced
from semiseg.types import hyper


@hyper
class ABD(CoTraining):
    """Adaptive bidirectional displacement, Chi et al., CVPR 2024, on BCP.

    The mixes of BCP are made twice, of the weak views for the first network and of strong ones for
    the second, with one box and the pseudo-labels of one teacher, the average of the first. To the
    loss of BCP for each network, cross · Dice against the argmax of the other is added twice: on
    the mixes; and, by both networks, on the displaced mixes. Those are each network's mixes in
    which the patch with the least confidence, the mean of max p, is overwritten by one of the other
    network's mix of the same images: its most confident patch, or with probability ``nearest`` that
    of the ``candidates`` most confident whose class distribution is nearest, by KL of the mean
    logits. In the pre-training there is no cross term. The first network is evaluated.

    Differences from the published code: as for BCP, and there one network is pre-trained and both
    begin as copies of it, while here each has a start of its own. The strong view of a labelled
    image is drawn by contrast and brightness; there it also has cut-outs, labelled as background.
    Pixels that a view does not show, outside its frame or under a cut-out, teach nothing. The
    displaced pictures pass in sets of the size of the mixes, there all at once. The paper's second
    displacement, of labelled images by inverse confidence, is not in its code on BCP, and not here.
    Where an axis is no multiple of ``patches`` it is cut into fewer.

    Attributes:
      patches: along each axis of a picture.
      candidates: the most confident patches, of which the nearest is taken.
      nearest: probability that an image takes the nearest instead of the most confident.
    """

    patches: int = count(4, at_least=1)
    candidates: int = count(4, at_least=1)
    nearest: float = number(0.5, within=(0, 1))

    title: ClassVar[str] = "ABD"
    paper: ClassVar[str] = "Chi et al., CVPR 2024"
    passes: ClassVar[str] = "3 L + 3 U | 2 U"
    remade: ClassVar[str] = "displaced"

    def remake(self, mixes: Seen, key: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Pictures ``(m, *space, C)`` with displaced patches, and which of their pixels are known:
        those of the first network's mixes, then those of the second's.
        """
        nearest = jax.random.uniform(key, (2, len(mixes["net"][0].logits))) < self.nearest
        sets = []
        for name, other in (("net", "other"), ("other", "net")):
            for a, b, chosen in zip(mixes[name], mixes[other], nearest, strict=True):
                both = displaced(
                    _with_known(a),
                    _with_known(b),
                    a.logits,
                    b.logits,
                    chosen,
                    most=self.patches,
                    candidates=self.candidates,
                )
                sets.append((both[..., :-1], both[..., -1] > 0))
        return sets


def _with_known(mix: Mix) -> jax.Array:
    """The pictures with their known pixels, 1 and 0, as a last channel: what moves together."""
    known = mix.known[..., None].astype(mix.picture.dtype)
    return jnp.concatenate([mix.picture, known], -1)
