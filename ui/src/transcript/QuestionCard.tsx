/**
 * A question that a run asks of people: leave for a call, an answer, a result from outside, or what became of an effect.
 * It is answered where it stands; when somebody else is faster it turns into what they said.
 */

import clsx from "clsx";
import { useState } from "react";
import { Problem } from "~/api/problem";
import { useMe } from "~/api/session";
import { Skeleton } from "~/design/States";
import { oneLine } from "~/lib/text";
import { AnswerForm } from "./AnswerForm";
import { AskedQuestion } from "./AskedQuestion";
import { ClosedQuestion } from "./ClosedQuestion";
import { barred } from "./deciding";
import { FateForm } from "./FateForm";
import { LeaveForm } from "./LeaveForm";
import type { OpenProps } from "./openForms";
import { useDecide, useQuestion } from "./useQuestion";

export function QuestionCard({
  approvalId,
  bare = false,
}: {
  approvalId: string;
  /** Without a frame: inside of the card of its call. */
  bare?: boolean;
}) {
  const asked = useQuestion(approvalId);
  const me = useMe();
  const deciding = useDecide(approvalId);
  const [unsent, setUnsent] = useState("");
  const frame = clsx("min-w-0", !bare && "rounded-md border border-line bg-surface p-3");
  if (asked.data === undefined) {
    if (!asked.isError) return <Skeleton className="h-24 w-full" />;
    const gone = asked.error instanceof Problem && asked.error.status === 403;
    return (
      <p className={clsx(frame, "text-xs text-ink-2")}>
        {gone
          ? "A question that you may not see."
          : `The question could not be loaded: ${asked.error.message}`}
      </p>
    );
  }
  const approval = asked.data;
  return (
    <div
      role="group"
      className={frame}
      aria-label={
        approval.status === "pending" ? `Question: ${oneLine(approval.message, 100)}` : "A question"
      }
    >
      {approval.status === "pending" ? (
        <Open approval={approval} bar={barred(me.data, approval)} deciding={deciding} onUnsent={setUnsent} />
      ) : (
        <ClosedQuestion approval={approval} unsent={deciding.taken ? "" : unsent.trim()} />
      )}
      <p
        role="status"
        aria-live="polite"
        className={clsx(deciding.refusal !== null && "mt-2 text-xs text-bad")}
      >
        {deciding.refusal}
      </p>
    </div>
  );
}

const FORMS = { tool: LeaveForm, effect: FateForm, input: AnswerForm, external: AnswerForm } as const;

/** What is written in it stays when the question changes: somebody else approved, too, or it was passed on. */
function Open(props: OpenProps) {
  const { approval, bar } = props;
  const Form = FORMS[approval.type] ?? AnswerForm;
  return (
    <div className="flex min-w-0 flex-col gap-2.5">
      <AskedQuestion approval={approval} />
      {bar !== null && <p className="rounded-md bg-mute-soft px-2.5 py-1.5 text-xs text-ink-2">{bar.why}</p>}
      <Form {...props} />
    </div>
  );
}
