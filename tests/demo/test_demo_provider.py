"""The demo's provider as a process: what its contracts are, how it goes wrong when told to, and that its books hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import httpx2
import pytest

from holdfast.demo.outside import Declined, Outside
from holdfast.domain.errors import Unavailable


@pytest.fixture
async def outside(tmp_path: Path) -> AsyncIterator[Outside]:
    provider = Outside(tmp_path / "provider.db")
    async with provider.running():
        yield provider


async def made(outside: Outside, table: str) -> int:
    return len((await outside.everything())[table])


async def test_a_refund_is_paid_once_for_a_key_however_often_and_at_once_it_is_asked_for(outside: Outside) -> None:
    answers = await asyncio.gather(*[outside.refund(7, 1_200, "key") for _ in range(8)])
    assert all(answer == answers[0] for answer in answers)
    (row,) = (await outside.everything())["refunds"]
    assert (row["amount_cents"], row["requests"]) == (1_200, 8)
    with pytest.raises(Declined, match="another refund"):
        await outside.refund(7, 1_300, "key")
    await outside.refund(7, 1_200, "another key")
    assert await made(outside, "refunds") == 2


async def test_a_mail_goes_out_each_time_and_can_be_looked_up(outside: Outside) -> None:
    assert await outside.mail_of("key") is None
    first = await outside.mail("ann@example.com", "Hello", "…", "key")
    await outside.mail("ann@example.com", "Hello", "…", "key")
    assert await outside.mail_of("key") == first
    assert await made(outside, "mails") == 2


async def test_the_courier_knows_no_keys(outside: Outside) -> None:
    tickets = [(await outside.call_courier(7, "ring twice"))["ticket"] for _ in range(2)]
    assert tickets == ["C-1", "C-2"]


async def test_it_crashes_after_acting_and_is_there_again_with_its_books(outside: Outside) -> None:
    url = outside.url
    await outside.arm("/refunds", "crash", 2)
    for _ in range(2):
        with pytest.raises(httpx2.TransportError):
            await outside.refund(7, 1_200, "key")
        assert await made(outside, "refunds") == 1
    assert outside.url == url
    assert (await outside.refund(7, 1_200, "key"))["amount_cents"] == 1_200
    assert await made(outside, "refunds") == 1


async def test_it_answers_500_instead_of_acting(outside: Outside) -> None:
    await outside.arm("/mails", "error")
    with pytest.raises(httpx2.HTTPStatusError):
        await outside.mail("ann@example.com", "Hello", "…", "key")
    assert await made(outside, "mails") == 0
    await outside.mail("ann@example.com", "Hello", "…", "key")


async def test_it_acts_and_answers_too_late(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.demo.outside.REQUEST_S", 0.3)
    await outside.arm("/pickups", "timeout")
    with pytest.raises(httpx2.TimeoutException):
        await outside.call_courier(7, "ring twice")
    assert await made(outside, "pickups") == 1


async def test_faults_are_taken_back(outside: Outside) -> None:
    await outside.arm("/pickups", "crash", 3)
    await outside.arm("/pickups", "crash", 0)
    assert (await outside.call_courier(7, "ring twice"))["ticket"] == "C-1"


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/nothing", {}, None, 404),
        ("POST", "/nothing", {}, "{}", 404),
        ("POST", "/refunds", {"idempotency-key": "k"}, "{", 400),
        ("POST", "/refunds", {"idempotency-key": "k"}, "[]", 400),
        ("POST", "/refunds", {"idempotency-key": "k"}, "{}", 422),
        ("POST", "/refunds", {"idempotency-key": "k"}, '{"order_id": true, "amount_cents": 1}', 422),
        ("POST", "/refunds", {"idempotency-key": "k"}, '{"order_id": 1, "amount_cents": 0}', 422),
        ("POST", "/refunds", {}, '{"order_id": 1, "amount_cents": 1}', 400),
        ("POST", "/mails", {"idempotency-key": "k"}, '{"to": ""}', 422),
        ("POST", "/control", {}, '{"path": "/refunds", "fault": "explode"}', 422),
        ("POST", "/control", {}, '{"path": "/refunds", "fault": "crash", "times": 101}', 422),
        ("POST", "/control", {"content-type": "text/plain"}, '{"path": "/refunds", "fault": "crash"}', 415),
        ("POST", "/pickups", {}, "x" * 70_000, 413),
    ],
)
async def test_what_does_not_fit_is_refused_and_nothing_is_done(
    outside: Outside, method: str, path: str, headers: dict[str, str], body: str | None, status: int
) -> None:
    given = {"content-type": "application/json", **headers}
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        answer = await client.request(method, path, headers=given, content=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]
    assert not any((await outside.everything()).values())


async def test_a_provider_that_cannot_keep_books_is_said_not_to_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Unavailable, match="did not start"):
        async with Outside(tmp_path / "nowhere" / "provider.db").running():
            pass
    assert "unable to open database file" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/pickups", '{"order_id": 99999999999999999999, "message": "m"}', 422),
        ("/refunds", '{"order_id": 99999999999999999999, "amount_cents": 1}', 422),
        ("/pickups", '{"order_id": 7, "message": "\\ud800"}', 422),
        ("/pickups", "[" * 50_000, 400),
    ],
)
async def test_what_no_book_can_hold_is_refused_too(outside: Outside, path: str, body: str, status: int) -> None:
    headers = {"content-type": "application/json", "idempotency-key": "key"}
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        assert (await client.post(path, content=body, headers=headers)).status_code == status
    assert await made(outside, "pickups") == 0


async def test_a_body_that_is_refused_unread_is_not_taken_for_the_next_request(outside: Outside) -> None:
    async with httpx.AsyncClient(base_url=outside.url, trust_env=False) as client:
        refused = await client.post(
            "/pickups", content="GET /books HTTP/1.1\r\n\r\n", headers={"content-type": "text/plain"}
        )
        assert refused.status_code == 415
        after = await client.post("/pickups", json={"order_id": 7, "message": "ring"})
    assert (after.status_code, after.json().get("ticket")) == (201, "C-1")
