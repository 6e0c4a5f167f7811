/** The view of a run as the blocks that a reader sees, in order: texts, calls with their results, steps, questions. */

import type { Part } from "~/api/types";
import type { Block, CallState, QuestionSeen, StepSeen, ToolCall } from "./model";
import type { Item, MessageItem, QuestionItem, RunView, StepItem } from "./runItems";
import { ownerOf } from "./runQuestions";

/** Recorded values (times, random numbers, versions of the state) say nothing to a reader of a conversation. */
const SILENT: ReadonlySet<string> = new Set(["value", "state"]);

/** `ended`: the run will say no more, so what has no result has none. `waiting`: what runs waits for somebody. */
export function blocksOf(view: RunView, ended: boolean): readonly Block[] {
  const items = [...view.items.values()].sort((a, b) => a.order - b.order);
  const found = new Finder(items);
  const blocks: Block[] = [];
  for (const item of items) {
    if (item.type === "message") blocks.push(...keptBlocks(item, found, ended));
  }
  const rest = items.filter((item) => item.type !== "message" && !found.used.has(item.id));
  return merged(items, blocks, rest, ended);
}

/** Blocks of messages stand where their message does; what belongs to none stands between them, by its own order. */
function merged(
  items: readonly Item[],
  ofMessages: readonly Block[],
  rest: readonly Item[],
  ended: boolean,
): readonly Block[] {
  const out: Block[] = [];
  const waiting = new Set(rest.map((item) => item.id));
  let at = 0;
  for (const item of items) {
    if (item.type === "message") {
      while (at < ofMessages.length && ofMessages[at]?.id.startsWith(`${item.id}.`)) {
        out.push(ofMessages[at] as Block);
        at += 1;
      }
    } else if (waiting.has(item.id)) {
      add(out, item, ended);
    }
  }
  return out;
}

function add(out: Block[], item: Exclude<Item, MessageItem>, ended: boolean): void {
  switch (item.type) {
    case "step": {
      if (SILENT.has(item.kind)) return;
      const step = stepSeen(item, ended);
      const last = out.at(-1);
      if (last?.type === "steps")
        (last.steps as StepSeen[]).push(step); // made here, and not shown yet
      else out.push({ type: "steps", id: `steps:${item.id}`, seq: item.seq, steps: [step] });
      return;
    }
    case "question":
      out.push({ type: "question", id: item.id, seq: null, question: questionSeen(item) });
      return;
    case "custom":
      out.push({ type: "custom", id: item.id, seq: item.seq, name: item.name, data: item.data });
      return;
    case "note":
      out.push({ type: "note", id: item.id, seq: null, text: item.text, tone: item.tone });
  }
}

/** Steps by what a call knows of them. */
class Finder {
  readonly used = new Set<string>();
  private readonly byCall = new Map<string, StepItem>();
  private readonly byKey = new Map<string, StepItem>();
  private readonly questions = new Map<string, QuestionItem[]>();

  constructor(items: readonly Item[]) {
    for (const item of items) {
      if (item.type === "step") {
        if (item.callId !== null) this.byCall.set(item.callId, item);
        this.byKey.set(item.key, item);
      } else if (item.type === "question") {
        const owner = ownerOf(item.key);
        this.questions.set(owner, [...(this.questions.get(owner) ?? []), item]);
      }
    }
  }

  step(callId: string | null, key: string | null): StepItem | null {
    const step =
      (callId === null ? undefined : this.byCall.get(callId)) ??
      (key === null ? undefined : this.byKey.get(key)) ??
      null;
    if (step !== null) this.used.add(step.id);
    return step;
  }

  itemsAsked(key: string | null): readonly QuestionItem[] {
    const found = key === null ? NONE : (this.questions.get(key) ?? NONE);
    for (const one of found) this.used.add(one.id);
    return found;
  }

  asked(key: string | null): readonly QuestionSeen[] {
    return this.itemsAsked(key).map(questionSeen);
  }
}

const NONE: readonly QuestionItem[] = [];

/** Blocks of a message, and what they were made of: as long as that is the same, so are they. */
interface Kept {
  readonly ended: boolean;
  readonly of: readonly unknown[];
  readonly blocks: readonly Block[];
}

const kept = new WeakMap<MessageItem, Kept>();

/** A long run is looked at with each piece that it says: what stands in it already is not made anew each time. */
function keptBlocks(message: MessageItem, found: Finder, ended: boolean): readonly Block[] {
  const of = callsOf(message).flatMap(({ callId, key }) => {
    const step = found.step(callId, key);
    return [step, ...found.itemsAsked(step?.key ?? key)];
  });
  const before = kept.get(message);
  if (
    before !== undefined &&
    before.ended === ended &&
    before.of.length === of.length &&
    before.of.every((one, index) => one === of[index])
  )
    return before.blocks;
  const blocks = messageBlocks(message, found, ended);
  kept.set(message, { ended, of, blocks });
  return blocks;
}

const callsOf = (message: MessageItem): readonly { callId: string | null; key: string | null }[] =>
  message.parts
    .filter((part) => part.type === "tool_call")
    .map((part, index) => ({ callId: part.call_id, key: callKey(message, index) }));

const callKey = (message: MessageItem, index: number): string | null =>
  message.key === null ? null : `${message.key}/${index}`;

function messageBlocks(message: MessageItem, found: Finder, ended: boolean): readonly Block[] {
  if (message.role === "user") return askedAgain(message);
  let calls = -1;
  const last = message.parts.length - 1;
  return message.parts.flatMap((part, index): readonly Block[] => {
    if (part.type === "tool_call") calls += 1;
    const id = `${message.id}.${index}`;
    const streaming = !message.whole && index === last && !ended;
    const block = partBlock(message, part, id, streaming, calls, found, ended);
    return block === null ? [] : [block];
  });
}

/** The input is shown by whoever shows the blocks. What the code told the model on the way (an output that did not fit) is a note. */
function askedAgain(message: MessageItem): readonly Block[] {
  if (message.seq === null) return [];
  const text = message.parts.flatMap((part) => (part.type === "text" ? [part.text] : [])).join(" ");
  return [
    {
      type: "note",
      id: `${message.id}.0`,
      seq: message.seq,
      text: `The model was asked again: ${text}`,
      tone: "quiet",
    },
  ];
}

function partBlock(
  message: MessageItem,
  part: Part,
  id: string,
  streaming: boolean,
  call: number,
  found: Finder,
  ended: boolean,
): Block | null {
  const { seq } = message;
  const of = message.role === "assistant" ? message.id : null;
  switch (part.type) {
    case "text":
      return part.text === "" ? null : { type: "text", id, seq, text: part.text, streaming, messageId: of };
    case "thinking":
      return part.text === "" ? null : { type: "thinking", id, seq, text: part.text, streaming };
    case "tool_call":
      return { type: "call", id, seq, call: toolCall(message, part, id, streaming, call, found, ended) };
    case "tool_result":
      return null;
    case "file":
      return { type: "file", id, seq, mediaType: part.media_type ?? null, data: part.data ?? null };
    default:
      return { type: "data", id, seq, value: "data" in part ? part.data : part };
  }
}

function toolCall(
  message: MessageItem,
  part: Extract<Part, { type: "tool_call" }>,
  id: string,
  streaming: boolean,
  index: number,
  found: Finder,
  ended: boolean,
): ToolCall {
  const key = callKey(message, index);
  const step = found.step(part.call_id, key);
  const questions = found.asked(step?.key ?? key);
  const writing = !message.whole;
  return {
    id,
    name: part.name === "" ? (step?.name ?? null) : part.name,
    arguments: writing ? null : part.arguments,
    writing: writing && typeof part.arguments === "string" ? part.arguments : null,
    state: callState(step, questions, writing && streaming, ended),
    result: step?.result,
    error: step?.error ?? null,
    startedAt: step?.startedAt ?? null,
    endedAt: step?.endedAt ?? null,
    effect: step?.effect ?? null,
    seq: step?.seq ?? null,
    questions,
    handoffTo: step?.kind === "handoff" && step.error === null ? transferTarget(step.result) : null,
  };
}

function callState(
  step: StepItem | null,
  questions: readonly QuestionSeen[],
  writing: boolean,
  ended: boolean,
): CallState {
  if (step?.endedAt != null || step?.state === "failed" || step?.state === "succeeded")
    return step.state === "failed" ? "failed" : "succeeded";
  if (step?.effect?.status === "unknown") return "unknown";
  if (ended) return "unanswered";
  if (questions.some((one) => one.status === "pending")) return "asking";
  if (step !== null) return "running";
  return writing ? "writing" : "requested";
}

const transferTarget = (result: unknown): string | null =>
  typeof result === "string" ? (/^Transferred to (.+?)\.?$/.exec(result)?.[1] ?? null) : null;

const questionSeen = (item: QuestionItem): QuestionSeen => ({
  approvalId: item.approvalId,
  key: item.key,
  type: item.asks,
  status: item.status,
  message: item.message,
});

const stepSeen = (item: StepItem, ended: boolean): StepSeen => ({
  key: item.key,
  attempt: item.attempt,
  kind: item.kind,
  name: item.name,
  state: ended && item.endedAt === null ? "stopped" : item.state,
  seq: item.seq,
  startedAt: item.startedAt,
  endedAt: item.endedAt,
  dueAt: item.dueAt,
  error: item.error,
  childRunId: item.childRunId,
  effect: item.effect,
});

/** What a run said, as text: for the clipboard. */
export const textOfBlocks = (blocks: readonly Block[]): string =>
  blocks.flatMap((block) => (block.type === "text" ? [block.text] : [])).join("\n\n");
