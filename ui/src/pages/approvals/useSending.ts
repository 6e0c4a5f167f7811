/** Sends a word on a question, unless the question changed so late that it cannot have been read. */

import { useEffect, useRef, useState } from "react";
import { Problem } from "~/api/problem";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { toastError } from "~/design/Toasts";
import { placed } from "~/transcript/deciding";
import { type Draft, EMPTY, isOutdated, setDraft } from "./draft";
import { useResolve, type Word } from "./resolving";
import { withNote } from "./word";
import { approvalsGiven, type Refusal, refusal } from "./words";

/** What changed less than this ago cannot have been read. */
const READ_MS = 1_000;

export interface SendingWanted {
  readonly asked: Approval;
  readonly me: Me;
  readonly draft: Draft;
  readonly onErrors: (errors: Readonly<Record<string, string>>) => void;
  readonly onDone: (asked: Approval) => void;
  /** It was taken, and the question is open still. */
  readonly onCounted: () => void;
  readonly announce: (text: string) => void;
}

export interface Sending {
  readonly busy: Word["decision"] | null;
  readonly refused: Refusal | null;
  readonly send: (word: Word) => void;
}

export function useSending({
  asked,
  me,
  draft,
  onErrors,
  onDone,
  onCounted,
  announce,
}: SendingWanted): Sending {
  const resolving = useResolve(asked.id);
  const [refused, setRefused] = useState<Refusal | null>(null);
  const changedAt = useChangedAt(asked.version);
  const here = useRef(true);
  useEffect(() => {
    here.current = true;
    return () => {
      here.current = false;
    };
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what was refused for a version is of the past with it
  useEffect(() => setRefused(null), [draft.version]);
  const tooSoon = (): Refusal | null => {
    if (isOutdated(draft, asked))
      return {
        title: "This changed while you were writing",
        text: "Nothing was sent. See above what changed, and choose what to do with it.",
        decision: null,
      };
    if (Date.now() - changedAt.current < READ_MS)
      return {
        title: "This changed just now",
        text: "Nothing was sent. Look at it again, then decide.",
        decision: null,
      };
    return null;
  };
  const send = (word: Word): void => {
    if (resolving.isPending) return;
    const unread = tooSoon();
    if (unread !== null) {
      setRefused(unread);
      return;
    }
    setRefused(null);
    onErrors({});
    resolving
      .mutateAsync(withNote(word, asked, draft))
      .then((after) => {
        setDraft(asked.id, EMPTY);
        if (after.status !== "pending") onDone(after);
        else if (here.current) {
          onCounted();
          announce(
            `Your approval counts: ${approvalsGiven(after)} of ${after.quorum}. Somebody else has to approve, too.`,
          );
        }
      })
      .catch((error: unknown) => {
        if (!here.current) return toastError("An answer was not taken", error);
        if (error instanceof Problem && error.status === 422) onErrors(placed(error.body.errors));
        setRefused(refusal(error, me));
      });
  };
  return { busy: resolving.isPending ? (resolving.variables?.decision ?? null) : null, refused, send };
}

/** When a question last changed under somebody's eyes; at first it has not. */
function useChangedAt(version: number): { readonly current: number } {
  const at = useRef(0);
  const seen = useRef(version);
  useEffect(() => {
    if (seen.current === version) return;
    seen.current = version;
    at.current = Date.now();
  }, [version]);
  return at;
}
