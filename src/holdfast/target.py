"""Find the Holdfast object that a command is given: `module:attribute`, or a file.

Whatever goes wrong here is the user's to fix, so it becomes a `TargetError` that says what was looked for and where;
an exception from within the user's own code keeps its traceback, without the frames of the import system and ours.

Rejected: scanning a FastAPI app for a mounted Holdfast; the object itself is one name away in the same file.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, Final, cast

from holdfast.domain.errors import DefinitionError

HOUSE: Final = str(Path(__file__).parent)
IMPORT_SYSTEM: Final = "<frozen "
HOW: Final = "Write it as module:attribute or path/to/file.py[:attribute], for example: holdfast dev agents.py:hf"


class TargetError(DefinitionError):
    """What the command was given is not a Holdfast."""

    code = "invalid_target"

    def __init__(self, message: str, *, trace: str | None = None) -> None:
        super().__init__(message)
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Target:
    """What a target names, before anything is imported. `path` is None for a module."""

    given: str
    module: str
    path: Path | None
    attribute: str | None


def parse(given: str) -> Target:
    """Split a target into where and what; `TargetError` if it cannot be one."""
    where, colon, attribute = given.rpartition(":") if ":" in given else (given, "", "")
    if not where or (colon and not _is_dotted(attribute)):
        raise TargetError(f"{given!r} is not a target. {HOW}")
    if where.endswith(".py") or os.sep in where:
        return Target(given, Path(where).stem, Path(where), attribute or None)
    if not _is_dotted(where):
        raise TargetError(f"{given!r} is not a target: {where!r} is neither a file nor the name of a module. {HOW}")
    return Target(given, where, None, attribute or None)


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def load(given: str) -> Any:
    """Import the target and return its `Holdfast`. Raises `TargetError`."""
    target = parse(given)
    module = _import_file(target) if target.path is not None else _import_module(target.module)
    if target.attribute is None:
        return _only_one(target, module)
    return _checked(target, _attribute(target, module, target.attribute))


def function(given: str) -> Callable[..., Any]:
    """Import the function that `module:function` or `path/to/file.py:function` names. Raises `TargetError`."""
    target = parse(given)
    if target.attribute is None:
        raise TargetError(f"{given!r} names no function. Write it as module:function or path/to/file.py:function")
    module = _import_file(target) if target.path is not None else _import_module(target.module)
    found = _attribute(target, module, target.attribute)
    if not callable(found):
        raise TargetError(f"{given} is not a function but of type {type(found).__name__}.")
    return found


# --- importing -------------------------------------------------------------------------------------------------------


def _import_module(name: str) -> ModuleType:
    _look_in(Path.cwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not (name == exc.name or name.startswith(f"{exc.name}.")):
            raise _failed(name, exc) from None
        raise TargetError(
            f"There is no module {exc.name!r}, neither in {Path.cwd()} nor installed. If it is a file, give its path: "
            f"{name.replace('.', os.sep)}.py"
        ) from None
    except BaseException as exc:
        raise _failed(name, exc) from None


def _import_file(target: Target) -> ModuleType:
    assert target.path is not None
    path = target.path.expanduser().resolve()
    if not path.is_file():
        raise TargetError(f"There is no file {path}.")
    if path.suffix != ".py":
        raise TargetError(f"{path} is not a Python file (.py).")
    if (path.parent / "__init__.py").exists():
        return _import_from_package(path)
    _look_in(path.parent)
    return _execute(path)


def _import_from_package(path: Path) -> ModuleType:
    """A file within a package is imported as its module, so that its relative imports work."""
    root, parts = path.parent, [] if path.stem == "__init__" else [path.stem]
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    _look_in(root)
    name = ".".join(parts)
    try:
        return importlib.import_module(name)
    except BaseException as exc:
        raise _failed(str(path), exc) from None


def _execute(path: Path) -> ModuleType:
    """A file on its own is run under its own name, unless another module has that name already."""
    name = path.stem if path.stem not in sys.modules else f"holdfast_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file always has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as exc:
        del sys.modules[name]
        raise _failed(str(path), exc) from None
    return module


def _look_in(directory: Path) -> None:
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))


def _failed(what: str, exc: BaseException) -> BaseException:
    """The user's exception, with the user's part of the traceback; an interrupt stays what it is."""
    if isinstance(exc, KeyboardInterrupt):
        return exc
    lines = traceback.format_exception(
        type(exc), exc, _theirs(exc.__traceback__), chain=not isinstance(exc, DefinitionError)
    )
    if isinstance(exc, DefinitionError):
        return TargetError(f"{what} declares something that cannot work: {exc.message}", trace="".join(lines[:-1]))
    if isinstance(exc, SystemExit):
        return TargetError(f"{what} ended the process while it was imported (exit code {exc.code!r}).")
    return TargetError(f"{what} raised {type(exc).__name__} while it was imported.", trace="".join(lines))


def _theirs(found: TracebackType | None) -> TracebackType | None:
    """The traceback without frames of the import system and of Holdfast."""
    kept: list[tuple[FrameType, int, int]] = []
    while found is not None:
        name = found.tb_frame.f_code.co_filename
        if not name.startswith((IMPORT_SYSTEM, HOUSE + os.sep)) and name != importlib.__file__:
            kept.append((found.tb_frame, found.tb_lasti, found.tb_lineno))
        found = found.tb_next
    shown: TracebackType | None = None
    for frame, lasti, line in reversed(kept):
        shown = TracebackType(shown, frame, lasti, line)
    return shown


# --- finding ---------------------------------------------------------------------------------------------------------


def _only_one(target: Target, module: ModuleType) -> Any:
    from holdfast.app import Holdfast

    found = {name: value for name, value in vars(module).items() if isinstance(value, Holdfast)}
    if len({id(value) for value in found.values()}) == 1:
        return next(iter(found.values()))
    if not found:
        raise TargetError(f"{target.given} defines no Holdfast. Add one, for example: hf = Holdfast(agents=[my_agent])")
    names = ", ".join(f"{target.given}:{name}" for name in sorted(found))
    raise TargetError(f"{target.given} defines several Holdfasts; say which: {names}")


def _attribute(target: Target, module: ModuleType, attribute: str) -> Any:
    found: Any = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise TargetError(_no_attribute(target, module, attribute))
        found = getattr(found, name)
    return found


def _no_attribute(target: Target, module: ModuleType, attribute: str) -> str:
    from holdfast.app import Holdfast

    names = sorted(name for name, value in vars(module).items() if isinstance(value, Holdfast))
    where = target.given.rpartition(":")[0]
    hint = f" It defines the Holdfast {names[0]!r}: {where}:{names[0]}" if names else ""
    return f"{where} has no attribute {attribute!r}.{hint}"


def _checked(target: Target, value: Any) -> Any:
    from fastapi import FastAPI

    from holdfast.app import Holdfast

    if isinstance(value, Holdfast):
        return value
    if isinstance(value, FastAPI):
        hint = "Give the Holdfast object that the application was made from or is mounted in, for example hf."
    elif hasattr(value, "definition") and hasattr(value, "related"):
        hint = "An agent is served by a Holdfast: hf = Holdfast(agents=[…])"
    else:
        hint = HOW
    kind = cast("type[Any]", type(value)).__name__
    raise TargetError(f"{target.given} is not a Holdfast but of type {kind}. {hint}")
