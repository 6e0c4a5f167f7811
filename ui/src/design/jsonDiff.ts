/** Where two JSON values differ, member by member; and two texts, word by word. Pure, and bounded for any size. */

import { brief } from "~/lib/text";
import { same } from "./schema";

export type Step = string | number;

export interface Change {
  readonly kind: "added" | "removed" | "changed";
  /** Where: in the value after it, of what was removed in the one before. */
  readonly path: readonly Step[];
  /** Undefined for what was added. */
  readonly before: unknown;
  /** Undefined for what was removed. */
  readonly after: unknown;
}

export interface Differences {
  readonly changes: readonly Change[];
  /** There are more than are listed. */
  readonly more: boolean;
}

const CHANGES_MAX = 200;
const DEPTH_MAX = 64;
/** Longer lists are compared place by place: finding what moved costs the product of their lengths. */
const ALIGNED_MAX = 200;

type Members = Readonly<Record<string, unknown>>;

const isMembers = (value: unknown): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export function differences(before: unknown, after: unknown, most = CHANGES_MAX): Differences {
  const found: Change[] = [];
  walk(before, after, [], found, most);
  return { changes: found.slice(0, most), more: found.length > most };
}

function walk(before: unknown, after: unknown, path: readonly Step[], found: Change[], most: number): void {
  if (found.length > most || before === after) return;
  if (path.length < DEPTH_MAX && isMembers(before) && isMembers(after)) {
    for (const name of Object.keys(before)) {
      if (!Object.hasOwn(after, name)) put(found, "removed", [...path, name], before[name], undefined);
      else walk(before[name], after[name], [...path, name], found, most);
    }
    for (const name of Object.keys(after))
      if (!Object.hasOwn(before, name)) put(found, "added", [...path, name], undefined, after[name]);
  } else if (path.length < DEPTH_MAX && Array.isArray(before) && Array.isArray(after)) {
    walkLists(before, after, path, found, most);
  } else if (!same(before, after)) {
    const kind = before === undefined ? "added" : after === undefined ? "removed" : "changed";
    put(found, kind, path, before, after);
  }
}

function put(
  found: Change[],
  kind: Change["kind"],
  path: readonly Step[],
  before: unknown,
  after: unknown,
): void {
  found.push({ kind, path, before, after });
}

function walkLists(
  before: readonly unknown[],
  after: readonly unknown[],
  path: readonly Step[],
  found: Change[],
  most: number,
): void {
  const aligned = Math.max(before.length, after.length) <= ALIGNED_MAX;
  const kept = aligned ? common(before.map(asKey), after.map(asKey)) : [];
  let i = 0;
  let j = 0;
  for (const [atBefore, atAfter] of [...kept, [before.length, after.length] as const]) {
    // Between two that stayed: those at the same place changed, the rest came or went.
    for (; i < atBefore && j < atAfter; i++, j++) walk(before[i], after[j], [...path, j], found, most);
    for (; i < atBefore; i++) put(found, "removed", [...path, i], before[i], undefined);
    for (; j < atAfter; j++) put(found, "added", [...path, j], undefined, after[j]);
    if (found.length > most) return;
    i = atBefore + 1;
    j = atAfter + 1;
  }
}

const asKey = (value: unknown): string => JSON.stringify(value) ?? "";

/** The longest common subsequence, as pairs of places. */
function common(one: readonly string[], other: readonly string[]): readonly (readonly [number, number])[] {
  let start = 0;
  while (start < one.length && start < other.length && one[start] === other[start]) start++;
  let end = 0;
  while (
    end < one.length - start &&
    end < other.length - start &&
    one[one.length - 1 - end] === other[other.length - 1 - end]
  )
    end++;
  const a = one.slice(start, one.length - end);
  const b = other.slice(start, other.length - end);
  const pairs: [number, number][] = Array.from({ length: start }, (_, at) => [at, at]);
  for (const [i, j] of longest(a, b)) pairs.push([i + start, j + start]);
  for (let at = end; at > 0; at--) pairs.push([one.length - at, other.length - at]);
  return pairs;
}

function longest(a: readonly string[], b: readonly string[]): readonly (readonly [number, number])[] {
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number): number => lengths[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      lengths[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const pairs: [number, number][] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) pairs.push([i++, j++]);
    else if (at(i + 1, j) >= at(i, j + 1)) i++;
    else j++;
  }
  return pairs;
}

// -- texts ------------------------------------------------------------------------------------------------------------

export interface Piece {
  readonly kind: "same" | "removed" | "added";
  readonly text: string;
}

const WORD = /\s+|[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}_]/gu;
const TEXT_CHARS_MAX = 20_000;
const CELLS_MAX = 400_000;

/** Two texts as pieces that stayed, went and came; null when they are too large to be compared so. */
export function wordDiff(before: string, after: string): readonly Piece[] | null {
  if (before.length > TEXT_CHARS_MAX || after.length > TEXT_CHARS_MAX) return null;
  const one: readonly string[] = before.match(WORD) ?? [];
  const other: readonly string[] = after.match(WORD) ?? [];
  if ((one.length + 1) * (other.length + 1) > CELLS_MAX) return null;
  const pieces: { kind: Piece["kind"]; text: string }[] = [];
  const say = (kind: Piece["kind"], text: string): void => {
    if (text === "") return;
    const last = pieces.at(-1);
    if (last?.kind === kind) last.text += text;
    else pieces.push({ kind, text });
  };
  let i = 0;
  let j = 0;
  for (const [atBefore, atAfter] of [...common(one, other), [one.length, other.length] as const]) {
    say("removed", one.slice(i, atBefore).join(""));
    say("added", other.slice(j, atAfter).join(""));
    say("same", one[atBefore] ?? "");
    i = atBefore + 1;
    j = atAfter + 1;
  }
  return pieces;
}

/** A path for people: `items[0].name`. */
export function pathText(path: readonly Step[]): string {
  let text = "";
  for (const step of path) {
    if (typeof step === "number") text += `[${step}]`;
    else if (/^[\p{L}_$][\p{L}\p{N}_$]*$/u.test(step)) text += text === "" ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** What the first difference is, in a line: `amount 267.00 → 200.00`. */
export function diffLine(before: unknown, after: unknown): string {
  const first = differences(before, after, 1).changes[0];
  if (first === undefined) return "";
  const shown = (value: unknown): string =>
    value === undefined ? "nothing" : value === null ? "null" : brief(value, 40) || "empty";
  return `${pathText(first.path)} ${shown(first.before)} → ${shown(first.after)}`.trim();
}
