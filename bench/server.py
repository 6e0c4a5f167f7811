"""Holdfast as served for the comparison: the same agent, every run durable (SQLite with synchronous=FULL)."""

from __future__ import annotations

import sys

import uvicorn

from holdfast import Agent, Holdfast, Settings, tool


@tool(effect="read")
async def lookup(id: int) -> dict[str, object]:
    """Look an order up."""
    return {"id": id, "status": "shipped"}


@tool(name="change", effect="keyed")
async def change(id: int) -> dict[str, object]:
    """Change an order."""
    return {"id": id, "status": "changed"}


agent = Agent("bench", model="openai-chat:stub", instructions="Answer briefly.", tools=[lookup])
changer = Agent("changer", model="openai-chat:stub", instructions="Answer briefly.", tools=[change])

if __name__ == "__main__":
    hf = Holdfast(agents=[agent, changer], settings=Settings(database=sys.argv[2]))
    uvicorn.run(hf.app, host="127.0.0.1", port=int(sys.argv[1]), access_log=False, log_level="warning")
