/**
 * Where a question is answered. `a` goes to approving and `r` to the note of a rejection: one key never decides by
 * itself, a second press (or Enter, or Ctrl+Enter while writing) does.
 */

import { Check, Code, CornerDownLeft, X } from "lucide-react";
import { type RefObject, useEffect, useId, useRef, useState } from "react";
import { Problem } from "~/api/problem";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { SnippetDialog } from "~/builders/SnippetDialog";
import type { ApiCall } from "~/builders/snippets";
import { Button, IconButton } from "~/design/Button";
import { Kbd, Time } from "~/design/Facts";
import { Textarea } from "~/design/Field";
import { Notice } from "~/design/Pane";
import { toastError } from "~/design/Toasts";
import { useHotkeys } from "~/lib/hotkeys";
import { inert } from "~/lib/text";
import { barred, placed } from "~/transcript/deciding";
import { type Draft, EMPTY, editedArguments, isOutdated, setDraft, typed } from "./draft";
import { useResolve, type Word } from "./resolving";
import { approvalsGiven, type Refusal, refusal, whenOver } from "./words";

export interface PanelProps {
  readonly asked: Approval;
  readonly me: Me;
  readonly draft: Draft;
  readonly onDraft: (draft: Draft) => void;
  /** Its time is over, and the server is about to decide it. */
  readonly over: boolean;
  readonly editing: boolean;
  readonly onEditing: (editing: boolean) => void;
  /** Whether what is typed could be sent. */
  readonly valid: boolean;
  readonly onErrors: (errors: Readonly<Record<string, string>>) => void;
  readonly bulk: boolean;
  readonly onDone: (asked: Approval) => void;
  /** It was taken, and the question is open still. */
  readonly onCounted: () => void;
  readonly announce: (text: string) => void;
}

const NOTE_CHARS_MAX = 4_000;
/** What changed less than this ago cannot have been read. */
const READ_MS = 1_000;

type Mode = "approve" | "reject" | null;

export function DecisionPanel(props: PanelProps) {
  const { asked, me, draft, onDraft, over, editing, onEditing, valid, bulk } = props;
  const [mode, setMode] = useState<Mode>(null);
  const [code, setCode] = useState<ApiCall | null>(null);
  const note = useRef<HTMLTextAreaElement>(null);
  const yes = useRef<HTMLButtonElement>(null);
  const sending = useSending(props);
  const bar = barred(me, asked);
  const { word, lacks } = wordOf(asked, draft, valid);
  const mayApprove = bar === null && !over && lacks === null;
  const mayReject = bar?.of !== "all" && !over;
  const hasReject = asked.type !== "effect";

  const approve = (): void => {
    if (mayApprove && word !== null) sending.send(word);
    else props.announce(bar?.why ?? lacks ?? "This cannot be decided now.");
  };
  const reject = (): void => {
    if (mayReject) sending.send({ decision: "reject" });
    else props.announce(bar?.why ?? "This cannot be decided now.");
  };
  const toApprove = (): void => {
    if (mode === "approve" && document.activeElement === yes.current) {
      approve();
      return;
    }
    setMode("approve");
    if (lacks !== null && asked.type !== "tool") focusAnswer();
    else yes.current?.focus();
    props.announce(
      bar?.why ?? lacks ?? `Press Enter to ${word?.decision === "answer" ? "answer" : "approve"}.`,
    );
  };
  const toReject = (): void => {
    if (!hasReject) return;
    setMode("reject");
    note.current?.focus();
    if (bar?.of === "all") props.announce(bar.why);
  };
  useHotkeys([
    ...(bulk
      ? []
      : [
          {
            keys: "a",
            does: asked.type === "tool" ? "Approve (then ↵ or a)" : "Answer",
            group: GROUP,
            run: toApprove,
          },
          ...(hasReject ? [{ keys: "r", does: "Reject, with a note", group: GROUP, run: toReject }] : []),
        ]),
    ...(asked.type === "tool" && !over
      ? [{ keys: "e", does: "Edit the arguments", group: GROUP, run: () => onEditing(!editing) }]
      : []),
    {
      keys: "mod+enter",
      does: "Send, while writing",
      group: GROUP,
      run: () => (mode === "reject" ? reject() : approve()),
    },
  ]);
  const changed = editedArguments(draft, asked) !== undefined;
  return (
    <section
      aria-label="Decide"
      className="max-h-[45dvh] shrink-0 overflow-y-auto border-t border-line bg-surface px-4 py-3 sm:px-5"
    >
      <div className="mx-auto flex max-w-5xl flex-col gap-2.5">
        {over && (
          <Notice tone="warn" title="The time is over">
            <p>Now {whenOver(asked)}.</p>
          </Notice>
        )}
        {bar !== null && <p className="text-xs text-ink-2">{inert(bar.why)}</p>}
        {sending.refused && <Refused refused={sending.refused} />}
        <Note
          textarea={note}
          value={draft.note}
          rejecting={mode === "reject"}
          onChange={(text) => onDraft(typed(draft, asked, { note: text }))}
        />
        <div className="flex flex-wrap items-center justify-end gap-2">
          <IconButton
            label="As code"
            className="mr-auto"
            onClick={() =>
              setCode({
                method: "POST",
                path: `/v1/approvals/${asked.id}/resolve`,
                body: withNote(word ?? { decision: "reject" }, asked, draft),
              })
            }
          >
            <Code size={15} />
          </IconButton>
          {lacks !== null && mode === "approve" && <p className="text-xs text-bad">{lacks}</p>}
          {hasReject && (
            <Button
              look="danger"
              icon={<X size={14} aria-hidden />}
              disabled={!mayReject}
              busy={sending.busy === "reject"}
              onClick={() => {
                // The first press asks for a reason, the second does without.
                if (mode !== "reject" && draft.note.trim() === "") toReject();
                else reject();
              }}
            >
              {mode === "reject" && draft.note.trim() === ""
                ? "Reject without a note"
                : asked.type === "tool"
                  ? "Reject"
                  : "Refuse to answer"}
              <Hint shown={mode !== "reject"} keys="r" />
            </Button>
          )}
          <Button
            ref={yes}
            look="primary"
            icon={<Check size={14} aria-hidden />}
            disabled={bar !== null || over}
            aria-disabled={!mayApprove}
            busy={sending.busy === "approve" || sending.busy === "answer"}
            className={lacks === null ? undefined : "opacity-60"}
            onClick={() => {
              setMode("approve");
              approve();
            }}
          >
            {asked.type === "tool" ? (changed ? "Approve with changes" : "Approve") : ANSWERS[asked.type]}
            <Hint shown={mode !== "approve"} keys="a" />
          </Button>
        </div>
      </div>
      <SnippetDialog call={code} onClose={() => setCode(null)} />
    </section>
  );
}

const GROUP = "This question";

const ANSWERS: Readonly<Record<Exclude<Approval["type"], "tool">, string>> = {
  input: "Answer",
  external: "Give the result",
  effect: "Record it",
};

const Hint = ({ shown, keys }: { shown: boolean; keys: string }) => (
  <span aria-hidden className="ml-1 hidden opacity-80 sm:inline">
    {shown ? <Kbd keys={keys} /> : <CornerDownLeft size={12} className="inline" />}
  </span>
);

function focusAnswer(): void {
  const form = document.querySelector<HTMLElement>("[data-answer]");
  form?.querySelector<HTMLElement>("input, textarea, select, [contenteditable=true], button")?.focus();
}

/** What would be sent as the answer, or what it still lacks. */
function wordOf(
  asked: Approval,
  draft: Draft,
  valid: boolean,
): { readonly word: Word | null; readonly lacks: string | null } {
  const lacking = (lacks: string) => ({ word: null, lacks });
  if (!valid && (asked.type !== "tool" || draft.arguments !== undefined))
    return lacking("Something that you typed does not fit: see the fields.");
  switch (asked.type) {
    case "tool": {
      const edited = editedArguments(draft, asked);
      if (edited === undefined) return { word: { decision: "approve" }, lacks: null };
      return { word: { decision: "approve", arguments: edited as Record<string, unknown> }, lacks: null };
    }
    case "effect": {
      if (draft.outcome === null) return lacking("Say whether it happened.");
      const answer =
        draft.outcome === "committed"
          ? { outcome: draft.outcome, result: draft.answer ?? null }
          : { outcome: draft.outcome };
      return { word: { decision: "answer", answer }, lacks: null };
    }
    default: {
      const answer = draft.answer === undefined ? (asked.default ?? undefined) : draft.answer;
      if (answer === undefined || (asked.choices !== null && draft.answer === undefined))
        return lacking(asked.choices === null ? "An answer is needed." : "Choose one of the answers.");
      return { word: { decision: "answer", answer }, lacks: null };
    }
  }
}

function Note({
  textarea,
  value,
  rejecting,
  onChange,
}: {
  textarea: RefObject<HTMLTextAreaElement | null>;
  value: string;
  rejecting: boolean;
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="sr-only">
        Note
      </label>
      <Textarea
        ref={textarea}
        id={id}
        rows={rejecting || value.includes("\n") || value.length > 80 ? 3 : 1}
        maxLength={NOTE_CHARS_MAX}
        value={value}
        placeholder={
          rejecting
            ? "Why not? The agent is told, and it is kept."
            : "Note: the agent is told, and it is kept."
        }
        onChange={(event) => onChange(event.target.value)}
        className="resize-none"
      />
      {value.length > NOTE_CHARS_MAX * 0.9 && (
        <p className="text-2xs text-ink-3 tabular">
          {value.length} of {NOTE_CHARS_MAX} characters
        </p>
      )}
    </div>
  );
}

function Refused({ refused }: { refused: Refusal }) {
  return (
    <Notice alert tone="warn" title={inert(refused.title)}>
      <p>{inert(refused.text)}</p>
      {refused.decision && (
        <p className="flex flex-wrap gap-x-1.5">
          <Time at={refused.decision.at} />
          {refused.decision.note && <span dir="auto">“{inert(refused.decision.note)}”</span>}
        </p>
      )}
    </Notice>
  );
}

/** As it is sent: of the version that was seen, with the note. */
function withNote(word: Word, asked: Approval, draft: Draft): Word {
  const note = draft.note.trim();
  return { ...word, version: asked.version, ...(note === "" ? {} : { note }) };
}

interface Sending {
  readonly busy: Word["decision"] | null;
  readonly refused: Refusal | null;
  readonly send: (word: Word) => void;
}

function useSending({ asked, me, draft, onErrors, onDone, onCounted, announce }: PanelProps): Sending {
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
