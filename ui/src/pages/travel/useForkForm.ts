/** The state of the fork form, and sending it: once a click, with what the API says no to beside its field. */

import { useMutation } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { idempotencyKey, request } from "~/api/client";
import { Problem, messageOf as said } from "~/api/problem";
import type { Run } from "~/api/types";
import {
  bodyOf,
  type Change,
  changesAt,
  type Draft,
  defaultPolicy,
  messageOf,
  NO_LIMITS,
  type Place,
  placeOf,
} from "./forking";
import type { Filled } from "./retrying";
import type { Steps } from "./steps";

export type Errors = Readonly<Record<Place, string | null>>;

const NONE: Errors = {
  at: null,
  edit: null,
  instructions: null,
  model: null,
  effects: null,
  limits: null,
  tags: null,
  form: null,
};

export interface ForkForm {
  readonly draft: Draft;
  readonly errors: Errors;
  readonly isSending: boolean;
  /** Whether it says what it is meant to say: JSON that can be read, and a change where one is chosen. */
  readonly isWhole: boolean;
  readonly moveTo: (at: number) => void;
  readonly chooseChange: (change: Change) => void;
  readonly setValue: (value: unknown, error: string | null) => void;
  readonly set: (part: Partial<Draft>) => void;
  readonly submit: () => void;
  /** The request as it would be sent now. */
  readonly body: () => Record<string, unknown>;
}

/** What an edit holds until somebody writes: nothing to send for a step whose result is as recorded. */
const UNTOUCHED = Symbol("untouched");

export function useForkForm(
  run: Run,
  steps: Steps,
  filled: Filled,
  onForked: (forked: Run) => void,
): ForkForm {
  const [draft, setDraft] = useState<Draft>(() => {
    const { at, instructions = "", model = "" } = filled;
    const possible = changesAt(at, steps.at(at));
    const change = possible.find((one) => one === filled.change) ?? possible[0] ?? "nothing";
    return {
      at,
      change,
      value: change === "message" ? messageOf(run) : UNTOUCHED,
      instructions,
      model,
      policy: defaultPolicy(run.imported),
      tags: "",
      limits: NO_LIMITS,
    };
  });
  const [errors, setErrors] = useState<Errors>(NONE);
  const [unread, setUnread] = useState<string | null>(null);
  const key = useRef<{ readonly sent: string; readonly key: string } | null>(null);
  const sending = useMutation({
    mutationFn: async (sent: string): Promise<Run> => {
      if (key.current?.sent !== sent) key.current = { sent, key: idempotencyKey() };
      const answer = await request(`/v1/runs/${run.id}/fork`, {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": key.current.key },
        body: sent,
      });
      return answer.json() as Promise<Run>;
    },
    onSuccess: onForked,
    onError: (error) => setErrors(errorsOf(error)),
  });
  const change = (part: Partial<Draft>): void => {
    setDraft((before) => ({ ...before, ...part }));
    setErrors(NONE);
  };
  const restart = (at: number, chosen: Change): void => {
    setUnread(null);
    change({ at, change: chosen, value: chosen === "message" ? messageOf(run) : UNTOUCHED });
  };
  // An edit that nobody made is none: the step is kept as it is.
  const sent = (): Record<string, unknown> =>
    bodyOf(
      draft.value === UNTOUCHED && isEdit(draft.change) ? { ...draft, change: "nothing" } : draft,
      run.imported,
    );
  const changesNothing =
    draft.change === "model" && draft.instructions.trim() === "" && draft.model.trim() === "";
  return {
    draft,
    isWhole: unread === null && !changesNothing,
    errors: unread === null ? errors : { ...errors, edit: unread },
    isSending: sending.isPending,
    moveTo: (at) => {
      const possible = changesAt(at, steps.at(at));
      restart(at, (possible.includes(draft.change) ? draft.change : possible[0]) ?? "nothing");
    },
    chooseChange: (chosen) => restart(draft.at, chosen),
    setValue: (value, error) => {
      setUnread(error);
      change({ value });
    },
    set: change,
    body: sent,
    submit: () => {
      if (unread !== null || sending.isPending) return;
      if (changesNothing) {
        setErrors({ ...NONE, edit: "Write other instructions, or another model." });
        return;
      }
      sending.mutate(JSON.stringify(sent()));
    },
  };
}

const isEdit = (change: Change): boolean => change === "output" || change === "answer";

function errorsOf(error: unknown): Errors {
  if (!(error instanceof Problem)) return { ...NONE, form: said(error) };
  const places = error.body.errors ?? [];
  if (error.code !== "invalid_request" || places.length === 0) {
    const said = places.filter(({ msg }) => msg !== error.message);
    const details = said.map(({ loc, msg }) => `${within(loc)}: ${msg}`).join("; ");
    return {
      ...NONE,
      [placeOf(error.code, places[0]?.loc)]: details ? `${error.message} ${details}` : error.message,
    };
  }
  const found: Record<string, string> = {};
  for (const { loc, msg } of places) {
    const place = placeOf(error.code, loc);
    found[place] = found[place] === undefined ? msg : `${found[place]}; ${msg}`;
  }
  return { ...NONE, ...found };
}

/** Where within the edited value something is wrong. */
function within(loc: readonly (string | number)[]): string {
  const [body, edits] = loc;
  return (body === "body" && edits === "edits" ? loc.slice(3) : loc).join(".") || "value";
}
