"""The documents hold: Python runs, requests are answered, links lead somewhere, tables are fresh.

A Python block runs as a program of its own unless `<!-- fragment -->` stands right above it. What stands below
`<!-- output -->` right behind a block is what it prints. `<!-- run: {"agent": …, "input": …, "output": …} -->` above a
block that defines `hf` runs that agent afterwards.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import runpy
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from holdfast import Agent, Confirm, Context, EffectInfo, Holdfast, Settings, ToolContext, tool, workflow
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.encoding import decode
from holdfast.service import runs
from holdfast.testing import Call, ScriptedModel, Think
from tests.docs import blocks
from tests.docs.blocks import DOCS, DOCUMENTS, ROOT, Block
from tests.docs.talk import Talk

# What the blocks of a document that is read in one go leave out.
GIVEN = {
    ROOT / "README.md": """
from datetime import timedelta
from decimal import Decimal
from holdfast import Agent, Context, ToolContext, tool, workflow
payments = None
def create_account(email: str) -> str: ...
def send_mail(account: str, advice: str) -> None: ...
assistant = Agent("assistant", model="openai:gpt-5.2")
""",
}
TUTORIAL = DOCS / "tutorial" / "first-steps.md"
PYTHON = [b for d in DOCUMENTS for b in blocks.blocks(d, "python") if b.comment != "fragment"]
WITH_REQUESTS = [
    d
    for d in DOCUMENTS
    if d not in (TUTORIAL, ROOT / "README.md") and any("$ curl" in b.code for b in blocks.blocks(d, "console"))
]
RUN_S = 20


def _named(document: Path) -> str:
    return str(document.relative_to(ROOT))


# --- Python ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", PYTHON, ids=lambda b: b.id)
def test_python_blocks_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HOLDFAST_FREEZE_GC", "false")
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    path = tmp_path / (block.file_name or "block.py")
    path.write_text(GIVEN.get(block.document, "") + block.code)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        defined = runpy.run_path(str(path), run_name="__main__")
    expected = _output_of(block)
    if expected is not None:
        assert printed.getvalue() == expected
    if block.comment is not None and block.comment.startswith("run:"):
        _run_agent(defined["hf"], json.loads(block.comment.removeprefix("run:")))


def _output_of(block: Block) -> str | None:
    all_blocks = blocks.blocks(block.document)
    after = all_blocks[all_blocks.index(block) + 1 :]
    return after[0].code if after and after[0].comment == "output" else None


def _run_agent(hf: Holdfast, asked: dict[str, Any]) -> None:
    import asyncio

    async def work() -> Any:
        async with hf.running():
            ask = runs.StartRun(agent=asked["agent"], input=asked.get("input"))
            view = (await runs.start(hf.house, LOCAL_PRINCIPAL, ask)).view
            while not view.run.status.ended:  # one that parks is answered at once, as waiting
                view = await runs.wait(hf.house, LOCAL_PRINCIPAL, view, RUN_S)
                await asyncio.sleep(0.02)
            assert view.run.status == "succeeded", decode(view.run.error)
            return decode(view.output)

    assert asyncio.run(work()) == asked["output"]


def test_fragments_are_python_too() -> None:
    fragments = [b for d in DOCUMENTS for b in blocks.blocks(d, "python") if b.comment == "fragment"]
    for block in fragments:
        body = "".join(f"    {line}\n" for line in block.code.splitlines())
        compile(f"async def fragment():\n{body}", block.id, "exec")
    assert len(PYTHON) > 2 * len(fragments), "most Python in the documents should run"


def test_json_blocks_are_json() -> None:
    for document in DOCUMENTS:
        for block in blocks.blocks(document, "json"):
            json.loads(block.code)


# --- requests --------------------------------------------------------------------------------------------------------


@tool(effect="read")
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


@workflow("fulfil")
async def fulfil(ctx: Context, order: int) -> str:
    await ctx.sleep(30)
    return f"PARCEL-{order}"


@tool(confirm={"amount": {"min": 100}})
def refund(amount: int) -> str:
    """Give money back."""
    return f"refunded {amount}"


@workflow("refunds")
async def refunds(ctx: Context, amount: int) -> str:
    return await ctx.step("refund", refund, amount)


def _served(url: str) -> Holdfast:
    answer = [[Think("Sunny?"), Call("weather", {"city": "Lisbon"})], "Sunny, so take your hat."]
    assistant = Agent("assistant", model=ScriptedModel(answer), instructions="Answer.", tools=[weather])
    agents = [assistant, fulfil, refunds, referring, everything, again, held, lent]
    return Holdfast(agents, settings=Settings(database=url, freeze_gc=False))


@contextlib.asynccontextmanager
async def _client(url: str) -> AsyncIterator[httpx.AsyncClient]:
    from holdfast import serving

    listener = serving.listen("127.0.0.1", 0)
    async with serving.served(_served(url), listener):
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=base, timeout=RUN_S) as client:
            yield client


@pytest.mark.parametrize("document", WITH_REQUESTS, ids=_named)
async def test_requests_are_answered(document: Path, sqlite_url: str) -> None:
    async with _client(sqlite_url) as client:
        talk = Talk(client)
        for block in blocks.blocks(document, "console"):
            for command in blocks.commands(block):
                if command.text.startswith(("curl", f"{command.assigns}=$(curl")) and "127.0.0.1" in command.text:
                    printed = await talk.send(command)
                    if command.output.strip():
                        assert printed == command.output, f"{block.id}: {command.text}"


@tool
def send(text: str) -> str:
    """Send a text."""
    return f"sent {text}"


def refuse() -> None:
    raise RuntimeError("no")


answering = Agent("answering", model=ScriptedModel([Call("send", {"text": "hi"}), "done"]), tools=[send], stream=True)
referring = Agent("referring", model=ScriptedModel([Call("transfer_to_answering", {})]), handoffs=[answering])


@workflow("everything", agents=[answering])
async def everything(ctx: Context) -> None:
    await ctx.now()
    await ctx.emit("begun", {"by": ctx.info.run_id})
    await ctx.state.set({"at": "begin"})
    await ctx.call(answering, "Say hi.")
    await ctx.sleep(0.01)
    await ctx.step("send", send, "hi")
    await ctx.step("refuse", refuse)


@tool(confirm=Confirm(quorum=2), effect="keyed")
def lend(text: str) -> str:
    return f"lent {text}"


@tool(effect="keyed")
def pay(text: str) -> str:
    return f"paid {text}"


@pay.compensate
async def repay(ctx: ToolContext, effect: EffectInfo) -> None:
    pass


@tool(effect="unsafe")
def lose(text: str) -> str:
    raise ConnectionError("the line is dead")


@workflow("lent")
async def lent(ctx: Context) -> None:
    await ctx.step("lend", lend, "a book")


@workflow("held", tools=[pay])
async def held(ctx: Context) -> None:
    await ctx.step("pay", pay, "7")
    await ctx.ask("Sure?")
    await ctx.step("lose", lose, "all")


@workflow("again")
async def again(ctx: Context, left: int) -> None:
    if left:
        await ctx.restart(left - 1)


async def test_events_hold_the_fields_that_the_reference_tells_of(sqlite_url: str) -> None:
    seen: set[str] = set()

    async def follow(client: httpx.AsyncClient, run_id: str, after: int = 0) -> None:
        async with client.stream("GET", f"/v1/runs/{run_id}/events?after={after}&until=waiting") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line.removeprefix("data: "))
                    _demand_fields(event["type"], event["data"])
                    seen.add(event["type"])

    async def start(client: httpx.AsyncClient, agent: str, input: Any) -> str:
        answer = await client.post("/v1/runs?wait=20", json={"agent": agent, "input": input})
        return answer.json()["id"]

    async def resolve(client: httpx.AsyncClient, run_id: str, **said: Any) -> None:
        asked = (await client.get(f"/v1/approvals?run_id={run_id}&status=pending")).json()["data"][0]["id"]
        assert (await client.post(f"/v1/approvals/{asked}/resolve", json=said)).is_success

    async def cancel(client: httpx.AsyncClient, run_id: str, **how: Any) -> None:
        assert (await client.post(f"/v1/runs/{run_id}/cancel", json=how)).is_success
        await follow(client, run_id)

    async with _client(sqlite_url) as client:
        for agent, input in (("referring", "Hello"), ("again", 1), ("assistant", "Hello")):
            await follow(client, await start(client, agent, input))
        forked = await client.post(f"/v1/runs/{await start(client, 'assistant', 'Hello')}/fork", json={"at": 1})
        await follow(client, forked.json()["id"])
        failed = await start(client, "everything", None)
        await follow(client, failed)
        await client.post(f"/v1/runs/{failed}/retry")
        await follow(client, failed)
        waiting = await start(client, "fulfil", 7)
        await follow(client, waiting)
        await cancel(client, waiting, reason="enough")
        one_of_two = await start(client, "lent", None)
        await resolve(client, one_of_two, decision="approve")
        await cancel(client, one_of_two)
        unsure = await start(client, "held", None)
        await resolve(client, unsure, decision="answer", answer="yes")
        assert (await client.get(f"/v1/runs/{unsure}?wait=20")).json()["waiting_on"][0]["type"] == "effect"
        await cancel(client, unsure, compensate=True)
    never = {"run.resumed", "run.recovered", "run.version_changed"}  # these need a crash or a deploy
    assert set(generate.EVENTS) - seen <= never | {"message.delta", "step.started"}


def _demand_fields(type: str, data: dict[str, Any]) -> None:
    told = generate.EVENTS[type][1].split()
    assert {f for f in told if not f.endswith("?")} <= set(data) <= {f.rstrip("?") for f in told}, (type, data)


# --- generated tables ------------------------------------------------------------------------------------------------


def _generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


generate = _generate()


def test_generated_tables_are_fresh(tmp_path: Path) -> None:
    assert generate.stale() == [], "run: python docs/generate.py"
    used = {name for d in DOCUMENTS for name in re.findall(r"<!-- generated: ([\w -]+) -->", d.read_text())}
    assert used == set(generate.TABLES), "a table is shown nowhere, or is not known"


def test_a_changed_table_is_noticed() -> None:
    text = (DOCS / "reference" / "limits.md").read_text()
    assert generate.rewritten(text.replace("20,000", "20,001")) == text


# --- names, links ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=_named)
def test_links_lead_somewhere(document: Path) -> None:
    for link in blocks.links(document):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{_named(document)} links to {link}"
        assert target.is_relative_to(ROOT), f"{_named(document)} links to {link}"
        if anchor:
            assert anchor in blocks.anchors(target), f"{_named(document)} links to {link}: no such heading"


def test_every_page_is_on_the_map() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in blocks.links(DOCS / "README.md")}
    for page in DOCS.rglob("*.md"):
        assert page.resolve() in listed or page.name == "README.md", f"{_named(page)} is not on the map"


def test_variables_that_documents_name_exist() -> None:
    known = {f"HOLDFAST_{name.upper()}" for name in Settings.model_fields}
    known |= {"HOLDFAST_STOCK_OPENAI_CLIENT", "HOLDFAST_BENCH_POSTGRES"}
    known |= {"HOLDFAST_TEST_POSTGRES", "HOLDFAST_REQUIRE_ALL", "HOLDFAST_FULL"}
    for document in DOCUMENTS:
        for name in re.findall(r"\bHOLDFAST_[A-Z_]+\b", document.read_text()):
            assert name in known, f"{_named(document)} names {name}"


def test_commands_that_documents_show_exist() -> None:
    import typer

    from holdfast.cli import app

    root: Any = typer.main.get_command(app)
    for document in DOCUMENTS:
        for block in blocks.blocks(document, "console"):
            for command in blocks.commands(block):
                words = command.words
                if words[0] == "holdfast" and "TARGET" not in words and "[OPTIONS]" not in words:
                    _demand_command(root, words[1:], f"{block.id}: {command.text}")


def _demand_command(command: Any, words: list[str], where: str) -> None:
    while hasattr(command, "commands"):
        assert words[0] in command.commands, where
        command, words = command.commands[words[0]], words[1:]
    known = {name for p in command.params for name in [*p.opts, *p.secondary_opts]}
    for word in words:
        assert not word.startswith("--") or word.partition("=")[0] in known, where


def test_codes_that_documents_name_exist() -> None:
    """Words in backticks that look like codes of errors, in the how-to guides and the tutorial."""
    known = {*generate.REQUEST_CODES, *generate.RUN_CODES, *generate.MODEL_CODES, *generate.TOOL_CODES}
    known |= {cls.code for cls in generate._classes() if hasattr(cls, "code")}
    for document in (*(DOCS / "howto").glob("*.md"), TUTORIAL):
        for name in re.findall(
            r"`((?:limit|model|journal|thread|store|run|version|step)_[a-z_]+)`", document.read_text()
        ):
            if name not in NOT_CODES:
                assert name in known, f"{_named(document)} names the code {name}"


NOT_CODES = {
    "model_settings", "model_timeout", "model_retry", "thread_id", "run_id", "model_error", "version_change",
    "model_calls", "thread_external_id", "step_changed", "step_added", "step_missing",
}  # fmt: skip


def test_documents_stand_alone() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
            if not re.match(r"[a-z]+:", target):
                inside = (document.parent / target).resolve()
                assert inside.is_relative_to(ROOT), f"{_named(document)} refers to {target}, outside the repository"
