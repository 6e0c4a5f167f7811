"""What lists of runs leave out: a page is bounded, however large inputs and outputs are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.domain import limits
from tests.web.serving import Server

LARGE = "w" * 200_000


async def rows(server: Server, path: str, **query: Any) -> list[dict[str, Any]]:
    response = await server.http.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()["data"]


async def test_a_list_leaves_large_inputs_and_outputs_out_and_says_so(either: Server) -> None:
    small = await either.start("echo", "small", wait=30)
    large = await either.start("echo", LARGE, wait=30)
    middling = await either.start("echo", "m" * 10_000, wait=30)
    assert (large["output"], large["input_cut"], large["output_cut"]) == (LARGE, None, None)
    listed = {run["id"]: run for run in await rows(either, "/v1/runs")}
    cut = {"bytes": len(LARGE) + 2, "preview": "w" * (limits.PREVIEW_CHARS_MAX - 1) + "…"}
    for name in ("input", "output"):
        assert (listed[large["id"]][name], listed[large["id"]][f"{name}_cut"]) == (None, cut)
        assert (listed[middling["id"]][name], listed[middling["id"]][f"{name}_cut"]["bytes"]) == (None, 10_002)
        assert (listed[small["id"]][name], listed[small["id"]][f"{name}_cut"]) == ("small", None)
    asked = {run["id"]: run for run in await rows(either, "/v1/runs", bytes_max=limits.LISTED_BYTES_MAX)}
    assert (asked[middling["id"]]["input"], asked[middling["id"]]["input_cut"]) == ("m" * 10_000, None)
    assert asked[large["id"]]["output_cut"] == cut
    too_much = await either.http.get("/v1/runs", params={"bytes_max": limits.LISTED_BYTES_MAX + 1})
    assert too_much.status_code == 422


async def test_a_run_alone_is_whole_unless_it_is_asked_otherwise(either: Server) -> None:
    run = await either.start("echo", LARGE, wait=30)
    whole = (await either.http.get(f"/v1/runs/{run['id']}")).json()
    assert (whole["input"], whole["output"], whole["input_cut"]) == (LARGE, LARGE, None)
    cut = (await either.http.get(f"/v1/runs/{run['id']}", params={"bytes_max": 1_024})).json()
    (listed,) = await rows(either, "/v1/runs")
    assert cut == listed
    exact = (await either.http.get(f"/v1/runs/{run['id']}", params={"bytes_max": len(LARGE) + 2})).json()
    assert exact == whole


async def test_a_messages_text_is_previewed_and_measured(either: Server) -> None:
    run = await either.start("plain", "say " + "z" * 6_000, wait=30)
    (listed,) = await rows(either, "/v1/runs")
    assert listed["input_cut"]["preview"].startswith("say zzz")
    whole = (await either.http.get(f"/v1/runs/{run['id']}")).json()
    if listed["output_cut"] is None:
        assert listed["output"] == whole["output"]
    else:
        assert listed["output_cut"]["preview"] == whole["output"][: limits.PREVIEW_CHARS_MAX - 1] + "…"


@pytest.mark.parametrize("path", ["/v1/runs/{id}/forks", "/v1/threads/{thread_id}/runs", "/v1/runs/{id}/children"])
async def test_every_list_of_runs_is_bounded(server: Server, path: str) -> None:
    run = await server.start("echo", LARGE, wait=30)
    await server.http.post(f"/v1/runs/{run['id']}/fork", json={"at": 0}, params={"wait": 30})
    found = await rows(server, path.format(**run))
    assert all(one["input_cut"] is not None for one in found)
    assert bool(found) == ("children" not in path)


async def test_a_page_of_runs_has_a_size_that_inputs_cannot_raise(server: Server) -> None:
    await asyncio.gather(*(server.start("echo", LARGE, wait=30) for _ in range(20)))
    answer = await server.http.get("/v1/runs", params={"limit": 20})
    assert len(answer.json()["data"]) == 20
    assert len(answer.content) < 20 * 4_000
