"""Pseudo-labels in the report, from logs with the very keys that the trainer writes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analysis.fake import write_run

from semiseg.analysis import pseudo_labels
from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.errors import UserError
from semiseg.report import page as report
from semiseg.report import section, summary
from semiseg.report.figures import FIGURES, pseudo_label_classes, pseudo_label_trends
from semiseg.train import diagnostics
from semiseg.types import Pseudo

from .test_page import Page

CLASSES, STEPS = 3, (10, 20, 30, 40)


@pytest.fixture(scope="module")
def keys():
    """What :func:`semiseg.train.diagnostics.summary` gives the log, in that order."""
    p = jnp.zeros((1, 2, 2, CLASSES))
    return list(
        jax.eval_shape(
            lambda: diagnostics.summary(
                diagnostics.count(Pseudo(p, p[..., 0] > 0, p), jnp.zeros((1, 2, 2), int))
            )
        )
    )


def value(keys, key, t, labels, seed):
    """No two keys, steps, budgets or seeds have one value, and the mean over seeds is not their
    median.
    """
    return 0.2 + 0.01 * keys.index(key) + 0.03 * t + 0.001 * labels + 0.1 * seed**2


def write_log(folder, keys, values, steps=STEPS):
    """metrics.jsonl of a run: ``values(key, t)`` is left out where it is NaN, as the trainer does."""
    lines = [
        {"step": step, "loss": 1.0} | {k: v for k in keys if (v := values(k, t)) == v}
        for t, step in enumerate(steps)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture(scope="module")
def taught(keys, tmp_path_factory):
    """Supervised runs, which log no pseudo-labels, and two methods at two budgets with three seeds."""
    folder = tmp_path_factory.mktemp("taught")
    for method in ("supervised", "mean_teacher", "pseudo_label"):
        for labels in (4, 8):
            for seed in range(3):
                run = write_run(
                    folder,
                    method=method,
                    labels=labels,
                    seed=seed,
                    subjects=2,
                    classes=("a", "b"),
                    examples=False,
                )
                shift = 0.05 * (method == "pseudo_label")
                write_log(
                    run,
                    [] if method == "supervised" else keys,
                    lambda k, t: value(keys, k, t, labels, seed) + shift,
                )
    return study(load_runs(folder), tests=False)


def test_what_the_trainer_logs_is_drawn_for_each_budget(taught, keys):
    """Catches a renamed key, accuracy or ECE that is not drawn, budgets pooled, a median for the
    mean, and background averaged in.
    """
    measures = {key.removeprefix("pseudo_").split("_")[0] for key in keys}
    assert (
        measures
        == set(pseudo_label_trends.MEASURES) | set(pseudo_label_classes.MEASURES)
        >= {"accepted", "accuracy", "ece", "gap", "lead", "recall"}
    )
    assert {"accepted", "accuracy", "ece", "gap"} <= set(pseudo_label_trends.MEASURES) and {
        "accepted",
        "accuracy",
        "recall",
    } <= set(pseudo_label_classes.MEASURES)
    panels = np.reshape(
        pseudo_label_trends.trends(taught).axes, (len(pseudo_label_trends.MEASURES), 2)
    )
    assert [p.get_title(loc="left") for p in panels[0]] == ["4 annotated", "8 annotated"]
    for row, (measure, name) in zip(panels, pseudo_label_trends.MEASURES.items()):
        assert row[0].get_ylabel() == name
        logged = ["pseudo_lead"] if measure == "lead" else [f"pseudo_{measure}_{k}" for k in (1, 2)]
        for panel, labels in zip(row, (4, 8)):
            lines = {line.get_label(): line for line in panel.lines}
            assert set(lines) == {"mean teacher", "pseudo label"}
            mean = [
                np.mean([value(keys, k, t, labels, s) for k in logged for s in range(3)])
                for t in range(len(STEPS))
            ]
            np.testing.assert_allclose(lines["mean teacher"].get_ydata(), mean)
            np.testing.assert_array_equal(lines["pseudo label"].get_xdata(), STEPS)
    with pytest.raises(UserError, match="held-back labels"):
        pseudo_label_trends.trends(study(taught.runs.where(method="supervised"), tests=False))


def test_a_drowned_class_is_seen(keys, tmp_path):
    """A class that gets no pixel any more has no share, whatever it had before. Catches the last
    value found, a lost class unsaid, classes exchanged.
    """
    gone = lambda k, t: (
        float("nan")
        if t == 3 and k in ("pseudo_accepted_2", "pseudo_accuracy_2")
        else 0.0
        if k == "pseudo_recall_2"
        else 0.9
    )
    write_log(
        write_run(tmp_path, method="mean_teacher", classes=("a", "b"), subjects=2, examples=False),
        keys,
        gone,
    )
    s = study(load_runs(tmp_path))
    head, row = pseudo_label_classes.class_table(s)
    cells = dict(zip(head, row))
    assert (cells["Accepted, b"], cells["Accuracy, b"], cells["Recall, b"], cells["Recall, a"]) == (
        "–",
        "–",
        "0.00",
        "0.90",
    )
    accepted, accuracy, recall = pseudo_label_classes.by_class(s).axes
    assert [t.get_text() for t in accuracy.texts] == ["90", "90", "–"] and [
        t.get_text() for t in recall.texts
    ] == ["90", "90", "0"]
    assert [t.get_text() for t in accepted.get_xticklabels()] == ["background", "a", "b"]
    assert summary.pseudo_label_sentences(s) == [
        "Class b is nearly lost (recall below 0.1) with mean teacher."
    ], "four lines tell no more"


@pytest.mark.parametrize(
    "accepted, accuracy, ece, words",
    [
        (
            0.9,
            (0.3, 0.5, 0.7, *[0.8] * 6, *[0.6] * 3),
            (*[0.2] * 9, *[0.3] * 3),
            "bias shows most in mean teacher: from step 20 on",
        ),
        (
            0.9,
            (0.5, *[0.6] * 4, 0.8, *[0.6] * 6),
            (*[0.2] * 6, *[0.3] * 6),
            "no method shows confirmation bias",
        ),  # one lucky line
        (
            0.9,
            (*[0.6] * 4, 0.8, *[0.6] * 3),
            (*[0.2] * 4, *[0.3] * 4),
            "no method shows confirmation bias",
        ),
        (
            0.9,
            (*[0.8] * 6, *[0.6] * 6),
            [0.2] * 12,
            "no method shows confirmation bias",
        ),  # less often right, and knows it
        (
            0.9,
            (*[0.7, 0.9] * 3, *[0.65, 0.85] * 3),
            (*[0.2] * 6, *[0.3] * 6),
            "no method shows confirmation bias",
        ),  # a fall that nobody sees in the wobble of the curve
        (
            0.05,
            (*[0.8] * 6, *[0.6] * 6),
            (*[0.2] * 6, *[0.3] * 6),
            "mean teacher accepted less than 0.10 of the foreground at the end",
        ),
    ],
)
def test_bias_is_a_lasting_fall_that_is_not_admitted(accepted, accuracy, ece, words, tmp_path):
    """Catches an alarm for one line of a log, for a method that knows that it errs, and for one
    that teaches itself next to nothing.
    """
    run = write_run(tmp_path, method="mean_teacher", classes=("a",), subjects=2, examples=False)
    lines = [
        {"step": 5 * t}
        | {
            f"pseudo_{m}{k}": v
            for m, v in (("accepted", accepted), ("accuracy", a), ("ece", e), ("recall", 0.05))
            for k in ("", "_0", "_1")
        }
        for t, (a, e) in enumerate(zip(accuracy, ece))
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = summary.pseudo_label_sentences(study(load_runs(tmp_path)))
    assert words in said[0] and any("nearly lost" in line for line in said) == (accepted > 0.1)


def test_what_no_run_logged_has_no_panel(keys, tmp_path):
    """A method whose student never sees the taught pixels has neither gap nor lead. Catches empty
    axes, and a row lost that has a curve.
    """
    alone = lambda k, t: float("nan") if "gap" in k or "lead" in k else 0.5
    write_log(
        write_run(tmp_path, method="pseudo_label", classes=("a", "b"), subjects=2, examples=False),
        keys,
        alone,
    )
    panels = pseudo_label_trends.trends(study(load_runs(tmp_path))).axes
    assert [p.get_ylabel() for p in panels] == [
        pseudo_label_trends.MEASURES[m] for m in ("accepted", "accuracy", "ece")
    ]
    assert all(len(p.lines) == 1 for p in panels)


def test_colours_go_to_confirmation_bias():
    """Catches colours by name or by size, a rise of accuracy taken for a fall, and the luck of a
    few early pixels taken for a best.
    """

    def curve(accuracy, ece, accepted=(0.5, 0.6, 0.7, 0.8)):
        return pseudo_labels.Curves(
            np.array(STEPS, float),
            {
                k: np.array(v, float)
                for k, v in zip(("accuracy", "ece", "accepted"), (accuracy, ece, accepted))
            },
            0,
            1,
        )

    steady = curve([0.5, 0.6, 0.7, 0.8], [0.3, 0.2, 0.1, 0.1])
    falls, rises = curve([0.5, 0.8, 0.7, 0.6], [0.1] * 4), curve([0.8] * 4, [0.3, 0.1, 0.2, 0.4])
    lucky = curve(
        [1.0, 0.6, 0.6, 0.6],
        [0.1] * 4,
        (0.001, 0.6, 0.7, 0.8),
    )
    assert [round(pseudo_labels.confirmation(c), 6) for c in (steady, falls, rises, lucky)] == [
        0,
        0.2,
        0.3,
        0,
    ]
    arms = {f"{i:02d}": [] for i in range(12)}
    found = {(arm, n): falls if arm > "05" and n == 4 else lucky for arm in arms for n in (4, 8)}
    assert pseudo_label_trends.coloured_arms(found, [4, 8]) == {f"{i:02d}" for i in range(6, 12)}
    assert (
        pseudo_label_trends.coloured_arms(found, [8]) == {f"{i:02d}" for i in range(6)}
        and len(pseudo_label_trends.coloured_arms(dict(list(found.items())[:16]), [4])) == 8
    )


def test_page_tells_of_pseudo_labels_and_of_what_pre_training_cost(keys, tmp_path, monkeypatch):
    """Catches the part falling out of the page, a pre-training that costs nothing or is counted for
    every run, and steps that leave it out.
    """
    biased = lambda k, t: (
        (0.8 if t < 5 else 0.6)
        if "accuracy" in k
        else (0.1 if t < 5 else 0.3)
        if "ece" in k
        else 0.5
    )
    for init in ("none", "masked_image"):
        for seed in range(2):
            run = write_run(
                tmp_path / "runs", method="mean_teacher", labels=4, subset=seed, examples=False, subjects=2, metrics=("dice",),
                name=f"{init}{seed}", config={"init": {"name": init}},
            )  # fmt: skip
            write_log(
                run,
                keys,
                biased if init == "none" else lambda k, t: 0.5,
                range(10, 90, 10),
            )
            told = (
                {"init": init, "total_steps": 900, "seconds_init": 600.0}
                if init != "none"
                else {"init": init, "total_steps": 300, "seconds_init": 0.0}
            )
            (run / "summary.json").write_text(
                json.dumps(json.loads((run / "summary.json").read_text()) | told)
            )
    saved = []
    monkeypatch.setattr(
        section, "save", lambda figure, *files: saved.extend(file.name for file in files)
    )
    shown = ("label_efficiency", "pseudo_labels", "pseudo_classes")
    for name in set(FIGURES) - set(shown):
        monkeypatch.delitem(FIGURES, name)
    said = report.write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    words = " ".join("".join(Page(text).words).replace("\u00a0", " ").split())
    assert "confirmation bias" in words and "Pseudo-labels by class as a table" in words
    assert (
        "bias shows most in mean teacher (from scratch): from step 30 on, the accuracy of "
        "accepted pixels fell from 0.80 to 0.60"
    ) in words
    assert {"pseudo_labels.png", "pseudo_labels.svg", "pseudo_classes.png"} <= set(saved)
    cost = text.partition("Cost</h2>")[2]
    rows = [
        [cell.split("</t")[0] for cell in row.split("<td>")[1:5]]
        for row in cost.partition("<tbody>")[2].partition("</tbody>")[0].split("<tr>")[1:]
    ]
    assert rows == [["300", "–", "20 s", "40 s"], ["900", "10 min", "20 s", "11 min"]]
    assert "Runs with init masked_image have 600 steps of pre-training before these." in words
    assert any("pre-training (300 and 900)" in c for c in said["cautions"])
