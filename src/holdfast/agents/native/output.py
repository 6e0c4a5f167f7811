"""What a run produces: how the model is asked for it, and how its answer becomes a value of the declared type.

Text needs nothing. Any other type is asked for through an *output tool* (`final_result`, one for each member of a
union), or, with `NativeOutput`, through the provider's JSON-schema mode. Types whose schema is not an object are
wrapped as `{"response": …}`, since tool arguments are objects. Everything here is built once per agent.
"""

from __future__ import annotations

import re
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Union, cast, get_args, get_origin

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.tools import ToolDefinition
from pydantic_core import PydanticSerializationError

from holdfast.agents.tools import described, errors_of
from holdfast.domain.encoding import checked, encode
from holdfast.domain.errors import DefinitionError

OUTPUT_TOOL: Final = "final_result"
OUTPUT_DESCRIPTION: Final = "The final response which ends this conversation"
WRAPPER: Final = "response"


class Rejected(Exception):
    """The model's output does not fit; the message tells the model why."""


@dataclass(frozen=True, slots=True)
class NativeOutput:
    """Ask for `type` through the provider's JSON-schema mode instead of a tool. The model has to support it."""

    type: Any
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """One type that the output may have. `asked` validates what the model sends, `adapter` the value itself."""

    name: str
    type: Any
    adapter: TypeAdapter[Any]
    asked: TypeAdapter[Any]
    wrapped: bool
    schema: dict[str, Any]
    description: str

    def decode(self, given: str | dict[str, Any] | None) -> Any:
        """The value, or `Rejected` with what is wrong with it."""
        try:
            value = (
                self.asked.validate_python(given)
                if isinstance(given, dict)
                else self.asked.validate_json(given or "{}")
            )
        except ValidationError as exc:
            raise Rejected(f"{described(errors_of(exc))}\n\nFix the errors and try again.") from None
        except Exception as exc:  # a validator of the user's own
            raise Rejected(f"{type(exc).__name__}: {exc}\n\nFix the errors and try again.") from exc
        return getattr(value, WRAPPER) if self.wrapped else value

    def encode(self, value: Any) -> bytes:
        return encoded(self.adapter, value, what="The output")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """The output contract of an agent."""

    mode: Literal["text", "tool", "native"]
    allow_text: bool
    members: tuple[Member, ...]
    native: OutputObjectDefinition | None
    either: TypeAdapter[Any]

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of a stored output."""
        return self.either.json_schema(mode="serialization")

    def member(self, tool: str) -> Member | None:
        """The type that an output tool asks for; None if it is not one."""
        if self.mode != "tool" or not tool.startswith(OUTPUT_TOOL):
            return None
        return next((m for m in self.members if m.name == tool), None)

    def tools(self) -> list[ToolDefinition]:
        if self.mode != "tool":
            return []
        return [
            ToolDefinition(
                name=m.name,
                description=m.description,
                parameters_json_schema=m.schema,
                outer_typed_dict_key=WRAPPER if m.wrapped else None,
                kind="output",
            )
            for m in self.members
        ]

    def from_text(self, text: str) -> tuple[Any, Member | None]:
        """The value of an answer without calls, and its type (None is text); `Rejected` if it cannot be one."""
        if self.mode == "native":
            member = self.members[0]
            return member.decode(_without_fence(text)), member
        if not self.allow_text:
            names = " or ".join(m.name for m in self.members)
            raise Rejected(f"Plain text is not an answer here: call {names} with your final response.")
        return text, None

    def encode(self, value: Any, member: Member | None) -> bytes:
        return encode(value, what="The output") if member is None else member.encode(value)

    def decode(self, payload: bytes) -> Any:
        """The value of a stored output: as the one of the declared types that it fits best, else as plain JSON.

        A validator may have made something of it that is none of them.
        """
        try:
            return self.either.validate_json(payload)
        except ValidationError:
            return _any.validate_json(payload)


_any: Final = TypeAdapter[Any](Any)


def spec_of(output_type: Any) -> OutputSpec:
    """The contract for `output_type`: `str`, a type, a union, a sequence of types, or `NativeOutput(…)`."""
    if isinstance(output_type, NativeOutput):
        return _native(output_type)
    declared = _split(output_type)
    others = [t for t in declared if t is not str]
    if not others:
        return OutputSpec("text", True, (), None, TypeAdapter[Any](str))
    members = _members(others)
    either: Any = Union[tuple(declared)]  # noqa: UP007  # pyright: ignore
    return OutputSpec("tool", str in declared, members, None, TypeAdapter[Any](either))


def _native(output: NativeOutput) -> OutputSpec:
    member = _member(output.name or OUTPUT_TOOL, output.type)
    native = OutputObjectDefinition(
        json_schema=member.schema,
        name=output.name or getattr(output.type, "__name__", "response"),
        description=output.description or member.description,
        strict=output.strict,
    )
    return OutputSpec("native", True, (member,), native, member.adapter)


def _split(output_type: Any) -> list[Any]:
    """The types that the model may choose from. A union with None stays one type: "nothing" is an answer of its own."""
    if isinstance(output_type, Sequence) and not isinstance(output_type, (str, bytes)):
        found = [t for given in cast("Sequence[Any]", output_type) for t in _split(given)]
        if not found:
            raise DefinitionError("output_type is an empty sequence.")
        return list(dict.fromkeys(found))
    if get_origin(output_type) in (Union, types.UnionType):
        args = get_args(output_type)
        return [output_type] if type(None) in args else [t for arg in args for t in _split(arg)]
    return [output_type]


def _members(types_: list[Any]) -> tuple[Member, ...]:
    if len(types_) == 1:
        return (_member(OUTPUT_TOOL, types_[0]),)
    names: list[str] = []
    for output_type in types_:
        shown = re.sub(r"[^A-Za-z0-9_-]+", "_", getattr(output_type, "__name__", None) or str(output_type))
        name = f"{OUTPUT_TOOL}_{shown}"[:60]
        names.append(name if name not in names else f"{name}_{len(names)}")
    return tuple(_member(name, t) for name, t in zip(names, types_, strict=True))


def _member(name: str, output_type: Any) -> Member:
    try:
        adapter = TypeAdapter[Any](output_type)
        schema = adapter.json_schema()
        wrapped = schema.get("type") != "object"
        asked = TypeAdapter[Any](create_model(name, response=(output_type, ...))) if wrapped else adapter
        schema = asked.json_schema() if wrapped else schema
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema, PydanticUserError, TypeError) as exc:
        raise DefinitionError(f"output_type {output_type!r} has no JSON schema: {exc}") from exc
    schema.pop("title", None)
    description = schema.pop("description", None) or OUTPUT_DESCRIPTION
    return Member(name, output_type, adapter, asked, wrapped, schema, description)


def encoded(adapter: TypeAdapter[Any], value: Any, *, what: str) -> bytes:
    """`value` as its declared type writes it, or, if it is something else, as what it is."""
    try:
        return checked(adapter.dump_json(value, by_alias=True, warnings="error"), what=what)
    except (PydanticSerializationError, ValueError, TypeError, AttributeError):
        return encode(value, what=what)


def _without_fence(text: str) -> str:
    """The JSON itself, where a model wraps it in a Markdown code block."""
    match = re.fullmatch(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", text, re.DOTALL)
    return match[1] if match else text
