"""Scoring a finished run once more, on validation or test; its rows join the run's own files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax

from semiseg import config
from semiseg import runner as runs
from semiseg.data import store
from semiseg.errors import UserError
from semiseg.evaluate.subjects import SubjectRow
from semiseg.train.checkpoint import load_weights


def evaluate(folder: Path, split: str = "val", root: str | None = None) -> list[SubjectRow]:
    """Score the last checkpoint of the run in ``folder`` on a split; per_subject.csv and
    summary.json are brought up to date.

    Raises:
      UserError: no finished run there, no such split, or damaged weights.
    """
    if split not in ("val", "test"):
        raise UserError(f"--split is {split!r}: choose val or test")
    if not (folder / "summary.json").exists():
        raise UserError(
            f"{folder}: holds no finished run; the command that started it goes on with it"
        )
    trial = config.load(folder / "config.yaml")
    trial = dataclasses.replace(trial, root=root or trial.root)
    info = store.info(trial.data, trial.root)
    runs.check_data(folder, info)
    model = runs.model_of(trial, info)
    params, _ = load_weights(
        folder / "weights.safetensors", jax.eval_shape(lambda: model.init(jax.random.key(0)))
    )
    part = (
        runs.read_validation(trial.data, trial.root, trial.frame)
        if split == "val"
        else runs.read_test(trial.data, trial.root, trial.frame, run=str(folder))
    )
    rows, predictions, sure = runs.score_split(trial, model, info, params, part)
    summary = runs._json(folder / "summary.json")
    kept = [
        line
        for line in runs.read_table(folder)
        if (line["split"], line["checkpoint"]) != (split, "last")
    ]
    summary["last"][split] = runs.means(rows)
    summary.setdefault("calibration", {})[split] = sure
    summary[f"subjects_{split}"] = len({c.subject for c in part.cases})
    runs.write_table(
        folder,
        [
            *(tuple(line[f] for f in runs.FIELDS) for line in kept),
            *(runs._line(folder.name, split, "last", row) for row in rows),
        ],
    )
    runs.write_examples(folder, part, predictions)
    runs._write(folder / "summary.json", json.dumps(summary, indent=1))
    return rows
