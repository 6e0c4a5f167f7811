/**
 * Where a question is answered. `a` goes to approving and `r` to the note of a rejection: one key never decides by
 * itself, a second press (or Enter, or Ctrl+Enter while writing) does.
 */

import { Check, Code, CornerDownLeft, X } from "lucide-react";
import { type RefObject, useRef, useState } from "react";
import type { Approval } from "~/api/types";
import { SnippetDialog } from "~/builders/SnippetDialog";
import type { ApiCall } from "~/builders/snippets";
import { Button, IconButton } from "~/design/Button";
import { Kbd, Time } from "~/design/Facts";
import { Notice } from "~/design/Pane";
import { useHotkeys } from "~/lib/hotkeys";
import { inert } from "~/lib/text";
import { barred } from "~/transcript/deciding";
import { type Draft, editedArguments, typed } from "./draft";
import { NoteField } from "./NoteField";
import { type SendingWanted, useSending } from "./useSending";
import { withNote, wordOf } from "./word";
import { type Refusal, whenOver } from "./words";

export interface PanelProps extends SendingWanted {
  readonly onDraft: (draft: Draft) => void;
  /** Its time is over, and the server is about to decide it. */
  readonly over: boolean;
  readonly editing: boolean;
  readonly onEditing: (editing: boolean) => void;
  /** Whether what is typed could be sent. */
  readonly valid: boolean;
  /** Several are selected: the keys are for them. */
  readonly bulk: boolean;
  /** The question with its answer: Ctrl+Enter sends from in there, and from no dialog above it. */
  readonly pane: RefObject<HTMLElement | null>;
}

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
    if (mayApprove && word !== null) {
      sending.send(word);
      return;
    }
    setMode("approve"); // what it lacks is shown then
    props.announce(bar?.why ?? lacks ?? "This cannot be decided now.");
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
      within: props.pane,
      run: () => (mode === "reject" ? reject() : approve()),
    },
  ]);
  const changed = editedArguments(draft, asked) !== undefined;
  return (
    <section
      aria-label="Decide"
      className="max-h-[45dvh] shrink-0 overflow-y-auto border-t border-line bg-surface py-3"
    >
      <div className="mx-auto flex max-w-5xl flex-col gap-2.5 px-4 sm:px-5">
        {over && (
          <Notice tone="warn" title="The time is over">
            <p>Now {whenOver(asked)}.</p>
          </Notice>
        )}
        {bar !== null && <p className="text-xs text-ink-2">{inert(bar.why)}</p>}
        {sending.refused && <Refused refused={sending.refused} />}
        <NoteField
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
