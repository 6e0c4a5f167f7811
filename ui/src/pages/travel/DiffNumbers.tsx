/** What each of two runs took, and the calls that only one of them made. */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Minus } from "lucide-react";
import type { ReactNode } from "react";
import type { Diff } from "~/api/types";
import { Status } from "~/design/Badge";
import { KindIcon } from "~/design/Kind";
import { Panel } from "~/design/Page";
import { plural } from "~/lib/format";
import { brief, oneLine } from "~/lib/text";
import { LETTERS, Letter } from "./DiffSides";
import { measuresOf } from "./differing";

export function Numbers({ diff }: { diff: Diff }) {
  return (
    <Panel title="What each took" flush>
      <table className="w-full text-sm tabular">
        <thead>
          <tr className="text-left text-xs text-ink-3">
            <th scope="col" className="px-4 py-1.5 font-medium">
              <span className="sr-only">What</span>
            </th>
            <th scope="col" className="px-2 py-1.5 text-right font-medium">
              <Letter of={0} />
            </th>
            <th scope="col" className="px-2 py-1.5 text-right font-medium">
              <Letter of={1} />
            </th>
            <th scope="col" className="py-1.5 pl-2 pr-4 text-right font-medium">
              B against A
            </th>
          </tr>
        </thead>
        <tbody className="divide-y divide-line border-t border-line">
          {measuresOf(diff).map((measure) => (
            <tr key={measure.name}>
              <th scope="row" className="px-4 py-1.5 text-left text-xs font-normal text-ink-2">
                {measure.name}
              </th>
              <td className="px-2 py-1.5 text-right">{measure.one}</td>
              <td className="px-2 py-1.5 text-right">{measure.two}</td>
              <td
                className={clsx(
                  "py-1.5 pl-2 pr-4 text-right",
                  measure.sign === 0 ? "text-ink-3" : "font-medium",
                )}
              >
                {measure.more}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p className="border-t border-line px-4 py-2 text-xs text-ink-3">
        Of the whole way to this step, shared steps included.
      </p>
    </Panel>
  );
}

export function Calls({ diff }: { diff: Diff }) {
  const { calls_only_this: one, calls_only_other: two } = diff;
  if (one.data.length + two.data.length === 0) return null;
  return (
    <Panel title="Calls that only one made" flush>
      <CallList calls={one} of={0} runId={diff.this.run_id} />
      <CallList calls={two} of={1} runId={diff.other.run_id} />
    </Panel>
  );
}

function CallList({
  calls,
  of,
  runId,
}: {
  calls: Diff["calls_only_this"];
  of: 0 | 1;
  runId: string;
}): ReactNode {
  if (calls.data.length === 0) return null;
  return (
    <ul aria-label={`Only in ${LETTERS[of]}`} className="divide-y divide-line border-line [&+&]:border-t">
      {calls.data.map((call) => (
        <li key={call.key}>
          <Link
            to="/runs/$runId"
            params={{ runId }}
            search={{ view: "journal", step: call.seq }}
            className="flex min-h-9 items-center gap-2 px-4 py-1.5 hover:bg-hover focus-visible:-outline-offset-2"
          >
            <Letter of={of} />
            <KindIcon kind={call.kind} />
            <span className="shrink-0 font-medium">{oneLine(call.name, 40)}</span>
            <span dir="auto" className="min-w-0 grow truncate font-mono text-xs text-ink-2">
              {brief(call.arguments)}
            </span>
            {call.status !== "succeeded" && <Status status={call.status} quiet />}
          </Link>
        </li>
      ))}
      {calls.more > 0 && (
        <li className="flex items-center gap-2 px-4 py-2 text-xs text-ink-3">
          <Minus size={12} aria-hidden /> {plural(calls.more, "more", "more")} not shown
        </li>
      )}
    </ul>
  );
}
