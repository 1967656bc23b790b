"""A whole run: its folder, its resumption, its errors."""

import ast
import csv
import dataclasses
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import semiseg
from semiseg import config, devices
from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.pretrain import Weights
from semiseg.runner.build import notes_of


def command(trial, out: Path) -> list[str]:
    """The command line of a trial, in a process of its own."""
    file = out.parent / f"{out.name}.yaml"
    file.write_text(config.to_yaml(trial))
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "semiseg-test-programs")
    )  # read by the children only
    return [
        sys.executable,
        "-m",
        "semiseg.cli.main",
        "train",
        f"--config={file}",
        f"--out={out}",
        "--quiet",
    ]


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    return semiseg.run(tiny, tmp_path_factory.mktemp("runs") / "whole", progress=False)


def test_the_folder_is_complete(finished):
    """The contract other people's scripts depend on."""
    names = {p.name for p in finished.path.iterdir()}
    assert names >= {
        "config.yaml",
        "env.json",
        "metrics.jsonl",
        "per_subject.csv",
        "summary.json",
        "checkpoints",
        "weights.safetensors",
        "examples.npz",
    }
    assert not [n for n in names if n.endswith(".tmp")]
    steps = [
        json.loads(line)["step"]
        for line in (finished.path / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [5, 10, 15, 20]
    rows = list(csv.DictReader((finished.path / "per_subject.csv").open()))
    assert set(rows[0]) == {
        "run",
        "split",
        "checkpoint",
        "subject",
        "class",
        "metric",
        "value",
        "unit",
    }
    assert {r["checkpoint"] for r in rows} == {"last", "val_best"}
    assert {r["split"] for r in rows} == {"val"}
    last = [
        float(r["value"])
        for r in rows
        if r["metric"] == "dice" and r["checkpoint"] == "last" and r["value"]
    ]
    assert finished.summary["last"]["val"]["dice"] == pytest.approx(np.mean(last), abs=1e-5)
    assert config.load(finished.path / "config.yaml") == finished.trial
    assert repr(finished).endswith(f"20 steps, val Dice {np.mean(last):.3f})"), (
        "a line in a notebook"
    )
    assert len(repr(finished)) < 300, "a line in a notebook"


def test_it_learns(tiny, tmp_path):
    """Catches a gradient that does not reach the weights, and images that lost their labels: bright
    discs are easy.
    """
    trial = config.override(
        tiny,
        {"steps": 120, "labels": 0, "eval_every": 120, "lr": 0.01},
    )
    assert semiseg.run(trial, progress=False).summary["last"]["val"]["dice"] > 0.8


@pytest.mark.slow
def test_two_devices_train_what_one_does(finished, tmp_path):
    """Each has half of the batch: catches a draw, a loss or a norm that is taken of the half. (All
    other tests have one device, which compiles sooner.)
    """
    out = tmp_path / "two"
    subprocess.run(
        command(finished.trial, out),
        check=True,
        capture_output=True,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "2"},
    )

    def count(path):
        return json.loads((path / "env.json").read_text())["devices"]

    assert (count(out), count(finished.path)) == (2, 1)

    def loss(path):
        return [
            json.loads(line)["loss"] for line in (path / "metrics.jsonl").read_text().splitlines()
        ]

    np.testing.assert_allclose(
        loss(out),
        loss(finished.path),
        rtol=2e-3,
    )


@pytest.mark.skipif(
    not Path("/proc/self/maps").exists(), reason="Linux counts a process's memory maps"
)
def test_programs_are_let_go_before_linux_stops_the_process(tiny, monkeypatch):
    """Catches a sweep over thirty methods or networks that ends in a crash of XLA, and one that
    compiles everything again for every run.
    """
    doubled = jax.jit(lambda x: 2 * x)
    doubled(1.0)
    assert not devices.make_room(limit=10**9)
    assert doubled._cache_size() == 1
    assert devices.make_room(limit=1)
    assert doubled._cache_size() == 0
    asked = []
    monkeypatch.setattr(devices, "make_room", lambda: asked.append(1))
    semiseg.run(
        dataclasses.replace(tiny, steps=2, eval_every=2),
        progress=False,
    )
    assert asked


def test_load_runs_reads_it(finished):
    """The notebook's way in."""
    frame = semiseg.load_runs(finished.path.parent).to_pandas()
    expected = (
        "run data method net labels label_subset seed ratio steps split checkpoint class "
        "metric mean n_subjects"
    ).split()
    assert list(frame.columns) == expected
    row = frame[
        (frame.metric == "dice") & (frame["class"] == "mean") & (frame.checkpoint == "last")
    ].iloc[0]
    assert row["mean"] == pytest.approx(
        finished.summary["last"]["val"]["dice"],
        abs=1e-5,
    )
    assert row.n_subjects == 3


@pytest.mark.slow
def test_killed_anywhere_it_ends_bit_identical(tiny, tmp_path):
    """kill -9 at random moments, restarted each time: catches state left out of the checkpoint,
    steps logged twice, half-written files.
    """
    trial = dataclasses.replace(
        tiny, steps=60, checkpoint_seconds=0.0, method=config.make("method", "mean_teacher"), seed=3
    )
    whole = semiseg.run(trial, tmp_path / "whole", progress=False)
    cut = tmp_path / "cut"
    rng = random.Random(0)
    kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            command(trial, cut),
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        wanted = rng.randrange(1, 9)  # lines of metrics.jsonl more than now, then a random moment

        def lines():
            return (
                (cut / "metrics.jsonl").read_text().count("\n")
                if (cut / "metrics.jsonl").exists()
                else 0
            )

        goal = min(lines() + wanted, 11)
        while process.poll() is None and lines() < goal and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.random() * 0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        process.stderr.close()
    subprocess.run(command(trial, cut), check=True, capture_output=True)
    assert kills >= 1
    assert (cut / "weights.safetensors").read_bytes() == (
        whole.path / "weights.safetensors"
    ).read_bytes()
    steps = [json.loads(line)["step"] for line in (cut / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(5, 65, 5))

    def drop(path):
        lines = [json.loads(text) for text in (path / "metrics.jsonl").read_text().splitlines()]
        for line in lines:
            line.pop("seconds", None)
        return lines

    assert drop(cut) == drop(whole.path)


def test_sigterm_saves_and_the_same_command_goes_on(tiny, tmp_path):
    """Catches a stop that loses work: the run restarts where it was asked to stop."""
    trial = dataclasses.replace(tiny, steps=4000, eval_every=4000)
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        command(trial, out),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 90
    while (
        not ((out / "metrics.jsonl").exists() and (out / "metrics.jsonl").stat().st_size)
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "run the same command again to resume" in said, said
    done = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"]
    saved = max(int(p.name) for p in (out / "checkpoints").iterdir() if p.name.isdigit())
    assert done == saved < 4000


def test_a_damaged_checkpoint_is_named(tiny, tmp_path):
    """Catches a silent restart, or a resumed run on flipped bits."""
    from semiseg.train.loop import Interrupted

    trial = dataclasses.replace(tiny, steps=20, checkpoint_seconds=0.0)
    out = tmp_path / "damaged"
    semiseg.run(trial, out, progress=False)
    (out / "summary.json").unlink()
    place = max(
        (p for p in (out / "checkpoints").iterdir() if p.name.isdigit()), key=lambda p: int(p.name)
    )
    files = sorted(
        (p for p in place.rglob("*") if p.is_file() and p.stat().st_size > 2000),
        key=lambda p: p.stat().st_size,
    )
    assert files
    for (
        file
    ) in files:  # which file holds an array is Orbax's affair: flip a byte in the middle of each
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(bytes(content))
    with pytest.raises(UserError, match=str(place)):
        try:
            semiseg.run(trial, out, progress=False)
        except Interrupted:
            pytest.fail("interrupted")


def test_damaged_weights_are_named(tiny, tmp_path, capsys):
    """Truncated safetensors: one line, exit code 2."""
    out = tmp_path / "weights"
    semiseg.run(tiny, out, progress=False)
    (out / "weights.safetensors").write_bytes((out / "weights.safetensors").read_bytes()[:200])
    assert main(["evaluate", str(out)]) == 2
    assert "weights.safetensors" in capsys.readouterr().err


def test_another_trial_is_refused(finished, tiny):
    """Catches a folder that silently mixes two trials."""
    with pytest.raises(UserError, match="seed = 0, not 5"):
        semiseg.run(dataclasses.replace(tiny, seed=5), finished.path)


def test_evaluate_test_is_in_the_ledger(finished, root, capsys):
    """Test is readable here alone; each look leaves a line, and training left none."""
    ledger = Path(root) / "discs" / "ledger.jsonl"
    before = ledger.read_text().count("\n") if ledger.exists() else 0
    assert main(["evaluate", str(finished.path), "--split", "test"]) == 0
    assert "dice" in capsys.readouterr().out
    assert ledger.read_text().count("\n") == before + 1
    assert "test" in json.loads((finished.path / "summary.json").read_text())["last"]
    rows = list(csv.DictReader((finished.path / "per_subject.csv").open()))
    assert len([r for r in rows if r["split"] == "test" and r["metric"] == "dice"]) == 3
    again = main(["evaluate", str(finished.path), "--split", "test"])
    assert again == 0
    assert len(list(csv.DictReader((finished.path / "per_subject.csv").open()))) == len(rows)


def test_hidden_labels_never_reach_the_device(root, tiny):
    """The wall: outside the budget all labels in the pools are IGNORE. Catches a pool that carries
    the whole answer.
    """
    from semiseg.data.pools import pools

    made, budget, training = pools("discs", root, tiny.frame, labels=2, label_subset=1)
    shown = np.array([c.subject in budget.subjects for c in training.cases])
    everything = np.asarray(made.label)
    labels = [everything[training.flat.where(i)] for i in range(len(shown))]
    for label, is_shown in zip(labels, shown, strict=True):
        assert (label != 255).all() if is_shown else (label == 255).all()
    assert shown.sum() == 2
    assert set(np.asarray(made.unlabelled.images)[: int(made.unlabelled.number)]) == set(
        np.flatnonzero(~shown)
    )


def test_training_code_does_not_know_the_test_split():
    """Static wall: the ways to test records are named in the store, the runner and evaluation
    alone. Catches a shortcut inside training.
    """
    package = Path(semiseg.__file__).parent
    ways = (
        "read_test(", "embedded.read", "records.read", "store._read", "_read(known", "Token(",
        "as_data_source", "builder_from_directory", "nuclei.npz", "test_image\"",
    )  # fmt: skip
    reads = re.compile("|".join(map(re.escape, ways)))
    users = {
        str(p.relative_to(package)) for p in package.rglob("*.py") if reads.search(p.read_text())
    }
    assert users <= {
        "data/store.py",
        "data/embedded.py",
        "data/array_records.py",
        "data/wall.py",
        "data/exporting.py",
        "data/readers/tfds_set.py",  # a source that is not imported yet
        "runner/score_split.py",
        "runner/execute.py",
        "runner/external.py",
        "runner/rescore.py",
        "runner/test_time.py",
    }, users
    reached = set()
    for folder in ("train", "methods", "augment", "nets", "losses"):
        for file in (package / folder).rglob("*.py"):
            reached |= imported_data_modules(file)
    new = reached
    while new:
        of_new = set()
        for name in new:
            of_new |= imported_data_modules(package / "data" / f"{name}.py")
        new = of_new - reached
        reached |= new
    # which scans of a pool are on the device, and their arrays; nothing that reads a store
    assert reached <= {
        "flat", "foreground", "grey_values", "pool_image", "rotating", "rotating_content",
        "rotation", "frame", "scaling", "slices",
    }, reached  # fmt: skip


def imported_data_modules(file):
    """Names of the modules of semiseg.data that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semiseg.data"):
            parts = node.module.split(".")[2:]
            names |= set(parts[:1]) or {alias.name for alias in node.names}
    return names


def test_a_set_of_which_all_subjects_train(tmp_path, tiny, tiny_folder):
    """Catches a run that needs a validation split to begin or to end, and a score made up."""
    from semiseg.data import importing

    root = tmp_path / "root"
    source = tiny_folder / "train"
    importing.import_set("folder", source, "all", root=root, progress=False, splits="train")
    trial = dataclasses.replace(tiny, data="all", root=str(root), steps=2, eval_every=1)
    result = semiseg.run(trial, tmp_path / "run", progress=False)
    assert result.rows == []
    assert result.summary["last"]["val"]["dice"] is None
    assert result.summary["subjects_val"] == 0
    assert "no validation split" in "".join(result.summary["notes"])
    assert semiseg.run(trial, tmp_path / "run", progress=False).summary == result.summary
    assert not (tmp_path / "run" / "examples.npz").exists()


def test_a_run_says_what_its_unlabelled_images_are(root, tiny, finished):
    """Catches a semi-supervised run on labelled images alone, and diagnostics that are missing, in
    silence; and a note where nothing is amiss.
    """
    from semiseg.data.pools import Budget, training

    data = training("discs", root, tiny.frame)
    method = config.make("method", "mean_teacher")

    def told(images, annotated=data.annotated, **fields):
        return "".join(
            notes_of(
                dataclasses.replace(tiny, **{"method": method, **fields}),
                dataclasses.replace(data, annotated=annotated),
                Budget((), images),
            )
        )

    assert "from the labelled images" in told(8)
    assert told(4) == told(8, method=tiny.method) == ""
    assert "no pseudo_" in told(4, np.arange(8) < 4)
    assert finished.summary["images_unlabelled"] == 4
    assert finished.summary["notes"] == []


def test_data_imported_anew_are_refused(tmp_path, tiny, tiny_folder, capsys):
    """Catches a run scored on subjects it was trained on, because a set of the same name was drawn
    into other splits since.
    """
    import shutil

    from semiseg.data import importing

    loose = tmp_path / "files"
    for kind in ("images", "labels"):
        (loose / kind).mkdir(parents=True)
        for file in tiny_folder.glob(f"*/{kind}/*.png"):
            shutil.copy(file, loose / kind / file.name)
    importing.import_set(
        "folder",
        loose,
        "own",
        root=tmp_path / "root",
        progress=False,
        seed=0,
    )
    trial = dataclasses.replace(
        tiny, data="own", root=str(tmp_path / "root"), steps=4, eval_every=4
    )
    out = tmp_path / "run"
    semiseg.run(trial, out, progress=False)
    importing.import_set(
        "folder",
        loose,
        "own",
        root=tmp_path / "root",
        progress=False,
        overwrite=True,
        resplit=True,
        seed=3,
    )
    assert main(["evaluate", str(out), "--split", "test"]) == 2
    assert "imported again" in capsys.readouterr().err
    with pytest.raises(UserError, match="imported again"):
        semiseg.run(trial, out, progress=False)


def test_a_mistake_blocks_no_folder(tiny, tmp_path):
    """Catches a folder made before data, first weights and the fit of net and method were looked
    at, one that a kill left with half of its first files, and a cleaning up that takes what was
    there.
    """
    out = tmp_path / "run"
    with pytest.raises(UserError):
        semiseg.run(dataclasses.replace(tiny, data="disks"), out, progress=False)
    with pytest.raises(UserError):
        semiseg.run(dataclasses.replace(tiny, labels=99), out, progress=False)
    with pytest.raises(UserError, match="there is no runs/gone"):
        semiseg.run(
            dataclasses.replace(tiny, init=Weights("runs/gone")),
            out,
            progress=False,
        )
    assert not out.exists()
    out.mkdir()
    (out / "env.json").write_text("{}")
    with pytest.raises(UserError, match="there is no runs/gone"):
        semiseg.run(
            dataclasses.replace(tiny, init=Weights("runs/gone")),
            out,
            progress=False,
        )
    assert [path.name for path in out.iterdir()] == ["env.json"]
    assert (
        semiseg.run(
            dataclasses.replace(tiny, steps=2, eval_every=2),
            out,
            progress=False,
        ).path
        == out
    )


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--labels"], "labels needs a value"),
        (["--net.widths", "[8,16"], "is no list"),
        (["--seed", "5000000000"], "at most"),
        (["--lr", "inf"], "lr"),
        (["--method", "mean_teacher", "--method.student-view", "stronk"], "student"),
        (["--test=perhaps"], "perhaps"),
        (["--warmup", "3"], "at most 1"),
        (
            ["--preset", "ssl4mis", "--net.widths", "[4,8]"],
            (
                "for 2 levels; the preset ssl4mis sets "
                "net.dropout = 0.05,0.1,0.2,0.3,0.5: "
                "give --net.dropout"
            ),
        ),
    ],
)
def test_wrong_values_are_refused(argv, words, capsys, tmp_path, monkeypatch):
    """Catches flags without a value read as 1, typos that choose another branch, and tracebacks."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--out=x", *argv]) == 2
    said = capsys.readouterr().err
    assert words in said, said
    assert said.count("\n") == 1, said
    assert not (tmp_path / "x").exists(), said


def test_preset_and_file_go_together(tmp_path):
    """Catches a preset that is dropped beside a file, and one read for another method."""
    from semiseg.cli.train import trial_of

    file = tmp_path / "f.yaml"
    file.write_text("method: mean_teacher\nseed: 4\n")
    trial = trial_of({"preset": "ssl4mis", "config": str(file), "steps": "7"})
    assert trial == dataclasses.replace(
        config.preset("ssl4mis", "mean_teacher"),
        seed=4,
        steps=7,
    )
    assert config.from_dict(
        {"preset": "ssl4mis", "method": {"name": "mean_teacher"}}
    ) == config.preset("ssl4mis", "mean_teacher")


@pytest.mark.parametrize(
    "argv, words",
    [
        (["train"], "--out is missing"),
        (["trian"], "did you mean 'train'"),
        (["train", "--out=x", "--data=nowhere"], "nowhere"),
        (["evaluate", "/nonexistent"], "no such folder"),
        (["train", "--out=x", "--lr=fast"], "lr"),
        (["report", "/nonexistent"], "nonexistent"),
    ],
)
def test_errors_are_one_line_and_exit_2(argv, words, capsys, tmp_path, monkeypatch):
    """Catches tracebacks."""
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    said = capsys.readouterr().err
    assert words in said, said
    assert said.count("\n") == 1, said


def test_nothing_is_ever_unpickled():
    """Catches allow_pickle=True, pickle and torch.load in the package. PyTorch's files are read by
    a reader that builds tensors and nothing else.
    """
    package = Path(semiseg.__file__).parent
    words = ("import pickle", "allow_pickle=True", "torch.load", "joblib")
    pairs = itertools.product(package.rglob("*.py"), words)
    bad = [p for p, word in pairs if word in p.read_text()]
    assert bad in ([], [package / "nets" / "from_torch" / "state_dict.py"]), bad


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_train_help_explains_every_field(capsys):
    """Catches a field without words."""
    assert main(["train", "--method=mean_teacher", "--help=all"]) == 0
    said = capsys.readouterr().out
    for flag in (
        "--labels",
        "--label-subset",
        "--method.decay",
        "--net.widths",
        "--method.criterion",
        "--augment",
    ):
        assert flag in said, flag
    lines = said[said.index("--data") :].splitlines()
    bare = [
        a
        for a, b in zip(lines, [*lines[1:], ""], strict=True)
        if a.startswith("  --") and not _words(a.strip().partition(" ")[2] or b)
    ]
    assert not bare, bare


def _words(text: str) -> str:
    """What a line of help says before the default in brackets."""
    return text.rpartition("[")[0].strip() if "[" in text else text.strip()
