import { Link } from "@tanstack/react-router";
import type { Run, RunState } from "~/api/types";
import { Status } from "~/design/Badge";
import { Fact, Time, UsageFacts } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { KindIcon } from "~/design/Kind";
import { Panel } from "~/design/Page";
import { Skeleton } from "~/design/States";
import { inert, oneLine } from "~/lib/text";
import { isLost } from "./lost";
import { useStateAt } from "./useStateAt";

export function Standing({ state }: { state: RunState }) {
  return (
    <Panel title="Where it stood">
      <dl className="grid grid-cols-2 gap-3">
        <Fact label="Status">
          <Status status={state.status} quiet />
        </Fact>
        <Fact label="Acting">{inert(state.acting_agent)}</Fact>
        <Fact label="Used until then">
          <UsageFacts usage={state.usage} />
        </Fact>
        <Fact label={state.position.some((place) => place.open) ? "Under way" : "Last ended"}>
          {state.position.length === 0 && <span className="text-ink-3">nothing</span>}
          <ul className="flex flex-col gap-0.5">
            {state.position.map((place) => (
              <li key={place.key} className="flex min-w-0 items-center gap-1.5" title={place.key}>
                <KindIcon kind={place.kind} />
                <span className="truncate">{oneLine(place.name, 60)}</span>
                {place.since !== null && <Time at={place.since} className="text-xs text-ink-3" />}
              </li>
            ))}
          </ul>
        </Fact>
      </dl>
      {state.output !== null && state.output !== undefined && (
        <div className="mt-3">
          <div className="mb-1 text-2xs font-medium uppercase tracking-wide text-ink-3">Output</div>
          {typeof state.output === "string" ? (
            <p dir="auto" className="whitespace-pre-wrap text-sm [overflow-wrap:anywhere]">
              {inert(state.output.slice(0, 4_000))}
            </p>
          ) : (
            <JsonView value={state.output} name="output.json" />
          )}
        </div>
      )}
    </Panel>
  );
}

const CALL_WORDS: Readonly<Record<string, string>> = {
  planned: "chosen, not begun",
  asked: "waits for somebody",
  started: "under way",
};

/** What had been begun and had no end yet. */
export function Open({ state }: { state: RunState }) {
  const calls = state.pending_calls ?? [];
  if (calls.length === 0 && state.interrupts.length === 0) return null;
  return (
    <Panel title="Open at this step">
      <ul className="flex flex-col gap-3">
        {calls.map((call) => (
          <li key={call.key} className="min-w-0">
            <div className="mb-1 flex items-center gap-1.5">
              <KindIcon kind="tool" />
              <span className="truncate font-medium">{oneLine(call.name, 60)}</span>
              <span className="text-xs text-ink-3">{CALL_WORDS[call.status] ?? call.status}</span>
            </div>
            <JsonView value={call.arguments} name={`${call.name}.json`} />
          </li>
        ))}
        {state.interrupts.map((question) => (
          <li key={question.key} className="min-w-0">
            <div className="flex items-center gap-1.5">
              <KindIcon kind="interrupt" />
              <span dir="auto" className="min-w-0 grow font-medium [overflow-wrap:anywhere]">
                {oneLine(question.message ?? question.tool ?? "A question", 300)}
              </span>
            </div>
            <div className="mt-0.5 flex flex-wrap gap-x-2 pl-5 text-xs text-ink-2">
              {question.reason && <span dir="auto">{inert(question.reason)}</span>}
              <span className="text-ink-3">
                asked <Time at={question.opened_at} />
              </span>
              {question.approval_id && (
                <Link
                  to="/approvals/$approvalId"
                  params={{ approvalId: question.approval_id }}
                  className="text-accent-text underline"
                >
                  what was decided
                </Link>
              )}
            </div>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

export function Published({ run, state }: { run: Run; state: RunState }) {
  const { version, value, seq, run_id } = state.state;
  const made = seq === state.at && run_id === state.run_id;
  return (
    <Panel
      title="Published state"
      actions={version > 0 && <span className="text-xs text-ink-3 tabular">version {version}</span>}
    >
      {version === 0 ? (
        <p className="text-sm text-ink-3">
          None yet. Code publishes one with <code className="font-mono text-xs">ctx.state</code>.
        </p>
      ) : (
        <div className="flex flex-col gap-3">
          {made && <Patch run={run} seq={state.at} value={value} />}
          <JsonView value={value} name="state.json" />
        </div>
      )}
    </Panel>
  );
}

/** What the step at hand changed in the published state. */
function Patch({ run, seq, value }: { run: Run; seq: number; value: unknown }) {
  const before = useStateAt(run.id, seq - 1);
  if (isLost(before)) return null;
  if (before.data === undefined || before.data.at !== seq - 1) return <Skeleton className="h-10 w-full" />;
  return (
    <div>
      <h3 className="mb-1.5 text-xs font-medium text-ink-2">Changed by this step</h3>
      <JsonDiff
        before={before.data.state.value}
        after={value}
        label="What this step changed"
        same="It was published again as it was."
      />
    </div>
  );
}
