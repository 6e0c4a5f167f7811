"""What the demo's scripted model says: a clerk made of plain rules, for a start without any provider's key.

`reply` is a pure function of the messages, so a run that resumes after a crash goes on with the same words. It reads
what the user wants, calls the tools it was offered with what it read, and puts what they answered into words. One set
of rules serves every agent of the demo; which tools are on offer tells the desk, triage and refunds apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolReturnPart

from holdfast.testing import Call, RequestInfo, last_user_text

ORDER: Final = re.compile(r"(?<![\d.,])#?(1\d{3})(?![\d.,]*\d)")
EMAIL: Final = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_SUM: Final = r"(\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d+(?:\.\d{1,2})?)"
AMOUNT: Final = re.compile(rf"(?:€|\beur(?:os?)?)\s?{_SUM}|(?<![\d.,]){_SUM}\s?(?:€|eur(?:os?)?\b)", re.I)
_PLACE: Final = (
    r"(?P<street>(?:(?!\bto\b)[^,\n?!])*\w),\s*(?P<postcode>[A-Z]{0,2}-?\d{4,6})\s+(?P<city>[^\W\d][^,.\n!?]*)"
)
ADDRESSED: Final = re.compile(r"\bto:?\s+" + _PLACE, re.I)
ADDRESS: Final = re.compile(r"\s*" + _PLACE, re.I)
NAME: Final = re.compile(r"\b(?:customer|client|named|called)\s+([A-Z][\w'-]+(?:\s+[A-Z][\w'-]+)*)")
PRODUCT: Final = re.compile(r"\b(?:the|a|an|any|your|of|for)\s+([a-z-]+(?:\s[a-z-]+){0,2})", re.I)

ASKS_REASON: Final = "what was wrong with it?"
ASKS_ADDRESS: Final = "the new address"
ASKS_EMAIL: Final = "the e-mail address you ordered with"
ASKS_ORDER: Final = "the order number"


class Intent(Enum):
    COURIER = "courier"
    MAIL = "mail"
    REFUND = "refund"
    ADDRESS = "address"
    ORDERS = "orders"
    STATUS = "status"
    CUSTOMER = "customer"
    PRODUCT = "product"
    THANKS = "thanks"
    GREETING = "greeting"
    UNKNOWN = "unknown"


WORDS: Final = (
    (Intent.COURIER, r"\b(?:call|phone|ring|tell|ask) the (?:courier|carrier|driver)\b"),
    (Intent.MAIL, r"\b(?:(?:e-?)?mail|write) (?:me|us|her|him|them|the customer)\b|\bsend \w+ an? (?:e-?)?mail\b"),
    (Intent.REFUND, r"\brefund|money back|\breturn(?:ing)?\b|reimburse"),
    (Intent.ADDRESS, r"\baddress|\bredirect|\bdeliver (?:it|this|that) to|\bsend (?:it|this|that) to|\bmoved\b"),
    (Intent.ORDERS, r"\b(?:my|all|list|which|what) (?:\w+ )?orders\b|order history"),
    (Intent.STATUS, r"\bwhere|\bstatus|\btrack|\barriv|\bwhen|\bparcel|\bpackage|\bshipment|\bshipped|\bdeliver"),
    (Intent.CUSTOMER, r"\bcustomer|\bclient\b"),
    (Intent.PRODUCT, r"\bstock|\bprice|\bhow much|\bcosts?\b|\bdo you (?:have|sell)|\bavailable"),
    (Intent.THANKS, r"\bthank|\bthx|\bcheers\b"),
    (Intent.GREETING, r"^\s*(?:hi|hello|hey|good (?:morning|evening|afternoon))\b"),
)  # fmt: skip

# What an order's number, given when we asked for it, was asked for.
ASKABLE: Final = (Intent.COURIER, Intent.MAIL, Intent.REFUND, Intent.ADDRESS)

REASONS: Final = re.compile(
    r"\b(?:because|since|as it|broken?|damaged|crack\w*|scratch\w*|defect\w*|wrong|late|missing|dent\w*|chipped|leak\w*"
    r"|too (?:big|small)|never arrived|does ?n.t (?:work|fit)|did ?n.t (?:like|work|arrive))\b",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Talk:
    """The conversation as the clerk sees it: what was just said, what was said before, what tools answered since."""

    said: str
    before: tuple[str, ...]
    asked: str
    tools: frozenset[str]
    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    failures: dict[str, str] = field(default_factory=dict[str, str])

    def heard(self, tool: str) -> bool:
        return tool in self.answers or tool in self.failures

    @property
    def order(self) -> int | None:
        """The order that is meant: the one just named, else the last one that was. A list of several names none."""
        named = (orders_in(text) for text in (self.said, *self.before))
        return next((found[0] for found in named if len(found) == 1), None)

    @property
    def email(self) -> str | None:
        return next((found[0] for text in (self.said, *self.before) if (found := EMAIL.findall(text))), None)


def orders_in(text: str) -> list[int]:
    """The orders that a text names; a postcode in an address is none, nor is an amount."""
    return list(dict.fromkeys(int(number) for number in ORDER.findall(AMOUNT.sub(" ", _without_address(text)))))


def address_in(text: str) -> re.Match[str] | None:
    """An address after "to", or the whole text as one."""
    return ADDRESSED.search(text) or ADDRESS.match(text)


def _without_address(text: str) -> str:
    found = address_in(text)
    return text if found is None else text[: found.start()] + text[found.end() :]


Reply = str | Call | list[str | Call]


def reply(messages: list[ModelMessage], info: RequestInfo) -> Any:
    """The next thing to say or do."""
    if not info.tool_names:
        return summary(last_user_text(messages))
    talk = heard(messages, info.tool_names)
    intent = intent_of(talk)
    if intent is Intent.REFUND and "transfer_to_refunds" in talk.tools:
        return [
            "I will hand you over to my colleague from refunds.",
            Call("transfer_to_refunds", {"reason": talk.said}),
        ]
    return HANDLERS[intent](talk)


def heard(messages: Sequence[ModelMessage], tools: Sequence[str]) -> Talk:
    """Sort the messages: what the user said last, what was said before (latest first), and what tools said since."""
    last = max((n for n, m in enumerate(messages) if _user_texts(m)), default=0)
    answers: dict[str, Any] = {}
    failures: dict[str, str] = {}
    for message in messages[last + 1 :]:
        for part in message.parts if isinstance(message, ModelRequest) else ():
            if isinstance(part, ToolReturnPart):
                if part.outcome == "failed":
                    failures[part.tool_name] = str(part.content).removeprefix("error: ")
                else:
                    answers[part.tool_name] = part.content
    earlier = [text for message in reversed(messages[:last]) for text in _texts(message)]
    replies = (m.text for m in reversed(messages[:last]) if isinstance(m, ModelResponse))
    asked = next((text for text in replies if text), "")
    return Talk(last_user_text(messages), tuple(earlier), asked, frozenset(tools), answers, failures)


def _user_texts(message: ModelMessage) -> list[str]:
    text = last_user_text([message])
    return [text] if text else []


def _texts(message: ModelMessage) -> list[str]:
    return [message.text or ""] if isinstance(message, ModelResponse) else _user_texts(message)


def intent_of(talk: Talk) -> Intent:
    """What the user wants: by an open question of ours first, then by their words, then by an order's number."""
    spoken = talk.said.lower()
    by_words = next((intent for intent, words in WORDS if re.search(words, spoken)), None)
    if by_words in (None, Intent.GREETING, Intent.STATUS):
        if ASKS_REASON in talk.asked and not orders_in(talk.said) and "?" not in spoken:
            return Intent.REFUND
        if ASKS_ADDRESS in talk.asked and address_in(talk.said):
            return Intent.ADDRESS
        if ASKS_EMAIL in talk.asked and EMAIL.search(talk.said):
            return Intent.ORDERS
        if ASKS_ORDER in talk.asked and orders_in(talk.said):
            return next(
                (i for i, words in WORDS if i in ASKABLE and re.search(words, talk.asked.lower())), Intent.STATUS
            )
    if by_words in (None, Intent.GREETING):
        return Intent.STATUS if orders_in(talk.said) else by_words or Intent.UNKNOWN
    return by_words


# --- what the clerk does about it ------------------------------------------------------------------------------------


def status(talk: Talk) -> Reply:
    order = talk.order
    if order is None:
        return f"Gladly. Please tell me {ASKS_ORDER}; it is in the subject of your confirmation mail."
    if not talk.heard("order_status"):
        return Call("order_status", {"order_id": order})
    found = talk.answers.get("order_status")
    if not isinstance(found, dict):
        return _not_found(talk, "order_status")
    known = cast("dict[str, Any]", found)
    if known["status"] in ("shipped", "delivered") and not talk.heard("track_shipment"):
        return Call("track_shipment", {"order_id": order})
    return _status_in_words(known, talk.answers.get("track_shipment"))


def _status_in_words(order: dict[str, Any], parcel: Any) -> str:
    items = _listed(order["items"])
    start = f"Order {order['order_id']} of {_day(order['placed_on'])} ({items}; {order['total']})"
    refunded = "" if order["refunded"] == "0.00 EUR" else f" We have refunded {order['refunded']} of it."
    if not isinstance(parcel, dict):
        tail = "was cancelled." if order["status"] == "cancelled" else "is being packed and has not left us yet."
        return f"{start} {tail}{refunded}"
    seen = cast("dict[str, Any]", parcel)
    if order["status"] == "delivered":
        return f"{start} was delivered by {seen['carrier']} on {_day(seen['delivered_on'])}.{refunded}"
    return (
        f"{start} is on its way with {seen['carrier']}, tracking number {seen['tracking']}. It was last seen at "
        f"{seen['last_seen']} and should arrive on {_day(seen['expected_on'])}.{refunded}"
    )


def refund(talk: Talk) -> Reply:
    order = talk.order
    if order is None:
        return f"I am sorry to hear that. For a refund I need {ASKS_ORDER}."
    if not talk.heard("order_status"):
        return Call("order_status", {"order_id": order})
    found = talk.answers.get("order_status")
    if not isinstance(found, dict):
        return _not_found(talk, "order_status")
    if talk.heard("refund_order"):
        return _refund_in_words(talk, order)
    known = cast("dict[str, Any]", found)
    if known["status"] != "delivered":
        state = "was cancelled" if known["status"] == "cancelled" else f"is {known['status']}, not delivered"
        return f"Order {order} {state}, so I cannot refund it. Is there anything else I can do?"
    left = _euros(known["total"]) - _euros(known["refunded"])
    if left <= 0:
        return f"Order {order} has been refunded in full already."
    reason = _reason(talk)
    if reason is None:
        return f"I can refund order {order} ({_listed(known['items'])}). May I ask {ASKS_REASON}"
    asked = AMOUNT.search(talk.said)
    amount = str(left) if asked is None else (asked[1] or asked[2]).replace(",", "")
    return ["Let me do that for you.", Call("refund_order", {"order_id": order, "amount": amount, "reason": reason})]


def _euros(shown: str) -> Decimal:
    return Decimal(shown.removesuffix(" EUR"))


def _reason(talk: Talk) -> str | None:
    if ASKS_REASON in talk.asked or REASONS.search(talk.said):
        return talk.said.strip()[:200]
    return None


def _refund_in_words(talk: Talk, order: int) -> str:
    if "refund_order" in talk.failures:
        return f"I could not refund order {order}: {talk.failures['refund_order']}"
    made = talk.answers["refund_order"]
    if not isinstance(made, dict):
        return f"Done: a colleague says that the refund for order {order} was made."
    if not made["refunded"]:
        return f"I cannot refund that: {made['reason']}."
    return (
        f"Done: I have refunded {made['amount']} for order {order}. The refund has number {made['refund_id']} and "
        "reaches your account within three days. I am sorry for the trouble."
    )


def mail(talk: Talk) -> Reply:
    order = talk.order
    if "send_mail" not in talk.tools:
        return "I cannot write mails from here. The support desk can: ask the agent support."
    if order is None:
        return f"I can e-mail you about an order. Please tell me {ASKS_ORDER}."
    if not talk.heard("order_status"):
        return Call("order_status", {"order_id": order})
    found = talk.answers.get("order_status")
    if not isinstance(found, dict):
        return _not_found(talk, "order_status")
    if "send_mail" in talk.failures:
        return f"I could not send the mail: {talk.failures['send_mail']}"
    known = cast("dict[str, Any]", found)
    if talk.heard("send_mail"):
        return f"Done: I have written to {known['email']} about order {order}."
    text = f"Your order {order} ({_listed(known['items'])}; {known['total']}) is {known['status']}."
    return Call("send_mail", {"to": known["email"], "subject": f"Your order {order}", "text": text})


def courier(talk: Talk) -> Reply:
    order = talk.order
    if "call_courier" not in talk.tools:
        return "I cannot call the courier from here. The support desk can: ask the agent support."
    if order is None:
        return f"I can call the courier. Please tell me {ASKS_ORDER}."
    if "call_courier" in talk.failures:
        return f"I could not reach the courier: {talk.failures['call_courier']}"
    if not talk.heard("call_courier"):
        return Call("call_courier", {"order_id": order, "message": talk.said.strip()[:200]})
    made = talk.answers["call_courier"]
    ticket = f" The ticket is {made['ticket']}." if isinstance(made, dict) and "ticket" in made else ""
    return f"Done: the courier has been called about order {order}.{ticket}"


def address(talk: Talk) -> Reply:
    order = talk.order
    if order is None:
        return f"I can change the address of an order. Which one is it? Please give me {ASKS_ORDER}."
    if "change_address" in talk.failures:
        return f"I could not change the address: {talk.failures['change_address']}"
    if "change_address" in talk.answers:
        made = cast("dict[str, Any]", talk.answers["change_address"])
        if made["changed"]:
            return f"Done: order {order} now goes to {made['ship_to']}."
        return f"I cannot change the address any more: {made['reason']}."
    if "change_address" not in talk.tools:
        return "I cannot change addresses from here. The support desk can: ask the agent support."
    to = address_in(talk.said)
    if to is None:
        return f"Please give me {ASKS_ADDRESS} of order {order} as: street and number, postcode city."
    parts = {name: " ".join(text.split()) for name, text in to.groupdict().items()}
    return Call("change_address", {"order_id": order, **parts})


def orders(talk: Talk) -> Reply:
    if "list_orders" not in talk.tools:
        return status(talk)
    if talk.email is None:
        return f"I can list your orders. Please tell me {ASKS_EMAIL}."
    if not talk.heard("list_orders"):
        return Call("list_orders", {"email": talk.email})
    found = talk.answers.get("list_orders")
    if not isinstance(found, list):
        return _not_found(talk, "list_orders")
    rows = cast("list[dict[str, Any]]", found)
    if not rows:
        return "There are no orders on this account yet."
    lines = "\n".join(f"- {o['order_id']}, {_day(o['placed_on'])}: {o['total']}, {o['status']}" for o in rows)
    return f"These are the latest orders of {talk.email}:\n{lines}\nWhich one is it about?"


def customer(talk: Talk) -> Reply:
    named = NAME.search(talk.said)
    query = talk.email or (named[1] if named else None)
    if query is None or "find_customer" not in talk.tools:
        return "Whom shall I look for? Please give me a name or an e-mail address."
    if not talk.heard("find_customer"):
        return Call("find_customer", {"query": query})
    found = talk.answers.get("find_customer")
    if not isinstance(found, list) or not found:
        return f"I find no customer for {query!r}."
    rows = cast("list[dict[str, Any]]", found)
    return "I found " + _listed([f"{c['name']} ({c['email']}, {c['city']})" for c in rows]) + "."


def product(talk: Talk) -> Reply:
    if "search_products" not in talk.tools:
        return status(talk)
    named = [name for name in PRODUCT.findall(talk.said.lower()) if name not in ("stock", "price", "price of")]
    if not named:
        return "Which product do you mean?"
    if not talk.heard("search_products"):
        return Call("search_products", {"query": _product(named[-1])})
    found = talk.answers.get("search_products")
    if not isinstance(found, list) or not found:
        return f"I am afraid we have nothing called “{_product(named[-1])}”."
    rows = cast("list[dict[str, Any]]", found)
    return " ".join(
        f"We have {p['in_stock']} x {p['name']} in stock, at {p['price']}."
        if p["in_stock"]
        else f"The {p['name']} ({p['price']}) will be back soon; it is sold out today."
        for p in rows
    )


def _product(words: str) -> str:
    """The product's name of what follows an article: "espresso cups in stock" ends before the preposition."""
    name = re.split(r"\s(?:in|on|at|still|available|cost|costs|now|today)\b", words)[0]
    return name.removeprefix("price of ").removesuffix("s") if name.endswith("s") else name


def thanks(talk: Talk) -> Reply:
    return "You are welcome. Have a good day!"


def greeting(talk: Talk) -> Reply:
    return "Hello! What can I do for you? " + _abilities(talk)


def unknown(talk: Talk) -> Reply:
    return "I am only a scripted clerk and did not understand that. " + _abilities(talk)


def _abilities(talk: Talk) -> str:
    known = (
        ("order_status", "tell where an order is"),
        ("list_orders", "list your orders"),
        ("refund_order", "refund an order"),
        ("transfer_to_refunds", "hand you over for a refund"),
        ("change_address", "change the address of an order"),
        ("search_products", "look up a product's price and stock"),
        ("send_mail", "e-mail you about an order"),
        ("call_courier", "call the courier"),
    )
    return f"I can {_listed([text for tool, text in known if tool in talk.tools], 'or')}."


HANDLERS: Final[dict[Intent, Callable[[Talk], Reply]]] = {
    Intent.COURIER: courier,
    Intent.MAIL: mail,
    Intent.REFUND: refund,
    Intent.ADDRESS: address,
    Intent.ORDERS: orders,
    Intent.STATUS: status,
    Intent.CUSTOMER: customer,
    Intent.PRODUCT: product,
    Intent.THANKS: thanks,
    Intent.GREETING: greeting,
    Intent.UNKNOWN: unknown,
}


def summary(asked: str) -> str:
    """The buyer's assistant: purchase orders, one a line, as three sentences."""
    found = re.findall(r"^- (\d+) x (.+) from (.+)$", asked, re.M)
    if not found:
        return "Nothing ran low tonight, so nothing was ordered."
    lots = [(int(quantity), name, supplier) for quantity, name, supplier in found]
    pieces, (most, name, _) = sum(lot[0] for lot in lots), max(lots)
    suppliers = sorted({supplier for _, _, supplier in lots})
    return (
        f"Tonight {len(lots)} products ran low, and {pieces} pieces were ordered. "
        f"The largest order is {most} x {name}. They come from {_listed(suppliers)}."
    )


# --- words -----------------------------------------------------------------------------------------------------------


def _not_found(talk: Talk, tool: str) -> str:
    answer = talk.answers.get(tool, talk.failures.get(tool))
    return f"I looked, but: {answer} Could you check it?"


def _day(iso: str) -> str:
    day = date.fromisoformat(iso)
    return f"{day.day} {day:%B}"


def _listed(items: Sequence[str], word: str = "and") -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {word} {items[-1]}" if items else "nothing"
