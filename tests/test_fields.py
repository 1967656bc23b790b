"""Ranges and roles at the fields, errors with parts, and files that are whole: the bottom layer."""

import copy
import dataclasses
import pickle
import re
from pathlib import Path

import jax
import pytest

import semiseg.train.program
from semiseg.config import CHOICES, Trial, presets
from semiseg.config.tree import Choices, override, to_dict
from semiseg.errors import DiskError, FieldError, UnknownField, UserError
from semiseg.fields import Range, allowed, check_fields, choice, count, number, traced_values
from semiseg.files import Lock, read_json, read_json_if_whole, read_mapping, replacing, write_text
from semiseg.runner.build import knobs_of

CLASSES = [("method", name) for name in CHOICES["method"]]
CLASSES += [("init", name) for name in CHOICES["init"]]


@pytest.mark.parametrize("group, name", CLASSES)
def test_every_number_of_a_method_declares_its_range(group, name):
    """Catches a new hyperparameter that takes any value, also NaN."""
    for field in dataclasses.fields(CHOICES[group][name]):
        is_number = isinstance(field.default, int | float) and not isinstance(field.default, bool)
        if is_number:
            assert isinstance(allowed(field), Range), field.name
            assert field.default in allowed(field), field.name


def test_a_program_is_handed_all_that_a_trial_declares_traced():
    """Catches a name that the program reads and no trial has, and a value under another name."""
    program = Path(semiseg.train.program.__file__).read_text()
    read = set(re.findall(r"\bknobs\.([a-z_]+)", program))
    assert read - {"replace"} <= set(traced_values(Trial()))
    knobs = knobs_of(Trial(lr=0.25, steps=7, synthetic_schedule="decay"))
    assert jax.tree.map(lambda x: x, knobs).lr == 0.25
    with pytest.raises(AttributeError, match="momentun"):
        _ = knobs.momentun
    assert (knobs.lr, knobs.steps, knobs.synthetic_schedule) == (0.25, 7.0, 2.0)
    assert knobs.method == Trial().method


@dataclasses.dataclass(frozen=True)
class Inner:
    """A choice of the outer class, outside of any trial."""

    rates: tuple[float, ...] = number((0.1, 0.2), at_least=0, below=1)
    size: int = count(3, at_least=1)

    def __post_init__(self):
        if len(self.rates) > self.size:
            raise FieldError("too many rates", field="rates")


@dataclasses.dataclass(frozen=True)
class Other:
    """Another choice."""

    depth: int = count(2, at_least=1, at_most=4)


@dataclasses.dataclass(frozen=True)
class Outer:
    """What is overridden."""

    part: Inner | Other = Inner()
    rule: str = choice("poly", ("poly", "cosine"))
    limit: float | None = number(None, above=0)


TABLES = Choices({"part": {"inner": Inner, "other": Other}})


@pytest.mark.parametrize(
    "values, message",
    [
        ({"rule": "step"}, "rule is 'step': choose one of poly, cosine"),
        ({"limit": 0.0}, "limit is 0.0: it must be above 0"),
        ({"limit": float("nan")}, "limit is nan: it must be above 0"),
        ({"part": Inner((0.1, 1.0))}, "part.rates is (0.1, 1.0): it must be from 0 to below 1"),
        ({"part": Other(0)}, "part.depth is 0: it must be at least 1"),
        ({"part": Other(5)}, "part.depth is 5: it must be at most 4"),
    ],
)
def test_a_value_outside_its_range_is_named_with_it(values, message):
    """Catches an end taken for the other, an open end taken for closed, and NaN let through."""
    check_fields(Outer())
    with pytest.raises(UserError) as caught:
        check_fields(Outer(**values), where="f.yaml")
    assert str(caught.value) == f"f.yaml: {message}"
    assert caught.value.field == message.split(" ")[0]


def test_any_dataclass_goes_to_a_dict_and_back():
    """Catches a parser that works for trials alone."""
    changed = override(
        Outer(),
        {"part.depth": "3", "part": "other", "limit": "2"},
        TABLES,
    )
    assert changed == Outer(part=Other(3), limit=2.0)
    assert override(Outer(), to_dict(changed, TABLES), TABLES) == changed


@pytest.mark.parametrize(
    "changes, field, message",
    [
        ({"part.sise": 1}, "part.sise", "did you mean 'part.size'?"),
        ({"part.depth": 1}, "part.depth", "(part is inner): choose --part other first"),
        ({"part.size": "1"}, "part.rates", "part.size: too many rates"),
        ({"part.size": "x"}, "part.size", "not 'x'"),
        ({"part": "outer"}, "part", "there is no part called 'outer'"),
        ({"rule.x": 1}, "rule.x", "'rule' has no fields"),
    ],
)
def test_an_error_of_a_change_names_the_field(changes, field, message):
    """Catches an error whose field a caller would have to read in its words."""
    with pytest.raises(UserError) as caught:
        override(Outer(), changes, TABLES)
    assert caught.value.field == field
    assert message in str(caught.value)


def test_a_preset_is_named_only_for_what_it_has_set():
    """Catches the user's own value blamed on the preset, and a preset that is not mentioned."""

    def message(field, given=()):
        with pytest.raises(UserError) as caught, presets.naming_preset("uamt-la", "uamt", given):
            raise UserError("it does not fit", field=field)
        return str(caught.value)

    named = "it does not fit; the preset uamt-la sets depth = 80: give --depth as well"
    assert message("depth") == named
    assert message("depth", ["depth"]) == message("seed") == message(None) == "it does not fit"
    assert message("net.norm", ["net"]) == "it does not fit"


@pytest.mark.parametrize(
    "error",
    [
        UserError("x is 3", where="f.yaml", remedy="set 2", field="x"),
        DiskError("full"),
        FieldError("x is 3", field="x"),
        UnknownField("there is no 'y'", hint="did you mean 'x'?", where="f.yaml", field="y"),
    ],
)
def test_an_error_survives_a_process_with_its_parts(error):
    """Catches a worker's error that arrives with its message twice, or without its field."""
    for arrived in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert vars(arrived) == vars(error)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    """Catches half a file after a failure, and what was written of it left behind."""
    file = tmp_path / "summary.json"
    write_text(file, "{}")
    with pytest.raises(ZeroDivisionError), replacing(file) as partial:
        partial.write_text("half")
        assert file.read_text() == "{}"
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]
    assert file.read_text() == "{}"


@pytest.mark.parametrize("content", [None, "{", "[1]"])
def test_an_unreadable_file_is_named(content, tmp_path):
    """Catches a traceback for a file that is missing, cut off or of another form."""
    file = tmp_path / "a.json"
    if content is not None:
        file.write_text(content)
    for read in (read_json, read_mapping):
        with pytest.raises(UserError, match=f"^{file}: "):
            read(file)
    assert read_json_if_whole(file) == {}


def test_a_lock_is_let_go_at_the_end_of_its_block(tmp_path):
    """Catches two holders at once, and a lock that is never let go."""
    first = Lock(tmp_path / "new" / "a.lock")
    second = Lock(tmp_path / "new" / "a.lock")
    with first:
        assert first.is_taken()
        assert second.is_taken()
        assert not second.take()
    assert not first.is_taken()
    assert second.take()
