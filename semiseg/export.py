"""A trained run as a folder to publish: weights, configuration, model card, licence. What is in it is read from the run, never typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from semiseg import config
from semiseg.errors import UserError

FILES = ("weights.safetensors", "config.yaml", "summary.json", "env.json", "per_subject.csv")


def export(run: str | Path, out: str | Path) -> Path:
    """Write ``out``/{weights.safetensors, config.yaml, summary.json, env.json, per_subject.csv, README.md, LICENSE}.

    Raises:
      UserError: no finished run in ``run``, or ``out`` holds something else.
    """
    run, out = Path(run), Path(out)
    if not (run / "summary.json").exists() or not (run / "weights.safetensors").exists():
        raise UserError(f"{run}: holds no finished run; the command that started it goes on with it")
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
    """The model card (Mitchell et al., FAT* 2019): what it is, what it was trained on, how well it does, what it is not for."""
    summary, tree, data = facts["summary"], facts["config"], facts["data"]
    scores = [
        f"| {split} | {name} | {value:.4g} |"
        for split, values in summary["last"].items() for name, value in values.items() if value is not None
    ]  # fmt: skip
    tested = "test" in summary["last"]
    unseen = ", ".join(str(s) for s in summary.get("labelled_subjects", [])[:20]) or "not recorded"
    more = " …" if len(summary.get("labelled_subjects", [])) > 20 else ""
    lines = [
        "---", f"license: {data['license']!r}", "library_name: semiseg", "tags: [medical-image-segmentation, jax]", "---",
        f"# {summary['run']}: {tree['method']['name']} on {data['name']}", "",
        f"A {tree['net']['name']} that segments {', '.join(data['classes'][1:])} in {data['channels']}-channel images, trained by semiseg.", "",
        "## Use", "", "```bash", "semiseg predict . --input images/ --output masks/", "```", "",
        f"It expects images like those of {data['name']}; intensities are clipped and scaled per image. Classes: "
        + ", ".join(f"{k} {name}" for k, name in enumerate(data["classes"])) + ".", "",
        "## Training", "",
        f"- Data: {data['name']} ({data['citation']})",
        f"- Annotations used: {summary['subjects_labelled']} subjects ({summary['images_labelled']} images) of {summary['images_train']} training images;"
        f" label subset {tree['label_subset']}: {unseen}{more}",
        f"- {tree['steps']} steps of {tree['optimiser']}, batch {tree['batch']}, seed {tree['seed']}; all fields are in config.yaml",
        f"- {summary['parameters']:,} parameters, {summary['seconds_train']:.0f} s on {facts['env'].get('device', 'an unrecorded device')}", "",
        "## Scores of the last checkpoint, by subject", "", "| split | metric | mean |", "|---|---|---|", *scores, "",
        "Empty masks: " + "; ".join(f"{k}: {v}" for k, v in summary.get("empty_policy", {}).items()) + ". Each subject's scores are in per_subject.csv.",
        "", "## Limits", "",
        "- One run with one choice of annotated subjects: other seeds and subjects give other numbers.",
        "- Not a medical device; never validated for clinical use, nor on other scanners, sites or populations than the data set's.",
        *([] if tested else ["- The test split was never scored: the numbers are validation numbers."]), "",
        "## Cite", "", "semiseg (CITATION.cff of its repository), the data set above, and the method:", "", f"> {facts['source']}", "",
    ]  # fmt: skip
    return "\n".join(lines)


def licence(facts: dict[str, Any]) -> str:
    """Weights are derived from data: the data's terms come first."""
    data = facts["data"]
    return (
        f"These weights were trained on the data set {data['name']!r}, whose licence is:\n\n    {data['license']}\n\n"
        f"Cite: {data['citation']}\n\nWhether weights inherit the terms of their training data is not settled; treat them as if they do.\n"
        "The code that made them, semiseg, is licensed under Apache-2.0 (https://www.apache.org/licenses/LICENSE-2.0).\n"
    )


def _facts(run: Path) -> dict[str, Any]:
    from semiseg.analysis.words import method_text
    from semiseg.data import store
    from semiseg.train.checkpoint import load_weights

    tree = config.load_yaml(run / "config.yaml")
    _, header = load_weights(run / "weights.safetensors")
    data = {"name": tree["data"], "classes": header["classes"], "channels": header["channels"], "license": "not stated", "citation": "not stated"}
    try:
        info = store.info(tree["data"], tree.get("root"))
        data |= {"license": info.license, "citation": info.citation}
    except UserError:  # the data set is not on this machine: the header says what the weights need
        data["citation"] = f"the data set {tree['data']!r} is not on the machine that exported this"
    env = json.loads((run / "env.json").read_text()) if (run / "env.json").exists() else {}
    summary = json.loads((run / "summary.json").read_text())
    return {"config": tree, "summary": summary, "env": env, "data": data, "source": method_text(tree["method"]["name"])[1]}
