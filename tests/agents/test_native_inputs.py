"""What a run may be given, how it is stored, and what the model sees of it."""

from __future__ import annotations

import base64
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai.messages import AudioUrl, BinaryContent, DocumentUrl, ImageUrl, VideoUrl

from holdfast.agents.native import Agent
from holdfast.domain.encoding import decode
from holdfast.domain.errors import Invalid, NotEncodable
from tests.agents.doubles import asked, scripted
from tests.agents.memory_context import MemoryContext, run

PNG = b"\x89PNG" * 40
PNG64 = base64.b64encode(PNG).decode()


async def shown(input: Any, **options: Any) -> Any:
    model = scripted("ok")
    agent = Agent("a", model=model, **options)
    await run(agent, MemoryContext(), agent.accept(input))
    return asked(model)[0][1]


async def test_text_is_text() -> None:
    assert await shown("Grüße \U0001f600") == "Grüße \U0001f600"


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "hi"}, "hi"),
        ({"type": "data", "data": {"a": [1, None]}}, '{"a":[1,null]}'),
        ({"type": "data", "data": None}, "null"),
        ({"type": "file", "url": "https://x.org/a.png"}, ImageUrl(url="https://x.org/a.png", media_type="image/png")),
        (
            {"type": "file", "url": "https://x.org/a.pdf?x=1"},
            DocumentUrl(url="https://x.org/a.pdf?x=1", media_type="application/pdf"),
        ),
        (
            {"type": "file", "url": "https://x.org/a", "media_type": "audio/mpeg"},
            AudioUrl(url="https://x.org/a", media_type="audio/mpeg"),
        ),
        ({"type": "file", "url": "https://x.org/a.mp4"}, VideoUrl(url="https://x.org/a.mp4", media_type="video/mp4")),
        ({"type": "file", "data": PNG64, "media_type": "image/png"}, BinaryContent(data=PNG, media_type="image/png")),
    ],
)
async def test_parts_become_content(part: dict[str, Any], expected: Any) -> None:
    assert await shown([part]) == [expected]


def test_a_file_is_stored_as_canonical_base64() -> None:
    stored = decode(
        Agent("a", model="test").accept([{"type": "file", "data": PNG64 + "\n", "media_type": "image/png"}])
    )
    assert stored == [{"type": "file", "data": PNG64, "media_type": "image/png"}]


@pytest.mark.parametrize(
    ("input", "loc", "says"),
    [
        (None, [], "text or a list of parts"),
        (3, [], "text or a list of parts"),
        ({"type": "text", "text": "hi"}, [], "text or a list of parts"),
        ("", [], "empty"),
        (" \n", [], "empty"),
        ([], [], "not empty"),
        ([{"type": "text", "text": ""}], [0, "text", "text"], "at least 1 character"),
        ([{"type": "video"}], [0], "does not match any of the expected tags"),
        ([{"type": "text", "text": "a", "x": 1}], [0, "text", "x"], "not permitted"),
        ([{"type": "file"}], [0, "file"], "url or data, one of them"),
        ([{"type": "file", "url": "file:///etc/passwd"}], [0, "file", "url"], "match pattern"),
        ([{"type": "file", "url": "https://x.org/a"}], [0, "file"], "media_type is needed"),
        ([{"type": "file", "data": "%%", "media_type": "image/png"}], [0, "file", "data"], "base64"),
        ([{"type": "file", "data": PNG64}], [0, "file"], "media_type is needed"),
        ([{"type": "file", "data": PNG64, "media_type": "png"}], [0, "file", "media_type"], "match pattern"),
        (["text"], [0], "valid dictionary"),
    ],
)
def test_what_is_not_an_input_is_refused_with_the_place(input: Any, loc: list[Any], says: str) -> None:
    with pytest.raises(Invalid) as caught:
        Agent("a", model="test").accept(input)
    assert caught.value.code == "invalid_input"
    assert caught.value.errors[0]["loc"] == loc
    assert says in caught.value.errors[0]["msg"]


@pytest.mark.parametrize("input", ["\ud800", [{"type": "text", "text": "\ud800"}], "x" * (17 * 1024 * 1024)])
def test_what_cannot_be_stored_is_refused(input: Any) -> None:
    with pytest.raises(Invalid):
        Agent("a", model="test").accept(input)


class Ask(BaseModel):
    city: str
    day: date


async def test_a_declared_type_is_validated_and_shown_as_json() -> None:
    expected = '{"city":"Rome","day":"2030-01-02"}'
    for given in ({"city": "Rome", "day": "2030-01-02"}, Ask(city="Rome", day=date(2030, 1, 2))):
        assert await shown(given, input_type=Ask) == expected
    assert await shown(["a", "b"], input_type=list[str]) == '["a","b"]'
    assert await shown("plain", input_type=str) == "plain"


def test_a_declared_type_names_every_place_that_does_not_fit() -> None:
    with pytest.raises(Invalid) as caught:
        Agent("a", model="test", input_type=Ask).accept({"day": "soon"})
    assert [e["loc"] for e in caught.value.errors] == [["city"], ["day"]]
    assert caught.value.code == "invalid_input"
    assert "city" in caught.value.message
    assert not isinstance(caught.value, NotEncodable)


def test_the_input_schema_is_shown() -> None:
    assert Agent("a", model="test", input_type=Ask).definition()["input_schema"]["required"] == ["city", "day"]
    either = Agent("a", model="test").definition()["input_schema"]
    assert set(either["$defs"]) == {"DataInput", "FileInput", "TextInput"}
