"""What a request shows of where it comes from, and what speaks against it: no I/O, no credential is judged here.

Loopback is not authentication: a page in the operator's browser, or a proxy beside us, reaches loopback too. So
without configured authentication a request is served only if nothing about it says that it comes from elsewhere.
Nor is a cookie: the browser adds it to whatever page makes it ask. So what is judged by its cookie has to come from a
page of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A request, as far as letting it in depends on it. `session`: the cookie's value. `fetch_site`: what the browser
    says of the page that asks (`Sec-Fetch-Site`; no page can set it). `json_body`: None without a body."""

    authorization: str | None
    session: str | None = None
    method: str = "GET"
    peer: str | None
    host: str | None
    origin: str | None
    fetch_site: str | None = None
    scheme: str
    forwarded: bool
    json_body: bool | None


# -- without configured authentication ------------------------------------------------------------------------------


def strangeness(visit: Visit) -> str | None:
    """What about a request ("this one …") speaks against serving it without authentication; None if nothing does.

    >>> own = dict(authorization=None, peer="127.0.0.1", host="localhost:8000", scheme="http")
    >>> strangeness(Visit(**own, origin=None, forwarded=False, json_body=True))
    >>> strangeness(Visit(**own, origin="https://evil.example", forwarded=False, json_body=True))
    'has an Origin that is not this server'
    """
    if not _is_loopback(visit.peer):
        return "does not come from this machine"
    if visit.host is None or not _is_loopback(_name_of(visit.host)):
        return "does not name this machine as its Host"
    if visit.forwarded:
        return "was forwarded by a proxy"
    if visit.origin is not None and not _is_own(visit.origin, visit):
        return "has an Origin that is not this server"
    if visit.json_body is False:
        return "has a body whose Content-Type is not application/json"
    return None


# -- with a cookie --------------------------------------------------------------------------------------------------


def foreignness(visit: Visit) -> str | None:
    """What about a request that is judged by its cookie speaks against our own page having made it; None if nothing.

    >>> own = dict(authorization=None, peer="10.0.0.9", host="a.example", scheme="http", forwarded=True)
    >>> foreignness(Visit(**own, method="POST", origin="http://a.example", json_body=True))
    >>> foreignness(Visit(**own, method="POST", origin="https://a.example", fetch_site="same-origin", json_body=True))
    >>> foreignness(Visit(**own, method="POST", origin="https://b.a.example", fetch_site="same-site", json_body=True))
    'comes from another site'
    """
    if visit.fetch_site == "none" and visit.method in SAFE:
        return None  # the person: the address bar, a bookmark
    if visit.fetch_site not in (None, "same-origin") or visit.origin == "null":
        return "comes from another site"
    if visit.origin is None and visit.fetch_site is None and visit.method not in SAFE:
        return "does not say which page made it"
    # Behind a proxy that speaks HTTPS, or names another host, Origin is not what we see; the browser knows better.
    if visit.origin is not None and visit.fetch_site is None and not _is_own(visit.origin, visit):
        return "comes from another site"
    if visit.json_body is False and visit.method not in SAFE:
        return "has a body that is not JSON"
    return None


def over_https(visit: Visit) -> bool:
    """Whether the browser speaks HTTPS, to us or to a proxy before us. Asked of a request of our own page only, whose
    Origin is what the browser sees."""
    return visit.scheme == "https" or (visit.origin or "").startswith("https://")


# -- addresses ------------------------------------------------------------------------------------------------------


def _is_own(origin: str, visit: Visit) -> bool:
    return visit.host is not None and origin.lower() == f"{visit.scheme}://{visit.host}".lower()


def _name_of(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(name: str | None) -> bool:
    if name is None:
        return False
    if name.lower() == "localhost":
        return True
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback
