/**
 * The steps of a run, kept as new as its events say. The whole is read once; after that only what lies behind the last step
 * that is here, at most every 300 ms. Each answer has a revision: when steps that are here are not as they were (a retry
 * declared some void, an effect came to another end), all is read again. Hints at the run alone never fetch 20,000 steps.
 */

import { type QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { api, body } from "~/api/client";
import { useRunEvents } from "~/api/hooks";
import { live } from "~/api/live";
import { hasEnded, type Run, type RunEvent } from "~/api/types";
import { extended, type Steps, stepsOf, type TimelineAnswer } from "./steps";
import type { Flight } from "./tree";

const GATHER_MS = 300;
const EFFECTS_MS = 1_000;

export const timelineKey = (runId: string) => ["timeline", runId] as const;

const answerBehind = (runId: string, after: number, signal?: AbortSignal): Promise<TimelineAnswer> =>
  body(
    api.GET("/v1/runs/{run_id}/timeline", {
      params: { path: { run_id: runId }, query: { after } },
      ...(signal && { signal }),
    }),
  );

/** `known` with what is new of it, or all that there is. */
export async function readOn(runId: string, known: Steps | null, signal?: AbortSignal): Promise<Steps> {
  let answer = await answerBehind(runId, known?.last ?? 0, signal);
  let found = known === null ? stepsOf(answer) : extended(known, answer);
  const revision = known?.revision ?? answer.revision;
  while (answer.more && answer.revision === revision) {
    answer = await answerBehind(runId, found.last, signal);
    found = extended(found, answer);
  }
  return answer.revision === revision ? found : readOn(runId, null, signal);
}

/**
 * The timeline of a run, under the name that all share: whoever shows steps of a run asks with these. It is read on by the
 * page of the run (`useTimeline`) and, of child runs, by what shows them; others have it as it is, and may `refetch`, which
 * reads what is new only.
 */
export const timelineOptions = (runId: string) => ({
  queryKey: timelineKey(runId),
  staleTime: "static" as const,
  queryFn: ({ signal, client }: { signal: AbortSignal; client: QueryClient }) =>
    readOn(runId, client.getQueryData<Steps>(timelineKey(runId)) ?? null, signal),
});

/** Reads what is new of a timeline that is shown: one request at a time, and one more if something came meanwhile. */
class Follower {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private reading = false;
  private again = false;
  private stopped = false;

  constructor(
    private readonly cache: QueryClient,
    private readonly runId: string,
  ) {}

  ask(afterMs = GATHER_MS): void {
    if (this.reading) this.again = true;
    else this.timer ??= setTimeout(() => void this.read(), afterMs);
  }

  stop(): void {
    this.stopped = true;
    clearTimeout(this.timer);
  }

  private async read(): Promise<void> {
    this.timer = undefined;
    this.reading = true;
    const known = this.cache.getQueryData<Steps>(timelineKey(this.runId));
    try {
      // Before the first answer there is nothing to go on from: it is on its way.
      const found = known && (await readOn(this.runId, known));
      if (found && !this.stopped) this.cache.setQueryData(timelineKey(this.runId), found);
    } catch (error) {
      // The stream comes back when the server does, and with it the next event; what is shown stays.
      console.debug("The timeline could not be read on.", error);
    }
    this.reading = false;
    if (this.again && !this.stopped) {
      this.again = false;
      this.ask();
    }
  }
}

const NO_FLIGHTS: readonly Flight[] = [];

export interface Followed {
  readonly steps: Steps | undefined;
  readonly error: unknown;
  readonly retry: () => void;
  readonly flights: readonly Flight[];
}

export function useTimeline(run: Run): Followed {
  const cache = useQueryClient();
  const query = useQuery(timelineOptions(run.id));
  const steps = query.data;
  const follower = useRef<Follower | null>(null);
  const [flights, setFlights] = useState<readonly Flight[]>(NO_FLIGHTS);
  const [from, setFrom] = useState<number | null>(null);

  useEffect(() => {
    const made = new Follower(cache, run.id);
    follower.current = made;
    setFrom(null);
    setFlights(NO_FLIGHTS);
    // One that is known from before may have gone on while nobody looked at it.
    if (cache.getQueryData(timelineKey(run.id)) !== undefined) made.ask(0);
    const stopGaps = live.onGap(() => made.ask());
    const stopHints = live.onChange(({ kind }) => {
      const shown = cache.getQueryData<Steps>(timelineKey(run.id));
      if (kind === "effect" && shown?.effect.some((one) => one !== null)) made.ask(EFFECTS_MS);
    });
    return () => {
      made.stop();
      stopGaps();
      stopHints();
    };
  }, [cache, run.id]);

  // The position that is followed from is fixed while it is followed: each other one would open the stream anew.
  const pos = steps?.pos;
  const ended = hasEnded(run);
  useEffect(() => {
    if (ended) setFrom(null);
    else if (pos !== undefined) setFrom((known) => known ?? pos);
  }, [pos, ended]);

  const isBehind = steps !== undefined && (run.steps > steps.last || run.status !== steps.status);
  const behind = isBehind ? `${run.steps} ${run.status}` : null;
  useEffect(() => {
    if (behind !== null) follower.current?.ask();
  }, [behind]);

  useEffect(() => {
    if (ended) setFlights(NO_FLIGHTS);
  }, [ended]);

  useRunEvents(ended || from === null ? null : run.id, from ?? 0, (event) => {
    const flight = steps === undefined ? null : flightOf(event, steps.createdAt);
    if (flight !== null)
      setFlights((known) => [...known.filter((one) => one.key !== flight.key).slice(-99), flight]);
    const landed = event.data.key;
    if (event.pos === null) return;
    if (typeof landed === "string" && event.data.seq !== undefined)
      setFlights((known) =>
        known.some((one) => one.key === landed) ? known.filter((one) => one.key !== landed) : known,
      );
    if (event.type === "run.recovered" || event.type === "run.waiting") setFlights(NO_FLIGHTS);
    follower.current?.ask();
  });

  return { steps, error: query.error, retry: () => void query.refetch(), flights };
}

/** A step that says that it begins: told to who listens, and recorded only when it ends. */
function flightOf({ type, data, at }: RunEvent, createdAt: number): Flight | null {
  if (type !== "step.started" && type !== "message.started") return null;
  if (typeof data.key !== "string") return null;
  const kind = typeof data.kind === "string" ? data.kind : "model";
  const name = typeof data.name === "string" ? data.name : "model";
  return { key: data.key, kind, name, since: Date.parse(at) - createdAt };
}
