"""One tiny data set, network and trial for all tests; programs are kept between test processes."""

import importlib.metadata
import os
import signal

from packaging.version import Version

# Tests compile hundreds of tiny programs and run each a few times: code that is made quickly is
# worth more than code that runs quickly.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "XLA_FLAGS" not in os.environ:
    flags = ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    if Version(importlib.metadata.version("jaxlib")) >= Version("0.11.1"):
        flags = flags[1:]  # since then a process ends at once on the first, which is gone
    os.environ["XLA_FLAGS"] = " ".join(flags)
os.environ.setdefault(
    "JAX_NUM_CPU_DEVICES", "1"
)  # the workers of the tests share the cores; two devices have a test of their own

import semiseg  # noqa: F401, I001  before NumPy and JAX, whose environment it prepares


import dataclasses
import gc
from pathlib import Path

import jax
import numpy as np
import pytest

# helpers whose assertions show their values when they fail
pytest.register_assert_rewrite("net_contract", "method_checks")

LONG = (
    "test_contract[enet] test_contract[segnet] test_contract[deeplabv3_plus] "
    "test_contract[unet-deep] test_contract[cbam_unet] test_contract[coordinate_unet] "
    "test_contract[attention_unet-fine] test_contract[wide_unet] test_contract[transunet] "
    "test_contract[swin_unetr] test_contract[unetr] "
    "test_contract[resenc-flat] test_contract[segresnet-vae] test_contract[plain-flat] "
    "test_contract[vnet-conv-head] "
    "test_step_is_finite_and_reaches_every_weight[joint] "
    "test_step_is_finite_and_reaches_every_weight[pix2pix] test_contract[fcn8s] "
    "test_contract[unet_plus_plus] test_contract[pointrend] "
    "test_swin_unetr_has_monais_numbers[3] test_it_learns_two_images_in_a_loop[enet] "
    "test_two_processes_train_as_one"
).split()
"""Minutes of compiling in sum, siblings of others that are always run: left to SEMISEG_ALL_RUNS=1,
for a change to what they test.
"""


def pytest_configure():
    """Makes the tests the same wherever they are started. A script's ``make test &`` begins with
    Ctrl-C ignored, in the processes that tests start too: a test of an interruption would wait for
    ever.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    for number, handler in defaults.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(config, items):
    """Leaves out what nobody asked for: of folders the tests that are ``slow``, and ``LONG``."""
    everything = os.environ.get("SEMISEG_ALL_RUNS") or config.getoption("keyword")
    files = everything or any(".py" in argument for argument in config.args)
    names = everything or any("::" in argument for argument in config.args)

    def left_out(item):
        slow = not files and not os.environ.get("SEMISEG_SLOW_TESTS")
        return (slow and item.get_closest_marker("slow")) or (not names and item.name in LONG)

    config.hook.pytest_deselected(items=[item for item in items if left_out(item)])
    items[:] = [item for item in items if not left_out(item)]


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    """Tests of a file run in one worker, and all guards in one: they share folders that take a
    minute to make.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid):
            file = super()._split_scope(nodeid)
            return "tests/guards" if file.startswith("tests/guards/") else file

    return ByFile(config, log)


@pytest.fixture(scope="module", autouse=True)
def forgotten_programs():
    """Lets go of a file's programs at its end: each takes several memory maps, and Linux gives a
    process 65530, at whose end jaxlib crashes.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session", autouse=True)
def ledgers_of_the_session(tmp_path_factory):
    """The user's ledgers are for real evaluations: those of shared fixtures go elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def ledgers_of_a_test(tmp_path_factory, monkeypatch):
    """A test counts its own test evaluations, whoever read the same images before."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="session", autouse=True)
def working_folder_of_the_session():
    """Refuses tables of subjects that a test has had written beside the code: such a test goes to
    a folder of its own (``monkeypatch.chdir``).
    """
    before = set(Path.cwd().glob("*.subjects.proposed.csv"))
    yield
    written = set(Path.cwd().glob("*.subjects.proposed.csv")) - before
    assert not written, f"written into the working folder: {sorted(written)}"


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A user's folder: 12 grey PNGs of a bright disc and their masks, splits by subdirectory."""
    from skimage import io

    place = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[:40, :36]
    for split, n in (("train", 8), ("val", 3), ("test", 3)):
        for kind in ("images", "labels"):
            (place / split / kind).mkdir(parents=True)
        for i in range(n):
            disc = (rows - rng.integers(12, 28)) ** 2 + (
                cols - rng.integers(12, 24)
            ) ** 2 < rng.integers(30, 90)
            image = np.clip(
                60 + 110 * disc + rng.normal(0, 12, disc.shape),
                0,
                255,
            ).astype(np.uint8)
            io.imsave(
                place / split / "images" / f"{split}{i}.png",
                image,
                check_contrast=False,
            )
            io.imsave(
                place / split / "labels" / f"{split}{i}.png",
                disc.astype(np.uint8),
                check_contrast=False,
            )
    return place


@pytest.fixture(scope="session")
def root(tmp_path_factory, tiny_folder) -> str:
    """A store root with the tiny set imported as ``discs``."""
    from semiseg.data import importing

    place = tmp_path_factory.mktemp("stores")
    importing.import_set("folder", tiny_folder, "discs", root=place, progress=False)
    return str(place)


@pytest.fixture(scope="session")
def tiny(root):
    """A trial that takes a second."""
    from semiseg.config import Trial
    from semiseg.nets import UNet

    return dataclasses.replace(
        Trial(),
        data="discs",
        root=root,
        net=UNet(widths=(4, 8)),
        image_size=24,
        labels=4,
        steps=20,
        batch=4,
        log_every=5,
        eval_every=10,
    )


# ------------------------------------------------------------------ runs to analyse and report
@pytest.fixture(scope="session")
def grid(tmp_path_factory):
    """The folder of one small factorial of runs; no test changes it."""
    from analysis.fake import write_grid

    return write_grid(
        tmp_path_factory.mktemp("grid"),
        budgets=(4, 8),
        subsets=2,
        seeds=2,
        classes=("a", "b"),
        side=16,
        steps=50,
    )


@pytest.fixture(scope="session")
def runs(grid):
    """The runs of :func:`grid`."""
    from semiseg.analysis.load import load_runs

    return load_runs(grid)
