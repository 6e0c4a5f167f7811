"""The composition root: settings → database → hub → agents → services → runtime → FastAPI. No logic of its own."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.agents.base import Agent
from holdfast.agents.registry import Registry
from holdfast.bus.base import Hub, Relay
from holdfast.bus.poll import PollRelay
from holdfast.domain.access import sandbox_admin
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.errors import DefinitionError, Unavailable
from holdfast.domain.ids import PrincipalId
from holdfast.runtime.replayers import InProcess, InThread, Replayers
from holdfast.runtime.supervisor import Supervisor
from holdfast.service.house import House
from holdfast.settings import Settings, expanded
from holdfast.store import principals
from holdfast.store.base import Database, Faults

if TYPE_CHECKING:
    from fastapi import FastAPI

    from holdfast.service.access import Auth

GC_THRESHOLDS = (50_000, 20, 100)


def database_of(settings: Settings, determinism: Determinism = SYSTEM, faults: Faults | None = None) -> Database:
    """The database that a URL names; its driver is imported only if it is the one."""
    scheme, _, rest = settings.database.partition(":")
    if scheme == "sqlite" and rest.startswith("///"):
        from holdfast.store.sqlite import SqliteDatabase

        return SqliteDatabase(rest.removeprefix("///"), determinism=determinism, faults=faults)
    if scheme in ("postgresql", "postgres") or scheme.startswith("postgresql+"):
        from holdfast.store.postgres import PostgresDatabase

        pool = settings.postgres_pool
        return PostgresDatabase(settings.database, determinism=determinism, faults=faults, pool=pool)
    raise DefinitionError(
        f"The database URL starts with {scheme!r}; it has to be sqlite:///path or postgresql://user@host/name."
    )


def relay_of(database: Database, determinism: Determinism) -> Relay:
    """How this process tells others of the same database."""
    if database.dialect == "postgresql":
        from holdfast.bus.postgres import PostgresRelay
        from holdfast.store.postgres import PostgresDatabase

        assert isinstance(database, PostgresDatabase)
        return PostgresRelay(database.dsn, determinism=determinism)
    return PollRelay(database.changed_elsewhere)


class Holdfast:
    """Agents, and the runtime that makes their runs durable.

    Args:
        agents: native agents, workflows and adapters; those they call or hand over to come with them.
        database: `sqlite:///path` or `postgresql://…`; default: the setting `HOLDFAST_DATABASE`, else
            `sqlite:///holdfast.db`.
        deps: any object; tools and workflows of this process see it as `ctx.deps`.
        settings: instead of the environment.

    `app` is a FastAPI application that starts the runtime with its lifespan; `mount` adds it to one of yours.
    `running()` starts the runtime alone, for workers and tests. `target`: how a command found this object, so that
    another process can find it too; replays then run in one of their own.
    """

    def __init__(
        self,
        agents: Iterable[Agent] = (),
        *,
        database: str | None = None,
        deps: Any = None,
        settings: Settings | None = None,
        determinism: Determinism = SYSTEM,
        faults: Faults | None = None,
    ) -> None:
        chosen = settings or Settings()  # pyright: ignore[reportCallIssue]
        if database is not None:
            chosen = chosen.model_copy(update={"database": expanded(database)})
        self.settings = chosen
        self.registry = Registry(agents)
        self.target: str | None = None
        self._deps = deps
        self._determinism = determinism
        self._faults = faults
        self._app: FastAPI | None = None
        self._auth: Auth | None = None
        self._guest: PrincipalId | None = None
        self._house: House | None = None
        self._supervisor: Supervisor | None = None

    @property
    def app(self) -> FastAPI:
        """The FastAPI application, built on first use."""
        if self._app is None:
            from holdfast.web import api, ui

            settings = self.settings
            self._app = api.build(
                self.house,
                auth=self._authenticator(),
                dev=settings.mode == "dev",
                body_bytes_max=settings.body_bytes_max,
                lifespan=self._lifespan,
                control_plane=ui.PACKAGED if settings.ui else None,
            )
        return self._app

    def _authenticator(self) -> Auth:
        if self._auth is None:
            from holdfast.service.access import Auth

            pepper, required = pepper_of(self.settings), self.settings.require_auth
            self._auth = Auth(self.house, pepper=pepper, required=required, guest=self._guest)
        return self._auth

    @property
    def deps(self) -> Any:
        """What tools and workflows see as `ctx.deps`."""
        return self._deps

    def mount(self, app: FastAPI, path: str) -> None:
        """Serve under `path` of your application, whose lifespan then starts and stops the runtime too."""
        app.mount(path, self.app)
        outer = app.router.lifespan_context

        @contextlib.asynccontextmanager
        async def both(started: FastAPI) -> AsyncGenerator[Any]:
            async with outer(started) as state, self.running():
                yield state

        app.router.lifespan_context = both

    @property
    def house(self) -> House:
        """What every verb is given."""
        if self._house is None:
            database = database_of(self.settings, self._determinism, self._faults)
            self._house = House(
                database=database,
                hub=Hub(relay_of(database, self._determinism)),
                agents={agent.id: agent for agent in self.registry},
                determinism=self._determinism,
                lease_ms=self.settings.lease_ms,
                sandbox=None if self.settings.sandbox_tenant is None else sandbox_admin(self.settings.sandbox_tenant),
            )
        return self._house

    @property
    def supervisor(self) -> Supervisor:
        if self._supervisor is None:
            self._supervisor = Supervisor(
                self.house, slots=self.settings.worker_slots, deps=self._deps, drain_ms=self.settings.drain_ms
            )
        return self._supervisor

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        async with self.running():
            yield

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncGenerator[Holdfast]:
        """Open the database, start the runtime; stop and close both at the end.

        In mode `dev` the schema is brought up to date; in mode `serve` a schema that does not fit is refused.
        """
        from holdfast.store import migrate  # brings Alembic, which `import holdfast` can do without

        house, supervisor = self.house, self.supervisor  # first: they say what is wrong with the database's URL
        if self.settings.mode == "dev":
            await migrate.upgrade(self.settings.database)
        else:
            await migrate.demand_current(self.settings.database)
        await house.database.open()
        async with contextlib.AsyncExitStack() as closing:  # what was opened is closed, the last first
            closing.callback(self._renew, house)
            closing.push_async_callback(house.database.close)
            await house.database.write(None, principals.seed)
            if (sandbox := self.settings.sandbox_tenant) is not None:
                await house.database.write(None, lambda tx: principals.seed_sandbox(tx, sandbox))
            await house.hub.open()
            closing.push_async_callback(house.hub.close)
            replayers = Replayers(self._replays_in())
            house.replayer = replayers
            closing.push_async_callback(replayers.stop)
            closing.push_async_callback(supervisor.stop)  # also of a start that fails half-way
            await supervisor.start()
            if self.settings.freeze_gc:
                _freeze_gc()
            yield self

    def _replays_in(self) -> InThread | InProcess:
        """A process of its own can only replay what it can import; what was built in somebody's own code stays here."""
        if self.target is not None:
            return InProcess(self.target, os.getcwd())
        return InThread(self.house.agents, self._deps)

    def _renew(self, house: House) -> None:
        """Make ready for another start: the application keeps its house, which gets what can be opened once only."""
        house.database = database_of(self.settings, self._determinism, self._faults)
        house.hub = Hub(relay_of(house.database, self._determinism))
        house.replayer = None
        house.features.clear()
        house.stored_blobs.clear()
        house.tools_off.clear()
        self._supervisor = None


def _freeze_gc() -> None:
    """What is loaded by now stays: keep the collector from walking it again and again (shorter pauses under load)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def pepper_of(settings: Settings, determinism: Determinism = SYSTEM) -> bytes | None:
    """The secret that API keys are hashed with: configured, or made once beside a SQLite database; None if neither."""
    if settings.pepper is not None:
        return settings.pepper.get_secret_value().encode()
    if not settings.database.startswith("sqlite:///"):
        return None
    path = Path(settings.database.removeprefix("sqlite:///")).expanduser().resolve()
    path = path.with_name(path.name + ".pepper")
    try:
        if not path.exists():
            _make_pepper(path, determinism)
        return path.read_bytes()
    except OSError as exc:
        raise Unavailable(f"Cannot read or make the file that holds the secret of API keys: {exc}") from None


def _make_pepper(path: Path, determinism: Determinism) -> None:
    """Whole or not at all, and once: of two processes that start together, both go on with what the first one made."""
    secret = determinism.random_bytes(32).hex()
    draft = path.with_name(f"{path.name}.{determinism.new_id().hex()}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secret)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
