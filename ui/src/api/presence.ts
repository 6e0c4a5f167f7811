/**
 * Whether this tab may keep a stream: somebody looks at it, or did a moment ago, and it is among the newest that do. Tells
 * too when a stream that seems well may be dead: the machine slept, the network came back, the page left the browser's
 * back-forward cache.
 */

import { Turns } from "./turns";

/** A glance at another tab costs no reconnect. */
export const HIDDEN_MS = 15_000;

export interface Told {
  /** It may keep a stream from now on, or may not any more. */
  readonly onMay: () => void;
  /** Look whether the stream is still alive. */
  readonly onWake: () => void;
}

export class Presence {
  private readonly turns = new Turns(() => this.judge());
  private may = false;
  private started = false;
  private hidden: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly told: Told) {}

  get mayStream(): boolean {
    return this.may;
  }

  get isSeen(): boolean {
    return document.visibilityState === "visible";
  }

  start(): void {
    this.started = true;
    this.turns.open();
    document.addEventListener("visibilitychange", this.turned);
    addEventListener("focus", this.turned);
    addEventListener("online", this.told.onWake);
    addEventListener("pagehide", this.gone);
    addEventListener("pageshow", this.back);
    if (this.isSeen) this.turned();
  }

  stop(): void {
    this.started = false;
    document.removeEventListener("visibilitychange", this.turned);
    removeEventListener("focus", this.turned);
    removeEventListener("online", this.told.onWake);
    removeEventListener("pagehide", this.gone);
    removeEventListener("pageshow", this.back);
    clearTimeout(this.hidden);
    this.turns.close();
    this.may = false;
  }

  /** It is looked at, or no longer. */
  private readonly turned = (): void => {
    clearTimeout(this.hidden);
    if (!this.isSeen) {
      this.hidden = setTimeout(this.rest, HIDDEN_MS);
      return;
    }
    this.turns.take();
    if (this.may) this.told.onWake();
    else this.become(true);
  };

  private readonly rest = (): void => {
    this.turns.leave();
    this.become(false);
  };

  private readonly gone = (): void => {
    clearTimeout(this.hidden);
    this.turns.close();
    this.become(false);
  };

  private readonly back = ({ persisted }: PageTransitionEvent): void => {
    if (!persisted) return;
    this.turns.open();
    if (this.isSeen) this.turned();
  };

  /** Other tabs took streams, or left theirs. */
  private judge(): void {
    if (!this.started) return;
    if (this.turns.isCrowded && this.may) this.rest();
    else if (!this.turns.isCrowded && !this.may && this.isSeen) this.turned();
  }

  private become(may: boolean): void {
    if (this.may === may) return;
    this.may = may;
    this.told.onMay();
  }
}
