/** What a fork may change at a step, and the request that asks for it. Pure. */

import type { Run } from "~/api/types";
import { plural } from "~/lib/format";
import type { StepName } from "./steps";

export type Change = "nothing" | "output" | "answer" | "message" | "model" | "rerun";
export type Repeat = "reuse" | "execute" | "simulate" | "deny";
export type Fresh = "ask" | "execute" | "simulate" | "deny";
export type Reads = "execute" | "reuse";

export interface Policy {
  readonly repeat: Repeat;
  readonly fresh: Fresh;
  readonly reads: Reads;
}

/** The API's own defaults: nothing that changes something happens twice, or at all, without somebody's leave. */
export const defaultPolicy = (imported: boolean): Policy => ({
  repeat: "reuse",
  fresh: imported ? "simulate" : "ask",
  reads: "execute",
});

export interface Draft {
  readonly at: number;
  readonly change: Change;
  /** The edited result, answer or message, as the API takes it. */
  readonly value: unknown;
  readonly instructions: string;
  readonly model: string;
  readonly policy: Policy;
  readonly tags: string;
  readonly limits: Limits;
}

export interface Limits {
  readonly steps_max: string;
  readonly tool_calls_max: string;
  readonly tokens_max: string;
  /** In US dollars. */
  readonly cost: string;
}

export const NO_LIMITS: Limits = { steps_max: "", tool_calls_max: "", tokens_max: "", cost: "" };

const WITH_OUTPUT: ReadonlySet<string> = new Set(["model", "tool", "code", "child", "value", "event"]);

/** Leave for a call that was asked of somebody. It is decided, not answered: no fork can have it otherwise. */
export const isLeave = (step: Pick<StepName, "kind" | "name"> | undefined): boolean =>
  step?.kind === "interrupt" && step.name === "leave";

/** What can be different at a place, the likeliest first. */
export function changesAt(
  at: number,
  step: Pick<StepName, "kind" | "status" | "name"> | undefined,
): readonly Change[] {
  if (at === 0) return ["message", "nothing"];
  if (step === undefined) return ["nothing", "rerun"];
  if (isLeave(step)) return ["nothing"];
  if (step.kind === "interrupt") return ["answer", "nothing", "rerun"];
  if (!WITH_OUTPUT.has(step.kind) || step.status === "voided") return ["nothing", "rerun"];
  return step.kind === "model" ? ["output", "model", "rerun", "nothing"] : ["output", "nothing", "rerun"];
}

/** How many of the steps the fork has without running them. */
export function keptBy(at: number, change: Change): number {
  if (change === "message") return 0;
  return change === "rerun" || change === "model" ? Math.max(0, at - 1) : at;
}

export function said(at: number, change: Change, last: number): string {
  const kept = keptBy(at, change);
  const edited = change === "output" || change === "answer";
  if (kept === 0)
    return change === "message"
      ? "Begins anew with this message; the conversation before the run stays."
      : "Keeps no step: all of it happens again.";
  const all =
    kept === last
      ? last === 1
        ? "the only step"
        : `all ${plural(last, "step")}`
      : `${kept} of ${plural(last, "step")}`;
  const written = last === 1 ? ", as you write it" : ", the last of them as you write it";
  return `Keeps ${all}${edited ? written : ""}; what comes after happens again.`;
}

/** The body of `POST /v1/runs/{id}/fork`. What is as the API has it by default is left out. */
export function bodyOf(draft: Draft, imported: boolean): Record<string, unknown> {
  const edits = editsOf(draft);
  const effects = effectsOf(draft.policy, defaultPolicy(imported));
  const tags = tagsOf(draft.tags);
  const limits = limitsOf(draft.limits);
  return {
    at: draft.at,
    ...(Object.keys(edits).length > 0 && { edits }),
    ...(draft.change === "rerun" && { rerun: true }),
    ...(effects !== null && { effects }),
    ...(tags.length > 0 && { tags }),
    ...(limits !== null && { limits }),
  };
}

function editsOf({ change, value, instructions, model }: Draft): Record<string, unknown> {
  const anew = {
    ...(instructions.trim() !== "" && { instructions }),
    ...(model.trim() !== "" && { model: model.trim() }),
  };
  if (change === "model") return anew;
  if (change === "message") return { message: value, ...anew };
  return change === "output" || change === "answer" ? { [change]: value } : {};
}

function effectsOf(policy: Policy, usual: Policy): Record<string, unknown> | null {
  const named = { repeat: policy.repeat, new: policy.fresh, reads: policy.reads };
  const same = policy.repeat === usual.repeat && policy.fresh === usual.fresh && policy.reads === usual.reads;
  return same ? null : named;
}

export const tagsOf = (text: string): readonly string[] =>
  text
    .split(",")
    .map((tag) => tag.trim())
    .filter((tag) => tag !== "");

function limitsOf(limits: Limits): Record<string, number> | null {
  const found = Object.fromEntries(
    Object.entries(limits)
      .filter(([, text]) => text.trim() !== "")
      .map(([name, text]) =>
        name === "cost" ? ["cost_micros_max", Math.round(Number(text) * 1_000_000)] : [name, Number(text)],
      ),
  );
  return Object.keys(found).length === 0 ? null : found;
}

/** What a step came to, in the form in which the API takes another one. */
export function outputOf(step: { readonly kind: string; readonly output?: unknown }): unknown {
  const output = step.output;
  if (typeof output !== "object" || output === null) return output;
  const of = output as Record<string, unknown>;
  if (step.kind === "model" && Array.isArray(of.parts)) return answerOf(of.parts);
  if (step.kind === "tool" && "call_id" in of && "result" in of) return of.result;
  if (step.kind === "event" && "data" in of) return of.data;
  if (step.kind === "interrupt") return of.answer ?? null;
  return output;
}

export interface ModelAnswer {
  readonly text: string;
  readonly tool_calls: readonly { readonly tool: string; readonly args: unknown }[];
}

function answerOf(parts: readonly unknown[]): ModelAnswer {
  const all = parts as readonly Record<string, unknown>[];
  return {
    text: all.flatMap((part) => (part.type === "text" ? [String(part.text)] : [])).join("\n"),
    tool_calls: all.flatMap((part) =>
      part.type === "tool_call" ? [{ tool: String(part.name), args: part.arguments }] : [],
    ),
  };
}

/** A model's answer that is text alone is sent as a text. */
export const asSent = ({ text, tool_calls }: ModelAnswer): unknown =>
  tool_calls.length === 0 ? text : { ...(text !== "" && { text }), tool_calls };

/** The input of a run, as it is given: a single text part is its text. */
export function messageOf(run: Pick<Run, "input">): unknown {
  const { input } = run;
  if (Array.isArray(input) && input.length === 1 && input[0]?.type === "text") return input[0].text;
  return input;
}

/** Which field of the form an error of the API is about. */
export type Place = "at" | "edit" | "instructions" | "model" | "effects" | "limits" | "tags" | "form";

const CODES: Readonly<Record<string, Place>> = {
  invalid_at: "at",
  not_started: "at",
  edit_not_possible: "edit",
  invalid_answer: "edit",
  invalid_input: "edit",
  four_eyes: "edit",
  role_missing: "edit",
  imported: "effects",
};

export function placeOf(code: string, loc: readonly (string | number)[] | undefined): Place {
  const [, field, member] = loc?.[0] === "body" ? loc : [];
  if (field === "edits") return member === "instructions" || member === "model" ? member : "edit";
  if (field === "at" || field === "effects" || field === "limits" || field === "tags") return field;
  return CODES[code] ?? "form";
}
