"""``semiseg score``: a run folder of masks that another program or a second reader made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from semiseg.cli.arguments import JSON, PLUGIN, Command, Flag, Flags, write_json
from semiseg.cli.evaluate import as_text, class_means
from semiseg.data.info import numbered
from semiseg.holding import holding

COMMAND = Command(
    "score",
    """Score masks that another program (nnU-Net, MONAI, TotalSegmentator) or a second reader made
    of a data set's validation or test scans. OUT becomes a run folder: load_runs, report and study
    read it like any other. A file is named after its scan; PNG, TIFF, NIfTI and NPY are read. Every
    test evaluation is appended to the ledger of the test set. Masks of a cross-validation
    cannot be scored: it has no val split.""",
    (
        Flag("data", "the data set (must be given)", ..., value="NAME"),
        Flag("predictions", "a folder of masks (must be given)", ..., value="DIR"),
        Flag("split", "val or test", "val", value="val|test"),
        Flag("method", "who made the masks, for the curve (must be given)", ..., value="NAME"),
        Flag(
            "labels",
            "number of annotated subjects that it learnt from, 0 for all (must be given)",
            ...,
            value="N",
        ),
        Flag("label_subset", "which annotated subjects, as for `semiseg train`", 0, value="K"),
        Flag("seed", "of its training", 0, value="S"),
        Flag("out", "the run's folder (must be given)", ..., value="RUN"),
        Flag(
            "allow_missing",
            "score without the subjects that have no mask; the report says so",
            False,
            value="",
        ),
        Flag(
            "as_is",
            "score masks that seem to be transposed, shifted or renumbered; the report says so",
            False,
            value="",
        ),
        Flag("root", "where the stores are", value="R"),
        JSON,
        PLUGIN,
    ),
)


def main(argv: Sequence[str]) -> int:
    """Run the command; UserError is the caller's to print."""
    return COMMAND.run(argv, _score)


def _score(operands: list[str], flags: Flags) -> int:
    from semiseg.errors import UserError

    options = COMMAND.options(flags)
    if operands:
        raise UserError(f"semiseg score: does not know {operands[0]}; see `semiseg score --help`")
    labels = str(options["labels"])
    if not labels.isdigit():
        raise UserError(f"--labels is {labels!r}: give a number of subjects, 0 for all")
    from semiseg.runner.external import Masked, score_masks

    masked = Masked(
        options["data"],
        options["root"],
        options["method"],
        int(labels),
        options["label_subset"],
        options["seed"],
    )
    split = options["split"]
    with holding(options["out"], "semiseg score"):
        outcome = score_masks(
            masked,
            Path(options["predictions"]),
            Path(options["out"]),
            split,
            allow_missing=options["allow_missing"],
            as_is=options["as_is"],
        )
    table = class_means(outcome.rows)
    print(as_text(table))
    subjects = len({row.subject for row in outcome.rows})
    plural = "s" * (subjects != 1)
    print(f"means over {subjects} {split} subject{plural}; – where none of them can be scored")
    if outcome.missing:
        lacks = [f"{subject} {words}" for subject, words in outcome.lacking.items()]
        print(f"note: scored without {'; '.join(lacks)}", file=sys.stderr)
    if outcome.slight_shift:
        print(f"note: {outcome.slight_shift}", file=sys.stderr)
    if outcome.unused:
        names = ", ".join(path.name for path in outcome.unused[:3])
        files = numbered(len(outcome.unused), "file")
        print(f"note: {files} of no {split} scan: {names}", file=sys.stderr)
    content = {
        "run": options["out"],
        "split": split,
        "table": table,
        "missing": list(outcome.missing),
        "unused": [str(path) for path in outcome.unused],
    }
    write_json(options["json"], content)
    return 0
