"""YAML of strangers: limited in length, in depth and in what its aliases stand for."""

from __future__ import annotations

from typing import Any

import yaml

LONGEST = 1 << 22
"""Letters that are read: a configuration has thousands."""
MOST_PARTS = 1 << 20
"""Values in a file, its aliases written out: a kilobyte of aliases can stand for gigabytes."""


def content_of(text: str) -> Any:
    """What a YAML text holds.

    >>> content_of("a: &first [1, 2]\\nb: *first")
    {'a': [1, 2], 'b': [1, 2]}

    Raises:
      ValueError: it is too long or nested too deep, or its aliases stand for too much.
      yaml.YAMLError: it is no YAML.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{len(text):,} letters, and {LONGEST:,} are the most that are read")
    try:
        # the loader in C is ten times as fast, and as safe
        content = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if "&" in text and _parts(content, {}) > MOST_PARTS:
            raise ValueError(f"its aliases stand for more than {MOST_PARTS:,} values")
    except RecursionError:
        raise ValueError("brackets in brackets, too deep to read") from None
    return content


def _parts(content: Any, counted: dict[int, int]) -> int:
    """Values in a value; each is counted once, however often it is named.

    Raises:
      ValueError: a list or a mapping holds itself.

    >>> inner = [1, 2]
    >>> _parts([inner, inner], {})
    7
    """
    if not isinstance(content, dict | list | set):
        return 1
    if id(content) not in counted:
        counted[id(content)] = -1
        values = content.values() if isinstance(content, dict) else content
        counted[id(content)] = 1 + sum(_parts(value, counted) for value in values)
    if counted[id(content)] < 0:
        raise ValueError("an alias stands for a part that holds it")
    return counted[id(content)]
