"""The one stream of a tab: hints of every kind for who may read them, and the events of runs, over reconnects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from holdfast.bus.base import Delta
from holdfast.domain import ids, limits
from holdfast.domain.ids import DEFAULT_TENANT, RunId, ThreadId
from holdfast.service import events
from tests.web.serving import ADMIN, Event, Server, outsider, parsed, serving, until

WATCHED_S = 20


@contextlib.asynccontextmanager
async def stream(server: Server, *watch: str, **more: Any) -> AsyncIterator[AsyncIterator[Event]]:
    params = [("watch", one) for one in watch]
    async with server.http.stream("GET", "/v1/changes", params=params, **more) as response:
        assert response.status_code == 200, await response.aread()
        yield parsed(response)


async def opened(server: Server, count: int = 1) -> None:
    """Somebody listens: what happens from now on is told."""
    async with asyncio.timeout(WATCHED_S):
        while len(server.house.hub._changes.get(DEFAULT_TENANT, ())) < count:  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.005)


async def hinted(events: AsyncIterator[Event], *wanted: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """Hints until all that are wanted came."""
    seen: list[tuple[str, str, str]] = []
    async with asyncio.timeout(WATCHED_S):
        async for event in events:
            if event.type == "change":
                assert event.id is None
                seen.append((event.data["kind"], event.data["id"], event.data["status"]))
            if set(wanted) <= set(seen):
                return seen
    raise AssertionError(seen)


async def durable(server: Server, run_id: str) -> list[dict[str, Any]]:
    return [e.data for e in await server.events(f"/v1/runs/{run_id}/events") if e.id is not None]


async def test_hints_tell_a_runs_life_and_its_threads_and_questions(either: Server) -> None:
    async with stream(either) as events:
        await opened(either)
        run, asked = await either.asked("asker", {})
        await either.resolve(asked, "answer", answer=1)
        id = run["id"]
        seen = await hinted(
            events,
            ("thread", run["thread_id"], "busy"),
            ("run", id, "running"),
            ("approval", asked["id"], "pending"),
            ("approval", asked["id"], "answered"),
            ("run", id, "waiting"),
            ("run", id, "succeeded"),
        )
        assert seen.index(("approval", asked["id"], "pending")) < seen.index(("approval", asked["id"], "answered"))


async def test_hints_tell_what_becomes_of_effects_and_of_what_a_runs_end_makes_moot(either: Server) -> None:
    async with stream(either) as events:
        await opened(either)
        await either.start("chat", "A lamp.", wait=30)
        (effect,) = (await either.http.get("/v1/effects")).json()["data"]
        await hinted(events, ("effect", effect["id"], "committed"))
        either.till.courier_is_lost = True
        _, lost = await either.asked("couriers", {"order": "7", "amount": 5})
        await hinted(events, ("effect", lost["effect_id"], "unknown"), ("approval", lost["id"], "pending"))
        answer = {"outcome": "committed", "result": "sent by hand"}
        response = await either.resolve(lost, "answer", answer=answer)
        assert response.status_code == 200, response.text
        await hinted(events, ("effect", lost["effect_id"], "committed"))
        run, asked = await either.asked("asker", {})
        await either.http.post(f"/v1/runs/{run['id']}/cancel")
        await hinted(events, ("approval", asked["id"], "cancelled"), ("run", run["id"], "cancelled"))


async def test_hints_tell_of_threads_and_agents(either: Server) -> None:
    async with stream(either) as events:
        await opened(either)
        thread = (await either.http.post("/v1/threads", json={"title": "One"})).json()["id"]
        await either.http.patch(f"/v1/threads/{thread}", json={"title": "Two"})
        await either.http.delete(f"/v1/threads/{thread}")
        await either.http.put("/v1/agents/echo/enabled", json={"enabled": False})
        await either.http.put("/v1/agents/echo/enabled", json={"enabled": True})
        seen = await hinted(events, ("thread", thread, "deleted"), ("agent", "echo", "enabled"))
        assert seen.count(("thread", thread, "idle")) == 2


async def test_a_parent_that_waited_is_told_of_when_its_child_ends(either: Server) -> None:
    async with stream(either) as events:
        await opened(either)
        run = await either.start("parent", wait=30)
        assert run["status"] == "waiting"
        (asked,) = await either.pending(run["id"])
        await hinted(events, ("run", run["id"], "waiting"), ("approval", asked["id"], "pending"))
        response = await either.http.post(f"/v1/runs/{asked['run_id']}/cancel")
        assert response.status_code == 200 or response.status_code == 202, response.text
        await hinted(events, ("run", asked["run_id"], "cancelled"), ("run", run["id"], "queued"))


async def test_only_what_a_credential_may_read_is_hinted_at(either: Server) -> None:
    made = await either.auth.create_key(ADMIN, "reader", scopes=["runs:read", "agents:read"])
    headers = {"Authorization": f"Bearer {made.token}"}
    admin = {"Authorization": f"Bearer {(await either.auth.create_key(ADMIN, 'admin')).token}"}
    async with stream(either, headers=headers) as events:
        await opened(either)
        run = await either.start_as(admin, "asker", {})
        (asked,) = await either.pending(run["id"], admin)
        await either.resolve(asked, "answer", answer=1, headers=admin)
        seen = await hinted(events, ("run", run["id"], "succeeded"))
        assert {kind for kind, _, _ in seen} == {"run"}


async def test_who_missed_hints_is_told_so(either: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CHANGES_BUFFER", 2)
    async with stream(either) as events:
        await opened(either)
        for n in range(5):
            either.house.changed(DEFAULT_TENANT, "run", f"run_{n}", "queued")
        told = await until(events, "change")
        assert [event.type for event in told] == ["resync", "change"]
        assert told[-1].data["id"] == "run_3", "the newest are told"
        either.house.hub.changes_lost()
        assert (await until(events, "resync"))[-1].data == {}


# -- the events of runs -----------------------------------------------------------------------------------------------


async def test_a_watched_run_is_told_as_its_own_stream_tells_it_and_the_stream_stays_open(either: Server) -> None:
    first = await either.start("gated", "g")
    run = await either.start("plain", "Hi.", thread_id=first["thread_id"])
    async with stream(either, run["id"]) as events:
        told = await until(events, "run.queued")
        either.desk.gate("g").set()
        told += await until(events, "message.started")
        either.desk.gate("model: Hi.").set()
        told += await until(events, "run.succeeded")
        deltas = [event for event in told if event.type == "message.delta"]
        assert "".join(event.data["data"]["text"] for event in deltas) == "Hello, you."
        assert all(event.id is None for event in deltas)
        runs = [event for event in told if event.id is not None]
        assert [event.data for event in runs] == await durable(either, run["id"])
        assert [event.id for event in runs] == [str(event.data["pos"]) for event in runs]
        other = await either.start("echo", 1, wait=30)
        await hinted(events, ("run", other["id"], "succeeded"))


async def test_a_watched_run_that_failed_is_told_on_when_it_is_retried(either: Server) -> None:
    run = await either.start("broken", wait=30)
    async with stream(either, run["id"]) as events:
        told = await until(events, "run.failed")
        either.desk.broken = False
        await either.http.post(f"/v1/runs/{run['id']}/retry")
        told += await until(events, "run.succeeded")
    assert [e.data for e in told if e.id is not None] == await durable(either, run["id"])


async def test_watched_runs_resume_behind_every_event_and_nothing_is_lost_or_repeated(either: Server) -> None:
    made = [await either.start("many", 3, wait=30) for _ in range(3)]
    named = [run["id"] for run in made]
    everything = {run_id: await durable(either, run_id) for run_id in named}
    count = sum(len(events) for events in everything.values())
    seen: list[dict[str, Any]] = []
    last: str | None = None
    while len(seen) < count:  # one event of each connection
        headers = {} if last is None else {"Last-Event-ID": last}
        async with stream(either, *named, headers=headers) as events:
            async with asyncio.timeout(WATCHED_S):
                async for event in events:
                    if event.id is not None:
                        seen.append(event.data)
                        last = event.id
                        break
    assert {run_id: [e for e in seen if e["run_id"] == run_id] for run_id in named} == everything
    assert last == ",".join(f"{run_id}:{len(everything[run_id])}" for run_id in named)


@pytest.mark.parametrize("watched", [1, 2])
async def test_reconnects_under_way_lose_and_repeat_nothing(either: Server, watched: int) -> None:
    made = [await either.start("many", 150) for _ in range(watched)]
    named = [run["id"] for run in made]
    await reconnecting(either, either, named)


async def reconnecting(server: Server, worker: Server, named: list[str]) -> None:
    """Follow runs over a connection that breaks after every few events, until all have ended."""
    seen: list[dict[str, Any]] = []
    last: str | None = None
    ended: set[str] = set()
    while len(ended) < len(named):
        headers = {} if last is None else {"Last-Event-ID": last}
        async with stream(server, *named, headers=headers) as events, asyncio.timeout(WATCHED_S):
            left = 17
            async for event in events:
                if event.id is None:
                    continue
                seen.append(event.data)
                last, left = event.id, left - 1
                if event.type == "run.succeeded":
                    ended.add(event.data["run_id"])
                if left == 0 or len(ended) == len(named):
                    break
    for run_id in named:
        assert [e for e in seen if e["run_id"] == run_id] == await durable(worker, run_id)


async def test_another_process_tells_watched_runs_with_nothing_lost_or_repeated(database_url: str) -> None:
    async with serving(database_url) as worker, serving(database_url, execute=False) as front:
        made = [await worker.start("many", 150) for _ in range(2)]
        await reconnecting(front, worker, [run["id"] for run in made])


async def test_pieces_of_messages_and_hints_cross_processes(postgres_url: str) -> None:
    async with serving(postgres_url) as worker, serving(postgres_url, execute=False) as front:
        run = await worker.start("plain", "Hi.", start_after="2099-01-01T00:00:00Z")
        async with stream(front, run["id"]) as events:
            await opened(front)
            other, asked = await worker.asked("asker", {})
            await hinted(
                events,
                ("run", other["id"], "waiting"),
                ("thread", other["thread_id"], "busy"),
                ("approval", asked["id"], "pending"),
            )
        live = await worker.start("gated", "g")
        second = await worker.start("plain", "Ho.", thread_id=live["thread_id"])
        async with stream(front, second["id"]) as talk:
            await until(talk, "run.queued")
            await worker.desk.reached("g").wait()
            async with asyncio.timeout(WATCHED_S):
                while not worker.house.hub.listened(ids.RunId(ids.parse(ids.RUN, second["id"])), ids.ThreadId(b"")):
                    await asyncio.sleep(0.01)
            worker.desk.gate("g").set()
            told = await until(talk, "message.started")
            worker.desk.gate("model: Ho.").set()
            told += await until(talk, "run.succeeded")
    assert "".join(e.data["data"]["text"] for e in told if e.type == "message.delta") == "Hello, you."


async def test_a_place_in_watch_is_where_it_goes_on_and_the_last_id_wins(either: Server) -> None:
    run = await either.start("many", 3, wait=30)
    events = await durable(either, run["id"])
    async with stream(either, f"{run['id']}:2") as told:
        assert (await until(told, "run.succeeded"))[0].data == events[2]
    for last in ("4", f"{run['id']}:4"):
        async with stream(either, f"{run['id']}:2", headers={"Last-Event-ID": last}) as told:
            assert (await until(told, "run.succeeded"))[0].data == events[4]


async def test_what_cannot_be_watched_is_refused_before_the_stream(either: Server) -> None:
    run = await either.start("echo", 1, wait=30)
    unknown = ids.text(ids.RUN, b"x" * 16)
    cases: list[tuple[dict[str, Any], dict[str, str], int, str]] = [
        ({"watch": unknown}, {}, 404, "run_not_found"),
        ({"watch": "nonsense"}, {}, 404, "run_not_found"),
        ({"watch": f"{run['id']}:999"}, {}, 400, "bad_cursor"),
        ({"watch": f"{run['id']}:x"}, {}, 400, "bad_cursor"),
        ({"watch": run["id"]}, {"Last-Event-ID": "999"}, 400, "bad_cursor"),
        ({"watch": run["id"]}, {"Last-Event-ID": f"{unknown}:1"}, 400, "bad_cursor"),
        ({"watch": [run["id"]] * (limits.WATCHED_RUNS_MAX + 1)}, {}, 422, "invalid_request"),
    ]
    for params, headers, status, code in cases:
        response: httpx.Response = await either.http.get("/v1/changes", params=params, headers=headers)
        assert (response.status_code, response.json()["code"]) == (status, code), params
    stranger = await outsider(either)
    response = await either.http.get("/v1/changes", params={"watch": run["id"]}, headers=stranger.headers)
    assert response.json()["code"] == "run_not_found"
    hub = either.house.hub
    assert not hub._changes, "nothing is left that listens"  # pyright: ignore[reportPrivateUsage]
    assert not hub._runs  # pyright: ignore[reportPrivateUsage]


async def test_a_quiet_stream_shows_that_it_is_alive(either: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_PING_S", 0.5)
    monkeypatch.setattr(limits, "POLL_MS", 50)
    async with either.http.stream("GET", "/v1/changes") as response, asyncio.timeout(WATCHED_S):
        async for line in response.aiter_lines():
            if line == ": ping":
                return


async def test_who_comes_in_the_middle_of_a_message_hears_first_what_led_to_it(either: Server) -> None:
    """Pieces that arrive before the first look at the store do not stand in its way."""
    run = await either.start("echo", 1, wait=30)
    run_id = RunId(ids.parse(ids.RUN, run["id"]))
    follower = await events.of_run(either.house, ADMIN, run_id, 0)
    try:
        thread_id = ThreadId(ids.parse(ids.THREAD, run["thread_id"]))
        either.house.hub.delta(thread_id, Delta(run_id, "message.delta", {"message_id": "msg_x", "text": "…"}, 1))
        told = [event.pos async for event in follower.told(polled=True)]
    finally:
        follower.close()
    assert told[:2] == [1, 2]
