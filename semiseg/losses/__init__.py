"""Segmentation losses: ``Loss()(logits, label) -> scalar``. Adding one = its file + one line in
LOSSES.
"""

from semiseg import plugins
from semiseg.losses.boundary import Boundary
from semiseg.losses.ce import CE
from semiseg.losses.ce_dice import SSL4MIS, CEDice
from semiseg.losses.common import masked_mean, softmax_mse
from semiseg.losses.dice import Dice
from semiseg.losses.focal import Focal
from semiseg.losses.focal_tversky import FocalTversky
from semiseg.losses.ga import GA
from semiseg.losses.ga_ce import GACE
from semiseg.losses.ga_dice import GADice
from semiseg.losses.generalised_dice import GeneralisedDice
from semiseg.losses.hausdorff_dt import HausdorffDT
from semiseg.losses.tversky import Tversky

LOSSES = {
    "ce": CE,
    "dice": Dice,
    "ce_dice": CEDice,
    "focal": Focal,
    "tversky": Tversky,
    "focal_tversky": FocalTversky,
    "generalised_dice": GeneralisedDice,
    "ga": GA,
    "ga_ce": GACE,
    "ga_dice": GADice,
    "boundary": Boundary,
    "hausdorff_dt": HausdorffDT,
}
plugins.offer("loss", LOSSES)

__all__ = [
    "CE",
    "GA",
    "GACE",
    "LOSSES",
    "SSL4MIS",
    "Boundary",
    "CEDice",
    "Dice",
    "Focal",
    "FocalTversky",
    "GADice",
    "GeneralisedDice",
    "HausdorffDT",
    "Tversky",
    "masked_mean",
    "softmax_mse",
]
