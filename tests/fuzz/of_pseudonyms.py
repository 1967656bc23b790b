"""Keys and tables of people through ``semiseg data import --pseudonyms``: the set holds pseudonyms
made with the key that the file states, and no name.
"""

from __future__ import annotations

import base64
import csv
import hmac
import io
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fuzz import mutate_bytes, mutate_text
from fuzz.engine import DIFFERENT, FAILURE, SAME, Kind, Place, Tree, Verdict, judged, written
from fuzz.of_sets import IMPORTS, command_of

PEOPLE = tuple(f"Zoe Quill{number}" for number in range(5))
KEY = bytes(range(32))
NAMES = (b"Zoe Quill", b"zq_scan")
"""How the names of all people and of all files begin."""
A_NUMBER = "-3"
ODD = ("=1+1", "@SUM(A1)", "-1+1", "+1+cmd", "＝1", "'=1", A_NUMBER, "<b>", "a;=1", "\x1b[2J")
"""Names of people that a spreadsheet or a terminal would act on."""
KEYS = (
    b"",
    b"\n\n",
    b"00" * 32,
    b"ab" * 31 + b"a",
    b"ab" * 5000,
    b"AB" * 32,
    b"ab " * 32,
    b"ab" * 32 + b"\nab\n",
    b"# " + b"ab" * 32,
    "é".encode() * 64,
    b"\xff" * 64,
    b"0x" + b"ab" * 32,
    b"\xef\xbb\xbf" + b"ab" * 32,
    b"ab" * 32 + b"\r\n",
)


def seeds() -> dict[str, Tree]:
    """Pictures of five people, the table that names them, and a key."""

    def write(folder: Path) -> None:
        from PIL import Image

        rng = np.random.default_rng(3)
        rows = [["name", "subject", "group", "site", "age"]]
        for number, person in enumerate(PEOPLE):
            name = f"zq_scan{number}"
            rows.append([name, person, f"{person}'s ward", f"site{number % 2}", "40"])
            for kind, most in (("images", 255), ("labels", 2)):
                path = folder / "set" / kind / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, most, (12, 12), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        (folder / "set" / "subjects.csv").write_text(text.getvalue())
        (folder / "key.txt").write_text(f"# a key\n{KEY.hex()}\n")

    return {"people": written(write)}


def mutate(tree: Tree, rng: Random) -> str:
    """Change the key or the table."""
    name = rng.choice(("key.txt", "key.txt", "set/subjects.csv"))
    content = tree[name]
    assert isinstance(content, bytes)
    if name != "key.txt" and rng.random() < 0.3:
        person = rng.choice(PEOPLE)
        odd = rng.choice(ODD)
        tree[name] = content.replace(f"{person},".encode(), f"{odd},".encode())
        return f"{person} is {odd!r}"
    if name == "key.txt" and rng.random() < 0.5:
        tree[name] = rng.choice(KEYS)
        return f"key {tree[name]!r:.60}"
    change = mutate_text.lines if name != "key.txt" else mutate_bytes.any_bytes
    return mutate_bytes.mutate_one(tree, rng, change, name.__eq__)


def import_people(place: Place) -> Verdict:
    """Import them under pseudonyms, with a map."""
    fields: dict[str, Any] = {
        "source": place.input / "set",
        "format": "folder",
        "name": "x",
        "root": Path("root"),
        "pseudonyms": place.input / "key.txt",
        "pseudonym_map": place.work / "map.csv",
    }
    outcome = command_of("import", fields)
    refused = judged(outcome)
    if refused is not None:
        if (place.work / "root" / "x").exists():
            return Verdict(FAILURE, "half a set", outcome.err)
        return refused
    words = _wrong_map(place) or _names_in(place)
    if words:
        return Verdict(FAILURE, f"pseudonyms: {words.partition(':')[0]}", words + outcome.err)
    if place.tree == place.seed:
        return Verdict(SAME)
    return Verdict(DIFFERENT, detail="pseudonyms of the key that the file states")


def _wrong_map(place: Place) -> str:
    """What of the map is not made with the key, or no text; "" for nothing."""
    from semiseg.data import store
    from semiseg.escapes import csv_text

    lines = bytes(place.tree["key.txt"]).decode().splitlines()  # type: ignore[arg-type]
    (word,) = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    key = bytes.fromhex(word)
    with (place.work / "map.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    for cell, pseudonym in rows:
        if cell[:1] in tuple("=+-@\t\r") and cell != A_NUMBER:
            return f"formula: {cell!r}"
        message = b"person\0" + csv_text(cell).encode()
        digest = base64.b32encode(hmac.digest(key, message, "sha256")).decode().lower()
        if pseudonym != f"p{digest[:10]}":
            return f"another key: {cell} is {pseudonym}"
    known = {pseudonym for _, pseudonym in rows}
    if len(known) != len(rows):
        return f"two people are one: {rows}"
    stored = {case.subject for case in store.open_split("x", "train", place.work / "root")}
    return "" if stored <= known else f"not in the map: {stored - known}"


def _names_in(place: Place) -> str:
    """Where a name of a person or of a file stands in what is stored; "" for nowhere."""
    for folder in (place.work / "root", place.home):
        for path in sorted(folder.rglob("*")):
            text = str(path.relative_to(folder)).encode()
            if path.is_file():
                text += path.read_bytes()
            if any(name in text for name in NAMES):
                return f"a name: in {path.name}"
    return ""


KINDS = (Kind("pseudonyms", seeds, mutate, import_people, 0.4, IMPORTS),)
