"""The hand-written loop to compare with: FastAPI, the provider's client, nothing durable.

`stock` uses the openai SDK as it comes. `fair` uses the same lean client, transport and garbage-collection settings as
Holdfast does: what is left between the two is the price of being durable.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from openai import AsyncOpenAI, DefaultAioHttpClient
from pydantic import BaseModel

FAIR = "fair" in sys.argv


def client() -> AsyncOpenAI:
    if not FAIR:
        return AsyncOpenAI(max_retries=0)
    from holdfast.agents.openai_lean import LeanAsyncOpenAI

    return LeanAsyncOpenAI(max_retries=0, http_client=DefaultAioHttpClient())


TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "lookup",
            "description": "Look an order up.",
            "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
        },
    }
]


def lookup(id: int) -> dict[str, object]:
    return {"id": id, "status": "shipped"}


class Ask(BaseModel):
    input: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.client = client()
    if FAIR:
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
    yield
    await app.state.client.close()


app = FastAPI(lifespan=lifespan)


@app.post("/chat")
async def chat(ask: Ask) -> dict[str, str]:
    messages: list[Any] = [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": ask.input}]
    while True:
        answer = await app.state.client.chat.completions.create(
            model="stub", messages=messages, tools=TOOLS, stream=False
        )
        message = answer.choices[0].message
        if not message.tool_calls:
            return {"output": message.content or ""}
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = lookup(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
