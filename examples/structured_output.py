"""Structured output: the run's output is JSON of a declared type, checked, and asked for again if it does not fit.

    holdfast dev examples/structured_output.py
    curl -s 'http://127.0.0.1:8484/v1/runs?wait=30' -H 'content-type: application/json' \
        -d '{"agent": "invoices", "input": "Kettle & Sons, 3 kettles at 59 euros, due on 1 April 2026"}'
"""

from datetime import date
from decimal import Decimal

from pydantic import BaseModel, Field

from holdfast import Agent, Holdfast, ModelRetry


class Line(BaseModel):
    text: str
    quantity: int = Field(ge=1)
    price: Decimal


class Invoice(BaseModel):
    supplier: str
    lines: list[Line]
    total: Decimal
    due: date


invoices = Agent("invoices", model="openai:gpt-5.2", instructions="Read the invoice.", output_type=Invoice)


@invoices.output_validator
def adds_up(invoice: Invoice) -> Invoice:
    expected = sum((line.quantity * line.price for line in invoice.lines), Decimal(0))
    if invoice.total != expected:
        raise ModelRetry(f"The lines add up to {expected}, not to {invoice.total}. Read the invoice again.")
    return invoice


hf = Holdfast(agents=[invoices])
