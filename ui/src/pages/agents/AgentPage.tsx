/** One agent as it is declared: what it is told, what it can do, what it has to ask for, and how to stop it. */

import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { MessageSquare } from "lucide-react";
import { api, body } from "~/api/client";
import { useAgents } from "~/api/hooks";
import { keys } from "~/api/keys";
import type { Agent } from "~/api/types";
import { Badge } from "~/design/Badge";
import { CopyButton, Fact, Time } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { PageBody, PageHeader, Panel } from "~/design/Page";
import { ErrorState, Skeleton } from "~/design/States";
import { plural } from "~/lib/format";
import { inert, oneLine } from "~/lib/text";
import { Standing } from "./AgentsPage";
import { SchemaView } from "./SchemaView";
import { AgentSwitch } from "./Switch";
import { ToolList } from "./ToolList";
import { Versions } from "./Versions";

export function AgentPage() {
  const { agentId } = useParams({ strict: false }) as { agentId: string };
  const found = useQuery({
    queryKey: keys.agent(agentId),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/agents/{agent_id}", { params: { path: { agent_id: agentId } }, signal })),
  });
  const agent = found.data;
  return (
    <>
      <PageHeader
        oneRow
        title={agent === undefined ? agentId : oneLine(agent.name, 80)}
        crumbs={
          <Link to="/agents" className="hover:underline">
            Agents
          </Link>
        }
        lead={
          agent !== undefined && (
            <>
              <Badge>{agent.kind === "workflow" ? "workflow" : "agent"}</Badge>
              <Standing agent={agent} />
            </>
          )
        }
        actions={
          agent === undefined ? (
            !found.isError && <Skeleton className="h-7 w-56" />
          ) : (
            <>
              <Link
                to="/runs"
                search={{ agent: agent.id }}
                className="inline-flex h-7 items-center rounded-md border border-line-2 bg-surface px-2 text-xs font-medium hover:bg-hover"
              >
                Runs
              </Link>
              <Link
                to="/chat"
                search={{ agent: agent.id }}
                className="inline-flex h-7 items-center gap-1.5 rounded-md border border-line-2 bg-surface px-2 text-xs font-medium hover:bg-hover"
              >
                <MessageSquare size={13} aria-hidden /> Try it
              </Link>
              <AgentSwitch agent={agent} />
            </>
          )
        }
      />
      {found.isError && agent === undefined ? (
        <ErrorState error={found.error} onRetry={() => void found.refetch()} what="This agent" />
      ) : (
        <PageBody>
          {agent === undefined ? <Skeleton className="h-96 w-full" /> : <Declared agent={agent} />}
        </PageBody>
      )}
    </>
  );
}

function Declared({ agent }: { agent: Agent }) {
  const all = useAgents();
  return (
    <div className="grid items-start gap-4 lg:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
      <div className="flex min-w-0 flex-col gap-4">
        {agent.description && (
          <p dir="auto" className="max-w-prose text-base text-ink-2 [overflow-wrap:anywhere]">
            {inert(agent.description)}
          </p>
        )}
        {agent.instructions !== null && (
          <Panel title="Instructions" actions={<CopyButton text={agent.instructions} />}>
            <p dir="auto" className="max-w-prose whitespace-pre-wrap [overflow-wrap:anywhere]">
              {inert(agent.instructions) || <span className="text-ink-3">None that are plain text.</span>}
            </p>
          </Panel>
        )}
        <ToolList agent={agent} all={all.data ?? [agent]} />
        <Panel title="What goes in, what comes out">
          <div className="flex flex-col gap-4">
            <SchemaView title="Input" schema={agent.input_schema} name={`${agent.id}.input.json`} />
            {agent.output_schema === null ? (
              <p className="text-xs text-ink-3">Its output is not declared: any JSON.</p>
            ) : (
              <SchemaView title="Output" schema={agent.output_schema} name={`${agent.id}.output.json`} />
            )}
          </div>
        </Panel>
      </div>
      <div className="flex min-w-0 flex-col gap-4">
        <Panel title="As it stands">
          <dl className="grid grid-cols-2 gap-3">
            <Fact label="Id">
              <span className="font-mono text-xs">{agent.id}</span>
            </Fact>
            <Fact label="Model">{agent.model ? oneLine(agent.model, 80) : "none"}</Fact>
            <Fact label="Version">
              <span className="inline-flex items-center font-mono text-xs">
                {agent.version}
                <CopyButton text={agent.version} label="Copy the version" />
              </span>
            </Fact>
            <Fact label="Workers">
              {agent.workers === 0 ? "none: its runs wait" : plural(agent.workers, "live worker")}
            </Fact>
            <Fact label="Registered">
              <Time at={agent.updated_at} />
            </Fact>
            <Fact label="Hands over to">
              <Handoffs ids={agent.handoffs} all={all.data ?? []} />
            </Fact>
          </dl>
          {Object.keys(agent.metadata).length > 0 && (
            <div className="mt-4">
              <h3 className="mb-1 text-xs font-medium text-ink-2">Metadata</h3>
              <JsonView value={agent.metadata} name={`${agent.id}.metadata.json`} />
            </div>
          )}
        </Panel>
        <Versions agent={agent} />
      </div>
    </div>
  );
}

const Handoffs = ({ ids, all }: { ids: readonly string[]; all: readonly Agent[] }) =>
  ids.length === 0 ? (
    <span className="text-ink-3">nobody</span>
  ) : (
    <ul className="flex flex-col">
      {ids.map((id) => (
        <li key={id}>
          <Link
            to="/agents/$agentId"
            params={{ agentId: id }}
            className="rounded-sm text-accent-text hover:underline"
          >
            {all.find((agent) => agent.id === id)?.name ?? id}
          </Link>
        </li>
      ))}
    </ul>
  );
