/** The ways that a conversation went from one run on: the thread itself, and the branches that leave it there. Pure. */

import type { Run, Thread } from "~/api/types";

export interface Siblings {
  /** Threads, the first way first. */
  readonly threads: readonly string[];
  readonly at: number;
}

/**
 * The other ways at a run of this thread. `branches` are those that leave this thread, `parents` those that leave the one
 * that this thread is a branch of.
 */
export function siblingsAt(
  runId: string,
  thread: Thread,
  run: Pick<Run, "forked_from"> | null,
  branches: readonly Thread[],
  parents: readonly Thread[],
): Siblings | null {
  const own = leavesAt(branches, runId);
  if (own.length > 0) return { threads: [thread.id, ...own], at: 0 };
  const from = thread.branch_of;
  if (from === null || run?.forked_from?.run_id !== from.run_id) return null;
  const threads = [from.thread_id, ...leavesAt(parents, from.run_id)];
  const at = threads.indexOf(thread.id);
  return at < 0 || threads.length < 2 ? null : { threads, at };
}

const leavesAt = (branches: readonly Thread[], runId: string): readonly string[] =>
  branches
    .filter((one) => one.branch_of?.run_id === runId)
    .map((one) => one.id)
    .sort();
