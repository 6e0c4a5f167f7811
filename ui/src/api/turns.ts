/**
 * Whose turn it is to keep a stream. Browsers allow six connections to an origin over HTTP/1.1, all tabs together, and an
 * open stream holds one: with six of them nothing else loads, in any tab. So the tabs of a browser tell one another when
 * they take one, and whoever sees as many newer ones as there may be gives its own back.
 */

export const STREAMS_MAX = 3;

/** One name for all that this origin serves: its tabs share the connections, wherever an application is mounted. */
const CHANNEL = "holdfast.streams";

interface Said {
  readonly is: "taken" | "left";
  readonly tab: string;
}

export class Turns {
  private readonly tab = Math.random().toString(36).slice(2);
  /** The tabs that took a stream after this one did. */
  private readonly newer = new Set<string>();
  private channel: BroadcastChannel | null = null;

  constructor(private readonly onChange: () => void) {}

  /** As many newer streams are open as there may be. */
  get isCrowded(): boolean {
    return this.newer.size >= STREAMS_MAX;
  }

  open(): void {
    if (this.channel !== null) return;
    try {
      this.channel = new BroadcastChannel(CHANNEL);
    } catch {
      return; // Storage is blocked, and tabs know nothing of one another.
    }
    this.channel.onmessage = ({ data }: MessageEvent<Said>) => this.heard(data);
  }

  /** This tab is the newest from now on. */
  take(): void {
    this.newer.clear();
    this.say("taken");
  }

  leave(): void {
    this.say("left");
  }

  close(): void {
    if (this.channel === null) return;
    this.leave();
    this.channel.close();
    this.channel = null;
    this.newer.clear();
  }

  private say(is: Said["is"]): void {
    this.channel?.postMessage({ is, tab: this.tab } satisfies Said);
  }

  private heard({ is, tab }: Said): void {
    const before = this.isCrowded;
    if (is === "taken") this.newer.add(tab);
    else this.newer.delete(tab);
    if (this.isCrowded !== before) this.onChange();
  }
}
