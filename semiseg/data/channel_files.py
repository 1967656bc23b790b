"""Channels in files of their own whose names hold a word each, as ``--channel-files`` says it: one
folder is one scan.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from semiseg.data.images import stem_of
from semiseg.errors import UserError


def listed(words: str) -> list[str]:
    """Words separated by commas.

    >>> listed("flair, t1ce")
    ['flair', 't1ce']
    """
    return [word.strip() for word in words.split(",") if word.strip()]


def has_word(stem: str, word: str) -> bool:
    """Whether a name holds a word, whatever its case; a word ends at a letter's or digit's end.

    >>> has_word("BraTS20_001_t1ce", "t1ce"), has_word("BraTS20_001_t1ce", "t1")
    (True, False)
    """
    pattern = rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"
    return re.search(pattern, stem, re.IGNORECASE) is not None


def checked(words: Sequence[str], channels: int, trained: Sequence[str]) -> None:
    """Refuse words that are not the channels of a network in their order.

    Args:
      words: of ``predict --channel-files``.
      channels: of the network.
      trained: names of its channels, where they are known.

    Raises:
      UserError: another number, or the network's words in another order.
    """
    where = f"--channel-files {','.join(words)}"
    order = ",".join(trained)
    if len(words) != channels:
        remedy = "name a word for each, in the order of the import"
        if trained:
            remedy = f"its channels are {order}"
        raise UserError(
            f"names {len(words)} channels, the network was trained on {channels}",
            where=where,
            remedy=remedy,
        )
    names = [name.lower() for name in trained]
    typed = [word.lower() for word in words]
    if typed != names and sorted(typed) == sorted(names):
        raise UserError(
            "is another order than that of training", where=where, remedy=f"pass {order}"
        )


def of_folder(folder: Path, files: Sequence[Path], words: Sequence[str]) -> tuple[Path, ...]:
    """The file of each channel among those of a folder, in the order of the words.

    Raises:
      UserError: a word is in no name, or in several.
    """
    chosen: list[Path] = []
    for word in words:
        matching = [path for path in files if has_word(stem_of(path), word)]
        names = ", ".join(sorted(path.name for path in matching or files))
        if not matching:
            raise UserError(
                f"has no file with the word {word} ({names})",
                where=folder,
                remedy="restore it, or correct --channel-files",
            )
        if len(matching) > 1:
            raise UserError(
                f"several files have the word {word} ({names})",
                where=folder,
                remedy="name a longer part of the one that is meant, and give every scan a folder "
                "of its own",
            )
        chosen += matching
    return tuple(chosen)
