/** What of the runs is asked for: from the address to the API, and as chips that can be taken away. Pure. */

import type { runs } from "~/app/search";

export type RunsSearch = ReturnType<typeof runs>;
export type FilterName = Exclude<keyof RunsSearch, "pick">;

export interface Asked {
  readonly status?: ["queued" | "running" | "waiting" | "succeeded" | "failed" | "cancelled"];
  readonly agent?: string;
  readonly tag?: string;
  readonly external_id?: string;
  readonly principal?: string;
  readonly version?: string;
  readonly thread_id?: string;
  readonly parent_id?: string;
  readonly created_after?: string;
  readonly created_before?: string;
  readonly include_children?: true;
  readonly forked?: true;
  readonly imported?: true;
}

const UNITS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time in the address: as such, or as long ago ("24h"). Null if it is neither. */
export function timeOf(said: string | undefined, now: number): string | null {
  if (said === undefined) return null;
  const [, n, unit] = /^(\d{1,4})([mhd])$/.exec(said) ?? [];
  if (n !== undefined && unit !== undefined)
    return new Date(now - Number(n) * (UNITS[unit] ?? 0)).toISOString();
  const at = Date.parse(said);
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}

export function askedOf(search: RunsSearch, now: number): Asked {
  const since = timeOf(search.since, now);
  const until = timeOf(search.until, now);
  return {
    ...(search.status && { status: [search.status] }),
    ...(search.agent && { agent: search.agent }),
    ...(search.tag && { tag: search.tag }),
    ...(search.external && { external_id: search.external }),
    ...(search.by && { principal: search.by }),
    ...(search.version && { version: search.version }),
    ...(search.thread && { thread_id: search.thread }),
    ...(search.parent && { parent_id: search.parent }),
    ...(since && { created_after: since }),
    ...(until && { created_before: until }),
    ...(search.children && { include_children: true }),
    ...(search.forked && { forked: true }),
    ...(search.imported && { imported: true }),
  };
}

export interface Chip {
  readonly name: FilterName;
  readonly label: string;
  readonly value: string;
}

const LABELS: Readonly<Record<FilterName, string>> = {
  status: "Status",
  agent: "Agent",
  version: "Version",
  tag: "Tag",
  external: "External id",
  by: "Started by",
  thread: "Thread",
  parent: "Children of",
  since: "Since",
  until: "Until",
  children: "Child runs",
  forked: "Forks",
  imported: "Imported",
};
const FLAGS: Readonly<Partial<Record<FilterName, string>>> = {
  children: "included",
  forked: "only",
  imported: "only",
};
export const AGES: readonly (readonly [string, string])[] = [
  ["1h", "the last hour"],
  ["24h", "the last day"],
  ["7d", "the last week"],
  ["30d", "the last month"],
];

export function chipsOf(search: RunsSearch): readonly Chip[] {
  return (Object.keys(LABELS) as FilterName[]).flatMap((name) => {
    const value = search[name];
    if (value === undefined) return [];
    return [{ name, label: LABELS[name], value: FLAGS[name] ?? said(name, String(value)) }];
  });
}

const times = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function said(name: FilterName, value: string): string {
  if (name !== "since" && name !== "until") return value;
  const known = AGES.find(([age]) => age === value)?.[1];
  if (known !== undefined) return known;
  const at = timeOf(value, 0);
  if (at === null) return `${value} is no time, and is left out`;
  return /^\d+[mhd]$/.test(value) ? `${value} ago` : times.format(Date.parse(at));
}

/** The runs that are chosen to be compared: at most two, the later choice in place of the one before last. */
export const picksOf = (search: RunsSearch): readonly string[] =>
  (search.pick ?? "")
    .split(",")
    .filter((id) => id.startsWith("run_"))
    .slice(0, 2);

export function picked(picks: readonly string[], id: string): string | undefined {
  const next = picks.includes(id) ? picks.filter((one) => one !== id) : [...picks, id].slice(-2);
  return next.length === 0 ? undefined : next.join(",");
}
