"""The layout shows the architecture: layers are contracts, documents name what exists, the public names are pinned."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import holdfast

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "holdfast"

PUBLIC = {
    "Agent",
    "All",
    "CallRefused",
    "ChildFailed",
    "Confirm",
    "Context",
    "Deny",
    "Done",
    "EffectInfo",
    "EventTimedOut",
    "Holdfast",
    "LastTurns",
    "MCPTools",
    "Middleware",
    "ModelCall",
    "ModelRetry",
    "NativeOutput",
    "NotAnswered",
    "NotDone",
    "Retry",
    "RunInfo",
    "RunLimits",
    "Settings",
    "StepFailed",
    "Summarise",
    "TokenWindow",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolReturn",
    "TurnInfo",
    "Unknown",
    "tool",
    "workflow",
    "__version__",
}


def test_the_public_names_are_these() -> None:
    assert set(holdfast.__all__) == PUBLIC
    for name in PUBLIC:
        assert hasattr(holdfast, name)
    assert not hasattr(holdfast, "nobody")


def test_a_command_that_needs_no_agents_does_not_wait_for_their_sdks() -> None:
    """`holdfast dev` keeps a process that only watches files: it holds none of them either."""
    said = "import sys, holdfast.cli, holdfast.reloading; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "typer" in loaded
    assert not loaded & {"pydantic_ai", "sqlalchemy", "fastapi", "alembic", "openai", "anthropic", "mcp"}


def _paths_and_symbols(text: str) -> list[tuple[str, list[str]]]:
    """Each path in backticks, with the names in backticks that follow it within the same cell or sentence."""
    found: list[tuple[str, list[str]]] = []
    for chunk in re.split(r"[|;.]\s|\n\n", text):
        path: str | None = None
        for token in re.findall(r"`([^`]+)`", chunk):
            if re.fullmatch(r"[\w./-]+/[\w./-]*|[\w-]+\.(py|md|toml)", token):
                path = token if "/" in token and not token.startswith("/") else None
                if path is not None:
                    found.append((path, []))
            elif path is not None and re.fullmatch(r"\w+", token) and not token.startswith(("ux_", "ix_")):
                found[-1][1].append(token)
    return found


def _resolved(path: str) -> Path | None:
    """The file or folder that a document means: from the root, or from the package."""
    for base in (ROOT, SOURCE):
        if (base / path).exists():
            return base / path
    return None


def test_every_path_and_symbol_that_the_internals_name_exists() -> None:
    checked = 0
    for document in (ROOT / "ARCHITECTURE.md", *(ROOT / "docs" / "internals").glob("*.md")):
        for path, symbols in _paths_and_symbols(document.read_text()):
            if path.startswith(("v1/", "http")):
                continue
            where = _resolved(path)
            assert where is not None, f"{document.name} names {path}, which does not exist"
            if where.suffix == ".py":
                text = where.read_text()
                for symbol in symbols:
                    assert re.search(rf"\b{symbol}\b", text), f"{document.name}: no {symbol} in {path}"
                    checked += 1
    assert checked > 20, "the check found hardly anything to check: did the documents' form change?"


def test_nothing_the_package_needs_imports_the_test_kit() -> None:
    for file in SOURCE.rglob("*.py"):
        inside = file.relative_to(SOURCE).parts[0]
        if inside in ("testing", "demo"):
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert not node.module.startswith("holdfast.testing"), file


def test_importing_holdfast_brings_no_provider_no_web_and_no_migrations() -> None:
    code = "import sys, holdfast; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    for absent in ("openai", "anthropic", "mcp", "fastapi", "alembic", "asyncpg", "uvicorn", "typer"):
        assert absent not in modules, absent


def test_the_longest_files_and_functions_are_printed(capsys: object) -> None:
    """Printed for reviewers, never a reason to fail, except that there is something to print."""
    sizes: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for file in SOURCE.rglob("*.py"):
        text = file.read_text()
        sizes.append((text.count("\n"), str(file.relative_to(SOURCE))))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
                functions.append((node.end_lineno - node.lineno + 1, f"{file.relative_to(SOURCE)}:{node.name}"))
    for title, rows in (("Longest files", sizes), ("Longest functions", functions)):
        print(title)
        for lines, name in sorted(rows, reverse=True)[:10]:
            print(f"  {lines:5} {name}")
    assert len(sizes) > 20
    assert len(functions) > 100
