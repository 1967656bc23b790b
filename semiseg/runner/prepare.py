"""Before a run's first step: its folder is opened for this trial, or refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import jax

from semiseg import config, plugins
from semiseg.config import Trial
from semiseg.data.pools import Training
from semiseg.data.store import StoreInfo
from semiseg.errors import UserError
from semiseg.run_folder import CONFIG, ENVIRONMENT, RunFolder, study_hash
from semiseg.runner.pseudo_masks import PseudoMasks
from semiseg.runner.versions import environment
from semiseg.train.loop import Interrupted

WITHOUT_EFFECT = ("root", "checkpoint_seconds", "log_every")
"""Fields that do not change the result: where stores lie, how often a run reports and saves."""
MASKS = "pseudo_masks"
"""In env.json: the fingerprint of the masks from elsewhere."""


def open_folder(
    folder: RunFolder, trial: Trial, training: Training, masks: PseudoMasks | None = None
) -> None:
    """Write the configuration into a new folder; accept one that holds this trial, unfinished.

    Raises:
      UserError: it holds another trial, one of other data under the same name, or something else.
    """
    if folder.config.exists() and folder.begun:
        check_plugins(folder)
        check_trial(folder, trial)
        check_data(folder, training.info)
        check_fold(folder, training)
        check_masks(folder, masks)
        if folder.read_environment().get("devices") != jax.device_count():
            message = "goes on with another number of devices, so the last bits may differ"
            print(f"{folder}: {message}", file=sys.stderr)
        return
    if folder.holds_something_else:
        raise UserError(f"{folder}: is not empty and holds no run; choose another --out")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        facts = {
            **environment(),
            "data_fingerprint": training.info.fingerprint,
            **_held_out(training),
            **({MASKS: masks.fingerprint} if masks else {}),
            **study_hash(folder.path),
        }
        folder.write_environment(facts)
        folder.write_config(config.to_yaml(trial))
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from None


def check_trial(folder: RunFolder, trial: Trial) -> None:
    """Refuse a folder of another trial.

    Raises:
      UserError: naming the first field that differs.
    """
    old = comparable(config.load(folder.config))
    new = comparable(trial)
    if old == new:
        return
    field = next(name for name in new if old.get(name) != new[name])
    raise UserError(
        f"{folder}: holds a run with {field} = {old.get(field)}, not {new.get(field)}; "
        f"choose another --out or delete it"
    )


def check_plugins(folder: RunFolder) -> None:
    """Refuse to go on with a run whose plug-ins have changed since: it would be half of each.

    Raises:
      UserError: naming the plug-in.
    """
    records = config.load_yaml(folder.config).get(config.PLUGINS, ())
    for name in plugins.changed(records):
        if not folder.finished:
            raise UserError(
                f"the plug-in {name} has changed since this run began",
                where=folder.path,
                remedy="choose another --out or delete it",
            )


def comparable(trial: Trial) -> dict[str, Any]:
    """Flat fields of a trial, without those of :data:`WITHOUT_EFFECT`."""
    fields = config.flatten(config.to_dict(trial))
    return {name: value for name, value in fields.items() if name not in WITHOUT_EFFECT}


def check_data(folder: RunFolder, info: StoreInfo) -> None:
    """Refuse data that were imported again under the name the run knows: its test subjects may be
    this run's training subjects.

    Raises:
      UserError: the fingerprints differ.
    """
    known = folder.read_environment().get("data_fingerprint", info.fingerprint)
    if known != info.fingerprint:
        raise UserError(
            f"{folder}: data set {info.name!r} is not the one this run was trained on (imported "
            f"again since); train the run again in a new folder"
        )


def check_fold(folder: RunFolder, training: Training) -> None:
    """Refuse a fold that holds out other subjects than the run knows: it may have trained on them.

    Raises:
      UserError: the subjects differ.
    """
    held_out = _held_out(training)
    known = folder.read_environment().get("held_out", held_out.get("held_out"))
    if known != held_out.get("held_out"):
        raise UserError(
            f"data set {training.info.name!r} is dealt into other folds than when this run began",
            where=folder.path,
            remedy="train the run again in a new folder",
        )


def check_masks(folder: RunFolder, masks: PseudoMasks | None) -> None:
    """Refuse to go on with other masks from elsewhere than the run began with.

    Raises:
      UserError: the masks, or which images have one, differ.
    """
    known = folder.read_environment().get(MASKS)
    if masks is not None and known != masks.fingerprint:
        raise UserError(
            f"the masks in {masks.folder} are not those that this run began with",
            where=folder.path,
            remedy="put them back, or train the run again in a new folder",
        )


def _held_out(training: Training) -> dict[str, str]:
    """What env.json says of the subjects of a fold; nothing without folds."""
    if training.held_out is None:
        return {}
    names = json.dumps(sorted(training.held_out))
    return {"held_out": hashlib.sha256(names.encode()).hexdigest()}


@contextlib.contextmanager
def unchanged_on_failure(folder: RunFolder | None) -> Iterator[None]:
    """If anything fails before the first step, remove the files written so far, so that the folder
    does not look like a run to resume.
    """
    if folder is None:
        yield
        return
    existed = folder.path.exists()
    before = {path.name for path in folder.path.glob("*")}
    try:
        yield
    except Interrupted:
        raise
    except Exception:
        if not folder.log.exists():
            for name in {CONFIG, ENVIRONMENT} - before:
                (folder.path / name).unlink(missing_ok=True)
            if not existed:
                with contextlib.suppress(OSError):
                    folder.path.rmdir()
        raise
