/** What a difference between two runs says, in words and signed numbers. Pure. */

import type { Diff, Message, RunState } from "~/api/types";
import { cost, count, duration } from "~/lib/format";

const DIFFERS: Readonly<Record<string, string>> = {
  missing: "only one of them has this step",
  kind: "another kind of step",
  name: "another name",
  arguments: "other arguments",
  status: "another outcome",
  output: "another result",
  error: "another error",
  prompt: "the model was asked something else",
};

const ANSWERS: ReadonlySet<string> = new Set(["model", "interrupt"]);

/** One sentence. */
export function differsIn(names: readonly string[], kind: string): string {
  const said = names
    .map((name) => (name === "output" && ANSWERS.has(kind) ? "another answer" : (DIFFERS[name] ?? name)))
    .join(", ");
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}.`;
}

export interface Measure {
  readonly name: string;
  readonly one: string;
  readonly two: string;
  /** Of the second, against the first. */
  readonly more: string;
  readonly sign: -1 | 0 | 1;
}

/** "+1,200", "−62 ms", "the same". */
function signed(difference: number, shown: (n: number) => string): Pick<Measure, "more" | "sign"> {
  if (difference === 0) return { more: "the same", sign: 0 };
  return {
    more: `${difference > 0 ? "+" : "−"}${shown(Math.abs(difference))}`,
    sign: difference > 0 ? 1 : -1,
  };
}

export function measuresOf(diff: Diff): readonly Measure[] {
  const { this: one, other: two } = diff;
  const tokens = (side: Diff["this"]): number => side.usage.input_tokens + side.usage.output_tokens;
  const priced = one.usage.priced && two.usage.priced;
  return [
    row("Steps", one.at, two.at, two.at - one.at, count),
    row(
      "Model calls",
      one.usage.requests,
      two.usage.requests,
      two.usage.requests - one.usage.requests,
      count,
    ),
    row("Tokens", tokens(one), tokens(two), diff.tokens_difference, count),
    {
      name: "Cost",
      one: cost(one.usage.cost_micros, one.usage.priced),
      two: cost(two.usage.cost_micros, two.usage.priced),
      ...(priced || diff.cost_micros_difference !== 0
        ? signed(diff.cost_micros_difference, (micros) => cost(micros))
        : { more: "unknown", sign: 0 as const }),
    },
    row("Time", one.elapsed_ms, two.elapsed_ms, diff.elapsed_ms_difference, duration),
  ];
}

const row = (
  name: string,
  one: number,
  two: number,
  difference: number,
  shown: (n: number) => string,
): Measure => ({ name, one: shown(one), two: shown(two), ...signed(difference, shown) });

export interface Rest {
  readonly messages: readonly Message[];
  /** Messages behind the last one that is the same, before those that are here. */
  readonly missing: number;
}

/** The messages of a run behind the first `same` of it. */
export function messagesBehind(talk: RunState["messages"], same: number): Rest {
  if (talk === null) return { messages: [], missing: 0 };
  const first = talk.total - talk.data.length;
  return {
    messages: talk.data.slice(Math.max(0, same - first)) as readonly Message[],
    missing: Math.max(0, first - same),
  };
}
