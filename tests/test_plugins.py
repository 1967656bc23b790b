"""Own parts from outside: each kind through the commands, in other processes too; and what is
refused before the first step.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from PIL import Image

import semiseg
from semiseg import config, plugins
from semiseg.augment import Augmentation
from semiseg.cli.main import COMMANDS, main
from semiseg.errors import UserError
from semiseg.losses import CE
from semiseg.types import hyper

PLUGIN = '''
"""One part of each kind that a run names."""

import dataclasses

import jax
import numpy as np
from flax import nnx

import semiseg
from semiseg.augment import Augmentation
from semiseg.data.source import CaseRef, Reader, Source
from semiseg.evaluate.metrics import Metric
from semiseg.losses import CE
from semiseg.methods.supervised import Supervised
from semiseg.nets.layers import Conv
from semiseg.nets.network import Network
from semiseg.pretrain import MaskedImage
from semiseg.types import hyper


@hyper
class Scaled(CE):
    factor: float = 2.0

    def __call__(self, logits, label):
        return self.factor * super().__call__(logits, label)


@hyper
class Plain(Supervised):
    criterion: CE = Scaled()
    title = "plain"


@hyper
class Brighter(Augmentation):
    by: float = 0.1

    def weak(self, key, image, label, size, place=None):
        image, *rest = super().weak(key, image, label, size, place)
        return image + self.by, *rest


@hyper
class Blocks(MaskedImage):
    share: float = 0.5


class Module(nnx.Module):
    def __init__(self, width, channels, classes, normals):
        rngs = normals.rngs()
        self.first = nnx.Conv(channels, width, (3, 3), rngs=rngs)
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, x, train, key):
        features = jax.nn.relu(self.first(x))
        return self.head(features), {"features": features}


@dataclasses.dataclass(frozen=True)
class TwoLayers(Network):
    width: int = 4

    @property
    def block(self):
        return 1

    def module(self, channels, classes, normals, size):
        return Module(self.width, channels, classes, normals)


def errors(masks):
    return float(np.count_nonzero(masks.prediction != masks.truth))


def read(source, *, progress=True):
    rng = np.random.default_rng(0)

    def case(subject):
        image = rng.integers(0, 99, (24, 24, 1)).astype(np.uint8)
        label = np.zeros((24, 24), np.uint8)
        label[8:16, 8:16] = 1
        image[8:16, 8:16] += 100
        return CaseRef(subject, subject, str(source), lambda: (image, label, (1.0, 1.0)))

    names = {"train": "abcd", "val": "ef", "test": "gh"}
    splits = {split: [case(name) for name in subjects] for split, subjects in names.items()}
    return Source(("background", "square"), "pixel", "CC0", "nobody", splits)


semiseg.register("loss", "scaled", Scaled)
semiseg.register("method", "plain", Plain)
semiseg.register("augmentation", "brighter", Brighter)
semiseg.register("objective", "blocks", Blocks)
semiseg.register("net", "two_layers", TwoLayers)
semiseg.register("metric", "errors", Metric("errors", "Wrong pixels", "lower", errors,
                                            bounds=(0.0, float("inf"))))
semiseg.register("reader", "squares", Reader("squares", "none", read))
'''
OWN = [
    *("--method=plain", "--method.criterion=scaled", "--augment=brighter", "--net=two_layers"),
    *("--init=blocks", "--init-steps=2", "--data=squares", "--image-size=24", "--steps=4"),
    *("--batch=2", "--labels=2", "--quiet", "--method.criterion.factor=3"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A user's folder with a plug-in, far from the package."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "mine.py").write_text(PLUGIN)
    return folder


PROGRAM = """
import contextlib, io, json, sys
from semiseg.cli.main import main
results = []
for argv in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    results.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(results))
"""


class Answer(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def commands(place, *lines, variables=None):
    """Run commands one after another in a process of their own, in the user's folder."""
    environment = os.environ | {"SEMISEG_DATA": str(place / "stores"), "SEMISEG_TRACK": "none"}
    path = str(Path(semiseg.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(lines),
        cwd=place,
        env=environment | {"PYTHONPATH": path} | (variables or {}),
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout.splitlines()[-1])]


@pytest.fixture(scope="module")
def run(place):
    """A data set of an own reader, and a run in which every part is an own one."""
    imported, trained = commands(
        place,
        ("data", "import", "--plugin=mine.py", "--format=squares", "--source=.", "--name=squares"),
        ("train", "--plugin", "mine.py", "--out=run", *OWN),
    )
    assert imported.returncode == 0, imported.stderr
    assert trained.returncode == 0, trained.stderr
    assert "Wrong pixels" in trained.stdout, "the metrics that are printed are the table's"
    return place / "run"


@pytest.fixture
def clean(monkeypatch):
    """Registrations of a test stay in the test."""
    before = {kind: [dict(table) for table in tables] for kind, tables in plugins._tables.items()}
    monkeypatch.setattr(plugins, "_registered", {})
    monkeypatch.setattr(plugins, "_waiting", {})
    monkeypatch.setattr(plugins, "_plugins", {})
    yield
    for kind, tables in before.items():
        for table, content in zip(plugins._tables[kind], tables, strict=True):
            table.clear()
            table.update(content)


def test_the_run_records_names_and_a_fingerprint_and_no_code(run):
    """Catches a part that is not used, one that is not recorded, and a path in the folder."""
    tree = yaml.safe_load((run / "config.yaml").read_text())
    assert tree["method"]["name"] == "plain"
    assert tree["method"]["criterion"] == {"name": "scaled", "class_weights": [], "factor": 3.0}
    assert tree["augment"]["name"] == "brighter"
    assert tree["net"]["name"] == "two_layers"
    assert tree["init"]["name"] == "blocks"
    (record,) = tree["plugins"]
    assert record.keys() == {"name", "sha256"}
    assert record["name"] == "mine.py"
    assert "errors" in (run / "per_subject.csv").read_text()


@pytest.mark.slow
def test_evaluate_predict_report_and_export_take_the_plug_in(run, place):
    """Catches a command that does not know an own part, and scores that lose an own metric."""
    Image.fromarray(np.zeros((30, 28), np.uint8)).save(place / "image.png")
    evaluated, predicted, reported, exported, listed = commands(
        place,
        ("evaluate", "run", "--split=test"),
        ("predict", "run", "--input=image.png", "--output=masks"),
        ("report", "run", "--out=page", "--metric=errors"),
        ("export", "run", "--out=model"),
        ("methods", "plain"),
        variables={plugins.VARIABLE: "mine.py"},
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "errors" in evaluated.stdout
    assert predicted.returncode == 0, predicted.stderr
    assert Image.open(place / "masks" / "image.png").size == (28, 30)
    assert reported.returncode == 0, reported.stderr
    assert "Wrong pixels" in (place / "page" / "report.html").read_text()
    assert exported.returncode == 0, exported.stderr
    assert (place / "model" / "README.md").exists()
    assert listed.returncode == 0, listed.stderr
    assert "--method.criterion" in listed.stdout


def test_a_run_folder_imports_nothing(run, place, monkeypatch, capsys):
    """Nobody's code runs because a folder names it: the remedy is a flag. A report needs no code,
    and says what it leaves out. Catches a plug-in that is imported from beside the run, a
    traceback, and a metric that is dropped without a word.
    """
    monkeypatch.chdir(place)
    assert main(["evaluate", "run"]) == 2
    line = "run/config.yaml: needs the plug-in mine.py, whose code is not part of a run; give "
    assert f"{line}--plugin mine.py" in capsys.readouterr().err
    (loaded,) = semiseg.load_runs(run)
    assert loaded.method == "plain"
    assert main(["report", "run", "--out=plain"]) == 0
    said = capsys.readouterr().err
    assert "left out, since nothing defines them: errors; give the file" in said


def test_a_changed_plug_in_does_not_go_on_with_a_run(run, place, monkeypatch, capsys, clean):
    """Catches a run whose first half is of one version and whose second half is of another."""
    other = place / "changed"
    other.mkdir()
    (other / "mine.py").write_text(PLUGIN + "\n# another version\n")
    for name in ("config.yaml", "env.json", "metrics.jsonl"):
        (other / "run").mkdir(exist_ok=True)
        (other / "run" / name).write_bytes((run / name).read_bytes())
    monkeypatch.chdir(place)
    monkeypatch.setenv("SEMISEG_DATA", str(place / "stores"))
    assert main(["train", "--plugin=changed/mine.py", "--out=changed/run", *OWN]) == 2
    assert "the plug-in mine.py has changed since this run began" in capsys.readouterr().err


def test_predict_needs_the_network_alone(run, place):
    """Method, loss, augmentation and initial weights of a run may be unknown where it predicts.
    Catches a loss that is asked for, and an own network that is not.
    """
    tree = yaml.safe_load((run / "config.yaml").read_text())
    known = config.network_from_dict(tree | {"net": {"name": "unet"}})
    assert known.image_size == 24
    with pytest.raises(UserError, match="give --plugin mine.py"):
        config.network_from_dict(tree, "run/config.yaml")


@pytest.mark.slow
def test_a_sweep_gives_its_workers_the_plug_in(run, place):
    """Named in the file, relative to it, for two worker processes. Catches workers without it, and
    a sweep's folder that names code.
    """
    axes = {
        argument.removeprefix("--").split("=")[0]: argument.split("=")[1] for argument in OWN[:4]
    }
    axes |= {"data": "squares", "image_size": 24, "steps": 2, "batch": 2, "labels": 2}
    parameters = {name.replace("-", "_"): {"value": value} for name, value in axes.items()}
    parameters["seed"] = {"values": [0, 1]}
    (place / "sweeps").mkdir()
    file = place / "sweeps" / "grid.yaml"
    file.write_text(
        yaml.safe_dump({"method": "grid", "plugin": "../mine.py", "parameters": parameters})
    )
    swept, status = commands(
        place,
        ("sweep", "sweeps/grid.yaml", "--out=swept", "--jobs=2", "--json=states.json"),
        ("sweep", "status", "swept"),
    )
    assert swept.returncode == 0, swept.stdout + swept.stderr
    states = json.loads((place / "states.json").read_text())
    assert [row["state"] for row in states] == ["done", "done"]
    stored = yaml.safe_load((place / "swept" / "sweep.yaml").read_text())
    assert "plugin" not in stored
    assert stored["plugins"][0]["name"] == "mine.py"
    assert status.returncode == 0, status.stderr


# ------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    "text, words",
    [
        ("import semiseg\n\n1 / 0\n", "bad.py:3: ZeroDivisionError: division by zero"),
        ("def f(:\n", "bad.py:1: SyntaxError"),
        ("x = 1\n", "bad.py: registers nothing; call semiseg.register in it"),
        (
            "import semiseg\nfrom semiseg.losses import CE\nsemiseg.register('loss', 'dice', CE)\n",
            'bad.py:3: register("loss", "dice"): the name stands already; choose another',
        ),
        (
            "import semiseg\nsemiseg.register('method', 'own', int)\n",
            "is no dataclass",
        ),
        (
            "import dataclasses, semiseg\n@dataclasses.dataclass(frozen=True)\nclass N:\n"
            "    width: int = 4\nsemiseg.register('net', 'own', N)\n",
            'bad.py:5: register("net", "own"): it has no dims',
        ),
    ],
)
def test_an_error_in_a_plug_in_is_one_line(text, words, tmp_path, clean, capsys):
    """Catches tracebacks, and an error that is found when the run has been trained."""
    from semiseg.cli.main import main

    file = tmp_path / "bad.py"
    file.write_text(text)
    assert main(["methods", f"--plugin={file}"]) == 2
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1


def test_a_missing_plug_in_is_named(capsys):
    """Catches a flag without a file that swallows the next one."""
    from semiseg.cli.main import main

    assert main(["methods", "--plugin", "gone.py"]) == 2
    assert "gone.py: no such plug-in" in capsys.readouterr().err
    assert main(["methods", "--plugin"]) == 2
    assert "--plugin needs a Python file" in capsys.readouterr().err


def test_what_cannot_be_read_back_is_refused_before_the_first_step(tiny, tmp_path):
    """An own loss, augmentation and geometry that nobody registered. Catches a run that trains to
    its end and cannot be loaded, and a folder that blocks the next try.
    """

    @hyper
    class OwnLoss(CE):
        pass

    @hyper
    class OwnViews(Augmentation):
        pass

    @hyper
    class OwnGeometry(type(tiny.augment.geometry)):
        pass

    out = tmp_path / "run"
    lossy = dataclasses.replace(tiny.method, criterion=OwnLoss())
    remedy = r'semiseg.register\("loss", "own_loss", OwnLoss\)'
    with pytest.raises(UserError, match=remedy):
        semiseg.run(dataclasses.replace(tiny, method=lossy), out, progress=False)
    with pytest.raises(UserError, match="augment is a OwnViews, which has no name"):
        semiseg.run(dataclasses.replace(tiny, augment=OwnViews()), out, progress=False)
    bent = dataclasses.replace(tiny.augment, geometry=OwnGeometry())
    with pytest.raises(UserError, match="augment.geometry is .*could not be read again"):
        semiseg.run(dataclasses.replace(tiny, augment=bent), out, progress=False)
    with pytest.raises(UserError, match="config.yaml cannot hold this trial"):
        semiseg.run(dataclasses.replace(tiny, lr=np.float32(0.1)), out, progress=False)
    assert not out.exists()


def test_register_alone_serves_this_process(tiny, tmp_path, clean):
    """In a notebook: the run is made and read back; a cell may run twice; workers are refused.
    Catches a name that can be taken from the package, and a sweep whose workers do not know it.
    """

    @hyper
    class OwnLoss(CE):
        factor: float = 2.0

    semiseg.register("loss", "own", OwnLoss)
    semiseg.register("loss", "own", OwnLoss)
    with pytest.raises(UserError, match="the name stands already"):
        semiseg.register("loss", "ce", OwnLoss)
    with pytest.raises(UserError, match="the name stands already"):
        semiseg.register("loss", "own", CE)
    short = dataclasses.replace(tiny, steps=2, eval_every=2)
    trial = config.override(short, {"method.criterion": "own"})
    result = semiseg.run(trial, tmp_path / "run", progress=False)
    assert config.load(result.path / "config.yaml") == trial
    spec = {"parameters": {"method.criterion": {"value": "own"}}}
    with pytest.raises(UserError, match="is registered in this process alone"):
        semiseg.sweep(spec, tmp_path / "sweep", jobs=2)


def test_a_network_without_a_hash_and_a_metric_of_another_name_are_refused(clean):
    """Catches a TypeError in the middle of the compilation."""
    from semiseg.evaluate.metrics import METRICS
    from semiseg.nets.network import Network

    @dataclasses.dataclass
    class Loose(Network):
        block = 1

    with pytest.raises(UserError, match="has no hash"):
        semiseg.register("net", "loose", Loose)
    with pytest.raises(UserError, match="its name is 'dice'"):
        semiseg.register("metric", "overlap", METRICS["dice"])


def test_a_plugin_brings_a_command_and_takes_none_over(tmp_path, capsys, clean):
    """Catches a plug-in whose command is unknown, is missing in the help, or stands in for ours."""
    register = "import semiseg\nfrom semiseg.cli.arguments import Command\n"
    greet = 'Command("{0}", "Say hello.", body=lambda operands, flags: print(*operands) or 0)'
    line = 'semiseg.register("command", "{0}", ' + greet + ")\n"
    own = tmp_path / "own.py"
    own.write_text(register + line.format("greet"))
    assert main(["greet", "--plugin", str(own), "you"]) == 0
    assert capsys.readouterr().out == "you\n"
    assert main(["--plugin", str(own), "--help"]) == 0
    assert "greet          Say hello." in capsys.readouterr().out
    ours = tmp_path / "ours.py"
    ours.write_text(register + line.format("train"))
    assert main(["train", "--plugin", str(ours), "--help"]) == 2
    assert "the name stands already" in capsys.readouterr().err
    assert isinstance(COMMANDS["train"], str)
