/** What a transcript is made of, whoever shows it: plain values, without a word about where they came from. */

/** The state of a call, as far as it is known. `unanswered`: its run ended before there was a result. */
export type CallState =
  | "writing"
  | "requested"
  | "asking"
  | "running"
  | "succeeded"
  | "failed"
  | "unknown"
  | "unanswered";

export interface EffectSeen {
  readonly id: string | null;
  readonly effectClass: string | null;
  readonly status: string | null;
}

/** A question that a run asked of people. Its card fetches the rest by its id. */
export interface QuestionSeen {
  readonly approvalId: string;
  readonly key: string;
  readonly type: string;
  readonly status: string;
  readonly message: string | null;
}

/** A call of a tool by a model, with what became of it. */
export interface ToolCall {
  readonly id: string;
  /** Null while the model still writes the call. */
  readonly name: string | null;
  readonly arguments: unknown;
  /** The arguments as far as they were written; null when they are whole. */
  readonly writing: string | null;
  readonly state: CallState;
  readonly result: unknown;
  readonly error: string | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly effect: EffectSeen | null;
  /** The step that recorded the result. */
  readonly seq: number | null;
  readonly questions: readonly QuestionSeen[];
  /** The agent that took over, if the call was a hand-off that happened. */
  readonly handoffTo: string | null;
}

export type StepState = "running" | "waiting" | "succeeded" | "failed" | "stopped";

/** A step of a workflow: something that its code did, and no model asked for. */
export interface StepSeen {
  readonly key: string;
  readonly attempt: number;
  readonly kind: string;
  readonly name: string;
  readonly state: StepState;
  readonly seq: number | null;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly dueAt: string | null;
  readonly error: string | null;
  readonly childRunId: string | null;
  readonly effect: EffectSeen | null;
}

interface Placed {
  /** Stays the same while the block grows, and when it is read from history instead of events. */
  readonly id: string;
  /** The step that recorded it, for a link into the run. */
  readonly seq: number | null;
}

export type Block =
  | (Placed & {
      readonly type: "text";
      readonly text: string;
      readonly streaming: boolean;
      /** The message that it is a part of, and whether it is the last text of that message: there it can be given anew. */
      readonly messageId: string | null;
    })
  | (Placed & {
      readonly type: "thinking";
      readonly text: string;
      readonly streaming: boolean;
    })
  | (Placed & { readonly type: "call"; readonly call: ToolCall })
  | (Placed & { readonly type: "steps"; readonly steps: readonly StepSeen[] })
  | (Placed & { readonly type: "question"; readonly question: QuestionSeen })
  | (Placed & { readonly type: "file"; readonly mediaType: string | null; readonly data: string | null })
  | (Placed & { readonly type: "data"; readonly value: unknown })
  | (Placed & {
      readonly type: "custom";
      readonly name: string;
      /** Undefined when it was read from a list of steps: then it is fetched by `seq`. */
      readonly data: unknown;
    })
  | (Placed & { readonly type: "note"; readonly text: string; readonly tone: "quiet" | "warn" });
