"""examples.npz of a run, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from semiseg.data.size_limits import check_npz
from semiseg.errors import UserError
from semiseg.run_folder import EXAMPLE_ARRAYS

REMEDY = "delete it, or run `semiseg evaluate` again"


def read_examples(file: Path) -> dict[str, np.ndarray]:
    """The arrays of :data:`semiseg.run_folder.EXAMPLE_ARRAYS`.

    Raises:
      UserError: the file cannot be read, or its arrays do not belong together.
    """
    try:
        check_npz(file)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in EXAMPLE_ARRAYS}
    except Exception as error:  # zipfile, zlib and numpy each have their own
        reason = error.what if isinstance(error, UserError) else type(error).__name__
        raise UserError(f"cannot be read ({reason})", where=file, remedy=REMEDY) from None
    words = _problem(arrays)
    if words:
        raise UserError(words, where=file, remedy=REMEDY)
    return arrays


def _problem(arrays: Mapping[str, np.ndarray]) -> str:
    """What is wrong with the arrays; "" where they belong together.

    >>> images = np.zeros((2, 4, 4), np.uint8)
    >>> arrays = {"image": images, "label": images, "prediction": images[:1]}
    >>> arrays |= {"subject": np.array(["p1", "p2"]), "dice": np.zeros(2)}
    >>> _problem(arrays)
    'its array prediction has the shape (1, 4, 4), and label (2, 4, 4)'
    """
    label = arrays["label"]
    if label.ndim != 3 or not label.size:
        return f"its array label has the shape {label.shape}, which is no row of pictures"
    expected = {"prediction": label.shape, "subject": label.shape[:1], "dice": label.shape[:1]}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            return f"its array {name} has the shape {arrays[name].shape}, and label {label.shape}"
    image = arrays["image"]
    if image.shape[:3] != label.shape or image.shape[3:] not in ((), (3,)):
        return f"its array image has the shape {image.shape}, and label {label.shape}"
    kinds = {"image": "u", "label": "iu", "prediction": "iu", "subject": "U", "dice": "f"}
    odd = next((name for name, kind in kinds.items() if arrays[name].dtype.kind not in kind), "")
    if odd:
        return f"its array {odd} holds {arrays[odd].dtype}"
    return ""
