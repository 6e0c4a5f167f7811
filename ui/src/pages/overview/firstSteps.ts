/** The first steps of a new install, and which of them have been taken, as the data says. Pure. */

import type { Agent, ApprovalRow, Run } from "~/api/types";

export interface Evidence {
  readonly runs: readonly Run[];
  readonly forks: readonly Run[];
  readonly decided: readonly ApprovalRow[];
  readonly pending: readonly ApprovalRow[];
  readonly agents: readonly Agent[];
  /** What only this browser knows. */
  readonly firsts: ReadonlySet<string>;
}

export interface FirstStep {
  readonly id: "chat" | "approve" | "open" | "fork" | "replay";
  readonly title: string;
  readonly says: string;
  readonly to: string;
  readonly search?: Readonly<Record<string, string | boolean>>;
  readonly action: string;
  readonly done: boolean;
}

/** The demo writes this into the metadata of the runs that it made before anybody came. */
const MADE_BY = "holdfast.made_by";

export const isOwn = (run: Pick<Run, "metadata">): boolean => run.metadata[MADE_BY] !== "demo";

export function firstSteps(found: Evidence): readonly FirstStep[] {
  const { runs, decided, pending, agents, firsts } = found;
  const forks = found.forks.filter(isOwn);
  const run = runs.find((one) => one.status !== "queued" && one.steps > 1) ?? runs[0];
  const place = run === undefined ? "/runs" : `/runs/${run.id}`;
  // Whoever can do most is the one to talk to first.
  const asking = agents
    .filter((agent) => agent.tools.some((tool) => (tool.policy ?? []).length > 0))
    .reduce<Agent | undefined>(
      (most, one) => (one.tools.length > (most?.tools.length ?? 0) ? one : most),
      undefined,
    );
  const tool = asking?.tools.find((one) => (one.policy ?? []).length > 0);
  const talker = asking ?? agents.find((agent) => agent.kind === "native") ?? agents[0];
  return [
    {
      id: "chat",
      title: "Talk to an agent",
      says: "Each message starts a durable run: every step is recorded, and survives a crash.",
      to: "/chat",
      ...(talker !== undefined && { search: { agent: talker.id } }),
      action: "Open the chat",
      done: runs.some(isOwn),
    },
    {
      id: "approve",
      title: "Approve a call, with an edit",
      says:
        pending.length > 0
          ? "One waits for you. Change an argument before you approve: exactly that is executed."
          : asking === undefined || tool === undefined
            ? "When a tool's rules ask for leave, the run waits in the inbox. Change an argument, then approve."
            : `${asking.name} asks for leave before ${tool.name}: get it to, then change an argument and approve.`,
      to: pending[0] === undefined ? "/approvals" : `/approvals/${pending[0].id}`,
      action: "Open the inbox",
      done: decided.some((one) =>
        one.decisions.some((it) => it.decision === "approve" && it.arguments !== null),
      ),
    },
    {
      id: "open",
      title: "Look into a run",
      says: "The timeline, the exact prompts, what each tool was given and what it did outside.",
      to: place,
      action: "Open a run",
      done: firsts.has("opened") || forks.length > 0,
    },
    {
      id: "fork",
      title: "Fork it",
      says: "Go back to any step, change what came of it, and compare. Nothing is paid or sent twice.",
      to: place,
      ...(run !== undefined && { search: { view: "state", fork: true } }),
      action: "Fork a run",
      done: forks.length > 0,
    },
    {
      id: "replay",
      title: "Replay it",
      says: "Today's code against what was recorded: would it still do the same?",
      to: place,
      ...(run !== undefined && { search: { view: "replay" } }),
      action: "Replay a run",
      done: firsts.has("replayed"),
    },
  ];
}
