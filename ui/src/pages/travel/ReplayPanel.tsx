/** Run today's code against what a run recorded, and show whether it would do the same. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { RotateCcw } from "lucide-react";
import { useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { useOnceKey } from "~/api/once";
import { messageOf, Problem } from "~/api/problem";
import { useMe } from "~/api/session";
import type { Replay, Run } from "~/api/types";
import { hasEnded } from "~/api/types";
import { Button } from "~/design/Button";
import { Panel } from "~/design/Page";
import { noteFirst } from "~/lib/firsts";
import { Choices } from "./Choices";
import { ReplayList } from "./ReplayList";
import { ReplayResult } from "./ReplayResult";
import { type Mode, modesFor } from "./replaying";

export function ReplayPanel({ run }: { run: Run }) {
  const cache = useQueryClient();
  const navigate = useNavigate();
  const { replay: shown } = useSearch({ strict: false }) as { replay?: string };
  const [mode, setMode] = useState<Mode>("strict");
  const me = useMe();
  const keyFor = useOnceKey();
  const [made, setMade] = useState(0);
  const start = useMutation({
    mutationFn: (mode: Mode) =>
      body(
        api.POST("/v1/runs/{run_id}/replay", {
          // The same until it is there: what was asked for and whose answer was lost is not asked for twice.
          params: { path: { run_id: run.id }, header: { "Idempotency-Key": keyFor({ mode, made }) } },
          body: { mode },
        }),
      ) as Promise<Replay>,
    onSuccess: (replay) => {
      noteFirst("replayed");
      setMade((before) => before + 1);
      void cache.invalidateQueries({ queryKey: keys.ofRun(run.id, "replays") });
      cache.setQueryData(keys.ofRun(run.id, "replay", replay.id), replay);
      void navigate({
        to: ".",
        search: ((before: object) => ({ ...before, replay: replay.id })) as never,
        replace: true,
      });
    },
  });
  return (
    <div className="grid items-start gap-4 xl:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
      <div className="flex min-w-0 flex-col gap-4">
        <Panel title="Replay">
          <form
            className="flex flex-col gap-4"
            onSubmit={(event) => {
              event.preventDefault();
              if (!start.isPending) start.mutate(mode);
            }}
          >
            <p className="max-w-prose text-sm text-ink-2">
              A recorded run is a test. A replay runs the code of today against what was recorded, and says
              whether it would do the same, or at which step it begins to do something else.
            </p>
            <Choices
              legend="What it has of the world"
              value={mode}
              onChange={setMode}
              choices={modesFor(me.data)}
            />
            <div className="flex flex-wrap items-center gap-3">
              <Button
                look="primary"
                type="submit"
                busy={start.isPending}
                icon={<RotateCcw size={14} aria-hidden />}
              >
                Replay
              </Button>
              {!hasEnded(run) && (
                <span className="text-xs text-ink-3">
                  The run has not ended: it is compared as far as it got.
                </span>
              )}
            </div>
            {start.isError && <Refused error={start.error} />}
          </form>
        </Panel>
        {shown !== undefined && <ReplayResult key={shown} run={run} id={shown} />}
      </div>
      <ReplayList run={run} shown={shown} />
    </div>
  );
}

function Refused({ error }: { error: Error }) {
  return (
    <p role="alert" className="rounded-md bg-bad-soft px-3 py-2 text-sm text-bad [overflow-wrap:anywhere]">
      {error instanceof Problem && error.code === "no_sandbox" ? "There is no sandbox. " : ""}
      {messageOf(error)}
    </p>
  );
}
