"""What a command may be given, and what is said when it cannot be used: only the user's own code in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast import Holdfast
from holdfast.target import TargetError, load, parse

MAKE = "from holdfast import Holdfast\nhf = Holdfast()\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with imports undone in the end."""
    path, modules = list(sys.path), set(sys.modules)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def wrong(given: str) -> TargetError:
    with pytest.raises(TargetError) as caught:
        load(given)
    assert caught.value.__cause__ is None
    return caught.value


@pytest.mark.parametrize("given", ["", ":", "a:", ":hf", "a:1", "a b", "a:b c", "1a", "a..b", "file.txt"])
def test_what_is_no_target_is_told_how_to_write_one(given: str) -> None:
    with pytest.raises(TargetError, match=r"module:attribute|There is no"):
        load(given)


def test_targets_are_files_or_modules() -> None:
    assert parse("agents.py").path == Path("agents.py")
    assert parse("app/agents.py:hf").attribute == "hf"
    assert (parse("app.agents:desk.hf").module, parse("app.agents:desk.hf").attribute) == ("app.agents", "desk.hf")
    assert parse("app.agents").path is None


@pytest.mark.parametrize("given", ["one.py", "one.py:hf", "./one.py:hf", "one", "one:hf", "one:box.inner"])
def test_a_holdfast_is_found_in_a_file_and_in_a_module(folder: Path, given: str) -> None:
    (folder / "one.py").write_text(MAKE + "class box: inner = hf\nsame = hf\n")
    assert isinstance(load(given), Holdfast)


def test_a_file_may_import_its_neighbours_wherever_it_is_called_from(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "neighbour.py").write_text("agents = []\n")
    (folder / "sub" / "lone.py").write_text("from neighbour import agents\n" + MAKE)
    assert isinstance(load("sub/lone.py"), Holdfast)


def test_a_file_in_a_package_is_imported_as_its_module(folder: Path) -> None:
    package = folder / "shop" / "desk"
    package.mkdir(parents=True)
    (folder / "shop" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("agents = []\n")
    (package / "main.py").write_text("from .parts import agents\nname = __name__\n" + MAKE)
    assert isinstance(load("shop/desk/main.py"), Holdfast)
    assert sys.modules["shop.desk.main"].name == "shop.desk.main"


def test_a_file_named_like_a_loaded_module_does_not_replace_it(folder: Path) -> None:
    import json

    (folder / "json.py").write_text(MAKE)
    assert isinstance(load("json.py"), Holdfast)
    assert sys.modules["json"] is json
    del sys.modules["holdfast_target_json"]


def test_with_several_holdfasts_the_target_has_to_say_which(folder: Path) -> None:
    (folder / "two.py").write_text(MAKE + "other = Holdfast()\n")
    message = str(wrong("two.py"))
    assert "two.py:hf" in message
    assert "two.py:other" in message


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere.py", "There is no file"),
        ("nowhere", "There is no module 'nowhere'"),
        ("nowhere.deep:hf", "There is no module 'nowhere'"),
        ("empty.py", "defines no Holdfast"),
        ("things.py:missing", "has no attribute 'missing'. It defines the Holdfast 'hf': things.py:hf"),
        ("things.py:number", "of type int"),
        ("things.py:app", "of type FastAPI. Give the Holdfast object"),
        ("things.py:agent", "of type Agent. An agent is served by a Holdfast"),
        ("leaves.py", "ended the process"),
    ],
)
def test_what_is_wrong_with_a_target_is_said(folder: Path, given: str, words: str) -> None:
    (folder / "empty.py").write_text("")
    (folder / "leaves.py").write_text("raise SystemExit(3)\n")
    (folder / "things.py").write_text(
        MAKE
        + "from fastapi import FastAPI\nfrom holdfast import Agent\nnumber = 3\napp = FastAPI()\n"
        + "agent = Agent('a', model='x:y')\n"
    )
    error = wrong(given)
    assert words in error.message
    assert error.trace is None


@pytest.mark.parametrize("given", ["fails.py", "fails", "fails:hf"])
def test_an_exception_within_shows_the_users_frames_alone(folder: Path, given: str) -> None:
    (folder / "deeper.py").write_text("def divide():\n    return 1 / 0\n")
    (folder / "fails.py").write_text("import deeper\ndeeper.divide()\n")
    error = wrong(given)
    assert "ZeroDivisionError" in error.message
    assert error.trace is not None
    frames = [line for line in error.trace.splitlines() if line.startswith("  File ")]
    assert [Path(frame.split('"')[1]).name for frame in frames] == ["fails.py", "deeper.py"]
    assert error.trace.rstrip().endswith("ZeroDivisionError: division by zero")


def test_a_missing_import_within_is_the_modules_and_not_the_targets(folder: Path) -> None:
    (folder / "needs.py").write_text("import not_installed_here\n")
    error = wrong("needs")
    assert "raised ModuleNotFoundError" in error.message
    assert error.trace is not None
    assert "needs.py" in error.trace


def test_a_declaration_that_cannot_work_shows_the_line_that_made_it(folder: Path) -> None:
    (folder / "declares.py").write_text("from holdfast import Agent\nagent = Agent('no spaces', model='x:y')\n")
    error = wrong("declares.py")
    assert "no spaces" in error.message
    assert error.trace is not None
    assert "declares.py" in error.trace
    assert "agents/native" not in error.trace


def test_a_mistake_of_syntax_is_shown_where_it_is(folder: Path) -> None:
    (folder / "typo.py").write_text("def broken(:\n")
    error = wrong("typo.py")
    assert error.trace is not None
    assert "def broken(:" in error.trace
    assert "typo" not in sys.modules
