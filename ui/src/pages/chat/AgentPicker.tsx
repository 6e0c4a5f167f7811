/** Which agent is asked: its name, what it does, and whether it can. */

import clsx from "clsx";
import { Bot, ChevronDown, Workflow } from "lucide-react";
import { DropdownMenu } from "radix-ui";
import type { Agent } from "~/api/types";
import { Badge } from "~/design/Badge";
import { oneLine } from "~/lib/text";

const AgentIcon = ({ kind, size }: { kind: string; size: number }) =>
  kind === "workflow" ? (
    <Workflow size={size} aria-hidden className="shrink-0 text-code" />
  ) : (
    <Bot size={size} aria-hidden className="shrink-0 text-child" />
  );

export function AgentPicker({
  agents,
  chosen,
  onChoose,
}: {
  agents: readonly Agent[];
  chosen: Agent | null;
  onChoose: (agent: Agent) => void;
}) {
  return (
    <DropdownMenu.Root modal={false}>
      <DropdownMenu.Trigger asChild>
        <button
          type="button"
          aria-label={`Agent: ${chosen?.name ?? "none chosen"}`}
          className="flex h-8 min-w-0 max-w-56 items-center gap-1.5 rounded-md px-2 text-sm font-medium text-ink-2 hover:bg-hover hover:text-ink"
        >
          <AgentIcon kind={chosen?.kind ?? "native"} size={15} />
          <span className="min-w-0 truncate">{oneLine(chosen?.name ?? "Choose an agent", 60)}</span>
          <ChevronDown size={14} aria-hidden className="shrink-0 text-ink-3" />
        </button>
      </DropdownMenu.Trigger>
      <DropdownMenu.Portal>
        <DropdownMenu.Content
          align="start"
          sideOffset={6}
          collisionPadding={8}
          className="z-50 max-h-[min(28rem,var(--radix-dropdown-menu-content-available-height))] w-80 max-w-[calc(100vw-1rem)] overflow-y-auto rounded-md border border-line bg-raised p-1 shadow-pop"
        >
          {agents.map((agent) => (
            <DropdownMenu.Item
              key={agent.id}
              onSelect={() => onChoose(agent)}
              textValue={agent.name}
              className={clsx(
                "flex cursor-pointer select-none gap-2 rounded-sm px-2 py-1.5 outline-none data-[highlighted]:bg-hover",
                agent.id === chosen?.id && "bg-accent-soft",
              )}
            >
              <span className="mt-0.5">
                <AgentIcon kind={agent.kind} size={15} />
              </span>
              <span className="min-w-0 grow">
                <span className="flex min-w-0 items-center gap-1.5">
                  <span className="min-w-0 truncate text-sm font-medium text-ink">
                    {oneLine(agent.name, 80)}
                  </span>
                  {agent.kind === "workflow" && <Badge>workflow</Badge>}
                  {!agent.enabled ? (
                    <Badge tone="bad">off</Badge>
                  ) : (
                    agent.workers === 0 && <Badge tone="warn">no worker</Badge>
                  )}
                </span>
                {agent.description && (
                  <span className="mt-0.5 line-clamp-2 text-xs text-ink-2">
                    {oneLine(agent.description, 200)}
                  </span>
                )}
              </span>
            </DropdownMenu.Item>
          ))}
          {agents.length === 0 && (
            <p className="px-2 py-3 text-sm text-ink-2">
              No agent is known. Start a worker with some: <code>holdfast dev agents.py</code>
            </p>
          )}
        </DropdownMenu.Content>
      </DropdownMenu.Portal>
    </DropdownMenu.Root>
  );
}
