"""A JSON file that describes a data set: read, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semiseg.data.source import first_line
from semiseg.errors import UserError


def read_object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds.

    Raises:
      UserError: the file is missing, cannot be read, or holds something else.
    """
    content = _read(path)
    if not isinstance(content, dict):
        raise UserError("holds no JSON object", where=path, remedy="write it again")
    return content


def read_list(path: Path) -> list[Any]:
    """The list that a JSON file holds.

    Raises:
      UserError: as :func:`read_object`.
    """
    content = _read(path)
    if not isinstance(content, list):
        raise UserError("holds no JSON list", where=path, remedy="write it again")
    return content


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            "not found", where=path, remedy="name the folder that holds it with --source"
        ) from error
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no text, no JSON, digits
        raise UserError(
            f"cannot be read ({first_line(error)})", where=path, remedy="correct or restore it"
        ) from error


def part(content: dict[str, Any], key: str, kind: type, path: Path, needed: bool = True) -> Any:
    """What a JSON object has under a key.

    Args:
      content: the object.
      key, kind: what is asked for, and its Python type.
      path: of the file, for the message.
      needed: refuse an object without it; else an empty ``kind`` is returned.

    Raises:
      UserError: the key is missing, or has something else under it.

    >>> part({"labels": {"background": 0}}, "labels", dict, Path("dataset.json"))
    {'background': 0}
    """
    if key not in content and not needed:
        return kind()
    value = content.get(key)
    if not isinstance(value, kind):
        words = "is no table" if kind is dict else f"is no {kind.__name__}"
        if key not in content:
            words = "is missing"
        raise UserError(f"{key} {words}", where=path, remedy=f"restore {key}")
    return value


def peek(path: Path) -> dict[str, Any]:
    """The object in a file, or an empty one: for telling layouts apart."""
    try:
        return read_object(path)
    except UserError:
        return {}
