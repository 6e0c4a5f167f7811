"""JSON schemas from outside: checked before they are used, and never a reason to fetch anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from holdfast.domain.errors import DefinitionError


def validator(what: str, schema: dict[str, Any]) -> Any:
    """A draft 2020-12 validator. `DefinitionError` if `schema` is none, or refers to what it does not hold."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as exc:
        raise DefinitionError(f"{what}: not a JSON schema: {exc.message}") from exc
    # An empty registry: the default one fetches what a schema refers to, and a schema may be a stranger's.
    alone: Registry[Any] = Registry()
    resolver = alone.resolver_with_root(DRAFT202012.create_resource(schema))
    try:
        for reference in _references(schema):
            resolver.lookup(reference)
    except Unresolvable as exc:
        raise DefinitionError(f"{what}: {exc.ref!r} is not in the schema itself.") from exc
    return Draft202012Validator(schema, registry=alone)


def errors(checking: Any, value: Any) -> list[dict[str, Any]]:
    """What does not fit, as `{loc, msg}`, without the value itself."""
    try:
        found = sorted(checking.iter_errors(value), key=lambda e: [str(p) for p in e.absolute_path])
    except RecursionError:
        return [{"loc": [], "msg": "it is nested too deeply"}]
    return [{"loc": list(e.absolute_path), "msg": _said(e)} for e in found]


def _said(error: Any) -> str:
    """The message; the library begins most of them with the value, which may be large or secret."""
    shown = repr(error.instance)
    return f"the value{error.message[len(shown) :]}" if error.message.startswith(shown) else error.message


def _references(schema: Any) -> Iterator[str]:
    """Every `$ref` within a schema."""
    match schema:
        case dict():
            found = cast("dict[str, Any]", schema)
            if isinstance(found.get("$ref"), str):
                yield found["$ref"]
            parts = list(found.values())
        case list():
            parts = cast("list[Any]", schema)
        case _:
            return
    for part in parts:
        yield from _references(part)
