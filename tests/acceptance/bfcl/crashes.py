"""BFCL under crashes: the server is killed after every journaled step of every conversation, and the calls that the
world really executed are judged by the official checker.

    python -m tests.acceptance.bfcl.crashes [--cases N|all] [--lossy] [--unsafe]

Three processes besides this one: the world (`outside.py`), which outlives everything; the server, killed and started
again (`mortal.py`); this one starts runs over HTTP, looks into the database when a life has come to its end, and is the
person who answers what became of unknown effects, truthfully, while no server lives.

Conversations advance abreast: in each life every one of them journals one step, or gets stuck in a call whose answer
the world withholds, or asks a person. Then the server dies by SIGKILL. Exits with 0 only if every case is valid.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import exists, select

from holdfast.bus.base import Hub
from holdfast.domain import ids
from holdfast.domain.access import LOCAL_PRINCIPAL
from holdfast.domain.approvals import Approval, ApprovalStatus, ApprovalType
from holdfast.domain.ids import RunId
from holdfast.service import approvals
from holdfast.service.approvals import Resolution
from holdfast.service.house import House
from holdfast.store import principals, schema
from holdfast.store.approvals import ApprovalFilter
from holdfast.store.base import Database
from tests import databases
from tests.acceptance.bfcl import fetch, outside, script, world
from tests.acceptance.bfcl.check import check, expected_results
from tests.acceptance.bfcl.run import sample
from tests.acceptance.bfcl.world import Call, Case, render

ROOT = Path(__file__).resolve().parents[3]
BACKLOG = 1_024
LIFE_S = 120
CONNECTIONS = 64
FAILURES_SHOWN = 20
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Siege:
    """What is played, and against what. `url`: a migrated, empty database."""

    cases: Sequence[Case]
    url: str
    directory: Path
    lossy: bool = False
    unsafe: bool = False


@dataclass(slots=True)
class Talk:
    """A conversation: its runs so far, one per turn, and how far the last one had come when this life began."""

    case: Case
    runs: list[RunId] = field(default_factory=list[RunId])
    going: bool = False
    steps: int = 0
    answered: bool = False
    broken: str = ""

    @property
    def over(self) -> bool:
        return bool(self.broken) or (not self.going and len(self.runs) == len(self.case.prompts))


@dataclass(frozen=True, slots=True)
class Standing:
    """A run as its rows say."""

    steps: int
    status: str
    asks: bool


@dataclass(slots=True)
class Toll:
    """What it took. `steps`: journaled steps that were followed by a kill; `stuck`: kills while a call was withheld."""

    lives: int = 0
    steps: int = 0
    stuck: int = 0
    answers: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class Executed:
    """A call as the world wrote it down."""

    step: str
    call: Call
    result: str


@dataclass(frozen=True, slots=True)
class Report:
    wrong: dict[str, str]
    valid: int
    calls: int
    toll: Toll


# --- the processes ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def process(module: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A module of this package serving on a fresh port until its standard input ends."""
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        port: int = listener.getsockname()[1]
        command = [sys.executable, "-m", f"tests.acceptance.bfcl.{module}", "--fd", str(listener.fileno()), *arguments]
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    assert started.stdin is not None
    assert started.stdout is not None
    try:
        yield started, port
    finally:
        started.stdin.close()
        started.wait(30)
        started.stdout.close()


def told(parent: subprocess.Popen[str], asked: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the parent of the servers, and hear its answer."""
    assert parent.stdin is not None
    assert parent.stdout is not None
    if asked is not None:
        parent.stdin.write(json.dumps(asked) + "\n")
        parent.stdin.flush()
    line = parent.stdout.readline()
    assert line, "the parent of the servers died"
    return json.loads(line)


# --- the siege -------------------------------------------------------------------------------------------------------


class Play:
    """Conversations abreast, life after life."""

    def __init__(
        self, siege: Siege, database: Database, parent: subprocess.Popen[str], client: httpx.AsyncClient, world: int
    ) -> None:
        self.talks = [Talk(case) for case in siege.cases]
        self.toll = Toll()
        self._house = House(database=database, hub=Hub(None), agents={})
        self._parent = parent
        self._client = client
        self._world = world

    async def all(self) -> None:
        while open := [talk for talk in self.talks if not talk.over]:
            await self._life(open)

    async def _life(self, talks: Sequence[Talk]) -> None:
        self.toll.lives += 1
        answered = [talk.case.id for talk in talks if talk.answered]
        pid = (await asyncio.to_thread(told, self._parent, {"live": {"answered": answered}}))["pid"]
        await asyncio.gather(*(self._start(talk) for talk in talks if not talk.going))
        stuck = await self._settled(talks)
        code = (await asyncio.to_thread(told, self._parent, {"die": pid}))["code"]
        assert code == -9, f"the server ended by itself: {code}"
        after = await self._standings(talks)
        for talk in talks:
            self._took_one_step(talk, after[talk.runs[-1]])
            self.toll.stuck += talk.case.id in stuck
        await self._answer_all(talks)
        before = await self._standings(talks)
        for talk in talks:
            if talk.going:
                talk.steps = before[talk.runs[-1]].steps

    async def _start(self, talk: Talk) -> None:
        """The next turn, over HTTP; the key makes it safe to repeat."""
        turn = len(talk.runs)
        body = {
            "agent": script.AGENT,
            "input": script.user_text(talk.case, turn),
            "thread": {"external_id": talk.case.id, "create": True},
            "metadata": {script.CASE_KEY: talk.case.id},
        }
        headers = {"Idempotency-Key": f"{talk.case.id}:{turn}"}
        answer = await self._client.post("/v1/runs", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        talk.runs.append(RunId(ids.parse(ids.RUN, answer.json()["id"])))
        talk.going, talk.steps = True, 0

    async def _settled(self, talks: Sequence[Talk]) -> set[str]:
        """Until every conversation is where this life lets it come; those whose call is withheld."""
        try:
            async with asyncio.timeout(LIFE_S):
                while True:
                    stuck = set((await outside.post(self._world, "/withheld", {}))["cases"])
                    now = await self._standings(talks)
                    if all(self._is_settled(talk, now[talk.runs[-1]], stuck) for talk in talks):
                        return stuck
                    await asyncio.sleep(0.02)
        except TimeoutError:
            open = {t.case.id: now[t.runs[-1]] for t in talks if not self._is_settled(t, now[t.runs[-1]], stuck)}
            raise AssertionError(f"these went nowhere in life {self.toll.lives}: {open}") from None

    def _is_settled(self, talk: Talk, now: Standing, stuck: set[str]) -> bool:
        if talk.case.id in stuck or now.status in ENDED:
            return True
        return now.steps > talk.steps or now.asks

    def _took_one_step(self, talk: Talk, after: Standing) -> None:
        journaled = after.steps - talk.steps
        assert journaled <= 1, f"{talk.case.id}: {journaled} steps were journaled in one life"
        self.toll.steps += journaled
        talk.answered = False
        if after.status in ENDED:
            talk.going = False
            if after.status != "succeeded":
                talk.broken = f"turn {len(talk.runs) - 1} {after.status}"

    async def _standings(self, talks: Sequence[Talk]) -> dict[RunId, Standing]:
        wanted = [talk.runs[-1] for talk in talks]
        r, h, a = schema.runs.c, schema.run_heads.c, schema.approvals.c
        asks = exists().where(a.tenant_id == r.tenant_id, a.run_id == r.id, a.status == "pending")
        query = select(r.id, h.seq, r.status, asks).where(r.id == h.run_id, r.id.in_(wanted))
        rows = await self._house.database.read(None, lambda tx: tx.all(query))
        return {RunId(row[0]): Standing(row[1], row[2], bool(row[3])) for row in rows}

    # -- the person ---------------------------------------------------------------------------------------------------

    async def _answer_all(self, talks: Sequence[Talk]) -> None:
        case_of = {talk.runs[-1]: talk for talk in talks}
        wanted = ApprovalFilter(status=(ApprovalStatus.PENDING,), limit=200)
        while found := await approvals.page(self._house, LOCAL_PRINCIPAL, wanted):
            for view in found:
                await self._answer(view.approval, case_of[view.approval.run_id])

    async def _answer(self, asked: Approval, talk: Talk) -> None:
        """What became of it, as the world knows."""
        assert asked.type is ApprovalType.EFFECT, asked
        step = asked.key.rpartition("/effect#")[0]
        body = {"run": ids.text(ids.RUN, asked.run_id), "step": step}
        found = await outside.post(self._world, "/executed", body)
        word = "committed" if found["done"] else "not_done"
        answer = {"outcome": word, "result": found["result"]} if found["done"] else {"outcome": word}
        await approvals.resolve(
            self._house, LOCAL_PRINCIPAL, asked.id, Resolution(decision="answer", answer=answer, note="I looked")
        )
        self.toll.answers[word] += 1
        talk.answered = talk.answered or found["done"]


# --- judgement -------------------------------------------------------------------------------------------------------


def read_log(path: Path) -> dict[str, list[Executed]]:
    """What the world executed, by run, in order."""
    found: dict[str, list[Executed]] = {}
    for line in path.read_text().splitlines():
        told = json.loads(line)
        executed = Executed(told["step"], Call(told["name"], told["arguments"]), told["result"])
        found.setdefault(told["run"], []).append(executed)
    return found


async def recorded(database: Database, talk: Talk) -> dict[str, dict[str, Any]]:
    """What the journals say of the same: per run, results by step."""
    e, b = schema.entries.c, schema.blobs.c
    joined = schema.entries.outerjoin(schema.blobs, (e.tenant_id == b.tenant_id) & (e.payload_blob == b.hash))
    query = (
        select(e.run_id, e.key, e.payload, b.data)
        .select_from(joined)
        .where(e.run_id.in_(talk.runs), e.kind == "tool", e.phase == "result")
    )
    rows = await database.read(None, lambda tx: tx.all(query))
    found: dict[str, dict[str, Any]] = {}
    for run, key, payload, blob in rows:
        result = json.loads(payload if payload is not None else blob)["result"]
        found.setdefault(ids.text(ids.RUN, run), {})[key] = result
    return found


async def wrong_with(database: Database, talk: Talk, log: dict[str, list[Executed]]) -> str:
    """Empty if the world executed exactly what the case needs, and the journals tell the same."""
    if talk.broken:
        return talk.broken
    runs = [ids.text(ids.RUN, run) for run in talk.runs]
    turns = [log.get(run, []) for run in runs]
    journal = await recorded(database, talk)
    for run, turn in zip(runs, turns, strict=True):
        twice = [step for step, n in Counter(executed.step for executed in turn).items() if n > 1]
        if twice:
            return f"executed more than once: {twice}"
        if {executed.step: executed.result for executed in turn} != journal.get(run, {}):
            return f"the journal tells {journal.get(run)}, the world {turn}"
    calls = [[[render(executed.call)] for executed in turn] for turn in turns]
    verdict = check(talk.case, calls)
    if not verdict.valid:
        return verdict.reason
    if [[executed.result for executed in turn] for turn in turns] != expected_results(talk.case, calls):
        return "the services answered otherwise than in the official executor"
    return ""


@contextlib.asynccontextmanager
async def playing(siege: Siege) -> AsyncIterator[Play]:
    log = siege.directory / "world.jsonl"
    log.touch()
    world_options = ["--log", str(log), *(["--lossy"] if siege.lossy else [])]
    with process("outside", *world_options) as (_, world_port):
        options = ["--database", siege.url, "--world", str(world_port), "--slots", str(len(siege.cases) + 8)]
        options += ["--unsafe"] if siege.unsafe else []
        with process("mortal", *options) as (parent, port):
            assert (await asyncio.to_thread(told, parent)) == {"ready": True}
            connections = httpx.Limits(max_connections=CONNECTIONS)
            async with (
                databases.opened(siege.url) as database,
                httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LIFE_S, limits=connections) as client,
            ):
                await database.write(None, principals.seed)
                yield Play(siege, database, parent, client, world_port)


async def conduct(siege: Siege) -> Report:
    """Play to the end under crashes, then judge."""
    async with playing(siege) as play:
        await play.all()
        log = read_log(siege.directory / "world.jsonl")
        found = {talk.case.id: await wrong_with(play._house.database, talk, log) for talk in play.talks}
        known = {ids.text(ids.RUN, run) for talk in play.talks for run in talk.runs}
        assert log.keys() <= known, "calls of runs that nobody started"
    wrong = {case: reason for case, reason in found.items() if reason}
    return Report(wrong, len(found) - len(wrong), sum(map(len, log.values())), play.toll)


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m tests.acceptance.bfcl.crashes", description="BFCL under crashes.")
    options.add_argument("--cases", default="all", help="how many of the category base, or 'all'")
    options.add_argument("--lossy", action="store_true", help="the world loses the first answer to every call")
    options.add_argument("--unsafe", action="store_true", help="every tool declared unsafe, a person who answers")
    given = options.parse_args()
    fetch.importable()
    count = sum(c.category == "base" for c in world.cases().values()) if given.cases == "all" else int(given.cases)
    with tempfile.TemporaryDirectory(prefix="holdfast-bfcl-") as directory:
        url = databases.migrated(f"sqlite:///{directory}/bfcl.db")
        siege = Siege(
            cases=sample(count, ["base"]), url=url, directory=Path(directory), lossy=given.lossy, unsafe=given.unsafe
        )
        report = asyncio.run(conduct(siege))
    for case, reason in list(report.wrong.items())[:FAILURES_SHOWN]:
        print(f"{case}: {reason}")
    print(described(siege, report))
    return 1 if report.wrong else 0


def described(siege: Siege, report: Report) -> str:
    toll = report.toll
    kind = f"{'unsafe' if siege.unsafe else 'keyed'}, answers {'lost' if siege.lossy else 'given'}"
    return (
        f"BFCL under crashes ({kind}): {report.valid} of {len(siege.cases)} valid, {report.calls} calls executed, "
        f"{toll.lives} lives, {toll.steps} steps each followed by a kill, {toll.stuck} kills in a call, "
        f"answers {dict(toll.answers)}"
    )


if __name__ == "__main__":
    sys.exit(main())
