"""The world outside, as a process of its own: payments, mail and a courier, with books that survive it.

Three contracts, as providers have them. `/refunds` honours `Idempotency-Key`: the same key and body get the first
answer again. `/mails` does not, but can be asked for the mail of a key. `/pickups` knows nothing of keys. `/books`
shows what really happened. `/control` makes the next requests go wrong: `crash` and `timeout` after acting, `error`
instead of acting.

Nothing of Holdfast is imported: started as a file it is up at once. Rejected: faults kept in memory. They are rows, so
that "crash twice" means twice, though the first crash ends the process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

BODY_BYTES_MAX: Final = 65_536
BUSY_S: Final = 5.0
LATE_S: Final = 8.0
TIMES_MAX: Final = 100
TEXT_CHARS_MAX: Final = 2_000
CENTS_MAX: Final = 500_000
NUMBER_MAX: Final = 2**53
FAULTS: Final = ("crash", "timeout", "error")
PATHS: Final = ("/refunds", "/mails", "/pickups")
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS refunds (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, order_id INTEGER NOT NULL, amount_cents INTEGER NOT NULL,
    requests INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, recipient TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS pickups (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL, message TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS faults (path TEXT PRIMARY KEY, fault TEXT NOT NULL, times INTEGER NOT NULL) STRICT;
"""


class Refused(Exception):
    """The request is answered with this status, and nothing was done."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Books:
    """What was done, in a SQLite file. Each method is one transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._change() as connection:
            for statement in SCHEMA.split(";"):
                connection.execute(statement)

    @contextlib.contextmanager
    def _change(self) -> Generator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def refund(self, key: str, order_id: int, amount_cents: int) -> tuple[dict[str, Any], bool]:
        """Pay money back, once for a key; whether it had been done before."""
        if not 0 < amount_cents <= CENTS_MAX:
            raise Refused(422, f"a refund is 1 to {CENTS_MAX} cents")
        with self._change() as connection:
            known = connection.execute("SELECT * FROM refunds WHERE key = ?", (key,)).fetchone()
            if known is not None:
                if (known["order_id"], known["amount_cents"]) != (order_id, amount_cents):
                    raise Refused(409, "this key was used for another refund")
                connection.execute("UPDATE refunds SET requests = requests + 1 WHERE key = ?", (key,))
                return _refund(known), True
            made = connection.execute(
                "INSERT INTO refunds (key, order_id, amount_cents) VALUES (?, ?, ?) RETURNING *",
                (key, order_id, amount_cents),
            ).fetchone()
            return _refund(made), False

    def mail(self, key: str, recipient: str, subject: str, text: str) -> dict[str, Any]:
        """Send a mail: one more each time it is asked, whatever the key."""
        with self._change() as connection:
            made = connection.execute(
                "INSERT INTO mails (key, recipient, subject, text) VALUES (?, ?, ?, ?) RETURNING *",
                (key, recipient, subject, text),
            ).fetchone()
            return _mail(made)

    def mail_of(self, key: str) -> dict[str, Any]:
        with self._change() as connection:
            found = connection.execute("SELECT * FROM mails WHERE key = ? ORDER BY id LIMIT 1", (key,)).fetchone()
        if found is None:
            raise Refused(404, "no mail has this key")
        return _mail(found)

    def pickup(self, order_id: int, message: str) -> dict[str, Any]:
        """Tell the courier: one more each time."""
        with self._change() as connection:
            made = connection.execute(
                "INSERT INTO pickups (order_id, message) VALUES (?, ?) RETURNING *", (order_id, message)
            ).fetchone()
            return {"ticket": f"C-{made['id']}", "order_id": order_id, "message": message}

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        with self._change() as connection:
            return {
                table: [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]
                for table in ("refunds", "mails", "pickups")
            }

    def arm(self, path: str, fault: str, times: int) -> None:
        """The next requests to a path go wrong; 0 times: they do not any more."""
        with self._change() as connection:
            connection.execute("DELETE FROM faults WHERE path = ?", (path,))
            if times:
                connection.execute("INSERT INTO faults VALUES (?, ?, ?)", (path, fault, times))

    def fault(self, path: str) -> str | None:
        """What goes wrong with this request; counted as it is asked."""
        with self._change() as connection:
            found = connection.execute("SELECT * FROM faults WHERE path = ? AND times > 0", (path,)).fetchone()
            if found is None:
                return None
            connection.execute("UPDATE faults SET times = times - 1 WHERE path = ?", (path,))
            return str(found["fault"])


def _refund(row: sqlite3.Row) -> dict[str, Any]:
    return {"id": f"re_{row['id']}", "order_id": row["order_id"], "amount_cents": row["amount_cents"]}


def _mail(row: sqlite3.Row) -> dict[str, Any]:
    return {"id": f"mail_{row['id']}", "to": row["recipient"], "subject": row["subject"]}


# --- HTTP ------------------------------------------------------------------------------------------------------------


class Provider(ThreadingHTTPServer):
    """The server of one file of books, on this machine only."""

    daemon_threads = True

    def __init__(self, books: Books, port: int) -> None:
        self.books = books
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    """One request: act, then go wrong if that was ordered, else answer."""

    protocol_version = "HTTP/1.1"
    server: Provider  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        try:
            if url.path == "/books":
                self._answer(200, self.server.books.everything())
            elif url.path == "/mails":
                self._answer(200, self.server.books.mail_of("".join(parse_qs(url.query).get("key", []))))
            else:
                raise Refused(404, "there are /refunds, /mails, /pickups, /books and /control")
        except Refused as exc:
            self._answer(exc.status, {"error": str(exc)})

    def do_POST(self) -> None:
        try:
            self._post(urlsplit(self.path).path, self._body())
        except Refused as exc:
            self._answer(exc.status, {"error": str(exc)})

    def _post(self, path: str, body: dict[str, Any]) -> None:
        if path == "/control":
            self._control(body)
            return
        if path not in PATHS:
            raise Refused(404, f"there are {', '.join(PATHS)}, /books and /control")
        fault = self.server.books.fault(path)
        if fault == "error":
            raise Refused(500, "out of order, as ordered")
        status, answer, replayed = self._act(path, body)
        if fault == "crash":
            os._exit(1)
        if fault == "timeout":
            time.sleep(LATE_S)
        self._answer(status, answer, replayed=replayed)

    def _act(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any], bool]:
        books, key = self.server.books, self.headers.get("Idempotency-Key", "")
        if path == "/pickups":
            return 201, books.pickup(_number(body, "order_id"), _text(body, "message")), False
        if not key:
            raise Refused(400, "this takes an Idempotency-Key")
        if path == "/refunds":
            done, replayed = books.refund(key, _number(body, "order_id"), _number(body, "amount_cents"))
            return 200 if replayed else 201, done, replayed
        return 201, books.mail(key, _text(body, "to"), _text(body, "subject"), _text(body, "text")), False

    def _control(self, body: dict[str, Any]) -> None:
        path, fault, times = _text(body, "path"), _text(body, "fault"), body.get("times", 1)
        if path not in PATHS or fault not in FAULTS or not isinstance(times, int) or not 0 <= times <= TIMES_MAX:
            raise Refused(422, f"path: {', '.join(PATHS)}; fault: {', '.join(FAULTS)}; times: 0 to {TIMES_MAX}")
        self.server.books.arm(path, fault, times)
        self._answer(200, {"path": path, "fault": fault, "times": times})

    def _body(self) -> dict[str, Any]:
        """JSON, and said to be: a page in a browser cannot send that here without being asked first."""
        length = self.headers.get("Content-Length", "0")
        if self.headers.get_content_type() != "application/json":
            self.close_connection = True  # what is left unread would be taken for the next request
            raise Refused(415, "the body is application/json")
        if not length.isdecimal() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            raise Refused(413, f"a body is at most {BODY_BYTES_MAX} bytes")
        try:
            found = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(found, dict):
            raise Refused(400, "the body is a JSON object")
        return cast("dict[str, Any]", found)

    def _answer(self, status: int, value: Any, *, replayed: bool = False) -> None:
        data = json.dumps(value).encode()
        with contextlib.suppress(ConnectionError):  # who asked may have given up
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if replayed:
                self.send_header("Idempotency-Replayed", "true")
            self.end_headers()
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in the books."""


def _number(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > NUMBER_MAX:
        raise Refused(422, f"{name} is a whole number of at most {NUMBER_MAX}")
    return value


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= TEXT_CHARS_MAX:
        raise Refused(422, f"{name} is a text of 1 to {TEXT_CHARS_MAX} characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise Refused(422, f"{name} is not Unicode: it has half of a character")
    return value


# --- the process -----------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m holdfast.demo.provider", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--books", type=Path, default=Path("provider.db"), help="the SQLite file of its books")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; it is printed")
    parser.add_argument("--with-stdin", action="store_true", help="end when stdin does: with who started it")
    asked = parser.parse_args()
    server = Provider(Books(asked.books), asked.port)
    if asked.with_stdin:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    print(f"The provider is ready on http://127.0.0.1:{server.server_port}", flush=True)  # noqa: T201
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever(poll_interval=0.05)
    server.server_close()


def _end_with_stdin(server: Provider) -> None:
    sys.stdin.buffer.read()
    server.shutdown()


if __name__ == "__main__":
    main()
