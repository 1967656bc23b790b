"""A trained run as a folder to publish: weights, configuration, model card, licence. What is in it
is read from the run, never typed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from semiseg import config
from semiseg.errors import UserError

FILES = ("weights.safetensors", "config.yaml", "summary.json", "env.json", "per_subject.csv")


def export(run: str | Path, out: str | Path) -> Path:
    """Write ``out``/{weights.safetensors, config.yaml, summary.json, env.json, per_subject.csv,
    README.md, LICENSE}.

    Raises:
      UserError: no finished run in ``run``, or ``out`` holds something else.
    """
    run, out = Path(run), Path(out)
    if not (run / "summary.json").exists() or not (run / "weights.safetensors").exists():
        raise UserError(
            f"{run}: holds no finished run; the command that started it goes on with it"
        )
    if out.exists() and any(p.name not in {*FILES, "README.md", "LICENSE"} for p in out.iterdir()):
        raise UserError(f"{out}: is not empty; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (run / name).exists():
            shutil.copyfile(run / name, out / name)
    facts = _facts(run)
    (out / "README.md").write_text(card(facts), encoding="utf-8")
    (out / "LICENSE").write_text(licence(facts), encoding="utf-8")
    return out


def card(facts: dict[str, Any]) -> str:
    """The model card (Mitchell et al., FAT* 2019): what it is, what it was trained on, how well it
    does and on whom, what it is not for.
    """
    summary, tree, data, env = facts["summary"], facts["config"], facts["data"], facts["env"]
    tested = "test" in summary["last"]
    annotated = summary.get("labelled_subjects", [])
    versions = env.get("versions", {})
    made = (
        ", ".join(
            f"{name} {versions[name]}" for name in ("semiseg", "jax", "flax") if name in versions
        )
        or "versions not recorded"
    )
    lines = [
        "---", "license: other", f"license_name: {json.dumps(data['license'])}", "license_link: LICENSE", "library_name: semiseg",
        "tags: [image-segmentation, medical-image-segmentation, jax]", "---",
        f"# {summary['run']}: {tree['method']['name']} on {data['name']}", "",
        (f"A {tree['net']['name']} that segments {', '.join(data['classes'][1:])} in "
f"{data['channels']}-channel images, trained by semiseg."), "",
        "## Use", "", "```bash", "semiseg predict . --input images/ --output masks/", "```", "",
        (f"It expects images like those of {data['name']}; intensities are clipped and scaled per "
f"image. Classes: ")
        + ", ".join(f"{k} {name}" for k, name in enumerate(data["classes"])) + ".", "",
        "## Training", "",
        (f"- Data: {data['name']} ({data['citation']}); fingerprint "
f"`{env.get('data_fingerprint', 'not recorded')}`"),
        f"- Annotations used: {summary['subjects_labelled']} subjects "
        f"({summary['images_labelled']} images) of {summary['images_train']} training images;"
        f" label subset {tree['label_subset']}: "
        f"{', '.join(map(str, annotated[:20])) or 'not recorded'}{' …' if len(annotated) > 20 else ''}",
        (f"- {tree['steps']} steps of {tree['optimiser']}, batch {tree['batch']}, seed "
f"{tree['seed']}; all fields are in config.yaml"),
        (f"- {summary['parameters']:,} parameters, {summary['seconds_train']:.0f} s on "
f"{env.get('device', 'an unrecorded device')}"),
        f"- Made with {made}" + (f", commit {env['commit'][:12]}" if env.get("commit") else "") + ("; again: `semiseg train --config "
"config.yaml --out …`"), "",
        "## Scores of the last checkpoint, by subject", "", *_scores(facts), "",
        ("Mean ± standard deviation over subjects; in brackets how many have the score, where not "
"all do. Empty masks: ")
        + "; ".join(f"{k}: {v}" for k, v in summary.get("empty_policy", {}).items()) + (". Each subject's scores are in "
"per_subject.csv."), "",
        *([(f"Chosen on validation (step {summary['val_best']['step']}), and not these "
f"weights: validation Dice {summary['val_best']['val']['dice']:.3f}."), ""]
          if summary.get("val_best", {}).get("step", tree["steps"]) != tree["steps"] else []),
        "## Limits", "",
        ("- One run with one choice of annotated subjects: other seeds and subjects give other "
"numbers."),
        ("- Not a medical device; never validated for clinical use, nor on other scanners, sites "
"or populations than the data set's."),
        ("- Scores were not broken down by age, sex, disease or scanner: the store keeps none of "
"these."),
        *([(f"- The test split was looked at {data['looks']} times by all runs on this set so "
f"far (its ledger).")] if tested and data["looks"] else []),
        *([] if tested else [("- The test split was never scored: the numbers are validation "
"numbers.")]), "",
        "## Cite", "", ("semiseg (CITATION.cff of its repository), the data set above, and the "
"method:"), "", f"> {facts['source']}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _scores(facts: dict[str, Any]) -> list[str]:
    """A table with a row for each split and class, a column for each metric."""
    from semiseg.report.sentences import metric_label

    rows = [r for r in facts["rows"] if r["checkpoint"] == "last"]
    units = {r["metric"]: r["unit"] for r in rows}
    lines = [
        (
            f"| split | class | {' | '.join(metric_label(m, unit) for m, unit in units.items())} | "
            f"worst Dice |"
        ),
        "|---" * (len(units) + 3) + "|",
    ]
    for split in dict.fromkeys(r["split"] for r in rows):
        for name in dict.fromkeys(r["class"] for r in rows):
            here = {
                m: [
                    r["value"]
                    for r in rows
                    if (r["split"], r["class"], r["metric"]) == (split, name, m)
                ]
                for m in units
            }
            cells = [
                _spread([float(v) for v in values if v], len(values)) for values in here.values()
            ]
            worst = min((float(v) for v in here.get("dice", []) if v), default=None)
            lines.append(
                f"| {split} | {name} | {' | '.join(cells)} | "
                f"{'–' if worst is None else format(worst, '.3f')} |"
            )
    return lines


def _spread(values: list[float], count: int) -> str:
    import statistics

    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.3g}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4g}{deviation}" + (
        f" ({len(values)} of {count})" if len(values) < count else ""
    )


def licence(facts: dict[str, Any]) -> str:
    """Weights are derived from data: the data's terms come first."""
    data = facts["data"]
    return (
        f"These weights were trained on the data set {data['name']!r}, whose licence is:\n\n    "
        f"{data['license']}\n\n"
        f"Cite: {data['citation']}\n\nWhether weights inherit the terms of their training data "
        f"is not settled; treat them as if they do.\n"
        "The code that made them, semiseg, is licensed under Apache-2.0 "
        "(https://www.apache.org/licenses/LICENSE-2.0).\n"
    )


def _facts(run: Path) -> dict[str, Any]:
    from semiseg.data import store
    from semiseg.report.sentences import method_text
    from semiseg.runner import read_table
    from semiseg.train.checkpoint import load_weights

    tree = config.load_yaml(run / "config.yaml")
    _, header = load_weights(run / "weights.safetensors")
    data = {
        "name": tree["data"],
        "classes": header["classes"],
        "channels": header["channels"],
        "looks": 0,
    }
    data |= {"license": "not stated", "citation": "not stated"}
    try:
        info = store.info(tree["data"], tree.get("root"))
        data |= {
            "license": info.license,
            "citation": info.citation,
            "looks": len(store.ledger(tree["data"], tree.get("root"))),
        }
    except UserError:  # the data set is not on this machine: the header says what the weights need
        data["citation"] = f"the data set {tree['data']!r} is not on the machine that exported this"
    env = json.loads((run / "env.json").read_text()) if (run / "env.json").exists() else {}
    summary = json.loads((run / "summary.json").read_text())
    rows = read_table(run) if (run / "per_subject.csv").exists() else []
    return {
        "config": tree,
        "summary": summary,
        "env": env,
        "data": data,
        "rows": rows,
        "source": method_text(tree["method"]["name"])[1],
    }
