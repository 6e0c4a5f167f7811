"""Requests of one document against a server, one after another."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.docs import blocks


class Talk:
    """Requests of one document, one after another; ids of answers become variables of later ones."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.variables: dict[str, str] = {}

    async def send(self, command: blocks.Command) -> str:
        """What is printed. Raises unless the status is the expected one."""
        asked = blocks.request_of(command, self.variables)
        async with self.client.stream(asked.method, asked.path, headers=asked.headers, content=asked.body) as answer:
            if answer.headers.get("content-type", "").startswith("text/event-stream"):
                text = await self._events(answer)
            else:
                text = (await answer.aread()).decode()
        expected = asked.expected
        assert answer.status_code == expected if expected else answer.is_success, f"{command.text}\n{text}"
        if answer.is_success and text.startswith("{"):
            self._note(asked, json.loads(text))
        printed = blocks.picked(json.loads(text), asked.pick) + "\n" if asked.pick else text
        if command.assigns is not None:
            self.variables[command.assigns] = printed.strip()
        return printed

    async def _events(self, answer: httpx.Response) -> str:
        lines: list[str] = []
        async for line in answer.aiter_lines():
            lines.append(line)
            if line == "event: run.succeeded" or "/changes" in answer.url.path:
                break  # streams of threads and changes do not end by themselves
        first = next((json.loads(x.removeprefix("data: ")) for x in lines if x.startswith("data: ")), None)
        if first is not None:
            self.variables |= {"RUN": first["run_id"], "THREAD": first["thread_id"]}
        return "\n".join(lines) + "\n"

    def _note(self, asked: blocks.Request, value: Any) -> None:
        if asked.method == "POST" and asked.path.startswith("/v1/runs"):
            self.variables |= {"RUN": value["id"], "THREAD": value["thread_id"]}
        elif asked.method == "POST" and asked.path == "/v1/threads":
            self.variables["THREAD"] = value["id"]
