"""What the BFCL run rests on, without a server: the data are read rightly; the checker can tell right from wrong."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart, UserPromptPart

from tests.acceptance.bfcl import available, check, fetch, script, world
from tests.acceptance.bfcl.world import Call, Case

CASES_IN_ALL = 800
CALLS_IN_ALL = 4_625


@pytest.fixture(scope="module", autouse=True)
def bfcl() -> Path:
    return available.require()


def every_call() -> Iterator[tuple[Case, Call]]:
    for case in world.cases().values():
        for turn in range(len(case.ground_truth)):
            for call in world.ground_truth_calls(case, turn):
                yield case, call


def as_turns(case: Case) -> list[list[list[str]]]:
    """The ground truth the way a run's calls are handed to the checker: through `parse` and `render`."""
    return [
        [[world.render(call) for call in step] for step in script.responses(case, turn)]
        for turn in range(len(case.ground_truth))
    ]


def test_all_cases_and_calls_are_there() -> None:
    found = Counter(case.category for case in world.cases().values())
    assert found == dict.fromkeys(world.CATEGORIES, CASES_IN_ALL // len(world.CATEGORIES))
    assert sum(1 for _ in every_call()) == CALLS_IN_ALL


def test_the_checker_accepts_the_ground_truth_of_every_case() -> None:
    verdicts = {case.id: check.check(case, as_turns(case)) for case in world.cases().values()}
    assert [(name, verdict.reason) for name, verdict in verdicts.items() if not verdict.valid] == []


def test_the_checker_accepts_no_case_without_calls() -> None:
    accepted = [c.id for c in world.cases().values() if check.check(c, [[] for _ in c.ground_truth]).valid]
    assert accepted == []


def test_our_services_answer_every_call_as_the_official_executor_does() -> None:
    for case in world.cases().values():
        alive = world.World(case)
        answers = [[alive.execute(c) for c in world.ground_truth_calls(case, t)] for t in range(len(case.ground_truth))]
        assert answers == check.expected_results(case, as_turns(case)), case.id


def test_a_call_that_is_lost_is_noticed_in_every_case() -> None:
    for case in world.cases().values():
        turns = as_turns(case)
        turns[next(i for i, turn in enumerate(turns) if turn)].pop()
        assert not check.check(case, turns).valid, case.id


def test_a_call_made_twice_changes_the_answers_or_the_state() -> None:
    case = world.cases()["multi_turn_base_0"]
    turns = as_turns(case)
    turns[0].insert(1, turns[0][1])
    assert check.expected_results(case, turns)[0] != check.expected_results(case, as_turns(case))[0]


def test_a_call_where_none_can_be_right_is_refused() -> None:
    case = world.cases()["multi_turn_miss_func_0"]
    turns = as_turns(case)
    assert turns[2] == []
    turns[2] = [["ls()"]]
    assert check.check(case, turns).reason.startswith("multi_turn:irrelevance_error")


def test_a_conversation_that_ended_early_is_refused() -> None:
    case = world.cases()["multi_turn_base_0"]
    assert check.check(case, as_turns(case)[:-1]).reason == "3 turns instead of 4"


def test_two_checks_of_one_case_do_not_share_state() -> None:
    case = world.cases()["multi_turn_base_0"]
    assert [check.check(case, as_turns(case)).valid for _ in range(3)] == [True, True, True]


def test_rendering_and_parsing_a_call_are_inverse() -> None:
    for case, call in every_call():
        assert world.parse(world.render(call)) == call, case.id


def test_positional_arguments_get_the_names_of_the_signature() -> None:
    assert world.parse("sort('final_report.pdf')") == Call("sort", {"file_name": "final_report.pdf"})


@pytest.mark.parametrize(
    "text", ["ls", "a.b()", "ls(a=__import__('os'))", "ls(True, a=True)", "ls(**{})", "(lambda: 1)()"]
)
def test_what_is_not_a_plain_call_is_never_evaluated(text: str) -> None:
    with pytest.raises(ValueError):
        world.parse(text)


def test_a_value_without_a_literal_is_refused() -> None:
    with pytest.raises(ValueError):
        world.render(Call("mean", {"numbers": [float("inf")]}))


def test_every_call_fits_its_schema() -> None:
    validators = {n: jsonschema.Draft202012Validator(f.parameters) for n, f in world.functions().items()}
    refused = [(case.id, call) for case, call in every_call() if not validators[call.name].is_valid(call.arguments)]
    assert refused == []


def test_every_schema_is_one() -> None:
    for function in world.functions().values():
        jsonschema.Draft202012Validator.check_schema(function.parameters)


def test_the_one_widened_schema_is_needed_by_exactly_the_cases_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "ERRATA", {})
    world.functions.cache_clear()
    try:
        validators = {n: jsonschema.Draft202012Validator(f.parameters) for n, f in world.functions().items()}
        refused = {case.id for case, call in every_call() if not validators[call.name].is_valid(call.arguments)}
    finally:
        world.functions.cache_clear()
    assert refused == {f"multi_turn_{category}_173" for category in world.CATEGORIES}


def test_function_document_types_become_json_schema() -> None:
    document = {
        "type": "dict",
        "properties": {
            "ratio": {"type": "float", "default": 1.0},
            "pair": {"type": "tuple", "items": {"type": "any"}},
            "note": {"type": "string", "default": None},
        },
    }
    assert world.json_schema(document) == {
        "type": "object",
        "properties": {
            "ratio": {"type": "number", "default": 1.0},
            "pair": {"type": "array", "items": {}},
            "note": {"type": ["string", "null"], "default": None},
        },
    }


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="quaternion"):
        world.json_schema({"type": "quaternion"})


def test_what_is_declared_a_read_changes_nothing() -> None:
    assert set(world.functions()) >= world.READS
    changed: set[str] = set()
    for case in world.cases().values():
        alive = world.World(case)
        for turn in range(len(case.ground_truth)):
            for call in world.ground_truth_calls(case, turn):
                before = _state(alive)
                alive.execute(call)
                if _state(alive) != before:
                    changed.add(call.name)
    assert changed & world.READS == set()
    assert "get_flight_cost" in changed


def _state(alive: world.World) -> bytes:
    return pickle.dumps({name: vars(service) for name, service in alive.services.items()})


def test_a_service_outside_the_conversation_is_not_reached() -> None:
    answer = world.World(world.cases()["multi_turn_base_1"]).execute(Call("get_current_time", {}))
    assert answer == "Error during execution: get_current_time is not part of this conversation"


def test_the_script_makes_the_ground_truth_of_every_case_from_messages_alone() -> None:
    for case in world.cases().values():
        assert _converse(case) == [[world.ground_truth_calls(case, t)] for t in range(len(case.ground_truth))], case.id


def _converse(case: Case) -> list[list[list[Call]]]:
    """Play all turns of a case against the script; per turn one list of the calls it asked for."""
    messages: list[ModelRequest | ModelResponse] = []
    asked: list[list[list[Call]]] = []
    for turn in range(len(case.ground_truth)):
        messages.append(ModelRequest(parts=[UserPromptPart(script.user_text(case, turn))]))
        calls: list[Call] = []
        while parts := _ask(messages):
            calls += [Call(part.tool_name, part.args_as_dict()) for part in parts]
            messages.append(ModelRequest(parts=[ToolReturnPart(p.tool_name, "ok", p.tool_call_id) for p in parts]))
        asked.append([calls])
    return asked


def _ask(messages: list[ModelRequest | ModelResponse]) -> list[ToolCallPart]:
    response = script.reply(messages)
    messages.append(response)
    return [part for part in response.parts if isinstance(part, ToolCallPart)]


def test_the_script_makes_reads_in_parallel_and_changes_one_by_one() -> None:
    sizes = Counter(
        (len(step) > 1, all(world.functions()[call.name].reads for call in step))
        for case in world.cases().values()
        for turn in range(len(case.ground_truth))
        for step in script.responses(case, turn)
    )
    assert sizes[True, True] > 0
    assert sizes[True, False] == 0


def test_the_script_refuses_a_history_that_lost_a_turn() -> None:
    case = world.cases()["multi_turn_base_0"]
    with pytest.raises(AssertionError, match="holds the turns"):
        script.reply([ModelRequest(parts=[UserPromptPart(script.user_text(case, 1))])])


def test_the_script_refuses_a_history_that_lost_a_result() -> None:
    case = world.cases()["multi_turn_base_0"]
    messages = [ModelRequest(parts=[UserPromptPart(script.user_text(case, 0))])]
    with pytest.raises(AssertionError, match="were answered by"):
        script.reply([*messages, script.reply(messages)])


def test_the_silent_script_calls_nothing() -> None:
    case = world.cases()["multi_turn_base_0"]
    answer = script.silent([ModelRequest(parts=[UserPromptPart(script.user_text(case, 0))])])
    assert not [part for part in answer.parts if isinstance(part, ToolCallPart)]


def test_wrong_bytes_are_never_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned = fetch.REQUIREMENTS.read_text(encoding="utf-8")
    digests = {word for word in pinned.split() if word.startswith("--hash=")}
    wrong = tmp_path / "requirements.txt"
    for digest in digests:
        pinned = pinned.replace(digest, "--hash=sha256:" + "0" * 64)
    wrong.write_text(pinned, encoding="utf-8")
    monkeypatch.setattr(fetch, "REQUIREMENTS", wrong)
    monkeypatch.setattr(fetch, "ACCEPTANCE", tmp_path)
    with pytest.raises(fetch.FetchFailed):
        fetch.ensure()
    assert list((tmp_path / "bfcl").iterdir()) == []


def test_no_index_gives_an_explanation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ACCEPTANCE", tmp_path)
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(fetch.FetchFailed, match="package index"):
        fetch.ensure()
