/** All threads, newest first; only those in sight are in the page. */

import { Link, useNavigate } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import clsx from "clsx";
import { GitBranch, MessageSquare, MoreHorizontal, Pencil, Plus, Trash2 } from "lucide-react";
import { useEffect, useRef, useState } from "react";
import { api, body } from "~/api/client";
import { usePages } from "~/api/hooks";
import { keys } from "~/api/keys";
import { may, useMe } from "~/api/session";
import type { Thread } from "~/api/types";
import { Status } from "~/design/Badge";
import { Button, IconButton } from "~/design/Button";
import { Time } from "~/design/Facts";
import { Menu } from "~/design/Menu";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { DeleteThread, RenameThread } from "./ThreadDialogs";
import { titleOf } from "./titles";

const ROW_PX = 58;
const PAGE = 50;

/** What a thread's state is called in the list; that it rests is not worth a word. */
const STATES: Readonly<Record<string, string>> = { busy: "running", waiting: "waiting", error: "failed" };

export function ThreadList({ current, onChosen }: { current: string | null; onChosen?: () => void }) {
  const navigate = useNavigate();
  const { rows, query } = usePages<Thread>(keys.threads({}), (cursor, signal) =>
    body(
      api.GET("/v1/threads", {
        params: { query: { limit: PAGE, ...(cursor === null ? {} : { cursor }) } },
        signal,
      }),
    ),
  );
  return (
    <>
      <div className="flex h-13 shrink-0 items-center gap-2 border-b border-line px-3">
        <h2 className="grow text-sm font-semibold">Threads</h2>
        <Button
          size="sm"
          icon={<Plus size={14} />}
          onClick={() => {
            onChosen?.();
            void navigate({ to: "/chat" });
          }}
        >
          New chat
        </Button>
      </div>
      {query.isPending ? (
        <div role="status" aria-label="Loading the threads" className="flex flex-col gap-2 p-2">
          {Array.from({ length: 8 }, (_, index) => (
            <Skeleton key={index} className="h-12" />
          ))}
        </div>
      ) : query.isError && rows.length === 0 ? (
        <ErrorState error={query.error} onRetry={() => void query.refetch()} />
      ) : rows.length === 0 ? (
        <Empty icon={<MessageSquare size={20} />} title="No threads yet">
          Say something to an agent, and the conversation stands here. Runs started over the API show up, too.
        </Empty>
      ) : (
        <Rows
          rows={rows}
          current={current}
          more={
            query.hasNextPage && !query.isFetchingNextPage && !query.isFetchNextPageError
              ? () => void query.fetchNextPage()
              : null
          }
          onRetry={query.isFetchNextPageError ? () => void query.fetchNextPage() : null}
          {...(onChosen ? { onChosen } : {})}
        />
      )}
    </>
  );
}

function Rows({
  rows,
  current,
  more,
  onRetry,
  onChosen,
}: {
  rows: readonly Thread[];
  current: string | null;
  more: (() => void) | null;
  /** Given when the rest could not be loaded. */
  onRetry: (() => void) | null;
  onChosen?: () => void;
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const [renamed, setRenamed] = useState<Thread | null>(null);
  const [deleted, setDeleted] = useState<Thread | null>(null);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_PX,
    overscan: 6,
  });
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (last >= rows.length - 8) more?.();
  }, [last, rows.length, more]);
  return (
    <nav
      ref={scroller}
      aria-label="Threads, newest first"
      tabIndex={0}
      className="min-h-0 grow overflow-y-auto p-1.5 focus-visible:-outline-offset-2"
    >
      <ul className="relative" style={{ height: virtual.getTotalSize() }}>
        {items.map((item) => {
          const thread = rows[item.index];
          if (thread === undefined) return null;
          return (
            <li
              key={thread.id}
              className="absolute inset-x-0 top-0"
              style={{ height: ROW_PX, transform: `translateY(${item.start}px)` }}
            >
              <Row
                thread={thread}
                current={thread.id === current}
                onRename={() => setRenamed(thread)}
                onDelete={() => setDeleted(thread)}
                {...(onChosen ? { onChosen } : {})}
              />
            </li>
          );
        })}
      </ul>
      {onRetry !== null && (
        <p role="alert" className="flex flex-wrap items-center gap-2 p-2 text-xs text-ink-2">
          The rest could not be loaded.
          <Button size="sm" onClick={onRetry}>
            Try again
          </Button>
        </p>
      )}
      <RenameThread thread={renamed} onClose={() => setRenamed(null)} />
      <DeleteThread thread={deleted} current={current} onClose={() => setDeleted(null)} />
    </nav>
  );
}

function Row({
  thread,
  current,
  onRename,
  onDelete,
  onChosen,
}: {
  thread: Thread;
  current: boolean;
  onRename: () => void;
  onDelete: () => void;
  onChosen?: () => void;
}) {
  const me = useMe();
  const title = titleOf(thread);
  const state = STATES[thread.status];
  const writes = may(me.data, "threads:write");
  return (
    <div
      className={clsx(
        "group relative flex h-14 items-center rounded-md",
        current ? "bg-accent-soft" : "bg-surface focus-within:bg-hover hover:bg-hover",
      )}
    >
      <Link
        to="/chat/$threadId"
        params={{ threadId: thread.id }}
        aria-current={current ? "page" : undefined}
        onClick={onChosen}
        className="flex h-full min-w-0 grow flex-col justify-center gap-0.5 rounded-md px-2 pointer-coarse:pr-9"
      >
        <span className="flex min-w-0 items-center gap-1.5">
          {thread.branch_of !== null && (
            <GitBranch size={13} className="shrink-0 text-ink-3" aria-label="Branch" role="img" />
          )}
          <span dir="auto" className="min-w-0 truncate text-sm font-medium text-ink">
            {title}
          </span>
        </span>
        <span className="flex min-w-0 items-center gap-1.5 text-xs text-ink-2">
          {state !== undefined && <Status status={state} quiet />}
          <span className="min-w-0 truncate">{thread.last_run?.agent ?? "no run yet"}</span>
          <span className="grow" />
          <Time at={thread.created_at} className={clsx("shrink-0", current ? "text-ink-2" : "text-ink-3")} />
        </span>
      </Link>
      {writes && (
        <Menu
          trigger={
            <IconButton
              label={`Thread ${title}: more`}
              size="sm"
              className="absolute right-1 top-1 bg-inherit opacity-0 focus-visible:opacity-100 group-focus-within:opacity-100 group-hover:opacity-100 data-[state=open]:opacity-100 pointer-coarse:opacity-100"
            >
              <MoreHorizontal size={15} />
            </IconButton>
          }
          items={[
            { label: "Rename…", icon: <Pencil size={14} />, onSelect: onRename },
            { label: "Delete…", icon: <Trash2 size={14} />, danger: true, onSelect: onDelete },
          ]}
        />
      )}
    </div>
  );
}
