"""The demo's shop: a real SQLite database beside Holdfast's own, as a team's application would have one.

Rows are generated from a fixed seed, so that the order numbers in the demo's text mean the same on every machine.
Every change carries a request key, unique per table: a call that is made again under the same key finds that its first
try went through, and answers with that. Money is integer cents.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

SEED: Final = 20_260_301
TODAY: Final = date(2026, 3, 1)
FIRST_ORDER: Final = 1001
ORDERS: Final = 160
CUSTOMERS: Final = 60
BUSY_S: Final = 5.0
FOUND_MAX: Final = 10

# Orders that the demo's text speaks of: whatever the dice say of others, these are as described.
DELIVERED_ORDER: Final = 1042
DAMAGED_ORDER: Final = 1050
VALUABLE_ORDER: Final = 1064
CATERING_ORDER: Final = 1071
SHIPPED_ORDER: Final = 1143
OPEN_ORDER: Final = 1158
FEATURED: Final = {
    DELIVERED_ORDER: "delivered",
    DAMAGED_ORDER: "delivered",
    VALUABLE_ORDER: "delivered",
    CATERING_ORDER: "delivered",
    SHIPPED_ORDER: "shipped",
    OPEN_ORDER: "processing",
}

SCHEMA: Final = """
CREATE TABLE customers (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL UNIQUE,
    street TEXT NOT NULL, postcode TEXT NOT NULL, city TEXT NOT NULL
) STRICT;
CREATE TABLE products (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL, price_cents INTEGER NOT NULL,
    stock INTEGER NOT NULL, reorder_below INTEGER NOT NULL, reorder_to INTEGER NOT NULL, supplier TEXT NOT NULL
) STRICT;
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id), placed_on TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('processing', 'shipped', 'delivered', 'cancelled')),
    street TEXT NOT NULL, postcode TEXT NOT NULL, city TEXT NOT NULL
) STRICT;
CREATE TABLE order_lines (
    order_id INTEGER NOT NULL REFERENCES orders (id), sku TEXT NOT NULL REFERENCES products (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0), price_cents INTEGER NOT NULL, PRIMARY KEY (order_id, sku)
) STRICT;
CREATE TABLE shipments (
    order_id INTEGER PRIMARY KEY REFERENCES orders (id), carrier TEXT NOT NULL, tracking TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL, last_seen TEXT NOT NULL, expected_on TEXT, delivered_on TEXT
) STRICT;
CREATE TABLE refunds (
    id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id),
    amount_cents INTEGER NOT NULL CHECK (amount_cents > 0), reason TEXT NOT NULL, request_key TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE purchase_orders (
    id INTEGER PRIMARY KEY, sku TEXT NOT NULL REFERENCES products (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0), request_key TEXT NOT NULL UNIQUE,
    received INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE days (id INTEGER PRIMARY KEY, request_key TEXT NOT NULL UNIQUE) STRICT;
CREATE INDEX orders_by_customer ON orders (customer_id);
"""

FIRST_NAMES: Final = (
    "Ada",
    "Bruno",
    "Chiara",
    "Dmitri",
    "Elif",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Kemal",
    "Lena",
    "Mateo",
    "Nadia",
    "Olu",
)
LAST_NAMES: Final = (
    "Reyes",
    "Vogel",
    "Rossi",
    "Ivanov",
    "Demir",
    "Haddad",
    "Lind",
    "Moreau",
    "Costa",
    "Weber",
    "Aydin",
    "Novak",
)
STREETS: Final = ("Harbour Street", "Mill Lane", "Station Road", "Chestnut Avenue", "Market Square", "Canal Walk")
CITIES: Final = (
    ("20457", "Hamburg"),
    ("1012", "Amsterdam"),
    ("8001", "Zurich"),
    ("28013", "Madrid"),
    ("75011", "Paris"),
)
CARRIERS: Final = ("Nordpost", "SwiftParcel", "BlueCourier")
SUPPLIERS: Final = ("Kettle & Sons", "Atelier Nord", "Oak Works")
PLACES: Final = ("the sorting centre in Leipzig", "the depot in Lyon", "the hub in Utrecht", "a van near the address")
GOODS: Final = (
    ("espresso cups", 2490), ("pour-over kettle", 5900), ("coffee grinder", 8900), ("milk frother", 3450),
    ("tea strainer", 1290), ("cast-iron pan", 6490), ("bread knife", 3990), ("oak cutting board", 4500),
    ("linen apron", 3290), ("salt mill", 2790), ("pepper mill", 2790), ("carafe", 3650),
    ("wine glasses", 4190), ("storage jars", 2150), ("mixing bowls", 3890), ("rolling pin", 1890),
    ("baking tray", 2290), ("measuring spoons", 1190), ("kitchen scale", 4290), ("spice rack", 5250),
    ("dish towels", 1690), ("ice tray", 990), ("lunch box", 2390), ("water bottle", 2690),
)  # fmt: skip

# What they hold, where the sum matters: 68.30, 41.90, 267.00 and 1,065.00 euros.
CONTENTS: Final = {
    DELIVERED_ORDER: (("milk frother", 1), ("dish towels", 2)),
    DAMAGED_ORDER: (("wine glasses", 1),),
    VALUABLE_ORDER: (("coffee grinder", 3),),
    CATERING_ORDER: (("coffee grinder", 6), ("pour-over kettle", 9)),
}


@dataclass(frozen=True, slots=True)
class Address:
    street: str
    postcode: str
    city: str

    def __str__(self) -> str:
        return f"{self.street}, {self.postcode} {self.city}"


def euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d} EUR"


class Shop:
    """The shop's database. Every method opens a connection of its own: tools run in threads, and in processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _read(self) -> Generator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA foreign_keys=ON")
            yield connection

    @contextmanager
    def _change(self) -> Generator[sqlite3.Connection]:
        """One transaction; what is read in it cannot change before it commits."""
        with self._read() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def create(self) -> bool:
        """Make and fill the database unless it is there; whether it was made now. Safe to repeat."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._change() as connection:
            if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'purchase_orders'").fetchone():
                return False
            for statement in SCHEMA.split(";"):
                connection.execute(statement)
            _fill(connection)
            return True

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        tables = ("customers", "products", "orders", "shipments", "refunds", "purchase_orders")
        with self._read() as connection:
            return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    # -- looking ------------------------------------------------------------------------------------------------

    def customers(self, query: str) -> list[dict[str, Any]]:
        """Customers whose name or e-mail address contains `query`."""
        words = f"%{query.strip()}%"
        with self._read() as connection:
            rows = connection.execute(
                "SELECT id, name, email, city FROM customers WHERE name LIKE ?1 OR email LIKE ?1 ORDER BY id LIMIT ?2",
                (words, FOUND_MAX),
            ).fetchall()
        return [{"customer_id": r["id"], "name": r["name"], "email": r["email"], "city": r["city"]} for r in rows]

    def orders_of(self, email: str) -> list[dict[str, Any]] | None:
        """The customer's orders, newest first; None if there is no such customer."""
        with self._read() as connection:
            customer = connection.execute(
                "SELECT id FROM customers WHERE email = lower(?)", (email.strip(),)
            ).fetchone()
            if customer is None:
                return None
            rows = connection.execute(
                "SELECT o.id, o.placed_on, o.status, sum(l.quantity * l.price_cents) AS total FROM orders o"
                " JOIN order_lines l ON l.order_id = o.id WHERE o.customer_id = ?"
                " GROUP BY o.id ORDER BY o.id DESC LIMIT ?",
                (customer["id"], FOUND_MAX),
            ).fetchall()
        return [
            {"order_id": r["id"], "placed_on": r["placed_on"], "status": r["status"], "total": euros(r["total"])}
            for r in rows
        ]

    def order(self, order_id: int) -> dict[str, Any] | None:
        with self._read() as connection:
            return _order(connection, order_id)

    def shipment(self, order_id: int) -> dict[str, Any] | None:
        with self._read() as connection:
            row = connection.execute("SELECT * FROM shipments WHERE order_id = ?", (order_id,)).fetchone()
        return None if row is None else {key: row[key] for key in row.keys() if row[key] is not None}  # noqa: SIM118

    def products(self, query: str) -> list[dict[str, Any]]:
        with self._read() as connection:
            rows = connection.execute(
                "SELECT sku, name, price_cents, stock FROM products WHERE name LIKE ? ORDER BY sku LIMIT ?",
                (f"%{query.strip()}%", FOUND_MAX),
            ).fetchall()
        return [
            {"sku": r["sku"], "name": r["name"], "price": euros(r["price_cents"]), "in_stock": r["stock"]} for r in rows
        ]

    def low_stock(self, most: int) -> list[dict[str, Any]]:
        """Products below their reorder level, the emptiest first, with how many to order beyond what is on order."""
        with self._read() as connection:
            rows = connection.execute(
                "SELECT p.sku, p.name, p.stock, p.supplier,"
                " p.reorder_to - p.stock - coalesce(sum(o.quantity), 0) AS wanted"
                " FROM products p LEFT JOIN purchase_orders o ON o.sku = p.sku AND NOT o.received"
                " WHERE p.stock < p.reorder_below"
                " GROUP BY p.sku HAVING wanted > 0 ORDER BY p.stock, p.sku LIMIT ?",
                (most,),
            ).fetchall()
        return [dict(row) for row in rows]

    # -- changing -----------------------------------------------------------------------------------------------

    def refund(self, order_id: int, amount_cents: int | None, reason: str, request_key: str) -> dict[str, Any]:
        """Give money back for a delivered order, once per request key and never more than was paid.

        Without an amount, all that is left.
        """
        with self._change() as connection:
            known = connection.execute("SELECT * FROM refunds WHERE request_key = ?", (request_key,)).fetchone()
            if known is not None:
                return _refunded(known["id"], known["order_id"], known["amount_cents"])
            order = _order(connection, order_id)
            if order is None:
                return {"refunded": False, "reason": f"there is no order {order_id}"}
            if order["status"] != "delivered":
                why = f"order {order_id} is {order['status']}, and only delivered orders can be refunded"
                return {"refunded": False, "reason": why}
            left = order["total_cents"] - order["refunded_cents"]
            amount = left if amount_cents is None else amount_cents
            if left <= 0:
                return {"refunded": False, "reason": f"order {order_id} has been refunded in full already"}
            if not 0 < amount <= left:
                return {"refunded": False, "reason": f"at most {euros(left)} of order {order_id} can be refunded"}
            made = connection.execute(
                "INSERT INTO refunds (order_id, amount_cents, reason, request_key) VALUES (?, ?, ?, ?) RETURNING id",
                (order_id, amount, reason, request_key),
            ).fetchone()
            return _refunded(made["id"], order_id, amount)

    def take_back(self, request_key: str) -> None:
        """A refund that the provider declined is none."""
        with self._change() as connection:
            connection.execute("DELETE FROM refunds WHERE request_key = ?", (request_key,))

    def change_address(self, order_id: int, to: Address) -> dict[str, Any]:
        """Send an order elsewhere, as long as it has not left. Doing it twice is doing it once."""
        with self._change() as connection:
            order = _order(connection, order_id)
            if order is None:
                return {"changed": False, "reason": f"there is no order {order_id}"}
            if order["status"] != "processing":
                return {"changed": False, "reason": f"order {order_id} is {order['status']} already"}
            connection.execute(
                "UPDATE orders SET street = ?, postcode = ?, city = ? WHERE id = ?",
                (to.street, to.postcode, to.city, order_id),
            )
            return {"changed": True, "order_id": order_id, "ship_to": str(to)}

    def close_day(self, request_key: str) -> int:
        """Book the day, once per request key: what was on order arrives, and customers bought things. Its number."""
        with self._change() as connection:
            known = connection.execute("SELECT id FROM days WHERE request_key = ?", (request_key,)).fetchone()
            if known is not None:
                return int(known["id"])
            made = connection.execute(
                "INSERT INTO days (request_key) VALUES (?) RETURNING id", (request_key,)
            ).fetchone()
            day = int(made["id"])
            connection.execute(
                "UPDATE products SET stock = stock + (SELECT coalesce(sum(quantity), 0) FROM purchase_orders o"
                " WHERE o.sku = products.sku AND NOT o.received)"
            )
            connection.execute("UPDATE purchase_orders SET received = 1")
            dice = random.Random(SEED + day)
            for row in connection.execute("SELECT sku FROM products ORDER BY sku").fetchall():
                sold = dice.choice((0, 2, 5, 35, 60))
                connection.execute("UPDATE products SET stock = max(0, stock - ?) WHERE sku = ?", (sold, row["sku"]))
            return day

    def order_goods(self, sku: str, quantity: int, request_key: str) -> int:
        """Order from the supplier, once per request key; the purchase order's number."""
        with self._change() as connection:
            connection.execute(
                "INSERT INTO purchase_orders (sku, quantity, request_key) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (sku, quantity, request_key),
            )
            row = connection.execute("SELECT id FROM purchase_orders WHERE request_key = ?", (request_key,)).fetchone()
            return int(row["id"])


def _refunded(refund_id: int, order_id: int, amount_cents: int) -> dict[str, Any]:
    return {"refunded": True, "refund_id": refund_id, "order_id": order_id, "amount": euros(amount_cents)}


def _order(connection: sqlite3.Connection, order_id: int) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT o.*, c.name AS customer, c.email FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id = ?",
        (order_id,),
    ).fetchone()
    if row is None:
        return None
    lines = connection.execute(
        "SELECT p.name, l.quantity, l.price_cents FROM order_lines l JOIN products p USING (sku)"
        " WHERE l.order_id = ? ORDER BY p.name",
        (order_id,),
    ).fetchall()
    total = sum(line["quantity"] * line["price_cents"] for line in lines)
    refunded = connection.execute(
        "SELECT coalesce(sum(amount_cents), 0) FROM refunds WHERE order_id = ?", (order_id,)
    ).fetchone()[0]
    return {
        "order_id": row["id"],
        "customer": row["customer"],
        "email": row["email"],
        "placed_on": row["placed_on"],
        "status": row["status"],
        "ship_to": str(Address(row["street"], row["postcode"], row["city"])),
        "items": [f"{line['quantity']} x {line['name']}" for line in lines],
        "total": euros(total),
        "total_cents": total,
        "refunded_cents": refunded,
    }


# --- the first rows --------------------------------------------------------------------------------------------------


def _fill(connection: sqlite3.Connection) -> None:
    dice = random.Random(SEED)
    addresses = _fill_customers(connection, dice)
    _fill_products(connection, dice)
    for number in range(FIRST_ORDER, FIRST_ORDER + ORDERS):
        _fill_order(connection, dice, number, addresses)


def _fill_customers(connection: sqlite3.Connection, dice: random.Random) -> Sequence[Address]:
    names = [(first, last) for first in FIRST_NAMES for last in LAST_NAMES]
    dice.shuffle(names)
    names.remove(("Ada", "Reyes"))
    addresses: list[Address] = []
    for number, (first, last) in enumerate([("Ada", "Reyes"), *names[: CUSTOMERS - 1]], start=1):
        postcode, city = dice.choice(CITIES)
        address = Address(f"{dice.randint(1, 120)} {dice.choice(STREETS)}", postcode, city)
        addresses.append(address)
        connection.execute(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?, ?)",
            (
                number,
                f"{first} {last}",
                f"{first}.{last}@example.com".lower(),
                address.street,
                address.postcode,
                address.city,
            ),
        )
    return addresses


def _fill_products(connection: sqlite3.Connection, dice: random.Random) -> None:
    for number, (name, price) in enumerate(GOODS):
        # Every third is low, so that there is something to restock.
        stock = dice.randint(0, 9) if number % 3 == 0 else dice.randint(15, 80)
        connection.execute(
            "INSERT INTO products VALUES (?, ?, ?, ?, 10, ?, ?)",
            (f"SKU-{100 + number}", name, price, stock, dice.choice((40, 60)), dice.choice(SUPPLIERS)),
        )


def _fill_order(connection: sqlite3.Connection, dice: random.Random, number: int, addresses: Sequence[Address]) -> None:
    age = (FIRST_ORDER + ORDERS - number) // 3 + dice.randint(0, 2)
    usual = "processing" if age < 4 else "shipped" if age < 9 else dice.choices(("delivered", "cancelled"), (15, 1))[0]
    status = FEATURED.get(number, usual)
    customer = 1 if number in FEATURED else dice.randint(1, CUSTOMERS)
    address, placed = addresses[customer - 1], TODAY - timedelta(days=age)
    connection.execute(
        "INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, customer, placed.isoformat(), status, address.street, address.postcode, address.city),
    )
    drawn = [(at, dice.randint(1, 3)) for at in dice.sample(range(len(GOODS)), dice.randint(1, 3))]
    for at, quantity in _contents(number) or drawn:
        connection.execute(
            "INSERT INTO order_lines VALUES (?, ?, ?, ?)", (number, f"SKU-{100 + at}", quantity, GOODS[at][1])
        )
    if status in ("shipped", "delivered"):
        _fill_shipment(connection, dice, number, placed, status == "delivered")


def _contents(number: int) -> list[tuple[int, int]]:
    places = {name: at for at, (name, _) in enumerate(GOODS)}
    return [(places[name], quantity) for name, quantity in CONTENTS.get(number, ())]


def _fill_shipment(
    connection: sqlite3.Connection, dice: random.Random, order: int, placed: date, delivered: bool
) -> None:
    days = dice.randint(3, 6)
    connection.execute(
        "INSERT INTO shipments VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            order,
            dice.choice(CARRIERS),
            f"HF{order}{dice.randint(100_000, 999_999)}",
            "delivered" if delivered else "in transit",
            "the front door" if delivered else dice.choice(PLACES),
            None if delivered else (TODAY + timedelta(days=dice.randint(1, 3))).isoformat(),
            (placed + timedelta(days=days)).isoformat() if delivered else None,
        ),
    )
