"""The official BFCL checker, called the way the official runner calls it.

Invariant: every check uses instance names of its own and removes them afterwards. The checker keeps the services of
(model name, case) in its module's globals; a second check under the same name would go on with the state the first
one left, and 800 long_context file systems would stay in memory. The evaluation is not thread-safe: hence the lock.
"""

from __future__ import annotations

import importlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.acceptance.bfcl import fetch
from tests.acceptance.bfcl.world import Case

Turns = Sequence[Sequence[Sequence[str]]]
"""Per turn, per model response, the calls as text: "fn(a=1)"."""

_one_at_a_time = threading.Lock()
_serial = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker says of one case; `reason` names the first thing that is wrong."""

    valid: bool
    reason: str = ""


def check(case: Case, turns: Turns) -> Verdict:
    """Judge the calls of one case by the official checker: state after every turn, results, and no call where none
    can be right. Runs the calls on fresh services; safe to repeat."""
    if len(turns) != len(case.ground_truth):
        # The official runner refuses this before it asks the checker, which would raise an IndexError.
        return Verdict(False, f"{len(turns)} turns instead of {len(case.ground_truth)}")
    checker = _module("multi_turn_checker")
    decoded = [[list(step) for step in turn if step] for turn in turns]
    truth = [list(turn) for turn in case.ground_truth]
    with _own_instances() as name:
        found = checker.multi_turn_checker(decoded, truth, case.entry, case.category, name)
    if found["valid"]:
        found = checker.multi_turn_irrelevance_checker(decoded, truth)
    return Verdict(found["valid"], "" if found["valid"] else f"{found['error_type']}: {found['error_message']}")


def expected_results(case: Case, turns: Turns) -> list[list[str]]:
    """What the official executor answers to these calls, per turn: each call once, in this order, on fresh services.

    The checker itself looks at names and arguments only and makes the calls anew, so it cannot see whether a runtime
    ran a call twice or lost the state between two turns. Comparing the answers the model got with these can.
    """
    execute = _module("multi_turn_utils").execute_multi_turn_func_call
    with _own_instances() as name:
        return [
            execute(
                [call for step in turn for call in step],
                case.entry["initial_config"],
                case.entry["involved_classes"],
                name,
                case.id,
                long_context=case.long_context,
            )[0]
            for turn in turns
        ]


@contextmanager
def _own_instances() -> Iterator[str]:
    kept_by_checker = vars(_module("multi_turn_utils"))
    with _one_at_a_time:
        name = f"holdfast{next(_serial)}"
        try:
            yield name
        finally:
            for key in [key for key in kept_by_checker if key.startswith(f"{name}_")]:
                del kept_by_checker[key]


def _module(name: str) -> Any:
    fetch.importable()
    return importlib.import_module(f"bfcl_eval.eval_checker.multi_turn_eval.{name}")
