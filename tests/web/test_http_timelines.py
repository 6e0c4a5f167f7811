"""A run from further away: its steps in time as columns, the tree of forks, and how things stand."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from holdfast.domain import limits
from tests.web.serving import ADMIN, Server, outsider


async def timeline(server: Server, run_id: str, **query: Any) -> dict[str, Any]:
    response = await server.http.get(f"/v1/runs/{run_id}/timeline", params=query)
    assert response.status_code == 200, response.text
    return response.json()


def rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns as rows, with words for places."""
    steps, words = found["steps"], found["words"]
    assert len({len(column) for column in steps.values()}) == 1, "columns are of one length"
    told: list[dict[str, Any]] = []
    for n in range(len(steps["seq"])):
        told.append({name: words[name][c[n]] if name in words else c[n] for name, c in steps.items()})
    return told


async def test_a_timeline_tells_of_every_step_what_its_row_tells(either: Server) -> None:
    run = await either.start("chat", "A lamp.", wait=30)
    found = await timeline(either, run["id"])
    listed = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    told = rows(found)
    same = ("seq", "key", "kind", "name", "status", "attempt", "tries", "child_run_id")
    assert [{name: row[name] for name in same} for row in told] == [{n: s[n] for n in same} for s in listed]
    assert [row["effect_status"] for row in told] == [s["effect"] and s["effect"]["status"] for s in listed]
    assert [row["input_tokens"] for row in told] == [
        (s["usage"] or {"input_tokens": 0})["input_tokens"] for s in listed
    ]
    assert all(0 <= row["started_at"] <= row["ended_at"] <= found["now"] for row in told)
    assert (found["last"], found["more"], found["inherited_to"], found["open"]) == (5, False, 0, [])
    assert found["status"] == "succeeded"
    assert [wait["type"] for wait in found["waits"]] == ["queued"]
    assert found["waits"][0]["to"] is not None


async def test_a_timeline_comes_in_parts_that_make_the_whole(either: Server) -> None:
    run = await either.start("chat", "A lamp.", wait=30)
    whole = rows(await timeline(either, run["id"]))
    parts: list[dict[str, Any]] = []
    after, more = 0, True
    while more:
        found = await timeline(either, run["id"], after=after, limit=2)
        parts += rows(found)
        after, more = found["last"], found["more"]
    assert parts == whole
    beyond = await timeline(either, run["id"], after=99)
    assert (rows(beyond), beyond["last"], beyond["more"]) == ([], 99, False)


async def test_what_a_run_is_in_the_midst_of_is_open(either: Server) -> None:
    run, asked = await either.asked("asker", {})
    found = await timeline(either, run["id"])
    (question,) = [one for one in found["open"] if one["kind"] == "interrupt"]
    assert question["approval_id"] == asked["id"]
    assert question["key"] == asked["step"]
    assert 0 <= question["since"] <= found["now"]
    (wait,) = [wait for wait in found["waits"] if wait["to"] is None]
    assert (wait["type"], wait["key"], wait["others"]) == ("ask", asked["step"], 0)
    after = found["last"]
    again = await timeline(either, run["id"], after=after)
    assert wait in again["waits"], "a pause that lasts is told again"
    await either.resolve(asked, "answer", answer=1)
    await either.settled(run["id"])
    new = await timeline(either, run["id"], after=after)
    assert new["open"] == []
    assert new["waits"][-1]["from"] == wait["from"]
    assert new["waits"][-1]["to"] is not None
    assert rows(new)[0]["kind"] == "interrupt"


async def test_a_step_links_to_its_approval_and_its_child(either: Server) -> None:
    run, asked = await either.asked("asker", {})
    await either.resolve(asked, "answer", answer=1)
    await either.settled(run["id"])
    steps = (await either.http.get(f"/v1/runs/{run['id']}/steps")).json()["data"]
    assert [s["approval_id"] for s in steps if s["kind"] == "interrupt"] == [asked["id"]]
    parent = await either.start("family", wait=30)
    children = (await either.http.get(f"/v1/runs/{parent['id']}/children")).json()["data"]
    steps = (await either.http.get(f"/v1/runs/{parent['id']}/steps")).json()["data"]
    found = {s["key"]: s["child_run_id"] for s in steps if s["kind"] == "child"}
    assert found == {child["parent"]["step"]: child["id"] for child in children}
    assert {row["key"]: row["child_run_id"] for row in rows(await timeline(either, parent["id"]))} == found
    one = (await either.http.get(f"/v1/runs/{parent['id']}/steps/1")).json()
    assert one["child_run_id"] == found[one["key"]]


async def test_a_failed_step_has_its_code_and_one_that_was_declared_void_says_so(either: Server) -> None:
    run = await either.start("broken", wait=30)
    before = rows(await timeline(either, run["id"]))
    assert [(row["status"], row["error_code"]) for row in before] == [("succeeded", None), ("failed", "step_failed")]
    either.desk.broken = False
    await either.http.post(f"/v1/runs/{run['id']}/retry")
    await either.settled(run["id"])
    found = await timeline(either, run["id"])
    told = [(row["status"], row["attempt"]) for row in rows(found)]
    assert told == [("succeeded", 1), ("voided", 1), ("succeeded", 2)]
    assert [mark["type"] for mark in found["marks"]] == ["retried"]
    assert [wait["type"] for wait in found["waits"]] == ["queued", "queued"]


async def test_a_forks_timeline_begins_with_what_it_shares(either: Server) -> None:
    run = await either.start("chat", "A lamp.", wait=30)
    fork = await either.http.post(f"/v1/runs/{run['id']}/fork", json={"at": 3}, params={"wait": 30})
    found = await timeline(either, fork.json()["id"])
    shared = await timeline(either, run["id"], limit=3)
    assert found["inherited_to"] == 3
    assert found["steps"]["key"][:3] == shared["steps"]["key"]
    assert all(at < 0 for at in found["steps"]["started_at"][:3]), "before the fork was made"
    assert found["steps"]["seq"] == list(range(1, found["last"] + 1))
    assert found["marks"][0] == {"at": 0, "type": "forked"}
    part = await timeline(either, fork.json()["id"], after=2, limit=2)
    assert part["steps"]["seq"] == [3, 4]


async def test_a_timeline_of_others_is_not_there(either: Server) -> None:
    run = await either.start("echo", 1, wait=30)
    stranger = await outsider(either)
    for path in ("timeline", "family"):
        response = await either.http.get(f"/v1/runs/{run['id']}/{path}", headers=stranger.headers)
        assert response.status_code == 404
        assert response.json()["code"] == "run_not_found"


async def test_a_large_output_is_left_out_and_comes_as_a_file(either: Server) -> None:
    run = await either.start("order", {"item": "x" * 5_000, "count": 1}, wait=30)
    path = f"/v1/runs/{run['id']}/steps/1"
    whole = (await either.http.get(path)).json()
    assert (whole["output_cut"], whole["output_bytes"] > 5_000) == (False, True)
    cut = (await either.http.get(path, params={"bytes_max": 1_024})).json()
    assert (cut["output"], cut["output_cut"], cut["output_bytes"]) == (None, True, whole["output_bytes"])
    file = await either.http.get(f"{path}/output")
    assert file.json() == whole["output"]
    assert len(file.content) == whole["output_bytes"]
    assert file.headers["content-disposition"] == f'attachment; filename="{run["id"]}.1.json"'
    assert file.headers["x-content-type-options"] == "nosniff"
    assert (await either.http.get(path, params={"bytes_max": 1})).status_code == 422


async def test_a_large_prompt_is_left_out(either: Server) -> None:
    run = await either.start("chat", "A lamp. " * 500, wait=30)
    path = f"/v1/runs/{run['id']}/steps/1/prompt"
    whole = (await either.http.get(path)).json()
    assert (whole["cut"], whole["bytes"] > 4_000) == (False, True)
    cut = (await either.http.get(path, params={"bytes_max": 1_024})).json()
    assert cut == {"messages": [], "bytes": whole["bytes"], "cut": True}


# -- families ---------------------------------------------------------------------------------------------------------


async def forked(server: Server, run_id: str, **body: Any) -> str:
    response = await server.http.post(f"/v1/runs/{run_id}/fork", json=body, params={"wait": 30})
    assert response.status_code == 201, response.text
    return response.json()["id"]


async def family(server: Server, run_id: str) -> dict[str, Any]:
    response = await server.http.get(f"/v1/runs/{run_id}/family")
    assert response.status_code == 200, response.text
    return response.json()


async def test_every_run_of_a_tree_has_the_same_family_from_the_root_on(either: Server) -> None:
    root = (await either.start("chat", "A lamp.", wait=30))["id"]
    first = await forked(either, root, at=3)
    second = await forked(either, root, at=1, edits={"output": "I have no lamp."})
    third = await forked(either, first, at=1, edits={"instructions": "Be short."})
    fourth = await forked(either, third, at=0, edits={"message": "A chair."})
    alone = (await either.start("chat", "A table.", wait=30))["id"]
    found = await family(either, fourth)
    assert found["root_id"] == root
    assert [one["id"] for one in found["data"]] == [root, first, second, third, fourth]
    assert [one["edited"] for one in found["data"]] == [[], [], ["output"], ["instructions"], ["message"]]
    assert found["data"][3]["forked_from"] == {"run_id": first, "at": 1}
    assert found["data"][0]["effects"] is None
    assert found["data"][1]["effects"] == {"repeat": "reuse", "new": "ask", "reads": "execute"}
    assert not found["more"]
    for member in (root, first, second, third):
        assert await family(either, member) == found
    assert [one["id"] for one in (await family(either, alone))["data"]] == [alone]


async def test_a_family_tells_its_runs_apart_by_what_came_of_them(either: Server) -> None:
    root = (await either.start("echo", "A lamp.", wait=30))["id"]
    other = await forked(either, root, at=0, edits={"message": {"chairs": [1, 2**60]}})
    none = await forked(either, root, at=0, edits={"message": None})
    long = await forked(either, root, at=0, edits={"message": "é" * 40_000})
    wide = await forked(either, root, at=0, edits={"message": [{"n": n} for n in range(9_000)]})
    found = {one["id"]: one for one in (await family(either, root))["data"]}
    assert found[root]["output"] == "A lamp."
    assert found[other]["output"] == '{"chairs":[1,1152921504606846976]}'
    assert found[none]["output"] is None
    assert found[long]["output"] == "é" * (limits.FAMILY_OUTPUT_CHARS_MAX - 1) + "…"
    assert found[wide]["output"].startswith('[{"n":0},{"n":1},')
    assert len(found[wide]["output"]) == limits.FAMILY_OUTPUT_CHARS_MAX
    said = (await either.start("chat", "A lamp.", wait=30))["id"]
    again = await forked(either, said, at=0, edits={"message": "A chair."})
    seen = (await family(either, said))["data"]
    whole = [(await either.http.get(f"/v1/runs/{id}")).json()["output"] for id in (said, again)]
    assert [one["output"] for one in seen] == whole
    assert all(isinstance(one, str) and one for one in whole)
    assert [one["error"] for one in seen] == [None, None]
    failed = await either.start("broken", wait=30)
    (alone,) = (await family(either, failed["id"]))["data"]
    assert (alone["output"], alone["error"]["code"]) == (None, failed["error"]["code"])
    assert alone["error"]["message"] == failed["error"]["message"]


async def test_a_large_family_shows_the_run_and_where_it_comes_from(
    either: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FAMILY_RUNS_MAX", 4)
    root = (await either.start("echo", 1, wait=30))["id"]
    for _ in range(4):
        last = await forked(either, root, at=0, edits={"message": 2})
    deep = await forked(either, last, at=0, edits={"message": 3})
    found = await family(either, deep)
    assert found["more"]
    assert len(found["data"]) == 4
    assert {root, last, deep} <= {one["id"] for one in found["data"]}


# -- overview ---------------------------------------------------------------------------------------------------------


async def overview(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    response = await client.get("/v1/overview", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def test_an_overview_counts_what_there_is(either: Server) -> None:
    await either.start("chat", "A lamp.", wait=30)
    await either.start("family", wait=30)
    await either.start("broken", wait=30)
    sleepy = await either.start("sleepy", wait=30)
    await either.http.post(f"/v1/runs/{(await either.start('sleepy', wait=30))['id']}/cancel")
    run, _ = await either.asked("asker", {})
    found = await overview(either.http)
    assert found["runs"] == {"queued": 0, "running": 0, "waiting": 2}, (sleepy, run)
    since = found["since"]
    assert (since["started"], since["succeeded"], since["failed"], since["cancelled"]) == (6, 2, 1, 1)
    assert since["requests"] == 3
    assert since["input_tokens"] > 0
    assert (found["approvals_pending"], found["effects_unknown"]) == (1, 0)
    assert found["agents"] == len(either.house.agents)
    assert found["workers"] == 1
    assert (found["bucket_hours"], len(found["hours"])) == (1, 24)
    assert sum(hour["succeeded"] for hour in found["hours"]) == 2
    assert sum(hour["tokens"] for hour in found["hours"]) == since["input_tokens"] + since["output_tokens"]
    assert not found["more"]
    wide = await overview(either.http, hours=168)
    assert (wide["bucket_hours"], len(wide["hours"])) == (6, 28)
    assert sum(hour["failed"] for hour in wide["hours"]) == 1


async def test_an_overview_says_when_it_did_not_count_everything(
    either: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "OVERVIEW_RUNS_MAX", 2)
    for n in range(2):
        await either.start("echo", n, wait=30)
    assert not (await overview(either.http))["more"]
    await either.start("echo", 3, wait=30)
    found = await overview(either.http)
    assert found["more"]


async def test_an_overview_counts_nothing_that_the_credential_may_not_read(either: Server) -> None:
    await either.asked("asker", {})
    made = await either.auth.create_key(ADMIN, "reader", scopes=["runs:read"])
    response = await either.http.get("/v1/overview", headers={"Authorization": f"Bearer {made.token}"})
    assert response.status_code == 200
    assert (response.json()["approvals_pending"], response.json()["effects_unknown"]) == (None, None)


# -- threads and lists ------------------------------------------------------------------------------------------------


async def test_messages_come_newest_first_page_by_page(either: Server) -> None:
    run = await either.start("chat", "A lamp.", wait=30)
    await either.start("chat", "Another.", wait=30, thread_id=run["thread_id"])
    path = f"/v1/threads/{run['thread_id']}/messages"
    whole = (await either.http.get(path)).json()["data"]
    back: list[dict[str, Any]] = []
    cursor: str | None = None
    while cursor is not None or not back:
        page = await either.http.get(
            path, params={"order": "desc", "limit": 2, **({"cursor": cursor} if cursor else {})}
        )
        back += page.json()["data"]
        cursor = page.json()["next_cursor"]
    assert back == list(reversed(whole))


async def test_a_branchs_messages_come_newest_first_through_what_it_shares(either: Server) -> None:
    run = await either.start("chat", "A lamp.", wait=30)
    fork = await either.http.post(f"/v1/runs/{run['id']}/fork", json={"at": 3}, params={"wait": 30})
    path = f"/v1/threads/{fork.json()['thread_id']}/messages"
    whole = (await either.http.get(path)).json()["data"]
    back = (await either.http.get(path, params={"order": "desc"})).json()["data"]
    assert back == list(reversed(whole))


async def test_threads_are_found_by_title_and_agent(either: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, str] = {}
    for title, agent in (("Über Lampen", "echo"), ("Stühle", "echo"), ("ÜBERALL", "family")):
        thread = (await either.http.post("/v1/threads", json={"title": title})).json()
        made[title] = thread["id"]
        run = await either.start(agent, None, wait=30, thread_id=thread["id"])
        found = (await either.http.get(f"/v1/threads/{thread['id']}")).json()
        assert found["last_run"] == {"id": run["id"], "agent": agent, "status": "succeeded"}

    async def ids(**query: Any) -> list[str]:
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            given = {**query, **({"cursor": cursor} if cursor else {})}
            page = (await either.http.get("/v1/threads", params=given)).json()
            found += [thread["id"] for thread in page["data"]]
            cursor = page["next_cursor"]
        return found

    async def check() -> None:
        assert await ids(q="über") == [made["ÜBERALL"], made["Über Lampen"]]
        assert await ids(q="über", limit=1) == [made["ÜBERALL"], made["Über Lampen"]]
        assert await ids(agent="echo") == [made["Stühle"], made["Über Lampen"]]
        assert await ids(agent="echo", q="LAMPE") == [made["Über Lampen"]]
        assert await ids(q="nothing") == []
        assert await ids(q="%") == []

    await check()
    monkeypatch.setattr(limits, "THREADS_SEARCHED_MAX", 1)
    await check()


async def test_approvals_come_newest_first_page_by_page(either: Server) -> None:
    asked = [(await either.asked("asker", {}))[1]["id"] for _ in range(3)]
    await either.resolve({"id": asked[1]}, "answer", answer=1)
    oldest = [one["id"] for one in (await either.http.get("/v1/approvals")).json()["data"]]
    assert oldest == asked
    for query, expected in (
        ({}, asked[::-1]),
        ({"status": "pending"}, [asked[2], asked[0]]),
        ({"status": ["answered", "rejected"]}, [asked[1]]),
    ):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            given = {"order": "desc", "limit": 1, **query, **({"cursor": cursor} if cursor else {})}
            page = (await either.http.get("/v1/approvals", params=given)).json()
            found += [one["id"] for one in page["data"]]
            cursor = page["next_cursor"]
        assert found == expected


async def test_effects_are_found_by_agent(either: Server) -> None:
    await either.start("chat", "A lamp.", wait=30)
    for agent, count in (("chat", 1), ("echo", 0)):
        found = (await either.http.get("/v1/effects", params={"agent": agent, "status": "committed"})).json()
        assert len(found["data"]) == count


async def test_runs_are_found_by_what_they_are(either: Server) -> None:
    root = (await either.start("echo", 1, wait=30))["id"]
    fork = await forked(either, root, at=0, edits={"message": 2})
    broken = (await either.start("broken", wait=30))["id"]
    file = await either.http.get(f"/v1/runs/{root}/export")
    sent = await either.http.post(
        "/v1/runs/import", content=file.content, headers={"content-type": file.headers["content-type"]}
    )
    assert sent.status_code == 201, sent.text
    imported = sent.json()["data"][0]["run_id"]

    async def ids(**query: Any) -> set[str]:
        found = (await either.http.get("/v1/runs", params=query)).json()["data"]
        assert [one["id"] for one in found] == sorted((one["id"] for one in found), reverse=True)
        return {one["id"] for one in found}

    assert await ids(forked="true") == {fork}
    assert await ids(forked="false") == {root, broken, imported}
    assert await ids(imported="true") == {imported}
    assert await ids(imported="false") == {root, fork, broken}
    assert await ids(agent="echo") == {root, fork, imported}
    assert await ids(agent="echo", status="failed") == set()
    assert await ids(status=["failed", "succeeded"]) == {root, fork, broken, imported}
    view = (await either.http.get(f"/v1/runs/{imported}")).json()
    assert imported in await ids(created_before="2099-01-01T00:00:00Z")
    assert await ids(created_after="2099-01-01T00:00:00Z") == set()
    assert await ids(created_before=view["created_at"]) <= {imported, root}
    for one in (root, fork, broken):
        at = (await either.http.get(f"/v1/runs/{one}")).json()["created_at"]
        assert one not in await ids(created_after=at)
        assert one in await ids(created_after="2020-01-01T00:00:00Z")


def test_the_time_in_an_id_bounds_it() -> None:
    from holdfast.domain.determinism import SYSTEM
    from holdfast.domain.ids import first_of

    at = SYSTEM.now_ms()
    made = SYSTEM.new_id()
    assert first_of(at - 1) < made < first_of(at + 60_000)
    assert first_of(-5) == b"\x00" * 16
    assert len(first_of(2**60)) == 16


async def test_the_revision_of_a_timeline_says_that_earlier_steps_have_changed(either: Server) -> None:
    run = await either.start("broken", wait=30)
    before = await timeline(either, run["id"])
    assert (await timeline(either, run["id"], after=before["last"]))["revision"] == before["revision"]
    either.desk.broken = False
    await either.http.post(f"/v1/runs/{run['id']}/retry")
    await either.settled(run["id"])
    after = await timeline(either, run["id"], after=before["last"])
    assert [row["attempt"] for row in rows(after)] == [2], "the step that was declared void is not told again"
    assert after["revision"] != before["revision"]
    assert after["revision"] == (await timeline(either, run["id"]))["revision"]


async def test_an_effect_that_comes_to_another_end_changes_the_revision(either: Server) -> None:
    run = await either.start("couriers", {"order": "7", "amount": 500}, wait=30)
    (effect,) = (await either.http.get("/v1/effects", params={"status": "unknown", "run_id": run["id"]})).json()["data"]
    before = (await timeline(either, run["id"]))["revision"]
    await either.http.post(f"/v1/effects/{effect['id']}/resolve", json={"outcome": "committed", "result": "by hand"})
    await either.settled(run["id"])
    assert (await timeline(either, run["id"]))["revision"] != before


async def test_new_steps_alone_leave_the_revision_as_it_is(either: Server) -> None:
    run, asked = await either.asked("refunds", {"order": "7", "amount": 500})
    before = (await timeline(either, run["id"]))["revision"]
    await either.resolve(asked, "approve")
    await either.settled(run["id"])
    after = await timeline(either, run["id"])
    assert after["steps"]["seq"], "steps came, and an effect with them"
    assert after["revision"] == before


async def test_a_child_that_runs_is_linked_before_its_step_ends(either: Server) -> None:
    run, asked = await either.asked("parent")
    (child,) = (await either.http.get(f"/v1/runs/{run['id']}/children")).json()["data"]
    (open,) = [one for one in (await timeline(either, run["id"]))["open"] if one["kind"] == "child"]
    assert open["child_run_id"] == child["id"] == asked["run_id"]
    events = await either.events(f"/v1/runs/{run['id']}/events?until=waiting")
    (opened,) = [event.data["data"] for event in events if event.type == "step.opened"]
    assert (opened["kind"], opened["child_run_id"]) == ("child", child["id"])


async def test_a_childs_row_has_what_all_below_it_used(either: Server) -> None:
    run = await either.start("shop", wait=30)
    below = (await either.http.get("/v1/runs", params={"include_children": "true"})).json()["data"]
    used = sum(one["usage"]["input_tokens"] for one in below if one["id"] != run["id"])
    (row,) = [row for row in rows(await timeline(either, run["id"])) if row["kind"] == "child"]
    assert row["input_tokens"] == used > 0
    assert run["usage"]["input_tokens"] == 0, "the run itself has not paid for it"
    assert len(below) == 3
