"""Which image–mask pairs can be generated from a label budget, and how good are they?

    semiseg gan fit --data nuclei --labels 32 --out G     fit.py: the common loop trains the one
                                                          program of gan_program.py
    semiseg gan sample G --n 200 --out S                  sample.py, with the masks of
                                                          mask_sources.py
    semiseg gan card S --data nuclei                      quality_report.py
    synthetic: make:spade                                 ratio.py makes the set of a trial

A generator is a frozen dataclass: ``init`` gives its weights, ``encode`` the style code of an
image, ``apply`` an image for a mask, a code and ``noises`` normal numbers. Adding one is its file,
a line here, and a row in tests/generators.
"""

from semiseg import plugins
from semiseg.generators.joint import Joint
from semiseg.generators.pix2pix import Pix2Pix
from semiseg.generators.spade import Spade

GENERATORS: dict[str, type] = {"spade": Spade, "pix2pix": Pix2Pix, "joint": Joint}
"""Every generator by its name."""
plugins.offer("generator", GENERATORS)
