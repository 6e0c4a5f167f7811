/** A conversation as a tree: the thread that it began as, and every branch that leaves it or one of its branches. */

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { GitFork } from "lucide-react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import type { Page, Thread } from "~/api/types";
import { Badge } from "~/design/Badge";
import { Id, Time } from "~/design/Facts";
import { Empty, ErrorState, SkeletonRows } from "~/design/States";
import { oneLine } from "~/lib/text";
import { LaneLines } from "./LaneLines";
import { type Leaf, lanesOf, type Row, rowsOf } from "./lanes";

/** What a tree shows at most, and how far up its beginning is looked for. */
const THREADS_MAX = 100;
const UP_MAX = 256;

interface Limb extends Leaf {
  readonly thread: Thread;
}

export function BranchesView({ threadId }: { threadId: string }) {
  const tree = useTree(threadId);
  if (tree.isError)
    return <ErrorState error={tree.error} onRetry={() => void tree.refetch()} what="This thread" />;
  if (tree.data === undefined) return <SkeletonRows rows={3} label="Loading the branches" />;
  if (tree.data.length <= 1)
    return (
      <Empty icon={<GitFork size={22} />} title="One way so far">
        Edit a message, ask for another answer, or fork a run: each begins a branch of its own, and what was
        said stays.
      </Empty>
    );
  const rows = rowsOf(tree.data.map(limbOf));
  const lanes = lanesOf(rows);
  return (
    <>
      <ul
        aria-label="Branches of the conversation"
        className="overflow-hidden rounded-lg border border-line bg-surface"
      >
        {rows.map((row) => (
          <Branch key={row.of.id} row={row} lanes={lanes} current={row.of.id === threadId} />
        ))}
      </ul>
      {tree.data.length >= THREADS_MAX && (
        <p className="mt-2 text-xs text-ink-3">These are the first {THREADS_MAX}; there may be more.</p>
      )}
    </>
  );
}

const limbOf = (thread: Thread): Limb => ({
  id: thread.id,
  created_at: thread.created_at,
  forked_from:
    thread.branch_of === null ? null : { run_id: thread.branch_of.thread_id, at: thread.branch_of.at },
  thread,
});

function useTree(threadId: string): UseQueryResult<readonly Thread[]> {
  return useQuery({
    queryKey: keys.ofThread(threadId, "tree"),
    queryFn: async ({ signal }) => below(await rootOf(threadId, signal), signal),
  });
}

async function rootOf(threadId: string, signal: AbortSignal): Promise<Thread> {
  let thread = await threadOf(threadId, signal);
  for (let up = 0; up < UP_MAX && thread.branch_of !== null; up += 1) {
    const above = await threadOf(thread.branch_of.thread_id, signal).catch(ifGone);
    if (above === null) break;
    thread = above;
  }
  return thread;
}

/** What a branch left may have been deleted: the tree then begins with the branch. */
function ifGone(error: unknown): null {
  if (error instanceof Problem && error.status === 404) return null;
  throw error;
}

const threadOf = (id: string, signal: AbortSignal): Promise<Thread> =>
  body(api.GET("/v1/threads/{thread_id}", { params: { path: { thread_id: id } }, signal }));

/** A thread and all below it, level by level. */
async function below(root: Thread, signal: AbortSignal): Promise<readonly Thread[]> {
  const found = [root];
  let level: readonly Thread[] = [root];
  while (level.length > 0 && found.length < THREADS_MAX) {
    const pages = await Promise.all(level.map((thread) => branchesOf(thread.id, signal)));
    level = pages.flatMap((page) => page.data).slice(0, THREADS_MAX - found.length);
    found.push(...level);
  }
  return found;
}

const branchesOf = (id: string, signal: AbortSignal): Promise<Page<Thread>> =>
  body(
    api.GET("/v1/threads/{thread_id}/branches", {
      params: { path: { thread_id: id }, query: { limit: THREADS_MAX } },
      signal,
    }),
  ) as Promise<Page<Thread>>;

const TONES: Readonly<Record<string, string>> = { idle: "good", busy: "info", waiting: "warn", error: "bad" };

function Branch({ row, lanes, current }: { row: Row<Limb>; lanes: number; current: boolean }) {
  const { thread } = row.of;
  const from = thread.branch_of;
  return (
    <li
      className={clsx(
        "flex min-h-12 items-stretch border-line pl-3 [&:not(:first-child)]:border-t",
        current ? "bg-accent-soft/50" : "hover:bg-hover",
      )}
    >
      <LaneLines row={row} lanes={lanes} tone={TONES[thread.status] ?? "neutral"} current={current} />
      <Link
        to="/chat/$threadId"
        params={{ threadId: thread.id }}
        aria-current={current ? "true" : undefined}
        className="flex min-w-0 grow flex-wrap items-center gap-x-2 gap-y-0.5 py-2 pl-2 pr-4 focus-visible:-outline-offset-2"
      >
        <span className="min-w-0 truncate font-medium">
          {oneLine(thread.title || thread.preview || (from === null ? "The conversation" : "A branch"), 80)}
        </span>
        <Id id={thread.id} />
        {current && <Badge tone="accent">this one</Badge>}
        <span className="text-xs text-ink-2">
          {from === null
            ? "where it began"
            : from.at === 0
              ? "left at the start of a run"
              : `left at step ${from.at} of a run`}
          {thread.status !== "idle" && `, ${thread.status}`}
        </span>
        <span className="grow" />
        <Time at={thread.created_at} className="text-xs text-ink-3" />
      </Link>
    </li>
  );
}
