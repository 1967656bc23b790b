"""The W&B mirror: read back from its own offline files, and useless W&Bs that cost a run nothing."""

import csv
import json
import struct
import threading

import numpy as np
import pytest

import semiseg
from semiseg.cli.main import main
from semiseg.errors import UserError
from semiseg.track import mirror, wanted, weights_and_biases


@pytest.fixture(autouse=True)
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID", "SEMISEG_TRACK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def records(folder):
    """Records of a .wandb file by W&B's own protocol buffers; the file is a LevelDB log (32 KiB blocks of checksum, length, type, data)."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, place, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # full, last
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def test_an_offline_run_holds_what_the_folder_holds(tiny, tmp_path):
    """Mirrored while it trains; then every scalar, the configuration, summary, table, masks and model are found again.

    Catches scalars lost at the end or sent twice, masks without layers, a table without its undefined scores, and a missing artifact.
    """
    out = tmp_path / "run"
    with mirror(out, "wandb", group="g", job_type="test"):
        semiseg.run(tiny, out, progress=False)
    history: dict[str, dict[int, float]] = {}
    config, summary, run, artifacts, metrics = {}, {}, None, [], {}
    for record in records(out):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "history":
            items = {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            for key, value in items.items():
                history.setdefault(key, {})[int(items.get("step", items.get("_step", -1)))] = value
        elif kind == "summary":
            summary |= {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.summary.update}
        elif kind == "metric":
            metrics[record.metric.name] = record.metric.summary
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            artifacts.append(record.request.log_artifact.artifact)
        elif kind == "artifact":
            artifacts.append(record.artifact)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    for key in ("loss", "lr"):
        assert history[key] == {line["step"]: pytest.approx(line[key]) for line in lines}, key
    assert history["val_dice"] == {line["step"]: line["val_dice"] for line in lines if "val_dice" in line}
    assert run.run_group == "g" and run.job_type == "test" and {"discs", "supervised", "unet", "labels 4"} <= set(run.tags)
    assert config["method"]["name"] == "supervised" and config["labels"] == 4
    said = json.loads((out / "summary.json").read_text())
    assert summary["last/val_dice"] == pytest.approx(said["last"]["val"]["dice"])
    assert metrics["val_dice"].max and metrics["val_hd95"].min
    (count,) = history["per_subject.nrows"].values()
    rows = list(csv.reader((out / "per_subject.csv").open()))
    assert count == len(rows) - 1
    stored = json.loads(next((out / "wandb").glob("offline-run-*/files/media/table/per_subject*.table.json")).read_text())
    assert stored["columns"] == rows[0] and {tuple(r[:5]) for r in stored["data"]} == {tuple(r[:5]) for r in rows[1:]}
    (images,) = history["examples.count"].values()
    (masks,) = history["examples.all_masks"].values()
    kept = np.load(out / "examples.npz")
    assert images == len(kept["dice"]) and set(masks[0]) == {"truth", "prediction"}
    names = {entry.path for artifact in artifacts if artifact.type == "model" for entry in artifact.manifest.contents}
    assert {"weights.safetensors", "config.yaml", "summary.json"} <= names
    assert weights_and_biases._state(out)["finished"] == "offline"


def test_a_broken_or_hanging_w_and_b_costs_the_run_nothing(tiny, tmp_path, monkeypatch, caplog):
    """W&B raises, then hangs: the run is the same, one line says what to do. Catches a run that dies of, or waits for, its mirror."""
    monkeypatch.setattr(weights_and_biases, "begin", lambda *_: (_ for _ in ()).throw(ConnectionError("no network")))
    with mirror(tmp_path / "a", "wandb"):
        result = semiseg.run(tiny, tmp_path / "a", progress=False)
    assert result.summary["status"] == "finished" and "no network" in caplog.text and "semiseg track upload" in caplog.text
    monkeypatch.setattr(weights_and_biases, "begin", lambda *_: threading.Event().wait(30))
    monkeypatch.setattr(weights_and_biases, "WAIT", 0.2)
    with mirror(tmp_path / "a", "wandb"):
        pass
    assert "did not answer" in caplog.text


def test_what_the_run_raises_goes_through(tmp_path):
    """Catches a mirror that swallows the run's own error, and one that waits for a folder that never comes."""
    with pytest.raises(ZeroDivisionError), mirror(tmp_path / "none", "wandb"):
        raise ZeroDivisionError


def test_upload_sends_finished_runs_and_names_the_bad(tiny, tmp_path, monkeypatch, capsys):
    """Catches an upload that stops at the first failure, and runs sent twice. W&B itself is exercised above."""
    for name in "ab":
        semiseg.run(tiny, tmp_path / name, progress=False)
    sent = []

    def begin(folder, *_):
        if folder.name == "a":
            raise ConnectionError("no network")
        return folder

    monkeypatch.setattr(weights_and_biases, "begin", begin)
    monkeypatch.setattr(weights_and_biases, "send_scalars", lambda *_: None)
    remember = lambda folder: weights_and_biases._remember(folder, {"finished": "online"})
    monkeypatch.setattr(weights_and_biases, "finish", lambda run, folder, state: (sent.append(run.name), remember(folder)))
    monkeypatch.setenv("WANDB_MODE", "online")
    assert main(["track", "upload", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert sent == ["b"] and "failed: no network" in said
    assert main(["track", "upload", str(tmp_path / "b")]) == 0 and "already there" in capsys.readouterr().out and sent == ["b"]


def test_the_flag_wins_over_the_environment(monkeypatch):
    """Catches a mirror that is on though nobody asked, and a typo that is ignored."""
    assert wanted(None) == "none"
    monkeypatch.setenv("SEMISEG_TRACK", "wandb")
    assert wanted(None) == "wandb" and wanted("none") == "none"
    with pytest.raises(UserError, match="choose one of none, wandb"):
        wanted("wand")
