"""The quality report as a page: its table, and samples beside the real images their texture is
nearest to.
"""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.files import write_text
from semiseg.generators.paint import grey, picture, write_sheet
from semiseg.generators.quality_sets import Pairs, Reference

REPORT = "card.json"
NAMES_OF_GOOD_SAMPLES = "keep.txt"
NEIGHBOURS = "neighbours.png"
PAGE = "index.html"
STYLE = (
    "body{font:15px system-ui;max-width:60em;margin:2em auto}td,th{padding:.2em "
    ".8em;text-align:left}.no{color:#b00}img{max-width:100%}"
)


def write_page(
    out: Path,
    report: dict[str, Any],
    fake: Pairs,
    real: Reference,
    rows: int = 8,
) -> None:
    """Write card.json, keep.txt (the names that pass the filter), neighbours.png and index.html.

    Args:
      out: folder of the files.
      report: of :func:`semiseg.generators.quality_report.report_on`.
      fake: the set.
      real: what it was compared with.
      rows: samples of the picture.
    """
    out.mkdir(parents=True, exist_ok=True)
    write_report(out / REPORT, report)
    samples = report["samples"]
    good = [f"{sample['name']}\n" for sample in samples if sample["keep"]]
    write_text(out / NAMES_OF_GOOD_SAMPLES, "".join(good))
    chosen = samples_to_show(samples, rows)
    index = {name: i for i, name in enumerate(real.seen.names)}
    neighbours = [index[samples[i]["nearest"]] for i in chosen]
    columns = [
        grey(fake.images[chosen]),
        picture(fake.labels[chosen]),
        grey(real.seen.images[neighbours]),
        picture(real.seen.labels[neighbours]),
    ]
    write_sheet(out / NEIGHBOURS, columns)
    write_text(out / PAGE, _page(report))


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report as JSON."""
    write_text(path, json.dumps(report, indent=1) + "\n")


def samples_to_show(samples: list[dict[str, Any]], rows: int) -> list[int]:
    """Indices of the samples nearest to a seen image, then of the worst-agreed ones, then of some
    at even places of the set.

    >>> samples_to_show([{"texture": t, "dice": 1.0} for t in (0.1, 0.2, 0.3)], 2)
    [2, 0]
    """
    textures = np.array([sample["texture"] for sample in samples])
    dice = np.array([sample["dice"] for sample in samples])
    nearest = np.argsort(-textures)[: rows // 2]
    worst = np.argsort(dice)[: rows // 4]
    even = np.linspace(0, len(samples) - 1, rows)
    chosen = np.concatenate([nearest, worst, even.astype(int)])
    return list(dict.fromkeys(chosen.tolist()))[:rows]


def _page(report: dict[str, Any]) -> str:
    name = html.escape(report["set"])
    counts = report["counts"]
    verdict = "passes" if report["passed"] else "is REJECTED"
    dropped = counts["samples"] - counts["kept"]
    checks = "".join(_check_row(check) for check in report["checks"])
    figures = "".join(
        f"<tr><td>{html.escape(figure)}<td>{value:.4g}</tr>"
        for figure, value in report["figures"].items()
    )
    return (
        f"<!doctype html><meta charset=utf-8><title>Quality report of {name}</title>"
        f"<style>{STYLE}</style><h1>{name} {verdict}</h1>"
        f"<p>{counts['samples']} synthetic pairs beside {html.escape(report['data'])}: "
        f"{counts['seen']} seen pairs, {counts['held']} held-out ones. The filter keeps "
        f"{counts['kept']} and drops {dropped}.</p>"
        f"<table><tr><th>check<th>value<th>must be<th></tr>{checks}</table>"
        f"<h2>Nearest neighbours</h2><p>Synthetic image and mask; the seen image of most similar "
        f"texture and its mask. The first rows are the most similar.</p><img src={NEIGHBOURS}>"
        f"<h2>All figures</h2><table>{figures}</table>"
    )


def _check_row(check: dict[str, Any]) -> str:
    kind = "yes" if check["passed"] else "no"
    verdict = "pass" if check["passed"] else "FAIL"
    name = html.escape(check["check"])
    must = html.escape(check["must"])
    return f"<tr class={kind}><td>{name}<td>{check['value']:.4g}<td>{must}<td>{verdict}</tr>"
