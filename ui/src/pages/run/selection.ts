/** What is selected on the page of a run. The address holds it; everything that shows steps reads it here. */

import { useNavigate } from "@tanstack/react-router";
import { createContext, useCallback, useContext, useMemo } from "react";
import type { run } from "~/app/search";

export type RunSearch = ReturnType<typeof run>;
export type RunView = NonNullable<RunSearch["view"]>;
export type StepTab = NonNullable<RunSearch["tab"]>;

export interface Selection {
  readonly runId: string;
  readonly search: RunSearch;
  /** The run whose step is selected: this one, or a child that is shown below it. */
  readonly of: string;
  readonly step: number | null;
  readonly change: (change: { [K in keyof RunSearch]?: RunSearch[K] | undefined }, push?: boolean) => void;
  readonly select: (runId: string, seq: number | null) => void;
}

export function useSelectionOf(runId: string, search: RunSearch): Selection {
  const navigate = useNavigate();
  const change = useCallback<Selection["change"]>(
    (wanted, push = false) =>
      void navigate({
        to: "/runs/$runId",
        params: { runId },
        search: (before: object) => ({ ...before, ...wanted }) as never,
        replace: !push,
        resetScroll: false,
      }),
    [navigate, runId],
  );
  const select = useCallback<Selection["select"]>(
    (of, seq) => change({ step: seq ?? undefined, of: of === runId || seq === null ? undefined : of }),
    [change, runId],
  );
  return useMemo(
    () => ({ runId, search, of: search.of ?? runId, step: search.step ?? null, change, select }),
    [runId, search, change, select],
  );
}

export const SelectionContext = createContext<Selection | null>(null);

export function useSelection(): Selection {
  const found = useContext(SelectionContext);
  if (found === null) throw new Error("There is no run around this.");
  return found;
}
