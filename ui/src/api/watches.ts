/** Who follows which runs, and how far each of them was told. One stream tells all; each listener hears an event once. */

import type { RunEvent } from "./types";

/** The most runs that one stream follows. */
export const WATCHED_MAX = 4;

interface Listener {
  readonly hear: (event: RunEvent) => void;
  /** The position of the last event that it heard. */
  pos: number;
  /** A stream was asked for from there on. Events of an older one would come before those that it waits for. */
  joined: boolean;
}

export class Watches {
  private readonly runs = new Map<string, { pos: number; readonly listeners: Set<Listener> }>();

  /** `onChange` is called when another stream has to be asked for. */
  constructor(private readonly onChange: () => void) {}

  /** The events of a run behind `pos`, until the returned function is called. */
  add(runId: string, pos: number, hear: (event: RunEvent) => void): () => void {
    const known = this.runs.get(runId) ?? { pos: Number.POSITIVE_INFINITY, listeners: new Set() };
    const listener: Listener = { hear, pos, joined: pos >= known.pos };
    this.runs.set(runId, known);
    known.listeners.add(listener);
    if (!listener.joined) this.onChange();
    return () => {
      known.listeners.delete(listener);
      if (known.listeners.size > 0 || this.runs.get(runId) !== known) return;
      this.runs.delete(runId);
      this.onChange();
    };
  }

  /** What to ask a new stream for: `watch=run_…:POS`, each run from where the one is that was told least. */
  asked(): string {
    for (const run of this.runs.values()) {
      for (const listener of run.listeners) listener.joined = true;
      run.pos = Math.min(...[...run.listeners].map(({ pos }) => pos));
    }
    return [...this.runs]
      .slice(-WATCHED_MAX)
      .map(([id, { pos }]) => `watch=${encodeURIComponent(id)}:${pos}`)
      .join("&");
  }

  take(event: RunEvent): void {
    const run = this.runs.get(event.run_id);
    if (run === undefined) return;
    if (event.pos !== null) run.pos = Math.max(run.pos, event.pos);
    for (const listener of run.listeners) {
      if (!listener.joined || (event.pos !== null && event.pos <= listener.pos)) continue;
      if (event.pos !== null) listener.pos = event.pos;
      listener.hear(event);
    }
  }

  /** One of them is not there. It is most likely the one that was added last; the others are asked for again. */
  forgetNewest(): void {
    const newest = [...this.runs.keys()].at(-1);
    if (newest !== undefined) this.runs.delete(newest);
  }
}
