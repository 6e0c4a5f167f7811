"""`holdfast doctor`: look at everything that a start depends on, change nothing, and say what to do about each finding.

A check never raises for what it looks for: what is wrong is a finding. Findings that keep a server from starting, or
from being what its operator believes it is, are problems and decide the exit code; the rest are warnings.

The one thing it leaves behind on SQLite is the folder of lock files that every start makes, since whether locks work
can only be found out by taking one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from holdfast.domain import ids, limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import HoldfastError, ModelFault
from holdfast.serving import is_loopback
from holdfast.settings import Settings
from holdfast.store import agents, migrate, principals
from holdfast.store.base import Database, Row, Tx
from holdfast.store.migrate import SchemaState

if TYPE_CHECKING:
    from holdfast.agents.base import Agent
    from holdfast.app import Holdfast

SKEW_MS_MAX: Final = 2_000
WARM_UP_S: Final = 30
ENGINE_CONNECTIONS: Final = 4
# Read elsewhere than in `settings.py`: by the model layer, the benchmarks, the test suite.
OTHER_VARIABLES: Final = frozenset(
    {
        "HOLDFAST_STOCK_OPENAI_CLIENT",
        "HOLDFAST_BENCH_POSTGRES",
        "HOLDFAST_TEST_POSTGRES",
        "HOLDFAST_REQUIRE_ALL",
        "HOLDFAST_FULL",
    }
)


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw, and what to do about it (nothing when it is well)."""

    about: str
    verdict: Verdict
    seen: str
    advice: str = ""


def ok(about: str, seen: str) -> Finding:
    return Finding(about, Verdict.OK, seen)


def warning(about: str, seen: str, advice: str) -> Finding:
    return Finding(about, Verdict.WARNING, seen, advice)


def problem(about: str, seen: str, advice: str) -> Finding:
    return Finding(about, Verdict.PROBLEM, seen, advice)


async def examine(
    settings: Settings,
    holdfast: Holdfast | None,
    *,
    host: str,
    environment: Iterable[str] | None = None,
    determinism: Determinism = SYSTEM,
) -> AsyncIterator[Finding]:
    """All findings, as they are made. `host` is what the server is going to listen on."""
    for finding in variables(os.environ if environment is None else environment):
        yield finding
    if holdfast is not None:
        async for finding in loaded(holdfast):
            yield finding
    keys: bool | None = None
    async with contextlib.AsyncExitStack() as stack:
        database: Database | None = None
        async for finding in opened(settings, stack):
            if isinstance(finding, Finding):
                yield finding
            else:
                database = finding
        if database is not None:
            current = False
            async for finding in inspected(database, settings, determinism):
                current = current or (finding.about == "schema" and finding.verdict is Verdict.OK)
                yield finding
            if current:
                keys = await database.read(None, principals.any_key)
                yield await workers(database)
    for finding in door(settings, host, keys):
        yield finding


# --- configuration ---------------------------------------------------------------------------------------------------


def variables(environment: Iterable[str]) -> list[Finding]:
    """Settings were read before this; what is left to see is a variable that nobody reads."""
    known = OTHER_VARIABLES | {f"HOLDFAST_{name.upper()}" for name in Settings.model_fields}
    given = sorted(name for name in environment if name.upper().startswith("HOLDFAST_"))
    unread = [name for name in given if name.upper() not in known]
    if unread:
        advice = f"Check the spelling. There are: {', '.join(sorted(known - OTHER_VARIABLES))}"
        return [warning("configuration", f"nobody reads {', '.join(unread)}", advice)]
    return [ok("configuration", f"{len(given)} HOLDFAST_ variables set, all known" if given else "defaults")]


# --- agents ----------------------------------------------------------------------------------------------------------


async def loaded(holdfast: Holdfast) -> AsyncIterator[Finding]:
    """Each agent is got ready as at a start: its provider's package, its remote tools; and its model's key."""
    if not len(holdfast.registry):
        yield problem("agents", "none is declared", "Give some: Holdfast(agents=[…])")
    for agent in holdfast.registry:
        yield await warmed(agent)


async def warmed(agent: Agent) -> Finding:
    about = f"agent {agent.id}"
    try:
        async with asyncio.timeout(WARM_UP_S):
            await agent.warm_up()
        if (missing := keyless(agent)) is not None:
            return problem(about, missing, "The server would start, but every run of this agent would fail.")
    except HoldfastError as exc:
        return problem(about, exc.message, "The server would not start like this. Set what is missing, then try again.")
    except TimeoutError:
        return problem(
            about, f"not ready within {WARM_UP_S} s", "Check that its remote tools can be reached from here."
        )
    except Exception as exc:
        return problem(about, f"{type(exc).__name__}: {exc}", "Check its model and its remote tools.")
    finally:
        await agent.close()
    model = agent.definition().get("model")
    return ok(about, f"{agent.kind.value}, model {model}" if model else agent.kind.value)


def keyless(agent: Agent) -> str | None:
    """What keeps a native agent's model from being called, such as a missing key; None if nothing does."""
    from holdfast.agents.native import Agent as NativeAgent

    try:
        if isinstance(agent, NativeAgent):
            agent.resolved_model()
    except ModelFault as exc:
        return exc.message
    return None


# --- the database ----------------------------------------------------------------------------------------------------


async def opened(settings: Settings, stack: contextlib.AsyncExitStack) -> AsyncIterator[Finding | Database]:
    """Findings, and the open database if there is one; it is closed with `stack`."""
    from holdfast.app import database_of

    try:
        database = database_of(settings)
    except HoldfastError as exc:
        yield problem("database", exc.message, "Correct HOLDFAST_DATABASE or --database.")
        return
    if database.dialect == "sqlite" and (missing := _missing(database)) is not None:
        yield missing
        return
    try:
        await database.open()
        stack.push_async_callback(database.close)
        await database.read(None, _now)
    except HoldfastError as exc:
        advice = "Is the server running, and are host, port, user, password and name right?"
        if database.dialect == "sqlite":
            advice = "Check the file, its folder and their permissions."
        yield problem("database", exc.message, advice)
        return
    yield ok("database", f"{database.url} answers")
    yield database


def _missing(database: Database) -> Finding | None:
    """A SQLite file that is not there yet, or cannot be made; opening it would create it."""
    path = Path(database.url.removeprefix("sqlite:///"))
    if path.exists():
        return None
    if not path.parent.is_dir():
        return problem("database", f"there is no folder {path.parent}", f"Make it: mkdir -p {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return problem("database", f"the folder {path.parent} cannot be written to", "Change its owner or permissions.")
    advice = "holdfast migrate makes it; so does holdfast dev."
    return problem("database", f"{path} does not exist yet", advice)


async def inspected(database: Database, settings: Settings, determinism: Determinism) -> AsyncIterator[Finding]:
    yield await schema(settings)
    yield await skew(database, determinism)
    if database.dialect == "sqlite":
        yield await locks(settings, determinism)
    else:
        yield await connections(database, settings)


async def schema(settings: Settings) -> Finding:
    try:
        state, revision = await migrate.state(settings.database)
    except HoldfastError as exc:
        return problem("schema", exc.message, "Check the database user's rights.")
    match state:
        case SchemaState.CURRENT:
            return ok("schema", f"at {revision}, which is what this version needs")
        case SchemaState.EMPTY:
            return problem("schema", "there are no tables yet", "Run: holdfast migrate")
        case SchemaState.OLDER:
            return problem("schema", f"at {revision}; this version needs {migrate.head()}", "Run: holdfast migrate")
        case SchemaState.NEWER:
            return problem(
                "schema", f"at {revision}, made by a newer version", "Start that version, or upgrade this one."
            )


async def skew(database: Database, determinism: Determinism) -> Finding:
    """The database's clock against this process's, allowing for the time that the answer took."""
    before = determinism.now_ms()
    theirs = await database.read(None, _now)
    after = determinism.now_ms()
    off_ms = max(before - theirs, theirs - after, 0)
    if off_ms > SKEW_MS_MAX:
        advice = (
            "Synchronise both clocks (NTP). Leases and timers follow the database's, shown times and ids this one's."
        )
        return warning("clock", f"{off_ms / 1000:.1f} s between this machine and the database", advice)
    return ok("clock", "this machine and the database agree")


async def _now(tx: Tx) -> int:
    return tx.now_ms


async def locks(settings: Settings, determinism: Determinism) -> Finding:
    """Whether a write lock can be had, and a process's lock is seen by others and goes when it does."""
    from holdfast.store.sqlite import SqliteDatabase

    path = settings.database.removeprefix("sqlite:///")
    one, other = SqliteDatabase(path), SqliteDatabase(path)
    owner = determinism.new_id()
    try:
        await one.open()
        try:
            await one.write(None, _now)
            one.hold(owner)
            seen = other.is_dead(owner) is False
        finally:
            await one.close()
        seen = seen and other.is_dead(owner) is True
        other.forget(owner)
    except (HoldfastError, OSError) as exc:
        said = exc.message if isinstance(exc, HoldfastError) else str(exc)
        advice = "Another program may hold the file, or its folder is read-only. Close it, or use PostgreSQL."
        return problem("locks", said, advice)
    finally:
        await other.close()
    if not seen:
        advice = "Use a local disk, or PostgreSQL: a dead worker could not be told from a living one."
        return problem("locks", "this file system does not keep locks between processes", advice)
    return ok("locks", "a local file system that keeps them")


_SERVER = text("SELECT current_setting('server_version_num')::int, current_setting('max_connections')::int")


async def connections(database: Database, settings: Settings) -> Finding:
    """PostgreSQL's version and how many processes of this configuration it has room for."""

    async def ask(tx: Tx) -> Row | None:
        return await tx.first(_SERVER)

    row = await database.read(None, ask)
    assert row is not None, "a SELECT without FROM has one row"
    version, most = int(row[0]), int(row[1])
    shown = f"PostgreSQL {version // 10_000}, {most} connections"
    if version < 130_000:
        return problem("server", shown, "Holdfast needs PostgreSQL 13 or newer.")
    needed = settings.postgres_pool + ENGINE_CONNECTIONS
    if needed > most:
        advice = "Lower HOLDFAST_POSTGRES_POOL, or raise max_connections."
        return problem("server", f"{shown}; this process takes up to {needed}", advice)
    return ok("server", f"{shown}: room for {most // needed} processes of {needed}")


async def workers(database: Database) -> Finding:
    """Who executes runs at this moment. Nobody is no problem of a machine on which nothing was started yet."""
    alive = await database.read(None, lambda tx: agents.workers(tx, seen_within_ms=limits.WORKER_SEEN_MS))
    if not alive:
        return ok("workers", "none is running now")
    slots = sum(worker.slots for worker in alive)
    served = ", ".join(sorted({agent for worker in alive for agent in worker.agents}))
    names = ", ".join(f"{ids.text(ids.WORKER, worker.id)} on {worker.host}" for worker in alive[:3])
    more = f" and {len(alive) - 3} more" if len(alive) > 3 else ""
    return ok("workers", f"{names}{more}: {slots} slots for {served}")


# --- the door --------------------------------------------------------------------------------------------------------


def door(settings: Settings, host: str, keys: bool | None) -> list[Finding]:
    """Who may come in. `keys` is None where the database could not be asked."""
    found: list[Finding] = []
    try:
        local = is_loopback(host)
    except HoldfastError as exc:
        return [problem("authentication", exc.message, "Correct --host.")]
    if keys:
        found.append(ok("authentication", f"an API key is needed; listening on {host}"))
    elif not local:
        advice = "Create an API key: holdfast keys create NAME. Or listen on this machine only: --host 127.0.0.1"
        found.append(problem("authentication", f"{host} can be reached by others, and there is no API key", advice))
    elif settings.require_auth:
        advice = "Create one: holdfast keys create NAME"
        found.append(problem("authentication", "HOLDFAST_REQUIRE_AUTH is set, and there is no API key", advice))
    else:
        found.append(ok("authentication", f"no API key yet: {host} serves this machine alone"))
    return [*found, *pepper(settings, keys)]


def pepper(settings: Settings, keys: bool | None) -> list[Finding]:
    """The secret that keys are hashed with."""
    if settings.pepper is not None:
        return []
    if not settings.database.startswith("sqlite:///"):
        advice = "Set it to a long random secret, the same for every process: API keys are hashed with it."
        if keys:
            return [problem("pepper", "HOLDFAST_PEPPER is not set, and there are API keys to check", advice)]
        return [warning("pepper", "HOLDFAST_PEPPER is not set, so no API key can be made", advice)]
    path = Path(settings.database.removeprefix("sqlite:///")).expanduser().resolve()
    path = path.with_name(path.name + ".pepper")
    if not path.exists():
        if keys:
            advice = "Restore the file from a backup, or create new keys: the old ones cannot be checked any more."
            return [problem("pepper", f"{path} is gone", advice)]
        return []
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return [warning("pepper", f"others on this machine may read {path}", f"Run: chmod 600 {path}")]
    return [ok("pepper", f"{path}, for your eyes only")]
