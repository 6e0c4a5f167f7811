"""What the demo's desk may do alone and what it has to ask for; what it does once whatever its provider does; and who
its two people are."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from holdfast import Settings, serving
from holdfast.app import Holdfast
from holdfast.demo import Demo, build
from holdfast.demo.people import APPROVER, kept_in
from holdfast.demo.shop import CATERING_ORDER, DAMAGED_ORDER, DELIVERED_ORDER, SHIPPED_ORDER, VALUABLE_ORDER
from holdfast.domain.access import LOCAL_PRINCIPAL, ApiKey, Principal
from holdfast.domain.determinism import SYSTEM
from holdfast.domain.ids import DEFAULT_TENANT, KeyId, PrincipalId
from holdfast.store import principals
from holdfast.store.base import Database
from tests import replays

WAIT_S = 30
ADA = "ada.reyes@example.com"


@dataclass
class Desk:
    """The demo as a client of its API sees it: as the admin without a key, or as the approver."""

    demo: Demo
    http: httpx.AsyncClient

    def key(self, name: str | None) -> dict[str, str]:
        return {"authorization": f"Bearer {kept_in(self.demo.key_file)}"} if name else {}

    async def says(self, text: str, agent: str = "support") -> dict[str, Any]:
        """A run, as it stands when it ended or waits."""
        answer = await self.http.post("/v1/runs?wait=30", json={"agent": agent, "input": text})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def asked(self, run: dict[str, Any]) -> dict[str, Any]:
        assert run["status"] == "waiting", run
        (found,) = (await self.http.get(f"/v1/approvals?status=pending&run_id={run['id']}")).json()["data"]
        return found

    async def resolves(self, asked: dict[str, Any], who: str | None = None, **said: Any) -> httpx.Response:
        return await self.http.post(f"/v1/approvals/{asked['id']}/resolve", json=said, headers=self.key(who))

    async def ended(self, run: dict[str, Any]) -> dict[str, Any]:
        for _ in range(50):  # one that still waits is answered at once
            run = (await self.http.get(f"/v1/runs/{run['id']}?wait=10")).json()
            if run["status"] in ("succeeded", "failed", "cancelled"):
                return run
        raise AssertionError(run)

    async def paid(self) -> list[int]:
        return sorted(row["amount_cents"] for row in (await self.demo.outside.everything())["refunds"])


@contextlib.asynccontextmanager
async def opened(demo: Demo, holdfast: Holdfast | None = None) -> AsyncIterator[Desk]:
    listener = serving.listen("127.0.0.1", 0)
    async with (
        serving.served(holdfast or demo.holdfast, listener),
        httpx.AsyncClient(base_url=serving.url_of(listener), timeout=WAIT_S, trust_env=False) as http,
    ):
        yield Desk(demo, http)


@pytest.fixture
def demo(tmp_path: Path) -> Demo:
    return build(tmp_path, settings=Settings(freeze_gc=False))


@pytest.fixture
async def desk(demo: Demo) -> AsyncIterator[Desk]:
    async with opened(demo) as served:
        yield served
        await replays.assert_identical([demo.holdfast])


# --- leave -----------------------------------------------------------------------------------------------------------


async def test_a_refund_of_up_to_100_euros_is_made_without_asking(desk: Desk) -> None:
    small = await desk.says(f"Please refund order {DELIVERED_ORDER}, it arrived broken.")
    exact = await desk.says(f"Please refund 100 EUR of order {VALUABLE_ORDER}, one is broken.")
    assert (small["status"], exact["status"]) == ("succeeded", "succeeded")
    assert await desk.paid() == [6_830, 10_000]


async def test_a_refund_above_100_euros_waits_and_is_made_as_it_was_approved(desk: Desk) -> None:
    run = await desk.says(f"Please refund order {VALUABLE_ORDER}, one is broken.")
    asked = await desk.asked(run)
    assert (asked["tool"], asked["arguments"]["amount"]) == ("refund_order", "267.00")
    assert await desk.paid() == []
    edited = {**asked["arguments"], "amount": "200.00"}
    assert (await desk.resolves(asked, decision="approve", arguments=edited)).status_code == 200
    assert "200.00 EUR" in (await desk.ended(run))["output"]
    assert await desk.paid() == [20_000]


async def test_the_customer_is_told_of_a_refusal_and_why(desk: Desk) -> None:
    run = await desk.says(f"I want my money back for order {VALUABLE_ORDER}, one is broken.", agent="triage")
    answer = await desk.resolves(await desk.asked(run), decision="reject", note="the photo shows no damage")
    assert answer.status_code == 200
    assert "the photo shows no damage" in (await desk.ended(run))["output"]
    assert await desk.paid() == []


async def test_above_1000_euros_the_one_who_asked_may_not_approve(desk: Desk) -> None:
    run = await desk.says(f"Please refund order {CATERING_ORDER}, it arrived broken.")
    asked = await desk.asked(run)
    refused = await desk.resolves(asked, decision="approve")
    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")
    assert (await desk.resolves(asked, "approver", decision="approve")).status_code == 200
    assert "1065.00 EUR" in (await desk.ended(run))["output"]
    assert await desk.paid() == [106_500]


async def test_a_sum_with_thousands_is_read_as_it_is_written(desk: Desk) -> None:
    run = await desk.says(f"Please refund 1,050.50 euros of order {CATERING_ORDER}, most of it arrived broken.")
    assert (await desk.asked(run))["arguments"]["amount"] == "1050.50"


# --- once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["crash", "timeout", "error"])
async def test_money_is_paid_once_whatever_the_provider_does(
    desk: Desk, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.demo.outside.REQUEST_S", 1.0)
    await desk.demo.outside.arm("/refunds", fault)
    run = await desk.says(f"Please refund order {DAMAGED_ORDER}, it is cracked.")
    assert "41.90 EUR" in run["output"]
    assert await desk.paid() == [4_190]
    assert desk.demo.shop.counts()["refunds"] == 1


async def test_what_the_provider_declines_is_not_in_the_shops_books(desk: Desk) -> None:
    await desk.demo.outside.refund(1, 1, "taken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("holdfast.demo.outside.Outside.refund", _declining)
        run = await desk.says(f"Please refund order {DAMAGED_ORDER}, it is cracked.")
    assert "declined: no such account" in run["output"]
    assert desk.demo.shop.counts()["refunds"] == 0


async def _declining(*_: object) -> None:
    from holdfast.demo.outside import Declined

    raise Declined("no such account")


@pytest.mark.parametrize("fault", ["crash", "timeout"])
async def test_a_mail_of_which_no_answer_came_is_looked_up_and_not_sent_again(
    desk: Desk, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.demo.outside.REQUEST_S", 1.0)
    await desk.demo.outside.arm("/mails", fault)
    run = await desk.says(f"Please e-mail me about order {SHIPPED_ORDER}.")
    assert ADA in (await desk.ended(run))["output"]
    assert len((await desk.demo.outside.everything())["mails"]) == 1


async def test_of_a_call_to_the_courier_that_was_cut_off_a_person_is_asked(desk: Desk) -> None:
    await desk.demo.outside.arm("/pickups", "crash")
    run = await desk.says(f"Call the courier about order {SHIPPED_ORDER}: ring twice.")
    assert run["waiting_on"][0]["type"] == "effect"
    (unknown,) = (await desk.http.get("/v1/effects?status=unknown")).json()["data"]
    said = {"outcome": "committed", "result": {"ticket": "C-1"}}
    answer = await desk.http.post(f"/v1/effects/{unknown['id']}/resolve", json=said, headers=desk.key("approver"))
    assert answer.status_code == 200
    assert "The ticket is C-1" in (await desk.ended(run))["output"]
    assert len((await desk.demo.outside.everything())["pickups"]) == 1


@pytest.mark.parametrize("said", ["Please mail me", "Call the driver", "1143", "ring the courier about order 1158"])
async def test_mail_and_courier_are_talked_through(desk: Desk, said: str) -> None:
    run = await desk.says(said)
    assert run["status"] == "succeeded"
    assert "did not understand" not in run["output"]


# --- who -------------------------------------------------------------------------------------------------------------


async def test_the_admin_needs_no_key_although_the_approver_has_one(desk: Desk) -> None:
    assert (await desk.http.get("/v1/runs")).status_code == 200
    assert (await desk.http.get("/v1/runs", headers=desk.key("approver"))).status_code == 200
    wrong = {"authorization": f"{desk.key('approver')['authorization']}x"}
    assert (await desk.http.get("/v1/runs", headers=wrong)).status_code == 401


async def test_the_approver_approves_and_does_nothing_else(desk: Desk) -> None:
    answer = await desk.http.post("/v1/runs", json={"agent": "support"}, headers=desk.key("approver"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert not APPROVER.is_admin


async def test_a_request_from_elsewhere_is_refused_as_before(desk: Desk) -> None:
    for headers in ({"host": "example.com"}, {"origin": "http://evil.example"}, {"x-forwarded-for": "127.0.0.1"}):
        assert (await desk.http.get("/v1/runs", headers=headers)).status_code == 401


async def test_another_key_closes_the_door_in_the_demo_too(desk: Desk) -> None:
    from holdfast.app import pepper_of
    from holdfast.service.access import Auth

    holdfast = desk.demo.holdfast
    elsewhere = Auth(holdfast.house, pepper=pepper_of(holdfast.settings))
    assert await elsewhere.configured(), "whoever names no guest counts the approver's key"
    await holdfast._authenticator().create_key(LOCAL_PRINCIPAL, "ci")
    assert (await desk.http.get("/v1/runs")).status_code == 401
    assert (await desk.http.get("/v1/approvals", headers=desk.key("approver"))).status_code == 200


@pytest.mark.parametrize("mode", ["serve", "dev"])
async def test_served_by_another_command_the_demos_database_wants_a_key(demo: Demo, mode: Any) -> None:
    async with opened(demo):
        pass
    settings = Settings(database=demo.holdfast.settings.database, mode=mode, freeze_gc=False)
    async with opened(demo, Holdfast(settings=settings)) as served:
        assert (await served.http.get("/v1/runs")).json()["code"] == "unauthenticated"
        assert (await served.http.get("/v1/runs", headers=served.key("approver"))).status_code == 200


async def test_the_key_is_kept_for_its_owner_and_stays_the_same_until_it_is_lost(demo: Demo) -> None:
    async with opened(demo):
        first = kept_in(demo.key_file)
    assert stat.S_IMODE(demo.key_file.stat().st_mode) == 0o600
    async with opened(demo):
        assert kept_in(demo.key_file) == first
    demo.key_file.write_text("hf_nonsense\n")
    async with opened(demo) as served:
        assert kept_in(demo.key_file) not in (first, "hf_nonsense")
        assert (await served.http.get("/v1/approvals", headers=served.key("approver"))).status_code == 200
        old = {"authorization": f"Bearer {first}"}
        assert (await served.http.get("/v1/approvals", headers=old)).status_code == 200


async def test_only_the_guests_keys_do_not_count(database: Database) -> None:
    def ever(besides: PrincipalId | None) -> Any:
        return database.read(None, lambda tx: principals.ever_had_key(tx, besides=besides))

    async def add(principal: Principal) -> None:
        key = ApiKey(DEFAULT_TENANT, KeyId(SYSTEM.new_id()), principal.id, "key", b"hmac", 0, None, None)
        await database.write(DEFAULT_TENANT, lambda tx: principals.add(tx, principal))
        await database.write(DEFAULT_TENANT, lambda tx: principals.add_key(tx, key))

    await add(APPROVER)
    assert (await ever(None), await ever(APPROVER.id)) == (True, False)
    await add(LOCAL_PRINCIPAL)
    assert await ever(APPROVER.id)
