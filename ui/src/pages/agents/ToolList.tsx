/** The tools of an agent: what each does, promises and asks for. */

import clsx from "clsx";
import { ChevronRight, CirclePause, ShieldCheck } from "lucide-react";
import type { Agent, Tool } from "~/api/types";
import { Badge } from "~/design/Badge";
import { Panel } from "~/design/Page";
import { duration } from "~/lib/format";
import { inert, oneLine } from "~/lib/text";
import { SchemaView } from "./SchemaView";
import { ToolSwitch } from "./Switch";
import { effectWords, ruleInWords } from "./words";

export function ToolList({ agent, all }: { agent: Agent; all: readonly Agent[] }) {
  return (
    <Panel title={`Tools (${agent.tools.length})`} flush>
      {agent.tools.length === 0 ? (
        <p className="p-4 text-sm text-ink-3">
          {agent.kind === "workflow"
            ? "None named. A workflow calls functions with ctx.step; tools that it lists show here."
            : "None: it only talks."}
        </p>
      ) : (
        <ul className="divide-y divide-line">
          {agent.tools.map((tool) => (
            <ToolRow
              key={tool.name}
              tool={tool}
              having={all.filter((one) => one.tools.some((it) => it.name === tool.name))}
            />
          ))}
        </ul>
      )}
    </Panel>
  );
}

/** What a row says of a tool; the rest is shown when it is opened. */
const SHORT_CHARS = 160;
const isLong = (tool: Tool): boolean => (tool.description?.length ?? 0) > SHORT_CHARS;

function ToolRow({ tool, having }: { tool: Tool; having: readonly Agent[] }) {
  const effect = effectWords(tool.effect);
  const rules = tool.policy ?? [];
  return (
    <li>
      <details className="group">
        <summary className="flex cursor-pointer list-none items-start gap-2 px-4 py-2.5 hover:bg-hover focus-visible:-outline-offset-2">
          <ChevronRight
            size={15}
            aria-hidden
            className="mt-0.5 shrink-0 text-ink-3 transition-transform group-open:rotate-90"
          />
          <span className="min-w-0 grow">
            <span className="flex min-w-0 flex-wrap items-center gap-x-2 gap-y-1">
              <span className="font-mono text-xs font-medium [overflow-wrap:anywhere]">
                {oneLine(tool.name, 80)}
              </span>
              {!tool.external && (
                <Badge tone={effect.tone} title={effect.means}>
                  {effect.label}
                </Badge>
              )}
              {tool.external && <Badge title="Somebody outside gives its result.">external</Badge>}
              {rules.length > 0 && (
                <Badge tone="warn">
                  <ShieldCheck size={11} aria-hidden />
                  {rules.some((rule) => rule.decision === "confirm") ? "asks for leave" : "has limits"}
                </Badge>
              )}
              {tool.enabled === false && (
                <Badge tone="bad">
                  <CirclePause size={11} aria-hidden /> switched off
                </Badge>
              )}
            </span>
            <span
              dir="auto"
              className={clsx(
                "mt-0.5 block text-xs text-ink-2 [overflow-wrap:anywhere]",
                isLong(tool) && "group-open:hidden",
              )}
            >
              {oneLine(tool.description ?? "", SHORT_CHARS)}
            </span>
          </span>
        </summary>
        <div className="flex flex-col gap-4 px-4 pb-4 pl-9">
          {isLong(tool) && (
            <p dir="auto" className="whitespace-pre-wrap text-sm [overflow-wrap:anywhere]">
              {inert(tool.description ?? "")}
            </p>
          )}
          <p className="text-xs text-ink-2">
            {tool.external ? "Its result comes from outside, as the answer to a question." : effect.means}
            {typeof tool.timeout_ms === "number" && ` A call takes ${duration(tool.timeout_ms)} at most.`}
          </p>
          {rules.length > 0 && (
            <div>
              <h3 className="mb-1 text-xs font-medium text-ink-2">Rules, the strictest wins</h3>
              <ul className="list-disc space-y-1 pl-4 text-sm">
                {rules.map((rule, index) => (
                  <li key={index} dir="auto" className="[overflow-wrap:anywhere]">
                    {inert(ruleInWords(rule))}
                  </li>
                ))}
              </ul>
            </div>
          )}
          {tool.schema !== undefined && tool.schema !== null && (
            <SchemaView title="Arguments" schema={tool.schema} name={`${tool.name}.schema.json`} />
          )}
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <ToolSwitch name={tool.name} on={tool.enabled !== false} agents={having} />
            {having.length > 1 && (
              <span className="text-xs text-ink-3">
                Also in {having.length - 1} other {having.length === 2 ? "agent" : "agents"}.
              </span>
            )}
          </div>
        </div>
      </details>
    </li>
  );
}
