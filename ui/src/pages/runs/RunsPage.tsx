/** All runs: what of them is asked for, newest first, and always as they stand. */

import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Activity, FileInput, GitCompare, X } from "lucide-react";
import { useCallback, useEffect, useState } from "react";
import { may, useMe } from "~/api/session";
import { Button, IconButton } from "~/design/Button";
import { Id } from "~/design/Facts";
import { PageHeader } from "~/design/Page";
import { Empty, ErrorState, SkeletonRows } from "~/design/States";
import { useHotkeys } from "~/lib/hotkeys";
import { chipsOf, picked, picksOf } from "./filters";
import { ImportDialog } from "./ImportDialog";
import { type Change, RunFilters } from "./RunFilters";
import { RunList } from "./RunList";
import { useRunFeed } from "./useRunFeed";

export function RunsPage() {
  const search = useSearch({ from: "/runs" });
  const navigate = useNavigate();
  const me = useMe();
  const feed = useRunFeed(search);
  const [importing, setImporting] = useState<File | true | null>(null);
  const change = useCallback<Change>(
    (wanted) =>
      void navigate({
        to: "/runs",
        search: (before: object) => ({ ...before, ...wanted }) as never,
        replace: true,
      }),
    [navigate],
  );
  const onPick = useCallback(
    (id: string) =>
      void navigate({
        to: "/runs",
        search: (before: { pick?: string }) => ({ ...before, pick: picked(picksOf(before), id) }) as never,
        replace: true,
        resetScroll: false,
      }),
    [navigate],
  );
  const picks = picksOf(search);
  const [a, b] = picks;
  const compare = (): void => {
    if (a && b) void navigate({ to: "/runs/$runId/diff/$otherId", params: { runId: a, otherId: b } });
  };
  const mayWrite = may(me.data, "runs:write");
  useHotkeys([
    { keys: "c", does: "Compare the two chosen", group: "Runs", run: compare },
    ...(mayWrite ? [{ keys: "i", does: "Import runs", group: "Runs", run: () => setImporting(true) }] : []),
  ]);
  useDroppedFile(mayWrite, setImporting);
  return (
    <div className="flex min-h-0 grow flex-col">
      <PageHeader
        title="Runs"
        actions={
          mayWrite && (
            <Button icon={<FileInput size={14} />} onClick={() => setImporting(true)}>
              Import
            </Button>
          )
        }
      />
      <RunFilters search={search} change={change} />
      {feed.isPending ? (
        <SkeletonRows rows={16} label="Loading runs" />
      ) : feed.error && feed.rows.length === 0 ? (
        <ErrorState error={feed.error} onRetry={feed.retry} />
      ) : feed.rows.length === 0 ? (
        <NoRuns filtered={chipsOf(search).length > 0} />
      ) : (
        <RunList feed={feed} picks={picks} onPick={onPick} />
      )}
      {picks.length > 0 && (
        <section
          aria-label="Chosen to compare"
          className="flex shrink-0 flex-wrap items-center gap-2 border-t border-line bg-raised px-4 py-2 text-sm"
        >
          {picks.map((id) => (
            <Id key={id} id={id} />
          ))}
          {picks.length === 1 && <span className="text-ink-2">Choose another one to compare it with.</span>}
          <span className="grow" />
          <Button look="primary" size="sm" icon={<GitCompare size={13} />} disabled={!b} onClick={compare}>
            Compare
          </Button>
          <IconButton label="Choose none" size="sm" onClick={() => change({ pick: undefined })}>
            <X size={14} />
          </IconButton>
        </section>
      )}
      {importing !== null && (
        <ImportDialog file={importing === true ? null : importing} onClose={() => setImporting(null)} />
      )}
    </div>
  );
}

/** A file that is dropped anywhere on the page. */
function useDroppedFile(enabled: boolean, take: (file: File) => void): void {
  useEffect(() => {
    if (!enabled) return;
    const over = (event: DragEvent): void => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    };
    const drop = (event: DragEvent): void => {
      const file = event.dataTransfer?.files[0];
      if (event.defaultPrevented || file === undefined) return;
      event.preventDefault();
      take(file);
    };
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, [enabled, take]);
}

function NoRuns({ filtered }: { filtered: boolean }) {
  if (filtered)
    return (
      <Empty icon={<Activity size={22} />} title="No run fits these filters">
        Take one away above, or wait: a run that fits shows up here as soon as it begins.
      </Empty>
    );
  return (
    <Empty
      icon={<Activity size={22} />}
      title="No runs yet"
      action={
        <Link to="/chat" className="text-accent-text underline underline-offset-2">
          Start one in the chat
        </Link>
      }
    >
      A run is one task of an agent or a workflow, with everything that it did. It shows up here as soon as
      somebody starts one: in the chat, with <code className="font-mono text-xs">POST /v1/runs</code>, or from
      a client.
    </Empty>
  );
}
