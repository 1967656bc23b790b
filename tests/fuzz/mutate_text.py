"""Changes of text files by their structure: JSON, tables, lists of names."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from fuzz.engine import Tree
from fuzz.mutate_bytes import any_bytes

VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e400,
    float("nan"),
    10**30,
    "",
    " ",
    "x",
    "0",
    "../../secret",
    "/etc/passwd",
    "a" * 5000,
    "\ud800",
    "a\nb",
    "\x1b[31m",
    "=1+1",
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": {"b": []}},
)
"""What may stand where something else is expected."""
CELLS = (
    "",
    " ",
    "nan",
    "inf",
    "-1",
    "0",
    "1e-30",
    "1e30",
    "train",
    "test",
    "val",
    "Train",
    "../../secret",
    "a" * 5000,
    '"',
    '"a\nb"',
    "\x00",
    "\x1b[31m",
    "=cmd()",
    "n/a",
    "p1",
    "é",
)
DEEP = "[" * 2000


def text(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a text by its structure, or any of its bytes."""
    if rng.random() < 0.2:
        return any_bytes(content, rng)
    start = content.lstrip()[:1]
    if start in (b"{", b"["):
        return of_json(content, rng)
    return lines(content, rng)


# ------------------------------------------------------------------ JSON
def of_json(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change one value, key or member of a JSON text."""
    try:
        value = json.loads(content)
    except ValueError:
        return any_bytes(content, rng)
    how = rng.choice(("value", "value", "value", "removed", "key", "doubled", "deep", "comma"))
    if how == "deep":
        return DEEP.encode(), "2,000 brackets"
    if how == "comma":
        place = rng.randrange(len(content) + 1)
        return content[:place] + b"," + content[place:], f"a comma at {place}"
    places = list(_places(value))
    holder, key = rng.choice(places)
    words = f"{how} at {key!r}"
    if how == "value":
        other = rng.choice(VALUES)
        holder[key] = other
        words += f": {str(other)[:40]!r}"
    elif how == "removed":
        del holder[key]
    elif how == "key" and isinstance(holder, dict):
        name = rng.choice(CELLS)
        holder[name] = holder.pop(key)
        words += f": {name[:40]!r}"
    elif isinstance(holder, list):
        holder.insert(key, holder[key])
    return json.dumps(value).encode(), f"JSON {words}"


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Each container in a value with a key of it; the value itself is in a list of its own."""
    places: list[tuple[Any, Any]] = []
    keys: Any = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        places.append((value, key))
        places += _places(value[key])
    return places


# ------------------------------------------------------------------ tables and lists
def lines(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change a line or a cell of a table, or a name of a list."""
    decoded = content.decode("utf-8", "replace")
    rows = decoded.split("\n")
    separator = "\t"
    if "\t" not in decoded:
        separator = ","
    which = rng.randrange(len(rows))
    how = rng.choice(HOW)
    if how == "cell":
        cells = rows[which].split(separator)
        value = rng.choice(CELLS)
        cells[rng.randrange(len(cells))] = value
        rows[which] = separator.join(cells)
        words = f"a cell of line {which} is {value[:40]!r}"
        return "\n".join(rows).encode(), words
    if how == "column":
        place = rng.randrange(len(rows[0].split(separator)))
        for number, row in enumerate(rows):
            cells = row.split(separator)
            del cells[place : place + 1]
            rows[number] = separator.join(cells)
    elif how == "removed":
        del rows[which]
    elif how == "doubled":
        rows.insert(which, rows[which])
    elif how == "longer":
        rows[which] += separator + "more"
    elif how == "header":
        rows[0] = rows[0].upper()
    elif how == "exchanged":
        other = rng.randrange(len(rows))
        first = rows[which]
        rows[which] = rows[other]
        rows[other] = first
    changed = "\n".join(rows)
    if how == "separator":
        changed = changed.replace(separator, ";")
    encoding = "utf-8"
    if how == "encoding":
        encoding = rng.choice(("utf-16", "utf-8-sig", "utf-32"))
    if how == "ends":
        changed = changed.replace("\n", rng.choice(("\r\n", "\r", "\n\n", "\x0b")))
    return changed.encode(encoding), f"{how} of line {which}"


HOW = (
    "cell",
    "cell",
    "cell",
    "cell",
    "column",
    "removed",
    "doubled",
    "longer",
    "header",
    "exchanged",
    "separator",
    "encoding",
    "ends",
)


# ------------------------------------------------------------------ folders
def folder(tree: Tree, rng: Random) -> str:
    """Remove, rename, exchange, double or link files of a folder."""
    names = sorted(tree)
    name = rng.choice(names)
    how = rng.choice(("removed", "renamed", "exchanged", "doubled", "link", "outside", "moved"))
    content = tree[name]
    if how == "doubled":
        tree[name + rng.choice((".bak", ".nii", "~", ".tmp"))] = content
    elif how == "exchanged":
        other = rng.choice(names)
        tree[name] = tree[other]
        tree[other] = content
    elif how == "outside":
        tree[name] = rng.choice(("/etc/passwd", "../../../secret", "/dev/zero", "."))
    else:
        del tree[name]
        parent, _, last = name.rpartition("/")
        if how == "renamed":
            strange = rng.choice(
                ("._" + last, last.upper(), "a\nb" + last, "$x_^{" + last, "é" + last)
            )
            tree[f"{parent}/{strange}".lstrip("/")] = content
        elif how == "moved":
            tree[f"{parent}/more/{last}".lstrip("/")] = content
        elif how == "link":
            tree[f"{name}.moved"] = content
            tree[name] = f"{last}.moved"
    return f"{name} {how}"
