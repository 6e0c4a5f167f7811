/** The keys under which answers are cached: the noun first, so that a hint at a noun finds all that is shown of it. */

export const keys = {
  me: ["me"] as const,
  info: ["info"] as const,
  overview: (hours: number) => ["overview", hours] as const,
  runs: (filters: object) => ["runs", filters] as const,
  run: (id: string) => ["run", id] as const,
  ofRun: (id: string, what: string, ...rest: readonly unknown[]) => ["run", id, what, ...rest] as const,
  threads: (filters: object) => ["threads", filters] as const,
  thread: (id: string) => ["thread", id] as const,
  ofThread: (id: string, what: string, ...rest: readonly unknown[]) => ["thread", id, what, ...rest] as const,
  approvals: (filters: object) => ["approvals", filters] as const,
  approval: (id: string) => ["approval", id] as const,
  effects: (filters: object) => ["effects", filters] as const,
  agents: ["agents"] as const,
  agent: (id: string, ...rest: readonly unknown[]) => ["agent", id, ...rest] as const,
};

/** What a hint of this kind makes stale: lists of the noun, the one that it names, and what counts them. */
export function staleAfter(kind: string, id: string): readonly (readonly unknown[])[] {
  switch (kind) {
    case "run":
      return [["runs"], ["run", id], ["threads"], ["overview"]]; // a thread shows how its last run stands
    case "approval":
      return [["approvals"], ["approval", id], ["overview"]];
    case "effect":
      return [["effects"], ["overview"]];
    case "thread":
      return [["threads"], ["thread", id]];
    case "agent":
      return [["agents"], ["agent", id]];
    case "tool":
      return [["agents"], ["agent"]];
    default:
      return [];
  }
}
