"""Methods, losses, networks and other parts from a user's own file, outside of this package.

A plug-in is a Python file that registers what it defines::

    # my_entropy.py
    import semiseg
    from semiseg.methods.entropy_minimisation import EntropyMinimisation
    from semiseg.types import hyper

    @hyper
    class SureEntropy(EntropyMinimisation):
        weight: float = 0.5

    semiseg.register("method", "sure_entropy", SureEntropy)

Each command takes it, and so do sweep files (``plugin: my_entropy.py``, relative to the sweep file)
and the environment (``SEMISEG_PLUGINS``, several files apart by ``os.pathsep``)::

    semiseg train --plugin my_entropy.py --method sure_entropy --method.weight 0.2 --out runs/sure

In Python, ``semiseg.load_plugin("my_entropy.py")`` imports the file, and ``semiseg.register`` alone
serves a script or a notebook whose runs nobody else reads.

A run's folder records the names and the SHA-256 of the plug-ins that it needs, never their code or
place: a folder from somebody else cannot make this package import anything. Whoever reads it gives
``--plugin`` again.

This module lies below the tables: each package offers its own table here when it is imported, and
what was registered before that waits for it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from semiseg.errors import UserError

log = logging.getLogger("semiseg")

VARIABLE = "SEMISEG_PLUGINS"
"""Environment variable with paths of plug-ins."""

KINDS: dict[str, tuple[str, ...]] = {
    "method": (
        *("title", "paper", "holds", "passes", "uses_unlabelled", "criterion"),
        *("labelled", "architectures", "init", "loss", "update", "final", "main", "average"),
    ),
    "net": ("dims", "block", "dtype", "linear_head", "classes", "module", "init", "apply"),
    "loss": ("__call__",),
    "augmentation": ("weak", "strong"),
    "objective": ("labelled", "init", "loss", "update", "final"),
    "generator": ("joint", "block", "init", "encode", "apply"),
    "reader": ("format", "layout", "read"),
    "metric": ("name", "title", "better", "compute"),
    "figure": ("name", "section", "title", "alt", "draw"),
    "command": ("name", "words", "main"),
}
"""What can be registered, and the members that each kind needs: see the protocols of
:mod:`semiseg.types`, :class:`semiseg.data.source.Reader`, :class:`semiseg.evaluate.metrics.Metric`,
:class:`semiseg.report.figures.figure.Figure` and :class:`semiseg.cli.arguments.Command`.
"""
INSTANCES = {"reader": "format", "metric": "name", "figure": "name", "command": "name"}
"""Kinds that are registered as an object, not as a class, and the member that repeats the name."""
STATIC = ("net", "generator")
"""Kinds that are compiled in, so that JAX needs their hash."""
EVERYWHERE = ("metric",)
"""Kinds that every run uses, whatever its trial names."""


@dataclasses.dataclass
class Plugin:
    """A file that was imported.

    Attributes:
      path: absolute.
      sha256: of its content.
      parts: ``(kind, name)`` of what it registered.
    """

    path: Path
    sha256: str
    parts: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the file, which a run records."""
        return self.path.name

    @property
    def record(self) -> dict[str, str]:
        """What a run's files say of it."""
        return {"name": self.name, "sha256": self.sha256}


_tables: dict[str, list[MutableMapping[str, Any]]] = {}
_waiting: dict[str, dict[str, Any]] = {}
_registered: dict[tuple[str, str], Any] = {}
_plugins: dict[Path, Plugin] = {}
_importing: list[Plugin] = []


# ------------------------------------------------------------------ registering
def register(kind: str, name: str, part: Any) -> None:
    """Make a part known under a name, for configurations, flags and data sets.

    Args:
      kind: a key of :data:`KINDS`.
      name: how flags and files call it; it must be new.
      part: a class whose fields all have defaults; of a reader or a metric the object.

    Raises:
      UserError: the name stands already, or the part lacks something.

    >>> register("network", "my_net", object)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    semiseg.errors.UserError: register("network", "my_net"): there is no such kind; choose ...
    """
    where = f'register("{kind}", "{name}")'
    _check(kind, name, part, where)
    known = _registered.get((kind, name))
    if known is not None and not _same_class(known, part):
        raise UserError("the name stands already", where=where, remedy="choose another")
    for table in _tables.get(kind, []):
        _enter(table, kind, name, part, where)
    if kind not in _tables:
        _waiting.setdefault(kind, {})[name] = part
    _registered[kind, name] = part
    if _importing:
        _importing[-1].parts.append((kind, name))


def offer(kind: str, table: MutableMapping[str, Any]) -> None:
    """Let parts of a kind be added to ``table``; the package that has the table calls this once."""
    _tables.setdefault(kind, []).append(table)
    for name, part in _waiting.get(kind, {}).items():
        _enter(table, kind, name, part, f'register("{kind}", "{name}")')


def _enter(table: MutableMapping[str, Any], kind: str, name: str, part: Any, where: str) -> None:
    if name in table and (kind, name) not in _registered:
        raise UserError("the name stands already", where=where, remedy="choose another")
    table[name] = part


def _forget(parts: Iterable[tuple[str, str]]) -> None:
    """Take back what a plug-in registered before an error in it."""
    for kind, name in parts:
        for table in [*_tables.get(kind, []), _waiting.get(kind, {})]:
            table.pop(name, None)
        _registered.pop((kind, name), None)


def _same_class(old: Any, new: Any) -> bool:
    """Whether ``new`` is ``old`` defined again, as when a notebook's cell runs twice."""
    if old is new:
        return True
    if not (isinstance(old, type) and isinstance(new, type)):
        return False
    return (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)


def _check(kind: str, name: str, part: Any, where: str) -> None:
    """Refuse a part that could not be used, before anything runs with it."""
    if kind not in KINDS:
        remedy = f"choose one of {', '.join(KINDS)}"
        raise UserError("there is no such kind", where=where, remedy=remedy)
    if not name.isidentifier():
        remedy = "use letters, digits and _"
        raise UserError(f"{name!r} is no name", where=where, remedy=remedy)
    missing = [member for member in KINDS[kind] if not hasattr(part, member)]
    if kind in INSTANCES:
        _check_instance(kind, name, part, where)
    elif not isinstance(part, type) or not dataclasses.is_dataclass(part):
        raise UserError(
            f"{part!r} is no dataclass",
            where=where,
            remedy=(
                "give a class with @hyper of semiseg.types, or @dataclass(frozen=True) for a net"
            ),
        )
    else:
        missing = [member for member in missing if member not in _fields(part)]
        _check_class(kind, part, where)
    if missing:
        remedy = "add it, or derive from a class of this kind"
        raise UserError(f"it has no {missing[0]}", where=where, remedy=remedy)


def _check_instance(kind: str, name: str, part: Any, where: str) -> None:
    if isinstance(part, type):
        raise UserError(f"it is a class, not a {kind}", where=where, remedy="give an instance")
    member = INSTANCES[kind]
    if getattr(part, member, name) != name:
        remedy = f"call it so here, too, or set its {member}"
        raise UserError(f"its {member} is {getattr(part, member)!r}", where=where, remedy=remedy)


def _check_class(kind: str, part: type, where: str) -> None:
    try:
        instance = part()
    except TypeError as error:
        raise UserError(
            f"{part.__name__}() cannot be made ({error})",
            where=where,
            remedy="give every field a default",
        ) from None
    if kind not in STATIC:
        return
    try:
        hash(instance)
    except TypeError as error:
        raise UserError(
            f"{part.__name__}() has no hash ({error})",
            where=where,
            remedy="use @dataclass(frozen=True), and tuples instead of lists",
        ) from None


def _fields(part: type) -> set[str]:
    return {field.name for field in dataclasses.fields(part)}


# ------------------------------------------------------------------ plug-in files
def load_plugin(path: str | Path) -> Plugin:
    """Import a plug-in file; one that is imported already is not imported again.

    Raises:
      UserError: there is no such file, or an error in it, with the line.
    """
    file = Path(path).expanduser().resolve()
    if file in _plugins:
        return _plugins[file]
    if not file.is_file() or file.suffix != ".py":
        raise UserError("no such plug-in", where=path, remedy="name a Python file")
    plugin = Plugin(file, hashlib.sha256(file.read_bytes()).hexdigest())
    _importing.append(plugin)
    try:
        _import(file)
    except UserError:
        _forget(plugin.parts)
        raise
    finally:
        _importing.pop()
    if not plugin.parts:
        remedy = "call semiseg.register in it"
        raise UserError("registers nothing", where=path, remedy=remedy)
    _plugins[file] = plugin
    return plugin


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Import several plug-in files, in their order."""
    for path in paths:
        load_plugin(path)


def from_environment(variables: Mapping[str, str] | None = None) -> list[str]:
    """Paths in the variable SEMISEG_PLUGINS, by default of this process's environment.

    >>> from_environment({"SEMISEG_PLUGINS": os.pathsep.join(["a.py", "b.py"])})
    ['a.py', 'b.py']
    """
    if variables is None:
        variables = os.environ
    return [path for path in variables.get(VARIABLE, "").split(os.pathsep) if path]


def loaded_paths() -> tuple[str, ...]:
    """Absolute paths of the plug-ins of this process, for its workers."""
    return tuple(str(path) for path in _plugins)


def module_name(file: Path) -> str:
    """The module name of a plug-in: the same in each process.

    >>> module_name(Path("/tmp/my-net.py"))
    'semiseg_plugin_my_net_c6dac62a'
    """
    digest = hashlib.sha256(str(file).encode()).hexdigest()[:8]
    stem = "".join(c if c.isalnum() else "_" for c in file.stem)
    return f"semiseg_plugin_{stem}_{digest}"


def _import(file: Path) -> ModuleType:
    name = module_name(file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UserError("cannot be imported", where=file, remedy="name a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UserError(_message(error), where=f"{file}:{_line(error, file)}") from error
    return module


def _line(error: Exception, file: Path) -> int:
    """The line of the plug-in that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return error.lineno or 1
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return (lines or [1])[-1] or 1


def _message(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {' '.join(reason.split())}"


# ------------------------------------------------------------------ what a run records
def records(used: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """What a run's folder says of the plug-ins that it needs: name and SHA-256.

    Args:
      used: ``(kind, name)`` of the parts that the run's trial names.
    """
    names = set(used)
    needed = []
    for plugin in _plugins.values():
        if any(part in names or part[0] in EVERYWHERE for part in plugin.parts):
            needed.append(plugin.record)
    return needed


def all_records() -> list[dict[str, str]]:
    """What a sweep's folder says of the plug-ins: all that are loaded."""
    return [plugin.record for plugin in _plugins.values()]


def require(recorded: Sequence[Mapping[str, str]], where: str | Path) -> None:
    """Refuse a run whose plug-ins are not loaded; say so where one has changed since.

    Raises:
      UserError: naming the first that is missing.
    """
    missing = absent(recorded)
    if missing:
        raise UserError(
            f"needs the plug-in {missing[0]}, whose code is not part of a run",
            where=where,
            remedy=f"give --plugin {missing[0]} (in Python: semiseg.load_plugin)",
        )
    for name in changed(recorded):
        log.warning("%s: the plug-in %s has changed since this run was made", where, name)


def absent(recorded: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of recorded plug-ins that are not loaded.

    >>> absent([{"name": "my.py", "sha256": "0"}])
    ['my.py']
    """
    loaded = {plugin.name for plugin in _plugins.values()}
    return [record["name"] for record in recorded if record["name"] not in loaded]


def changed(recorded: Sequence[Mapping[str, str]]) -> list[str]:
    """Names of recorded plug-ins that are loaded with another content."""
    contents = {(plugin.name, plugin.sha256) for plugin in _plugins.values()}
    missing = absent(recorded)
    names = []
    for record in recorded:
        if record["name"] not in missing and (record["name"], record["sha256"]) not in contents:
            names.append(record["name"])
    return names


def outside_files() -> list[tuple[str, str]]:
    """``(kind, name)`` of what this process registered without a file, so that other processes do
    not have it.
    """
    in_files = {part for plugin in _plugins.values() for part in plugin.parts}
    return [part for part in _registered if part not in in_files]


def remedy_for(kind: str, name: str, part: type) -> str:
    """What to do about a class that has no name.

    >>> remedy_for("net", "mine", int)
    'register it: semiseg.register("net", "mine", int), best in a file for --plugin'
    """
    call = f'semiseg.register("{kind}", "{name}", {part.__name__})'
    return f"register it: {call}, best in a file for --plugin"
