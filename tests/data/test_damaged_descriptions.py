"""Values of a stored set that are missing: one line that names them, for every command."""

import json

import pytest

from semiseg.data import importing, splits_csv, store
from semiseg.data.splits_csv import Row
from semiseg.errors import UserError


@pytest.mark.parametrize("count", ["records", "images", "subjects"])
def test_a_missing_count_is_named(count, pictures, tmp_path):
    """Catches a KeyError of `data list` and `data describe`."""
    importing.import_set("folder", pictures, "own", tmp_path / "stores", progress=False)
    path = tmp_path / "stores" / "own" / "semiseg.json"
    content = json.loads(path.read_text())
    del content["counts"]["val"][count]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"counts.val.{count} is missing"):
        store.info("own", tmp_path / "stores")


def test_a_short_row_of_splits_is_damage(tmp_path):
    """Catches a TypeError of None."""
    splits_csv.write(tmp_path, {"p1": Row("train", True, "drawn")})
    path = tmp_path / splits_csv.FILE
    path.write_text(path.read_text().replace(",drawn", ""))
    with pytest.raises(UserError, match="splits.csv: damaged"):
        splits_csv.read(tmp_path)


def test_what_nothing_could_read_again_is_not_stored(pictures, tmp_path):
    """Catches an import that ends well and leaves a set that every command calls damaged."""
    root = tmp_path / "stores"
    importing.import_set("folder", pictures, "own", root, progress=False)
    before = (root / "own" / "semiseg.json").read_bytes()
    long = ",".join(["background", "a" * 5000, "b"])
    with pytest.raises(UserError, match="cannot be stored .classes.1 .* of 1 to 4096 letters"):
        importing.import_set(
            "folder", pictures, "own", root, progress=False, overwrite=True, classes=long
        )
    assert (root / "own" / "semiseg.json").read_bytes() == before
    assert {path.name for path in root.iterdir()} <= {"own", ".ledgers"}
