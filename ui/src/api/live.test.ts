import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Live } from "./live";
import type { RunEvent } from "./types";

/** A server whose streams the test writes. */
class Streams {
  readonly asked: string[] = [];
  status = 200;
  private writers: WritableStreamDefaultWriter<Uint8Array>[] = [];

  readonly fetch = (request: Request): Promise<Response> => {
    this.asked.push(decodeURIComponent(request.url.split("/v1/changes")[1] ?? ""));
    if (this.status !== 200) return Promise.resolve(Response.json({ code: "x" }, { status: this.status }));
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
    const writer = writable.getWriter();
    writer.closed.catch(() => {});
    this.writers.push(writer);
    request.signal.addEventListener("abort", () => void writer.abort(request.signal.reason).catch(() => {}));
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

let streams: Streams;
let live: Live;
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
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("removeEventListener", () => {});
  vi.stubGlobal("document", { visibilityState: "visible", addEventListener() {}, removeEventListener() {} });
  live = new Live();
});

afterEach(() => {
  live.stop();
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
  expect(states).toEqual(["live", "offline", "connecting", "live"]);
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
