"""Initial weights of a run: fresh, pre-trained on the images of its own training pool without a
label, or read from a file.

    # pre-trained once for all trials of a sweep
    semiseg train … --init masked_image --init_steps 2000
    semiseg train … --init dense_contrastive --init.pixels 128
    # the weights of a finished run, or a .safetensors file
    semiseg train … --init runs/other

An objective is a task of the training program (``semiseg.types.Task``) whose batch has no labelled
image, so that the one compiled trainer, its checkpoints and its resumption serve it. It is no
segmentation method and stands in a table of its own. Adding one is its file, a line here and a row
in tests/test_pretrain.py.
"""

from semiseg import plugins
from semiseg.pretrain.dense_contrastive import DenseContrastive
from semiseg.pretrain.initial import Fresh, Weights
from semiseg.pretrain.masked_image import MaskedImage
from semiseg.pretrain.objective import Objective

OBJECTIVES: dict[str, type[Objective]] = {
    "masked_image": MaskedImage,
    "dense_contrastive": DenseContrastive,
}
INITS: dict[str, type] = {"none": Fresh, **OBJECTIVES, "weights": Weights}
for table in (OBJECTIVES, INITS):
    plugins.offer("objective", table)
