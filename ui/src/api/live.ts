/**
 * The one stream of this tab: hints at what changed, and the events of the runs that somebody looks at. A tab that nobody
 * looks at has none, nor has one while enough others do (`presence.ts`); such a tab that is seen looks in now and then.
 *
 * Durable events of a watched run come once each and in order, over every reconnect: the position of the last one is kept
 * and asked behind. Hints are not kept by anybody; after a gap all that is shown is fetched again (`onGap`).
 */

import { request } from "./client";
import { Presence } from "./presence";
import { messageOf, Problem } from "./problem";
import { SseParser } from "./sse";
import type { Change, RunEvent } from "./types";
import { Watches } from "./watches";

/** A server pings each 15 s at the latest; a stream that is silent for longer has stalled. */
const SILENT_MS = 40_000;
/** After this much silence, whoever comes back to the tab does not wait for it to have stalled. */
const DOUBTED_MS = 20_000;
const CHECK_MS = 5_000;
const BACKOFF_MIN_MS = 400;
const BACKOFF_MAX_MS = 15_000;
/** Watching several runs at once (a page that mounts) makes one reconnect. */
const SETTLE_MS = 30;
/** How often a tab without a stream of its own looks in, and for how long. */
const REST_MS = 10_000;
const LOOK_MS = 1_500;

/** `resting`: without a stream, since other tabs have theirs or nobody looks. */
export type LiveState = "connecting" | "live" | "offline" | "resting";

export class Live {
  private readonly watches = new Watches(() => this.settle());
  private readonly presence = new Presence({
    onMay: () => this.turned(),
    onWake: () => this.wake(),
  });
  private readonly changeListeners = new Set<(change: Change) => void>();
  private readonly gapListeners = new Set<() => void>();
  private readonly stateListeners = new Set<() => void>();
  private state: LiveState = "connecting";
  private running: AbortController | null = null;
  private heardAt = 0;
  private settling: ReturnType<typeof setTimeout> | undefined;
  private next: ReturnType<typeof setTimeout> | undefined;
  private checking: ReturnType<typeof setInterval> | undefined;
  private failures = 0;
  private started = false;

  start(): void {
    if (this.started) return;
    this.started = true;
    this.checking = setInterval(() => this.check(SILENT_MS), CHECK_MS);
    this.presence.start();
    if (!this.presence.mayStream) this.become("resting");
  }

  stop(): void {
    this.started = false;
    clearInterval(this.checking);
    clearTimeout(this.settling);
    this.presence.stop();
    this.hangUp();
  }

  /** The events of a run behind `pos`, until the returned function is called. */
  watch(runId: string, pos: number, listener: (event: RunEvent) => void): () => void {
    return this.watches.add(runId, pos, listener);
  }

  onChange(listener: (change: Change) => void): () => void {
    this.changeListeners.add(listener);
    return () => this.changeListeners.delete(listener);
  }

  /** Hints may have been missed: fetch again what is shown. */
  onGap(listener: () => void): () => void {
    this.gapListeners.add(listener);
    return () => this.gapListeners.delete(listener);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.stateListeners.add(listener);
    return () => this.stateListeners.delete(listener);
  };

  readonly snapshot = (): LiveState => this.state;

  /** Connect at once if there is no connection: the tab is looked at, the network is back, somebody signed in. */
  readonly wake = (): void => {
    if (!this.started || !this.presence.mayStream) return;
    this.failures = 0;
    if (this.state === "offline") this.connect();
    else this.check(DOUBTED_MS);
  };

  private turned(): void {
    if (!this.started) return;
    if (this.presence.mayStream) this.connect();
    else this.rest();
  }

  private rest(): void {
    this.hangUp();
    this.become("resting");
    if (this.presence.isSeen) this.next = setTimeout(() => this.connect(), REST_MS);
  }

  private settle(): void {
    if (!this.started || this.running === null) return;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.connect(), SETTLE_MS);
  }

  private hangUp(): void {
    clearTimeout(this.next);
    const running = this.running;
    this.running = null;
    running?.abort();
  }

  private connect(): void {
    this.hangUp();
    clearTimeout(this.settling);
    const running = new AbortController();
    this.running = running;
    this.heardAt = Date.now();
    void this.follow(running).catch((error: unknown) => {
      if (this.running === running) this.lost(error);
    });
  }

  /** By the clock, not by a timer: while the machine slept, timers did too. */
  private check(silentMs: number): void {
    const silent = Date.now() - this.heardAt;
    if (silent < 0)
      this.heardAt = Date.now(); // somebody set the clock
    else if (this.running !== null && silent >= silentMs) this.lost(new Error("The stream stalled."));
  }

  private async follow(running: AbortController): Promise<void> {
    const watching = this.watches.asked();
    const answer = await request(`/v1/changes${watching && `?${watching}`}`, {
      headers: { accept: "text/event-stream" },
      signal: running.signal,
    });
    if (answer.body === null) throw new Error("The stream has no body.");
    if (this.running !== running) return;
    this.opened();
    const parser = new SseParser();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (this.running !== running) return;
      if (done) throw new Error("The stream ended.");
      this.heardAt = Date.now();
      for (const event of parser.push(value)) this.take(event.type, event.data);
    }
  }

  private opened(): void {
    this.failures = 0;
    if (this.presence.mayStream) this.become("live");
    else this.next = setTimeout(() => this.rest(), LOOK_MS);
    for (const listener of this.gapListeners) listener();
  }

  private take(type: string, data: string): void {
    if (type === "resync") {
      for (const listener of this.gapListeners) listener();
      return;
    }
    const parsed: unknown = JSON.parse(data);
    if (type === "change") for (const listener of this.changeListeners) listener(parsed as Change);
    else this.watches.take(parsed as RunEvent);
  }

  private lost(error: unknown): void {
    this.hangUp();
    if (error instanceof Problem && NOT_THERE.has(error.status)) this.watches.forgetNewest();
    this.failures += 1;
    this.become("offline");
    const wait = error instanceof Problem && error.isSignedOut ? BACKOFF_MAX_MS : backoff(this.failures);
    console.debug(`The stream was lost (${messageOf(error)}); again in ${Math.round(wait)} ms.`);
    this.next = setTimeout(() => this.connect(), wait);
  }

  private become(state: LiveState): void {
    if (this.state === state) return;
    this.state = state;
    for (const listener of this.stateListeners) listener();
  }
}

/** What the server says of a run that was deleted, or is not as far as it was: its database was restored. */
const NOT_THERE: ReadonlySet<number> = new Set([400, 404, 422]);

function backoff(failures: number): number {
  const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures, 8));
  return most * (0.5 + Math.random() / 2);
}

export const live = new Live();
