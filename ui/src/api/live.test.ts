import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Live } from "./live";
import { HIDDEN_MS } from "./presence";
import { STREAMS_MAX } from "./turns";
import type { RunEvent } from "./types";

/** A server whose streams the test writes. */
class Streams {
  readonly asked: string[] = [];
  status = 200;
  /** How many connections are held. */
  open = 0;
  private writers: WritableStreamDefaultWriter<Uint8Array>[] = [];

  readonly fetch = (request: Request): Promise<Response> => {
    this.asked.push(decodeURIComponent(request.url.split("/v1/changes")[1] ?? ""));
    if (this.status !== 200) return Promise.resolve(Response.json({ code: "x" }, { status: this.status }));
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    writer.closed.catch(() => {});
    this.writers.push(writer);
    this.open += 1;
    request.signal.addEventListener("abort", () => {
      this.open -= 1;
      void writer.abort(request.signal.reason).catch(() => {});
    });
    return Promise.resolve(new Response(readable));
  };

  say(type: string, data: object): void {
    const text = `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
    void this.writers
      .at(-1)
      ?.write(new TextEncoder().encode(text))
      .catch(() => {});
  }

  drop(): void {
    void this.writers
      .at(-1)
      ?.close()
      .catch(() => {});
  }
}

const event = (pos: number | null, run = "run_a"): RunEvent => ({
  pos,
  run_id: run,
  thread_id: "thr_a",
  type: pos === null ? "message.delta" : "step.completed",
  at: "2030-01-01T00:00:00.000Z",
  data: {},
});

/** All tabs of a browser hear one another, and none hears itself. */
class Channel {
  static readonly all = new Set<Channel>();
  onmessage: ((message: { data: unknown }) => void) | null = null;
  constructor() {
    Channel.all.add(this);
  }
  postMessage(data: unknown): void {
    for (const other of Channel.all) if (other !== this) other.onmessage?.({ data });
  }
  close(): void {
    Channel.all.delete(this);
  }
}

let streams: Streams;
let live: Live;
let page: EventTarget & { visibilityState: string };
let windowed: EventTarget;
const more: Live[] = [];
const become = (visibilityState: string): void => {
  page.visibilityState = visibilityState;
  page.dispatchEvent(new Event("visibilitychange"));
};
const another = (): Live => {
  const made = new Live();
  more.push(made);
  made.start();
  return made;
};
const passed = async (ms = 0): Promise<void> => {
  await vi.advanceTimersByTimeAsync(ms);
};

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, "debug").mockImplementation(() => {});
  streams = new Streams();
  vi.stubGlobal("fetch", streams.fetch);
  vi.stubGlobal(
    "Request",
    class extends Request {
      constructor(url: string, init?: RequestInit) {
        super(`http://here${url}`, init);
      }
    },
  );
  page = Object.assign(new EventTarget(), { visibilityState: "visible" });
  windowed = new EventTarget();
  vi.stubGlobal("addEventListener", windowed.addEventListener.bind(windowed));
  vi.stubGlobal("removeEventListener", windowed.removeEventListener.bind(windowed));
  vi.stubGlobal("document", page);
  vi.stubGlobal("BroadcastChannel", Channel);
  live = new Live();
});

afterEach(() => {
  live.stop();
  for (const one of more.splice(0)) one.stop();
  expect(Channel.all.size).toBe(0);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

it("asks once for all that is watched, and behind what was seen after a loss", async () => {
  const seen: (number | null)[] = [];
  live.start();
  live.watch("run_a", 3, ({ pos }) => seen.push(pos));
  live.watch("run_b", 0, () => {});
  await passed(50);
  expect(streams.asked.at(-1)).toBe("?watch=run_a:3&watch=run_b:0");
  streams.say("step.completed", event(4));
  streams.say("message.delta", event(null));
  streams.say("step.completed", event(5));
  await passed();
  expect(seen).toEqual([4, null, 5]);
  streams.drop();
  await passed(2_000);
  expect(streams.asked.at(-1)).toBe("?watch=run_a:5&watch=run_b:0");
  streams.say("step.completed", event(5));
  streams.say("step.completed", event(6));
  await passed();
  expect(seen).toEqual([4, null, 5, 6]);
});

it("says when hints may have been missed: at each connection, and when the server says so", async () => {
  const gap = vi.fn();
  live.onGap(gap);
  live.start();
  await passed(50);
  expect(gap).toHaveBeenCalledTimes(1);
  streams.say("resync", {});
  await passed();
  expect(gap).toHaveBeenCalledTimes(2);
  streams.drop();
  await passed(2_000);
  expect(gap).toHaveBeenCalledTimes(3);
});

it("takes a stream that stalls for lost, and comes back", async () => {
  const states: string[] = [];
  live.subscribe(() => states.push(live.snapshot()));
  live.start();
  await passed(39_000);
  expect(states).toEqual(["live"]);
  await passed(5_000);
  expect(states).toEqual(["live", "offline", "live"]);
});

it("waits longer and longer while nobody answers, and never for more than its most", async () => {
  streams.status = 503;
  live.start();
  await passed(120_000);
  expect(streams.asked.length).toBeGreaterThan(8);
  expect(streams.asked.length).toBeLessThan(40);
  expect(live.snapshot()).toBe("offline");
  streams.status = 200;
  await passed(16_000);
  expect(live.snapshot()).toBe("live");
});

it("goes on without a run that is gone", async () => {
  live.start();
  await passed(50);
  live.watch("run_a", 2, () => {});
  await passed(50);
  streams.status = 404;
  live.watch("run_gone", 0, () => {});
  await passed(60);
  streams.status = 200;
  await passed(5_000);
  expect(streams.asked.at(-1)).toBe("?watch=run_a:2");
  expect(live.snapshot()).toBe("live");
});

it("gives hints to whoever wants them", async () => {
  const hints: string[] = [];
  live.onChange(({ kind, id }) => hints.push(`${kind} ${id}`));
  live.start();
  await passed(50);
  streams.say("change", { kind: "approval", id: "apr_1", status: "pending" });
  await passed();
  expect(hints).toEqual(["approval apr_1"]);
});

it("tells each listener each event once, also when another one starts further back", async () => {
  const first: (number | null)[] = [];
  const second: (number | null)[] = [];
  live.start();
  live.watch("run_a", 2, ({ pos }) => first.push(pos));
  await passed(50);
  streams.say("step.completed", event(3));
  await passed();
  live.watch("run_a", 0, ({ pos }) => second.push(pos));
  streams.say("step.completed", event(4)); // on the old stream, before the new one is asked for
  await passed(50);
  expect(streams.asked.at(-1)).toBe("?watch=run_a:0");
  for (const pos of [1, 2, 3, 4, 5]) streams.say("step.completed", event(pos));
  await passed();
  expect(first).toEqual([3, 4, 5]);
  expect(second).toEqual([1, 2, 3, 4, 5]);
});

it("keeps no stream for a tab that nobody looks at, and is there at once when somebody does", async () => {
  const gap = vi.fn();
  const seen: (number | null)[] = [];
  live.onGap(gap);
  live.watch("run_a", 0, ({ pos }) => seen.push(pos));
  live.start();
  await passed(50);
  streams.say("step.completed", event(1));
  become("hidden");
  await passed(HIDDEN_MS - 1);
  expect(streams.open).toBe(1);
  await passed(1);
  expect([streams.open, live.snapshot()]).toEqual([0, "resting"]);
  await passed(600_000);
  expect(streams.asked.length).toBe(1);
  become("visible");
  await passed();
  expect([streams.open, live.snapshot()]).toEqual([1, "live"]);
  expect(streams.asked.at(-1)).toBe("?watch=run_a:1");
  expect(gap).toHaveBeenCalledTimes(2);
});

it("asks for nothing in a tab that was opened behind", async () => {
  page.visibilityState = "hidden";
  live.start();
  await passed(60_000);
  expect(streams.asked).toEqual([]);
  become("visible");
  await passed();
  expect(live.snapshot()).toBe("live");
});

it("holds few connections however many tabs are seen, and the newest have them", async () => {
  const tabs = Array.from({ length: 8 }, another);
  await passed();
  const states = tabs.map((one) => one.snapshot());
  expect(streams.open).toBe(STREAMS_MAX);
  expect(states.slice(-STREAMS_MAX)).toEqual(Array.from({ length: STREAMS_MAX }, () => "live"));
  expect(states.slice(0, -STREAMS_MAX).every((state) => state === "resting")).toBe(true);
});

it("gives a tab that was crowded out its stream back when another one closes", async () => {
  const tabs = Array.from({ length: STREAMS_MAX + 1 }, another);
  await passed();
  expect(tabs[0]?.snapshot()).toBe("resting");
  tabs.at(-1)?.stop();
  await passed();
  expect(tabs[0]?.snapshot()).toBe("live");
  expect(streams.open).toBe(STREAMS_MAX);
});

it("looks in now and then where it was crowded out, and holds no connection in between", async () => {
  const gap = vi.fn();
  live.onGap(gap);
  live.start();
  await passed();
  Array.from({ length: STREAMS_MAX }, another);
  await passed();
  expect(gap).toHaveBeenCalledTimes(1);
  expect(streams.open).toBe(STREAMS_MAX);
  await passed(10_500);
  expect(gap).toHaveBeenCalledTimes(2);
  expect(streams.open).toBe(STREAMS_MAX + 1);
  await passed(2_000);
  expect(streams.open).toBe(STREAMS_MAX);
  expect(live.snapshot()).toBe("resting");
});

it("asks anew after a sleep in which the connection may have died", async () => {
  live.start();
  await passed(50);
  expect(streams.asked.length).toBe(1);
  vi.setSystemTime(Date.now() + 3_600_000); // timers stood still
  windowed.dispatchEvent(new Event("online"));
  await passed(2_000);
  expect(streams.asked.length).toBe(2);
  expect(live.snapshot()).toBe("live");
});

it("gives a server up that takes the request and never answers", async () => {
  let asked = 0;
  vi.stubGlobal("fetch", (request: Request) => {
    asked += 1;
    return new Promise((_, reject) =>
      request.signal.addEventListener("abort", () => reject(new Error("aborted"))),
    );
  });
  live.start();
  await passed(60_000);
  expect(asked).toBe(2);
  expect(live.snapshot()).toBe("offline");
});

it("lets go of its stream when the page is left, and takes it again when it comes back", async () => {
  live.start();
  await passed(50);
  windowed.dispatchEvent(new Event("pagehide"));
  expect(streams.open).toBe(0);
  windowed.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await passed();
  expect([streams.open, live.snapshot()]).toEqual([1, "live"]);
});
