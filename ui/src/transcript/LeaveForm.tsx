import { Check, Pencil, X } from "lucide-react";
import { useState } from "react";
import type { Approval } from "~/api/types";
import { Button } from "~/design/Button";
import { JsonView, written } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { SchemaForm } from "~/design/SchemaForm";
import { same } from "~/design/schema";
import { Note, noted, type OpenProps } from "./openForms";

type Mode = "ask" | "edit" | "reject";

/** What somebody writes before they decide, and the question as it was when they began. */
interface Draft {
  readonly mode: Mode;
  readonly note: string;
  readonly edited: unknown;
  readonly version: number;
}

const begun = (approval: Approval, mode: Mode): Draft => ({
  mode,
  note: "",
  edited: approval.arguments,
  version: approval.version,
});

/** Leave for a call: yes, yes with other arguments, or no. */
export function LeaveForm({ approval, bar, deciding, onUnsent }: OpenProps) {
  const [draft, setDraft] = useState(() => begun(approval, "ask"));
  const [valid, setValid] = useState(true);
  const { mode, note } = draft;
  const { version } = approval;
  const change = (next: Draft): void => {
    setDraft(next);
    const changed = next.mode === "edit" && !same(next.edited, approval.arguments);
    onUnsent([next.note, ...(changed ? [written(next.edited)] : [])].filter((one) => one !== "").join("\n"));
  };
  const turn = (to: Mode): void => change(begun(approval, to));
  const approve = (): void =>
    deciding.decide(
      {
        decision: "approve",
        version,
        ...noted(note),
        ...(mode === "edit" ? { arguments: draft.edited as Record<string, unknown> } : {}),
      },
      () => turn("ask"),
    );
  const reject = (): void =>
    deciding.decide({ decision: "reject", version, ...noted(note) }, () => turn("ask"));
  const closed = bar?.of === "all";
  const noApproval = closed || bar?.of === "approve";
  return (
    <>
      {mode !== "ask" && draft.version !== version && (
        <p role="status" className="rounded-md bg-warn-soft px-2.5 py-1.5 text-xs text-ink-2">
          The question changed while you were writing. What you wrote is kept; it is judged against what is
          asked now.
        </p>
      )}
      {mode !== "edit" && approval.arguments !== null && (
        <JsonView value={approval.arguments} name="arguments.json" />
      )}
      {mode === "edit" && (
        <>
          <SchemaForm
            schema={approval.schema}
            value={draft.edited}
            original={approval.arguments}
            onChange={(edited) => change({ ...draft, edited })}
            onValid={setValid}
            errors={deciding.errors}
            label="Arguments"
          />
          <JsonDiff
            before={approval.arguments}
            after={draft.edited}
            same="Nothing is changed yet."
            label="Changes"
          />
        </>
      )}
      {mode !== "ask" && (
        <Note
          value={note}
          onChange={(next) => change({ ...draft, note: next })}
          hint="The model is told, and it is kept with the decision."
        />
      )}
      <div className="flex flex-wrap items-center gap-2">
        {mode !== "reject" && (
          <Button
            look="primary"
            busy={deciding.busy}
            disabled={noApproval || (mode === "edit" && !valid)}
            onClick={approve}
            icon={<Check size={14} />}
          >
            {mode === "edit" ? "Approve with these" : "Approve"}
          </Button>
        )}
        {mode === "ask" && (
          <>
            <Button disabled={closed || deciding.busy} onClick={() => turn("reject")} icon={<X size={14} />}>
              Reject…
            </Button>
            <Button
              look="quiet"
              disabled={noApproval || deciding.busy}
              onClick={() => turn("edit")}
              icon={<Pencil size={14} />}
            >
              Edit arguments
            </Button>
          </>
        )}
        {mode === "reject" && (
          <Button
            look="danger"
            busy={deciding.busy}
            disabled={closed}
            onClick={reject}
            icon={<X size={14} />}
          >
            Reject
          </Button>
        )}
        {mode !== "ask" && (
          <Button look="quiet" disabled={deciding.busy} onClick={() => turn("ask")}>
            Back
          </Button>
        )}
      </div>
    </>
  );
}
