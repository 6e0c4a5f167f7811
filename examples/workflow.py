"""A workflow: steps that are recorded, some of them in parallel, a retry, a sleep, and an event of its own.

    holdfast dev examples/workflow.py
    curl -sN http://127.0.0.1:8484/v1/runs -H 'accept: text/event-stream' -H 'content-type: application/json' \
        -d '{"agent": "fulfil", "input": {"order": 7, "items": ["kettle", "cups"]}}'

Stop the server in the middle, however hard, and start it again: the run goes on behind its last recorded step.
"""

from pydantic import BaseModel

from holdfast import Context, Holdfast, Retry, workflow


class Order(BaseModel):
    order: int
    items: list[str]


class Fulfilled(BaseModel):
    tracking: str
    picked: list[str]


def pick(item: str) -> str:
    return f"{item} from shelf {len(item)}"


def hand_to_carrier(order: int) -> str:
    # A plain function is at-least-once: it runs again if the process dies before its result is recorded.
    return f"PARCEL-{order:05}"


@workflow("fulfil")
async def fulfil(ctx: Context, ask: Order) -> Fulfilled:
    picked = await ctx.gather(*(ctx.step("pick", pick, item) for item in ask.items))
    await ctx.emit("picked", {"items": len(picked)})
    await ctx.sleep(0.5)  # a day would hold no more memory than this
    tracking = await ctx.step("carrier", hand_to_carrier, ask.order, retry=Retry(attempts=3))
    return Fulfilled(tracking=tracking, picked=list(picked))


hf = Holdfast(agents=[fulfil])
