"""Files of --json belong to what a command makes: a kill between the two loses neither."""

from worlds import draw_pictures

from semiseg.cli.main import main


def test_an_import_that_was_killed_before_its_json_writes_it(tmp_path, capsys):
    """Catches a file of --json that no command writes any more once the set is there."""
    draw_pictures(tmp_path / "pictures", 0)
    facts = tmp_path / "facts.json"
    words = ["data", "import", "--format=folder", f"--source={tmp_path / 'pictures'}"]
    words += ["--name=discs", f"--root={tmp_path / 'stores'}", f"--json={facts}"]
    assert main(words) == 0
    whole = facts.read_bytes()
    facts.unlink()
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    assert facts.read_bytes() == whole


def test_the_json_of_an_export_is_there_before_its_folder(tmp_path, monkeypatch):
    """Catches an export that is in place, and so refused, without its file of --json."""
    draw_pictures(tmp_path / "pictures", 0)
    monkeypatch.setenv("SEMISEG_DATA", str(tmp_path / "stores"))
    source = f"--source={tmp_path / 'pictures'}"
    assert main(["data", "import", "--format=folder", source, "--name=discs"]) == 0
    out = tmp_path / "Dataset001_discs"
    blocked = tmp_path / "file"
    blocked.touch()
    words = ["data", "export", "discs", f"--out={out}"]
    assert main([*words, f"--json={blocked / 'counts.json'}"]) == 2
    assert not out.exists()
    assert main([*words, f"--json={tmp_path / 'counts.json'}"]) == 0
    assert out.exists() and (tmp_path / "counts.json").exists()
