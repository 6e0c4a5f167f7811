/**
 * Set a run going and hear it from its first word: the request is answered with the run's events, which are read until the
 * tab's one stream tells of the run, and the message under way is whole. A model call streams only if somebody listens as
 * it begins; the tab's stream would come too late for the first one.
 */

import { request } from "~/api/client";
import { Problem } from "~/api/problem";
import { SseParser } from "~/api/sse";
import type { RunEvent } from "~/api/types";
import { type Talk, talkOf } from "./conversations";

export type OnBusy = "enqueue" | "interrupt" | "rollback" | "reject";

export interface Started {
  readonly runId: string;
  readonly threadId: string;
}

const ENDS: ReadonlySet<string> = new Set(["run.succeeded", "run.failed", "run.cancelled", "run.waiting"]);

/**
 * The run, as soon as the server has done what is `asked` of `path`: a start, an edit, another answer, a retry. Raises
 * `Problem`. Its events go to its conversation by themselves.
 */
export async function setGoing(path: string, asked: object, idempotencyKey: string): Promise<Started> {
  const reading = new AbortController();
  const answer = await request(path, {
    method: "POST",
    headers: {
      "content-type": "application/json",
      accept: "text/event-stream",
      "idempotency-key": idempotencyKey,
    },
    body: JSON.stringify(asked),
    signal: reading.signal,
  });
  if (answer.body === null) throw new Problem(answer.status, { detail: "The answer was empty." });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const parser = new SseParser();
  for (;;) {
    const { done, value } = await reader.read().catch(broken);
    if (done) return broken();
    const events = parser.push(value).map((one) => JSON.parse(one.data) as RunEvent);
    const first = events.find((event) => typeof event.run_id === "string");
    if (first === undefined) continue;
    const talk = talkOf(first.thread_id);
    for (const event of events) talk.take(event);
    void follow(reader, parser, talk, first.run_id).finally(() => reading.abort());
    return { runId: first.run_id, threadId: first.thread_id };
  }
}

async function follow(
  reader: ReadableStreamDefaultReader<string>,
  parser: SseParser,
  talk: Talk,
  runId: string,
): Promise<void> {
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      let over = false;
      for (const one of parser.push(value)) {
        const event = JSON.parse(one.data) as RunEvent;
        talk.take(event);
        over ||= ENDS.has(event.type) || (event.type === "message.completed" && talk.isHeard(runId));
      }
      if (over) return;
    }
  } catch {
    // The tab's stream goes on with it; of what was being said it may lack a piece until it is whole.
  }
}

function broken(): never {
  throw new Problem(0, {
    code: "unreachable",
    detail: "The connection broke. Send it again: it is done once.",
  });
}
