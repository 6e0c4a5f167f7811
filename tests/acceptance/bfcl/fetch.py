"""Fetches the pinned BFCL wheel into `.acceptance/`, which git ignores. The benchmark is never committed.

Invariant: a directory named by the digest of requirements.txt is complete, because it is filled under another name and
renamed. So a second fetch costs one `stat`, two processes may fetch at once, and a changed pin is a new directory.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
ACCEPTANCE = Path(__file__).resolve().parents[3] / ".acceptance"
TIMEOUT_S = 300


class FetchFailed(Exception):
    """The pinned BFCL wheel could not be installed."""


def ensure() -> Path:
    """Install the pinned wheels unless they are there.

    Returns the directory to import from. Raises FetchFailed when the package index cannot be reached or the bytes do
    not match the pinned hashes. Safe to repeat, also from several processes at once.
    """
    target = ACCEPTANCE / "bfcl" / hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    if not target.is_dir():
        _install(target)
    return target


@functools.cache
def importable() -> Path:
    """`ensure()`, and put the directory on `sys.path`: last, so that nothing in it hides an installed package."""
    target = ensure()
    sys.path.append(str(target))
    return target


def _install(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="fetching-", dir=target.parent))
    try:
        _pip_install(staging)
        _publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _pip_install(staging: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"]
    command += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--retries", "1", "--timeout", "20"]
    command += ["--target", str(staging), "--requirement", str(REQUIREMENTS)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise FetchFailed(f"pip did not finish within {TIMEOUT_S} s; is the package index reachable?") from None
    if done.returncode != 0:
        raise FetchFailed(_explain(done.stderr))


def _explain(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip; run `{sys.executable} -m ensurepip` once, then repeat."
    return (
        f"pip could not install the packages of {REQUIREMENTS.name}. Without a network this needs a package index "
        "in pip's configuration; a hash mismatch means that the index serves other bytes than the pinned ones.\n"
        + "\n".join(stderr.strip().splitlines()[-8:])
    )


def _publish(staging: Path, target: Path) -> None:
    try:
        staging.rename(target)
    except OSError:
        # Another process was first. Its copy came through the same hashes; ours is dropped by the caller.
        if not target.is_dir():
            raise


if __name__ == "__main__":
    try:
        print(ensure())
    except FetchFailed as failure:
        sys.exit(f"bfcl: {failure}")
