/**
 * The conversations that were looked at in this tab, each with what was heard of its runs. They live beside the pages, so
 * that a chat that gets its address while it starts goes on without a break. What is heard is gathered for each frame.
 *
 * A run is heard by the tab's stream, and at first by the answer to the request that set it going, too. What comes twice
 * changes nothing: durable events have positions, and pieces of messages have numbers.
 */

import { useMemo, useSyncExternalStore } from "react";
import { live } from "~/api/live";
import type { RunEvent } from "~/api/types";
import { type Action, after, type Conversation, EMPTY, lastSaid } from "./conversation";

const KEPT = 12;
/** A page that nobody sees gets no frames. */
const HIDDEN_MS = 250;
/** What took longer to show is shown less often, so that the page stays at hand. */
const SLOW_MS = 30;

export class Talk {
  private state: Conversation = EMPTY;
  private queue: RunEvent[] = [];
  private scheduled = false;
  private restUntil = 0;
  private readonly listeners = new Set<() => void>();
  private readonly watches = new Map<string, () => void>();
  private readonly heard = new Set<string>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size === 0) this.hear([]);
    };
  };

  readonly snapshot = (): Conversation => this.state;

  dispatch(action: Action): void {
    this.flush();
    this.become(after(this.state, action));
  }

  /** Listen to these runs, and to no others. */
  hear(runIds: readonly string[]): void {
    for (const [id, stop] of this.watches) {
      if (runIds.includes(id)) continue;
      stop();
      this.watches.delete(id);
    }
    for (const id of runIds) {
      if (this.watches.has(id)) continue;
      this.flush();
      const known = this.state.views.get(id);
      const heard = (event: RunEvent): void => {
        this.heard.add(event.run_id);
        this.take(event);
      };
      this.watches.set(id, live.watch(id, known?.begun ? known.pos : 0, heard));
    }
  }

  /** Whether the tab's stream has told of this run. */
  isHeard(runId: string): boolean {
    return this.heard.has(runId);
  }

  take(event: RunEvent): void {
    this.queue.push(event);
    if (this.scheduled) return;
    this.scheduled = true;
    const flush = (): void => this.flush();
    const rest = this.restUntil - performance.now();
    if (document.visibilityState === "hidden") setTimeout(flush, HIDDEN_MS);
    else if (rest > 0) setTimeout(flush, rest);
    else requestAnimationFrame(flush);
  }

  private flush(): void {
    this.scheduled = false;
    if (this.queue.length === 0) return;
    const events = this.queue;
    this.queue = [];
    const began = performance.now();
    this.become(after(this.state, { type: "heard", events }));
    setTimeout(() => {
      const now = performance.now();
      this.restUntil = now - began > SLOW_MS ? now + 2 * (now - began) : 0;
    });
  }

  private become(next: Conversation): void {
    if (next === this.state) return;
    this.state = next;
    for (const listener of this.listeners) listener();
  }
}

const talks = new Map<string, Talk>();

export function talkOf(threadId: string): Talk {
  const known = talks.get(threadId) ?? new Talk();
  talks.delete(threadId);
  talks.set(threadId, known);
  for (const [id] of talks) {
    if (talks.size <= KEPT) break;
    talks.delete(id);
  }
  return known;
}

export const useTalk = (talk: Talk): Conversation => useSyncExternalStore(talk.subscribe, talk.snapshot);

/** The state of each run, as far as it was heard; as one text, so that it is the same while messages only grow. */
export const useStatuses = (talk: Talk): ReadonlyMap<string, string> => {
  const mark = useSyncExternalStore(talk.subscribe, () => marked(talk.snapshot()));
  return useMemo(() => new Map(mark.split(" ").map((one) => one.split("=") as [string, string])), [mark]);
};

const marked = ({ views }: Conversation): string =>
  [...views.values()].map(({ runId, status }) => `${runId}=${status ?? ""}`).join(" ");

/** What was said last, once it is whole; the same text while other messages grow. */
export const useLastSaid = (talk: Talk): string =>
  useSyncExternalStore(talk.subscribe, () => lastSaid(talk.snapshot()));
