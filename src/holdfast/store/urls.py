"""Database URLs: read in one place, since a parser's own complaint may show a part of the password."""

from __future__ import annotations

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from holdfast.domain.errors import DefinitionError


def read(url: str) -> URL:
    """The URL in its parts; `DefinitionError` if it cannot be read."""
    try:
        return make_url(url)
    except (ValueError, ArgumentError):
        raise DefinitionError(
            "The database URL cannot be read: write postgresql://user:password@host:port/name, and characters "
            "such as @ : / within user or password as %40 %3A %2F."
        ) from None


def shown(url: URL) -> str:
    """What a message calls the database: the file, or the URL without its password."""
    if url.get_backend_name() == "sqlite":
        return url.database or ":memory:"
    return url.set(drivername="postgresql").render_as_string(hide_password=True)
