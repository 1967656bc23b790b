"""The mirrors: W&B and TensorBoard, read back from their own files, and broken ones that cost a run
nothing.
"""

import base64
import csv
import hashlib
import io
import json
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
import yaml
from PIL import Image

import semiseg
from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.track import follower, mirror, tensorboard, wanted, weights_and_biases


@pytest.fixture(autouse=True)
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID", "SEMISEG_TRACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def read_back(folder):
    """What W&B's own reader (``wandb leet inspect``) says of the folder's offline run: records by
    their type.
    """
    (place,) = folder.glob("wandb/offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(place)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    records: dict[str, list] = {}
    for record in map(json.loads, output.splitlines()):
        records.setdefault(record["type"], []).append(record[record["type"]])
    return place / "files", records


def test_an_offline_run_holds_what_the_folder_holds(tiny, tmp_path):
    """Mirrored while it trains, then read by W&B's own tool: configuration, scalars, summary,
    table, overlays and model are the folder's, each whole.

    The run goes on with one whose first lines W&B lost when it was killed. Catches those lines left
    out, scalars lost at the end or sent twice, fields of summary.json that W&B never sees, layers
    swapped, a table without its undefined scores, an artifact that points outside of the folder.
    """
    out = tmp_path / "run"
    out.mkdir()
    (out / "wandb.json").write_text('{"id": "abc", "step": 4}')
    with mirror(out, "wandb", group="g", job_type="test"):
        semiseg.run(tiny, out, progress=False)
    files, records = read_back(out)
    (run,) = records["run"]
    assert (run["run_id"], run["run_group"], run["job_type"]) == ("abc", "g", "test") and {
        "discs",
        "supervised",
        "unet",
        "labels 4",
    } <= set(run["tags"])
    tree = yaml.safe_load((out / "config.yaml").read_text()) | {
        "environment": json.loads((out / "env.json").read_text())
    }
    assert {k: v for k, v in run["config"]["update"].items() if k != "_wandb"} == tree
    metrics = {
        metric["name"]: metric["summary"] for metric in records["metric"] if "summary" in metric
    }
    assert (
        metrics["val_dice"]["max"]
        and metrics["val_hd95"]["min"]
        and metrics["loss"] == {"last": True}
    )

    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    history = [record["item"] for record in records["history"]]
    assert [
        {k: item[k] for k in line} for item, line in zip(history, lines, strict=False)
    ] == lines and history[len(lines) :][0].keys().isdisjoint({"loss"})
    summary = {k: v for record in records["summary"] for k, v in record["update"].items()}
    expected = weights_and_biases.flat_summary(json.loads((out / "summary.json").read_text()))
    assert {k: v for k, v in summary.items() if k in expected} == expected
    assert {"last/val_dice", "val_best/step", "val_best/val_dice", "total_steps"} <= set(expected)

    logged = {k: v for item in history for k, v in item.items()}
    table = json.loads((files / logged["per_subject.path"]).read_text())
    rows = list(csv.reader((out / "per_subject.csv").open()))
    assert (
        table["columns"] == rows[0]
        and [[*r[:6], float(r[6]) if r[6] else None, r[7]] for r in rows[1:]] == table["data"]
    )
    stored = np.load(out / "examples.npz")
    assert logged["examples.count"] == len(stored["dice"]) > 0
    for i, layers in enumerate(logged["examples.all_masks"]):
        for name, layer in (("truth", "label"), ("prediction", "prediction")):
            assert np.array_equal(
                np.asarray(Image.open(files / layers[name]["path"])), stored[layer][i]
            ), (name, i)
    (model,) = (artifact for artifact in records["artifact"] if artifact["type"] == "model")
    held = {entry["path"]: entry for entry in model["manifest"]["contents"]}
    assert {
        "weights.safetensors",
        "weights_val_best.safetensors",
        "config.yaml",
        "summary.json",
        "env.json",
        "per_subject.csv",
    } == set(held)
    for name, entry in held.items():
        assert entry["digest"] == base64.b64encode(
            hashlib.md5((out / name).read_bytes()).digest()
        ).decode() and entry["local_path"] == str(out / name)
    assert records["exit"][0].get("exit_code", 0) == 0
    assert weights_and_biases._state(out)["finished"] == "offline"


def test_a_generators_fit_is_sent_whole(tmp_path, capsys):
    """Losses, diversity, grids and weights of a fit's folder by `track upload`. Catches a fit that
    upload does not find, a grid sent twice or lost after its step's line, and a generator among the
    runs of job type train.
    """
    fit = tmp_path / "gan"
    (fit / "grids").mkdir(parents=True)
    (fit / "config.yaml").write_text(
        "data: nuclei\nlabels: 16\ngenerator: {name: spade}\ndiscriminator: {name: patch}\n"
    )
    lines = [
        {
            "step": step,
            "loss": 1.0 / step,
            "diversity": 0.5,
        }
        for step in (2, 4)
    ]
    (fit / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for step in (2, 4):
        Image.fromarray(np.full((8, 8), step, np.uint8)).save(
            fit / "grids" / f"step_{step:06d}.png"
        )
    (fit / "weights.safetensors").write_bytes(b"weights")
    assert (
        main(["track", "upload", str(tmp_path)]) == 0
        and f"{fit}: offline" in capsys.readouterr().out
    )
    files, records = read_back(fit)
    (run,) = records["run"]
    assert run["job_type"] == "generator" and {"nuclei", "spade", "labels 16"} <= set(run["tags"])
    history = [record["item"] for record in records["history"]]
    assert [(item["step"], item["diversity"]) for item in history] == [(2, 0.5), (4, 0.5)]
    assert [np.asarray(Image.open(files / item["samples.path"])).max() for item in history] == [
        2,
        4,
    ]
    (weights,) = (artifact for artifact in records["artifact"] if artifact["type"] == "generator")
    assert {entry["path"] for entry in weights["manifest"]["contents"]} == {
        "weights.safetensors",
        "config.yaml",
    }
    assert weights_and_biases._state(fit)["finished"] == "offline"


def test_a_broken_or_hanging_w_and_b_costs_the_run_nothing(tiny, tmp_path, monkeypatch, caplog):
    """W&B raises, then hangs: the run is the same, one line says what to do. Catches a run that
    dies of, or waits for, its mirror.
    """

    def unreachable(*_):
        raise ConnectionError("no network")

    monkeypatch.setattr(weights_and_biases, "begin", unreachable)
    with mirror(tmp_path / "a", "wandb"):
        result = semiseg.run(tiny, tmp_path / "a", progress=False)
    assert (
        result.summary["status"] == "finished"
        and "no network" in caplog.text
        and "semiseg track upload" in caplog.text
    )
    monkeypatch.setattr(
        weights_and_biases,
        "begin",
        lambda *_: threading.Event().wait(30),
    )
    monkeypatch.setattr(follower, "WAIT", 0.2)
    with mirror(tmp_path / "a", "wandb"):
        pass
    assert "did not answer" in caplog.text


def test_what_the_run_raises_goes_through(tmp_path):
    """Catches a mirror that swallows the run's own error, and one that waits for a folder that
    never comes.
    """
    with pytest.raises(ZeroDivisionError), mirror(tmp_path / "none", "wandb"):
        raise ZeroDivisionError


def test_upload_sends_finished_runs_and_names_the_bad(tiny, tmp_path, monkeypatch, capsys):
    """Catches an upload that stops at the first failure, and runs sent twice. W&B itself is
    exercised above.
    """
    for name in "ab":
        semiseg.run(tiny, tmp_path / name, progress=False)
    sent = []

    def begin(folder, *_):
        if folder.name == "a":
            raise ConnectionError("no network")
        return folder

    monkeypatch.setattr(weights_and_biases, "begin", begin)
    monkeypatch.setattr(weights_and_biases, "send_scalars", lambda *_: None)

    def finish(run, folder, state):
        sent.append(run.name)
        weights_and_biases._remember(folder, {"finished": "online"})

    monkeypatch.setattr(weights_and_biases, "finish", finish)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main(["track", "upload", str(tmp_path)]) == 1
    output = capsys.readouterr().out
    assert sent == ["b"] and "failed: no network" in output
    assert (
        main(["track", "upload", str(tmp_path / "b")]) == 0
        and "already there" in capsys.readouterr().out
        and sent == ["b"]
    )


def test_the_flag_wins_over_the_environment(monkeypatch):
    """Catches a mirror that is on though nobody asked, and a typo that is ignored."""
    assert wanted(None) == "none"
    monkeypatch.setenv("SEMISEG_TRACK", "wandb")
    assert wanted(None) == "wandb" and wanted("none") == "none"
    with pytest.raises(UserError, match="choose one of none, wandb, tensorboard"):
        wanted("wand")


# ------------------------------------------------------------------ TensorBoard
def events_of(folder):
    """The events of a folder's one event file, decoded from its records: length, checksum, bytes,
    checksum.
    """
    from tensorboardX.proto import event_pb2

    (file,) = (folder / "tensorboard").glob("events.out.tfevents.*")
    data = file.read_bytes()
    events = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(event_pb2.Event.FromString(data[12 : 12 + length]))
        data = data[12 + length + 4 :]
    return events


def values_of(folder):
    """Every value of the events, with its step."""
    return [(event.step, value) for event in events_of(folder) for value in event.summary.value]


def test_tensorboard_holds_what_the_folder_holds(tiny, tmp_path):
    """Mirrored while it trains, and once more when the finished run is asked for again. Catches a
    line of the log that is lost or written twice, validation among training, hyperparameters of
    another run, and examples whose truth and prediction are swapped.
    """
    out = tmp_path / "run"
    for _ in range(2):
        with mirror(out, "tensorboard"):
            semiseg.run(tiny, out, progress=False)
    values = values_of(out)
    scalars = {(value.tag, step): value.simple_value for step, value in values}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert scalars["train/loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)
        if "val_dice" in line:
            dice = scalars["validation/dice", line["step"]]
            assert dice == pytest.approx(line["val_dice"], rel=1e-6)
    assert len([tag for tag, _ in scalars if tag == "train/loss"]) == len(lines)
    assert len([value for _, value in values if value.tag == "train/loss"]) == len(lines)
    summary = json.loads((out / "summary.json").read_text())
    assert scalars["last/val_dice", 20] == pytest.approx(summary["last"]["val"]["dice"], rel=1e-6)

    from tensorboardX.proto import plugin_hparams_pb2 as plugin

    (start,) = [v for _, v in values if v.tag == "_hparams_/session_start_info"]
    content = plugin.HParamsPluginData.FromString(start.metadata.plugin_data.content)
    hparams = content.session_start_info.hparams
    assert hparams["lr"].number_value == pytest.approx(tiny.lr)
    assert hparams["method.name"].string_value == "supervised"
    assert hparams["net.widths"].string_value == "4,8"

    pictures = [value.image for _, value in values if value.tag.startswith("examples/")]
    stored = np.load(out / "examples.npz")
    assert len(pictures) == len(stored["dice"]) > 0
    picture = np.asarray(Image.open(io.BytesIO(pictures[0].encoded_image_string)))
    height, width = stored["label"][0].shape
    assert picture.shape == (height, 3 * width, 3)
    image = picture[:, :width]
    for i, name in enumerate(("label", "prediction"), start=1):
        tinted = (picture[:, i * width : (i + 1) * width] != image).any(-1)
        assert not tinted[stored[name][0] == 0].any(), name
        assert tinted[stored[name][0] == 1].mean() > 0.9, name


def test_a_generators_grids_are_on_tensorboard(tmp_path):
    """Catches a grid at another step, and a fit that has no summary taken for a failure."""
    fit = tmp_path / "gan"
    (fit / "grids").mkdir(parents=True)
    (fit / "config.yaml").write_text("data: nuclei\nlabels: 16\ngenerator: {name: spade}\n")
    (fit / "metrics.jsonl").write_text('{"step": 2, "loss": 1.0, "diversity": 0.5}\n{"step": 4')
    Image.fromarray(
        np.full(
            (8, 8),
            7,
            np.uint8,
        )
    ).save(fit / "grids" / "step_000002.png")
    with mirror(fit, "tensorboard", job_type="generator"):
        pass
    values = {value.tag: (step, value) for step, value in values_of(fit)}
    assert values["train/diversity"][0] == 2
    step, grid = values["samples"]
    assert step == 2
    assert np.asarray(Image.open(io.BytesIO(grid.image.encoded_image_string))).max() == 7


def test_a_disk_that_takes_no_events_costs_the_run_nothing(tiny, tmp_path, caplog):
    """A file lies where the event folder should be. Catches a run that dies of its mirror."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "tensorboard").write_text("no folder")
    with mirror(out, "tensorboard"):
        result = semiseg.run(tiny, out, progress=False)
    assert result.summary["status"] == "finished"
    assert "not on TensorBoard" in caplog.text
    assert "--track tensorboard" in caplog.text


def test_tensorboard_without_its_package_is_refused_before_training(monkeypatch, capsys, tmp_path):
    """Catches a run that trains to its end and only then says that nothing was written."""
    monkeypatch.setattr(tensorboard.importlib.util, "find_spec", lambda name: None)
    assert (
        main(
            [
                "train",
                f"--out={tmp_path / 'run'}",
                "--track=tensorboard",
            ]
        )
        == 2
    )
    assert "pip install 'semiseg[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
