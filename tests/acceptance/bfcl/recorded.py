"""What was really executed: as the tools wrote it down, as the run's journal tells it, and whether the two agree.

The journal is the product's truth and is what the checker gets; the log is the witness that does not go through
Holdfast. Invariant: a call that only one of them knows, or that they tell differently, fails its case.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.bfcl.world import Call


@dataclass(frozen=True, slots=True)
class Executed:
    """A call and what the model was answered."""

    call: Call
    result: str

    def identity(self) -> str:
        """Equal for equal calls; 5 and 5.0 differ, as they do in the benchmark's answers."""
        return json.dumps([self.call.name, self.call.arguments, self.result], sort_keys=True)


class CallLog:
    """A JSON line for every call that a tool made. Complete once the process that writes it has ended."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)

    def __enter__(self) -> CallLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, run_id: str, executed: Executed) -> None:
        call = executed.call
        line = {"run_id": run_id, "name": call.name, "arguments": call.arguments, "result": executed.result}
        self._file.write(json.dumps(line) + "\n")


def read_log(path: Path) -> dict[str, list[Executed]]:
    """The log by run id, in the order of execution."""
    by_run: dict[str, list[Executed]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        by_run[entry["run_id"]].append(Executed(Call(entry["name"], entry["arguments"]), entry["result"]))
    return by_run


def from_journal(steps: Sequence[Mapping[str, Any]]) -> list[list[Executed]]:
    """The executed calls of a run, per model response, in the response's order.

    `steps` are journal rows with payloads, oldest first. A tool step's key is its model step's key and the call's
    position in that response: the arguments are the response's, the result is the tool step's.
    """
    asked = {step["key"]: _tool_calls(step) for step in steps if step["kind"] == "model"}
    done: dict[str, dict[int, Executed]] = {key: {} for key in asked}
    for step in steps:
        if step["kind"] != "tool":
            continue
        model_key, _, position = step["key"].rpartition("/")
        call = asked[model_key][int(position)]
        assert call.name == step["name"], f"step {step['key']} is {step['name']}, the model asked for {call.name}"
        done[model_key][int(position)] = Executed(call, _result(step))
    return [[calls[position] for position in sorted(calls)] for calls in done.values() if calls]


def disagreement(journal: Sequence[Sequence[Executed]], log: Sequence[Executed]) -> str:
    """Empty if the log tells the same calls in the same order; calls of one response ran in parallel, in any order."""
    told = [executed for response in journal for executed in response]
    if len(told) != len(log):
        return f"the journal tells of {len(told)} calls, the tools of {len(log)}"
    start = 0
    for response in journal:
        witnessed = log[start : start + len(response)]
        if sorted(e.identity() for e in response) != sorted(e.identity() for e in witnessed):
            return f"the journal tells {response}, the tools {witnessed}"
        start += len(response)
    return ""


def _tool_calls(step: Mapping[str, Any]) -> list[Call]:
    parts = step["output"]["parts"]
    return [Call(part["name"], _arguments(part["arguments"])) for part in parts if part["type"] == "tool_call"]


def _arguments(given: str | dict[str, Any]) -> dict[str, Any]:
    return json.loads(given) if isinstance(given, str) else given


def _result(step: Mapping[str, Any]) -> str:
    result = step["output"]["result"]
    return result if isinstance(result, str) else json.dumps(result)
