"""What keeps code under replay away from the world: no sockets, no processes, no databases, nothing of `deps`.

Sockets and processes are refused by an audit hook, which sees them however they are reached. A hook cannot be taken
away again, so it asks first whether the code that runs now is under replay: in a process of its own everything is, in a
thread of a server what runs in the replay's context. Rejected: replacing functions of `socket`, which misses every
other way to them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from copy import deepcopy
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final, NoReturn, cast
from uuid import UUID

from holdfast.domain.errors import RunError

_REFUSED: Final = frozenset(
    {
        "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr",
        "socket.getnameinfo", "socket.sendto", "socket.sendmsg", "subprocess.Popen", "os.system", "os.exec", "os.fork",
        "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "sqlite3.connect",
    }
)  # fmt: skip


class Isolated(RunError):
    """Code that is replayed reached for something outside."""

    code = "replay_isolated"


Told = Callable[[str], None]
_here: ContextVar[Told | None] = ContextVar("holdfast_replay", default=None)
_everywhere: Told | None = None
_installed = False


def cut(told: Told, *, everywhere: bool) -> None:
    """From now on refuse the world to the current context (and threads that are given it), or to the whole process."""
    global _everywhere, _installed
    if everywhere:
        _everywhere = told
    else:
        _here.set(told)
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in _REFUSED:
        return
    told = _everywhere or _here.get()
    if told is not None:
        said = f"Code outside steps wanted {event}; while it is replayed there is no network, process or database."
        told(said)
        raise Isolated(said)


# -- deps -------------------------------------------------------------------------------------------------------------

# Values that nothing can be done with but read them. A class is one too: what it makes is the code's own.
_PLAIN: Final = (
    str, int, float, bytes, type(None), Enum, date, time, timedelta, tzinfo, Decimal, UUID, PurePath, type
)  # fmt: skip
_UNKNOWN: Final = object()


def guarded(value: Any, told: Told, path: str = "ctx.deps") -> Any:
    """What code under replay sees of `deps`: plain data as it is (a copy, if it could be changed), everything else as a
    guard that can be looked into and named (to be given to `ctx.step`, which does not call it), and that refuses to be
    used."""
    if isinstance(value, _PLAIN):
        return value
    return deepcopy(value) if _is_plain(value) else Guard(value, told, path)


def _is_plain(value: Any, depth: int = 8) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if depth and type(value) in (list, tuple, set, frozenset):
        return all(_is_plain(one, depth - 1) for one in cast("list[Any]", value))
    if depth and type(value) is dict:
        items = cast("dict[Any, Any]", value).items()
        return all(_is_plain(k, depth - 1) and _is_plain(v, depth - 1) for k, v in items)
    return False


def real(value: Any) -> Any:
    """What stands behind a guard: for its annotations, never to be called."""
    return object.__getattribute__(value, "_real") if type(value) is Guard else value


class Guard:
    """Something live, behind glass. Attributes are looked up without running any code of its class."""

    __slots__ = ("_path", "_real", "_told")

    def __init__(self, value: Any, told: Told, path: str) -> None:
        object.__setattr__(self, "_real", value)
        object.__setattr__(self, "_told", told)
        object.__setattr__(self, "_path", path)

    def __getattribute__(self, name: str) -> Any:
        own = object.__getattribute__
        value: Any = own(self, "_real")
        told, path = own(self, "_told"), own(self, "_path")
        kind: Any = cast(Any, type(value))
        if name == "__class__":  # isinstance works
            return kind
        found = inspect.getattr_static(value, name, _UNKNOWN)
        if found is _UNKNOWN:
            if hasattr(kind, "__getattr__"):
                _refuse(self, f"read .{name} of, which only its own code can tell,")
            raise AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
        if isinstance(found, (staticmethod, classmethod)) or inspect.isroutine(found):
            found = getattr(value, name)  # binding runs no code of theirs
        elif hasattr(cast(Any, type(found)), "__get__"):
            found = _slot(value, found, self, name)
        return guarded(found, told, f"{path}.{name}")

    def __getitem__(self, key: Any) -> Any:
        own = object.__getattribute__
        value = own(self, "_real")
        if type(value) not in (dict, list, tuple):
            _refuse(self, "look into")
        return guarded(value[key], own(self, "_told"), f"{own(self, '_path')}[{key!r}]")

    def __setattr__(self, name: str, value: Any) -> None:
        _refuse(self, f"set .{name} of")

    def __delattr__(self, name: str) -> None:
        _refuse(self, f"delete .{name} of")

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        _refuse(self, "call")

    def __bool__(self) -> bool:
        kind = cast("type[Any]", type(object.__getattribute__(self, "_real")))
        if hasattr(kind, "__bool__") or hasattr(kind, "__len__"):
            _refuse(self, "judge")
        return True

    def __eq__(self, other: object) -> bool:
        if type(other) is not Guard:
            _refuse(self, "compare")
        return real(self) is real(other)

    def __hash__(self) -> int:
        return id(real(self))

    def __repr__(self) -> str:
        return f"<{object.__getattribute__(self, '_path')}, guarded while this is replayed>"

    def __iter__(self) -> NoReturn:
        _refuse(self, "go through")

    def __aiter__(self) -> NoReturn:
        _refuse(self, "go through")

    def __await__(self) -> NoReturn:
        _refuse(self, "await")

    def __len__(self) -> int:
        raise _refused(self, "count")

    def __contains__(self, key: Any) -> bool:
        _refuse(self, "look into")

    def __enter__(self) -> NoReturn:
        _refuse(self, "enter")

    def __exit__(self, *_: object) -> None:
        _refuse(self, "leave")

    async def __aenter__(self) -> NoReturn:
        _refuse(self, "enter")

    async def __aexit__(self, *_: object) -> None:
        _refuse(self, "leave")


def _slot(value: Any, descriptor: Any, guard: Guard, name: str) -> Any:
    """What a slot holds. Any other descriptor is code."""
    if inspect.ismemberdescriptor(descriptor):
        return descriptor.__get__(value, cast("type[Any]", type(value)))
    _refuse(guard, f"read .{name}, which is computed, of")


def _refuse(guard: Guard, verb: str) -> NoReturn:
    raise _refused(guard, verb)


def _refused(guard: Guard, verb: str) -> Isolated:
    told, path = object.__getattribute__(guard, "_told"), object.__getattribute__(guard, "_path")
    said = (
        f"Code outside steps wanted to {verb} {path}; while it is replayed nothing of deps is alive. Do it in a step."
    )
    told(said)
    return Isolated(said)
