"""Every method against one contract: who gets gradient, which view matters, what weight 0 means,
what is averaged.

The checks stand in ``method_checks``. One file runs them all, since the checks of a row share its
compiled program.
"""

import re
import types
from pathlib import Path

import pytest
from method_cases import KEY, MODEL, NOW, ROWS, Row, equal, net
from method_checks import (
    CASES,
    check_average,
    check_compiles_once,
    check_critic,
    check_gradient,
    check_hidden,
    check_image_weight,
    check_nothing_accepted_is_finite,
    check_outside,
    check_partly_rejected,
    check_passes,
    check_permutation,
    check_ramp,
    check_reference,
    check_rejected,
    check_teacher,
    check_two_teachers,
    check_views,
    check_weight_zero,
)

from semiseg import methods as m
from semiseg.methods import METHODS


def rows(claim=lambda row: True):
    return pytest.mark.parametrize(
        "name",
        [n for n, row in CASES.items() if claim(row)],
    )


def test_table_is_covered():
    """Catches a method added to the table without a row here."""
    assert {n: type(row.method) for n, row in ROWS.items()} == METHODS


@rows()
def test_every_weight_learns_and_the_memory_never(name):
    """Catches a teacher that is trained, a head left out, a NaN; ``ssnet`` and ``unimatch``
    differentiate inside their loss.
    """
    check_gradient(CASES[name])


@rows()
def test_nothing_valid_is_finite(name):
    """Catches a mean over no pixels."""
    check_nothing_accepted_is_finite(CASES[name])


@rows()
def test_the_passes_that_are_taught(name):
    """Catches a target that is trained towards what learns from it, in a pass of its own, and a
    pass that is forgotten.
    """
    check_passes(CASES[name])


@rows()
def test_weight_zero_is_supervised_bit_for_bit(name):
    """Catches an unlabelled term that leaks past its weight, or statistics that follow unlabelled
    images; BCP at a box of the whole picture.
    """
    check_weight_zero(CASES[name])


@rows(lambda row: row.reference is not None)
def test_the_loss_is_that_of_its_formula(name):
    """Catches a mask inverted, a label not mixed with its picture, a network that teaches itself, a
    mean that is a sum, and a target with gradient that is made in the pass it teaches.
    """
    check_reference(CASES[name])


@rows()
def test_the_strong_view_matters(name):
    """Catches the strong view computed and the weak one used, and the reverse."""
    check_views(CASES[name])


@rows(lambda row: row.strong and row.teacher)
def test_the_target_does_not_follow_the_strong_view(name):
    """Catches the views swapped."""
    check_teacher(CASES[name])


@rows(lambda row: row.outside)
def test_pixels_from_outside_the_frame_teach_nothing(name):
    """Catches an unlabelled term that ignores ``valid``."""
    check_outside(CASES[name])


@rows(lambda row: row.strong and row.still is not None)
def test_pixels_under_a_cut_out_teach_nothing(name):
    """Catches a pseudo-label of what the student cannot see."""
    check_hidden(CASES[name])


@rows(lambda row: row.rejects)
def test_rejected_pixels_have_zero_gradient(name):
    """Catches rejected pixels trained as background."""
    check_rejected(CASES[name])


@rows(lambda row: row.rejects or hasattr(row.method, "rule"))
def test_rejected_pixels_beside_accepted_ones_have_zero_gradient(name):
    """Catches an image, or a batch, that teaches whole where one of its pixels is confident."""
    check_partly_rejected(CASES[name])


@rows(lambda row: row.still is not None)
def test_the_order_of_unlabelled_images_changes_nothing(name):
    """Catches a pseudo-label paired with the wrong image."""
    check_permutation(CASES[name])


@rows()
def test_the_evaluated_average_follows_its_closed_form(name):
    """Catches forgotten statistics, a teacher left at zero, a decay of its own, and ``final``
    returning the student.
    """
    check_average(CASES[name])


@rows(lambda row: isinstance(row.method, m.ADMT))
def test_two_teachers_follow_their_closed_forms(name):
    """Catches teachers that are the same, that are both averaged into always, and a student of
    another step.
    """
    check_two_teachers(CASES[name])


@rows(lambda row: hasattr(row.method, "critic_weight"))
def test_a_critic_and_what_it_judges_learn_apart(name):
    """Catches a critic that is trained to be fooled, and a segmenter that is trained to be told."""
    check_critic(CASES[name])


@rows(lambda row: row.method.__class__ is not m.Supervised)
def test_the_weight_ramps(name):
    """Catches a weight that is constant, ends where the training does, or is logged and not
    applied.
    """
    check_ramp(CASES[name])


@rows()
def test_an_image_of_weight_zero_teaches_nothing(name):
    """Catches a head or a part of a picture that is taught with a synthetic image's mask beside its
    weight.
    """
    check_image_weight(CASES[name])


@rows()
def test_a_method_compiles_once(name):
    """Catches a float field that became static, and Python control flow on a value."""
    check_compiles_once(CASES[name])


def test_the_guides_method_passes_with_its_row():
    """Catches an example that a newcomer copies and that the suite refuses."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "add-a-method.md").read_text()
    code = re.search(r"```python\n(# file: my_entropy\.py\n.*?)```", page, re.S)[1]
    module: dict = {"__name__": "semiseg.methods.my_entropy"}
    exec(re.sub(r"(?m)^semiseg\.register.*$", "", code), module)
    line = re.search(r'(?m)^\+    "my_entropy": (Row\(.*\)),$', page)[1]
    methods = types.SimpleNamespace(METHODS={"my_entropy": module["Entropy"]})
    row = eval(line, {"Row": Row, "NOW": NOW, "m": methods})
    check_gradient(row)
    check_nothing_accepted_is_finite(row)
    check_passes(row)
    check_weight_zero(row)
    check_views(row)
    check_outside(row)
    check_permutation(row)
    check_average(row)
    check_ramp(row)
    check_image_weight(row)
    check_compiles_once(row)


def test_init_starts_with_the_supervised_network():
    """Catches comparisons in which methods begin at different weights."""
    reference = m.Supervised().init(MODEL, KEY)[0]
    assert all(equal(net(row.method.init(MODEL, KEY)[0]), reference) for row in ROWS.values())
