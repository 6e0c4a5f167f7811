"""What a run of a native agent is given: checked once at the door, stored in one canonical form."""

from __future__ import annotations

import base64
import binascii
import mimetypes
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from holdfast.agents.native.output import encoded
from holdfast.agents.tools import errors_of
from holdfast.domain.encoding import encode
from holdfast.domain.errors import DefinitionError, Invalid


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextInput(_Part):
    """Text of a user message."""

    type: Literal["text"]
    text: str = Field(min_length=1)


class FileInput(_Part):
    """A file: where it is, or its bytes in base64 with their media type."""

    type: Literal["file"]
    url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+", max_length=8_192)
    data: str | None = Field(default=None, min_length=1)
    media_type: str | None = Field(default=None, pattern=r"^[\w.+-]+/[\w.+-]+$")

    @field_validator("data")
    @classmethod
    def _canonical(cls, data: str | None) -> str | None:
        """The same bytes in one spelling: base64 as it comes may hold line breaks."""
        if data is None:
            return None
        try:
            return base64.b64encode(base64.b64decode("".join(data.split()), validate=True)).decode()
        except (binascii.Error, ValueError):
            raise ValueError("not valid base64") from None

    @model_validator(mode="after")
    def _one_source(self) -> FileInput:
        if (self.url is None) == (self.data is None):
            raise ValueError("a file has a url or data, one of them")
        if self.media_type is None:
            self.media_type = mimetypes.guess_type(self.url.partition("?")[0])[0] if self.url else None
        if self.media_type is None:
            raise ValueError("the media_type is needed: it does not follow from the url")
        return self


class DataInput(_Part):
    """A JSON value; the model reads it as text."""

    type: Literal["data"]
    data: Any


InputPart = Annotated[TextInput | FileInput | DataInput, Field(discriminator="type")]
_parts: Final = TypeAdapter[list[Any]](list[InputPart])

SCHEMA: Final = TypeAdapter[Any](
    Annotated[str, Field(min_length=1)] | Annotated[list[InputPart], Field(min_length=1)]
).json_schema()


def input_adapter(input_type: Any) -> TypeAdapter[Any]:
    """The validator of a declared input type; `DefinitionError` if it cannot have a schema."""
    try:
        adapter = TypeAdapter[Any](input_type)
        adapter.json_schema()
    except Exception as exc:
        raise DefinitionError(f"The input type {input_type!r} has no JSON schema: {exc}") from exc
    return adapter


def accept_typed(adapter: TypeAdapter[Any], value: Any) -> bytes:
    """`value` as JSON if it fits the declared type; `Invalid` names every place where it does not."""
    try:
        return encoded(adapter, adapter.validate_python(value), what="The input")
    except ValidationError as exc:
        raise not_fitting(errors_of(exc)) from None


def accept_message(value: Any) -> bytes:
    """Text, or a list of parts, as JSON."""
    if isinstance(value, str):
        if not value.strip():
            raise not_fitting([{"loc": [], "msg": "the text is empty"}])
        return encode(value, what="The input")
    if not isinstance(value, list) or not value:
        raise not_fitting([{"loc": [], "msg": "the input is text or a list of parts that is not empty"}])
    try:
        parts = _parts.validate_python(value)
    except ValidationError as exc:
        raise not_fitting(errors_of(exc)) from None
    plain = [p.model_dump(exclude_none=not isinstance(p, DataInput)) for p in cast("list[_Part]", parts)]
    return encode(plain, what="The input")


def not_fitting(errors: list[dict[str, Any]]) -> Invalid:
    first = errors[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    shown = f"{where}: {first['msg']}" if where else first["msg"]
    return Invalid(f"The input does not fit the agent: {shown}{more}.", code="invalid_input", errors=errors)
