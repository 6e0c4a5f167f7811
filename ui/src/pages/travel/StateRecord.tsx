import { Link } from "@tanstack/react-router";
import { ChevronRight } from "lucide-react";
import type { Message, RunState } from "~/api/types";
import { Status } from "~/design/Badge";
import { JsonView } from "~/design/Json";
import { KindIcon } from "~/design/Kind";
import { Panel } from "~/design/Page";
import { count, plural } from "~/lib/format";
import { brief, oneLine } from "~/lib/text";
import { outputOf } from "./forking";
import { Talk } from "./Talk";

export function Said({ state }: { state: RunState }) {
  const talk = state.messages;
  if (talk === null) return null;
  const before = talk.total - talk.data.length;
  return (
    <Panel title={`Conversation so far (${count(talk.total)})`}>
      {before > 0 && (
        <p className="mb-3 text-xs text-ink-3">{plural(before, "earlier message")} not shown here.</p>
      )}
      {talk.data.length === 0 ? (
        <p className="text-sm text-ink-3">Nothing had been said.</p>
      ) : (
        <Talk runId={state.run_id} messages={talk.data as readonly Message[]} />
      )}
    </Panel>
  );
}

type Named = NonNullable<RunState["steps"]>[number];

/** What a step came to, in one line. */
function toldOf(step: Named): string {
  if (step.output_cut) return "large";
  if (step.error !== null) return oneLine(step.error.message);
  if (step.kind === "state") return "published the state";
  return brief(outputOf(step));
}

/** A workflow's steps, by name. */
export function Recorded({ state }: { state: RunState }) {
  const steps = state.steps ?? [];
  return (
    <Panel title="Recorded so far" flush>
      {steps.length === 0 && <p className="p-4 text-sm text-ink-3">Nothing had been recorded.</p>}
      <ul className="divide-y divide-line">
        {steps.map((step) => (
          <li key={`${step.kind} ${step.name}`}>
            <details className="group">
              <summary className="flex min-h-9 cursor-pointer list-none items-center gap-2 px-4 py-1.5 hover:bg-hover">
                <ChevronRight
                  size={15}
                  aria-hidden
                  className="shrink-0 text-ink-3 transition-transform group-open:rotate-90"
                />
                <KindIcon kind={step.kind} />
                <span className="shrink-0 font-medium">{oneLine(step.name, 60)}</span>
                {step.count > 1 && (
                  <span className="shrink-0 text-xs text-ink-3 tabular">× {step.count}</span>
                )}
                <span dir="auto" className="min-w-0 grow truncate text-right text-xs text-ink-2">
                  {toldOf(step)}
                </span>
                {step.status !== "succeeded" && <Status status={step.status} quiet />}
              </summary>
              <div className="px-4 pb-3">
                {step.output_cut ? (
                  <p className="text-xs text-ink-2">
                    It is too large to be shown here:{" "}
                    <Link
                      to="/runs/$runId"
                      params={{ runId: state.run_id }}
                      search={{ view: "journal", step: step.last_seq }}
                      className="text-accent-text underline"
                    >
                      step {step.last_seq}
                    </Link>
                  </p>
                ) : (
                  <JsonView value={step.error ?? step.output} name={`${step.name}.json`} />
                )}
              </div>
            </details>
          </li>
        ))}
      </ul>
      {state.steps_more > 0 && (
        <p className="border-t border-line px-4 py-2 text-xs text-ink-3">
          {plural(state.steps_more, "more name")} not shown.
        </p>
      )}
    </Panel>
  );
}
