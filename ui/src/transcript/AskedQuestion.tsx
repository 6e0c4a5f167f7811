/** What a question asks, of whom, and until when. */

import { CircleHelp, Clock, ShieldQuestion } from "lucide-react";
import type { ReactNode } from "react";
import type { Approval } from "~/api/types";
import { Time } from "~/design/Facts";
import { oneLine } from "~/lib/text";
import { rolesText } from "./deciding";

/** What happens when nobody answers. */
const EXPIRIES: Readonly<Record<Approval["on_expiry"], string>> = {
  reject: "is rejected",
  approve: "is approved",
  escalate: "asks others",
  default: "takes the default",
};

export function AskedQuestion({ approval }: { approval: Approval }) {
  const Icon = approval.type === "tool" ? ShieldQuestion : CircleHelp;
  const facts: ReactNode[] = [];
  if (approval.quorum > 1)
    facts.push(`${approval.decisions.filter((one) => !one.void).length} of ${approval.quorum} approvals`);
  if (approval.may_decide.length > 0) facts.push(`asks ${rolesText(approval.may_decide)}`);
  if (approval.four_eyes) facts.push("four eyes");
  if (approval.escalated) facts.push("escalated");
  return (
    <div className="flex min-w-0 gap-2">
      <Icon size={16} aria-hidden className="mt-0.5 shrink-0 text-ask" />
      <div className="min-w-0 grow">
        <p dir="auto" className="font-medium text-ink [overflow-wrap:anywhere]">
          {approval.message.length > 2_000 ? `${approval.message.slice(0, 2_000)}…` : approval.message}
        </p>
        <p className="mt-0.5 flex flex-wrap items-center gap-x-2 text-xs text-ink-2">
          {approval.reason && (
            <span dir="auto" className="[overflow-wrap:anywhere]">
              {oneLine(approval.reason, 300)}
            </span>
          )}
          {facts.map((fact, index) => (
            <span key={index}>· {fact}</span>
          ))}
          {approval.expires_at !== null && (
            <span className="inline-flex items-center gap-1 text-ink-3">
              <Clock size={12} aria-hidden /> {EXPIRIES[approval.on_expiry]} <Time at={approval.expires_at} />
            </span>
          )}
        </p>
      </div>
    </div>
  );
}
