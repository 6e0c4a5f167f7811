/** Says what became of a call of which nobody knows. */

import { Link } from "@tanstack/react-router";
import { Code } from "lucide-react";
import { useState } from "react";
import { Problem } from "~/api/problem";
import { type Me, may } from "~/api/session";
import type { Effect } from "~/api/types";
import { SnippetDialog } from "~/builders/SnippetDialog";
import type { ApiCall } from "~/builders/snippets";
import { Button } from "~/design/Button";
import { Field, Textarea } from "~/design/Field";
import { Notice } from "~/design/Pane";
import { toast } from "~/design/Toasts";
import { inert } from "~/lib/text";
import { placed } from "~/transcript/deciding";
import type { Outcome as Word } from "../approvals/draft";
import { type Outcome, useOutcome } from "./ledger";
import { OutcomeFields } from "./OutcomeFields";
import { type Refusal, refusal } from "./words";

export function ResolveEffect({
  effect,
  me,
  questionId,
  onResolved,
}: {
  effect: Effect;
  me: Me;
  /** The open question about it, in the inbox. */
  questionId: string | undefined;
  onResolved: () => void;
}) {
  const [outcome, setOutcome] = useState<Word | null>(null);
  const [result, setResult] = useState<unknown>(undefined);
  const [note, setNote] = useState("");
  const [valid, setValid] = useState(true);
  const [refused, setRefused] = useState<Refusal | null>(null);
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});
  const [code, setCode] = useState<ApiCall | null>(null);
  const resolving = useOutcome(effect.id);
  const allowed = may(me, "effects:write");
  const word = (said: Word): Outcome => ({
    outcome: said,
    ...(said === "committed" ? { result: result ?? null } : {}),
    ...(note.trim() === "" ? {} : { note: note.trim() }),
  });
  const send = (): void => {
    if (outcome === null || resolving.isPending) return;
    setRefused(null);
    setErrors({});
    resolving
      .mutateAsync(word(outcome))
      .then((after) => {
        onResolved();
        toast(`${effect.tool}: ${after.status === "committed" ? "it happened" : "it did not happen"}`);
      })
      .catch((error: unknown) => {
        if (error instanceof Problem && error.status === 422) setErrors(placed(error.body.errors));
        setRefused(refusal(error));
      });
  };
  return (
    <section
      aria-label="Say what became of it"
      className="flex min-w-0 flex-col gap-3 rounded-lg border border-line-2 bg-surface p-4"
    >
      <div>
        <h3 className="font-semibold">Did it happen?</h3>
        {effect.error && (
          <p dir="auto" className="mt-0.5 text-xs text-ink-2 [overflow-wrap:anywhere]">
            {inert((effect.error.message ?? "").slice(0, 2_000))}
          </p>
        )}
        <p className="mt-0.5 text-xs text-ink-2">
          Look at the other side, by the key{effect.provider_ref !== null && " or the reference"} below; then
          say so here
          {questionId !== undefined && (
            <>
              {" "}
              or{" "}
              <Link
                to="/approvals/$approvalId"
                params={{ approvalId: questionId }}
                className="rounded-sm text-accent-text underline"
              >
                in the inbox
              </Link>
            </>
          )}
          .{" "}
          {effect.run_ended
            ? "Its run has ended: nothing waits for it."
            : "Its run waits as long as it takes."}
        </p>
      </div>
      <OutcomeFields
        tool={effect.tool}
        schema={effect.run_ended ? null : effect.result_schema}
        effect={effect}
        outcome={outcome}
        result={result}
        onOutcome={setOutcome}
        onResult={setResult}
        errors={errors}
        onValid={setValid}
      />
      <Field label="Note" hint="It is kept.">
        {(a11y) => (
          <Textarea
            {...a11y}
            rows={1}
            maxLength={4_000}
            value={note}
            onChange={(event) => setNote(event.target.value)}
          />
        )}
      </Field>
      {refused && (
        <Notice alert tone="warn" title={inert(refused.title)}>
          <p>{inert(refused.text)}</p>
        </Notice>
      )}
      {!allowed && <p className="text-xs text-ink-2">Your key may read effects, not resolve them.</p>}
      <div className="flex flex-wrap justify-end gap-2">
        <Button
          icon={<Code size={14} aria-hidden />}
          disabled={outcome === null}
          onClick={() =>
            outcome !== null &&
            setCode({ method: "POST", path: `/v1/effects/${effect.id}/resolve`, body: word(outcome) })
          }
        >
          As code
        </Button>
        <Button
          look="primary"
          busy={resolving.isPending}
          disabled={outcome === null || !allowed || !valid}
          onClick={send}
        >
          {outcome === "not_done" && !effect.run_ended ? "Record it, and call again" : "Record it"}
        </Button>
      </div>
      <SnippetDialog call={code} onClose={() => setCode(null)} />
    </section>
  );
}
