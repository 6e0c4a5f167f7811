import { Link } from "@tanstack/react-router";
import { ChevronDown, MessageSquare } from "lucide-react";
import { useState } from "react";
import { useMe } from "~/api/session";
import { hasEnded, type Run } from "~/api/types";
import { Badge } from "~/design/Badge";
import { Button } from "~/design/Button";
import { CopyButton, Elapsed, Fact, Id, Time } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { cost, count, plural } from "~/lib/format";
import { inert } from "~/lib/text";

const ATTEMPT = "It rises each time a worker takes the run up, and each time it is taken from one.";
const LINK = "text-accent-text underline-offset-2 hover:underline";

/** The facts that matter in one line; all of them on demand. */
export function RunFacts({ run, below, steps }: { run: Run; below: readonly string[]; steps: number }) {
  const [all, setAll] = useState(false);
  const tokens = run.usage.input_tokens + run.usage.output_tokens;
  return (
    <section aria-label="Facts of the run" className="shrink-0 border-b border-line bg-surface px-4 sm:px-5">
      <div className="flex min-h-9 flex-wrap items-center gap-x-4 gap-y-1 py-1.5 text-xs text-ink-2">
        <span className="inline-flex items-center gap-1">
          <Link to="/agents/$agentId" params={{ agentId: run.acting_agent }} className={LINK}>
            {run.acting_agent}
          </Link>
          <Link
            to="/agents/$agentId"
            params={{ agentId: run.agent }}
            search={{ version: run.agent_version }}
            title={`version ${run.agent_version}`}
            className="font-mono text-2xs text-ink-3 hover:underline"
          >
            {run.agent_version.slice(0, 8)}
          </Link>
        </span>
        <span>
          started <Time at={run.started_at ?? run.created_at} className="text-ink" />
        </span>
        <span>
          took <Elapsed from={run.created_at} to={run.ended_at} className="text-ink" />
        </span>
        <span className="tabular">
          <span className="text-ink">{count(steps)}</span> {steps === 1 ? "step" : "steps"}
        </span>
        {run.usage.requests > 0 && (
          <span
            className="tabular"
            title={`${plural(run.usage.requests, "model call")} · ${count(run.usage.input_tokens)} tokens in · ${count(run.usage.output_tokens)} out`}
          >
            <span className="text-ink">{count(tokens)}</span> tokens ·{" "}
            <span className="text-ink">{cost(run.usage.cost_micros, run.usage.priced)}</span>
          </span>
        )}
        <Link
          to="/chat/$threadId"
          params={{ threadId: run.thread_id }}
          className={`inline-flex items-center gap-1 ${LINK}`}
        >
          <MessageSquare size={12} aria-hidden />
          thread
        </Link>
        {run.parent && (
          <Link to="/runs/$runId" params={{ runId: run.parent.run_id }} className={LINK}>
            parent run
          </Link>
        )}
        {run.forked_from && (
          <span>
            fork of{" "}
            <Link
              to="/runs/$runId"
              params={{ runId: run.forked_from.run_id }}
              search={{ step: run.forked_from.at }}
              className={LINK}
            >
              step {run.forked_from.at} of <Id id={run.forked_from.run_id} className="!text-inherit" />
            </Link>
            {" · "}
            <Link
              to="/runs/$runId/diff/$otherId"
              params={{ runId: run.forked_from.run_id, otherId: run.id }}
              className={LINK}
            >
              compare
            </Link>
          </span>
        )}
        {below.length > 0 && (
          <Link to="/runs" search={{ parent: run.id }} className={LINK}>
            {plural(below.length, "child run")}
          </Link>
        )}
        {run.successor_id && (
          <Link to="/runs/$runId" params={{ runId: run.successor_id }} className={LINK}>
            goes on in another run
          </Link>
        )}
        {run.tags.map((tag) => (
          <Link key={tag} to="/runs" search={{ tag }} title={`Runs with the tag ${tag}`}>
            <Badge>{inert(tag)}</Badge>
          </Link>
        ))}
        <Button look="quiet" size="sm" aria-expanded={all} onClick={() => setAll(!all)} className="ml-auto">
          Details
          <ChevronDown size={13} aria-hidden className={all ? "rotate-180" : undefined} />
        </Button>
      </div>
      {all && <AllFacts run={run} />}
    </section>
  );
}

function AllFacts({ run }: { run: Run }) {
  const me = useMe();
  const metadata = run.metadata as Record<string, unknown>;
  const limits = Object.fromEntries(Object.entries(run.limits).filter(([, value]) => value !== null));
  return (
    <div className="flex max-h-[40dvh] flex-col gap-3 overflow-y-auto border-t border-line py-3" tabIndex={0}>
      <dl className="grid grid-cols-2 gap-x-6 gap-y-3 md:grid-cols-4 xl:grid-cols-6">
        <Fact label="Agent">
          <Link to="/agents/$agentId" params={{ agentId: run.agent }} className={LINK}>
            {run.agent}
          </Link>
        </Fact>
        {run.acting_agent !== run.agent && (
          <Fact label="Acting agent">
            <Link to="/agents/$agentId" params={{ agentId: run.acting_agent }} className={LINK}>
              {run.acting_agent}
            </Link>
          </Fact>
        )}
        <Fact label="Version">
          <Link
            to="/agents/$agentId"
            params={{ agentId: run.agent }}
            search={{ version: run.agent_version }}
            className={`font-mono text-xs ${LINK}`}
          >
            {run.agent_version}
          </Link>
        </Fact>
        <Fact label="Started by">
          {me.data?.principal.id === run.initiator ? (
            `${me.data.principal.name} (you)`
          ) : (
            <Id id={run.initiator} copy />
          )}
        </Fact>
        <Fact label="Created">
          <Time at={run.created_at} />
        </Fact>
        <Fact label="Taken up">
          <Time at={run.started_at} />
        </Fact>
        <Fact label="Ended">
          <Time at={run.ended_at} />
        </Fact>
        <Fact label={<span title={ATTEMPT}>Attempt</span>}>{run.attempt}</Fact>
        {run.deadline && (
          <Fact label="Deadline">
            <Time at={run.deadline} />
          </Fact>
        )}
        {run.on_busy_applied && <Fact label="Thread was busy">{run.on_busy_applied}</Fact>}
        {run.external_id && <Fact label="External id">{inert(run.external_id)}</Fact>}
        <Fact label="Thread">
          <Id id={run.thread_id} copy />
        </Fact>
        <Fact label="Trace">
          <span className="inline-flex items-center gap-1 font-mono text-xs">
            …{run.trace_id.slice(-8)}
            <CopyButton text={run.trace_id} label="Copy the trace id" />
          </span>
        </Fact>
      </dl>
      {Object.keys(metadata).length > 0 && (
        <Fact label="Metadata">
          <JsonView value={metadata} name="metadata.json" className="mt-1" />
        </Fact>
      )}
      {Object.keys(limits).length > 0 && (
        <Fact label="Limits">
          <JsonView value={limits} name="limits.json" className="mt-1" />
        </Fact>
      )}
      {run.effects && !hasEnded(run) && (
        <Fact label="Side effects of the fork">
          <JsonView value={run.effects} name="effects.json" className="mt-1" />
        </Fact>
      )}
    </div>
  );
}
