"""Training methods: one file each; this table is all the rest of the code knows of them."""

from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.methods.pseudo_label import PseudoLabel
from semiseg.methods.supervised import Supervised

METHODS = {"supervised": Supervised, "mean_teacher": MeanTeacher, "pseudo_label": PseudoLabel}
