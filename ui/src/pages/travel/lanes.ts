/**
 * The tree of forks as rows and lanes. A run's forks stand below it, the one that left first on top, each with its own
 * below it. The last fork of a run goes on in its lane, the others one lane to the right: a chain of forks is one line.
 */

export interface Leaf {
  readonly id: string;
  readonly forked_from: { readonly run_id: string; readonly at: number } | null;
  readonly created_at: string;
}

export interface Row<T extends Leaf> {
  readonly of: T;
  readonly lane: number;
  /** The lane that it comes from; null of a root. */
  readonly from: number | null;
  /** Lanes whose lines go past this row. */
  readonly past: readonly number[];
  /** Whether its own line goes on below. */
  readonly goesOn: boolean;
  /** How many forks lie between it and the root. */
  readonly depth: number;
}

interface Open<T extends Leaf> {
  readonly leaf: T;
  readonly lane: number;
  readonly from: number | null;
  readonly past: readonly number[];
  readonly depth: number;
}

export function rowsOf<T extends Leaf>(leaves: readonly T[]): readonly Row<T>[] {
  const below = childrenOf(leaves);
  const rows: Row<T>[] = [];
  const open: Open<T>[] = (below.get(null) ?? [])
    .map((leaf) => ({ leaf, lane: 0, from: null, past: [], depth: 0 }))
    .reverse();
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { leaf, lane, from, past, depth } = next;
    const children = below.get(leaf.id) ?? [];
    rows.push({ of: leaf, lane, from, past, goesOn: children.length > 0, depth });
    for (let index = children.length - 1; index >= 0; index -= 1) {
      const child = children[index] as T;
      const last = index === children.length - 1;
      open.push({
        leaf: child,
        lane: last ? lane : lane + 1,
        from: lane,
        past: last ? past : [...past, lane],
        depth: depth + 1,
      });
    }
  }
  return rows;
}

/** The forks of each run; under null those that come from none of these. */
function childrenOf<T extends Leaf>(leaves: readonly T[]): ReadonlyMap<string | null, readonly T[]> {
  const known = new Set(leaves.map((leaf) => leaf.id));
  const found = new Map<string | null, T[]>();
  for (const leaf of leaves) {
    const from = leaf.forked_from?.run_id;
    const parent = from !== undefined && from !== leaf.id && known.has(from) ? from : null;
    const siblings = found.get(parent);
    if (siblings === undefined) found.set(parent, [leaf]);
    else siblings.push(leaf);
  }
  for (const siblings of found.values()) siblings.sort(byPlace);
  return found;
}

const byPlace = (one: Leaf, two: Leaf): number =>
  (one.forked_from?.at ?? 0) - (two.forked_from?.at ?? 0) || one.created_at.localeCompare(two.created_at);

export const lanesOf = (rows: readonly { readonly lane: number }[]): number =>
  rows.reduce((most, row) => Math.max(most, row.lane + 1), 1);
