"""The gradient-aware loss: GACE plus GADice, for classes of very different sizes."""

from __future__ import annotations

from semiseg.losses.common import WeightedTerms
from semiseg.losses.ga_ce import GACE
from semiseg.losses.ga_dice import GADice
from semiseg.types import hyper


@hyper
class GA(WeightedTerms):
    """``ce_weight * GACE + dice_weight * GADice`` (Qi et al., ECCV 2024, on labelled images); each
    term keeps its own fields (``--method.criterion.ce.gamma=0.3``).

    Attributes:
      ce: the gradient-aware cross-entropy.
      dice: the gradient-aware Dice loss.
      ce_weight: of the cross-entropy; published is 1 for both: with SGD, twice the learning rate.
      dice_weight: of the Dice loss.
    """

    ce: GACE = GACE()
    dice: GADice = GADice()
    ce_weight: float = 0.5
    dice_weight: float = 0.5
