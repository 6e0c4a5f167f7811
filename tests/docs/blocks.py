"""What documents are made of: fenced blocks with the comment above them, headings, links, and curl commands."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")]
DOCUMENTS += sorted(DOCS.rglob("*.md"))

_FENCE = re.compile(
    r"^(?P<fence>```+)(?P<language>[\w-]*)[^\n]*\n(?P<code>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"<!--\s*((?:(?!-->).)*?)\s*-->\s*$", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. `comment` is the HTML comment right above it, `line` where its code begins."""

    document: Path
    line: int
    language: str
    code: str
    comment: str | None

    @property
    def id(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def file_name(self) -> str | None:
        """The name that a first line such as `# orders.py` gives it."""
        found = re.match(r"# ([\w/]+\.py)\n", self.code)
        return found[1] if found else None


def blocks(document: Path, *languages: str) -> list[Block]:
    text = document.read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: match.start()].rstrip(" \n"))
        line = text.count("\n", 0, match.start("code")) + 1
        block = Block(document, line, match["language"], match["code"], comment[1] if comment else None)
        if not languages or block.language in languages:
            found.append(block)
    return found


def prose(document: Path) -> str:
    """The text without code blocks."""
    return _FENCE.sub("", document.read_text())


def anchors(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+?)\s*$", prose(document), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        name = plain.replace(" ", "-")
        found.add(name if name not in found else f"{name}-1")
    return found


def links(document: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "", prose(document))
    return re.findall(r"\]\(([^)\s]+)\)", text)


# --- console blocks --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A command of a console block with what is shown below it."""

    text: str
    output: str

    @property
    def assigns(self) -> str | None:
        """The variable that `NAME=$(…)` sets."""
        found = re.match(r"(\w+)=\$\(", self.text)
        return found[1] if found else None

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text.replace("\\\n", " "), comments=True)


def commands(block: Block) -> list[Command]:
    found: list[Command] = []
    text, shown, open_ = "", "", False
    for line in block.code.splitlines():
        if line.startswith("$ "):
            if text:
                found.append(Command(text, shown))
            text, shown, open_ = line[2:], "", line.endswith("\\")
        elif open_:
            text, open_ = f"{text}\n{line}", line.endswith("\\")
        else:
            shown += line + "\n"
    return [*found, Command(text, shown)] if text else found


@dataclass
class Request:
    """A curl command as a request. `expected` is a status in a comment behind it; `pick` the path of `jq -r .path`."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    expected: int | None = None
    pick: list[str] | None = None


def request_of(command: Command, variables: dict[str, str]) -> Request:
    """Raises for an option of curl that is not known here."""
    text = command.text
    if command.assigns is not None:
        text = text.removeprefix(f"{command.assigns}=$(").removesuffix(")")
    text = re.sub(r"\$([A-Z]+)\b", lambda m: variables[m[1]], text)
    words = Command(text, "").words
    pipe = words.index("|") if "|" in words else len(words)
    request = Request("", "")
    if (expected := re.search(r"# (\d{3})", command.text)) is not None:
        request.expected = int(expected[1])
    if pipe < len(words):
        assert words[pipe + 1 : pipe + 3] == ["jq", "-r"], command.text
        request.pick = [part for part in words[pipe + 3].split(".") if part]
    rest = iter(words[1:pipe])
    for word in rest:
        match word:
            case "-s" | "-sN" | "-N" | "-i":
                pass
            case "-X":
                request.method = next(rest)
            case "-H":
                name, _, value = next(rest).partition(":")
                request.headers[name.strip().lower()] = value.strip()
            case "-d":
                request.body = next(rest)
            case url if url.startswith("http://127.0.0.1:"):
                parts = urlsplit(url)
                request.path = parts.path + (f"?{parts.query}" if parts.query else "")
            case _:
                raise AssertionError(f"curl {word!r} is not understood: {command.text}")
    request.method = request.method or ("GET" if request.body is None else "POST")
    return request


def picked(value: Any, path: list[str]) -> str:
    """What `jq -r` prints for a path such as `.data[].key` or `.data[0].id`."""
    if not path:
        return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
    name, bracket, index = path[0].partition("[")
    inner = value[name]
    if not bracket:
        return picked(inner, path[1:])
    if index != "]":
        return picked(inner[int(index.rstrip("]"))], path[1:])
    return "\n".join(picked(one, path[1:]) for one in inner)
