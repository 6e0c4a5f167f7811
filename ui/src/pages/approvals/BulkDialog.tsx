import clsx from "clsx";
import { Check, LoaderCircle, Minus, X } from "lucide-react";
import { useState } from "react";
import type { Me } from "~/api/session";
import type { Approval, ApprovalRow } from "~/api/types";
import { Button } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { Field, Textarea } from "~/design/Field";
import { plural } from "~/lib/format";
import { inert, oneLine } from "~/lib/text";
import { type BulkItem, type BulkWord, bulkItems, isOpen, sendAll } from "./bulk";
import { gist, subject } from "./words";

/** One word for several questions: what will be sent, how far it is, and what became of each. */
export function BulkDialog({
  rows,
  word,
  me,
  onSettled,
  onClose,
}: {
  rows: readonly ApprovalRow[];
  word: BulkWord;
  me: Me;
  onSettled: (asked: readonly Approval[]) => void;
  onClose: () => void;
}) {
  const [items, setItems] = useState(() => bulkItems(rows, word, me));
  const [note, setNote] = useState("");
  const [state, setState] = useState<"asking" | "sending" | "over">("asking");
  const open = items.filter(isOpen).length;
  const done = items.filter((one) => one.state === "done").length;
  const failed = items.filter((one) => one.state === "failed").length;
  const refused = items.filter((one) => one.state === "refused").length;
  const send = async (): Promise<void> => {
    setState("sending");
    const settled: Approval[] = [];
    await sendAll(items, word, note, (item, after) => {
      setItems((before) => before.map((one) => (one.row.id === item.row.id ? item : one)));
      if (after !== null) settled.push(after);
    });
    onSettled(settled);
    setState("over");
  };
  const verb = word === "approve" ? "Approve" : "Reject";
  return (
    <Dialog
      open
      onClose={() => state !== "sending" && onClose()}
      title={`${verb} ${plural(items.length, "question")}`}
      description={
        word === "approve"
          ? "Each call is made as it was asked, with exactly these arguments."
          : "None of the calls is made; the agents are told so, with the note."
      }
      footer={
        state === "over" ? (
          <>
            {failed > 0 && <Button onClick={() => void send()}>Try {failed} again</Button>}
            <Button key="close" look="primary" autoFocus onClick={onClose}>
              Close
            </Button>
          </>
        ) : (
          <>
            <Button onClick={onClose} disabled={state === "sending"}>
              Cancel
            </Button>
            <Button
              look={word === "approve" ? "primary" : "danger"}
              busy={state === "sending"}
              disabled={open === 0}
              onClick={() => void send()}
            >
              {verb} {open}
            </Button>
          </>
        )
      }
    >
      <div className="flex flex-col gap-3">
        <Field label="Note for all of them" hint="The agents are told, and it is kept.">
          {(a11y) => (
            <Textarea
              {...a11y}
              rows={2}
              autoFocus
              maxLength={4_000}
              disabled={state !== "asking"}
              value={note}
              onChange={(event) => setNote(event.target.value)}
              onKeyDown={(event) => {
                if (event.key !== "Enter" || !(event.metaKey || event.ctrlKey) || open === 0) return;
                event.preventDefault();
                event.stopPropagation();
                void send();
              }}
            />
          )}
        </Field>
        <p role="status" className="text-xs text-ink-2">
          {state !== "asking" &&
            `${done} of ${items.length} done${refused > 0 ? `, ${refused} not taken` : ""}${failed > 0 ? `, ${failed} failed` : ""}.`}
        </p>
        <ul
          aria-label="The questions"
          tabIndex={0}
          className="max-h-[40dvh] divide-y divide-line overflow-y-auto rounded-md border border-line"
        >
          {items.map((item) => (
            <Item key={item.row.id} item={item} />
          ))}
        </ul>
      </div>
    </Dialog>
  );
}

function Item({ item: { row, state, said } }: { item: BulkItem }) {
  return (
    <li className="flex min-w-0 gap-2.5 px-3 py-2">
      <span aria-hidden className="mt-0.5 flex size-4 shrink-0 items-center justify-center">
        {state === "done" ? (
          <Check size={14} className="text-good" />
        ) : state === "failed" || state === "refused" ? (
          <X size={14} className="text-bad" />
        ) : state === "sending" ? (
          <LoaderCircle size={14} className="animate-spin text-ink-3" />
        ) : (
          <Minus size={14} className="text-ink-3" />
        )}
      </span>
      <div className="min-w-0 grow">
        <p className="truncate">
          <span className="font-medium">{inert(subject(row))}</span>{" "}
          <span className="text-xs text-ink-2">{inert(row.agent)}</span>
        </p>
        <p dir="auto" className="truncate text-xs text-ink-2">
          {gist(row)}
        </p>
        {said !== null && (
          <p
            className={clsx("text-xs", state === "failed" || state === "refused" ? "text-bad" : "text-ink-3")}
          >
            {oneLine(said, 300)}
          </p>
        )}
      </div>
    </li>
  );
}
