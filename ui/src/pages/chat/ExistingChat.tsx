/** A thread: what was said in it, what is being said, and what is said next. */

import { Link, useNavigate } from "@tanstack/react-router";
import { GitBranch, GitFork, MoreHorizontal, Pencil, Trash2 } from "lucide-react";
import { lazy, type ReactNode, Suspense, useCallback, useEffect, useMemo, useState } from "react";
import { useAgents } from "~/api/hooks";
import { Problem } from "~/api/problem";
import { may, useMe } from "~/api/session";
import type { Agent, Run, Thread } from "~/api/types";
import { SnippetDialog } from "~/builders/SnippetDialog";
import type { ApiCall } from "~/builders/snippets";
import { IconButton } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Id } from "~/design/Facts";
import { Menu } from "~/design/Menu";
import { PageHeader } from "~/design/Page";
import { Empty, ErrorState, Skeleton, SkeletonRows } from "~/design/States";
import { useHotkeys } from "~/lib/hotkeys";
import { type Acting, useActing } from "./acting";
import { firstOf } from "./agents";
import { Composer } from "./Composer";
import { ConversationView } from "./ConversationView";
import { type Conversation, type Heard, isAlive, toHear, turnsOf } from "./conversation";
import { type Talk, talkOf, useLastSaid, useStatuses, useTalk } from "./conversations";
import { siblingsAt } from "./siblings";
import { DeleteThread, RenameThread } from "./ThreadDialogs";
import { TurnView } from "./TurnView";
import { titleOf } from "./titles";
import { useSend } from "./useSend";
import { type Messages, useBranches, useMessages, useThread, useThreadRuns } from "./useThread";

const BranchesView = lazy(async () => ({
  default: (await import("~/pages/travel/BranchesView")).BranchesView,
}));

/** As many runs as a stream tells of, less one for whatever else is looked at. */
const HEARD_MAX = 3;

export function ExistingChat({
  threadId,
  agentId,
  opener,
}: {
  threadId: string;
  agentId: string | null;
  opener: ReactNode;
}) {
  const navigate = useNavigate();
  const thread = useThread(threadId);
  const messages = useMessages(threadId);
  const runs = useThreadRuns(threadId);
  const agents = useAgents();
  const me = useMe();
  const talk = talkOf(threadId);
  const statuses = useStatuses(talk);
  const say = useSend(threadId, talk);
  const [code, setCode] = useState<ApiCall | null>(null);
  const acting = useActing(threadId, setCode);
  const rows = runs.data ?? NO_RUNS;
  const hear = useMemo(() => toHear(rows, HEARD_MAX), [rows]);
  const heardIds = hear.join(" ");
  useEffect(() => talk.hear(heardIds === "" ? [] : heardIds.split(" ")), [talk, heardIds]);
  const held = holder(rows, statuses);
  const [stopped, setStopped] = useState<string | null>(null);
  const stopping = held !== null && (held.cancel_requested_at !== null || held.id === stopped);
  const stop = (): void => {
    if (held === null || stopping) return;
    setStopped(held.id);
    void acting.stop(held.id).then((taken) => taken || setStopped(null));
  };
  useHotkeys(held !== null ? [{ keys: "escape", does: "Stop the run", group: "Chat", run: stop }] : []);

  const known = agents.data ?? NO_AGENTS;
  const asked = agentId ?? thread.data?.last_run?.agent ?? rows[0]?.agent ?? null;
  const agent = known.find((one) => one.id === asked) ?? (thread.data !== undefined ? firstOf(known) : null);
  const choose = (next: Agent): void =>
    void navigate({ to: "/chat/$threadId", params: { threadId }, search: { agent: next.id }, replace: true });

  const gone = thread.error instanceof Problem && thread.error.status === 404;
  if (thread.isError && (thread.data === undefined || gone))
    return (
      <>
        <PageHeader title="Chat" actions={opener} />
        <ErrorState error={thread.error} onRetry={() => void thread.refetch()} what="This thread" />
      </>
    );
  return (
    <>
      <Head thread={thread.data} opener={opener} canWrite={may(me.data, "threads:write")} />
      <Turns
        key={threadId}
        threadId={threadId}
        thread={thread.data ?? null}
        messages={messages}
        runs={rows}
        isPending={messages.isPending || runs.isPending}
        talk={talk}
        agents={known}
        can={may(me.data, "runs:write") ? acting : null}
      />
      <Announcer held={held} talk={talk} />
      <Composer
        key={`composer:${threadId}`}
        draft={threadId}
        agents={known}
        agent={agent}
        onAgent={choose}
        busy={held !== null}
        open={rows.length === 0 && !runs.isPending}
        stopping={stopping}
        onStop={stop}
        onSend={async (to, input, onBusy) => void (await say(to.id, input, onBusy))}
      />
      <SnippetDialog call={code} onClose={() => setCode(null)} />
    </>
  );
}

const NO_RUNS: readonly Run[] = [];
const NO_AGENTS: readonly Agent[] = [];

/** The run that holds the thread: the oldest that has not ended, by what was heard last. */
function holder(runs: readonly Run[], statuses: ReadonlyMap<string, string>): Run | null {
  for (const run of [...runs].reverse()) {
    const status = (statuses.get(run.id) || run.status) as Run["status"];
    if (run.parent === null && isAlive({ status }) && isAlive(run)) return run;
  }
  return null;
}

/** Says aloud when a run begins and ends, and each message once it is whole: not word by word. */
function Announcer({ held, talk }: { held: Run | null; talk: Talk }) {
  const said = useLastSaid(talk);
  return (
    <div className="sr-only">
      <p role="status" aria-live="polite">
        {held === null
          ? "No run is under way."
          : held.status === "waiting"
            ? "The run waits."
            : "A run is under way."}
      </p>
      <p role="status" aria-live="polite" aria-label="The last answer">
        {said}
      </p>
    </div>
  );
}

function Head({
  thread,
  opener,
  canWrite,
}: {
  thread: Thread | undefined;
  opener: ReactNode;
  canWrite: boolean;
}) {
  const title = titleOf(thread);
  const [branching, setBranching] = useState(false);
  const [renaming, setRenaming] = useState(false);
  const [deleting, setDeleting] = useState(false);
  const from = thread?.branch_of ?? null;
  return (
    <>
      <PageHeader
        title={title}
        oneRow
        lead={
          from !== null && (
            <span className="flex min-w-0 items-center gap-1.5 text-xs text-ink-2">
              <GitBranch size={13} aria-hidden className="shrink-0 text-ink-3" />
              branched from{" "}
              <Link
                to="/chat/$threadId"
                params={{ threadId: from.thread_id }}
                className="text-accent-text underline-offset-2 hover:underline"
              >
                <Id id={from.thread_id} className="!text-accent-text" />
              </Link>
              {from.at === 0 ? "before its run" : `at step ${from.at}`}
            </span>
          )
        }
        actions={
          <>
            {thread !== undefined && (
              <span className="hidden sm:inline">
                <Id id={thread.id} copy />
              </span>
            )}
            {thread !== undefined && (
              <Menu
                trigger={
                  <IconButton label="This thread: more">
                    <MoreHorizontal size={16} />
                  </IconButton>
                }
                items={[
                  { label: "Branches…", icon: <GitFork size={14} />, onSelect: () => setBranching(true) },
                  ...(canWrite
                    ? [
                        { label: "Rename…", icon: <Pencil size={14} />, onSelect: () => setRenaming(true) },
                        {
                          label: "Delete…",
                          icon: <Trash2 size={14} />,
                          danger: true,
                          onSelect: () => setDeleting(true),
                        },
                      ]
                    : []),
                ]}
              />
            )}
            {opener}
          </>
        }
      />
      {thread !== undefined && (
        <Dialog
          open={branching}
          wide
          onClose={() => setBranching(false)}
          title="Branches of the conversation"
        >
          <Suspense fallback={<SkeletonRows rows={3} label="Loading the branches" />}>
            <BranchesView threadId={thread.id} />
          </Suspense>
        </Dialog>
      )}
      <RenameThread thread={renaming ? (thread ?? null) : null} onClose={() => setRenaming(false)} />
      <DeleteThread
        thread={deleting ? (thread ?? null) : null}
        current={thread?.id ?? null}
        onClose={() => setDeleting(false)}
      />
    </>
  );
}

function Turns({
  threadId,
  thread,
  messages,
  runs,
  isPending,
  talk,
  agents,
  can,
}: {
  threadId: string;
  thread: Thread | null;
  messages: Messages;
  runs: readonly Run[];
  isPending: boolean;
  talk: Talk;
  agents: readonly Agent[];
  can: Acting | null;
}) {
  const state = useTalk(talk);
  const branches = useBranches(thread === null ? null : threadId);
  const parents = useBranches(thread?.branch_of?.thread_id ?? null);
  const heard = useHeard(state);
  const turns = useMemo(
    () => turnsOf(threadId, messages.rows, runs, heard, state.sends),
    [threadId, messages.rows, runs, heard, state.sends],
  );
  const byId = useMemo(() => new Map(runs.map((run) => [run.id, run])), [runs]);
  const waysAt = useCallback(
    (runId: string | null) =>
      runId === null || thread === null
        ? null
        : siblingsAt(runId, thread, byId.get(runId) ?? null, branches, parents),
    [thread, byId, branches, parents],
  );
  const ways = useMemo(() => new Map(turns.map((turn) => [turn.id, waysAt(turn.runId)])), [turns, waysAt]);
  if (messages.error !== null)
    return (
      <div className="min-h-0 grow overflow-y-auto">
        <ErrorState error={messages.error} onRetry={messages.retry} what="This conversation" />
      </div>
    );
  if (isPending && turns.length === 0)
    return (
      <div role="status" aria-label="Loading the conversation" className="min-h-0 grow overflow-hidden">
        <div className="mx-auto flex max-w-3xl flex-col gap-4 p-5">
          <Skeleton className="h-10 w-2/3 self-end" />
          <Skeleton className="h-24 w-full" />
          <Skeleton className="h-10 w-1/2 self-end" />
          <Skeleton className="h-32 w-full" />
        </div>
      </div>
    );
  if (turns.length === 0)
    return (
      <div className="min-h-0 grow overflow-y-auto">
        <Empty title="Nothing was said here yet">
          Write below, or start a run in this thread over the API.
        </Empty>
      </div>
    );
  return (
    <ConversationView
      label="Conversation"
      firstId={messages.rows[0]?.id}
      hasOlder={messages.hasOlder}
      isLoadingOlder={messages.isLoadingOlder}
      olderFailed={messages.olderFailed}
      onOlder={messages.loadOlder}
    >
      {turns.map((turn, index) => (
        <TurnView
          key={turn.id}
          turn={turn}
          view={turn.runId === null ? null : (state.views.get(turn.runId) ?? null)}
          run={turn.runId === null ? null : (byId.get(turn.runId) ?? null)}
          agents={agents}
          isLast={index === turns.length - 1}
          can={can}
          siblings={ways.get(turn.id) ?? null}
          threadId={threadId}
        />
      ))}
    </ConversationView>
  );
}

/** What of the views says where their turns stand; the same value while they only grow. */
function useHeard(state: Conversation): readonly Heard[] {
  const heard = [...state.views.values()].map(({ runId, input, queuedAt }) => ({ runId, input, queuedAt }));
  const mark = heard.map((one) => `${one.runId}${one.queuedAt}${one.input !== undefined}`).join(" ");
  // biome-ignore lint/correctness/useExhaustiveDependencies: `mark` says whether it is another one
  return useMemo(() => heard, [mark]);
}
