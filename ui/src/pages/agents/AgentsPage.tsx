/** Everything that this server can run. */

import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Bot, CirclePause, MessageSquare, Workflow } from "lucide-react";
import { useAgents } from "~/api/hooks";
import type { Agent } from "~/api/types";
import { Badge } from "~/design/Badge";
import { Input } from "~/design/Field";
import { PageBody, PageHeader } from "~/design/Page";
import { Empty, ErrorState, SkeletonRows } from "~/design/States";
import { plural } from "~/lib/format";
import { oneLine } from "~/lib/text";
import { NoAgents } from "~/pages/overview/NoAgents";

const FILTER_FROM = 6;

export function AgentsPage() {
  const agents = useAgents();
  const { q = "" } = useSearch({ strict: false }) as { q?: string };
  const navigate = useNavigate();
  const found = (agents.data ?? []).filter((agent) => matches(agent, q));
  const filter = (text: string): void =>
    void navigate({ to: "/agents", search: text === "" ? {} : { q: text }, replace: true });
  return (
    <>
      <PageHeader
        title="Agents"
        lead={
          agents.data !== undefined && (
            <span className="text-xs text-ink-3 tabular">{plural(agents.data.length, "agent")}</span>
          )
        }
        actions={
          (q !== "" || (agents.data?.length ?? 0) >= FILTER_FROM) && (
            <Input
              type="search"
              aria-label="Filter agents"
              placeholder="Filter"
              value={q}
              onChange={(event) => filter(event.target.value)}
              className="!w-48"
            />
          )
        }
      />
      {agents.isError ? (
        <ErrorState error={agents.error} onRetry={() => void agents.refetch()} />
      ) : (
        <PageBody>
          {agents.data === undefined ? (
            <SkeletonRows rows={5} label="Loading the agents" />
          ) : agents.data.length === 0 ? (
            <NoAgents />
          ) : found.length === 0 ? (
            <Empty title="No agent is called that">Nothing has “{oneLine(q, 60)}” in its name.</Empty>
          ) : (
            <ul className="overflow-hidden rounded-lg border border-line bg-surface [&>li+li]:border-t [&>li]:border-line">
              {found.map((agent) => (
                <Row key={agent.id} agent={agent} />
              ))}
            </ul>
          )}
        </PageBody>
      )}
    </>
  );
}

const matches = (agent: Agent, asked: string): boolean =>
  `${agent.id} ${agent.name} ${agent.model ?? ""}`.toLowerCase().includes(asked.trim().toLowerCase());

function Row({ agent }: { agent: Agent }) {
  const Icon = agent.kind === "workflow" ? Workflow : Bot;
  return (
    <li className="flex min-w-0 flex-wrap items-center gap-x-4 gap-y-1 px-4 py-3 hover:bg-hover">
      <Icon size={18} aria-hidden className="shrink-0 text-ink-3" />
      <div className="min-w-0 grow basis-64">
        <div className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-1">
          <Link
            to="/agents/$agentId"
            params={{ agentId: agent.id }}
            className="min-w-0 truncate rounded-sm font-semibold hover:underline"
          >
            {oneLine(agent.name, 80)}
          </Link>
          {agent.name !== agent.id && (
            <span className="truncate font-mono text-xs text-ink-3">{agent.id}</span>
          )}
          <Badge>{agent.kind === "workflow" ? "workflow" : "agent"}</Badge>
          <Standing agent={agent} />
        </div>
        <p dir="auto" className="mt-0.5 line-clamp-2 text-xs text-ink-2 [overflow-wrap:anywhere]">
          {oneLine(agent.description, 240)}
        </p>
      </div>
      <dl className="flex shrink-0 flex-wrap gap-x-4 max-lg:basis-full max-lg:pl-8.5 text-xs text-ink-2 lg:grid lg:grid-cols-[10rem_4.5rem_5.5rem_6rem]">
        <Short name="Model">{agent.model ? oneLine(agent.model, 40) : "no model"}</Short>
        <Short name="Tools">{plural(agent.tools.length, "tool")}</Short>
        <Short name="Workers">{plural(agent.workers, "worker")}</Short>
        <Short name="Version">
          <span className="font-mono" title={agent.version}>
            {agent.version.slice(0, 8)}
          </span>
        </Short>
      </dl>
      <div className="flex shrink-0 gap-3 text-xs max-lg:pl-8.5">
        <Link
          to="/runs"
          search={{ agent: agent.id }}
          aria-label={`Runs of ${agent.name}`}
          className="rounded-sm text-accent-text hover:underline"
        >
          Runs
        </Link>
        <Link
          to="/chat"
          search={{ agent: agent.id }}
          aria-label={`Try ${agent.name}`}
          className="inline-flex items-center gap-1 rounded-sm text-accent-text hover:underline"
        >
          <MessageSquare size={12} aria-hidden /> Try it
        </Link>
      </div>
    </li>
  );
}

/** What keeps it from running, if anything does. */
export function Standing({ agent }: { agent: Pick<Agent, "enabled" | "workers"> }) {
  if (!agent.enabled)
    return (
      <Badge tone="bad">
        <CirclePause size={11} aria-hidden /> switched off
      </Badge>
    );
  if (agent.workers === 0)
    return (
      <Badge tone="warn" title="Its runs wait until a process that has it starts.">
        no worker
      </Badge>
    );
  return null;
}

const Short = ({ name, children }: { name: string; children: React.ReactNode }) => (
  <div className="min-w-0 truncate tabular">
    <dt className="sr-only">{name}</dt>
    <dd className="truncate">{children}</dd>
  </div>
);
