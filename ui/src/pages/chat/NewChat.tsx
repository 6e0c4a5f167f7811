/** A chat that has no thread yet: who is asked, what they can do, and the first words. */

import { Link, useNavigate } from "@tanstack/react-router";
import { type ReactNode, useMemo, useRef } from "react";
import { useAgents } from "~/api/hooks";
import type { Agent } from "~/api/types";
import { Badge } from "~/design/Badge";
import { PageHeader } from "~/design/Page";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { useMounted } from "~/lib/mounted";
import { oneLine } from "~/lib/text";
import { firstOf, takesText } from "./agents";
import { Composer } from "./Composer";
import { ConversationView } from "./ConversationView";
import { turnsOf } from "./conversation";
import { Talk, useTalk } from "./conversations";
import { moveDraft, NEW } from "./drafts";
import { TurnView } from "./TurnView";
import { useSend } from "./useSend";

const nothing = (): void => {};

export function NewChat({ agentId, opener }: { agentId: string | null; opener: ReactNode }) {
  const navigate = useNavigate();
  const isHere = useMounted();
  const agents = useAgents();
  const talk = useRef<Talk>(null);
  talk.current ??= new Talk();
  const { sends } = useTalk(talk.current);
  const say = useSend(null, talk.current);
  const known = agents.data ?? [];
  const agent = known.find((one) => one.id === agentId) ?? firstOf(known);
  const turns = useMemo(() => turnsOf(null, [], [], [], sends), [sends]);
  const choose = (next: Agent): void =>
    void navigate({ to: "/chat", search: { agent: next.id }, replace: true });
  const send = async (to: Agent, input: unknown): Promise<void> => {
    const { threadId } = await say(to.id, input, null);
    if (!isHere()) return; // somebody looks at something else by now
    moveDraft(NEW, threadId);
    await navigate({ to: "/chat/$threadId", params: { threadId } });
  };
  return (
    <>
      <PageHeader title="New chat" actions={opener} />
      {agents.isError ? (
        <div className="grow">
          <ErrorState error={agents.error} onRetry={() => void agents.refetch()} />
        </div>
      ) : turns.length > 0 ? (
        <ConversationView label="Conversation" hasOlder={false} isLoadingOlder={false} onOlder={nothing}>
          {turns.map((turn) => (
            <TurnView key={turn.id} turn={turn} view={null} run={null} agents={known} isLast can={null} />
          ))}
        </ConversationView>
      ) : (
        <div tabIndex={0} className="min-h-0 grow overflow-y-auto focus-visible:-outline-offset-2">
          {agents.isPending ? (
            <div
              role="status"
              aria-label="Loading the agents"
              className="mx-auto flex max-w-3xl flex-col gap-3 p-5"
            >
              <Skeleton className="h-6 w-48" />
              <Skeleton className="h-16" />
            </div>
          ) : agent === null ? (
            <Empty title="No agents yet">
              A worker tells the server which agents there are. Start one with{" "}
              <code className="font-mono text-xs">holdfast dev agents.py</code>.
            </Empty>
          ) : (
            <About agent={agent} />
          )}
        </div>
      )}
      <Composer
        draft={NEW}
        agents={known}
        agent={agent}
        onAgent={choose}
        busy={false}
        open
        stopping={false}
        onStop={nothing}
        onSend={send}
      />
    </>
  );
}

function About({ agent }: { agent: Agent }) {
  return (
    <div className="mx-auto flex min-h-full max-w-3xl flex-col justify-end gap-3 px-4 py-6 sm:px-5">
      <div className="flex flex-wrap items-center gap-2">
        <h2 className="text-xl font-semibold">{oneLine(agent.name, 80)}</h2>
        {agent.kind === "workflow" && <Badge>workflow</Badge>}
        {!agent.enabled && <Badge tone="bad">off</Badge>}
        {agent.enabled && agent.workers === 0 && <Badge tone="warn">no worker</Badge>}
      </div>
      {agent.description && (
        <p dir="auto" className="max-w-prose text-base text-ink-2 [overflow-wrap:anywhere]">
          {oneLine(agent.description, 500)}
        </p>
      )}
      <dl className="flex flex-wrap gap-x-6 gap-y-1 text-xs text-ink-2">
        {agent.model && (
          <div className="flex gap-1.5">
            <dt className="text-ink-3">Model</dt>
            <dd className="font-mono">{oneLine(agent.model, 80)}</dd>
          </div>
        )}
        {agent.tools.length > 0 && (
          <div className="flex gap-1.5">
            <dt className="text-ink-3">Tools</dt>
            <dd className="[overflow-wrap:anywhere]">
              {agent.tools.slice(0, 8).map((tool, index) => (
                <span key={tool.name}>
                  {index > 0 && ", "}
                  <span className="font-mono">{tool.name}</span>
                </span>
              ))}
              {agent.tools.length > 8 && ` and ${agent.tools.length - 8} more`}
            </dd>
          </div>
        )}
        {agent.handoffs.length > 0 && (
          <div className="flex gap-1.5">
            <dt className="text-ink-3">Hands over to</dt>
            <dd className="font-mono">{agent.handoffs.join(", ")}</dd>
          </div>
        )}
      </dl>
      <p className="text-sm text-ink-2">
        {takesText(agent.input_schema)
          ? "Write below. The run is durable: it goes on when this page is closed, or the server restarts."
          : "Fill in its input below and start it. It goes on when this page is closed, or the server restarts."}{" "}
        <Link
          to="/agents/$agentId"
          params={{ agentId: agent.id }}
          className="text-accent-text underline underline-offset-2"
        >
          About this agent
        </Link>
      </p>
    </div>
  );
}
