/** What an agent takes, and whether it can be asked: pure. */

import type { Agent } from "~/api/types";

type Schema = Readonly<Record<string, unknown>>;

/** Whether a schema takes plain text: then an agent is talked to, else a form is filled in. */
export function takesText(schema: unknown): boolean {
  if (typeof schema !== "object" || schema === null) return true;
  const { type, anyOf, oneOf } = schema as Schema;
  if (type === "string" && !("enum" in schema)) return true;
  const variants = (Array.isArray(anyOf) ? anyOf : Array.isArray(oneOf) ? oneOf : []) as readonly unknown[];
  if (variants.length > 0) return variants.some(takesText);
  return Object.keys(schema).length === 0;
}

/** Why an agent answers nothing at the moment; null if it does. */
export function unable(agent: Agent): string | null {
  if (!agent.enabled) return "It is switched off: new runs of it are refused.";
  if (agent.workers === 0) return "No worker can run it now: a run waits until one can.";
  return null;
}

/** The agent that a new chat begins with: one that is talked to, is on, and has a worker, before others. */
export function firstOf(agents: readonly Agent[]): Agent | null {
  const rank = (agent: Agent): number =>
    (agent.enabled ? 0 : 4) +
    (agent.workers > 0 ? 0 : 2) +
    (takesText(agent.input_schema) ? 0 : 1) +
    isHelper(agent, agents);
  return [...agents].sort((a, b) => rank(a) - rank(b))[0] ?? null;
}

/** An agent that others hand over to, or one without tools beside agents that have some, is likely to be asked by them. */
function isHelper(agent: Agent, agents: readonly Agent[]): number {
  const called = agents.some((one) => one.handoffs.includes(agent.id));
  const bare = agent.tools.length === 0 && agent.handoffs.length === 0;
  return called || (bare && agents.some((one) => one.tools.length > 0)) ? 0.5 : 0;
}
