"""What the command line says to someone who mistyped, stopped or forgot something: one line, with
the remedy.
"""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from semiseg import generators
from semiseg.cli.arguments import write_json
from semiseg.cli.main import main
from semiseg.cli.sweep import _look_ahead
from semiseg.data.problems import collapsed
from semiseg.generators import ratio
from semiseg.track import tensorboard


def error_of(capsys, *argv) -> str:
    assert main(list(argv)) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1, line
    return line


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A grid of two runs as a file, with one change."""

    def write(**changes) -> str:
        file = tmp_path_factory.mktemp("sweep") / "grid.yaml"
        axes = {
            "data": {"value": "nuclei"},
            "method": {"values": ["supervised", "mean_teacher"]},
            **changes,
        }
        file.write_text(yaml.safe_dump({"method": "grid", "parameters": axes}))
        return str(file)

    return write


@pytest.mark.parametrize(
    "argv, near",
    [
        ("tarin", "train"),
        ("data chekc", "check"),
        ("data import --sorce x", "--source"),
        ("report runs --ouy x", "--out"),
        ("sweep grid.yaml --out x --job 2", "--jobs"),
        ("train --method maen_teacher --out x", "mean_teacher"),
        ("train --net unte --out x", "unet"),
        ("nets attention_unte", "attention_unet"),
        ("methods fixmtach", "fixmatch"),
        ("train --preset ssl4mi --out x", "ssl4mis"),
    ],
)
def test_a_slip_of_the_pen_is_told_what_was_meant(argv, near, capsys):
    """Catches a list of all names, or nothing, where one name is meant."""
    assert f"did you mean '{near}'?" in error_of(capsys, *argv.split())


def test_a_sweep_looks_ahead(sweep, tmp_path, capsys):
    """A missing file, an unknown method and an unknown data set, before anything is written.
    Catches a grid that fails after its first half.
    """
    out = f"--out={tmp_path / 'out'}"
    assert "no such sweep file; did you mean 'grid.yaml'?" in error_of(
        capsys, "sweep", sweep().replace("grid.yaml", "gird.yaml"), out
    )
    assert "did you mean 'mean_teacher'?" in error_of(
        capsys, "sweep", sweep(method={"values": ["supervised", "maen_teacher"]}), out
    )
    assert "no data set 'mine'" in error_of(
        capsys, "sweep", sweep(data={"values": ["nuclei", "mine"]}), out
    )
    assert not (tmp_path / "out").exists()


def test_a_sweep_says_which_label_subsets_are_the_same(sweep, capsys):
    """Catches replicates that hold the same patients taken for independent ones, and the line where
    subsets differ.
    """

    def notes(**axes) -> str:
        file = Path(sweep(label_subset={"values": [0, 1, 2]}, **axes))
        _look_ahead(file, None, "local")
        return capsys.readouterr().err

    both = notes(labels={"values": [4, 0]})
    assert both.startswith("semiseg: the 3 label subsets of labels 0 are the same patients")
    assert both.count("\n") == 1
    assert notes(labels={"value": 4}) == ""


def test_help_shows_what_matters_first(capsys, monkeypatch):
    """Catches a first screen that grew, jargon of the compiler in it, parts whose options cannot be
    reached from it, and a recipe that is shown with the defaults.
    """
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["train", "--help"]) == 0
    first = capsys.readouterr().out
    flags = [line.split()[0] for line in first.splitlines() if line.startswith("  --")]
    assert len(flags) == 22
    assert {"--data", "--labels", "--method", "--init", "--out"} <= set(flags)
    assert len(first.splitlines()) < 50
    assert main(["train", "--help=all"]) == 0
    everything = capsys.readouterr().out
    assert all(
        flag in everything for flag in (*flags, "--augment.", "--net.widths", "--weight-decay")
    )
    assert "static" not in (first + everything).lower() and "compiles anew" in everything
    assert main(["train", "--method.help", "bcp"]) == 0
    part = capsys.readouterr().out
    assert (
        part.startswith("method: BCP")
        and "--method.largest-component" in part
        and "--net." not in part
    )
    assert "did you mean 'net'?" in error_of(capsys, "train", "--help", "nett")
    assert main(["train", "--net.help", "swin_unetr"]) == 0, "its blocks do not fit the default"
    assert "--net.features" in capsys.readouterr().out
    assert main(["train", "--preset=unimatch-acdc", "--help"]) == 0
    recipe = capsys.readouterr().out
    assert "methods of the preset unimatch-acdc: unimatch" in recipe and "[30900]" in recipe


def test_ctrl_c_before_training_is_one_line(monkeypatch, capfd):
    """While data are read. Catches a KeyboardInterrupt (which a callback of the garbage collector,
    as JAX has one, swallows: the command runs on), a stop that does not say how to go on, and a
    handler that stays behind.
    """
    import semiseg.runner

    class Ended(BaseException):
        pass

    def ended(code):
        raise Ended(code)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(semiseg.runner, "run", lambda *a, **k: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Ended, match="130"):
        main(["train", "--out=x"])
    assert capfd.readouterr().err == "semiseg: interrupted; run the same command again to resume\n"
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    "values, words",
    [
        ((0, 255), "read as 0 and 1"),
        ((0, 1, 255), "255 marks pixels that are ignored"),
        ((0, 128), "129 assumed (background, class 1, class 2, class 3 …)"),
    ],
)
def test_what_was_assumed_of_the_labels_is_error_of(values, words, tmp_path, capsys):
    """Without --classes, at check and at import. Catches classes guessed in silence, 255
    unexplained, a validation set of one subject or an image without a label unmentioned.
    """
    for kind in ("images", "labels"):
        (tmp_path / "in" / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(8):
        label = np.resize(np.array(values, np.uint8), (8, 8))
        image = rng.integers(0, 256, (8, 8), np.uint8)
        for kind, pixels in (("images", image), ("labels", label)):
            Image.fromarray(pixels).save(tmp_path / "in" / kind / f"p{i}.png")
    Image.fromarray(255 - image).save(tmp_path / "in" / "images" / "q.png")
    where = ["--format=folder", f"--source={tmp_path / 'in'}"]
    assert main(["data", "check", *where]) == 0
    checked = capsys.readouterr().err
    assert words in checked and "name them with --classes" in checked
    assert main(["data", "import", *where, "--name=own", f"--root={tmp_path}"]) == 0
    imported = capsys.readouterr().err
    assert words in imported and imported.count("few subjects to score on (val 1, test 2)") == 1
    assert (
        "8 annotated subjects: train 5, val 1, test 2; without annotation, all in train: 1"
        in imported
    )


def test_repeated_problems_are_one_line_with_a_count():
    """Catches a screen of equal lines, problems of two kinds merged, and rare ones hidden behind a
    count.
    """
    classes = "but the set declares classes 0–1; correct it"
    wrong = [
        f"m/labels/p{i}.png: subject p{i}: label has value {value} {classes}"
        for i, value in enumerate([7] * 5 + [9])
    ]
    rows = [
        f"m/subjects.csv: names q{i}, which is not among the images; remove the row"
        for i in range(5)
    ]
    bare = [
        f"m/subjects.csv: has no row for m/images/{name}.png; add one"
        for name in ("ann", "bob", "eve", "joe")
    ]
    assert collapsed(bare) == [*bare[:3], "m/subjects.csv: … and 1 more of this kind"]
    places = "(m/labels/p0.png, m/labels/p1.png, m/labels/p2.png and 2 more)"
    assert collapsed([*wrong, *rows]) == [
        f"5 times: label has value 7 {classes} {places}",
        wrong[5],
        *rows[:3],
        "m/subjects.csv: … and 2 more of this kind",
    ]


@pytest.mark.parametrize("track, words", [("wand", "choose one of none"), (None, "pip install")])
def test_a_wrong_mirror_is_refused_before_a_generator_is_fitted(
    track, words, tmp_path, monkeypatch, capsys
):
    """A mirror that there is not, or whose package is missing. Catches a refusal that comes after
    minutes of a fit.
    """

    def fitted(*args, **kwargs):
        pytest.fail("a generator was fitted")

    monkeypatch.setattr(ratio, "resolved", fitted)
    monkeypatch.setattr(generators.fit, "fit", fitted)
    if track is None:
        track = "tensorboard"
        monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    synthetic = ["--synthetic=make:spade", "--ratio=1"]
    for command in (["train", *synthetic], ["gan", "fit", "--generator=no-such-one"]):
        out = tmp_path / command[0]
        line = error_of(capsys, *command, "--labels=16", f"--track={track}", f"--out={out}")
        assert words in line
        assert not out.exists()


@pytest.mark.parametrize("command", ["report", "data", "data import", "data describe"])
def test_help_of_typed_commands_lists_plugins(command, capsys):
    """Catches a help that hides a flag every command takes, since another parser prints it."""
    with pytest.raises(SystemExit, match="0"):
        main([*command.split(), "--help"])
    assert "  --plugin " in capsys.readouterr().out


def test_help_is_printed_without_markup(capsys):
    """Catches marks of reStructuredText in what a terminal shows."""
    for command in ("train --help=all", "gan fit --help", "methods bcp", "nets unet"):
        assert main(command.split()) == 0
        text = capsys.readouterr().out
        assert "``" not in text
        assert ":class:" not in text


def test_a_command_writes_its_table_through_a_link(tmp_path):
    """As ``--json /dev/stdout`` is one. Catches a link that a file takes the place of, and a folder
    that must be there already.
    """
    target = tmp_path / "target.json"
    target.write_text("")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    for place in (link, tmp_path / "new" / "table.json"):
        write_json(place, {"rows": 1})
        assert json.loads(place.read_text()) == {"rows": 1}
    assert link.is_symlink()
    assert json.loads(target.read_text()) == {"rows": 1}
