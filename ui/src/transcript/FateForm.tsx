import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { Button } from "~/design/Button";
import { JsonView } from "~/design/Json";
import { Note, noted, type OpenProps } from "./openForms";

/** What became of a call that nobody knows the end of. */
export function FateForm({ approval, bar, deciding, onUnsent }: OpenProps) {
  const [note, setNote] = useState("");
  const { version } = approval;
  const say = (result: "committed" | "not_done") =>
    void deciding.decide({
      decision: "answer",
      answer: { outcome: result },
      version,
      ...noted(note),
    });
  const closed = bar !== null;
  return (
    <>
      {approval.arguments !== null && <JsonView value={approval.arguments} name="arguments.json" />}
      <p className="text-xs text-ink-2">Find out whether it was done before you say so.</p>
      <Note
        value={note}
        onChange={(next) => {
          setNote(next);
          onUnsent(next);
        }}
        hint="How it is known. It is kept."
      />
      <div className="flex flex-wrap gap-2">
        <Button busy={deciding.busy} disabled={closed} onClick={() => say("committed")}>
          It was done
        </Button>
        <Button busy={deciding.busy} disabled={closed} onClick={() => say("not_done")}>
          It was not done: do it now
        </Button>
        {approval.effect_id !== null && (
          <Link
            to="/effects"
            search={{ effect: approval.effect_id }}
            className="inline-flex h-8 items-center px-1 text-sm text-accent-text hover:underline"
          >
            Look at the effect
          </Link>
        )}
      </div>
    </>
  );
}
