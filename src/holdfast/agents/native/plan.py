"""Everything about an agent's model calls that does not change from call to call, built once.

A plan belongs to an acting agent and an entry agent: after a hand-off the acting agent brings instructions, tools,
settings and model, the entry agent the output contract. The parameters blob is encoded and hashed here, so that the
hot path encodes no schema.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_core import to_json

from holdfast.agents.models import model_name
from holdfast.agents.native.output import OutputSpec
from holdfast.agents.native.spec import AgentSpec
from holdfast.agents.tools import Tool
from holdfast.domain.errors import DefinitionError
from holdfast.domain.forks import Overrides
from holdfast.domain.journal import NewBlob

if TYPE_CHECKING:
    from holdfast.agents.native.agent import Agent

TRANSFER_PREFIX = "transfer_to_"
_TRANSFER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reason": {"type": "string", "description": "Why, in a sentence."}},
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What goes with the messages of a model call, and the blob that says so."""

    instructions: str | None
    params: ModelRequestParameters
    settings: ModelSettings | None
    blob: NewBlob


@dataclass(frozen=True, slots=True)
class Plan:
    """`static` is what to ask with when all instructions are plain text, else None."""

    spec: AgentSpec
    tools: dict[str, Tool[..., Any]]
    transfers: dict[str, Agent | str]
    output: OutputSpec
    params: ModelRequestParameters
    facts: bytes
    static: Asked | None

    def asked(self, instructions: str | None, settings: dict[str, Any] | None = None) -> Asked:
        """The parameters with these instructions and, if given, other settings than the agent's."""
        used = self.spec.settings if settings is None else settings
        blob = parameters_blob(instructions, used, self.facts)
        params = replace(self.params, instruction_parts=instruction_parts(instructions))
        return Asked(instructions, params, cast("ModelSettings | None", used or None), blob)


def overridden(plan: Plan, overrides: Overrides, instructions: str | None) -> Asked:
    """What to ask with when other instructions, or another model, stand in for the agent's; `instructions` are those
    it has."""
    facts = plan.facts if overrides.model is None else _facts(overrides.model, plan.params)
    return replace(plan, facts=facts).asked(overrides.instructions or instructions)


def plan_of(acting: AgentSpec, output: OutputSpec) -> Plan:
    """Build the plan of an agent that acts for `output`."""
    tools = tool_table(acting)
    transfers = {transfer_name(a): a for a in acting.handoffs}
    params = ModelRequestParameters(
        function_tools=[*map(_definition, tools.values()), *(_transfer(n, a) for n, a in transfers.items())],
        output_mode=output.mode,
        output_tools=output.tools(),
        output_object=output.native,
        allow_text_output=output.allow_text,
        instruction_parts=[],
    )
    plan = Plan(acting, tools, transfers, output, params, _facts(acting.model, params), None)
    texts = [part for part in acting.instructions if isinstance(part, str)]
    if len(texts) < len(acting.instructions):
        return plan
    return replace(plan, static=plan.asked(joined(texts)))


def tool_table(spec: AgentSpec) -> dict[str, Tool[..., Any]]:
    """The agent's tools by name, discovered ones included; `DefinitionError` if two share a name."""
    table: dict[str, Tool[..., Any]] = {}
    for tool in (*spec.tools, *(t for toolset in spec.toolsets for t in toolset.tools)):
        if tool.name in table:
            raise DefinitionError(f"The agent {spec.id!r} has two tools named {tool.name!r}.")
        table[tool.name] = tool
    return table


def joined(texts: list[str]) -> str | None:
    return "\n\n".join(text for text in texts if text.strip()) or None


def instruction_parts(instructions: str | None) -> list[InstructionPart]:
    """Never None: the model layer would then look for instructions in the messages."""
    return [InstructionPart(content=instructions)] if instructions else []


def agent_id(agent: Agent | str) -> str:
    return agent if isinstance(agent, str) else agent.id


def parameters_blob(instructions: str | None, settings: dict[str, Any], facts: bytes) -> NewBlob:
    """The blob that holds what is not a message of a prompt. `facts` is JSON without its opening brace."""
    shown = to_json(settings, fallback=str, inf_nan_mode="strings")
    data = b'{"instructions":' + to_json(instructions) + b',"settings":' + shown + b"," + facts
    return NewBlob(hashlib.sha256(data).digest(), data)


def _facts(model: str | Model, params: ModelRequestParameters) -> bytes:
    tools = [*params.function_tools, *params.output_tools]
    native = params.output_object
    return to_json(
        {
            "model": model_name(model),
            "tools": [
                {"name": t.name, "description": t.description, "schema": t.parameters_json_schema, "kind": t.kind}
                for t in tools
            ],
            "output": {
                "mode": params.output_mode,
                "text": params.allow_text_output,
                "schema": native.json_schema if native is not None else None,
            },
        }
    )[1:]


def _definition(tool: Tool[..., Any]) -> ToolDefinition:
    spec = tool.spec
    return ToolDefinition(
        name=spec.name,
        description=spec.description or None,
        parameters_json_schema=spec.parameters,
        sequential=spec.sequential,
    )


def _transfer(name: str, agent: Agent | str) -> ToolDefinition:
    about = "" if isinstance(agent, str) else agent.description
    text = f"Hand the conversation over to the agent {agent_id(agent)!r}, who goes on in your place."
    return ToolDefinition(
        name=name,
        description=f"{text} {about}".strip(),
        parameters_json_schema=_TRANSFER_SCHEMA,
    )


def transfer_name(agent: Agent | str) -> str:
    """The tool that hands over to an agent. Ids may hold dots, tool names may not, and both end at 64 characters."""
    return (TRANSFER_PREFIX + agent_id(agent).replace(".", "_"))[:64]
