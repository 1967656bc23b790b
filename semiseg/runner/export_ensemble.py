"""Several runs as one model to publish: their probabilities are averaged.

One weights file holds all networks, each with what prediction needs to know of it (configuration,
classes, what training saw). So the folds of a cross-validation leave as one file that predicts.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.escapes import csv_mapping, markdown, markdown_code
from semiseg.files import replacing, write_text
from semiseg.holding import holding
from semiseg.run_folder import REGIONS, SCORE_COLUMNS, WEIGHTS, RunFolder
from semiseg.runner.export_run import (
    CARD,
    LICENCE,
    Facts,
    check_empty,
    cited,
    facts_of,
    finished,
    front_matter,
    licence,
    score_table,
    use_of,
    versions_of,
)
from semiseg.runner.predictor import MEMBERS, prefix_of
from semiseg.train.checkpoint import load_weights, save_weights

MEMBERS_FILE = "members.json"
SCORES_FILE = "scores.csv"
ENSEMBLE = "ensemble"
"""Stands for a run in the scores."""


def export_ensemble(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Write ``out``/{weights.safetensors, members.json, scores.csv, README.md, LICENSE}.

    Args:
      runs: folders of finished runs of one data set, with the same classes and channels.
      out: the folder.

    Raises:
      UserError: a run is not finished, the runs do not fit together, or ``out`` holds something
        else.
    """
    folders = [finished(run) for run in runs]
    out = Path(out)
    with holding(out, "semiseg export"):
        check_empty(out, {WEIGHTS, MEMBERS_FILE, SCORES_FILE, CARD, LICENCE})
        facts = [facts_of(folder) for folder in folders]
        _check_alike(folders, facts)
        networks: dict[str, np.ndarray] = {}
        headers = []
        for i, folder in enumerate(folders):
            params, header = load_weights(folder.weights)
            networks |= {f"{prefix_of(i)}{name}": array for name, array in params.items()}
            headers.append(header | {"config": facts[i].config, "run": folder.name})
        out.mkdir(parents=True, exist_ok=True)
        first = facts[0]
        shared = {"classes": list(first.data.classes), "channels": first.data.channels}
        save_weights(out / WEIGHTS, networks, shared | {MEMBERS: headers})
        rows = mean_scores(facts)
        with replacing(out / SCORES_FILE) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, SCORE_COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(csv_mapping, rows))
        members = [_member(folder, one) for folder, one in zip(folders, facts, strict=True)]
        write_text(out / MEMBERS_FILE, json.dumps(members, indent=1))
        write_text(out / LICENCE, licence(first.data))
        write_text(out / CARD, _card(facts, rows))  # last: its presence says the rest is there
    return out


def _check_alike(folders: Sequence[RunFolder], facts: Sequence[Facts]) -> None:
    for folder, one in zip(folders, facts, strict=True):
        for what in ("name", "classes", "channels"):
            first = getattr(facts[0].data, what)
            other = getattr(one.data, what)
            if first != other:
                raise UserError(
                    f"the runs differ in their {what}: {first} ({folders[0]}) and {other}",
                    where=folder.path,
                    remedy="export runs of one data set",
                )


def mean_scores(facts: Sequence[Facts]) -> list[dict[str, str]]:
    """Rows of per_subject.csv of the last checkpoint, each the mean over the runs that scored it.

    Of folds each validation subject has the score of the networks that did not train on it.
    """
    values: dict[tuple[str, ...], list[str]] = {}
    for one in facts:
        for row in one.rows:
            if row["checkpoint"] == "last":
                key = tuple(row[name] for name in SCORE_COLUMNS if name not in ("run", "value"))
                values.setdefault(key, []).append(row["value"])
    names = [name for name in SCORE_COLUMNS if name not in ("run", "value")]
    rows = []
    for key, scores in values.items():
        defined = [float(score) for score in scores if score]
        value = f"{statistics.mean(defined):.6f}" if defined else ""
        rows.append(dict(zip(names, key, strict=True)) | {"run": ENSEMBLE, "value": value})
    return sorted(rows, key=_place)


def _place(row: dict[str, str]) -> tuple[bool, str]:
    """Validation first, subjects in the order of their names."""
    return row["split"] != "val", row["subject"]


def _member(folder: RunFolder, facts: Facts) -> dict[str, Any]:
    """What members.json says of a run."""
    return {
        "run": folder.name,
        "config": facts.config,
        "labelled_subjects": facts.summary.get("labelled_subjects", []),
        "environment": facts.environment,
    }


# ------------------------------------------------------------------ the card
def _card(facts: Sequence[Facts], rows: list[dict[str, str]]) -> str:
    first = facts[0]
    sections = [
        front_matter(first.data),
        _title(facts),
        use_of(first.data),
        _training(facts),
        _scores(facts, rows),
        _limits(facts),
        cited(first),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _folds(facts: Sequence[Facts]) -> int:
    """Folds of the cross-validation that the runs are of; 0 where they are of none."""
    return int(facts[0].config.get("folds") or 0)


def _title(facts: Sequence[Facts]) -> list[str]:
    first = facts[0]
    what = f"{len(facts)} networks"
    if _folds(facts):
        what += f" of {_folds(facts)} folds"
    return [
        markdown(f"# {first.config['method']['name']} on {first.data.name}: {what}"),
        "",
        f"{what}, whose probabilities are averaged: {first.config['net']['name']} that segments "
        f"{markdown(', '.join(first.data.classes[1:]))} in {first.data.channels}-channel images, "
        f"trained by semiseg. `{WEIGHTS}` holds them all.",
    ]


def _training(facts: Sequence[Facts]) -> list[str]:
    first = facts[0]
    labelled: set[str] = set()
    for one in facts:
        labelled |= set(map(str, one.summary.get("labelled_subjects", [])))
    fingerprint = first.environment.get("data_fingerprint", "not recorded")
    counts = sorted({one.summary["subjects_labelled"] for one in facts})
    most = numbered(counts[-1], "subject")
    used = " or ".join([*map(str, counts[:-1]), most])
    seconds = sum(one.summary["seconds_train"] for one in facts)
    return [
        "## Training",
        "",
        f"- Data: {markdown(f'{first.data.name} ({first.data.citation})')}; fingerprint "
        f"{markdown_code(fingerprint)}",
        f"- Annotations used: {used} a network, {len(labelled)} in all",
        f"- {first.config['steps']} steps of {first.config['optimiser']}, batch "
        f"{first.config['batch']}; every network's fields are in {MEMBERS_FILE}",
        f"- {first.summary['parameters']:,} parameters a network, {seconds:.0f} s in all",
        f"- Made with {versions_of(first.environment)}",
    ]


def _scores(facts: Sequence[Facts], rows: list[dict[str, str]]) -> list[str]:
    who = (
        "Each subject's score is the mean of those of the networks. The ensemble itself was not "
        "scored."
    )
    if _folds(facts):
        who = (
            "Each validation subject was held out by one fold, and has the score of the networks "
            "that did not train on it. The ensemble itself cannot be scored on these subjects: all "
            "but one of its folds trained on them."
        )
    return [
        "## Scores by subject",
        "",
        *score_table(rows, facts[0].summary.get(REGIONS, {})),
        "",
        f"Mean ± standard deviation over subjects. {who} The scores are in {SCORES_FILE}.",
    ]


def _limits(facts: Sequence[Facts]) -> list[str]:
    lines = [
        "## Limits",
        "",
        "- Not a medical device; never validated for clinical use, nor on other scanners, sites "
        "or populations than the data set's.",
    ]
    missing = sorted(set(range(_folds(facts))) - {one.config.get("fold") for one in facts})
    if missing:
        named = ", ".join(map(str, missing))
        lines.append(f"- Folds without a network: {named}. Their subjects have no score here.")
    if not any("test" in one.summary["last"] for one in facts):
        lines.append("- The test split was never scored.")
    return lines
