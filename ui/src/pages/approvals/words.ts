/** What a question is about, who may answer it and what happens if nobody does: in words. Pure. */

import { Problem } from "~/api/problem";
import type { Me } from "~/api/session";
import type { Approval, ApprovalRow, Message, Part } from "~/api/types";
import { ordered } from "~/design/schema";
import { duration } from "~/lib/format";
import { brief } from "~/lib/text";
import { rolesText } from "~/transcript/deciding";

export type Decision = ApprovalRow["decisions"][number];

/** The first line of a row: what it is about. */
export function subject(asked: ApprovalRow): string {
  return asked.type === "input" ? "Question" : (asked.tool ?? "Question");
}

export const TYPE_WORDS: Readonly<Record<ApprovalRow["type"], string>> = {
  tool: "asks for leave",
  input: "asks a question",
  external: "waits for a result",
  effect: "outcome unknown",
};

/** The arguments, or the question, in a line. */
export function gist(asked: ApprovalRow, charsMax = 180): string {
  if (asked.type === "input") return brief(asked.message, charsMax);
  const parts = Object.entries(ordered(asked.arguments, asked.schema)).map(
    ([name, value]) => `${name} ${brief(value, 80)}`,
  );
  return brief(parts.join(" · ") || "without arguments", charsMax);
}

export const standingDecisions = (asked: ApprovalRow): readonly Decision[] =>
  asked.decisions.filter((one) => !one.void);

export const approvalsGiven = (asked: ApprovalRow): number =>
  standingDecisions(asked).filter((one) => one.decision === "approve").length;

/** Who may decide, as the policy says. */
export const whoMay = (asked: Pick<ApprovalRow, "may_decide">): string =>
  asked.may_decide.length === 0
    ? "Anybody who may answer approvals"
    : `Somebody with the role ${rolesText(asked.may_decide)}`;

/** What happens when the time is over. */
export function whenOver(asked: ApprovalRow): string {
  switch (asked.on_expiry) {
    case "approve":
      return "it is approved as it stands";
    case "escalate":
      return "other people are asked, for as long again";
    case "default":
      return `the answer is ${brief(asked.default, 80) || "null"}`;
    case "reject":
      return asked.type === "tool"
        ? "it is rejected, and the agent is told that nobody answered"
        : "the run is told that nobody answered";
  }
}

/** "6 d 3 h left", by the server's clock; null when it stands for as long as it takes. */
export function timeLeft(
  asked: ApprovalRow,
  now: number,
): { readonly text: string; readonly soon: boolean; readonly over: boolean } | null {
  if (asked.expires_at === null || asked.type === "effect") return null;
  const ms = Date.parse(asked.expires_at) - now;
  if (ms <= 0) return { text: "time is over", soon: true, over: true };
  const coarse = ms > 3_600_000 ? Math.floor(ms / 60_000) * 60_000 : Math.floor(ms / 1_000) * 1_000;
  return { text: `${duration(coarse)} left`, soon: ms < 3_600_000, over: false };
}

const SAID: Readonly<Record<string, string>> = {
  approve: "approved",
  reject: "rejected",
  answer: "answered",
};

export const said = (decision: Pick<Decision, "decision">): string =>
  SAID[decision.decision] ?? decision.decision;

export const who = (decision: Pick<Decision, "name" | "principal">, me: Me): string =>
  decision.principal === me.principal.id ? "You" : decision.principal === null ? "Expiry" : decision.name;

/** Who decided it, for a row that names the status already. */
export function decidedLine(asked: ApprovalRow): string {
  const decisions = standingDecisions(asked);
  if (asked.status === "cancelled") return "its run ended first";
  if (decisions.every((one) => one.principal === null)) return "nobody answered in time";
  const names = [...new Set(decisions.map((one) => one.name))].join(", ");
  const changed = decisions.some((one) => one.arguments !== null) ? " · arguments changed" : "";
  const note = decisions.at(-1)?.note;
  return brief(`by ${names}${changed}${note ? ` · “${note}”` : ""}`, 160);
}

/** What was asked at first: an edit replaces the arguments, the model's own call still holds them. */
export function firstArguments(asked: Approval): Readonly<Record<string, unknown>> | null {
  // The call's place in the model's answer; a step of code has none, and one that was made again a number behind it.
  const at = /\/(\d+)(?:@\d+)?\/[^/]*$/.exec(asked.step)?.[1];
  if (at === undefined) return null;
  const call = asked.context
    .toReversed()
    .filter((message) => message.role === "assistant")
    .map((message) => (message as Message).parts.filter((part) => part.type === "tool_call"))
    .find((calls) => calls.length > 0)?.[Number(at)] as Extract<Part, { type: "tool_call" }> | undefined;
  if (call === undefined || call.name !== asked.tool) return null;
  return typeof call.arguments === "object" && call.arguments !== null
    ? (call.arguments as Readonly<Record<string, unknown>>)
    : null;
}

export interface Refusal {
  readonly title: string;
  readonly text: string;
  readonly decision: Decision | null;
}

/** Why an answer was not taken, kindly. */
export function refusal(error: unknown, me: Me): Refusal {
  if (!(error instanceof Problem))
    return {
      title: "This was not sent",
      text: error instanceof Error ? error.message : String(error),
      decision: null,
    };
  const decision = (error.body.decision ?? null) as Decision | null;
  const title = TITLES[error.code];
  if (error.code === "already_resolved")
    return {
      title:
        decision === null
          ? "This is decided already"
          : `${who(decision, me)} ${said(decision)} this before you`,
      text: "The first answer counts. Nothing that you sent has any effect.",
      decision,
    };
  if (error.code === "version_conflict")
    return {
      title: "This has changed since you looked",
      text: "It was loaded anew. What you typed is kept: look at what changed, then decide.",
      decision: null,
    };
  return { title: title ?? "This was not taken", text: error.message, decision };
}

const TITLES: Readonly<Record<string, string>> = {
  expired: "The time is over",
  run_ended: "The run has ended",
  four_eyes: "Somebody else has to decide this",
  role_missing: "Somebody else has to decide this",
  already_decided: "You have decided this already",
  invalid_arguments: "The arguments do not fit",
  invalid_answer: "The answer does not fit",
  unreachable: "The server cannot be reached",
  outcome_unknown: "It is not known whether this was stored",
  insufficient_scope: "Your key may not do this",
};
