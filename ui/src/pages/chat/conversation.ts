/**
 * A conversation as it is looked at: the views of the runs whose events are heard, and what was said here and is not stored
 * yet. Actions in, state out; `turnsOf` puts it together with what is stored. Nothing in here knows of the network.
 */

import type { Message, Part, Run, RunEvent } from "~/api/types";
import { oneLine } from "~/lib/text";
import { emptyRun, type MessageItem, type RunView } from "~/transcript/runItems";
import { applied } from "~/transcript/runView";

/** What somebody said here, until its run shows it. */
export interface Send {
  readonly key: string;
  readonly agent: string;
  readonly input: unknown;
  readonly runId: string | null;
}

export interface Conversation {
  readonly views: ReadonlyMap<string, RunView>;
  readonly sends: readonly Send[];
}

export type Action =
  | { readonly type: "heard"; readonly events: readonly RunEvent[] }
  | { readonly type: "said"; readonly send: Send }
  | { readonly type: "taken"; readonly key: string; readonly runId: string }
  | { readonly type: "refused"; readonly key: string };

export const EMPTY: Conversation = { views: new Map(), sends: [] };

export function after(state: Conversation, action: Action): Conversation {
  switch (action.type) {
    case "heard":
      return heard(state, action.events);
    case "said":
      return { ...state, sends: [...state.sends, action.send] };
    case "taken":
      return {
        ...state,
        sends: state.sends.map((one) => (one.key === action.key ? { ...one, runId: action.runId } : one)),
      };
    case "refused":
      return { ...state, sends: state.sends.filter((one) => one.key !== action.key) };
  }
}

function heard(state: Conversation, events: readonly RunEvent[]): Conversation {
  const byRun = new Map<string, RunEvent[]>();
  for (const event of events) {
    const known = byRun.get(event.run_id);
    if (known === undefined) byRun.set(event.run_id, [event]);
    else known.push(event);
  }
  const views = new Map(state.views);
  for (const [runId, own] of byRun) views.set(runId, applied(views.get(runId) ?? emptyRun(runId), own));
  return { ...state, views };
}

/** What a run said in a row, behind what a user said, if it is the run's own input. */
export interface Turn {
  readonly id: string;
  /** Null while it is not known yet which run it becomes. */
  readonly runId: string | null;
  readonly user: Said | null;
  /** As stored, oldest first; without the user's. */
  readonly messages: readonly Message[];
  /** Of another thread, which this one is a branch of. */
  readonly inherited: boolean;
  /** Another run goes on from here (a fork): what ended this one is not said here. */
  readonly goesOn: boolean;
  /** Taken back by `rollback`: no model sees it. */
  readonly voided: boolean;
}

export interface Said {
  /** Null until it is stored: then it can be said differently. */
  readonly messageId: string | null;
  readonly parts: readonly Part[];
  readonly at: string | null;
  readonly sending: boolean;
}

const inputParts = (input: unknown): readonly Part[] => {
  if (typeof input === "string") return [{ type: "text", text: input }];
  if (Array.isArray(input) && input.length > 0 && input.every(isPart)) return input as readonly Part[];
  return [{ type: "data", data: input }];
};

const KNOWN_PARTS: ReadonlySet<unknown> = new Set(["text", "file", "data"]);
const isPart = (value: unknown): boolean =>
  typeof value === "object" && value !== null && KNOWN_PARTS.has((value as { type?: unknown }).type);

/** What of a view says where its turn stands: it does not change with each piece of a message. */
export type Heard = Pick<RunView, "runId" | "input" | "queuedAt">;

/**
 * The turns of a thread in order: stored messages (oldest first) by run, then runs that have said nothing that is stored,
 * oldest first, then what was said and is on its way.
 */
export function turnsOf(
  threadId: string | null,
  messages: readonly Message[],
  runs: readonly Run[],
  heardOf: readonly Heard[],
  sends: readonly Send[],
): readonly Turn[] {
  const turns = stored(threadId, messages);
  const shown = new Set(turns.map((turn) => turn.runId));
  const views = new Map(heardOf.map((view) => [view.runId, view]));
  const last = messages.at(-1)?.created_at ?? "";
  for (const run of [...runs].reverse()) {
    const says = isAlive(run) || views.has(run.id) || run.created_at > last;
    if (run.parent !== null || shown.has(run.id) || !says) continue;
    shown.add(run.id);
    const view = views.get(run.id);
    const own = run.forked_from === null ? (run.input ?? view?.input ?? run.input_cut?.preview) : view?.input;
    turns.push(fresh(run.id, own, run.created_at));
  }
  for (const view of heardOf) {
    if (shown.has(view.runId)) continue;
    shown.add(view.runId);
    turns.push(fresh(view.runId, view.input, view.queuedAt));
  }
  for (const send of sends) {
    if (send.runId !== null && shown.has(send.runId)) continue;
    turns.push({ ...fresh(null, send.input, null), id: `send:${send.key}`, runId: send.runId });
  }
  return turns;
}

function fresh(runId: string | null, input: unknown, at: string | null): Turn {
  const user =
    input === undefined || input === null
      ? null
      : { messageId: null, parts: inputParts(input), at, sending: runId === null };
  return {
    id: `run:${runId}`,
    runId,
    user,
    messages: [],
    inherited: false,
    goesOn: false,
    voided: false,
  };
}

function stored(threadId: string | null, messages: readonly Message[]): Turn[] {
  const turns: Turn[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    const isInput = message.role === "user" && message.step_seq === null;
    if (last !== undefined && last.runId === message.run_id && !isInput) {
      turns[turns.length - 1] = {
        ...last,
        messages: [...last.messages, message],
        voided: last.voided && message.status === "void",
      };
      continue;
    }
    if (last !== undefined && !isInput) turns[turns.length - 1] = { ...last, goesOn: true };
    turns.push({
      id: `run:${message.run_id}`,
      runId: message.run_id,
      user: isInput
        ? { messageId: message.id, parts: message.parts, at: message.created_at, sending: false }
        : null,
      messages: isInput ? [] : [message],
      inherited: threadId !== null && message.thread_id !== threadId,
      goesOn: false,
      voided: message.status === "void",
    });
  }
  return turns;
}

export const isAlive = ({ status }: Pick<Run, "status">): boolean =>
  status === "queued" || status === "running" || status === "waiting";

/** Of a thread's runs (newest first), those whose events are worth to be heard: alive, the one that holds it first. */
export const toHear = (runs: readonly Run[], most: number): readonly string[] =>
  runs
    .filter((run) => run.parent === null && isAlive(run))
    .map((run) => run.id)
    .reverse()
    .slice(0, most);

const ALOUD_CHARS = 1_000;

/** The text of the last message of an agent that is whole: what is read out, instead of every piece of it. */
export function lastSaid({ views }: Conversation): string {
  let last: MessageItem | null = null;
  for (const item of [...views.values()].at(-1)?.items.values() ?? [])
    if (item.type === "message" && item.role === "assistant" && item.whole && textIn(item) !== "")
      last = item;
  return last === null ? "" : oneLine(textIn(last), ALOUD_CHARS);
}

const textIn = ({ parts }: MessageItem): string =>
  parts
    .flatMap((part) => (part.type === "text" ? [part.text] : []))
    .join(" ")
    .trim();
