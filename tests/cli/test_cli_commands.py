"""`holdfast migrate`, `doctor`, `keys`, `version`: commands that look or change something, and end."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from pathlib import Path

import pytest

from holdfast import __version__, app
from holdfast.domain import ids
from holdfast.domain.ids import KeyId
from holdfast.settings import Settings
from holdfast.store import migrate, principals
from holdfast.store.migrate import SchemaState
from holdfast.store.sqlite import SqliteDatabase
from tests.cli.conftest import Command
from tests.cli.processes import ROOT, holdfast

PEPPER = {"HOLDFAST_PEPPER": "a pepper for tests only"}


def test_version_is_the_packages(project: Path) -> None:
    done = holdfast("version", cwd=project)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, __version__, "")


def test_an_unknown_command_is_a_mistake_of_usage(command: Command) -> None:
    assert command("fly").code == 2
    assert command("serve").code == 2


def test_what_is_shown_is_shown_as_it_is(project: Path, command: Command) -> None:
    (project / "odd.py").write_text("raise ValueError('[bold]:warning:[/]')\n")
    assert "[bold]:warning:[/]" in command("doctor", "odd.py").err


# -- migrate ----------------------------------------------------------------------------------------------------------


def test_migrate_makes_the_tables_once(project: Path, command: Command) -> None:
    first, second = command("migrate"), command("migrate")
    assert (first.code, second.code) == (0, 0)
    assert "tables made" in first.out
    assert "already" in second.out
    state, _ = asyncio.run(migrate.state(f"sqlite:///{project / 'holdfast.db'}"))
    assert state is SchemaState.CURRENT


def test_migrate_takes_the_option_over_the_variable(project: Path, command: Command) -> None:
    said = command("migrate", "--database", "sqlite:///chosen.db", HOLDFAST_DATABASE="sqlite:///not-chosen.db")
    assert said.code == 0
    assert (project / "chosen.db").exists()
    assert not (project / "not-chosen.db").exists()


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("mysql://somewhere/x", 2, "sqlite:///path"),
        ("sqlite:////no/such/folder/x.db", 1, "Cannot"),
        ("postgresql://nobody:hidden-word@127.0.0.1:1/x", 1, "Cannot"),
        ("postgresql://nobody@127.0.0.1:hidden-word/x", 2, "cannot be read"),
        ("postgresql://nobody:hidden-word@", 1, "Cannot"),
    ],
)
def test_a_database_that_cannot_be_had_is_said_in_a_line(command: Command, url: str, code: int, words: str) -> None:
    said = command("migrate", "--database", url)
    assert said.code == code
    assert words in said.err
    assert "Traceback" not in said.err
    assert "hidden-word" not in said.err + said.out


@pytest.mark.parametrize("arguments", [("serve", "agents.py"), ("worker", "agents.py"), ("keys", "list"), ("doctor",)])
def test_a_database_url_that_cannot_be_read_is_said_by_every_command(
    project: Path, command: Command, arguments: tuple[str, ...]
) -> None:
    (project / "agents.py").write_text("from holdfast import Holdfast\nhf = Holdfast()\n")
    said = command(*arguments, HOLDFAST_DATABASE="postgresql://nobody@127.0.0.1:hidden-word/x")
    assert said.code == (1 if arguments == ("doctor",) else 2)
    assert "The database URL cannot be read" in said.out + said.err
    assert "Traceback" not in said.out + said.err
    assert "hidden-word" not in said.out + said.err


def test_a_database_below_the_home_folder_is_the_same_wherever_it_is_named(
    project: Path, tmp_path: Path, command: Command
) -> None:
    url = "sqlite:///~/at-home.db"
    named = "from holdfast import Holdfast\nhf = Holdfast(database={!r})\n"
    (project / "named.py").write_text(named.format(url))
    (project / "open.py").write_text("from holdfast import Holdfast\nhf = Holdfast()\n")
    assert command("migrate", "--database", url, HOME=str(tmp_path)).code == 0
    assert (tmp_path / "at-home.db").exists()
    for arguments in (("named.py",), ("open.py", "--database", url)):
        said = command("serve", *arguments, "--host", "0.0.0.0", "--port", "0")
        assert (said.code, "no authentication is configured" in said.err) == (1, True), said.err


def test_a_wrong_variable_is_named(command: Command) -> None:
    said = command("migrate", HOLDFAST_LEASE_MS="soon")
    assert said.code == 2
    assert "HOLDFAST_LEASE_MS" in said.err
    assert "Traceback" not in said.err


# -- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_made_listed_and_revoked(command: Command, database_url: str) -> None:
    where = ("--database", database_url)
    assert "no API keys" in command("keys", "list", *where, **PEPPER).out
    made = command("keys", "create", "for [bold]ci[/]", "--expires", "30", *where)
    token = made.out.strip()
    assert (made.code, token.startswith("hf_"), token in made.err) == (0, True, False)
    limited = command("keys", "create", "reader", "--scope", "runs:read", *where).out.strip()

    listed = command("keys", "list", *where).out
    assert "for [bold]ci[/]" in listed
    assert listed.count("valid") == 2
    assert listed.count("valid until") == 1
    assert token.partition(".")[2] not in listed

    assert command("keys", "revoke", token, *where).code == 0
    (row,) = [line for line in command("keys", "list", *where).out.splitlines() if "for [bold]ci" in line]
    assert "revoked" in row
    key_id = "key_" + limited.removeprefix("hf_").partition(".")[0]
    assert command("keys", "revoke", key_id, *where).code == 0
    assert command("keys", "revoke", "key_" + "0" * 26, *where).code == 2


def test_a_scope_that_does_not_exist_is_refused(command: Command, sqlite_url: str) -> None:
    said = command("keys", "create", "x", "--scope", "runs:fly", "--database", sqlite_url)
    assert (said.code, "runs:fly" in said.err) == (2, True)


def test_a_key_with_a_role_may_do_what_deciding_takes(command: Command, sqlite_url: str) -> None:
    def scopes_of(*options: str) -> frozenset[str]:
        token = command("keys", "create", "anna", *options, "--database", sqlite_url).out.strip()

        async def work() -> frozenset[str]:
            database = SqliteDatabase(sqlite_url.removeprefix("sqlite:///"))
            await database.open()
            try:
                key_id = KeyId(ids.parse(ids.KEY, "key_" + token.removeprefix("hf_").partition(".")[0]))
                found = await database.read(None, lambda tx: principals.by_key(tx, key_id))
            finally:
                await database.close()
            assert found is not None
            return found[1].scopes

        return asyncio.run(work())

    deciding = {"approvals:read", "approvals:write", "runs:read", "threads:read"}
    assert scopes_of("--role", "approver", "--role", "boss") == {*deciding, "role:approver", "role:boss"}
    assert scopes_of("--role", "approver", "--scope", "runs:read") == {"runs:read", "role:approver"}
    assert scopes_of() == {"*"}


@pytest.mark.parametrize("role", ["", "Approver", "a b", "-a", "r" * 65, "role:a"])
def test_a_role_that_cannot_be_is_refused(command: Command, sqlite_url: str, role: str) -> None:
    said = command("keys", "create", "x", "--role", role, "--database", sqlite_url)
    assert (said.code, said.out, "Traceback" in said.err) == (2, "", False)


def test_keys_need_a_migrated_database_and_on_postgresql_a_pepper(command: Command, postgres_url: str) -> None:
    assert "holdfast migrate" in command("keys", "list").err
    said = command("keys", "create", "x", "--database", postgres_url)
    assert (said.code, "HOLDFAST_PEPPER" in said.err) == (1, True)
    assert "Traceback" not in said.err


def test_keys_in_a_folder_that_does_not_exist_are_refused_in_a_line(command: Command) -> None:
    said = command("keys", "create", "x", "--database", "sqlite:////no/such/folder/x.db")
    assert (said.code, "Traceback" in said.err) == (1, False)


def test_a_command_that_finds_no_tables_makes_no_pepper(project: Path, command: Command) -> None:
    assert command("keys", "create", "x").code == 1
    assert not list(project.glob("*.pepper"))


def test_processes_that_start_together_have_one_pepper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'x.db'}")
    others: list[bytes | None] = []
    link = os.link

    def late(draft: Path, path: Path) -> None:
        if not others:
            others.append(None)
            assert not path.exists(), "it is there whole, or not at all"
            others[0] = app.pepper_of(settings)
        link(draft, path)

    monkeypatch.setattr(os, "link", late)
    mine = app.pepper_of(settings)
    assert mine == others[0] is not None
    assert len(mine) == 64
    assert [path.name for path in tmp_path.iterdir()] == ["x.db.pepper"]
    assert stat.S_IMODE((tmp_path / "x.db.pepper").stat().st_mode) == 0o600


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_finds_a_fit_installation_well(project: Path, command: Command, database_url: str) -> None:
    before = sorted(path.name for path in project.iterdir())
    said = command("doctor", "agents.py", "--database", database_url, **PEPPER)
    assert said.code == 0, said.out
    assert "All is well." in said.out
    assert "problem" not in said.out
    for about in ("configuration", "agent double", "agent slow", "database", "schema", "clock", "authentication"):
        assert f" {about}:" in said.out, said.out
    assert ("locks:" in said.out) == database_url.startswith("sqlite")
    assert ("server: PostgreSQL" in said.out) == database_url.startswith("postgresql")
    assert sorted(path.name for path in project.iterdir() if path.name != "__pycache__") == before


def test_doctor_looks_at_a_database_that_does_not_exist_without_making_it(project: Path, command: Command) -> None:
    said = command("doctor")
    assert said.code == 1
    assert "does not exist yet" in said.out
    assert "→ holdfast migrate makes it" in said.out
    assert not (project / "holdfast.db").exists()


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (("--database", "sqlite:////no/such/folder/x.db"), {}, "mkdir -p /no/such/folder"),
        (("--database", "postgresql://nobody@127.0.0.1:1/x"), PEPPER, "Cannot reach the database"),
        (("--database", "postgresql://nobody@127.0.0.1:1/x"), {}, "HOLDFAST_PEPPER is not set"),
        (("--database", "mysql://x/y"), PEPPER, "Correct HOLDFAST_DATABASE"),
        (("--host", "0.0.0.0"), {}, "there is no API key"),
        ((), {"HOLDFAST_REQUIRE_AUTH": "1"}, "there is no API key"),
        (("keyless.py",), {}, "OPENAI_API_KEY"),
        (("unknown.py",), {}, "nobody"),
    ],
)
def test_doctor_says_what_is_wrong_and_what_to_do(
    project: Path,
    command: Command,
    sqlite_url: str,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    words: str,
) -> None:
    agent = "from holdfast import Agent, Holdfast\nhf = Holdfast(agents=[Agent('a', model={!r})])\n"
    (project / "keyless.py").write_text(agent.format("openai:gpt-5.2"))
    (project / "unknown.py").write_text(agent.format("nobody:some-model"))
    said = command("doctor", *arguments, **{"HOLDFAST_DATABASE": sqlite_url, **variables})
    assert said.code == 1, said.out
    assert words in said.out
    assert "problem " in said.out
    assert "→ " in said.out
    assert "Traceback" not in said.out + said.err


def test_doctor_warns_of_a_variable_that_nobody_reads(command: Command, sqlite_url: str) -> None:
    said = command("doctor", "--database", sqlite_url, HOLDFAST_WORKERSLOTS="3")
    assert said.code == 0
    assert "nobody reads HOLDFAST_WORKERSLOTS" in said.out
    assert "HOLDFAST_WORKER_SLOTS" in said.out


def test_doctor_knows_every_variable_that_the_documents_name(command: Command, sqlite_url: str) -> None:
    named = set(re.findall(r"HOLDFAST_[A-Z_]*[A-Z]", (ROOT / "docs" / "reference" / "settings.md").read_text()))
    given = {name: "1" for name in named if name.removeprefix("HOLDFAST_").lower() not in Settings.model_fields}
    assert len(given) > 3
    said = command("doctor", "--database", sqlite_url, **given)
    assert (said.code, "nobody reads" in said.out) == (0, False), said.out


def test_doctor_warns_of_a_pepper_that_others_may_read_and_misses_one_that_is_gone(
    command: Command, sqlite_url: str
) -> None:
    assert command("keys", "create", "x", "--database", sqlite_url).code == 0
    pepper = Path(sqlite_url.removeprefix("sqlite:///") + ".pepper")
    assert stat.S_IMODE(pepper.stat().st_mode) == 0o600
    pepper.chmod(0o644)
    said = command("doctor", "--database", sqlite_url)
    assert (said.code, f"chmod 600 {pepper}" in said.out) == (0, True)
    pepper.unlink()
    said = command("doctor", "--database", sqlite_url)
    assert (said.code, f"{pepper} is gone" in said.out) == (1, True)


def test_doctor_misses_a_pepper_on_postgresql_only_once_there_are_keys(command: Command, postgres_url: str) -> None:
    where = ("--database", postgres_url)
    said = command("doctor", *where)
    assert (said.code, "HOLDFAST_PEPPER is not set" in said.out) == (0, True)
    assert command("keys", "create", "x", *where, **PEPPER).code == 0
    del os.environ["HOLDFAST_PEPPER"]
    said = command("doctor", *where)
    assert (said.code, "HOLDFAST_PEPPER is not set" in said.out) == (1, True)


def test_doctor_sees_a_schema_of_another_version(command: Command, sqlite_url: str) -> None:
    import sqlite3

    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    said = command("doctor", "--database", sqlite_url)
    assert (said.code, "made by a newer version" in said.out) == (1, True)
