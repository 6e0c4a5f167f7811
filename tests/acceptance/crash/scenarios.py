"""What the crash matrix runs: small agents that tell an auditor, outside the database, whenever they execute.

An execution is a line in a file, written with O_APPEND and synced before the work begins: whatever is killed when,
the file holds at least what happened. Lines name the run and the step's key, so that they can be held against the
journal. Agents are built once, at import: the fork server hands them to every process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from holdfast import Agent, Context, Retry, ToolContext, tool, workflow
from holdfast.domain.approvals import Approval
from holdfast.domain.errors import ChildFailed, StepFailed
from holdfast.domain.runs import OnBusy
from holdfast.service.approvals import Resolution
from holdfast.testing import Call, Output, ScriptedModel, last_user_text

# --- the auditor -----------------------------------------------------------------------------------------------------


class Auditor:
    """Set up in each process by `open`; until then nothing may execute."""

    descriptor = -1

    def open(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def executed(self, label: str) -> None:
        os.write(self.descriptor, f"{label}\n".encode())
        os.fsync(self.descriptor)


auditor = Auditor()


class Signals:
    """Events of this process by name: a tool tells that it began, a client waits for that."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def of(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())


signals = Signals()


def model(agent: str, *replies: Any) -> ScriptedModel:
    """A model that says these one after the other in each turn, and tells the auditor when it is asked."""

    def reply(messages: Any, info: Any) -> Any:
        auditor.executed(f"{agent}:{last_user_text(messages)}:model#{info.position + 1}")
        return replies[info.position]

    return ScriptedModel(reply)


def work(run: str, key: str, value: Any) -> Any:
    auditor.executed(f"{run}:{key}")
    return value


def refuse(run: str, key: str) -> None:
    auditor.executed(f"{run}:{key}")
    raise ValueError("no")


@tool(effect="read")
async def look(ctx: ToolContext, what: str) -> str:
    """Look something up."""
    auditor.executed(f"{ctx.run_id}:{ctx.key}")
    return f"{what} found"


@tool(effect="keyed")
async def change(ctx: ToolContext, what: str) -> str:
    """Change something."""
    auditor.executed(f"{ctx.run_id}:{ctx.key}")
    return f"{what} changed"


@tool(effect="keyed")
def change_in_thread(ctx: ToolContext, what: str) -> str:
    """Change something, blocking."""
    auditor.executed(f"{ctx.run_id}:{ctx.key}")
    return f"{what} changed"


@tool(effect="keyed")
async def linger(ctx: ToolContext, what: str) -> str:
    """Change something, slowly, and say when it has begun."""
    auditor.executed(f"{ctx.run_id}:{ctx.key}")
    signals.of("lingering").set()
    await asyncio.sleep(0.1)
    return f"{what} changed"


@tool(effect="keyed")
async def change_and_publish(ctx: ToolContext, what: str) -> str:
    """Change something, and say so in the thread's state."""
    auditor.executed(f"{ctx.run_id}:{ctx.key}")
    await ctx.state.update(_noting(what))
    await ctx.state.update({"last": what})
    return f"{what} changed"


def _noting(what: str) -> Callable[[Any], Any]:
    return lambda document: {**document, "log": sorted([*document["log"], what])}


# --- agents ----------------------------------------------------------------------------------------------------------

chat = Agent("chat", model=model("chat", "hello"))
streaming = Agent(
    "streaming", model=model("streaming", [Call("look", {"what": "a"})], "hello there"), tools=[look], stream=True
)

sequential = Agent(
    "sequential",
    model=model(
        "sequential",
        Call("look", {"what": "a"}),
        Call("change", {"what": "b"}),
        Call("change_in_thread", {"what": "c"}),
        Call("look", {"what": "d"}),
        "done",
    ),
    tools=[look, change, change_in_thread],
)
parallel = Agent(
    "parallel",
    model=model(
        "parallel",
        [Call(name, {"what": what}) for name, what in (("look", "a"), ("change", "b"), ("look", "c"), ("change", "d"))],
        [Call("change", {"what": "e"}), Call("nothing", {}), Call("look", {"wrong": 1})],
        "done",
    ),
    tools=[look, change],
)


class Plan(BaseModel):
    days: int


structured = Agent(
    "structured",
    model=model("structured", Output({"days": "many"}), [Call("look", {"what": "a"})], Output({"days": 3})),
    tools=[look],
    output_type=Plan,
)

refunds = Agent("refunds", model=model("handing", None, Call("change", {"what": "b"}), "refunded"), tools=[change])
handing = Agent("handing", model=model("handing", Call("transfer_to_refunds")), handoffs=[refunds])

asked = Agent("asked", model=model("asked", Call("change", {"what": "a"}), "advice"), tools=[change])
asking = Agent(
    "asking",
    model=model("asking", [Call("asked", {"input": "help"}), Call("look", {"what": "x"})], "done"),
    tools=[asked.as_tool(), look],
)


@workflow("flow")
async def flow(ctx: Context, n: int) -> dict[str, Any]:
    me = ctx.info.run_id
    a = await ctx.step("a", work, me, "a#1", n)
    at, by, id = await ctx.now(), await ctx.random(), await ctx.uuid()
    b, (c, d) = await ctx.gather(
        ctx.step("b", work, me, "g#1.0/b#1", a + 1),
        ctx.gather(
            ctx.step("c", work, me, "g#1.1/g#1.0/c#1", a + 2), ctx.step("d", work, me, "g#1.1/g#1.1/d#1", a + 3)
        ),
    )
    await ctx.emit("halfway", {"b": b})
    try:
        await ctx.step("bad", refuse, me, "bad#1", retry=Retry(attempts=1))
    except StepFailed as exc:
        failed = exc.error_type
    e = await ctx.step("e", change, "e")
    return {"sum": a + b + c + d, "failed": failed, "e": e, "at": at, "by": by, "id": id}


@workflow("sleeper")
async def sleeper(ctx: Context, ms: int) -> int:
    me = ctx.info.run_id
    a = await ctx.step("a", work, me, "a#1", 1)
    await ctx.sleep(ms / 1000)
    b, _ = await ctx.gather(ctx.step("b", work, me, "g#1.0/b#1", 2), ctx.sleep(ms / 1000))
    return a + b


@workflow("broken")
async def broken(ctx: Context) -> None:
    await ctx.step("a", work, ctx.info.run_id, "a#1", 1)
    raise ValueError("broken")


@workflow("parent", agents=[asked, broken])
async def parent(ctx: Context) -> list[Any]:
    me = ctx.info.run_id
    a = await ctx.step("a", work, me, "a#1", 1)
    advice, failed = await ctx.gather(ctx.call(asked, "one"), _caught(ctx))
    again = await ctx.call(asked, "two")
    return [a, advice, failed, again]


async def _caught(ctx: Context) -> str:
    try:
        await ctx.call("broken")
    except ChildFailed as exc:
        return str(exc.details.get("child_code"))
    return "not failed"


@workflow("patient", agents=[sleeper, asked])
async def patient(ctx: Context) -> list[Any]:
    slept = await ctx.call(sleeper, 30)
    return [slept, *await ctx.gather(ctx.call(sleeper, 20), ctx.call(asked, "one"))]


@workflow("loop")
async def loop(ctx: Context, n: int) -> int:
    me = ctx.info.run_id
    total = await ctx.step("a", work, me, "a#1", n)
    await ctx.emit("round", n)
    if n < 3:
        await ctx.restart(n + 1)
    return total


@workflow("publishing", tools=[change_and_publish])
async def publishing(ctx: Context, n: int) -> dict[str, Any]:
    """What it publishes on the way may come in another order; what has come of it at the end may not differ."""
    me = ctx.info.run_id
    begun = await ctx.state.get()
    await ctx.step("a", work, me, "a#1", n)
    await ctx.state.set({"n": n, "log": [f"begun {n}"]})

    async def branch(place: int, name: str) -> None:
        await ctx.state.update({name: 1})
        await ctx.step(name, work, me, f"g#1.{place}/{name}#1", n)
        await ctx.state.update(_noting(name))

    await ctx.gather(branch(0, "x"), branch(1, "y"))
    gathered = await ctx.state.get()
    await ctx.step("e", change_and_publish, "e")
    return {"begun": begun, "gathered": gathered, "ended": await ctx.state.get()}


@workflow("lingering")
async def lingering(ctx: Context) -> str:
    me = ctx.info.run_id
    await ctx.step("a", work, me, "a#1", 1)
    said = await ctx.step("b", linger, "b")
    await ctx.step("c", work, me, "c#1", 1)
    return said


# --- what only some processes can do to themselves -------------------------------------------------------------------

active = 0


def is_open(gate: str) -> bool:
    """A gate is opened for all processes, or for one."""
    return Path(gate).exists() or Path(f"{gate}.{os.getpid()}").exists()


async def opened(gate: str) -> None:
    while not is_open(gate):
        await asyncio.sleep(0.01)


@tool(effect="keyed")
async def hold(ctx: ToolContext, gate: str) -> str:
    """Change something; it takes until the gate is open."""
    auditor.executed(f"{ctx.run_id}:{ctx.key}")
    await opened(gate)
    return "held"


@workflow("holding")
async def holding(ctx: Context, gate: str) -> str:
    await ctx.step("a", work, ctx.info.run_id, "a#1", 1)
    return await ctx.step("b", hold, gate)


def first(path: str) -> bool:
    """Whether nobody called this before, in whatever process."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@workflow("stuck")
async def stuck(ctx: Context, path: str) -> int:
    """Blocks the event loop of the first process that runs it, until the gate is open."""

    async def block() -> int:
        auditor.executed(f"{ctx.info.run_id}:block#1")
        while first(f"{path}.first") or (os.getpid() == blocked.get(path) and not is_open(path)):
            blocked[path] = os.getpid()
            time.sleep(0.01)  # noqa: ASYNC251
        return os.getpid()

    return await ctx.step("block", block)


blocked: dict[str, int] = {}


async def brief() -> int:
    global active
    active += 1
    try:
        await asyncio.sleep(0.02)
        return os.getpid()
    finally:
        active -= 1


@workflow("brief")
async def brief_flow(ctx: Context, n: int) -> int:
    return await ctx.step("brief", brief)


@workflow("poison")
async def poison(ctx: Context) -> None:
    """Takes its process with it, and tells the auditor how many others it takes along."""

    async def die() -> None:
        auditor.executed(f"beside:{active}")
        os._exit(9)

    await ctx.step("die", die)


AGENTS = [
    chat, streaming, sequential, parallel, structured, refunds, handing, asked, asking,
    flow, sleeper, broken, parent, patient, loop, publishing, lingering, holding, stuck, brief_flow, poison,
]  # fmt: skip


# --- scenarios -------------------------------------------------------------------------------------------------------


class Client:
    """What a scenario does: verbs with idempotency keys. See `process.py`."""

    async def start(self, name: str, agent: str, input: Any = None, *, thread: str | None = None,
                    on_busy: OnBusy = OnBusy.ENQUEUE) -> None: ...  # fmt: skip
    async def cancel(self, name: str, run: str) -> None: ...
    async def until(self, signal: str, run: str) -> None: ...
    async def waits(self, run: str) -> None: ...
    async def asks(self, run: str) -> None: ...
    async def send(self, event: str, key: str, id: str, data: Any) -> None: ...
    async def ends(self, run: str) -> None: ...
    async def reaches(self, run: str, seq: int) -> None: ...
    async def fork(self, name: str, of: str, at: int | str, **how: Any) -> None: ...
    async def edit(self, name: str, of: str, message: str) -> None: ...
    async def regenerate(self, name: str, of: str, seq: int | None, **how: Any) -> None: ...


Drive = Callable[[Client], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """`drive` starts runs. `oracle` does the same without its last request, the one that stops `stopped`: that run may
    end as cancelled, having done a part of what the oracle's did; it must, once the request was answered.
    `ordered`: the order of messages follows from the code, not from timing. `answer`: what people say to questions.
    `drives_on`: runs need what the client does besides starting them, so it goes on at once after a crash."""

    drive: Drive
    oracle: Drive | None = None
    stopped: str | None = None
    stopped_by: str | None = None
    ordered: bool = True
    limits: dict[str, int] = field(default_factory=dict[str, int])
    answer: Callable[[Approval], Awaitable[Resolution | None]] | None = None
    drives_on: bool = False


def one(agent: str, input: Any = None) -> Drive:
    async def drive(client: Client) -> None:
        await client.start("run", agent, input)

    return drive


async def two_turns(client: Client) -> None:
    await client.start("first", "chat", "one", thread="t")
    await client.start("second", "chat", "two", thread="t")


async def publishes_twice(client: Client) -> None:
    await client.start("first", "publishing", 1, thread="t")
    await client.start("second", "publishing", 2, thread="t")


async def a_cancel(client: Client) -> None:
    await client.start("run", "lingering")
    await client.until("lingering", "run")
    await client.cancel("cancel", "run")


async def an_interrupt(client: Client) -> None:
    await client.start("first", "lingering", thread="t")
    await client.until("lingering", "first")
    await client.start("second", "chat", "two", thread="t", on_busy=OnBusy.INTERRUPT)


async def no_interrupt(client: Client) -> None:
    await client.start("first", "lingering", thread="t")
    await client.start("second", "chat", "two", thread="t")


# Every wait parks, and recovery looks often enough to wake what slept for some milliseconds only.
PARKING = {"KEEP_IN_MEMORY_MS": 0, "RECOVERY_EVERY_MS": 20}

SCENARIOS: dict[str, Scenario] = {
    "chat": Scenario(two_turns),
    "streaming": Scenario(one("streaming", "hi")),
    "sequential-tools": Scenario(one("sequential", "go")),
    "parallel-tools": Scenario(one("parallel", "go"), ordered=False),
    "structured-output": Scenario(one("structured", "plan")),
    "workflow": Scenario(one("flow", 7)),
    "sleep-in-memory": Scenario(one("sleeper", 30)),
    "sleep-parked": Scenario(one("sleeper", 30), limits=PARKING),
    "child": Scenario(one("parent"), ordered=False),
    "child-parked": Scenario(one("patient"), ordered=False, limits=PARKING),
    "agent-as-tool": Scenario(one("asking", "go"), ordered=False),
    "hand-off": Scenario(one("handing", "go")),
    "restart": Scenario(one("loop", 1)),
    "published-state": Scenario(publishes_twice),
    "cancel": Scenario(a_cancel, one("lingering"), "lingering(null)", "cancel"),
    "interrupt": Scenario(an_interrupt, no_interrupt, "lingering(null)", "second"),
}
