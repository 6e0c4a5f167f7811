"""What the control plane takes in a browser. `python -m bench.pages`. Prints one JSON object.

A server of its own on SQLite with a run of 20,000 steps, a conversation as long and 100,000 small runs; the Chromium of
this machine, as the tests start it. Times are the page's own (Performance API), from the start of the navigation to
the frame in which its rows are there; long tasks are those above 50 ms (W3C Long Tasks).
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, sync_playwright

from holdfast.domain import ids
from holdfast.domain.determinism import SYSTEM
from holdfast.store import principals
from tests import databases, long_runs
from tests.ui.browser import launched
from tests.ui.conftest import House

RUNS, PAGE, OPENINGS, SCROLLS, STREAMED_MS = 100_000, 200, 5, 80, 4_000
OBSERVED = """
window.tasks = []; window.frames = [];
new PerformanceObserver((list) => { for (const e of list.getEntries()) tasks.push(e.duration); })
  .observe({ type: "longtask", buffered: true });
const tick = (at) => { frames.push(at); requestAnimationFrame(tick); };
requestAnimationFrame(tick);
"""


# Not `wait_for_function`: it evaluates text in the page, which the page's policy forbids.
THERE = """
async (text) => {
  while (!document.body?.innerText.includes(text)) {
    if (performance.now() > 30_000) throw new Error(`"${text}" is not there after 30 s.`);
    await new Promise(requestAnimationFrame);
  }
  return performance.now();
}
"""


async def written(url: str) -> dict[str, str]:
    async with databases.opened(url) as database:
        await database.write(None, principals.seed)
        return {
            "workflow": ids.text(ids.RUN, await long_runs.add_workflow(database)),
            "conversation": ids.text(ids.RUN, await long_runs.add_conversation(database)),
            "small": ids.text(ids.RUN, await long_runs.add_workflow(database, steps=1, agent="small")),
        }


def multiplied(path: Path, run: str) -> None:
    """The small run 100,000 times: its rows in every table, under other ids."""
    connection = sqlite3.connect(path, isolation_level=None)
    run_id = ids.parse(ids.RUN, run)
    (thread_id,) = connection.execute("SELECT thread_id FROM runs WHERE id = ?", (run_id,)).fetchone()
    rows = list(_rows_of(connection, run_id, thread_id))
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("BEGIN")
    made = [(SYSTEM.new_id(), SYSTEM.new_id()) for _ in range(RUNS)]
    for table, row in rows:
        statement = f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"
        connection.executemany(statement, ([_as(v, run_id, thread_id, r, t) for v in row] for r, t in made))
    connection.execute("COMMIT")
    connection.close()


def _rows_of(connection: sqlite3.Connection, run_id: bytes, thread_id: bytes) -> Iterator[tuple[str, Sequence[Any]]]:
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        columns = [column[1] for column in connection.execute(f"PRAGMA table_info({table})")]
        wanted = {"runs": "id", "threads": "id"}.get(table, "run_id" if "run_id" in columns else None)
        if wanted is not None:
            value = thread_id if table == "threads" else run_id
            for row in connection.execute(f"SELECT * FROM {table} WHERE {wanted} = ?", (value,)).fetchall():
                yield table, row


def _as(value: Any, run: bytes, thread: bytes, new_run: bytes, new_thread: bytes) -> Any:
    return new_run if value == run else new_thread if value == thread else value


def opened(page: Page, url: str, shows: str) -> float:
    """Milliseconds from the start of the navigation to the frame in which the text is there."""
    page.goto(url, wait_until="commit")
    return float(page.evaluate(THERE, shows))


def scrolled(page: Page) -> dict[str, float]:
    page.evaluate("tasks.length = 0; frames.length = 0")
    page.mouse.move(500, 500)
    for n in range(SCROLLS):
        page.mouse.wheel(0, 900 if n < SCROLLS * 3 / 4 else -1_800)
        page.wait_for_timeout(25)
    return observed(page)


def observed(page: Page) -> dict[str, float]:
    tasks: list[float] = page.evaluate("tasks")
    frames: list[float] = page.evaluate("frames")
    gaps = [b - a for a, b in itertools.pairwise(frames)]
    return {
        "long_tasks": len(tasks),
        "longest_task_ms": max(tasks, default=0.0),
        "frames": len(gaps),
        "late_frames": sum(gap > 34 for gap in gaps),
        "p99_frame_ms": statistics.quantiles(gaps, n=100)[98] if len(gaps) > 2 else 0.0,
    }


def paged(url: str) -> dict[str, float]:
    """How long pages of 200 runs take at the start of the list and at its end, p50, ms."""
    took: list[float] = []
    with httpx.Client(base_url=url, timeout=30) as client:
        cursor: str | None = None
        while True:
            began = time.perf_counter()
            page = client.get(
                "/v1/runs", params={"limit": PAGE} | ({} if cursor is None else {"cursor": cursor})
            ).json()
            took.append((time.perf_counter() - began) * 1_000)
            cursor = page["next_cursor"]
            if cursor is None:
                break
    ends = len(took) // 5
    first, last = statistics.median(took[:ends]), statistics.median(took[-ends - 1 : -1])
    return {"pages": len(took), "first_ms": first, "last_ms": last}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        house = House(Path(folder), f"sqlite:///{folder}/bench.db")
        databases.migrated(house.database)
        found = databases.in_thread(lambda: written(house.database))
        multiplied(Path(folder) / "bench.db", found["small"])
        browser = launched(playwright)
        with house.serve(verb="dev") as process:
            url = process.url()
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(OBSERVED)
            result: dict[str, Any] = {"runs": RUNS, "steps": long_runs.STEPS, "lists": paged(url)}
            for name, address, shows in (
                ("timeline", f"runs/{found['workflow']}?view=timeline", "gather 3"),
                ("journal", f"runs/{found['workflow']}?view=journal", "fetch"),
                ("transcript", f"runs/{found['conversation']}?view=transcript", "look_up"),
                ("list of runs", "runs", "small"),
            ):
                times = [opened(page, f"{url}/ui/{address}", shows) for _ in range(OPENINGS)]
                opening = observed(page)["longest_task_ms"]
                result[name] = {
                    "open_ms": statistics.median(times),
                    "opening_longest_task_ms": opening,
                    **scrolled(page),
                }
            page.goto(f"{url}/ui/chat?agent=talker")
            box = page.get_by_role("textbox", name="Message to Talker")
            box.fill("go on")
            box.press("Enter")
            page.evaluate(THERE, "word20 ")
            page.evaluate("tasks.length = 0; frames.length = 0")
            page.wait_for_timeout(STREAMED_MS)
            result["chat"] = observed(page)
        browser.close()
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(main())
