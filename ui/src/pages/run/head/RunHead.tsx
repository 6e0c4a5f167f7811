/** What a run is, how it stands, and what can be done with it. */

import { Link } from "@tanstack/react-router";
import {
  Ban,
  Braces,
  Download,
  Ellipsis,
  GitFork,
  History,
  PencilLine,
  RotateCcw,
  Terminal,
} from "lucide-react";
import { lazy, Suspense, useEffect, useState } from "react";
import type { Run } from "~/api/types";
import { Badge, Status } from "~/design/Badge";
import { Button, IconButton } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Id } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { Menu } from "~/design/Menu";
import { PageHeader } from "~/design/Page";
import { useHotkeys } from "~/lib/hotkeys";
import type { Filled } from "~/pages/travel/retrying";
import { useSelection } from "../selection";
import { CancelDialog } from "./CancelDialog";
import { RunFacts } from "./RunFacts";
import { RunNotices } from "./RunNotices";
import { useRunActions } from "./useRunActions";

const ForkDialog = lazy(async () => ({ default: (await import("~/pages/travel/ForkDialog")).ForkDialog }));

const RetryDialog = lazy(async () => ({
  default: (await import("~/pages/travel/RetryDialog")).RetryDialog,
}));
const RunCode = lazy(async () => ({ default: (await import("~/pages/travel/RunCode")).RunCode }));

export function RunHead({
  run,
  below,
  recorded,
}: {
  run: Run;
  below: readonly string[];
  /** How many steps are known to be recorded: while it runs, more than the run itself said last. */
  recorded: number;
}) {
  const { search, step, of, change } = useSelection();
  const [cancelling, setCancelling] = useState(false);
  const [json, setJson] = useState(false);
  const [code, setCode] = useState(false);
  const actions = useRunActions(run);
  // Somebody else was faster: what cannot be retried any more is not offered again when it fails again.
  const stale = search.retry && run.status !== "failed";
  useEffect(() => {
    if (stale) change({ retry: undefined });
  }, [stale, change]);
  const [filled, setFilled] = useState<Filled | null>(null);
  const fork = (): void => change({ fork: true });
  const edit = (): void => change({ retry: true });
  useHotkeys([
    {
      keys: "shift+c",
      does: "Cancel the run",
      group: "Run",
      run: () => actions.canCancel && setCancelling(true),
    },
    { keys: "shift+r", does: "Retry the run", group: "Run", run: () => actions.canRetry && actions.retry() },
    {
      keys: "shift+w",
      does: "Retry the run with edits",
      group: "Run",
      run: () => actions.canRetry && edit(),
    },
    { keys: "shift+f", does: "Fork the run", group: "Run", run: () => actions.mayWrite && fork() },
    { keys: "shift+e", does: "Export the run", group: "Run", run: actions.save },
  ]);
  return (
    <>
      <PageHeader
        title={run.agent}
        crumbs={
          <span className="flex items-center gap-1">
            <Link to="/runs" className="hover:text-ink hover:underline">
              Runs
            </Link>
            <span aria-hidden>/</span>
            <Id id={run.id} copy />
          </span>
        }
        lead={
          <>
            <Status status={run.status} />
            {run.phase !== "ended" && run.phase !== "waiting" && run.phase !== "executing" && (
              <Badge>{run.phase}</Badge>
            )}
            {run.forked_from && <Badge>fork</Badge>}
            {run.imported && <Badge>imported</Badge>}
            {run.parent && <Badge>child</Badge>}
          </>
        }
        actions={
          <>
            {actions.canCancel && (
              <Button look="danger" icon={<Ban size={14} />} onClick={() => setCancelling(true)}>
                Cancel
              </Button>
            )}
            {actions.canRetry && (
              <Button
                look="primary"
                icon={<RotateCcw size={14} />}
                busy={actions.retrying}
                onClick={actions.retry}
              >
                Retry
              </Button>
            )}
            {actions.canRetry && (
              <IconButton label="Retry with edits…" look="plain" onClick={edit}>
                <PencilLine size={15} />
              </IconButton>
            )}
            {actions.mayWrite && (
              <Button icon={<GitFork size={14} />} onClick={fork}>
                Fork
              </Button>
            )}
            <Menu
              trigger={
                <IconButton label="More actions" look="plain" busy={actions.saving}>
                  <Ellipsis size={16} />
                </IconButton>
              }
              items={[
                {
                  label: "Replay…",
                  icon: <History size={14} />,
                  onSelect: () => change({ view: "replay" }, true),
                },
                { label: "Export journal", icon: <Download size={14} />, onSelect: actions.save },
                { label: "Copy as code", icon: <Terminal size={14} />, onSelect: () => setCode(true) },
                { label: "Show as JSON", icon: <Braces size={14} />, onSelect: () => setJson(true) },
              ]}
            />
          </>
        }
      />
      <RunFacts run={run} below={below} steps={Math.max(run.steps, recorded)} />
      <RunNotices run={run} />
      {cancelling && <CancelDialog run={run} onClose={() => setCancelling(false)} />}
      {search.fork && actions.mayWrite && (
        <Suspense fallback={null}>
          <ForkDialog
            run={run}
            step={of === run.id ? step : null}
            filled={filled}
            onClose={() => {
              setFilled(null);
              change({ fork: undefined });
            }}
          />
        </Suspense>
      )}
      {search.retry && actions.canRetry && (
        <Suspense fallback={null}>
          <RetryDialog
            run={run}
            onClose={() => change({ retry: undefined })}
            onFork={(wanted) => {
              setFilled(wanted);
              change({ retry: undefined, fork: true });
            }}
          />
        </Suspense>
      )}
      {code && (
        <Suspense fallback={null}>
          <RunCode run={run} onClose={() => setCode(false)} />
        </Suspense>
      )}
      <Dialog
        open={json}
        onClose={() => setJson(false)}
        title="The run as JSON"
        description="As the API answers it."
        wide
      >
        <JsonView value={run} name={`${run.id}.json`} />
      </Dialog>
    </>
  );
}
