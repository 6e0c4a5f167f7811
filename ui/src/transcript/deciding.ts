/** What a question asks, who may decide it, and what was decided: pure. */

import type { Problem } from "~/api/problem";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { pathOf } from "~/design/schema";
import { brief, oneLine } from "~/lib/text";

export interface Resolution {
  readonly decision: "approve" | "reject" | "answer";
  readonly arguments?: Readonly<Record<string, unknown>>;
  readonly answer?: unknown;
  readonly note?: string;
  readonly version: number;
}

/** Why somebody may not decide; null if they may. `approve`: they may still reject. */
export interface Bar {
  readonly of: "all" | "approve";
  readonly why: string;
}

type Asked = Pick<Approval, "may_decide" | "four_eyes" | "requested_by" | "decisions" | "quorum">;

export function barred(me: Me | undefined, asked: Asked): Bar | null {
  if (me === undefined) return null;
  const admin = me.scopes.includes("*");
  if (!admin && !me.scopes.includes("approvals:write"))
    return { of: "all", why: "Your key may read questions, not answer them (it lacks approvals:write)." };
  const missing = asked.may_decide.filter(
    ({ roles }) => roles.length > 0 && !roles.some((role) => me.roles.includes(role)),
  );
  if (!admin && missing.length > 0)
    return { of: "all", why: `Only somebody with the role ${rolesText(missing)} may decide.` };
  if (asked.four_eyes && asked.requested_by === me.principal.id)
    return {
      of: "approve",
      why: "You asked for this, so somebody else has to approve it. You may reject it.",
    };
  if (asked.quorum > 1 && asked.decisions.some((one) => !one.void && one.principal === me.principal.id))
    return { of: "all", why: "You have approved. Others have to approve, too." };
  return null;
}

export const rolesText = (deciders: Asked["may_decide"]): string =>
  deciders.map(({ roles }) => roles.join(" or ")).join(" and ");

/** The outcome in a few words: "Approved by Ann", "Expired", "Answered by Bob: blue". */
export function outcome(asked: Pick<Approval, "status" | "decisions" | "type">): string {
  const last = asked.decisions.filter((one) => !one.void).at(-1);
  const who = asked.decisions
    .filter((one) => !one.void)
    .map((one) => (one.principal === null ? "expiry" : one.name))
    .join(", ");
  switch (asked.status) {
    case "approved":
      return `Approved${who && ` by ${who}`}`;
    case "rejected":
      return asked.type === "input"
        ? `Not answered: ${who || "somebody"} refused`
        : `Rejected${who && ` by ${who}`}`;
    case "answered":
      return `Answered${who && ` by ${who}`}`;
    case "expired":
      return last?.principal === null ? "Nobody answered in time" : "Expired";
    case "cancelled":
      return "Not needed any more: the run ended first";
    default:
      return who ? `Approved by ${who}, ${asked.status}` : asked.status;
  }
}

/** Why a decision was not taken: somebody else was faster, or the server says why. */
export function refusalOf(error: Problem): string {
  if (error.code !== "already_resolved") return error.message;
  const decision = error.body.decision as Approval["decisions"][number] | null | undefined;
  if (decision === null || decision === undefined) return error.message;
  const status = { approve: "approved", reject: "rejected", answer: "answered" } as const;
  const said = outcome({ status: status[decision.decision], decisions: [decision], type: "tool" });
  return `Somebody was faster: ${said}${decision.note ? `, “${decision.note}”` : ""}`;
}

/** What the server found wrong with the arguments or the answer, by the path of a form. */
export function placed(
  errors: readonly { readonly loc: readonly (string | number)[]; readonly msg: string }[] | undefined,
): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { loc, msg } of errors ?? []) {
    const from = loc.findIndex(
      (one) => one !== "body" && one !== "arguments" && one !== "answer" && one !== "input",
    );
    found[pathOf(from < 0 ? [] : loc.slice(from))] = msg;
  }
  return found;
}

/** Whether a schema asks for plain text, for which a text field is enough. */
export function asksForText(schema: unknown): boolean {
  if (schema === null || schema === undefined || schema === true) return true;
  return (
    typeof schema === "object" && (schema as { type?: unknown }).type === "string" && !("enum" in schema)
  );
}

/** Arguments in one line. */
export function argumentsBrief(given: unknown): string {
  if (typeof given !== "object" || given === null || Array.isArray(given)) return brief(given, 140);
  const members = Object.entries(given).slice(0, 6);
  return members.map(([name, value]) => `${oneLine(name, 40)}: ${brief(value, 60)}`).join(", ");
}
