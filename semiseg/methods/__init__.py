"""Training methods: one file each; this table is all the rest of the code knows of them."""

from semiseg import plugins
from semiseg.methods.abd import ABD
from semiseg.methods.ad_mt import ADMT
from semiseg.methods.bcp import BCP
from semiseg.methods.beta_fft import BetaFFT
from semiseg.methods.cct import CCT
from semiseg.methods.cps import CPS
from semiseg.methods.cross_teaching import CrossTeaching
from semiseg.methods.dan import DAN
from semiseg.methods.dtc import DTC
from semiseg.methods.entropy_minimisation import EntropyMinimisation
from semiseg.methods.fixmatch import FixMatch
from semiseg.methods.ict import ICT
from semiseg.methods.mcnet import MCNet
from semiseg.methods.mean_teacher import MeanTeacher
from semiseg.methods.pi_model import PiModel
from semiseg.methods.pseudo_label import PseudoLabel
from semiseg.methods.r_drop import RDrop
from semiseg.methods.sassnet import SASSNet
from semiseg.methods.sdcl import SDCL
from semiseg.methods.self_training import SelfTraining
from semiseg.methods.ssnet import SSNet
from semiseg.methods.supervised import Supervised
from semiseg.methods.temporal_ensembling import TemporalEnsembling
from semiseg.methods.tracoco import TraCoCo
from semiseg.methods.uamt import UAMT
from semiseg.methods.unimatch import UniMatch
from semiseg.methods.unimatch_v2 import UniMatchV2
from semiseg.methods.urpc import URPC

METHODS = {
    "supervised": Supervised,
    "entropy_minimisation": EntropyMinimisation,
    "pseudo_label": PseudoLabel,
    "self_training": SelfTraining,
    "pi_model": PiModel,
    "temporal_ensembling": TemporalEnsembling,
    "mean_teacher": MeanTeacher,
    "uamt": UAMT,
    "ict": ICT,
    "r_drop": RDrop,
    "cct": CCT,
    "cps": CPS,
    "cross_teaching": CrossTeaching,
    "urpc": URPC,
    "mcnet": MCNet,
    "dtc": DTC,
    "sassnet": SASSNet,
    "dan": DAN,
    "ssnet": SSNet,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
    "unimatch_v2": UniMatchV2,
    "bcp": BCP,
    "ad_mt": ADMT,
    "abd": ABD,
    "sdcl": SDCL,
    "tracoco": TraCoCo,
    "beta_fft": BetaFFT,
}
plugins.offer("method", METHODS)
