"""Recorded runs as lines: what is written is read again as it was, and what was changed is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.domain import ids, portable
from holdfast.domain.encoding import encode
from holdfast.domain.errors import Damaged, Invalid
from holdfast.domain.ids import MessageId, RunId, TenantId, ThreadId
from holdfast.domain.journal import Entry, EntryType, Phase, StepKind, StepStatus
from holdfast.domain.recorded import Place, RecordedRun, RunIds
from holdfast.domain.runs import RunStatus, Usage
from holdfast.domain.states import Document
from holdfast.domain.threads import Message, Role

BLOB = b'{"instructions":"Be kind.","tools":[]}'
HASH = hashlib.sha256(BLOB).digest()
ODD = b'{"n": 1.50}'  # not as we would write it: kept byte for byte


def recorded() -> RecordedRun:
    before = Message(
        TenantId(b""), ThreadId(b""), 1, MessageId(b"m" * 16), RunId(b"q" * 16), 1, None, Role.USER, True, None, None,
        None, 5, b'"earlier"', None,
    )  # fmt: skip
    prompt = encode({"segments": [{"messages": [1, 2]}], "parameters": HASH.hex()})
    return RecordedRun(
        of=RunIds(
            ids.text(ids.RUN, b"r" * 16), ids.text(ids.THREAD, b"t" * 16), ids.text(ids.RUN, b"r" * 16), None,
            ids.text(ids.TENANT, b"n" * 16), ids.text(ids.PRINCIPAL, b"p" * 16),
        ),
        agent="a", version="v1", kind="native", definition=b'{"name":"a"}', status=RunStatus.SUCCEEDED,
        input=b'"hi"', output=b"null", created_at=1, started_at=2, ended_at=3, depth=1, attempt=2,
        metadata=b'{"k":1}', limits=b"{}", input_position=2, inherited=0,
        entries=(
            Entry(1, EntryType.RUN_QUEUED, 1, 0, payload=b'"hi"'),
            Entry(
                2, EntryType.MESSAGE_COMPLETED, 2, 1, seq=1, phase=Phase.RESULT, key="model#1", kind=StepKind.MODEL,
                name="model", attempt=1, tries=2, status=StepStatus.SUCCEEDED, digest=b"d" * 16, payload=b'{"a":1.0}',
                prompt=prompt, usage=Usage(1, 2, 3, 4, False), price_version="p", started_at=1, ended_at=2,
            ),
            Entry(3, EntryType.RUN_SUCCEEDED, 3, 1, payload=b'{"output":null}'),
        ),
        places={1: Place(2, Role.USER), 2: Place(3, Role.ASSISTANT)},
        messages=(before,),
        blobs={HASH: BLOB, hashlib.sha256(ODD).digest(): ODD},
        arguments={"model#1/0": b'{"x":1}'},
        state=Document(3, {"s": [1]}),
    )  # fmt: skip


def lines(run: RecordedRun, **given: Any) -> list[bytes]:
    return list(portable.written(run, **given))


def signed(changed: list[dict[str, Any]]) -> list[bytes]:
    """Lines with a last one that fits them: what somebody could make who wants to do harm."""
    data = [encode(line) + b"\n" for line in changed]
    kinds = [line["line"] for line in changed]
    counts = {"entries": kinds.count("entry"), "messages": kinds.count("message"), "blobs": kinds.count("blob")}
    end = {"line": "end", **counts, "sha256": hashlib.sha256(b"".join(data)).hexdigest()}
    return [*data, encode(end) + b"\n"]


def test_what_is_written_is_read_again_as_it_was() -> None:
    was = recorded()
    (now,) = portable.read(lines(was))
    for field in fields(was):
        assert getattr(now, field.name) == getattr(was, field.name), field.name


def test_several_runs_are_one_after_another() -> None:
    one = recorded()
    other = replace(one, agent="b")
    assert [run.agent for run in portable.read(lines(one) + lines(other))] == ["a", "b"]


@given(st.data())
def test_a_byte_that_changed_is_noticed(data: st.DataObject) -> None:
    whole = b"".join(lines(recorded()))
    at = data.draw(st.integers(0, len(whole) - 2))
    other = data.draw(st.integers(1, 255))
    changed = whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :]
    with pytest.raises(Damaged):
        list(portable.read(changed.splitlines(keepends=True)))


@given(st.integers(0, 7))
def test_a_file_that_was_cut_is_noticed(kept: int) -> None:
    with pytest.raises(Damaged):
        list(portable.read(lines(recorded())[:kept]))


WRONG: list[Any] = [None, -1, 2**70, 1.5, "x", "\x00", "\ud800".encode("utf-8", "surrogatepass"), [], {}, True]


@given(st.data())
def test_whatever_stands_in_a_file_it_is_read_or_refused(data: st.DataObject) -> None:
    given = [json.loads(line) for line in lines(recorded())[:-1]]
    line = given[data.draw(st.integers(0, len(given) - 1))]
    while isinstance(line, dict) and line and data.draw(st.booleans()):
        inner = line[data.draw(st.sampled_from(sorted(line)))]
        if not isinstance(inner, dict):
            break
        line = inner
    if isinstance(line, dict) and line:
        name = data.draw(st.sampled_from(sorted(line)))
        if data.draw(st.booleans()):
            del line[name]
        else:
            line[name] = data.draw(st.sampled_from([w for w in WRONG if not isinstance(w, bytes)]))
    try:
        found = signed(given)
    except (KeyError, Invalid):
        return
    try:
        for run in portable.read(found):
            run.journal()
            run.own_messages()
            lines(run)
    except Damaged as exc:
        assert "Line" in exc.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: g[2].update(seq=0), "stands behind"),
        (lambda g: g.insert(3, {**g[2], "pos": 2}), "entry 2 stands behind entry 2"),
        (lambda g: g.insert(3, {**g[2], "pos": 3, "seq": 2}), ""),
        (lambda g: g[2].update(key="k" * 2_000), "limit"),
        (lambda g: g[2].update(attempt=2**70), "attempt"),
        (lambda g: g[2]["message"].update(position=2), "place of its own"),
        (lambda g: g[4].update(position=9), "before its input"),
        (lambda g: g[0]["run"].update(status="flying"), "flying"),
        (lambda g: g[0]["run"].update(run_id="thr_x"), "no run with this id"),
    ],
)
def test_what_no_run_records_is_refused(change: Any, words: str) -> None:
    given = [json.loads(line) for line in lines(recorded())[:-1]]
    change(given)
    with pytest.raises(Damaged) as caught:
        list(portable.read(signed(given)))
    assert words in caught.value.message


# -- redacting --------------------------------------------------------------------------------------------------------


def test_a_hook_is_given_each_line_and_its_answer_is_written() -> None:
    seen: list[str] = []

    def hide(line: dict[str, Any]) -> dict[str, Any]:
        seen.append(line["line"])
        if line["line"] == "blob" and "data" in line:
            line["data"]["instructions"] = "(hidden)"
        return line

    (now,) = portable.read(lines(recorded(), redact=hide))
    assert seen == ["run", "entry", "entry", "entry", "message", "blob", "blob"]
    assert now.redacted
    assert b"(hidden)" in now.blobs[HASH]
    assert b"Be kind" not in b"".join(lines(recorded(), redact=hide))


@pytest.mark.parametrize("answer", [None, [], {}, {"line": "end"}])
def test_a_hook_that_answers_something_else_is_a_mistake(answer: Any) -> None:
    with pytest.raises(Invalid, match="redacts"):
        lines(recorded(), redact=lambda _: answer)
