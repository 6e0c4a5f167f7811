"""All measures, one after another, each in processes of its own. `python -m bench [section …] [--quick]`.

Figures of different machines cannot be compared; the ratios within one run can. Writes nothing but its output.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import load

POSTGRES = os.environ.get("HOLDFAST_BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432/postgres")
CONCURRENCY = 32
CHAT = {"input": "Hello"}
ROUNDS = {"input": 'stub:tools rounds=3 calls=1 tool=lookup args={"id":7} text="done"'}
CHANGES = {"input": 'stub:tools rounds=3 calls=1 tool=change args={"id":7} text="done"'}


def say(measure: str, value: str, at_least: str = "") -> None:
    print(f"  {measure:<66} {value:>22}   {at_least}", flush=True)


def measured(*arguments: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


@contextmanager
def database(kind: str) -> Iterator[str]:
    """A fresh database of its own, removed afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "sqlite":
            yield f"sqlite:///{folder}/bench.db"
            return
        name = f"holdfast_bench_{os.getpid()}_{time.monotonic_ns()}"
        asyncio.run(_execute(f"CREATE DATABASE {name}"))
        try:
            yield POSTGRES.rsplit("/", 1)[0] + "/" + name
        finally:
            asyncio.run(_execute(f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(statement: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(POSTGRES)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def has_postgres() -> bool:
    try:
        asyncio.run(_execute("SELECT 1"))
    except Exception as exc:
        print(f"  PostgreSQL is absent ({exc}); its rows are left out. Set HOLDFAST_BENCH_POSTGRES.")
        return False
    return True


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def serving(*arguments: str, port: int, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-m", *arguments], env=os.environ | env)
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{arguments} did not come up")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def fsync_ms() -> float:
    """The median of a 4 KiB write with fsync on the disk that holds temporary files."""
    with tempfile.NamedTemporaryFile() as file:
        times: list[float] = []
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return sorted(times)[100]


# -- sections -----------------------------------------------------------------------------------------------------


def steps() -> None:
    print(f"\nDurable steps in one process, 100 concurrent runs (disk: fsync p50 {fsync_ms():.2f} ms)")
    for kind in ("sqlite", *(["postgresql"] if has_postgres() else [])):
        for how, least in (("awaited", "12,000"), ("behind", "30,000")):
            with database(kind) as url:
                rate = measured("bench.steps", url, how)["steps_per_s"]
            effect = "no effect class" if how == "awaited" else "effect=read"
            say(f"{kind}: steps/s, {how} ({effect})", f"{rate:,.0f}", f"at least {least}")


def http() -> None:
    print(f"\nOne HTTP run, concurrency {CONCURRENCY}, against a hand-written FastAPI loop (stub model, SQLite FULL)")
    rates: dict[str, dict[str, load.Load]] = {}
    port = free_port()
    with serving("tests.stubs.provider", "--port", str(port), port=port, env={}):
        env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "none"}
        for name, arguments in (("stock", []), ("fair", ["fair"])):
            own = free_port()
            with serving("bench.baseline", str(own), *arguments, port=own, env=env):
                rates[name] = {
                    "chat": _load(own, "/chat", CHAT, "output"),
                    "rounds": _load(own, "/chat", ROUNDS, "output", divide=3),
                }
        with database("sqlite") as url:
            own = free_port()
            with serving("bench.server", str(own), url, port=own, env=env):
                run = {"agent": "bench"}
                rates["holdfast"] = {
                    "chat": _load(own, "/v1/runs?wait=30", run | CHAT, "output"),
                    "rounds": _load(own, "/v1/runs?wait=30", run | ROUNDS, "output", divide=3),
                    "changes": _load(own, "/v1/runs?wait=30", {"agent": "changer"} | CHANGES, "output", divide=3),
                }
    for name in ("stock", "fair", "holdfast"):
        for what, one in rates[name].items():
            say(f"{name}: {what}", f"{one.per_second:,.0f}/s", f"p50 {one.p50_ms:.0f} ms, p99 {one.p99_ms:.0f} ms")
    ours = rates["holdfast"]
    for against, chat_least, rounds_least in (("stock", "0.85", "1.1"), ("fair", "0.4", "0.45")):
        chat = ours["chat"].per_second / rates[against]["chat"].per_second
        rounds = ours["rounds"].per_second / rates[against]["rounds"].per_second
        changes = ours["changes"].per_second / rates[against]["rounds"].per_second
        say(f"ratio to {against}: one model call", f"{chat:.2f}", f"at least {chat_least}")
        say(f"ratio to {against}: three rounds, effect=read", f"{rounds:.2f}", f"at least {rounds_least}")
        least = "at least 0.9" if against == "stock" else ""
        say(f"ratio to {against}: three rounds, effect=keyed", f"{changes:.2f}", least)
    say("chat p99 / p50", f"{ours['chat'].p99_ms / ours['chat'].p50_ms:.1f}", "at most 2")


def _load(port: int, path: str, body: dict[str, object], check: str, *, divide: int = 1) -> load.Load:
    count = (600 if QUICK else 4_000) // divide
    asyncio.run(load.run(port, path, body, requests=count // 4, concurrency=CONCURRENCY, check=check))
    return asyncio.run(load.run(port, path, body, requests=count, concurrency=CONCURRENCY, check=check))


def threads() -> None:
    print("\nLong threads (SQLite)")
    with database("sqlite") as url:
        found = measured("bench.threads", url)
    ratio = found["long_ms"] / found["short_ms"]
    say("a run in a thread of 10,000 messages / of 60, LastTurns(20)", f"{ratio:.2f}", "at most 1.3")
    say("  in ms", f"{found['long_ms']:.2f} / {found['short_ms']:.2f}")
    stored = found["stored_bytes"]
    say("storage of a 1,000-turn thread / its messages' JSON", f"{stored / found['live_bytes']:.2f}", "at most 3")
    say("  / the bare role and content of each", f"{stored / found['plain_bytes']:.2f}")
    say("  in bytes", f"{stored:,} / {found['live_bytes']:,} / {found['plain_bytes']:,}")


def holds() -> None:
    count = 1_000 if QUICK else 10_000
    for kind in ("sqlite", *(["postgresql"] if has_postgres() else [])):
        print(f"\nWaiting and acting ({kind})")
        with database(kind) as url:
            found = measured("bench.holds", url, str(count))
        costs, waiting = found["call_ms"], found["waiting"]
        say("answer → resumed, p50, journals of 100 steps", f"{found['resume_p50_ms']:.1f} ms", "below 20 ms")
        say(f"{count:,} waiting runs: memory of the process", f"{waiting['memory_mib']:+,.0f} MiB")
        say(f"{count:,} waiting runs: tasks", f"{waiting['tasks']:+,}", "none")
        say(f"{count:,} waiting runs: processor time", f"{waiting['cpu_percent']:.1f} %")
        say("one call alone: effect=read, written behind", f"{costs['read']:.2f} ms")
        say("one step that waits for its commit", f"{costs['code']:.2f} ms")
        say("one call alone: effect=keyed", f"{costs['keyed']:.2f} ms", f"{costs['keyed'] / costs['code']:.1f} commits")


def timetravel() -> None:
    for kind in ("sqlite", *(["postgresql"] if has_postgres() else [])):
        print(f"\nTime travel ({kind})")
        with database(kind) as url:
            found = measured("bench.timetravel", url)
        middle = f"state at step {found['steps'] // 2:,} of {found['steps']:,}"
        say(f"{middle}, an agent's", f"{found['state_agent_ms']:.1f} ms")
        say(f"{middle}, a workflow's", f"{found['state_workflow_ms']:.1f} ms")
        say("  in the middle of a run of a dozen steps", f"{found['state_short_ms']:.1f} ms")
        say(f"two runs of {found['steps']:,} steps compared", f"{found['diff_ms']:.1f} ms")
        say(
            f"the state that a thread published, after {found['changes']:,} changes",
            f"{found['thread_state_ms']:.1f} ms",
        )
        times = found["published_bytes"] / found["document_bytes"]
        say(f"storage of {found['changes']:,} small changes / the document", f"{times:.1f}")
        with database(kind) as url:
            _forks(measured("bench.forks", url))


def longruns() -> None:
    for kind in ("sqlite", *(["postgresql"] if has_postgres() else [])):
        with database(kind) as url:
            found = measured("bench.longruns", url)
        print(f"\nLooking at runs of {found['steps']:,} steps over HTTP ({kind})")
        for name, one in found["routes"].items():
            stall = f"event loop kept {one['stall_ms']:.0f} ms" if "stall_ms" in one else ""
            say(name, f"{one['ms']:,.0f} ms", stall)


def pages() -> None:
    found = measured("bench.pages")
    print(f"\nThe control plane in a browser (SQLite, {found['steps']:,} steps, {found['runs']:,} runs)")
    for name in ("timeline", "journal", "transcript", "list of runs"):
        one = found[name]
        task = f"longest task {one['opening_longest_task_ms']:.0f} ms"
        say(f"open the {name}", f"{one['open_ms']:,.0f} ms", task)
        say(f"  scroll it: late frames of {one['frames']}", f"{one['late_frames']}", f"{one['long_tasks']} long tasks")
    lists = found["lists"]
    say(
        f"a page of 200 runs, of {lists['pages']}",
        f"{lists['first_ms']:.1f} ms",
        f"at the end {lists['last_ms']:.1f} ms",
    )
    chat = found["chat"]
    say(
        f"a chat at 200 tokens/s: late frames of {chat['frames']}",
        f"{chat['late_frames']}",
        f"{chat['long_tasks']} long tasks",
    )


def _forks(found: dict[str, Any]) -> None:
    middle, end = (found[f"long_{where}_ms"] / found[f"short_{where}_ms"] for where in ("middle", "end"))
    say("fork of a 1,000-step run / of a 10-step run, in the middle", f"{middle:.2f}", "at most 1.2")
    say("  at the end", f"{end:.2f}", "at most 1.2")
    say("  in ms", f"{found['long_middle_ms']:.2f} / {found['short_middle_ms']:.2f}")
    ratio = found["branch_ms"] / found["plain_ms"]
    say(f"a run behind {found['depth']} branches / in a plain thread", f"{ratio:.2f}")
    say("  in ms", f"{found['branch_ms']:.2f} / {found['plain_ms']:.2f}")
    if "forks_bytes" in found:
        parent, more = found["parent_bytes"], found["forks_bytes"]
        what = f"storage of a thread of {found['turns']:,} turns with {found['copies']} forks / without"
        say(what, f"{(parent + more) / parent:.2f}", "at most 1.1")
        say("  bytes a fork", f"{more / found['copies']:,.0f}")


def wakeups() -> None:
    print("\nBetween processes (PostgreSQL)")
    if has_postgres():
        with database("postgresql") as url:
            found = measured("bench.wakeups", url)
        say("enqueue → started in another process, p50", f"{found['enqueue_p50_ms']:.1f} ms", "below 10 ms")
        over = found["orphan_ms"] - found["lease_ms"]
        say(
            f"orphan of a killed worker done by another (lease {found['lease_ms']} ms)",
            f"{found['orphan_ms']:,.0f} ms",
            f"lease {over:+,.0f} ms; at most lease + 2,000",
        )


def footprint() -> None:
    print("\nFootprint")
    times: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import holdfast"], check=True)
        times.append(time.perf_counter() - began)
    bare: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        bare.append(time.perf_counter() - began)
    say("import holdfast, with the interpreter", f"{min(times):.2f} s", f"bare {min(bare):.2f} s; below 1 s")
    with database("sqlite") as url:
        port = free_port()
        env = {"OPENAI_API_KEY": "none"}
        with serving("bench.server", str(port), url, port=port, env=env) as process:
            status = Path(f"/proc/{process.pid}/status")
            if status.exists():
                kib = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmRSS"))
                say("memory of an idle server", f"{kib / 1024:,.0f} MiB")


SECTIONS: dict[str, Callable[[], None]] = {
    "steps": steps,
    "http": http,
    "threads": threads,
    "holds": holds,
    "timetravel": timetravel,
    "longruns": longruns,
    "pages": pages,
    "wakeups": wakeups,
    "footprint": footprint,
}
QUICK = "--quick" in sys.argv

if __name__ == "__main__":
    chosen = [name for name in sys.argv[1:] if not name.startswith("--")] or list(SECTIONS)
    unknown = [name for name in chosen if name not in SECTIONS]
    if unknown:
        sys.exit(f"There is no section {unknown[0]!r}; there are {', '.join(SECTIONS)}.")
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores; server, stub and load generator share them")
    for name in chosen:
        SECTIONS[name]()
