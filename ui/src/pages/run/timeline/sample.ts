/** Answers as the server gives them, made for tests. */

import type { TimelineAnswer } from "./steps";

export interface Made {
  readonly key: string;
  readonly kind?: string;
  readonly from: number;
  readonly to: number;
  readonly attempt?: number;
  readonly status?: string;
  readonly tokens?: number;
  readonly cost?: number;
  readonly child?: string;
}

export function answerOf(
  made: readonly Made[],
  rest: Partial<Omit<TimelineAnswer, "steps" | "words">> & { readonly first?: number } = {},
): TimelineAnswer {
  const words = { kind: [] as string[], name: [] as string[], status: [] as string[] };
  const children: (string | null)[] = [null];
  const place = (list: (string | null)[], word: string | null): number => {
    const at = list.indexOf(word);
    return at >= 0 ? at : list.push(word) - 1;
  };
  const { first = 1, ...given } = rest;
  return {
    run_id: "run_a",
    status: "running",
    created_at: "2030-01-01T00:00:00.000Z",
    now: Math.max(0, ...made.map((one) => one.to)),
    pos: made.length,
    revision: "r1",
    last: first + made.length - 1,
    more: false,
    inherited_to: 0,
    steps: {
      seq: made.map((_, at) => first + at),
      key: made.map((one) => one.key),
      attempt: made.map((one) => one.attempt ?? 1),
      tries: made.map(() => 1),
      started_at: made.map((one) => one.from),
      ended_at: made.map((one) => one.to),
      input_tokens: made.map((one) => one.tokens ?? 0),
      output_tokens: made.map(() => 0),
      cost_micros: made.map((one) => one.cost ?? 0),
      kind: made.map((one) => place(words.kind, one.kind ?? "code")),
      name: made.map((one) => place(words.name, one.key.replace(/^.*\//, "").replace(/#.*$/, ""))),
      status: made.map((one) => place(words.status, one.status ?? "succeeded")),
      child_run_id: made.map((one) => place(children, one.child ?? null)),
      effect_status: made.map(() => 0),
      error_code: made.map(() => 0),
    },
    words: { ...words, child_run_id: children, effect_status: [null], error_code: [null] } as never,
    open: [],
    waits: [],
    marks: [],
    ...given,
  };
}
