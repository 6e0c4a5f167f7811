"""What is committed is what the sources make, and not too much of it."""

from __future__ import annotations

import gzip
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import databases

ROOT = Path(__file__).parent.parent.parent
DIST = ROOT / "src" / "holdfast" / "web" / "ui" / "dist"
FIRST_LOAD_GZIP_BYTES_MAX = 250 * 1024
DIST_BYTES_MAX = 2 * 1024 * 1024


def _build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ui_build", ROOT / "ui" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ui_build"] = module
    spec.loader.exec_module(module)
    return module


build = _build()


@pytest.fixture(scope="module")
def installed() -> ModuleType:
    """The build, with its packages there."""
    try:
        build.install()
    except build.Failed as exc:
        if databases.REQUIRE_ALL:
            pytest.fail(f"HOLDFAST_REQUIRE_ALL is set, and the packages of ui/ cannot be had: {exc}", pytrace=False)
        pytest.skip(f"The packages of ui/ cannot be had: {exc}")
    return build


def files(below: Path) -> dict[str, bytes]:
    return {str(path.relative_to(below)): path.read_bytes() for path in sorted(below.rglob("*")) if path.is_file()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_committed_files_are_what_the_sources_make(installed: ModuleType, tmp_path: Path) -> None:
    installed.build(tmp_path)
    committed, made = files(DIST), files(tmp_path)
    differing = [name for name in {*committed, *made} if committed.get(name) != made.get(name)]
    assert not differing, f"Run `make ui` and commit what it makes: {sorted(differing)}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_sources_are_formatted_and_their_own_tests_pass(installed: ModuleType) -> None:
    installed.main("check")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_types_are_those_of_the_api(installed: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "schema.d.ts"
    installed.npm("exec", "--", "openapi-typescript", "openapi.json", "-o", str(out), "--alphabetize")
    assert out.read_text() == (ROOT / "ui" / "src" / "api" / "schema.d.ts").read_text(), "Run `make ui`."


def first_load() -> list[Path]:
    """The page, its styles, its script, and what that imports before anything is shown."""
    index = (DIST / "index.html").read_text()
    names = re.findall(r'(?:src|href)="(?:\./)?([\w./-]+\.(?:js|css))"', index)
    found: list[Path] = [DIST / "index.html"]
    waiting = [DIST / name for name in names]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        if path.suffix == ".js":
            text = path.read_text()
            static = re.findall(r'(?:^|[;}\n])import(?:[^"\'()]*?from)?\s*["\'](\./[^"\']+\.js)["\']', text)
            waiting += [path.parent / name for name in static]
    return found


def test_the_first_load_is_small() -> None:
    sizes = {path.name: len(gzip.compress(path.read_bytes())) for path in first_load()}
    assert len(sizes) >= 3, sizes
    assert sum(sizes.values()) <= FIRST_LOAD_GZIP_BYTES_MAX, sizes


def test_all_of_it_is_small_and_without_maps() -> None:
    committed = files(DIST)
    assert sum(map(len, committed.values())) <= DIST_BYTES_MAX
    assert not [name for name in committed if name.endswith(".map")]


def test_the_page_can_be_mounted_anywhere() -> None:
    index = (DIST / "index.html").read_text()
    assert '<base href="/ui/"' in index
    assert "__CSP_NONCE__" in index
    assert not re.search(r'(?:src|href)="(?:https?:)?//', index)
    assert not re.search(r"<(script|style)(?![^>]*\bsrc=)[^>]*>[^<]", index), "nothing inline: the policy forbids it"
