/** The nouns of the API under the names that the interface uses for them; the shapes come from the OpenAPI document. */

import type { components, paths } from "./schema";

type Schemas = components["schemas"];

export type Run = Schemas["RunOut"];
export type RunStatus = Schemas["RunStatus"];
export type Wait = Schemas["WaitOut"];
export type Usage = Schemas["UsageOut"];
export type StepRow = Schemas["StepRow"];
export type Step = Schemas["StepOut"];
export type StepKind = Schemas["StepKind"];
export type Prompt = Schemas["PromptOut"];
export type Thread = Schemas["ThreadOut"];
export type Agent = Schemas["AgentOut"];
export type Tool = Schemas["ToolOut"];
export type AgentVersion = Schemas["AgentVersionOut"];
export type ApprovalRow = Schemas["ApprovalRow"];
export type Approval = Schemas["ApprovalOut"];
export type ApprovalStatus = Schemas["ApprovalStatus"];
export type EffectRow = Schemas["EffectRow"];
export type Effect = Schemas["EffectOut"];
export type EffectStatus = Schemas["EffectStatus"];
export type RunState = Schemas["RunStateOut"];
export type Diff = Schemas["DiffOut"];
export type Replay = Schemas["ReplayOut"];
export type Info = Schemas["InfoOut"];

export type { components, paths };

/** A part of a message, as `domain/messages.py` writes it. */
export type Part =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "thinking"; readonly text: string }
  | {
      readonly type: "tool_call";
      readonly call_id: string | null;
      readonly name: string;
      readonly arguments: unknown;
    }
  | {
      readonly type: "tool_result";
      readonly call_id: string | null;
      readonly name: string | null;
      readonly result: unknown;
      readonly error?: unknown;
    }
  | { readonly type: "file"; readonly media_type?: string; readonly data?: string }
  | { readonly type: "data"; readonly data: unknown };

export interface Message extends Omit<Schemas["MessageOut"], "parts"> {
  readonly parts: readonly Part[];
}

/** What a list answers: `next_cursor` leads on, null on the last page. */
export interface Page<T> {
  readonly data: readonly T[];
  readonly next_cursor: string | null;
}

/** An event of a run, durable (with `pos`) or ephemeral. `docs/reference/events.md` says what `data` holds for a type. */
export interface RunEvent {
  readonly pos: number | null;
  readonly run_id: string;
  readonly thread_id: string;
  readonly type: string;
  readonly at: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** A hint that something changed; what, is to be fetched. */
export interface Change {
  readonly kind: "run" | "approval" | "effect" | "thread" | "agent" | (string & {});
  readonly id: string;
  readonly status: string;
}

export const ENDED: ReadonlySet<RunStatus> = new Set(["succeeded", "failed", "cancelled"]);

export const hasEnded = (run: Pick<Run, "status">): boolean => ENDED.has(run.status);
