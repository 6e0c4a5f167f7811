/**
 * The steps of a run as the server tells them: columns, one place a step. A run of 20,000 steps is a dozen arrays here and
 * not 20,000 objects; what follows (tree, axis, rows) is made from them. Times are ms since the run was created.
 */

import type { components } from "~/api/types";

export type TimelineAnswer = components["schemas"]["TimelineOut"];
export type OpenStep = components["schemas"]["OpenStepOut"];
export type Pause = components["schemas"]["PauseOut"];
export type Mark = components["schemas"]["MarkOut"];

export interface Steps {
  readonly runId: string;
  readonly status: string;
  /** ms since the epoch: what all times of a run count from. */
  readonly createdAt: number;
  /** The server's time of the answer, counted like all others. */
  readonly now: number;
  /** The run's last event that is in here. */
  readonly pos: number;
  /** Another one when a step that was told before is not as it was. */
  readonly revision: string;
  readonly last: number;
  readonly inheritedTo: number;
  readonly seq: readonly number[];
  readonly key: readonly string[];
  readonly kind: readonly string[];
  readonly name: readonly string[];
  readonly outcome: readonly string[];
  readonly attempt: readonly number[];
  readonly tries: readonly number[];
  readonly from: readonly number[];
  readonly to: readonly number[];
  readonly tokensIn: readonly number[];
  readonly tokensOut: readonly number[];
  readonly cost: readonly number[];
  readonly child: readonly (string | null)[];
  readonly effect: readonly (string | null)[];
  readonly error: readonly (string | null)[];
  readonly open: readonly OpenStep[];
  readonly waits: readonly Pause[];
  readonly marks: readonly Mark[];
}

const COLUMNS = [
  "seq",
  "key",
  "kind",
  "name",
  "outcome",
  "attempt",
  "tries",
  "from",
  "to",
  "tokensIn",
  "tokensOut",
  "cost",
  "child",
  "effect",
  "error",
] as const;

type Columns = Pick<Steps, (typeof COLUMNS)[number]>;

function columnsOf(answer: TimelineAnswer): Columns {
  const { steps, words } = answer;
  const said = <T>(places: readonly number[], list: readonly T[]): T[] => places.map((at) => list[at] as T);
  const to = steps.ended_at.map((ended, at) => ended ?? steps.started_at[at] ?? 0);
  return {
    seq: steps.seq,
    key: steps.key,
    kind: said(steps.kind, words.kind),
    name: said(steps.name, words.name),
    outcome: said(steps.status, words.status),
    attempt: steps.attempt,
    tries: steps.tries,
    from: steps.started_at.map((began, at) => began ?? to[at] ?? 0),
    to,
    tokensIn: steps.input_tokens,
    tokensOut: steps.output_tokens,
    cost: steps.cost_micros,
    child: said(steps.child_run_id, words.child_run_id),
    effect: said(steps.effect_status, words.effect_status),
    error: said(steps.error_code, words.error_code),
  };
}

export function stepsOf(answer: TimelineAnswer): Steps {
  return {
    runId: answer.run_id,
    status: answer.status,
    createdAt: Date.parse(answer.created_at),
    now: answer.now,
    pos: answer.pos,
    revision: answer.revision,
    last: answer.last,
    inheritedTo: answer.inherited_to,
    ...columnsOf(answer),
    open: answer.open,
    waits: answer.waits,
    marks: answer.marks,
  };
}

/** `known` with what a later answer tells behind it. What is there already is left as it is. */
export function extended(known: Steps, answer: TimelineAnswer): Steps {
  const added = columnsOf(answer);
  const first = added.seq.findIndex((seq) => seq > known.last);
  const columns: Record<string, readonly unknown[]> = {};
  for (const name of COLUMNS)
    columns[name] = first < 0 ? known[name] : [...known[name], ...added[name].slice(first)];
  return {
    ...known,
    ...(columns as unknown as Columns),
    status: answer.status,
    now: answer.now,
    pos: Math.max(known.pos, answer.pos),
    last: Math.max(known.last, answer.last),
    open: answer.open,
    waits: merged(known.waits, answer.waits, (one) => `${one.from}/${one.type}`),
    marks: merged(known.marks, answer.marks, (one) => `${one.at}/${one.type}`),
  };
}

/** A wait that had begun is told again when it ends: the later word counts. */
function merged<T>(known: readonly T[], told: readonly T[], nameOf: (one: T) => string): readonly T[] {
  if (told.length === 0) return known;
  const all = new Map(known.map((one) => [nameOf(one), one]));
  for (const one of told) all.set(nameOf(one), one);
  return [...all.values()];
}

/** Where the step `seq` stands; -1 if it is not here. Numbers are dense, so this is where it is expected. */
export function placeOf(steps: Steps, seq: number): number {
  const at = seq - (steps.seq[0] ?? 1);
  return steps.seq[at] === seq ? at : steps.seq.indexOf(seq);
}
