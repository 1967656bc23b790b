"""A trained run as a folder to publish: weights, configuration, model card, licence.

What is in the card is read from the run, never typed. The card follows Mitchell et al., "Model
cards for model reporting" (FAT* 2019): what it is, what it was trained on, how well it does and on
whom, what it is not for.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import statistics
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from semiseg import config
from semiseg.data import store
from semiseg.data.info import numbered
from semiseg.errors import UserError
from semiseg.escapes import markdown, markdown_code
from semiseg.evaluate.metric_titles import metric_label
from semiseg.files import check_shape, replacing, write_text
from semiseg.holding import holding
from semiseg.method_docs import describe_method
from semiseg.run_folder import PUBLISHED, REGIONS, TRAIN_AGAIN, RunFolder, region_label
from semiseg.shapes import COUNT, NAME, TEXT, Each
from semiseg.train.checkpoint import load_weights

CARD = "README.md"
LICENCE = "LICENSE"
NAMES = 20
HEADER_SHAPE = {"classes": Each(TEXT, least=2), "channels": COUNT}
_NAMED = {"name": NAME}
CONFIG_SHAPE = {
    "data": TEXT,
    "method": _NAMED,
    "net": _NAMED,
    **dict.fromkeys(("label_subset", "steps", "batch", "seed"), COUNT),
    "optimiser": TEXT,
}
SUMMARY_KEYS = (
    "run",
    "last",
    "subjects_labelled",
    "images_labelled",
    "images_train",
    "parameters",
    "seconds_train",
)
"""Annotated subjects that the card names."""


def export(run: str | Path, out: str | Path) -> Path:
    """Write ``out``/{weights.safetensors, config.yaml, summary.json, env.json, per_subject.csv,
    README.md, LICENSE}.

    Raises:
      UserError: no finished run in ``run``, or ``out`` holds something else.
    """
    folder = finished(run)
    out = Path(out)
    with holding(out, "semiseg export"):
        check_empty(out, {*PUBLISHED, CARD, LICENCE})
        facts = facts_of(folder)
        out.mkdir(parents=True, exist_ok=True)
        for name in PUBLISHED:
            if (folder.path / name).exists():
                with replacing(out / name) as partial:
                    shutil.copyfile(folder.path / name, partial)
        write_text(out / LICENCE, licence(facts.data))
        write_text(out / CARD, card(facts))  # last: its presence says that the rest is there
    return out


def finished(run: str | Path) -> RunFolder:
    """The folder of a finished run. Raises UserError where it is none."""
    folder = RunFolder(Path(run))
    if not folder.path.is_dir():
        raise UserError(f"{folder}: there is no such folder; name the folder of a run")
    if not (folder.finished and folder.trained):
        raise UserError(
            f"{folder}: holds no finished run; run the command that started it again to resume"
        )
    return folder


def check_empty(out: Path, names: set[str]) -> None:
    """Refuse a folder that holds other files than an export writes."""
    if out.exists() and not {path.name for path in out.iterdir()} <= names:
        raise UserError(f"{out}: is not empty; choose another --out")


# ------------------------------------------------------------------ what the run says
@dataclasses.dataclass(frozen=True)
class Data:
    """What the card says of the data set.

    Attributes:
      name: of the set.
      classes: names, background first.
      channels: of an image.
      license: its terms.
      citation: how to cite it.
      test_evaluations: how many times its ledger says that the test split was read.
    """

    name: str
    classes: Sequence[str]
    channels: int
    license: str = "not stated"
    citation: str = "not stated"
    test_evaluations: int = 0


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a card is made of.

    Attributes:
      config: config.yaml.
      summary: summary.json.
      environment: env.json; empty where the run has none.
      data: the data set.
      rows: per_subject.csv.
      source: the paper of the method.
    """

    config: dict[str, Any]
    summary: dict[str, Any]
    environment: dict[str, Any]
    data: Data
    rows: list[dict[str, str]]
    source: str


def facts_of(folder: RunFolder) -> Facts:
    """Read a run's folder."""
    tree = config.load_yaml(folder.config)
    _, header = load_weights(folder.weights)
    environment: dict[str, Any] = {}
    if folder.environment.exists():
        environment = folder.read_environment()
    rows: list[dict[str, str]] = []
    if folder.scores.exists():
        rows = folder.read_scores()
    check_shape(header, HEADER_SHAPE, folder.weights, TRAIN_AGAIN)
    summary = folder.read_summary()
    _check_complete(header, HEADER_SHAPE, folder.weights)
    _check_complete(tree, CONFIG_SHAPE, folder.config)
    _check_complete(summary, SUMMARY_KEYS, folder.summary)
    check_shape(tree, CONFIG_SHAPE, folder.config, TRAIN_AGAIN)
    data = data_of(tree, header)
    source = describe_method(tree["method"]["name"], "").source
    return Facts(tree, summary, environment, data, rows, source)


def _check_complete(content: dict[str, Any], keys: Iterable[str], file: Path) -> None:
    """Refuse a file that lacks what the card says.

    Raises:
      UserError: a key is missing, or its value null.
    """
    for key in keys:
        if content.get(key) is None:
            raise UserError(f"lacks {key!r}", where=file, remedy=TRAIN_AGAIN)


def data_of(tree: dict[str, Any], header: dict[str, Any]) -> Data:
    name = tree["data"]
    data = Data(name, header["classes"], header["channels"])
    root = tree.get("root")
    try:
        info = store.info(name, root)
        evaluations = store.history(name, root).evaluations
    except UserError:  # the header says what the weights need
        absent = f"the data set {name!r} is not on the machine that exported this"
        return dataclasses.replace(data, citation=absent)
    return dataclasses.replace(
        data, license=info.license, citation=info.citation, test_evaluations=evaluations
    )


# ------------------------------------------------------------------ the card
def card(facts: Facts) -> str:
    """The model card as Markdown."""
    sections = [
        front_matter(facts.data),
        _title(facts),
        use_of(facts.data),
        _training(facts),
        _scores(facts),
        _limits(facts),
        cited(facts),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def front_matter(data: Data) -> list[str]:
    return [
        "---",
        "license: other",
        f"license_name: {json.dumps(data.license)}",
        f"license_link: {LICENCE}",
        "library_name: semiseg",
        "tags: [image-segmentation, medical-image-segmentation, jax]",
        "---",
    ]


def _title(facts: Facts) -> list[str]:
    data = facts.data
    return [
        markdown(f"# {facts.summary['run']}: {facts.config['method']['name']} on {data.name}"),
        "",
        f"A {facts.config['net']['name']} that segments {markdown(', '.join(data.classes[1:]))} in "
        f"{data.channels}-channel images, trained by semiseg.",
    ]


def use_of(data: Data) -> list[str]:
    classes = ", ".join(f"{k} {name}" for k, name in enumerate(data.classes))
    return [
        "## Use",
        "",
        "```bash",
        "semiseg predict . --input images/ --output masks/",
        "```",
        "",
        f"It expects images like those of {markdown(data.name)}; intensities are clipped and "
        f"scaled per image. Classes: {markdown(classes)}.",
    ]


def _training(facts: Facts) -> list[str]:
    summary = facts.summary
    tree = facts.config
    environment = facts.environment
    fingerprint = environment.get("data_fingerprint", "not recorded")
    device = environment.get("device", "an unrecorded device")
    commit = ""
    if environment.get("commit"):
        commit = f", commit {environment['commit'][:12]}"
    return [
        "## Training",
        "",
        f"- Data: {markdown(f'{facts.data.name} ({facts.data.citation})')}; fingerprint "
        f"{markdown_code(fingerprint)}",
        f"- Annotations used: {numbered(summary['subjects_labelled'], 'subject')} "
        f"({numbered(summary['images_labelled'], 'image')}) of "
        f"{numbered(summary['images_train'], 'training image')}; "
        f"label subset {tree['label_subset']}: {_subjects(summary)}",
        f"- {tree['steps']} steps of {tree['optimiser']}, batch {tree['batch']}, seed "
        f"{tree['seed']}; all fields are in config.yaml",
        f"- {summary['parameters']:,} parameters, {summary['seconds_train']:.0f} s on {device}",
        f"- Made with {versions_of(environment)}{commit}; to repeat it: `semiseg train --config "
        f"config.yaml --out …`",
    ]


def _subjects(summary: dict[str, Any]) -> str:
    annotated = summary.get("labelled_subjects", [])
    names = markdown(", ".join(map(str, annotated[:NAMES]))) or "not recorded"
    return f"{names} …" if len(annotated) > NAMES else names


def versions_of(environment: dict[str, Any]) -> str:
    versions = environment.get("versions", {})
    known = [f"{name} {versions[name]}" for name in ("semiseg", "jax", "flax") if name in versions]
    return ", ".join(known) or "versions not recorded"


def _scores(facts: Facts) -> list[str]:
    policy = facts.summary.get("empty_policy", {})
    empty = "; ".join(f"{name}: {value}" for name, value in policy.items())
    lines = [
        "## Scores of the last checkpoint, by subject",
        "",
        *score_table(facts.rows, facts.summary.get(REGIONS, {})),
        "",
        "Mean ± standard deviation over subjects; in brackets how many have the score, where not "
        f"all do. Empty masks: {empty}. Each subject's scores are in per_subject.csv.",
    ]
    best = facts.summary.get("val_best", {})
    if best.get("step", facts.config["steps"]) != facts.config["steps"]:
        lines += [
            "",
            f"Chosen on validation (step {best['step']}), and not these weights: validation Dice "
            f"{best['val']['dice']:.3f}.",
        ]
    return lines


def score_table(rows: list[dict[str, str]], regions: Container[str] = ()) -> list[str]:
    """A table with a row for each split and class or region, a column for each metric."""
    last = [row for row in rows if row["checkpoint"] == "last"]
    units = {row["metric"]: row["unit"] for row in last}
    values: dict[tuple[str, str], dict[str, list[str]]] = {}
    for row in last:
        line = values.setdefault((row["split"], row["class"]), {name: [] for name in units})
        line[row["metric"]].append(row["value"])
    titles = [metric_label(name, unit) for name, unit in units.items()]
    lines = [
        _table_line(["split", "class", *titles, "worst Dice"]),
        "|---" * (len(units) + 3) + "|",
    ]
    for (split, class_), by_metric in values.items():
        cells = [_spread(column) for column in by_metric.values()]
        name = region_label(class_) if class_ in regions else class_
        lines.append(_table_line([split, name, *cells, _worst(by_metric.get("dice", []))]))
    return lines


def _table_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown, cells))} |"


def _spread(column: Sequence[str]) -> str:
    """Mean and standard deviation of a column; an undefined score is empty.

    >>> _spread(["0.5", "0.7", ""])
    '0.6 ± 0.141 (2 of 3)'
    """
    values = [float(value) for value in column if value]
    if not values:
        return "–"
    text = f"{statistics.mean(values):.4g}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.3g}"
    if len(values) < len(column):
        text += f" ({len(values)} of {len(column)})"
    return text


def _worst(column: Sequence[str]) -> str:
    values = [float(value) for value in column if value]
    return f"{min(values):.3f}" if values else "–"


def _limits(facts: Facts) -> list[str]:
    lines = [
        "## Limits",
        "",
        "- One run with one choice of annotated subjects: other seeds and subjects give other "
        "numbers.",
        "- Not a medical device; never validated for clinical use, nor on other scanners, sites "
        "or populations than the data set's.",
        "- Scores were not broken down by age, sex, disease or scanner: the store has none of "
        "these.",
    ]
    evaluations = facts.data.test_evaluations
    if "test" not in facts.summary["last"]:
        lines.append("- The test split was never scored: the numbers are validation numbers.")
    elif evaluations:
        lines.append(
            f"- All runs on this set evaluated the test split {evaluations} times so far (its "
            f"ledger)."
        )
    return lines


def cited(facts: Facts) -> list[str]:
    return [
        "## Cite",
        "",
        "semiseg (CITATION.cff of its repository), the data set above, and the method:",
        "",
        f"> {facts.source}",
    ]


def licence(data: Data) -> str:
    """Weights are derived from data: the data's terms come first."""
    return (
        f"These weights were trained on the data set {data.name!r}, whose licence is:\n\n"
        f"    {data.license}\n\n"
        f"Cite: {data.citation}\n\n"
        "Whether weights inherit the terms of their training data is not settled; treat them as "
        "if they do.\n"
        "The code that made them, semiseg, is licensed under Apache-2.0 "
        "(https://www.apache.org/licenses/LICENSE-2.0).\n"
    )
