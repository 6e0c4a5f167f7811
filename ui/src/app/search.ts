/**
 * What the query of each address may say. A URL holds every selection, so that a shared one opens the same view; whatever
 * somebody typed into it that is not understood is left out.
 */

type Given = Record<string, unknown>;

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" && value.length <= 300
    ? value
    : typeof value === "number"
      ? String(value)
      : undefined;

const whole = (value: unknown): number | undefined => {
  const isText = typeof value === "string" && /^\d+$/.test(value);
  const n = typeof value === "number" ? value : isText ? Number(value) : Number.NaN;
  return Number.isSafeInteger(n) && n >= 0 ? n : undefined;
};

const oneOf = <T extends string>(value: unknown, known: readonly T[]): T | undefined =>
  known.find((one) => one === value);

const flag = (value: unknown): true | undefined =>
  value === true || value === "true" || value === 1 ? true : undefined;

/** Without the members that say nothing: what is absent stays out of the URL. */
function kept<T extends object>(found: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

export const RUN_STATUSES = ["queued", "running", "waiting", "succeeded", "failed", "cancelled"] as const;
export const EFFECT_STATUSES = [
  "unknown",
  "planned",
  "started",
  "committed",
  "failed",
  "abandoned",
  "compensating",
  "compensated",
  "compensation_failed",
] as const;
export const APPROVAL_VIEWS = ["pending", "decided"] as const;
export const APPROVAL_AGES = ["hour", "day", "week"] as const;
export const RUN_VIEWS = ["transcript", "timeline", "journal", "state", "forks", "replay"] as const;
export const STEP_OUTCOMES = ["succeeded", "failed", "voided", "open"] as const;
export const STEP_TABS = ["output", "prompt", "effect", "raw"] as const;

/** How far back: 24 hours unless it says otherwise. */
export const OVERVIEW_DAYS = [1, 7] as const;

export const overview = (given: Given) => {
  const days = whole(given.days);
  return kept({ days: OVERVIEW_DAYS.find((one) => one === days) });
};

export const chat = (given: Given) => kept({ agent: text(given.agent) });

export const approvals = (given: Given) =>
  kept({
    view: oneOf(given.view, APPROVAL_VIEWS),
    agent: text(given.agent),
    tool: text(given.tool),
    age: oneOf(given.age, APPROVAL_AGES),
    run: text(given.run),
  });

export const runs = (given: Given) =>
  kept({
    status: oneOf(given.status, RUN_STATUSES),
    agent: text(given.agent),
    tag: text(given.tag),
    external: text(given.external),
    /** The principal who started them. */
    by: text(given.by),
    version: text(given.version),
    thread: text(given.thread),
    since: text(given.since),
    until: text(given.until),
    children: flag(given.children),
    forked: flag(given.forked),
    imported: flag(given.imported),
    /** Runs that this one called. */
    parent: text(given.parent),
    /** One or two runs that are chosen to be compared, by their ids. */
    pick: text(given.pick),
  });

export const run = (given: Given) =>
  kept({
    view: oneOf(given.view, RUN_VIEWS),
    /** The selected step, and what of it is shown. */
    step: whole(given.step),
    tab: oneOf(given.tab, STEP_TABS),
    /** Whose step it is, when it is not this run's but that of a child shown below it. */
    of: text(given.of),
    /** Which steps are shown. */
    kind: text(given.kind),
    outcome: oneOf(given.outcome, STEP_OUTCOMES),
    q: text(given.q),
    fork: flag(given.fork),
    retry: flag(given.retry),
    /** The replay whose result is shown. */
    replay: text(given.replay),
  });

export const diff = (given: Given) => kept({ at: whole(given.at), other_at: whole(given.other_at) });

export const effects = (given: Given) =>
  kept({
    status: oneOf(given.status, EFFECT_STATUSES),
    tool: text(given.tool),
    agent: text(given.agent),
    run: text(given.run),
    effect: text(given.effect),
  });

export const agent = (given: Given) => kept({ version: text(given.version), against: text(given.against) });

export const agents = (given: Given) => kept({ q: text(given.q) });
