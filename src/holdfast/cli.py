"""`holdfast …`: commands. Each finds its target and settings, calls one verb, and says what happened.

What a user got wrong ends in one or two lines on stderr and exit code 2; what the world got wrong (a database away, a
door that would be open) in the same and exit code 1. Nothing heavy is imported before it is known which command runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging.config
import os
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NoReturn, TypeVar

import typer
from rich.console import Console

from holdfast._version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from holdfast.app import Holdfast
    from holdfast.demo import Demo
    from holdfast.domain.access import Principal
    from holdfast.domain.recorded import RecordedRun
    from holdfast.replay_command import Case
    from holdfast.service.access import Auth
    from holdfast.settings import Settings

T = TypeVar("T")

PORT: Final = 8484
USAGE, FAILURE = 2, 1
DEMO_DIRECTORY: Final = Path(".holdfast-demo")
# What is loaded at a start stays, and walking it again and again would be a fifth of the start.
LOADING_GC_THRESHOLDS: Final = (50_000, 20, 20)

out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

app = typer.Typer(
    name="holdfast",
    help="The self-hosted runtime for AI agents: durable runs on SQLite or PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
keys_app = typer.Typer(help="API keys of the local admin's tenant, or of the sandbox tenant.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
runs_app = typer.Typer(help="Recorded runs as files.", no_args_is_help=True)
app.add_typer(runs_app, name="runs")

LogLevel = Literal["debug", "info", "warning", "error"]
ReplayMode = Literal["strict", "recorded-tools", "live"]
TargetArgument = Annotated[
    str,
    typer.Argument(metavar="TARGET", help="What to run: module:attribute, or a file: path/to/agents.py[:attribute]"),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        help="sqlite:///path or postgresql://user@host/name; else HOLDFAST_DATABASE, else what the target says.",
    ),
]
TenantOption = Annotated[
    str | None, typer.Option("--tenant", metavar="NAME", help="Of this tenant: the one of HOLDFAST_SANDBOX_TENANT.")
]
LogLevelOption = Annotated[LogLevel, typer.Option("--log-level", help="What is logged, on stderr.")]
PortOption = Annotated[int, typer.Option("--port", min=0, max=65_535, help="0: any free one; it is printed.")]


def main() -> None:
    """The program: run a command, and turn what went wrong into words and an exit code."""
    from holdfast.domain.errors import HoldfastError

    gc.set_threshold(*LOADING_GC_THRESHOLDS)
    try:
        app(prog_name="holdfast")
    except HoldfastError as exc:
        raise SystemExit(explain(exc)) from None


def explain(exc: Exception) -> int:
    """Say what went wrong on stderr; the exit code."""
    from holdfast.domain.errors import HoldfastError, Invalid, NotFound
    from holdfast.target import TargetError

    if isinstance(exc, TargetError) and exc.trace:
        err.print(exc.trace, markup=False, end="")
    message = exc.message if isinstance(exc, HoldfastError) else str(exc)
    err.print("[bold red]Error:[/] ", end="")
    err.print(message, markup=False)
    return USAGE if isinstance(exc, (Invalid, NotFound)) else FAILURE


def refuse(message: str, code: int = USAGE) -> NoReturn:
    err.print("[bold red]Error:[/] ", end="")
    err.print(message, markup=False)
    raise SystemExit(code)


# --- settings, target, logging ---------------------------------------------------------------------------------------


def configured(**options: Any) -> Settings:
    """The settings of the environment, with the options that are not None; a wrong one is named by its variable.

    Options go into the environment, because the target reads it too: as it is imported, and it may build its
    application right then.
    """
    from pydantic import ValidationError

    from holdfast.settings import Settings

    for name, value in options.items():
        if value is not None:
            os.environ[f"HOLDFAST_{name.upper()}"] = str(value)
    try:
        return Settings()  # pyright: ignore[reportCallIssue]
    except ValidationError as exc:
        wrong = "\n".join(f"HOLDFAST_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in exc.errors())
        refuse(wrong)


def loaded(given: str, **options: Any) -> Holdfast:
    """The target, with the options that are not None, whatever it says itself."""
    from holdfast.app import database_of
    from holdfast.target import TargetError, load

    settings = configured(**options)
    holdfast: Holdfast = load(given)
    holdfast.target = given
    # As the settings have read them: a path with ~ is expanded there.
    wanted = {name: getattr(settings, name) for name, value in options.items() if value is not None}
    holdfast.settings = holdfast.settings.model_copy(update=wanted)
    if "database" in wanted and database_of(holdfast.settings).url != holdfast.house.database.url:
        raise TargetError(
            f"{given} names a database itself and has built its application with it, so --database comes too late. "
            "Leave the database out of Holdfast(…); the setting and the option then decide."
        )
    return holdfast


def log_to_stderr(level: LogLevel) -> None:
    """One line for each record, the server's own lifecycle chatter left out."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "plain": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s", "datefmt": "%H:%M:%S"},
                "access": {
                    "()": "uvicorn.logging.AccessFormatter",
                    "fmt": "%(asctime)s %(client_addr)s %(request_line)s %(status_code)s",
                    "datefmt": "%H:%M:%S",
                    "use_colors": sys.stderr.isatty(),
                },
            },
            "filters": {"lifecycle": {"()": "holdfast.serving.NoLifecycle"}},
            "handlers": {
                "plain": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stderr"},
                "access": {"class": "logging.StreamHandler", "formatter": "access", "stream": "ext://sys.stderr"},
            },
            "root": {"handlers": ["plain"], "level": "WARNING"},
            "loggers": {
                "holdfast": {"level": level.upper()},
                # While the database is away it warns with a traceback of what we say in a line.
                "asyncpg.pool": {"level": "ERROR"},
                "uvicorn.error": {
                    "level": "ERROR" if level != "debug" else "DEBUG",
                    "filters": ["lifecycle"] if level != "debug" else [],
                },
                "uvicorn.access": {"level": "INFO", "handlers": ["access"], "propagate": False},
            },
        }
    )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; what goes wrong in it comes out as it is."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def announce(holdfast: Holdfast, url: str | None) -> None:
    """What serves, where, and for whom; the last line says that it does."""
    from holdfast.doctor import keyless

    settings = holdfast.settings
    line("agents", ", ".join(sorted(holdfast.registry.ids)) or "none")
    for agent in holdfast.registry:
        if (missing := keyless(agent)) is not None:
            err.print(f"  Warning: the runs of {agent.id} will fail. {missing}", markup=False)
    line("database", holdfast.house.database.url)
    line("workers", f"{settings.worker_slots} slots" if settings.worker_slots else "none in this process: API only")
    if url is None:
        out.print(f"Holdfast {__version__} works.", markup=False)
        return
    from holdfast.web.ui import PACKAGED

    line("docs", f"{url}/docs")
    if settings.ui and PACKAGED.built:
        line("ui", f"{url}/ui/")
    out.print(f"Holdfast {__version__} is ready on {url}", markup=False)


def line(name: str, text: str) -> None:
    out.print(f"  {name:9} {text}", markup=False)


def announce_stop() -> None:
    # Called from a signal handler: no lock may be taken that the interrupted code could hold.
    os.write(1, b"Stopping: tools under way get their time. Once more stops at once.\n")


# --- serving ---------------------------------------------------------------------------------------------------------


@app.command()
def dev(
    target: TargetArgument,
    port: PortOption = PORT,
    database: DatabaseOption = None,
    reload: Annotated[
        bool, typer.Option("--reload/--no-reload", help="Start again when a Python file changes.")
    ] = True,
    log_level: LogLevelOption = "info",
    listener_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
    parent_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Serve on this machine while you write: restarts on changes, migrates the database, logs requests."""
    from holdfast import serving

    if reload:
        from holdfast import reloading

        settings = configured(database=database, mode="dev")
        with serving.listen("127.0.0.1", port) as listener:
            code = reloading.supervise(
                target, listener, database=database, log_level=log_level, drain_ms=settings.drain_ms, out=out
            )
        raise SystemExit(code)
    if parent_fd is not None:
        _stop_with_parent(parent_fd)
    listener = serving.listen("127.0.0.1", port) if listener_fd is None else socket.socket(fileno=listener_fd)
    log_to_stderr(log_level)
    holdfast = loaded(target, database=database, mode="dev")
    run(
        serving.serve(
            holdfast,
            listener,
            ready=lambda: announce(holdfast, serving.url_of(listener)),
            stopping=announce_stop,
            access_log=log_level in ("debug", "info"),
            grace_s=serving.GRACE_DEV_S,
        )
    )


def _stop_with_parent(descriptor: int) -> None:
    """Stop gently when the reloading parent is gone, however it went: its end of the pipe closes."""

    def wait() -> None:
        os.read(descriptor, 1)
        os.kill(os.getpid(), 15)

    threading.Thread(target=wait, name="holdfast-parent", daemon=True).start()


@app.command()
def serve(
    target: TargetArgument,
    host: Annotated[
        str, typer.Option("--host", help="Anything but this machine needs an API key first.")
    ] = "127.0.0.1",
    port: PortOption = PORT,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, max=10_000, help="How many runs move at once here; 0: API only."),
    ] = None,
    database: DatabaseOption = None,
    access_log: Annotated[bool, typer.Option("--access-log/--no-access-log", help="Log each request.")] = False,
    log_level: LogLevelOption = "info",
) -> None:
    """Serve the API and execute runs, in one process. The database must have been migrated."""
    from holdfast import serving

    log_to_stderr(log_level)
    holdfast = loaded(target, database=database, mode="serve", worker_slots=workers)
    run(_demand_fit(holdfast, host))
    listener = serving.listen(host, port)
    run(
        serving.serve(
            holdfast,
            listener,
            ready=lambda: announce(holdfast, serving.url_of(listener)),
            stopping=announce_stop,
            access_log=access_log,
        )
    )


async def _demand_fit(holdfast: Holdfast, host: str) -> None:
    """The schema first: without it the database cannot be asked for keys."""
    from holdfast import serving
    from holdfast.app import database_of
    from holdfast.store import migrate

    database_of(holdfast.settings)  # what cannot be read is said before it is opened
    await migrate.demand_current(holdfast.settings.database)
    await serving.demand_authentication(holdfast.settings, host)


@app.command()
def worker(
    target: TargetArgument,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=10_000, help="How many runs move at once here.")
    ] = None,
    database: DatabaseOption = None,
    log_level: LogLevelOption = "info",
) -> None:
    """Execute runs, without an API. Start as many as you like on one database."""
    from holdfast import serving

    log_to_stderr(log_level)
    holdfast = loaded(target, database=database, mode="serve", worker_slots=workers)
    if holdfast.settings.worker_slots == 0:
        refuse("HOLDFAST_WORKER_SLOTS is 0, so this worker would do nothing. Give it some: --workers 64")
    run(serving.work(holdfast, ready=lambda: announce(holdfast, None), stopping=announce_stop))


# --- the database ----------------------------------------------------------------------------------------------------


@app.command()
def migrate(database: DatabaseOption = None) -> None:
    """Bring the database to this version's schema, all of it or nothing. Safe to repeat."""
    from holdfast.app import database_of
    from holdfast.store import migrate as migrations
    from holdfast.store.migrate import SchemaState

    settings = configured(database=database)
    url = database_of(settings).url

    async def work() -> tuple[SchemaState, str | None]:
        before = await migrations.state(settings.database)
        await migrations.upgrade(settings.database)
        return before

    state, revision = run(work())
    match state:
        case SchemaState.CURRENT:
            out.print(f"{url} is at schema {revision} already.", markup=False)
        case SchemaState.EMPTY:
            out.print(f"{url} is now at schema {migrations.head()}: tables made.", markup=False)
        case SchemaState.OLDER | SchemaState.NEWER:
            out.print(f"{url} is now at schema {migrations.head()}; it was at {revision}.", markup=False)


@app.command()
def doctor(
    target: Annotated[
        str | None, typer.Argument(metavar="[TARGET]", help="Also check that these agents load and their models' keys.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="What the server is going to listen on.")] = "127.0.0.1",
    database: DatabaseOption = None,
) -> None:
    """Check what a start depends on, and say what to do. Exit code 1 if something would go wrong."""
    from holdfast import doctor as examination
    from holdfast.doctor import Finding, Verdict

    settings = configured(database=database)
    holdfast = loaded(target, database=database) if target is not None else None
    colours = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.PROBLEM: "red"}

    def show(finding: Finding) -> None:
        out.print(f"[{colours[finding.verdict]}]{finding.verdict.value:8}[/] ", end="")
        out.print(f"{finding.about}: {finding.seen}", markup=False)
        if finding.advice:
            out.print(f"         → {finding.advice}", markup=False)

    async def work() -> int:
        problems = 0
        chosen = settings if holdfast is None else holdfast.settings
        async for finding in examination.examine(chosen, holdfast, host=host):
            problems += finding.verdict is Verdict.PROBLEM
            show(finding)
        return problems

    problems = run(work())
    out.print(f"{problems} problem{'' if problems == 1 else 's'}." if problems else "All is well.")
    raise SystemExit(FAILURE if problems else 0)


# --- keys ------------------------------------------------------------------------------------------------------------


def _admin_of(settings: Settings, tenant: str | None) -> Principal:
    """Who manages the keys of a tenant: the default one, or the sandbox."""
    from holdfast.domain.access import LOCAL_PRINCIPAL, sandbox_admin

    if tenant in (None, "default"):
        return LOCAL_PRINCIPAL
    if tenant == settings.sandbox_tenant:
        return sandbox_admin(tenant)
    known = "there is none besides default" if settings.sandbox_tenant is None else f"it is {settings.sandbox_tenant}"
    refuse(f"There is no tenant {tenant!r}. HOLDFAST_SANDBOX_TENANT names the other one: {known}.")


async def _with_auth(settings: Settings, work: Any) -> Any:
    """Run `work(auth, now_ms)` on the open database."""
    from holdfast.app import database_of, pepper_of, relay_of
    from holdfast.bus.base import Hub
    from holdfast.domain.determinism import SYSTEM
    from holdfast.service.access import Auth
    from holdfast.service.house import House
    from holdfast.store import migrate, principals

    database = database_of(settings)
    await migrate.demand_current(settings.database)
    pepper = pepper_of(settings)
    await database.open()
    try:
        await database.write(None, principals.seed)
        if (sandbox := settings.sandbox_tenant) is not None:
            await database.write(None, lambda tx: principals.seed_sandbox(tx, sandbox))
        house = House(database=database, hub=Hub(relay_of(database, SYSTEM)), agents={})
        return await work(Auth(house, pepper=pepper), SYSTEM.now_ms())
    finally:
        await database.close()


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="What the key is for: shown in lists, and as who acted.")],
    expires: Annotated[
        int | None, typer.Option("--expires", min=1, max=3_650, metavar="DAYS", help="Else it never does.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            help="What it may do, such as runs:write; repeat it. Else all, or with --role what deciding takes.",
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="A role by which approvals name who decides, such as approver; repeat it."),
    ] = None,
    tenant: TenantOption = None,
    database: DatabaseOption = None,
) -> None:
    """Make an API key and print it, this once: only its hash is kept. From then on every request needs one."""
    from holdfast.domain import ids
    from holdfast.domain.access import ADMIN_SCOPE, ROLE_SCOPE
    from holdfast.service.access import DECIDING

    settings = configured(database=database)
    chosen = scope or (DECIDING if role else (ADMIN_SCOPE,))
    scopes = [*chosen, *(f"{ROLE_SCOPE}{name}" for name in role or ())]
    admin = _admin_of(settings, tenant)

    async def work(auth: Auth, now_ms: int) -> None:
        expires_at = None if expires is None else now_ms + round(timedelta(days=expires).total_seconds() * 1000)
        made = await auth.create_key(admin, name, scopes=scopes, expires_at=expires_at)
        err.print(
            f"Key {ids.text(ids.KEY, made.key.id)} for {name}. It is shown this once; keep it safe.", markup=False
        )
        out.print(made.token, markup=False)

    run(_with_auth(settings, work))


@keys_app.command("list")
def keys_list(tenant: TenantOption = None, database: DatabaseOption = None) -> None:
    """List the API keys, oldest first, revoked ones too."""
    from rich.table import Table

    from holdfast.domain import ids
    from holdfast.domain.access import ApiKey

    settings = configured(database=database)
    admin = _admin_of(settings, tenant)

    def state(key: ApiKey, now_ms: int) -> str:
        if key.revoked_at is not None:
            return f"revoked {_moment(key.revoked_at)}"
        if key.expires_at is None:
            return "valid"
        return f"{'expired' if key.expires_at <= now_ms else 'valid until'} {_moment(key.expires_at)}"

    async def work(auth: Auth, now_ms: int) -> None:
        found = await auth.list_keys(admin)
        if not found:
            out.print("There are no API keys. Make one: holdfast keys create NAME")
            return
        table = Table("Id", "Name", "Created", "State", box=None, pad_edge=False)
        for key in found:
            table.add_row(ids.text(ids.KEY, key.id), _plain(key.name), _moment(key.created_at), state(key, now_ms))
        out.print(table)

    run(_with_auth(settings, work))


@keys_app.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="ID", help="Its id, key_…, or the key itself.")],
    tenant: TenantOption = None,
    database: DatabaseOption = None,
) -> None:
    """Revoke an API key, for good. Running servers follow within seconds."""
    from holdfast.domain import ids
    from holdfast.domain.ids import KeyId

    settings = configured(database=database)
    admin = _admin_of(settings, tenant)
    shown = f"{ids.KEY}_{key.removeprefix('hf_').partition('.')[0]}" if key.startswith("hf_") else key
    key_id = KeyId(ids.parse(ids.KEY, shown))

    async def work(auth: Auth, _: int) -> None:
        await auth.revoke_key(admin, key_id)
        out.print(f"Revoked {shown}.", markup=False)

    run(_with_auth(settings, work))


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text)


# --- replay ----------------------------------------------------------------------------------------------------------


@app.command()
def replay(
    target: TargetArgument,
    given: Annotated[list[str] | None, typer.Argument(metavar="[RUN]…", help="Runs by id, run_….")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Instead of ids: the last runs of this agent.")] = None,
    last: Annotated[int, typer.Option("--last", min=1, max=100_000, help="With --agent: how many.")] = 100,
    files: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="Instead of the database: exported runs; repeat it."),
    ] = None,
    mode: Annotated[
        ReplayMode,
        typer.Option(
            "--mode",
            help="strict: the code alone; recorded-tools: a run with today's model, whose tools answer from the record;"
            " live: a run with today's model and tools, in the sandbox tenant.",
        ),
    ] = "strict",
    timeout: Annotated[
        int,
        typer.Option("--timeout", min=1, max=86_400, metavar="SECONDS", help="How long a run that is made may take."),
    ] = 300,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write what was found to this file.")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="The same as JUnit's XML, for CI.")] = None,
    database: DatabaseOption = None,
) -> None:
    """Run the current code against recorded runs: no model, no tool, no network, unless --mode says so. Exit code 0 if
    it does the same, 1 if it would do something else, 2 if that could not be found out."""
    from holdfast import replay_command as command

    if sum((bool(given), agent is not None, bool(files))) != 1:
        refuse("Say which runs: their ids, --agent NAME (with --last), or --from FILE.")

    async def work() -> list[command.Case]:
        if mode != "strict":
            return await _made_again(target, given or (), agent, last, files or (), mode, timeout, database)
        if files:
            found = [recorded for path in files for recorded in command.of_file(path)]
            return await _replayed(target, command.listed(found), len(found))
        async with command.opened(loaded(target, database=database).settings) as house:
            runs = await command.chosen(house, given or (), agent, last)
            return await _replayed(target, command.of_database(house, runs), len(runs))

    cases = run(work())
    if json_file is not None:
        json_file.write_text(command.as_json(cases))
    if junit_file is not None:
        junit_file.write_text(command.as_junit(cases))
    count = command.counts(cases)
    out.print(", ".join(f"{n} {verdict}" for verdict, n in count.items() if n) or "There are no such runs.")
    raise SystemExit(1 if count["diverged"] else USAGE if count["failed"] or not cases else 0)


async def _replayed(target: str, sources: AsyncIterator[RecordedRun], total: int) -> list[Case]:
    from holdfast import replay_command as command

    with _told(total) as tell:
        return await command.replayed(target, sources, tell)


@contextlib.contextmanager
def _told(total: int) -> Generator[Callable[[Case], None]]:
    """A bar on the screen; what is not identical is told as it is found."""
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("Replaying", total=total)

        def tell(case: Case) -> None:
            progress.advance(task)
            if case.verdict != "identical":
                out.print(case.told(), markup=False)

        yield tell


async def _made_again(
    target: str,
    given: Sequence[str],
    agent: str | None,
    last: int,
    files: Sequence[Path],
    mode: ReplayMode,
    timeout_s: int,
    database: str | None,
) -> list[Case]:
    """Replays that make runs, which the runtime of this process executes."""
    from holdfast import replay_command as command
    from holdfast.domain.replays import Mode

    recorded = [one for path in files for one in command.of_file(path)]
    log_to_stderr("warning")
    holdfast = loaded(target, database=database, mode="serve")
    settings = holdfast.settings = holdfast.settings.model_copy(update={"freeze_gc": False})
    if settings.worker_slots == 0:
        refuse("HOLDFAST_WORKER_SLOTS is 0, so nothing would be made here.")
    if settings.sandbox_tenant is None and (recorded or mode == "live"):
        refuse("This needs a tenant in which nothing counts. Name one: HOLDFAST_SANDBOX_TENANT=sandbox")
    async with holdfast.running():
        house = holdfast.house
        found = await (command.carried(house, recorded) if files else command.wanted(house, given, agent, last))
        with _told(len(found)) as tell:
            return await command.made(house, found, Mode(mode.replace("-", "_")), timeout_s, tell)


# --- runs as files ---------------------------------------------------------------------------------------------------


@runs_app.command("export")
def runs_export(
    given: Annotated[list[str], typer.Argument(metavar="RUN…", help="Runs by id, run_….")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Else standard output.")] = None,
    redact: Annotated[
        str | None,
        typer.Option(
            "--redact", metavar="MODULE:FUNCTION", help="Is given each line as a dict; what it returns is written."
        ),
    ] = None,
    database: DatabaseOption = None,
) -> None:
    """Write runs to a file of JSON lines, whole or not at all: journal, messages before, what prompts were made of."""
    from holdfast import replay_command as command
    from holdfast.target import function

    settings = configured(database=database)
    hook = None if redact is None else function(redact)

    async def work() -> bytes:
        async with command.opened(settings) as house:
            return b"".join(await command.exported(house, given, hook))

    written = run(work())
    if output is None:
        sys.stdout.buffer.write(written)
        sys.stdout.buffer.flush()
        return
    output.write_bytes(written)
    err.print(f"Wrote {len(given)} run{'' if len(given) == 1 else 's'} to {output}.", markup=False)


@runs_app.command("import")
def runs_import(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="As export wrote them.")],
    database: DatabaseOption = None,
) -> None:
    """Bring in runs from files, all or none. They are ended: to be looked at, replayed and forked."""
    from holdfast import replay_command as command
    from holdfast.domain import ids

    settings = configured(database=database)

    async def work() -> None:
        async with command.opened(settings) as house:
            for one in await command.brought_in(house, files):
                out.print(f"{ids.text(ids.RUN, one.run_id)} was {one.was}", markup=False)

    run(work())


# --- the demo --------------------------------------------------------------------------------------------------------


@app.command()
def demo(
    port: Annotated[
        int | None,
        typer.Option(
            "--port", min=0, max=65_535, help=f"{PORT} unless given; with --once any free one.", show_default=False
        ),
    ] = None,
    directory: Annotated[Path, typer.Option("--directory", help="Where its two databases are kept.")] = DEMO_DIRECTORY,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="A model's name, or scripted; else by OPENAI_API_KEY or ANTHROPIC_API_KEY, else scripted."
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Take the whole tour over HTTP, print it, and end.")] = False,
    log_level: LogLevelOption = "warning",
) -> None:
    """Serve a support desk with its own shop database, and print what to try."""
    from holdfast import serving
    from holdfast.demo import build
    from holdfast.demo.models import choose

    log_to_stderr(log_level)
    chosen = choose(model, os.environ)
    listener = serving.listen("127.0.0.1", port if port is not None else 0 if once else PORT)
    url = serving.url_of(listener)
    settings = configured(mode="dev")
    built = build(directory, chosen.model, settings, seeded=not once)
    out.print(f"The demo of Holdfast {__version__}: a support desk over a shop of its own.", markup=False)
    line("files", f"{built.directory.resolve()} ({'made now' if built.shop_is_new else 'from an earlier start'})")
    line("shop", ", ".join(f"{count} {table.replace('_', ' ')}" for table, count in built.shop.counts().items()))
    line("model", chosen.reason)
    if once:
        run(_tour_once(built, listener, url))
        return
    run(
        serving.serve(
            built.holdfast,
            listener,
            ready=lambda: _invite(built, url),
            stopping=announce_stop,
            access_log=False,
            grace_s=serving.GRACE_DEV_S,
        )
    )


def _invite(built: Demo, url: str) -> None:
    from holdfast.demo import tour

    out.print()
    out.print(tour.invitation(url, built), markup=False)
    out.print()
    announce(built.holdfast, url)


async def _tour_once(built: Demo, listener: socket.socket, url: str) -> None:
    from holdfast import serving
    from holdfast.demo import tour

    async with serving.served(built.holdfast, listener):
        await tour.take(url, built, lambda text: out.print(text, markup=False))


@app.command()
def version() -> None:
    """Print the version."""
    out.print(__version__, markup=False)
