"""What differs between two runs, over HTTP, on each database."""

from __future__ import annotations

from typing import Any

from holdfast import Agent, Context, ToolContext, tool, workflow
from holdfast.domain import limits
from holdfast.testing import Call, ScriptedModel
from tests.web.travel import travelling


@tool(effect="read")
async def look(ctx: ToolContext, item: str) -> str:
    """Look something up."""
    await ctx.state.update({"last": item})
    return f"{item} is here"


@tool(effect="keyed")
async def pay(item: str, amount: int = 1) -> str:
    """Pay."""
    return "paid"


def shop() -> Agent:
    """What it does follows from what it is told: words, each the item of a call that looks, or pays."""

    def reply(messages: Any, info: Any) -> Any:
        said = str(messages[0].parts[0].content).split()
        if info.position < len(said):
            word = said[info.position]
            return Call("pay", {"item": word[1:]}) if word.startswith("$") else Call("look", {"item": word})
        return f"{len(said)} done"

    return Agent("shop", model=ScriptedModel(reply), tools=[look, pay])


@workflow("steps")
async def steps(ctx: Context, input: list[Any]) -> Any:
    await ctx.now()
    await ctx.random()
    for value in input:
        await ctx.step("same", lambda value=value: value)
    await ctx.gather(*(ctx.step("late", lambda n=n: n) for n in range(3)))
    return input


async def test_a_run_and_itself_are_identical_and_so_are_two_that_did_the_same(database_url: str) -> None:
    async with travelling(database_url, shop(), steps) as traveller:
        one, two = await traveller.run("shop", "a b $c"), await traveller.run("shop", "a b $c")
        for found in (await traveller.diff(one, one), await traveller.diff(one, two)):
            assert found["identical"], found
            assert found["divergence"] is None
            assert found["messages"]["same"] == found["messages"]["this"] == 8
            assert (found["state_patch"], found["tokens_difference"], found["same_output"]) == ([], 0, True)
        flows = [await traveller.run("steps", [1, 2]) for _ in range(2)]
        assert (await traveller.diff(*flows))["identical"], "the time and random numbers are no difference"


async def test_the_first_divergence_is_found_and_both_sides_are_shown(database_url: str) -> None:
    async with travelling(database_url, shop()) as traveller:
        this, other = await traveller.run("shop", "a b $c d"), await traveller.run("shop", "a x $e")
        found = await traveller.diff(this, other)
        assert (found["identical"], found["same_output"]) == (False, False)
        divergence = found["divergence"]
        assert (divergence["key"], divergence["kind"], divergence["differs"]) == ("model#2", "model", ["output"])
        called = [side["output"]["parts"][0]["arguments"] for side in (divergence["this"], divergence["other"])]
        assert called == [{"item": "b"}, {"item": "x"}]
        assert (found["this"]["output"], found["other"]["output"]) == ("4 done", "3 done")
        only = [
            [(call["name"], call["arguments"]) for call in found[side]["data"]]
            for side in ("calls_only_this", "calls_only_other")
        ]
        assert only == [
            [("look", {"item": "b"}), ("pay", {"item": "c", "amount": 1}), ("look", {"item": "d"})],
            [("look", {"item": "x"}), ("pay", {"item": "e", "amount": 1})],
        ]
        assert found["messages"]["same"] == 0, "they were told different things"
        assert found["messages"]["first_this"]["role"] == found["messages"]["first_other"]["role"] == "user"
        assert found["state_patch"] == [{"op": "replace", "path": "/last", "value": "x"}]
        assert found["tokens_difference"] == sum(
            sign * found[side]["usage"][kind]
            for sign, side in ((-1, "this"), (1, "other"))
            for kind in ("input_tokens", "output_tokens")
        )


async def test_a_step_that_one_run_has_not_is_the_divergence_with_what_was_done_instead(database_url: str) -> None:
    async with travelling(database_url, steps) as traveller:
        short, long = await traveller.run("steps", [1, 2]), await traveller.run("steps", [1, 2, 3])
        for this, other in ((short, long), (long, short)):
            divergence = (await traveller.diff(this, other))["divergence"]
            assert (divergence["key"], divergence["differs"]) == ("same#3", ["missing"])
            assert {divergence["this"]["name"], divergence["other"]["name"]} == {"same", "late"}
        changed = await traveller.run("steps", [1, "2"])
        divergence = (await traveller.diff(short, changed))["divergence"]
        assert (divergence["key"], divergence["differs"]) == ("same#2", ["output"])
        assert [divergence[side]["output"] for side in ("this", "other")] == [2, "2"]


async def test_two_steps_of_one_run_are_compared(database_url: str) -> None:
    async with travelling(database_url, shop()) as traveller:
        run = await traveller.run("shop", "a $b c")
        early, late = await traveller.seq_of(run, "model#1"), await traveller.seq_of(run, "model#2/0")
        found = await traveller.diff(run, run, at=early, other_at=late)
        assert (found["this"]["at"], found["other"]["at"]) == (early, late)
        assert found["divergence"]["differs"] == ["missing"]
        assert found["divergence"]["this"] is None, "there was nothing more"
        assert [call["name"] for call in found["calls_only_other"]["data"]] == ["look", "pay"]
        assert found["state_patch"] == [{"op": "replace", "path": "", "value": {"last": "a"}}]
        assert found["messages"] | {"first_other": 0} == {
            "this": 2, "other": 5, "same": 2, "first_this": None, "first_other": 0,
        }  # fmt: skip


async def test_an_answer_is_bounded_whatever_the_runs_hold(database_url: str) -> None:
    async with travelling(database_url, shop(), steps) as traveller:
        many = " ".join(f"i{n}" for n in range(70))
        few, lots = await traveller.run("shop", "a"), await traveller.run("shop", many)
        found = await traveller.diff(few, lots)
        assert len(found["calls_only_other"]["data"]) == limits.DIFF_CALLS_MAX
        assert found["calls_only_other"]["more"] == 20
        huge = [await traveller.run("steps", ["x" * 200_000 + end]) for end in "ab"]
        response = await traveller.http.get(f"/v1/runs/{huge[0]['id']}/diff/{huge[1]['id']}")
        found = response.json()
        assert (found["divergence"]["key"], found["divergence"]["differs"]) == ("same#1", ["output"])
        assert found["divergence"]["this"]["output_cut"]
        assert len(response.content) < 150_000
        same = [await traveller.run("steps", ["x" * 200_000]) for _ in range(2)]
        assert (await traveller.diff(*same))["identical"]


async def test_a_failed_step_and_one_that_succeeded_differ_in_status(database_url: str) -> None:
    broken = True

    @workflow("fragile")
    async def fragile(ctx: Context) -> int:
        await ctx.step("good", lambda: 1)

        def bad() -> int:
            if broken:
                raise ValueError("no")
            return 2

        return await ctx.step("bad", bad)

    async with travelling(database_url, fragile) as traveller:
        failed = await traveller.run("fragile")
        broken = False
        good = await traveller.run("fragile")
        divergence = (await traveller.diff(failed, good))["divergence"]
        assert divergence["key"] == "bad#1"
        assert divergence["differs"][0] == "status"
        assert divergence["this"]["error"]["message"] == "no"
