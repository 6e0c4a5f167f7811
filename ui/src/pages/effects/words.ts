/** The ledger in words. Pure. */

import { Problem } from "~/api/problem";
import type { Effect, EffectRow } from "~/api/types";
import { duration } from "~/lib/format";
import { brief } from "~/lib/text";

export const STATUS_WORDS: Readonly<Record<Effect["status"], string>> = {
  planned: "Chosen, and not begun.",
  started: "The call is under way, or was when its process died.",
  committed: "It was done.",
  failed: "It was not done.",
  unknown: "Nobody knows whether it was done; somebody has to say.",
  abandoned: "Its run ended before it began.",
  compensating: "It is being undone.",
  compensated: "It was undone.",
  compensation_failed: "It could not be undone.",
};

export const CLASS_WORDS: Readonly<Record<Effect["effect_class"], string>> = {
  read: "It changes nothing.",
  transaction: "Its writes, the ledger and the step are one commit.",
  keyed: "The other side takes a key: doing it again is doing it once.",
  reconcilable: "The other side can be asked whether it was done.",
  unsafe: "It cannot be repeated, nor can anybody be asked.",
};

export const gist = (effect: EffectRow, charsMax = 160): string =>
  brief(
    Object.entries(effect.arguments)
      .map(([name, value]) => `${name} ${brief(value, 80)}`)
      .join(" · ") || "without arguments",
    charsMax,
  );

/** When it was begun, or chosen as long as it was not. */
export const begunAt = (effect: EffectRow): string => effect.started_at ?? effect.planned_at;

export const took = (effect: EffectRow): string | null =>
  effect.started_at === null || effect.ended_at === null
    ? null
    : duration(Date.parse(effect.ended_at) - Date.parse(effect.started_at));

/** Those that somebody has to look at, before the rest; each once. */
export function attentionFirst(
  unknown: readonly EffectRow[],
  rest: readonly EffectRow[],
): readonly EffectRow[] {
  const first = unknown.filter((one) => one.status === "unknown");
  const ids = new Set(first.map((one) => one.id));
  return [...first, ...rest.filter((one) => !ids.has(one.id))];
}

export interface Refusal {
  readonly title: string;
  readonly text: string;
}

export function refusal(error: unknown): Refusal {
  if (!(error instanceof Problem)) return { title: "This was not sent", text: String(error) };
  const decision = error.body.decision as { name?: string; note?: string | null } | null | undefined;
  if (error.code === "already_resolved")
    return {
      title: decision?.name ? `${decision.name} said so before you` : "It is known already",
      text: decision?.note ? `“${decision.note}”` : error.message,
    };
  return { title: "This was not taken", text: error.message };
}
