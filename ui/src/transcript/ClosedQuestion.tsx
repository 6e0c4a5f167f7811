/** A question that is decided: what was said, by whom; and what somebody here had not sent yet. */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Check, X } from "lucide-react";
import type { Approval } from "~/api/types";
import { STATUS_TONES } from "~/design/Badge";
import { CopyButton, Time } from "~/design/Facts";
import { oneLine } from "~/lib/text";
import { argumentsBrief, outcome } from "./deciding";

export function ClosedQuestion({
  approval,
  unsent,
}: {
  approval: Approval;
  /** What was written here when somebody else decided. */
  unsent: string;
}) {
  const tone = STATUS_TONES[approval.status];
  const said = approval.decisions.filter((one) => !one.void);
  const changed = said.find((one) => one.arguments !== null);
  return (
    <div className="flex min-w-0 flex-col gap-1 text-xs text-ink-2">
      {approval.type === "input" && (
        <p dir="auto" className="text-ink-2 [overflow-wrap:anywhere]">
          {oneLine(approval.message, 400)}
        </p>
      )}
      <div className="flex min-w-0 flex-wrap items-center gap-x-1.5 gap-y-0.5">
        {tone === "good" ? (
          <Check size={14} aria-hidden className="shrink-0 text-good" />
        ) : (
          <X size={14} aria-hidden className={clsx("shrink-0", tone === "bad" ? "text-bad" : "text-ink-3")} />
        )}
        <Link
          to="/approvals/$approvalId"
          params={{ approvalId: approval.id }}
          className="min-w-0 font-medium text-ink [overflow-wrap:anywhere] hover:underline"
        >
          {oneLine(outcome(approval), 200)}
        </Link>
        {changed && (
          <span dir="auto" className="min-w-0 [overflow-wrap:anywhere]">
            with {argumentsBrief(changed.arguments)}
          </span>
        )}
        <Time at={approval.resolved_at} className="text-ink-3" />
      </div>
      {approval.type !== "tool" && approval.answer !== null && (
        <p dir="auto" className="pl-5 text-sm text-ink [overflow-wrap:anywhere]">
          {argumentsBrief(approval.answer)}
        </p>
      )}
      {said.map(
        (one, index) =>
          one.note && (
            <p key={index} dir="auto" className="pl-5 [overflow-wrap:anywhere]">
              “{oneLine(one.note, 600)}”
            </p>
          ),
      )}
      {unsent !== "" && (
        <p dir="auto" className="flex min-w-0 items-start gap-1 pl-5 text-ink-3 [overflow-wrap:anywhere]">
          <span className="min-w-0">You had written, and not sent: {oneLine(unsent, 600)}</span>
          <CopyButton text={unsent} label="Copy what was not sent" />
        </p>
      )}
    </div>
  );
}
