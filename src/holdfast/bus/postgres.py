# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false
# (asyncpg ships no types)
"""The relay over LISTEN/NOTIFY: hints gathered for some milliseconds, sent after the commits they speak of.

NOTIFY inside a hot transaction takes a database-wide lock at commit, so hints go out on a connection of their own.
After a reconnect everybody is told to look: what was missed meanwhile is found in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial
from typing import Any, Literal

import asyncpg

from holdfast.bus.base import Change, Delta, Hub
from holdfast.domain import limits
from holdfast.domain.determinism import SYSTEM, Determinism
from holdfast.domain.ids import RunId, TenantId

CHANNEL = "holdfast"
REMOTE_LISTENER_MS = 30_000
PENDING_MAX = 10_000
RECONNECT_S = 0.5
_GONE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)

Hint = tuple[Literal["e", "d", "l", "m", "b", "w", "c", "r"], *tuple[Any, ...]]


class PostgresRelay:
    """`dsn` needs a session of its own: not through a transaction-pooling proxy."""

    def __init__(self, dsn: str, *, determinism: Determinism = SYSTEM) -> None:
        self._dsn = dsn
        self._determinism = determinism
        self._origin = determinism.random_bytes(6).hex()
        self._pending: dict[Hint, None] = {}
        self._waiting = asyncio.Event()
        self._remote: dict[bytes, float] = {}
        self._waiting_for: dict[bytes, float] = {}
        self._hub: Hub | None = None
        self._deltas = 0
        self._missed = False
        self._tasks: list[asyncio.Task[None]] = []
        self._connection: Any = None

    async def open(self, hub: Hub) -> None:
        self._hub = hub
        connected = asyncio.Event()
        self._tasks = [
            asyncio.create_task(self._listen(connected), name="holdfast-listen"),
            asyncio.create_task(self._send(), name="holdfast-notify"),
        ]
        with contextlib.suppress(TimeoutError):  # not there yet: polls carry the load until it is
            async with asyncio.timeout(limits.STORE_WAIT_MS / 1000):
                await connected.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connection is not None:
            self._connection.terminate()

    # -- out ----------------------------------------------------------------------------------------------------

    def _put(self, hint: Hint) -> None:
        if len(self._pending) < PENDING_MAX:
            self._pending[hint] = None
            self._waiting.set()
        else:
            self._missed = True

    def entry(self, key: bytes, milestone: bool) -> None:
        now = self._determinism.monotonic_ms()
        streamed = bool(self._remote) and _is_there(self._remote, key, now)
        if streamed or (milestone and _is_there(self._waiting_for, key, now)):
            self._put(("e", key.hex()))

    def delta(self, delta: Delta) -> None:
        if self.remote_listener(delta.run_id):
            self._deltas += 1  # two equal pieces of a message are two, while equal hints are one
            self._put(("d", delta.run_id.hex(), delta.type, json.dumps(delta.data), delta.at, self._deltas))

    def listening(self, key: bytes, milestones: bool) -> None:
        self._put(("m" if milestones else "l", key.hex()))

    def bell(self, run_id: RunId) -> None:
        self._put(("b", run_id.hex()))

    def work(self, agent: str) -> None:
        self._put(("w", agent))

    def change(self, change: Change) -> None:
        self._put(("c", change.tenant_id.hex(), change.kind, change.id, change.status))

    def remote_listener(self, key: bytes) -> bool:
        return bool(self._remote) and _is_there(self._remote, key, self._determinism.monotonic_ms())

    async def _send(self) -> None:
        connection: Any = None
        sent_at = 0.0
        try:
            while True:
                await self._waiting.wait()
                since_ms = self._determinism.monotonic_ms() - sent_at
                if since_ms < limits.NOTIFY_COALESCE_MS:  # the first hint goes out at once, those behind it together
                    await asyncio.sleep((limits.NOTIFY_COALESCE_MS - since_ms) / 1000)
                sent_at = self._determinism.monotonic_ms()
                self._waiting.clear()
                hints, self._pending = list(self._pending), {}
                if self._missed:
                    hints.append(("r",))
                try:
                    if connection is None or connection.is_closed():
                        connection = await asyncpg.connect(self._dsn, timeout=limits.STORE_WAIT_MS // 1000)
                    for payload in self._payloads(hints):
                        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)
                    self._missed = False
                except _GONE:
                    self._missed = True
                    if connection is not None:
                        connection.terminate()
                    connection = None
                    await asyncio.sleep(RECONNECT_S)
        finally:
            if connection is not None:
                connection.terminate()

    def _payloads(self, hints: list[Hint]) -> list[str]:
        """Hints as few payloads under NOTIFY's limit of 8,000 bytes; one hint too large for it is left out."""
        payloads: list[str] = []
        held: list[str] = []
        size = 0
        for hint in hints:
            encoded = json.dumps(hint)
            if len(encoded) > limits.NOTIFY_BYTES_MAX - 40:
                continue
            if size + len(encoded) + 1 > limits.NOTIFY_BYTES_MAX - 40:
                payloads.append(f'["{self._origin}",{",".join(held)}]')
                held, size = [], 0
            held.append(encoded)
            size += len(encoded) + 1
        if held:
            payloads.append(f'["{self._origin}",{",".join(held)}]')
        return payloads

    # -- in -----------------------------------------------------------------------------------------------------

    async def _listen(self, connected: asyncio.Event) -> None:
        assert self._hub is not None
        while True:
            lost = asyncio.Event()
            try:
                connection: Any = await asyncpg.connect(self._dsn, timeout=limits.STORE_WAIT_MS // 1000)
                self._connection = connection
                connection.add_termination_listener(partial(_set, lost))
                await connection.add_listener(CHANNEL, self._receive)
                connected.set()
                self._hub.look()
                self._hub.all_bells()
                self._hub.work(None, relayed=True)
                self._hub.changes_lost()
                await lost.wait()
            except _GONE:
                pass
            await asyncio.sleep(RECONNECT_S)

    def _receive(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        try:
            origin, *hints = json.loads(payload)
        except (ValueError, TypeError):
            return  # somebody else's notification on our channel
        if origin == self._origin or self._hub is None:
            return
        for hint in hints:
            self._handle(self._hub, hint)

    def _handle(self, hub: Hub, hint: list[Any]) -> None:
        match hint:
            case ["e", run]:
                hub.look(bytes.fromhex(run))
            case ["d", run, kind, data, at, _]:
                hub.deliver(Delta(RunId(bytes.fromhex(run)), kind, json.loads(data), at))
            case ["l", run]:
                self._note(self._remote, bytes.fromhex(run))
            case ["m", run]:
                self._note(self._waiting_for, bytes.fromhex(run))
            case ["b", run]:
                hub.bell(RunId(bytes.fromhex(run)), relayed=True)
            case ["w", agent]:
                hub.work(agent, relayed=True)
            case ["c", tenant, kind, id, status]:
                hub.change(Change(TenantId(bytes.fromhex(tenant)), kind, id, status), relayed=True)
            case ["r"]:
                hub.changes_lost()
            case _:
                pass  # a newer version's hint

    def _note(self, listeners: dict[bytes, float], key: bytes) -> None:
        """Somebody elsewhere listens, for a while; the longest silent are forgotten when there are too many."""
        listeners.pop(key, None)
        listeners[key] = self._determinism.monotonic_ms() + REMOTE_LISTENER_MS
        while len(listeners) > PENDING_MAX:
            del listeners[next(iter(listeners))]


def _is_there(listeners: dict[bytes, float], key: bytes, now: float) -> bool:
    until = listeners.get(key)
    if until is not None and until < now:
        del listeners[key]
        return False
    return until is not None


def _set(event: asyncio.Event, *_: Any) -> None:
    event.set()
