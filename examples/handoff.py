"""A hand-off: one agent listens, and passes the conversation on to the one who may act.

    holdfast dev examples/handoff.py
    curl -s 'http://127.0.0.1:8484/v1/runs?wait=30' -H 'content-type: application/json' \
        -d '{"agent": "triage", "input": "You billed me twice for invoice 31."}'

The answer's `agent` is who was asked, `acting_agent` who answered. Both act in one thread and one journal.
"""

from holdfast import Agent, Holdfast, ToolContext, tool

CREDITED: dict[str, int] = {}


@tool
def credit_invoice(ctx: ToolContext[None], invoice: int) -> str:
    """Credit an invoice that was billed twice."""
    # A tool that changes something may run twice if the process dies half way. The key is the same both times.
    CREDITED.setdefault(f"{ctx.run_id}/{ctx.key}", invoice)
    return f"Invoice {invoice} is credited."


billing = Agent(
    "billing",
    model="openai:gpt-5.2",
    description="Handles invoices, and credits those that were billed twice.",
    instructions="Credit the invoice if it was billed twice, then confirm it in one sentence.",
    tools=[credit_invoice],
)
triage = Agent(
    "triage",
    model="openai:gpt-5.2",
    instructions="Answer general questions. Hand over whatever is about invoices.",
    handoffs=[billing],
)
hf = Holdfast(agents=[triage])  # billing comes with it
