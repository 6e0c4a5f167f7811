/** Which steps are shown: by kind, by what became of them, by words in their name or key. Pure. */

import type { RunSearch } from "./selection";
import type { Span } from "./timeline/tree";

export interface StepFilter {
  readonly kind?: string | undefined;
  readonly outcome?: RunSearch["outcome"] | undefined;
  readonly q?: string | undefined;
}

export const isFiltered = (filter: StepFilter): boolean =>
  filter.kind !== undefined || filter.outcome !== undefined || (filter.q ?? "").trim() !== "";

/** Whether a span is shown; null if all are. */
export function matcherOf({ kind, outcome, q = "" }: StepFilter): ((span: Facts) => boolean) | null {
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  if (kind === undefined && outcome === undefined && words.length === 0) return null;
  return (span) =>
    (kind === undefined || span.kind === kind) &&
    (outcome === undefined || (outcome === "open" ? span.type === "open" : span.status === outcome)) &&
    (words.length === 0 || words.every((word) => `${span.name} ${span.key}`.toLowerCase().includes(word)));
}

export type Facts = Pick<Span, "type" | "kind" | "status" | "name" | "key">;
