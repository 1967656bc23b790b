import html.parser
import json
import re
import shutil
import subprocess
from urllib.parse import unquote

import numpy as np
import pytest
from analysis.fake import write_rows, write_run

from semiseg.analysis.load import load_runs
from semiseg.analysis.statistics import Interval
from semiseg.analysis.study import Comparison, study
from semiseg.cli.report import main
from semiseg.errors import UserError
from semiseg.report import advice, answers, facts, limits, sentences, summary
from semiseg.report.figures import synthetic_gain
from semiseg.report.figures.logged_values import logged_values
from semiseg.report.format import interval_text, number, p_text
from semiseg.report.page import write_report
from semiseg.report.tables import latex, markdown
from semiseg.report.untrained import untrained_cells


class Page(html.parser.HTMLParser):
    """Checks that tags close in order, and collects what a screen reader and the network would see."""

    VOID = {"meta", "img", "br", "link", "input", "path", "use"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.words = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def report(grid, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert (
        main(
            [
                str(grid),
                "--out",
                str(out),
                "--json",
                str(out / "said.json"),
            ]
        )
        == 0
    )
    return out


def test_files_of_the_contract(report):
    """Catches a missing or renamed output."""
    for file in (
        "report.html",
        "results.csv",
        "figures/label_efficiency.png",
        "figures/label_efficiency.pdf",
        "tables/label_efficiency.md",
        "tables/label_efficiency.tex",
        "tables/label_equivalence.md",
        "tables/comparisons.tex",
        "figures/label_equivalence.svg",
        "figures/subjects.pdf",
    ):
        assert (report / file).stat().st_size > 200, file


def test_page_is_whole_self_contained_and_accessible(report):
    """Catches a broken tag, an address on the network, an image without words, duplicate ids, dead
    links and a skipped heading level.
    """
    text = (report / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    for tag, attrs in page.tags:
        for key in ("src", "href", "xlink:href"):
            address = attrs.get(key, "#")
            local = address.startswith(("#", "data:")) or (report / unquote(address)).exists()
            assert local, (tag, address)
        assert tag not in ("link", "iframe")
        assert tag != "script" or not attrs
        assert tag != "img" or len(attrs["alt"]) > 10
        assert tag != "svg" or len(attrs["aria-label"]) > 10
    assert "url(http" not in text and "@import" not in text
    assert len(page.ids) == len(set(page.ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert {href[1:] for href in links if href.startswith("#")} <= set(page.ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert (
        levels[0] == 1
        and levels.count(1) == 1
        and all(b - a <= 1 for a, b in zip(levels, levels[1:]))
    )
    assert (
        "prefers-color-scheme: dark" in text
        and "@media print" in text
        and "width=device-width" in text
    )


def test_numbers_on_the_page_are_the_studys(report, runs):
    """Catches a page that prints other numbers than the study has: mean, interval and corrected p,
    in words and in JSON.
    """
    s = study(runs)
    text = " ".join(Page((report / "report.html").read_text(encoding="utf-8")).words).replace(
        "\u00a0", " "
    )
    said = json.loads((report / "said.json").read_text())
    cell, comparison = s.cells["mean teacher", 4], s.comparisons[0]
    assert (
        f"mean teacher {interval_text(cell.interval)}" in said["answers"][0]
        and said["answers"][0] in text
    )
    assert interval_text(comparison.difference, signed=True) in said["answers"][1]
    assert said["comparisons"][0]["p_holm"] == pytest.approx(comparison.p_holm)
    assert len(said["cells"]) == 6
    assert "both empty: undefined" in text  # the policy that the runs recorded


def test_words_of_scores():
    """Catches a lost sign, a lost zero before the point, a minus on a zero, and a distance printed as a
    share.
    """
    assert [number(v) for v in (0.814, 1.0, 0.0, float("nan"))] == ["0.81", "1.00", "0.00", "–"]
    assert (
        number(5.25, "hd95") == "5.2"
        and number(-0.0312, signed=True) == "−0.031"
        and number(-0.0001, signed=True) == "0.000"
    )
    assert number(0.02, signed=True) == "+0.020"
    assert interval_text(Interval(0.8, 0.7, 0.9, 9, 3, 20)) == "0.80 [0.70, 0.90]"
    assert interval_text(Interval(0.8, 0.8, 0.8, 1, 1, 1)) == "0.80"
    assert [p_text(p) for p in (0.0004, 0.213, 1.0, float("nan"))] == [
        "p < 0.001",
        "p = 0.213",
        "p = 1",
        "no test",
    ]


def test_insignificance_is_said(runs):
    """Catches 'significant' printed whatever the test says, and a claim of a winner where there is
    none.
    """
    import dataclasses

    s = study(runs)
    unsure = dataclasses.replace(
        s,
        comparisons=[
            Comparison(
                c.arm,
                c.baseline,
                c.labels,
                Interval(0.02, -0.01, 0.05, 4, 2, 12),
                0.1,
                0.21,
                c.paired_by,
            )
            for c in s.comparisons
        ],
    )
    assert (
        "+0.020 [−0.010, +0.050], which is not significant (p = 0.210, Holm-corrected)"
        in summary.answer(unsure)[1]
    )
    assert summary.claim(unsure) == "No method is significantly better than supervised"
    harm = dataclasses.replace(
        s,
        comparisons=[
            Comparison(
                c.arm, c.baseline, c.labels, Interval(-0.02, -0.03, -0.01, 4, 2, 12), 0.01, 0.02, ""
            )
            for c in s.comparisons
        ],
    )
    assert (
        summary.claim(harm).startswith("No method")
        and "4 significantly worse" in summary.answer(harm)[-1]
    )
    once = [
        Comparison(
            c.arm, c.baseline, c.labels, Interval(0.02, 0.01, 0.03, 1, 1, 12), 0.001, 0.002, ""
        )
        for c in s.comparisons
    ]
    single = dataclasses.replace(s, comparisons=once)  # other seeds differ as well
    assert summary.claim(single) == "One run of each method: no verdict"
    assert "over subjects only (one run each: no verdict)" in summary.answer(single)[1]
    assert not any(c.significant for c in once)


def test_single_run_says_that_it_has_no_interval_over_runs(tmp_path):
    """Catches one seed dressed up as a result, and a crash on the smallest input: one run, no
    examples, no log, no environment.
    """
    run = write_run(tmp_path / "runs", examples=False)
    for file in ("metrics.jsonl", "env.json"):
        (run / file).unlink()
    said = write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    assert any("no interval over runs" in c for c in said["cautions"])
    assert "no interval over runs" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_unequal_budgets_and_validation_scores_are_cautioned(tmp_path):
    """Catches a method that won because it was trained for longer passing without a word."""
    write_run(tmp_path, steps=100)
    write_run(tmp_path, method="mean_teacher", steps=300)
    text = " ".join(summary.cautions(study(load_runs(tmp_path))))
    assert "differ in steps (100 and 300)" in text and "validation scores" in text


def test_methods_that_were_not_trained_alike_are_cautioned(tmp_path):
    """Catches a wider network that passes for a better method, and a caution where each method was
    given the same learning rates.
    """
    for method, lr in (
        ("supervised", 0.01),
        ("mean_teacher", 0.01),
        ("supervised", 0.03),
        ("mean_teacher", 0.03),
    ):
        write_run(
            tmp_path / "alike", method=method, name=f"{method}{lr}", config={"lr": lr}, subjects=2
        )
    assert not limits.unlike_settings(load_runs(tmp_path / "alike"))
    write_run(
        tmp_path / "alike",
        method="bcp",
        subjects=2,
        config={"lr": 0.01, "net": {"name": "unet", "width": 32}, "zoom": 1.0},
    )
    told = summary.cautions(study(load_runs(tmp_path / "alike")))[0]
    assert "same settings (net.width is 16 or 32; lr is 0.01 or 0.03)" in told


def test_test_split_is_used_where_all_have_it_and_names_are_escaped(tmp_path):
    """Catches val reported for test, and a data set's name that breaks the page; two data sets make
    two parts and two figures.
    """
    for data in ("a<b>", "c"):
        write_run(
            tmp_path / "runs",
            data=data,
            name=f"run{len(data)}",
            splits=("val", "test"),
        )
    said = write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    assert {cell["split"] for cell in said["cells"]} == {"test"} and len(said["answers"]) == 2
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    Page(text)
    assert "a<b>" not in text and "a&lt;b&gt;" in text
    assert (tmp_path / "out/figures/label_efficiency_c.png").exists() and (
        tmp_path / "out/figures/label_efficiency.png"
    ).exists()


def test_tables_have_every_cell_and_escape_latex(tmp_path):
    """Catches budgets under the wrong heading where an arm lacks one, and characters that LaTeX
    chokes on.
    """
    write_run(tmp_path, labels=4)
    write_run(tmp_path, labels=8)
    write_run(tmp_path, method="my_method", labels=8, data="nuclei")
    s = study(load_runs(tmp_path))
    lines = markdown([s]).splitlines()
    assert lines[2].split(" | ")[1:] == ["4", "8 |"] and "| my method | – | 0." in markdown([s])
    text = latex([s])
    assert "95 \\%" in text and "\\toprule" in text and text.count("&") == 2 * 3 and "–" not in text


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_reproduction_is_shell_that_parses(report):
    """Catches braces that bash would expand into stray arguments, and loops that are never closed."""
    text = (report / "report.html").read_text(encoding="utf-8")
    script = html.unescape(re.search(r"reproduce the runs\"><code>(.*?)</code>", text, re.S)[1])
    calls = subprocess.run(
        ["bash", "-euc", 'semiseg() { echo "$@"; }\n' + script],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert len(calls) == 24 + 1 and len(set(calls)) == 25  # every run once, and the report
    assert sum("--labels 8 --label-subset 1 --seed 0" in call for call in calls) == 3


def test_command_wants_runs(tmp_path):
    """Catches a traceback for a forgotten argument."""
    with pytest.raises(UserError, match="no run folder given"):
        main(["--out", str(tmp_path)])


def test_first_screen_answers_in_numbers(runs, tmp_path):
    """Which method, how many labels, how much synthetic, how sure. Catches a question without
    numbers, and a small study without its caution.
    """
    told = {a.question: a for a in summary.first_screen(study(runs))}
    assert list(told) == [
        "Which method?",
        "How many labels?",
        "How much synthetic data?",
        "How sure?",
    ]
    assert all(
        re.search(r"\d", told[q].detail) for q in ("Which method?", "How many labels?", "How sure?")
    )
    assert told["How much synthetic data?"].short == "Not tried here" and told[
        "How much synthetic data?"
    ].commands[0].startswith("semiseg gan fit")
    assert (
        told["How sure?"].short == "Provisional"
        and "2 label subsets × 2 seeds" in told["How sure?"].detail
    )
    assert "fewer than 3 label subsets and fewer than 3 seeds" in told["How sure?"].detail
    for ratio in (0.0, 0.5):
        for subset in range(3):
            for seed in range(3):
                write_run(tmp_path, ratio=ratio, subset=subset, seed=seed, examples=False)
    mixed = {a.question: a for a in summary.first_screen(study(load_runs(tmp_path)))}
    assert mixed["How much synthetic data?"].detail.startswith(
        "The only mix does not differ significantly from real images alone. It has 0.5 "
        "synthetic images per real image, with "
    )
    assert mixed["How sure?"].short == "3 label subsets × 3 seeds"


def test_nothing_is_advised_from_a_subject_or_two(tmp_path):
    """Five scored subjects in two label subsets. Catches "Stay with supervised", a number of labels
    and a detectable difference where no test can be significant, and an interval that says it
    covers seeds.
    """
    for method in ("supervised", "mean_teacher"):
        for labels in (2, 4):
            for subset in range(2):
                write_run(
                    tmp_path / "runs",
                    method=method,
                    labels=labels,
                    subset=subset,
                    subjects=5,
                    examples=False,
                )
    s = study(load_runs(tmp_path / "runs"))
    told = summary.first_screen(s)
    assert [a.short for a in told] == ["No advice yet", "Not tried here", "Too few data to say"]
    assert told[0].detail == (
        "For advice, this page needs at least 6 scored subjects (here 5) and at least 3 label "
        "subsets (here 2)."
    )
    assert (
        summary.claim(s) == "No method can be recommended yet"
        and summary.equivalence_sentences(s) == []
    )
    assert all(
        np.isnan(c.detectable) for c in s.comparisons
    ) and "no paired test can reach" in " ".join(summary.cautions(s))
    assert facts.covered(s) == "label subsets and subjects"
    single = study(
        load_runs(
            write_run(
                tmp_path / "one",
                subjects=1,
                examples=False,
            )
        )
    )
    assert (
        facts.covered(single) == ""
        and sentences.no_interval(single.cells["supervised", 8].interval) == "1 run"
    )


@pytest.mark.parametrize(
    "sensitivity, precision, kind",
    [(0.98, 0.14, "everything"), (0.0, 0.0, "nothing"), (0.98, 0.3, ""), (0.3, 0.14, "")],
)
def test_a_network_that_learnt_nothing_is_told(tmp_path, sensitivity, precision, kind):
    """The class has a tenth of the pixels. Catches a ranking of networks that paint nearly
    everything, or nothing, and a warning over those that do not.
    """
    run = write_run(tmp_path)
    rows = [
        [f"s{i}", "a", m, str(v), "1"]
        for i in range(7)
        for m, v in (("dice", 0.2), ("sensitivity", sensitivity), ("precision", precision))
    ]
    write_rows(run, [["r", "val", "last", *row] for row in rows])
    kept = dict(np.load(run / "examples.npz"))
    kept["label"] = (np.arange(kept["label"].size).reshape(kept["label"].shape) % 10 == 0).astype(
        np.uint8
    )
    np.savez(run / "examples.npz", **kept)
    s = study(load_runs(tmp_path))
    assert untrained_cells(s) == ({("supervised", 8): kind} if kind else {})
    assert (
        ("no network here has learnt anything yet" in summary.untrained_sentence(s).lower())
        == bool(kind)
        == (summary.first_screen(s)[0].short == "No advice yet")
    )


def test_page_has_equivalence_subjects_spread_tips_and_citations(report):
    """Catches parts that silently fall out of the page, tips without words and a BibTeX entry that
    does not close.
    """
    text = (report / "report.html").read_text(encoding="utf-8")
    for part in (
        "Labels saved",
        "Subject by subject",
        "Most often first",
        "@software{semiseg",
        "Detectable",
    ):
        assert part in text, part
    for table in (
        "Scores of the subjects as a table",
        "Training curves as a table",
    ):  # what a figure shows, for those who cannot see it
        assert table in text, table
    tips = re.findall(r"<g><title>(.*?)</title>", text)
    assert any("mean teacher, 4 annotated: 0." in tip for tip in tips) and "tip:" not in text
    cite = re.search(r'class="cite"[^>]*><code>(.*?)</code>', text, re.S)[1]
    assert cite.count("{") == cite.count("}")


def test_ratio_and_diagnostics_are_drawn_where_there_is_something(tmp_path, runs):
    """Catches ratios and budgets exchanged, and figures that are empty instead of left out."""
    for ratio in (0.0, 0.5, 1.0):
        for labels in (4, 8):
            run = write_run(tmp_path, ratio=ratio, labels=labels, examples=False)
            lines = [
                json.loads(line) | {"confident": 0.5}
                for line in (run / "metrics.jsonl").read_text().splitlines()
            ]
            (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mixed = load_runs(tmp_path)
    panels = synthetic_gain.ratio(mixed).axes
    assert [p.get_title(loc="left").split(":")[0] for p in panels] == ["4 annotated", "8 annotated"]
    assert [t.get_text() for t in panels[0].get_xticklabels()] == ["0.5", "1"]
    assert [ax.get_title(loc="left") for ax in logged_values(mixed).axes] == ["confident"]
    for draw in (synthetic_gain.ratio, logged_values):
        with pytest.raises(UserError):
            draw(runs)


@pytest.mark.parametrize("content", ["[1, 2]", '{"passed": tr', '{"passed": true}', "\x00"])
def test_a_damaged_quality_report_counts_as_none(content, tmp_path):
    """card.json and made.json that hold a list, half a file, or not what a report has. Catches a
    page that a single damaged file makes impossible, and a damaged report that passes its set.
    """
    from semiseg.report import synthetic_sets

    for name in ("damaged", "whole", "without"):
        (tmp_path / name).mkdir()
    (tmp_path / "damaged" / "card.json").write_text(content)
    (tmp_path / "damaged" / "made.json").write_text(content)
    card = {"passed": False, "checks": []}
    (tmp_path / "whole" / "card.json").write_text(json.dumps(card))
    (tmp_path / "whole" / "made.json").write_text(
        json.dumps({"samples": 96, "settings": {"steps": 7}})
    )
    folders = {folder.name: folder for folder in tmp_path.iterdir()}
    assert synthetic_sets._cards(folders) == {"whole": card}
    assert synthetic_sets._steps(list(folders.values())) == [7]


def test_sets_of_another_machine_are_not_said_to_lack_a_quality_report(tmp_path, monkeypatch):
    """Catches "these sets have no quality report" of sets that the page could not read."""
    from semiseg.report import synthetic_sets

    for ratio in (0.0, 0.5):
        config = {"synthetic": "made-spade-00000000000"}
        write_run(
            tmp_path,
            labels=8,
            ratio=ratio,
            config=config,
            name=f"r{ratio}",
        )
    mixes = study(load_runs(tmp_path))
    elsewhere = synthetic_sets.section(mixes)
    assert elsewhere["missing"] == 1
    assert "where this machine cannot read them" in elsewhere["verdict"]
    monkeypatch.setattr(synthetic_sets, "_folder", lambda name, run: tmp_path)
    monkeypatch.setattr(synthetic_sets, "_kinds", lambda used, folders: [])
    assert "have no quality report" in synthetic_sets.section(mixes)["verdict"]


def test_synthetic_data_have_a_part_of_their_own(tmp_path, monkeypatch):
    """The curve is of real data, the mixes stand beside their controls, the sets are shown and
    judged in words.

    Catches mixes among the methods of the curve, a control taken for a treatment, a rejected set
    that looks fit, a set of one budget that the commands give to another, and runs that fall out of
    results.csv.
    """
    from semiseg.report import synthetic_sets as synthetic

    for labels in (4, 8):
        for subset in range(2):
            write_run(tmp_path / "runs", labels=labels, subset=subset, examples=False)
    sets = {}
    for i, kind in enumerate(("spade", "duplicated")):
        for subset in range(2):
            name = f"made-{kind}-{subset:011d}{i}"
            sets[name] = tmp_path / name
            sets[name].mkdir()
            made = {
                "arm": f"make:{kind}",
                "samples": 96,
                "settings": {"steps": 7, "generator": {"name": "spade", "widths": [8, 8]}},
            }
            (sets[name] / "made.json").write_text(json.dumps(made))
            if kind == "spade":
                checks = [{"check": "memorised", "value": 0.02, "must": "<= 0.1", "passed": True}]
                checks += [
                    {"check": "sharpness", "value": 0.3, "must": m, "passed": p}
                    for m, p in ((">= 0.6", False), ("<= 1.667", True))
                ]
                (sets[name] / "card.json").write_text(
                    json.dumps({"passed": False, "checks": checks})
                )
            for ratio in (0.5, 1.0):
                run = {
                    "subset": subset,
                    "ratio": ratio,
                    "name": f"{kind}-{subset}-{ratio}",
                    "examples": False,
                    "config": {"synthetic": name},
                }
                write_run(tmp_path / "runs", labels=8, **run)
    monkeypatch.setattr(synthetic, "_folder", lambda name, run: sets[name])
    monkeypatch.setattr(
        synthetic,
        "_pairs",
        lambda name, run: np.zeros((4, 4, 3), np.uint8),
    )
    said = write_report(load_runs(tmp_path / "runs"), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    Page(text)
    numbers = text.partition("The numbers</h2>")[2].partition("<h2")[0]
    assert (
        "supervised" in numbers
        and "SPADE" not in numbers
        and said["answers"][0].count("supervised") == 1
    )
    mixed = text.partition("Synthetic data</h2>")[2].partition("<h2")[0]
    assert (
        "compared with as many duplicated pairs: " in mixed
        and "duplicated pairs (control)" in mixed
        and "Duplicated pairs with 8 annotated" not in mixed
    )
    assert (
        "The quality report rejects both sets. Failed: “Their fine contrast is natural”." in mixed
        and "fitted for 7 steps" in mixed
        and "These numbers rest on rejected sets: SPADE images, 8 annotated, ratio 0.5 and 1, label "
        "subset 0, 1."
        in " ".join(mixed.split())
    )
    row = mixed.partition("Their fine contrast is natural<span")[2].partition("</tr>")[0]
    assert (
        row.count("FAIL") == 2
        and "30\u00a0%" in row
        and "at least 60\u00a0% and at most 166.7\u00a0%" in row
    )
    script = html.unescape(re.search(r"reproduce the runs\"><code>(.*?)</code>", text, re.S)[1])
    assert (
        script.count(
            "--synthetic make:spade --gan.steps 7 --gan.generator.widths 8,8 --gan.samples 96"
        )
        == 2
        and "made-" not in script
    )
    assert (tmp_path / "out" / "results.csv").read_text().count(
        "nuclei,supervised,unet,8,0,0,1,300,"
    ) > 0
    with pytest.raises(UserError):
        plot_of_controls_alone(load_runs(tmp_path / "runs"))


def plot_of_controls_alone(runs):
    """Mixes without the real data they stand beside."""
    return synthetic_gain.ratio(study(type(runs)([run for run in runs if run.ratio])))


@pytest.mark.parametrize(
    "gains, short, said",
    [
        (
            {4: (0.2, 0.1, 0.3), 16: (0.02, 0.01, 0.03)},
            "More than 64 may help",
            "from 16 to 64 it still gains +0.020 [+0.010, +0.030]",
        ),
        (
            {4: (0.2, 0.1, 0.3), 16: (0.02, -0.01, 0.05)},
            "Undecided",
            "undecided whether that is better than with 16: the gain is +0.020 [−0.010, +0.050]",
        ),
        (
            {4: (0.2, 0.1, 0.3), 16: (0.001, -0.005, 0.007)},
            "16 images",
            "from 16 to 64 it changes by +0.001 [−0.005, +0.007], which is at most 0.01",
        ),
        (
            {4: (-0.02, -0.03, -0.01), 16: (0.0, 0.0, 0.0)},
            "Undecided",
            "from 4 to 64 it changes by −0.020 [−0.030, −0.010]. More annotations should not",
        ),
        (
            {4: (-0.002, -0.008, 0.004), 16: (0.0, 0.0, 0.0)},
            "4 images",
            "from 4 to 64 it changes by −0.002 [−0.008, +0.004], which is no gain",
        ),
    ],
)
def test_how_many_labels_follows_the_interval(gains, short, said, monkeypatch):
    """Catches "still gains" where it is undecided, "enough" without a bound on what more would
    give, no interval (one run) taken for certainty, and fewer labels recommended because more
    of them score lower.
    """
    from types import SimpleNamespace

    interval = lambda m, low, high: Interval(m, low, high, 3, 3, 9)
    cells = {
        ("supervised", n): SimpleNamespace(interval=interval(0.8, 0.7, 0.9), runs=[])
        for n in (4, 16, 64)
    }
    s = SimpleNamespace(
        runs=[],
        scored=("dice", "val", "last"),
        baseline="supervised",
        arms={"supervised": []},
        cells=cells,
        metric="dice",
        comparisons=[],
    )
    monkeypatch.setattr(advice, "unit_of_annotation", lambda runs: "images")
    monkeypatch.setattr(advice, "worth", lambda s: [])
    monkeypatch.setattr(
        advice,
        "gain",
        lambda s, arm, fewer, more: interval(*gains[fewer]),
    )
    told = answers.how_many_labels(advice.how_many_labels(s))
    assert told.short == short and said in told.detail
