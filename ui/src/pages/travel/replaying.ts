/** What a replay came to, in words. Pure. */

import { type Me, may } from "~/api/session";
import type { Replay } from "~/api/types";
import type { Tone } from "~/design/Badge";

export type Mode = Replay["mode"];

export const MODES: readonly { value: Mode; label: string; means: string; bold?: boolean }[] = [
  {
    value: "strict",
    label: "Code only",
    means:
      "Today's code against the record. No model, no tool, no network: it costs nothing and changes nothing.",
  },
  {
    value: "recorded_tools",
    label: "Today's model, recorded tools",
    means:
      "The model is asked anew and tools answer from the record. Makes a run to compare with; costs tokens.",
  },
  {
    value: "live",
    label: "Today's model and tools",
    means: "Everything for real, in the sandbox tenant. Needs an admin, and a sandbox that is set up.",
    bold: true,
  },
];

const SCOPES: Readonly<Record<Mode, string>> = {
  strict: "runs:read",
  recorded_tools: "runs:write",
  live: "*",
};

/** The modes, those that whoever is signed in may not use switched off. */
export const modesFor = (me: Me | undefined): readonly ((typeof MODES)[number] & { disabled: boolean })[] =>
  MODES.map((one) => ({ ...one, disabled: me !== undefined && !may(me, SCOPES[one.value]) }));

const REASONS: Readonly<Record<string, string>> = {
  prompt_changed: "The model would be asked something else.",
  step_changed: "Another step, another order, or other arguments.",
  step_added: "The run had ended here, and the code asks for one step more.",
  step_missing: "The code never asks for this recorded step.",
  outcome_changed: "All steps are the same; the output or the error is not.",
  isolated: "Code outside of steps wanted the network, a process, a database, or something alive.",
  stalled: "The code waits for something that never comes, or comes to no end.",
  limit: "The code asks for more steps than a replay may have.",
  rules_changed: "A call would be judged otherwise by today's rules.",
  answer_changed: "The model answered something else.",
  call_denied: "The code called what the recorded run did not call.",
  result_changed: "A step came to something else.",
  waiting: "The run waits for somebody where the recorded one went on.",
};

export const reasonOf = (reason: string | null): string =>
  reason === null ? "The two are not the same." : (REASONS[reason] ?? reason.replaceAll("_", " "));

export const isUnderWay = (replay: Pick<Replay, "status">): boolean => replay.status === "pending";

/** What a replay came to, in a word or two. */
export function toldOf({ status, verdict, at }: Pick<Replay, "status" | "verdict" | "at">): {
  readonly tone: Tone;
  readonly word: string;
} {
  if (status === "pending") return { tone: "info", word: "under way" };
  if (status === "failed") return { tone: "bad", word: "not found out" };
  if (verdict === "identical") return { tone: "good", word: "identical" };
  return { tone: "warn", word: at === null ? "diverged at its end" : `diverged at step ${at}` };
}
