"""Parallel branches of a run: each in a task of its own, under a scope whose name follows from creation order.

Invariant: a branch never takes its siblings down, and the run counts as moving until the last one has settled, so that
it is not put away while one of them is about to go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from holdfast.domain import limits
from holdfast.domain.errors import Invalid
from holdfast.domain.journal import branch_scope
from holdfast.runtime import scopes

if TYPE_CHECKING:
    from holdfast.runtime.context import RunContext

T = TypeVar("T")


async def gather(ctx: RunContext, parts: Sequence[Awaitable[Any]]) -> tuple[Any, ...]:
    """`ctx.gather`: the results; the first error in creation order, after every branch has settled."""
    try:
        ctx.demand_open()
        scope = scopes.current(ctx)
    except BaseException:
        _never_awaited(parts)
        raise
    group = scope.next_group()
    named: list[tuple[str, Callable[[], Coroutine[Any, Any, Any]]]] = [
        (branch_scope(scope.path, group, n), lambda part=part: _awaited(part)) for n, part in enumerate(parts)
    ]
    results = await run(ctx, named)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return tuple(results)


async def run(
    ctx: RunContext, parts: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, T]]]]
) -> list[T | BaseException]:
    """Run each part under the scope named with it; results and errors in their order, when all have settled."""
    ctx.demand_open()
    scopes.current(ctx)
    if len(parts) > limits.GATHER_BRANCHES_MAX:
        raise Invalid(f"At most {limits.GATHER_BRANCHES_MAX:,} branches run in parallel, not {len(parts):,}.")
    if len(parts) == 1:
        name, only = parts[0]
        with scopes.within(name, ctx):
            return [await _settled(only())]
    return await _fork(ctx, parts)


async def _fork(
    ctx: RunContext, parts: Sequence[tuple[str, Callable[[], Coroutine[Any, Any, T]]]]
) -> list[T | BaseException]:
    if not parts:
        return []
    left = len(parts)
    outer = scopes.current(ctx)
    inner: list[scopes.Scope] = []

    async def branch(name: str, make: Callable[[], Coroutine[Any, Any, T]]) -> T | BaseException:
        nonlocal left
        inner.append(scopes.enter(name, ctx))
        try:
            return await _settled(make())
        finally:
            left -= 1
            ctx.activity.joined(left)

    ctx.activity.forked(len(parts))
    tasks = [asyncio.create_task(branch(name, make), name=name) for name, make in parts]
    ctx.tasks.update(tasks)
    for task in tasks:
        task.add_done_callback(ctx.tasks.discard)
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        ctx.demand_open()
        raise
    ctx.demand_open()
    for scope in inner:  # only now, when all have settled: what a branch knows does not depend on its siblings' pace
        outer.see(scope.seen)
    return [task.result() for task in tasks]


async def _settled(work: Coroutine[Any, Any, T]) -> T | BaseException:
    """The result, or whatever was raised: a branch never takes its siblings down."""
    try:
        return await work
    except asyncio.CancelledError:
        raise
    except BaseException as exc:
        return exc


def _never_awaited(parts: Sequence[Awaitable[Any]]) -> None:
    """Coroutines that were handed to us and will not run: close them, or Python warns about each."""
    for part in parts:
        if isinstance(part, Coroutine):
            part.close()


async def _awaited(part: Awaitable[T]) -> T:
    return await part
