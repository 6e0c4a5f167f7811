"""Event streams: every durable event once and in order, on any process, from any cursor on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message

from holdfast.bus.base import Delta
from holdfast.domain import ids, limits
from holdfast.domain.ids import RunId, ThreadId
from holdfast.web import sse
from holdfast.web.sse import EventStream
from tests.web.serving import Server, parsed, serving, until


def kinds(events: list[Any]) -> list[str]:
    return [event.type for event in events]


async def test_a_finished_run_is_told_from_the_beginning_and_the_stream_ends(either: Server) -> None:
    run = await either.start("chat", "A lamp.", wait=30)
    events = await either.events(f"/v1/runs/{run['id']}/events")
    assert kinds(events) == [
        "run.queued",
        "run.started",
        "message.completed",
        "tool.completed",
        "message.completed",
        "tool.started",
        "tool.completed",
        "message.completed",
        "run.succeeded",
    ]
    assert [event.id for event in events] == [str(n) for n in range(1, 10)]
    assert events[0].data["data"] == {"input": "A lamp."}
    assert events[3].data["data"]["result"] == "lamp is in stock"
    assert events[-1].data["data"] == {"output": "A lamp is yours."}
    assert {event.data["thread_id"] for event in events} == {run["thread_id"]}


async def test_a_live_stream_and_a_replay_tell_the_same(either: Server) -> None:
    body = {"agent": "chat", "input": "A lamp."}
    async with either.http.stream("POST", "/v1/runs", json=body, headers={"Accept": "text/event-stream"}) as response:
        assert response.status_code == 201
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        live = [event async for event in parsed(response)]
        where = response.headers["location"]
    assert live[0].type == "run.queued"
    replayed = await either.events(f"{where}/events")
    assert [e for e in live if e.id is not None] == replayed


async def test_deltas_come_between_the_start_and_the_end_of_their_message(server: Server) -> None:
    body = {"agent": "plain", "input": "Hi."}
    async with server.http.stream("POST", "/v1/runs", json=body, headers={"Accept": "text/event-stream"}) as response:
        told = parsed(response)
        events = await until(told, "message.started")
        server.desk.gate("model: Hi.").set()
        events += [event async for event in told]
    names = kinds(events)
    deltas = [event for event in events if event.type == "message.delta"]
    assert deltas, names
    assert "".join(event.data["data"]["text"] for event in deltas) == "Hello, you."
    assert [event.data["data"]["piece"] for event in deltas] == list(range(len(deltas)))
    assert all(event.id is None and event.data["pos"] is None for event in deltas)
    places = [n for n, name in enumerate(names) if name == "message.delta"]
    assert names.index("message.started") < places[0]
    assert places[-1] < names.index("message.completed")
    completed = events[names.index("message.completed")].data["data"]
    assert {event.data["data"]["message_id"] for event in deltas} == {completed["message_id"]}


@pytest.mark.parametrize("how", ["header", "parameter"])
async def test_a_stream_resumes_behind_every_cursor(server: Server, how: str) -> None:
    run = await server.start("many", 4, wait=30)
    path = f"/v1/runs/{run['id']}/events"
    everything = await server.events(path)
    for n in range(len(everything) + 1):
        request: dict[str, Any] = (
            {"headers": {"Last-Event-ID": str(n)}} if how == "header" else {"params": {"after": n}}
        )
        assert await server.events(path, **request) == everything[n:]


async def test_a_reader_that_comes_in_the_middle_sees_the_past_and_then_what_happens(either: Server) -> None:
    run = await either.start("gated", "g")
    await either.desk.reached("g").wait()
    async with either.http.stream("GET", f"/v1/runs/{run['id']}/events") as response:
        events = parsed(response)
        past = await until(events, "custom")
        either.desk.gate("g").set()
        rest = await until(events, "run.succeeded")
    assert kinds(past) == ["run.queued", "run.started", "custom"]
    assert past[-1].data["data"] == {"name": "begun", "data": {"name": "g"}}
    durable = [event for event in [*past, *rest] if event.id is not None]
    assert [event.id for event in durable] == [str(n) for n in range(1, len(durable) + 1)]


async def test_many_events_are_told_without_a_gap_to_a_reader_that_comes_while_they_happen(either: Server) -> None:
    count = limits.STREAM_REPLAY_ROWS + 200
    run = await either.start("many", count)
    events = await either.events(f"/v1/runs/{run['id']}/events")
    durable = [event for event in events if event.id is not None]
    assert [event.id for event in durable] == [str(n) for n in range(1, count + 4)]
    assert [event.data["data"]["data"] for event in durable if event.type == "custom"] == list(range(count))


async def test_a_reader_whose_buffer_overflowed_misses_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_BUFFER_EVENTS", 2)
    run = await server.start("many", 300)
    events = await server.events(f"/v1/runs/{run['id']}/events")
    assert [event.id for event in events if event.id is not None] == [str(n) for n in range(1, 304)]


async def test_another_process_tells_the_same_stream(database_url: str) -> None:
    async with serving(database_url) as worker, serving(database_url, execute=False) as front:
        run = await worker.start("gated", "g")
        await worker.desk.reached("g").wait()
        async with front.http.stream("GET", f"/v1/runs/{run['id']}/events") as response:
            events = parsed(response)
            past = await until(events, "custom")
            worker.desk.gate("g").set()
            rest = await until(events, "run.succeeded")
        durable = [event for event in [*past, *rest] if event.id is not None]
        assert durable == await worker.events(f"/v1/runs/{run['id']}/events")


async def test_a_retried_run_goes_on_past_its_earlier_end(server: Server) -> None:
    run = await server.start("broken", wait=30)
    path = f"/v1/runs/{run['id']}/events"
    first = await server.events(path)
    assert first[-1].type == "run.failed"
    assert first[-1].data["data"]["error"]["code"] == "step_failed"
    server.desk.broken = False
    await server.http.post(f"/v1/runs/{run['id']}/retry")
    more = await server.events(path, headers={"Last-Event-ID": first[-1].id})
    assert kinds([e for e in more if e.id is not None]) == [
        "run.retried",
        "run.resumed",
        "step.completed",
        "run.succeeded",
    ]
    assert more[0].data["data"] == {"voids": [{"key": "bad#1", "attempt": 1}]}
    assert await server.events(path) == [*first, *(e for e in more if e.id is not None)]


async def test_until_waiting_ends_the_stream_when_the_run_waits(server: Server) -> None:
    run = await server.start("sleepy", wait=30)
    path = f"/v1/runs/{run['id']}/events"
    async with asyncio.timeout(20):
        events = await server.events(path, params={"until": "waiting"})
        again = await server.events(path, params={"until": "waiting", "after": events[-1].id})
    assert kinds(events) == ["run.queued", "run.started", "step.opened", "run.waiting"]
    assert events[-1].data["data"]["waiting_on"][0]["type"] == "timer"
    assert again == []


async def test_a_stream_that_was_opened_before_a_run_waits_ends_there_too(server: Server) -> None:
    body = {"agent": "sleepy", "input": None}
    async with server.http.stream("POST", "/v1/runs", json=body, headers={"Accept": "text/event-stream"}) as response:
        await until(parsed(response), "run.waiting")
        run_id = response.headers["location"].rpartition("/")[2]
        async with server.http.stream("GET", f"/v1/runs/{run_id}/events?until=waiting") as second:
            seen = [event async for event in parsed(second)]
    assert seen[-1].type == "run.waiting"


@pytest.mark.parametrize("cursor", ["5", "99", "-1", "x", "1.5", "", "1" * 30])
async def test_an_unknown_cursor_is_refused(server: Server, cursor: str) -> None:
    run = await server.start("echo", 1, wait=30)
    path = f"/v1/runs/{run['id']}/events"
    assert len(await server.events(path)) == 3
    for request in ({"headers": {"Last-Event-ID": cursor}}, {"params": {"after": cursor}}):
        response = await server.http.get(path, **request)
        assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")


async def test_on_disconnect_cancel_stops_the_run_of_a_stream_that_breaks(server: Server) -> None:
    body = {"agent": "gated", "input": "g", "on_disconnect": "cancel"}
    async with server.http.stream("POST", "/v1/runs", json=body, headers={"Accept": "text/event-stream"}) as response:
        run_id = response.headers["location"].rpartition("/")[2]
        await until(parsed(response), "custom")
    done = await server.settled(run_id)
    assert (done["status"], done["cancel_reason"]) == ("cancelled", "the client went away")


async def test_a_run_goes_on_when_its_stream_breaks(server: Server) -> None:
    body = {"agent": "gated", "input": "g"}
    async with server.http.stream("POST", "/v1/runs", json=body, headers={"Accept": "text/event-stream"}) as response:
        run_id = response.headers["location"].rpartition("/")[2]
        await until(parsed(response), "custom")
    server.desk.gate("g").set()
    assert (await server.settled(run_id))["status"] == "succeeded"


async def test_a_stream_that_is_left_leaves_nothing_behind(server: Server) -> None:
    run = await server.start("gated", "g")
    run_id = RunId(ids.parse(ids.RUN, run["id"]))
    async with server.http.stream("GET", f"/v1/runs/{run['id']}/events") as response:
        await until(parsed(response), "custom")
        assert server.house.hub.listened(run_id, ThreadId(b"none"))
    async with asyncio.timeout(10):
        while server.house.hub.listened(run_id, ThreadId(b"none")):
            await asyncio.sleep(0)


async def test_deltas_of_a_completed_message_are_dropped(server: Server) -> None:
    run = await server.start("gated", "g")
    await server.desk.reached("g").wait()
    run_id, thread_id = RunId(ids.parse(ids.RUN, run["id"])), ThreadId(ids.parse(ids.THREAD, run["thread_id"]))
    server.desk.gate("model: Hi.").set()
    chat = await server.start("plain", "Hi.", wait=30)
    (completed,) = [e for e in await server.events(f"/v1/runs/{chat['id']}/events") if e.type == "message.completed"]
    late = Delta(
        RunId(ids.parse(ids.RUN, chat["id"])),
        "message.delta",
        {"message_id": completed.data["data"]["message_id"], "part": 0, "kind": "text", "text": "late"},
        0,
    )
    fresh = Delta(run_id, "message.delta", {"message_id": "msg_new", "part": 0, "kind": "text", "text": "fresh"}, 0)
    seen: list[Any] = []
    async with server.http.stream("GET", f"/v1/threads/{chat['thread_id']}/events") as old:
        events = parsed(old)
        await until(events, "run.succeeded")
        server.house.hub.delta(ThreadId(ids.parse(ids.THREAD, chat["thread_id"])), late)
        await server.start("echo", 1, thread_id=chat["thread_id"], wait=30)
        seen = await until(events, "run.succeeded")
    assert "message.delta" not in kinds(seen)
    async with server.http.stream("GET", f"/v1/runs/{run['id']}/events") as response:
        events = parsed(response)
        await until(events, "custom")
        server.house.hub.delta(thread_id, fresh)
        assert (await until(events, "message.delta"))[-1].data["data"]["text"] == "fresh"


HEAD_AND_BODY = ["http.response.start", *["http.response.body"] * 4]


class Told:
    """A source of numbers, then of a failure; it knows whether it was closed."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure, self.closed = failure, False

    async def __aiter__(self) -> AsyncIterator[int]:
        for n in range(3):
            yield n
        if self.failure is not None:
            raise self.failure
        await asyncio.Event().wait()

    def close(self) -> None:
        self.closed = True


async def streamed(source: Told, *, sent_max: int) -> list[str]:
    """Stream to a client whom the server reports gone as ASGI 2.4 has it: `send` fails. What was done about it."""
    done: list[str] = []

    async def send(message: Message) -> None:
        if len(done) >= sent_max:
            raise BrokenPipeError("the client is gone")
        done.append(message["type"])

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    async def allowed() -> bool:
        return True

    async def gone() -> None:
        done.append("gone")

    stream = EventStream(source, lambda n: sse.encoded("n", b"%d" % n), allowed=allowed, on_gone=gone)
    async with asyncio.timeout(20):
        await stream({"type": "http"}, receive, send)
    return done


@pytest.mark.parametrize("sent_max", [0, 1, 3])
async def test_a_client_that_a_send_finds_gone_has_gone(sent_max: int) -> None:
    source = Told()
    assert await streamed(source, sent_max=sent_max) == [*HEAD_AND_BODY[:sent_max], "gone"]
    assert source.closed


async def test_an_os_error_of_the_source_is_no_disconnect() -> None:
    source = Told(OSError("the disk is gone"))
    with pytest.raises(OSError, match="the disk is gone"):
        await streamed(source, sent_max=99)
    assert source.closed


# -- threads --------------------------------------------------------------------------------------------------------


async def test_a_threads_runs_are_one_stream_that_stays_open_and_resumes(either: Server) -> None:
    first = await either.start("echo", 1, wait=30)
    second = await either.start("echo", 2, thread_id=first["thread_id"], wait=30)
    path = f"/v1/threads/{first['thread_id']}/events"
    async with either.http.stream("GET", path) as response:
        events = parsed(response)
        seen = [*await until(events, "run.succeeded"), *await until(events, "run.succeeded")]
        third = await either.start("echo", 3, thread_id=first["thread_id"])
        seen += await until(events, "run.succeeded")
    assert [event.id for event in seen] == [f"{n}.{pos}" for n in (1, 2, 3) for pos in (1, 2, 3)]
    assert [event.data["run_id"] for event in seen[::3]] == [first["id"], second["id"], third["id"]]
    for n, cursor in enumerate([None, *(event.id for event in seen[:-1])]):
        headers = {} if cursor is None else {"Last-Event-ID": cursor}
        async with either.http.stream("GET", path, headers=headers) as response:
            events = parsed(response)
            async with asyncio.timeout(20):
                again = [await anext(events) for _ in seen[n:]]
        assert again == seen[n:]


async def test_a_threads_stream_shows_deltas_of_the_run_that_is_at_work(server: Server) -> None:
    first = await server.start("echo", 1, wait=30)
    async with server.http.stream("GET", f"/v1/threads/{first['thread_id']}/events") as response:
        events = parsed(response)
        await until(events, "run.succeeded")
        await server.start("plain", "Hi.", thread_id=first["thread_id"])
        seen = await until(events, "message.started")
        server.desk.gate("model: Hi.").set()
        seen += await until(events, "run.succeeded")
    assert "".join(e.data["data"]["text"] for e in seen if e.type == "message.delta") == "Hello, you."
    assert kinds([e for e in seen if e.id is not None])[-2:] == ["message.completed", "run.succeeded"]


@pytest.mark.parametrize("cursor", ["1", "1.4", "2.1", "0.1", "x.y", "1.-1", ""])
async def test_an_unknown_cursor_of_a_thread_is_refused(server: Server, cursor: str) -> None:
    run = await server.start("echo", 1, wait=30)
    response = await server.http.get(f"/v1/threads/{run['thread_id']}/events", headers={"Last-Event-ID": cursor})
    assert (response.status_code, response.json()["code"]) == (400, "bad_cursor")


async def test_a_threads_stream_ends_when_the_thread_is_deleted(server: Server) -> None:
    run = await server.start("echo", 1, wait=30)
    path = f"/v1/threads/{run['thread_id']}"
    async with server.http.stream("GET", f"{path}/events") as response:
        events = parsed(response)
        await until(events, "run.succeeded")
        assert (await server.http.delete(path)).status_code == 204
        async with asyncio.timeout(20):
            assert [event async for event in events] == []


# -- changes, and what all streams share ----------------------------------------------------------------------------


async def test_changes_hint_at_what_happened(server: Server) -> None:
    async with server.http.stream("GET", "/v1/changes") as response:
        assert response.status_code == 200
        events = parsed(response)
        await opened(response)
        run = await server.start("echo", 1, wait=30)
        thread = (await server.http.post("/v1/threads", json={})).json()
        seen: list[dict[str, Any]] = []
        async with asyncio.timeout(20):
            while {"kind": "thread", "id": thread["id"], "status": "idle"} not in seen:
                event = await anext(events)
                assert (event.id, event.type) == (None, "change")
                seen.append(event.data)
    assert {"kind": "run", "id": run["id"], "status": "running"} in seen
    assert {"kind": "run", "id": run["id"], "status": "succeeded"} in seen


async def opened(response: httpx.Response) -> None:
    """The subscription exists once the head has been sent and the server has had a turn."""
    assert response.headers["content-type"].startswith("text/event-stream")
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_quiet_stream_shows_that_it_is_alive(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STREAM_PING_S", 0)
    monkeypatch.setattr(limits, "POLL_MS", 10)
    run = await server.start("sleepy", wait=30)
    async with server.http.stream("GET", f"/v1/runs/{run['id']}/events") as response:
        pings = 0
        async with asyncio.timeout(20):
            async for line in response.aiter_lines():
                pings += line == ": ping"
                if pings == 3:
                    break


async def test_a_revoked_key_ends_the_streams_it_opened(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "POLL_MS", 10)
    monkeypatch.setattr(sse, "RECHECK_S", 0.0)
    from tests.web.serving import ADMIN

    made = await server.auth.create_key(ADMIN, "stream")
    headers = {"Authorization": f"Bearer {made.token}"}
    async with server.http.stream("GET", "/v1/changes", headers=headers) as response:
        await server.auth.revoke_key(ADMIN, made.key.id)
        async with asyncio.timeout(20):
            async for _ in response.aiter_lines():
                pass
