"""What is done for each of many things costs the same for each: no list is searched for every one
of its members.
"""

from collections import Counter, deque
from pathlib import Path

import numpy as np

from semiseg.data import array_records, label_values
from semiseg.sweeps import work
from semiseg.types import Case


class Looks:
    """Claims that count who looks at them."""

    def __init__(self, taken=()):
        self.taken = taken
        self.count = Counter()

    def is_taken(self, name):
        self.count[name] += 1
        return name in self.taken


def queue(programs, claims, compiled=()):
    """The order in which a worker takes trials, which it compiles as it goes."""
    waiting = {}
    for name, program in programs.items():
        waiting.setdefault(program, deque()).append(name)
    places = {name: place for place, name in enumerate(programs)}
    known = set(compiled)
    order = []
    while any(waiting.values()):
        order.append(work._next(waiting, known, places, claims))
        known.add(programs[order[-1]])
    return order


def test_a_worker_stays_with_its_programs():
    """Catches trials of another program, or out of the file's order, while some of a compiled one
    wait; and a program that another worker is compiling before one that nobody has.
    """
    programs = {"a": 1, "b": 2, "c": 1, "d": 3, "e": 2}
    assert queue(programs, Looks(), compiled=[2]) == ["b", "e", "a", "c", "d"]
    assert queue(programs, Looks()) == ["a", "c", "b", "e", "d"]
    assert queue(programs, Looks(taken=["a", "b"])) == ["d", "a", "c", "b", "e"]


def test_claims_are_looked_at_once_a_program():
    """Catches a look at every waiting trial for every trial: 10,000 of them are 10⁸ files."""
    programs = {f"t{i}": i % 2 for i in range(2000)}
    looks = Looks()
    assert len(queue(programs, looks)) == 2000
    assert max(looks.count.values()) == 1


def test_the_files_of_a_set_are_looked_through_once(monkeypatch):
    """Catches a look at the label values of every file for every file that is read."""
    looks = Counter()
    is_mask = label_values.FileValues.is_mask.fget

    def counted(self):
        looks[self.path] += 1
        return is_mask(self)

    monkeypatch.setattr(label_values.FileValues, "is_mask", property(counted))
    files = [label_values.FileValues(Path(f"{i}"), frozenset({0, 1}), 0.0) for i in range(50)]
    values = label_values.LabelValues(frozenset({0, 1}), tuple(files))
    for _ in files:
        values.indices(np.zeros((2, 2), np.uint8))
    assert max(looks.values()) == 1


class Ranges:
    """A reader of records that can read a range alone, and counts its reads."""

    def __init__(self, reader):
        self.reader = reader
        self.count = 0

    def read(self, start, stop):
        self.count += 1
        return self.reader.read(start, stop)


def test_a_record_is_read_as_a_range(tmp_path):
    """A reader of positions goes through the places of all records for each of them."""
    pictures = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3, 1)
    written = [Case(f"p{i}", f"p{i}", pictures[i], None, (1.0, 1.0), f"p{i}") for i in range(4)]
    array_records.write(tmp_path, {"train": written})
    records = array_records.read(tmp_path, "train")
    assert records[0].name == "p0"
    records._reader = Ranges(records._reader)
    for i, case in enumerate(records):
        assert case.name == f"p{i}"
        np.testing.assert_array_equal(case.image, pictures[i])
    assert records._reader.count == 4
