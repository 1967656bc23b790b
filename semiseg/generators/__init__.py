"""Generators: synthetic image-mask pairs, fitted on the same label budget as the segmenter and
checked before they are used.

    semiseg gan fit --data nuclei --labels 32 --out G        semiseg/generators/fit.py, through the one program of program.py
    semiseg gan sample G --n 200 --out S                     sample.py, with the mask sources of masks.py and vae.py
    semiseg gan card S --data nuclei                         card.py

A generator is a frozen dataclass: ``init`` gives its weights, ``encode`` the style code of an
image, ``apply`` an image for a mask, a code and ``noises`` normal numbers. Adding one is its file,
a line here, and a row in tests/generators.
"""

from semiseg.generators.joint import Joint
from semiseg.generators.pix2pix import Pix2Pix
from semiseg.generators.spade import Spade

GENERATORS: dict[str, type] = {"spade": Spade, "pix2pix": Pix2Pix, "joint": Joint}
