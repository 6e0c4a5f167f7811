"""The demo's shop: the same rows everywhere, and changes that happen once for a request key."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from holdfast.demo.shop import (
    CATERING_ORDER,
    DAMAGED_ORDER,
    DELIVERED_ORDER,
    FEATURED,
    OPEN_ORDER,
    SHIPPED_ORDER,
    VALUABLE_ORDER,
    Address,
    Shop,
    euros,
)

NEW = Address("7 Mill Lane", "20457", "Hamburg")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    shop = Shop(tmp_path_factory.mktemp("shop") / "shop.db")
    assert shop.create()
    return shop.path.read_bytes()


@pytest.fixture
def shop(made: bytes, tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop.db")
    shop.path.write_bytes(made)
    return shop


def rows(shop: Shop) -> list[str]:
    with sqlite3.connect(shop.path) as connection:
        found = list(connection.iterdump())
    connection.close()
    return found


def test_the_same_rows_are_made_everywhere_and_only_once(shop: Shop, tmp_path: Path) -> None:
    other = Shop(tmp_path / "deeper" / "shop.db")
    assert other.create() is True
    assert other.create() is False
    assert rows(other) == rows(shop)
    counts = shop.counts()
    assert counts["customers"] == 60
    assert counts["orders"] == 160
    assert 300 < sum(counts.values()) < 1_000


def test_the_orders_that_the_demo_speaks_of_are_as_it_says(shop: Shop) -> None:
    states = {number: shop.order(number) for number in FEATURED}
    assert {number: order["status"] for number, order in states.items() if order} == FEATURED
    totals = {number: order["total"] for number, order in states.items() if order}
    assert (totals[DELIVERED_ORDER], totals[DAMAGED_ORDER]) == ("68.30 EUR", "41.90 EUR")
    assert (totals[VALUABLE_ORDER], totals[CATERING_ORDER]) == ("267.00 EUR", "1065.00 EUR")
    assert {order["customer"] for order in states.values() if order} == {"Ada Reyes"}
    assert shop.shipment(SHIPPED_ORDER)
    assert shop.shipment(OPEN_ORDER) is None


def test_a_refund_is_made_once_for_a_key_however_often_it_is_tried(shop: Shop) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: shop.refund(DELIVERED_ORDER, 500, "cracked", "run_1/model#2/0"), range(8)))
    assert all(one == made[0] for one in made)
    assert made[0]["amount"] == "5.00 EUR"
    assert shop.counts()["refunds"] == 1


def test_never_more_is_refunded_than_was_paid(shop: Shop) -> None:
    order = shop.order(DELIVERED_ORDER)
    assert order is not None
    total = order["total_cents"]
    assert shop.refund(DELIVERED_ORDER, total + 1, "x", "a")["refunded"] is False
    assert shop.refund(DELIVERED_ORDER, 0, "x", "a")["refunded"] is False
    assert shop.refund(DELIVERED_ORDER, total - 1, "x", "b")["refunded"] is True
    assert shop.refund(DELIVERED_ORDER, None, "x", "c")["amount"] == euros(1)
    assert "in full" in shop.refund(DELIVERED_ORDER, None, "x", "d")["reason"]
    assert shop.counts()["refunds"] == 2


def test_a_refund_that_the_provider_declined_is_taken_back(shop: Shop) -> None:
    assert shop.refund(DELIVERED_ORDER, None, "cracked", "run_1/a")["refunded"] is True
    shop.take_back("run_1/a")
    shop.take_back("run_1/a")
    order = shop.order(DELIVERED_ORDER)
    assert order is not None
    assert order["refunded_cents"] == 0


def test_only_delivered_orders_are_refunded(shop: Shop) -> None:
    with sqlite3.connect(shop.path) as connection:
        found = dict(connection.execute("SELECT status, min(id) FROM orders GROUP BY status").fetchall())
    connection.close()
    assert set(found) == {"processing", "shipped", "delivered", "cancelled"}
    for status, order in found.items():
        answer = shop.refund(order, None, "x", f"{status} order")
        assert answer["refunded"] is (status == "delivered")
        if status != "delivered":
            assert answer["reason"] == f"order {order} is {status}, and only delivered orders can be refunded"
    assert shop.counts()["refunds"] == 1


def test_what_was_not_delivered_is_neither_refunded_nor_is_what_left_redirected(shop: Shop) -> None:
    assert "only delivered" in shop.refund(SHIPPED_ORDER, None, "x", "a")["reason"]
    assert "no order" in shop.refund(9_999, None, "x", "a")["reason"]
    assert "shipped" in shop.change_address(SHIPPED_ORDER, NEW)["reason"]
    assert "no order" in shop.change_address(9_999, NEW)["reason"]
    assert shop.change_address(OPEN_ORDER, NEW)["changed"] is True
    order = shop.order(OPEN_ORDER)
    assert order is not None
    assert order["ship_to"] == "7 Mill Lane, 20457 Hamburg"
    assert shop.counts()["refunds"] == 0


def test_what_is_on_order_is_not_ordered_again_and_arrives_with_the_next_day(shop: Shop) -> None:
    low = shop.low_stock(20)
    assert len(low) >= 5
    first = low[0]
    number = shop.order_goods(first["sku"], first["wanted"], "run_1/a")
    assert shop.order_goods(first["sku"], first["wanted"], "run_1/a") == number
    assert [product["sku"] for product in shop.low_stock(20)] == [product["sku"] for product in low[1:]]
    day = shop.close_day("run_2")
    assert (shop.close_day("run_2"), shop.close_day("run_3")) == (day, day + 1)
    assert shop.counts()["purchase_orders"] == 1
