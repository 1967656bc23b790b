import numpy as np
import pytest
from analysis.fake import write_run

from semiseg.analysis.load import load_runs
from semiseg.analysis.study import study
from semiseg.errors import UserError
from semiseg.report.figures.differences import differences
from semiseg.report.figures.label_efficiency import label_efficiency
from semiseg.report.figures.output import inline_svg, save
from semiseg.report.figures.overlays import overlays
from semiseg.report.figures.training_curves import training_curves
from semiseg.report.pictures import FALSE_NEGATIVE, FALSE_POSITIVE, overlay, pick_examples


def test_curve_shows_every_run_and_the_cells_means(runs):
    """Catches dropped runs, a linear axis, ticks that are not budgets, and lines of something else
    than the means.
    """
    figure = label_efficiency(runs)
    (ax,) = figure.axes
    dots = sum(len(c.get_offsets()) for c in ax.collections if len(c.get_offsets()) > 1)
    assert dots == len(runs) == 24
    assert ax.get_xscale() == "log" and [t.get_text() for t in ax.get_xticklabels()] == ["4", "8"]
    s = study(runs)
    np.testing.assert_allclose(
        ax.lines[0].get_ydata(), [s.cells["supervised", n].interval.mean for n in (4, 8)]
    )
    assert {t.get_text() for t in ax.texts} >= {"supervised", "mean teacher", "pseudo label"}


def test_means_at_one_budget_stand_side_by_side(tmp_path):
    """Catches arms drawn on top of one another where there is a single budget."""
    for method in ("supervised", "mean_teacher"):
        write_run(tmp_path, method=method, examples=False)
    (ax,) = label_efficiency(load_runs(tmp_path)).axes
    points = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert len(points) == 2 and points[1] / points[0] > 1.1


def test_differences_are_the_comparisons_best_first(runs):
    """Catches bars of another arm or budget, rows in the order of names, and a decided difference
    drawn as an undecided one.
    """
    s = study(runs)
    figure = differences(s)
    panels = figure.axes
    assert [p.get_title("left") for p in panels] == [
        f"{n} annotated: 0 is {s.cells['supervised', n].interval.mean:.2f}" for n in (4, 8)
    ]
    names = [t.get_text() for t in panels[0].get_yticklabels()]
    assert sorted(names) == ["mean teacher", "pseudo label"]
    for panel, n in zip(panels, (4, 8)):
        dots = {
            names[int(line.get_ydata()[0])]: line
            for line in panel.lines
            if line.get_marker() == "o"
        }
        for c in s.comparisons:
            if c.labels == n:
                assert dots[c.arm].get_xdata()[0] == c.difference.mean
                assert (dots[c.arm].get_markerfacecolor() == "white") == (s.verdict(c) == 0)
    means = {
        arm: np.mean([c.difference.mean for c in s.comparisons if c.arm == arm]) for arm in names
    }
    assert names == sorted(names, key=lambda arm: -means[arm]) and means[names[0]] > means[names[1]]
    with pytest.raises(UserError, match="baseline"):
        differences(runs.where(method="mean_teacher"))


def test_overlay_marks_the_two_kinds_of_error_and_not_the_ignored():
    """Catches false positives and negatives exchanged, and unlabelled pixels marked as errors.
    Pixel (0, 0) is ignored.
    """
    label = np.zeros((3, 4), np.uint8)
    label[0, 0], label[2, 0] = 255, 1
    prediction = np.zeros((3, 4), np.uint8)
    prediction[0, 0] = prediction[0, 3] = 1
    rgb = overlay(
        np.zeros((3, 4), np.uint8),
        label,
        prediction,
        scale=5,
    )
    tint = lambda colour: [round(0.65 * int(colour[i : i + 2], 16)) for i in (1, 3, 5)]
    assert rgb.shape == (15, 20, 3)
    assert rgb[2, 17].tolist() == tint(FALSE_POSITIVE) and rgb[12, 2].tolist() == tint(
        FALSE_NEGATIVE
    )
    assert rgb[2, 2].tolist() == [0, 0, 0]
    assert rgb[10, 2].tolist() == [255, 255, 255]  # the truth's outline


def test_examples_are_the_same_images_for_every_arm_worst_first(runs):
    """Catches arms shown on different images, and best and worst exchanged."""
    rows = pick_examples(runs)
    picked = [[picture.subject for picture in row.pictures] for row in rows]
    assert len(rows) == 3 and picked[0] == picked[1] == picked[2]
    assert [picture.rank for picture in rows[0].pictures] == ["worst", "median", "best"]
    mean = np.mean([[picture.dice for picture in row.pictures] for row in rows], axis=0)
    assert mean[0] <= mean[1] <= mean[2]


def test_an_undefined_example_is_never_the_worst(tmp_path):
    """Catches an empty image with an empty prediction (Dice undefined) shown as the worst result."""
    run = write_run(tmp_path)
    kept = dict(np.load(run / "examples.npz"))
    kept["dice"][2] = np.nan
    np.savez(run / "examples.npz", **kept)
    (gallery,) = pick_examples(load_runs(tmp_path))
    assert all(np.isfinite(picture.dice) for picture in gallery.pictures)
    assert len(gallery.pictures) == 3


def test_figures_are_written_in_each_format_with_the_same_bytes(runs, tmp_path):
    """Catches dates and random ids in files that are committed."""
    for copy in "ab":
        figure = label_efficiency(runs, size=(3, 2))
        save(figure, *(tmp_path / f"{copy}.{suffix}" for suffix in ("png", "pdf", "svg")))
    for suffix, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
        data = (tmp_path / f"a.{suffix}").read_bytes()
        assert data.startswith(magic) and data == (tmp_path / f"b.{suffix}").read_bytes()


def test_inline_svg_follows_the_page(runs):
    """Catches fixed ink on a dark page, ids that clash with another figure's, and an unescaped or
    missing label.
    """
    svg = inline_svg(label_efficiency(runs, size=(3, 2)), 'a < b & "c"')
    assert svg.startswith('<svg role="img" aria-label="a &lt; b &amp; &quot;c&quot;"')
    assert (
        "var(--ink)" in svg
        and "#1d1f23" not in svg
        and '<g id="' not in svg
        and "<?xml" not in svg
        and "#0072b2" not in svg
    )


def test_curves_and_overlays_have_a_panel_for_each_factor(runs):
    """Catches budgets or arms left out."""
    assert len(training_curves(runs).axes) == 2 * 2
    assert len(overlays(runs).axes) == 3 * 3
