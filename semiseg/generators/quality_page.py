"""The card as a page: its table, and samples beside the real images their texture is nearest to."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.generators.paint import grey, picture, write_sheet

STYLE = (
    "body{font:15px system-ui;max-width:60em;margin:2em auto}td,th{padding:.2em "
    ".8em;text-align:left}.no{color:#b00}img{max-width:100%}"
)


def write_page(out: Path, card: dict[str, Any], fake: Any, real: Any, rows: int = 8) -> None:
    """card.json, keep.txt (the names that pass the filter), neighbours.png and index.html in
    ``out``.

    Shown are the samples nearest to a seen image, then the worst-agreed ones, then some at even
    places of the set.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    samples = card["samples"]
    (out / "keep.txt").write_text("".join(f"{s['name']}\n" for s in samples if s["keep"]))
    near, bad = (
        np.argsort([-s["texture"] for s in samples]),
        np.argsort([s["dice"] for s in samples]),
    )
    even = np.linspace(0, len(samples) - 1, rows).astype(int)
    chosen = list(dict.fromkeys([*near[: rows // 2], *bad[: rows // 4], *even]))[:rows]
    place = {name: i for i, name in enumerate(real.seen.names)}
    other = [place[samples[i]["nearest"]] for i in chosen]
    columns = [
        grey(fake.images[chosen]),
        picture(fake.labels[chosen]),
        grey(real.seen.images[other]),
        picture(real.seen.labels[other]),
    ]
    write_sheet(out / "neighbours.png", columns)
    word = html.escape
    row = lambda c: (
        f"<td>{word(c['check'])}<td>{c['value']:.4g}<td>{word(c['must'])}<td>{'pass' if c['passed'] else 'FAIL'}</tr>"
    )
    checks = "".join(f"<tr class={'yes' if c['passed'] else 'no'}>{row(c)}" for c in card["checks"])
    figures = "".join(f"<tr><td>{word(k)}<td>{v:.4g}</tr>" for k, v in card["figures"].items())
    verdict = "passes" if card["passed"] else "is REJECTED"
    dropped = card["counts"]["samples"] - card["counts"]["kept"]
    text = (
        f"<!doctype html><meta charset=utf-8><title>Card of "
        f"{word(card['set'])}</title><style>{STYLE}</style>"
        f"<h1>{word(card['set'])} {verdict}</h1><p>{card['counts']['samples']} synthetic pairs "
        f"beside {word(card['data'])}: "
        f"{card['counts']['seen']} seen pairs, {card['counts']['held']} held-out ones. The "
        f"filter keeps {card['counts']['kept']} and drops {dropped}.</p>"
        f"<table><tr><th>check<th>value<th>must be<th></tr>{checks}</table>"
        f"<h2>Nearest neighbours</h2><p>Synthetic image and mask; the seen image of most similar "
        f"texture and its mask. The first rows are the most similar.</p>"
        f"<img src=neighbours.png><h2>All figures</h2><table>{figures}</table>"
    )
    (out / "index.html").write_text(text, encoding="utf-8")
