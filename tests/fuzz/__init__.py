"""Mutated inputs of every file that the product reads, and what must come of them.

``make fuzz`` runs 20,000 with a fresh seed; ``make test`` runs a few of each kind. See
:mod:`fuzz.engine` for what a kind is, and how to add one.
"""

import sys
from pathlib import Path

# tiny data sets of every layout are those of the tests of the data layer
sys.path.append(str(Path(__file__).resolve().parents[1] / "data"))
