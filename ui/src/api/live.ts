/**
 * The one stream of this tab: hints at what changed, and the events of the runs that somebody looks at. Browsers allow six
 * connections to an origin over HTTP/1.1, so there is never more than one.
 *
 * Durable events of a watched run come once each and in order, over every reconnect: the position of the last one is kept
 * and asked behind. Hints are not kept by anybody; after a gap all that is shown is fetched again (`onGap`).
 */

import { request } from "./client";
import { messageOf, Problem } from "./problem";
import { SseParser } from "./sse";
import type { Change, RunEvent } from "./types";

/** A server pings each 15 s at the latest; a stream that is silent for longer has stalled. */
const SILENT_MS = 40_000;
const BACKOFF_MIN_MS = 400;
const BACKOFF_MAX_MS = 15_000;
/** The most runs that one stream follows. */
const WATCHED_MAX = 4;
/** Watching several runs at once (a page that mounts) makes one reconnect. */
const SETTLE_MS = 30;

export type LiveState = "connecting" | "live" | "offline";

interface Watched {
  pos: number;
  readonly listeners: Set<(event: RunEvent) => void>;
}

export class Live {
  private readonly watched = new Map<string, Watched>();
  private readonly changeListeners = new Set<(change: Change) => void>();
  private readonly gapListeners = new Set<() => void>();
  private readonly stateListeners = new Set<() => void>();
  private state: LiveState = "connecting";
  private running: AbortController | null = null;
  private settling: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private failures = 0;
  private started = false;

  start(): void {
    if (this.started) return;
    this.started = true;
    this.connect();
    addEventListener("online", this.again);
    document.addEventListener("visibilitychange", this.again);
  }

  stop(): void {
    this.started = false;
    clearTimeout(this.retry);
    clearTimeout(this.settling);
    this.running?.abort();
    removeEventListener("online", this.again);
    document.removeEventListener("visibilitychange", this.again);
  }

  /** The events of a run behind `pos`, until the returned function is called. Each listener gets those that come while it listens. */
  watch(runId: string, pos: number, listener: (event: RunEvent) => void): () => void {
    const known = this.watched.get(runId);
    if (known === undefined) {
      this.watched.set(runId, { pos, listeners: new Set([listener]) });
      this.settle();
    } else {
      if (pos < known.pos) {
        known.pos = pos;
        this.settle();
      }
      known.listeners.add(listener);
    }
    return () => {
      const found = this.watched.get(runId);
      found?.listeners.delete(listener);
      if (found?.listeners.size === 0) {
        this.watched.delete(runId);
        this.settle();
      }
    };
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

  /** Connect at once if there is no connection: the network is back, the tab is looked at, somebody signed in. */
  readonly again = (): void => {
    if (this.started && this.state === "offline" && document.visibilityState === "visible") {
      this.failures = 0;
      this.connect();
    }
  };

  private settle(): void {
    if (!this.started) return;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.connect(), SETTLE_MS);
  }

  private connect(): void {
    clearTimeout(this.retry);
    this.running?.abort();
    const running = new AbortController();
    this.running = running;
    if (this.state === "offline") this.become("connecting");
    void this.follow(running).catch((error: unknown) => {
      if (this.running === running && this.started) this.lost(error);
    });
  }

  private async follow(running: AbortController): Promise<void> {
    const watching = [...this.watched]
      .slice(-WATCHED_MAX)
      .map(([id, { pos }]) => `watch=${id}:${pos}`)
      .join("&");
    const answer = await request(`/v1/changes${watching && `?${watching}`}`, {
      headers: { accept: "text/event-stream" },
      signal: running.signal,
    });
    if (answer.body === null) throw new Error("The stream has no body.");
    this.failures = 0;
    this.become("live");
    for (const listener of this.gapListeners) listener();
    const parser = new SseParser();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await beforeSilence(reader.read(), running);
      if (done) throw new Error("The stream ended.");
      if (this.running !== running) return;
      for (const event of parser.push(value)) this.take(event.type, event.data);
    }
  }

  private take(type: string, data: string): void {
    if (type === "resync") {
      for (const listener of this.gapListeners) listener();
      return;
    }
    const parsed: unknown = JSON.parse(data);
    if (type === "change") {
      for (const listener of this.changeListeners) listener(parsed as Change);
      return;
    }
    const event = parsed as RunEvent;
    const watched = this.watched.get(event.run_id);
    if (watched === undefined) return;
    if (event.pos !== null) {
      if (event.pos <= watched.pos) return;
      watched.pos = event.pos;
    }
    for (const listener of watched.listeners) listener(event);
  }

  private lost(error: unknown): void {
    if (error instanceof Problem && error.status === 404) this.forgetNewest(); // one that is watched is gone
    this.failures += 1;
    this.become("offline");
    const most = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.failures, 8));
    const wait =
      error instanceof Problem && error.isSignedOut ? BACKOFF_MAX_MS : most * (0.5 + Math.random() / 2);
    console.debug(`The stream was lost (${messageOf(error)}); again in ${Math.round(wait)} ms.`);
    this.retry = setTimeout(() => this.connect(), wait);
  }

  /** Runs that are not there are found by the one that was added last; the others are asked for again. */
  private forgetNewest(): void {
    const newest = [...this.watched.keys()].at(-1);
    if (newest !== undefined) this.watched.delete(newest);
  }

  private become(state: LiveState): void {
    if (this.state === state) return;
    this.state = state;
    for (const listener of this.stateListeners) listener();
  }
}

async function beforeSilence<T>(read: Promise<T>, running: AbortController): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silent = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      running.abort();
      reject(new Error("The stream stalled."));
    }, SILENT_MS);
  });
  try {
    return await Promise.race([read, silent]);
  } finally {
    clearTimeout(timer);
  }
}

export const live = new Live();
