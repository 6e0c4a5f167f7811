"""Runs as long as a journal may be, over HTTP: whatever shows a run shows these, and none of it is folded in the event
loop. The runs are made, not run (`tests/long_runs.py`), so what they come to is known."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from holdfast.domain import diffs, ids, limits, moments
from holdfast.domain.ids import RunId
from tests import long_runs
from tests.web.serving import Server

STEPS = 2_001  # odd, so that both kinds have as many


def path_of(run: RunId) -> str:
    return f"/v1/runs/{ids.text(ids.RUN, run)}"


async def read(server: Server, path: str) -> Any:
    answer = await server.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def steps_of(server: Server, run: RunId) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        query = f"?limit={limits.PAGE_SIZE_MAX}" + (f"&cursor={cursor}" if cursor else "")
        page = await read(server, f"{path_of(run)}/steps{query}")
        found += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def test_a_long_workflow_reads_like_one_that_ran(either: Server) -> None:
    database = either.house.database
    run = await long_runs.add_workflow(database, steps=STEPS)
    shown = await read(either, path_of(run))
    assert (shown["status"], shown["output"], shown["steps"]) == ("succeeded", STEPS, STEPS)
    steps = await steps_of(either, run)
    assert [step["seq"] for step in steps] == list(range(1, STEPS + 1))
    assert {step["kind"] for step in steps} == {"code", "tool", "model", "sleep"}
    assert any(step["status"] == "failed" for step in steps)
    used = sum(step["usage"]["input_tokens"] for step in steps if step["usage"])
    assert shown["usage"]["input_tokens"] == used > 0
    ordered = next(step for step in steps if step["name"] == "order")
    assert ordered["effect"]["status"] == "committed"
    summed_up = next(step for step in steps if step["name"] == "summary")
    prompt = await read(either, f"{path_of(run)}/steps/{summed_up['seq']}/prompt")
    assert prompt["instructions"] == "Be short."
    for at in (0, 1, STEPS // 2, STEPS):
        state = await read(either, f"{path_of(run)}/state?at={at}")
        assert (state["at"], state["kind"]) == (at, "workflow")
        assert sum(one["count"] for one in state["steps"]) == at
    events = (await either.http.get(f"{path_of(run)}/events")).text
    assert events.count("\nevent: ") + events.startswith("event: ") >= STEPS
    assert "event: run.succeeded" in events


async def test_a_long_conversation_reads_like_one_that_was_held(server: Server) -> None:
    run = await long_runs.add_conversation(server.house.database, steps=STEPS)
    assert (await read(server, path_of(run)))["output"] == "That is all."
    state = await read(server, f"{path_of(run)}/state?at={STEPS - 2}")
    assert (state["kind"], state["messages"]["total"]) == ("native", STEPS - 1)
    assert [call["name"] for call in state["pending_calls"]] == ["look_up"]
    prompt = await read(server, f"{path_of(run)}/steps/{STEPS}/prompt")
    assert len(prompt["messages"]) == STEPS


async def test_long_runs_are_compared_to_their_ends(either: Server) -> None:
    database = either.house.database
    one, alike = [await long_runs.add_workflow(database, steps=STEPS) for _ in range(2)]
    other = await long_runs.add_workflow(database, steps=STEPS, differs_from=STEPS // 2)
    found = await read(either, f"{path_of(one)}/diff/{ids.text(ids.RUN, alike)}")
    assert found["identical"] is True
    found = await read(either, f"{path_of(one)}/diff/{ids.text(ids.RUN, other)}")
    divergence = found["divergence"]
    assert (divergence["name"], divergence["differs"]) == ("fetch", ["output"])
    assert divergence["this"]["seq"] == divergence["other"]["seq"] >= STEPS // 2
    first, second = [await long_runs.add_conversation(database, steps=STEPS) for _ in range(2)]
    found = await read(either, f"{path_of(first)}/diff/{ids.text(ids.RUN, second)}")
    assert (found["identical"], found["messages"]["same"]) == (True, STEPS + 1)
    found = await read(either, f"{path_of(first)}/diff/{ids.text(ids.RUN, second)}?at=1001&other_at=1000")
    assert (found["divergence"]["differs"], found["messages"]["same"]) == (["missing"], 1_001)


async def test_a_long_run_is_folded_outside_the_event_loop(either: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = [await long_runs.add_workflow(either.house.database, steps=400) for _ in range(2)]
    threads: list[int] = []

    def noting(module: Any, name: str) -> None:
        work = getattr(module, name)

        def noted(*args: Any) -> Any:
            threads.append(threading.get_ident())
            return work(*args)

        monkeypatch.setattr(module, name, noted)

    noting(moments, "at")
    noting(moments, "by_name")
    noting(diffs, "calls")
    await read(either, f"{path_of(one)}/state")
    await read(either, f"{path_of(one)}/diff/{ids.text(ids.RUN, two)}")
    assert len(threads) == 5
    assert threading.get_ident() not in threads
