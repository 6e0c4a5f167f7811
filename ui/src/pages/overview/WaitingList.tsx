/** What has waited longest for somebody. */

import { Link } from "@tanstack/react-router";
import { ShieldAlert } from "lucide-react";
import type { ApprovalRow } from "~/api/types";
import { Time } from "~/design/Facts";
import { KindIcon } from "~/design/Kind";
import { oneLine } from "~/lib/text";

export const WaitingList = ({ approvals }: { approvals: readonly ApprovalRow[] }) => (
  <ul className="divide-y divide-line">
    {approvals.map((one) => (
      <li key={one.id}>
        <Link
          to="/approvals/$approvalId"
          params={{ approvalId: one.id }}
          className="flex min-w-0 items-start gap-2.5 px-4 py-2 hover:bg-hover focus-visible:-outline-offset-2"
        >
          <span className="mt-0.5">
            {one.type === "effect" ? (
              <ShieldAlert size={14} aria-hidden className="text-bad" />
            ) : (
              <KindIcon kind={one.type === "tool" ? "tool" : "interrupt"} />
            )}
          </span>
          <span className="flex min-w-0 grow flex-col">
            <span dir="auto" className="line-clamp-2 [overflow-wrap:anywhere]">
              {oneLine(one.message, 200)}
            </span>
            <span className="truncate text-xs text-ink-3">
              {oneLine(one.agent, 40)}
              {one.reason && ` · ${oneLine(one.reason, 80)}`}
            </span>
          </span>
          <Time at={one.created_at} className="mt-0.5 shrink-0 text-xs text-ink-3" />
        </Link>
      </li>
    ))}
  </ul>
);
