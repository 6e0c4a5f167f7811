/** What a tool promises and what its rules ask for, in words. Pure. */

import type { components } from "~/api/types";
import { duration, plural } from "~/lib/format";

export type Rule = components["schemas"]["RuleOut"];

export interface EffectWords {
  readonly label: string;
  readonly means: string;
  readonly tone: "neutral" | "info" | "good" | "warn";
}

const EFFECTS: Readonly<Record<string, EffectWords>> = {
  read: { label: "reads", means: "Changes nothing, and may be called again at any time.", tone: "neutral" },
  transaction: {
    label: "transaction",
    means: "Writes in Holdfast's own database: its writes and the step are one commit.",
    tone: "good",
  },
  keyed: {
    label: "keyed",
    means: "The other side knows the call by its key: repeated after a crash, and done once.",
    tone: "good",
  },
  reconcilable: {
    label: "reconcilable",
    means: "The other side can be asked whether it was done; done once.",
    tone: "good",
  },
  unsafe: {
    label: "unsafe",
    means: "After a crash nobody knows whether it was done: a person is asked, never a blind repeat.",
    tone: "warn",
  },
};

export const effectWords = (effect: string | null | undefined): EffectWords =>
  EFFECTS[effect ?? "unsafe"] ?? { label: String(effect), means: "", tone: "neutral" };

/** One rule as sentences: when it holds, who decides, and what happens if nobody does. */
export function ruleInWords(rule: Rule): string {
  const when = whenInWords(rule.when);
  const because = rule.reason ? ` (${rule.reason})` : "";
  if (rule.decision === "deny") return `Refused ${when}${because}.`;
  return [`Asks for leave ${when}${because}.`, whoDecides(rule), expiry(rule)].filter(Boolean).join(" ");
}

function whoDecides(rule: Rule): string {
  const roles = rule.roles ?? [];
  const quorum = rule.quorum ?? 1;
  const who =
    quorum > 1
      ? `${quorum} different people have to approve`
      : roles.length > 0
        ? "Decided by somebody"
        : rule.four_eyes
          ? "Decided by anybody"
          : "";
  if (who === "") return "";
  const with_ = roles.length > 0 ? ` with the role ${roles.join(" or ")}` : "";
  const not = rule.four_eyes ? ", not by who led to the call or edited it" : "";
  return `${who}${with_}${not}.`;
}

const ON_EXPIRY: Readonly<Record<string, string>> = {
  reject: "is rejected",
  approve: "is approved",
  escalate: "goes to others",
  default: "takes its default",
};

function expiry(rule: Rule): string {
  if (rule.expires_ms === null || rule.expires_ms === undefined) return "Stands until somebody decides.";
  const days = rule.expires_ms / 86_400_000;
  const time = Number.isInteger(days) ? plural(days, "day") : duration(rule.expires_ms);
  return `After ${time} it ${ON_EXPIRY[rule.on_expiry ?? "reject"] ?? rule.on_expiry}.`;
}

export function whenInWords(when: unknown): string {
  if (when === true || when === null || when === undefined) return "always";
  if (typeof when !== "object") return "when a condition in its code holds";
  const all = Object.entries(when as Record<string, unknown>).map(
    ([name, condition]) => `${name} ${conditionInWords(condition)}`,
  );
  return all.length === 0 ? "always" : `when ${all.join(" and ")}`;
}

function conditionInWords(condition: unknown): string {
  if (typeof condition !== "object" || condition === null) return `is ${JSON.stringify(condition)}`;
  const { enum: options, min, max, regex } = condition as Record<string, unknown>;
  const parts: string[] = [];
  if (Array.isArray(options)) parts.push(`is ${options.map((one) => String(one)).join(" or ")}`);
  if (min !== undefined && max !== undefined) parts.push(`is ${String(min)} to ${String(max)}`);
  else if (min !== undefined) parts.push(`is ${String(min)} or more`);
  else if (max !== undefined) parts.push(`is ${String(max)} or less`);
  if (regex !== undefined) parts.push(`matches ${String(regex)}`);
  return parts.length === 0 ? "is given" : parts.join(" and ");
}
