/** The versions that workers have registered of an agent, and what changed between two of them. */

import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { api, body } from "~/api/client";
import { usePages } from "~/api/hooks";
import { keys } from "~/api/keys";
import type { Agent, AgentVersion, components, Page } from "~/api/types";
import { Badge } from "~/design/Badge";
import { Button } from "~/design/Button";
import { Time } from "~/design/Facts";
import { Field, Select } from "~/design/Field";
import { JsonView } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { Panel } from "~/design/Page";
import { ErrorState, Skeleton, SkeletonRows } from "~/design/States";
import { plural } from "~/lib/format";

type Definition = components["schemas"]["AgentVersionDefinitionOut"];

export interface Compared {
  readonly version?: string;
  readonly against?: string;
}

export function Versions({ agent }: { agent: Agent }) {
  const asked = useSearch({ strict: false }) as Compared;
  const { rows, query } = usePages<AgentVersion>(
    keys.agent(agent.id, "versions"),
    (cursor, signal) =>
      body(
        api.GET("/v1/agents/{agent_id}/versions", {
          params: { path: { agent_id: agent.id }, query: { limit: 50, ...(cursor !== null && { cursor }) } },
          signal,
        }),
      ) as Promise<Page<AgentVersion>>,
  );
  return (
    <>
      <Panel title="Versions" flush>
        {query.isError ? (
          <ErrorState error={query.error} onRetry={() => void query.refetch()} />
        ) : query.isPending ? (
          <SkeletonRows rows={2} />
        ) : (
          <ul className="divide-y divide-line">
            {rows.map((version, index) => (
              <VersionRow key={version.version} row={version} before={rows[index + 1]?.version} />
            ))}
          </ul>
        )}
        {query.hasNextPage && (
          <div className="border-t border-line p-2">
            <Button
              look="quiet"
              size="sm"
              busy={query.isFetchingNextPage}
              onClick={() => void query.fetchNextPage()}
            >
              Older ones
            </Button>
          </div>
        )}
      </Panel>
      {asked.version !== undefined && (
        <Changes agent={agent} version={asked.version} against={asked.against} known={rows} />
      )}
    </>
  );
}

function VersionRow({ row, before }: { row: AgentVersion; before: string | undefined }) {
  return (
    <li className="flex min-w-0 flex-wrap items-center gap-x-3 gap-y-1 px-4 py-2 text-xs">
      <span className="font-mono text-ink">{row.version}</span>
      {row.current && <Badge tone="accent">current</Badge>}
      <span className="text-ink-2 tabular">{plural(row.workers, "worker")}</span>
      <span className="grow text-ink-3">
        first seen <Time at={row.created_at} />
      </span>
      <Link
        to="/agents/$agentId"
        params={{ agentId: row.agent }}
        search={{ version: row.version, ...(before !== undefined && { against: before }) }}
        replace
        className="rounded-sm text-accent-text hover:underline"
      >
        {before === undefined ? "Definition" : "What changed"}
      </Link>
      <Link
        to="/runs"
        search={{ agent: row.agent, version: row.version }}
        aria-label={`Runs of version ${row.version}`}
        className="rounded-sm text-accent-text hover:underline"
      >
        Runs
      </Link>
    </li>
  );
}

function useDefinition(agentId: string, version: string | undefined) {
  return useQuery({
    queryKey: keys.agent(agentId, "version", version),
    enabled: version !== undefined,
    staleTime: 300_000,
    queryFn: ({ signal }): Promise<Definition> =>
      body(
        api.GET("/v1/agents/{agent_id}/versions/{version}", {
          params: { path: { agent_id: agentId, version: version ?? "" } },
          signal,
        }),
      ),
  });
}

function Changes({
  agent,
  version,
  against,
  known,
}: {
  agent: Agent;
  version: string;
  against: string | undefined;
  known: readonly AgentVersion[];
}) {
  const navigate = useNavigate();
  const after = useDefinition(agent.id, version);
  const before = useDefinition(agent.id, against);
  const look = (asked: Compared): void =>
    void navigate({
      to: "/agents/$agentId",
      params: { agentId: agent.id },
      search: asked as never,
      replace: true,
    });
  const versions = [...new Set([...known.map((one) => one.version), version, ...(against ? [against] : [])])];
  const failed = after.error ?? before.error;
  return (
    <Panel
      title={against === undefined ? "Definition" : "What changed"}
      actions={
        <Button look="quiet" size="sm" onClick={() => look({})}>
          Close
        </Button>
      }
    >
      <div className="mb-4 grid gap-3 sm:grid-cols-2">
        <Field label="Version">
          {(props) => (
            <Select
              {...props}
              value={version}
              onChange={(event) => look({ version: event.target.value, ...(against && { against }) })}
            >
              <Options versions={versions} known={known} />
            </Select>
          )}
        </Field>
        <Field label="Against">
          {(props) => (
            <Select
              {...props}
              value={against ?? ""}
              onChange={(event) =>
                look({ version, ...(event.target.value !== "" && { against: event.target.value }) })
              }
            >
              <option value="">nothing: show all of it</option>
              <Options versions={versions} known={known} />
            </Select>
          )}
        </Field>
      </div>
      {failed ? (
        <ErrorState error={failed} what="This version" />
      ) : after.data === undefined || (against !== undefined && before.data === undefined) ? (
        <Skeleton className="h-32 w-full" />
      ) : before.data === undefined || against === undefined ? (
        <JsonView value={after.data.definition} name={`${agent.id}-${version}.json`} />
      ) : (
        <JsonDiff
          before={before.data.definition}
          after={after.data.definition}
          same="The two versions are declared the same."
        />
      )}
    </Panel>
  );
}

const Options = ({ versions, known }: { versions: readonly string[]; known: readonly AgentVersion[] }) =>
  versions.map((version) => (
    <option key={version} value={version}>
      {version}
      {known.find((one) => one.version === version)?.current ? " (current)" : ""}
    </option>
  ));
