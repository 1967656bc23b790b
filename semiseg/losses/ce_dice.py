"""Cross-entropy plus Dice: the default supervised loss."""

from __future__ import annotations

from semiseg.losses.ce import CE
from semiseg.losses.common import WeightedTerms
from semiseg.losses.dice import Dice
from semiseg.types import hyper


@hyper
class CEDice(WeightedTerms):
    """``ce_weight * CE + dice_weight * Dice``; each term keeps its own fields
    (``--method.criterion.dice.squared=True``).

    Attributes:
      ce: the cross-entropy.
      dice: the Dice loss.
      ce_weight: of the cross-entropy.
      dice_weight: of the Dice loss.
    """

    ce: CE = CE()
    dice: Dice = Dice()
    ce_weight: float = 0.5
    dice_weight: float = 0.5


SSL4MIS = CEDice(dice=Dice(squared=True, batch=True, background=True, smooth=1e-5))
"""The supervised loss of the SSL4MIS benchmark: ½(CE + Dice), squared denominators over the batch,
background included.
"""
