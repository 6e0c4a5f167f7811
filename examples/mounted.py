"""Holdfast inside an application that you already have.

    uvicorn mounted:app --app-dir examples
    curl -s http://127.0.0.1:8000/
    curl -s 'http://127.0.0.1:8000/agents/v1/runs?wait=30' -H 'content-type: application/json' \
        -d '{"agent": "double", "input": 21}'

Your application's lifespan starts and stops the runtime too; its own start-up and shutdown stay as they are.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from holdfast import Context, Holdfast, workflow

EVENTS: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    EVENTS.append("your start-up")
    yield
    EVENTS.append("your shutdown")


def twice(number: int) -> int:
    return 2 * number


@workflow("double")
async def double(ctx: Context, number: int) -> int:
    return await ctx.step("twice", twice, number)


app = FastAPI(title="Yours", lifespan=lifespan)


@app.get("/")
async def home() -> dict[str, list[str]]:
    return {"events": EVENTS}


hf = Holdfast(agents=[double])
hf.mount(app, "/agents")
