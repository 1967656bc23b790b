"""Files of runs, sweeps and sets with values of other kinds than they should hold: one line."""

import json
import zipfile

import numpy as np
import pytest
import yaml
from analysis.fake import write_run

from semiseg import files, safe_yaml, shapes
from semiseg.analysis.load import load_runs
from semiseg.analysis.scores import read_scores
from semiseg.cli import main as commands
from semiseg.errors import UserError
from semiseg.evaluate.example_arrays import read_examples
from semiseg.nets.from_torch.state_dict import _Storage, _tensor
from semiseg.run_folder import SCORE_COLUMNS, SUMMARY_SHAPE, RunFolder
from semiseg.sweeps import distributions, journal, spec
from semiseg.track import contents


@pytest.mark.parametrize(
    "content",
    [
        {"last": {"val": "x"}},
        {"last": {"val": {"dice": "0.8"}}},
        {"images_labelled": [4]},
        {"seconds_train": -1},
        {"calibration": {"val": {"pixels": [[1]]}}},
        {"run": "\ud800"},
        {"look_alikes": [[]]},
        {"subjects_val": 2**70},
    ],
)
def test_a_summary_holds_what_it_should(content, tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=next(iter(content))):
        RunFolder(tmp_path).read_summary()


@pytest.mark.parametrize("content", [{"image_size": {}}, {"label_subset": []}, {"root": 3}])
def test_a_report_leaves_out_a_run_with_odd_settings(content, tmp_path, caplog):
    """Catches a report that ends in a traceback for a mapping in place of a size."""
    for method in ("supervised", "mean_teacher"):
        write_run(tmp_path, method=method, name=method, examples=False, subjects=2)
    file = tmp_path / "supervised" / "config.yaml"
    tree = safe_yaml.content_of(file.read_text())
    file.write_text(yaml.safe_dump(tree | content))
    assert [run.name for run in load_runs(tmp_path)] == ["mean_teacher"]
    assert f"left out: {file}: {next(iter(content))}" in caplog.text


def test_a_log_holds_steps_and_numbers(tmp_path):
    folder = RunFolder(tmp_path)
    for line in ('{"step": 5, "loss": [1]}', '{"loss": 1}', '{"step": "5"}', "[" * 2000):
        folder.log.write_text(f'{{"step": 1, "loss": null}}\n{line}\n')
        with pytest.raises(UserError, match="line 2"):
            folder.read_log()
    folder.log.write_bytes(b"\xff\n")
    with pytest.raises(UserError, match="cannot be read"):
        folder.read_log()


def test_a_small_table_takes_little_memory(tmp_path):
    """Catches an array of 200⁵ places for 200 rows."""
    file = tmp_path / "per_subject.csv"
    rows = [f"r,s{i},c{i},p{i},k{i},m{i},1,0.5" for i in range(200)]
    order = ("run", "split", "checkpoint", "subject", "class", "metric", "unit", "value")
    assert sorted(order) == sorted(SCORE_COLUMNS)
    places = [order.index(name) for name in SCORE_COLUMNS]
    lines = [",".join(row.split(",")[place] for place in places) for row in rows]
    file.write_text("\n".join([",".join(SCORE_COLUMNS), *lines]) + "\n")
    with pytest.raises(UserError, match="have no row"):
        read_scores(file, [])


def test_examples_belong_together(tmp_path):
    images = np.zeros((3, 4, 4), np.uint8)
    arrays = {"image": images, "label": images, "prediction": images, "dice": np.zeros(3)}
    arrays["subject"] = np.array(["a", "b", "c"])
    file = tmp_path / "examples.npz"
    np.savez(file, **arrays)
    assert read_examples(file)["dice"].shape == (3,)
    for name, array in arrays.items():
        np.savez(file, **{**arrays, name: array[:2]})
        with pytest.raises(UserError, match="shape"):
            read_examples(file)
    np.savez(file, **arrays)
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(tmp_path / "cut.npz", "w") as cut:
        for name in whole.namelist():
            cut.writestr(name, bytes(80) if name == "dice.npy" else whole.read(name))
    with pytest.raises(UserError, match="dice.npy is no array"):
        read_examples(tmp_path / "cut.npz")
    (tmp_path / "cut.npz").replace(file)
    with pytest.raises(UserError, match="dice.npy is no array"):  # as mirrors read it
        contents.examples(RunFolder(tmp_path))


def test_aliases_stand_for_no_gigabytes():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for i in range(1, 12):
        lines.append(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]")
    with pytest.raises(ValueError, match="aliases"):
        safe_yaml.content_of("\n".join(lines))
    with pytest.raises(ValueError, match="holds it"):
        safe_yaml.content_of("a: &a [*a]")


@pytest.mark.parametrize(
    "content",
    [
        {"parameters": [1]},
        {"parameters": {"lr": {"parameters": [1]}}},
        {"parameters": {1: {"value": 2}}},
        {"preset": [1]},
        {"run_cap": "9"},
        {"early_terminate": {"type": "hyperband", "eta": "x", "min_iter": 1}},
        {"early_terminate": {"type": "hyperband", "max_iter": "x", "s": 2}},
    ],
)
def test_a_sweep_says_what_is_wrong(content):
    with pytest.raises(UserError):
        spec.read({"method": "grid", "parameters": {"seed": {"values": [1]}}, **content})


def test_a_grid_is_counted_before_it_is_made():
    axes = {name: {"values": list(range(100))} for name in ("seed", "labels", "steps", "batch")}
    with pytest.raises(UserError, match="100,000,000 trials"):
        spec.points(spec.read({"parameters": axes, "run_cap": 2}))


@pytest.mark.parametrize("bounds", [(1, 10**30), (-(10**30), 1), (10**19, 10**20)])
def test_whole_numbers_are_drawn_as_far_as_they_are_exact(bounds):
    axis = {"min": bounds[0], "max": bounds[1]}
    grid = spec.read({"method": "random", "run_cap": 2, "parameters": {"seed": axis}})
    with pytest.raises(UserError, match="stay below 2\\^53"):
        spec.points(grid)


def test_a_table_with_a_part_twice_is_refused(tmp_path):
    """Catches a mean over the scores that were written last."""
    run = write_run(tmp_path / "run")
    table = run / "per_subject.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[3], ""]))
    with pytest.raises(UserError, match="has two scores of"):
        read_scores(table, [])


@pytest.mark.parametrize("name", ["sweep.yaml", "summary.json"])
def test_a_text_without_an_end_is_refused(name, tmp_path, monkeypatch):
    """Catches a link to a device that is read until the memory is full."""
    monkeypatch.setattr(files, "LONGEST", 1000)
    path = tmp_path / name
    path.symlink_to("/dev/zero")
    read = files.read_json if name.endswith(".json") else files.read_mapping
    with pytest.raises(UserError, match="longer than"):
        read(path)


def test_a_long_name_has_an_end_of_its_own():
    values = ["x" * 300 + end for end in "ab"]
    names = list(spec.points(spec.read({"parameters": {"synthetic": {"values": values}}})))
    assert len(set(names)) == 2 and max(map(len, names)) <= distributions.LONGEST_NAME


def test_a_killed_search_goes_on(tmp_path, monkeypatch):
    """Catches a journal that no command can read after a kill, and a lock that none lets go of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "journal.log.lock").symlink_to("out/journal.log")
    journal.open_journal(tmp_path).create_new_study([1], "sweep")
    path = tmp_path / journal.NAME
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    assert len(journal.open_journal(tmp_path).get_all_studies()) == 1
    assert path.read_bytes() == whole
    path.write_bytes(whole + b"{}\n")
    with pytest.raises(UserError, match="is damaged"):
        journal.open_journal(tmp_path)


def test_a_tensor_has_no_more_numbers_than_its_file():
    storage = _Storage(np.zeros(1, np.float32))
    with pytest.raises(UserError, match="more numbers"):
        _tensor(storage, 0, (2**33,), (0,))


def test_what_nobody_foresaw_is_one_line(monkeypatch, capsys):
    def fails(_):
        raise KeyError("what\nis this")

    monkeypatch.setattr(commands, "_main_of", lambda _: fails)
    assert commands.main(["report"]) == commands.UNFORESEEN == 70
    assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(KeyError):
        commands.main(["report", "--debug"])


def test_shapes_pass_what_runs_write():
    assert not shapes.problem({"last": {"val": {"dice": None}}, "init": "none"}, SUMMARY_SHAPE)
