/** The kill switches, of an agent and of a tool: each says first what becomes of runs under way. */

import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Power, PowerOff } from "lucide-react";
import { type ReactNode, useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { messageOf } from "~/api/problem";
import { may, useMe } from "~/api/session";
import type { Agent } from "~/api/types";
import { Button } from "~/design/Button";
import { Dialog } from "~/design/Dialog";
import { toast } from "~/design/Toasts";
import { plural } from "~/lib/format";

export function AgentSwitch({ agent }: { agent: Agent }) {
  return (
    <Switch
      what={agent.name}
      on={agent.enabled}
      put={(enabled) =>
        body(
          api.PUT("/v1/agents/{agent_id}/enabled", {
            params: { path: { agent_id: agent.id } },
            body: { enabled },
          }),
        )
      }
      turnsOff={
        <>
          <li>New runs of {agent.name} are refused.</li>
          <li>Runs that a worker has in hand go on to their next wait, or their end.</li>
          <li>Runs that wait or are queued stay where they are until it is on again. Nothing is lost.</li>
        </>
      }
      turnsOn={<li>New runs are taken, and those that waited go on where they were.</li>}
    />
  );
}

export function ToolSwitch({
  name,
  on,
  agents,
}: {
  name: string;
  on: boolean;
  /** All agents that have a tool of this name. */
  agents: readonly Agent[];
}) {
  return (
    <Switch
      what={name}
      on={on}
      small
      put={(enabled) =>
        body(api.PUT("/v1/tools/{name}/enabled", { params: { path: { name } }, body: { enabled } }))
      }
      turnsOff={
        <>
          <li>
            It is off in every agent that has it: <Names agents={agents} />.
          </li>
          <li>The model is told that the tool is off; a workflow's step fails with tool_disabled.</li>
          <li>A call that has begun is not stopped. Other processes follow within two seconds.</li>
        </>
      }
      turnsOn={
        <li>
          It can be called again in {plural(agents.length, "agent")}: <Names agents={agents} />.
        </li>
      }
    />
  );
}

const Names = ({ agents }: { agents: readonly Agent[] }) => (
  <strong className="font-medium">{agents.map((agent) => agent.name).join(", ")}</strong>
);

function Switch({
  what,
  on,
  put,
  turnsOff,
  turnsOn,
  small = false,
}: {
  what: string;
  on: boolean;
  put: (enabled: boolean) => Promise<unknown>;
  turnsOff: ReactNode;
  turnsOn: ReactNode;
  small?: boolean;
}) {
  const me = useMe();
  const cache = useQueryClient();
  /** What was asked for. It stays that when somebody else turns the switch meanwhile: no button means its opposite. */
  const [asked, setAsked] = useState<{ readonly on: boolean } | null>(null);
  const turn = useMutation({
    mutationFn: put,
    onSuccess: async (_, enabled) => {
      setAsked(null);
      toast(`${what} is ${enabled ? "on" : "off"}.`);
      await Promise.all([
        cache.invalidateQueries({ queryKey: keys.agents }),
        cache.invalidateQueries({ queryKey: ["agent"] }),
      ]);
    },
  });
  if (!may(me.data, "agents:write")) return null;
  const Icon = on ? PowerOff : Power;
  const label = on ? "Switch off" : "Switch on";
  const wanted = asked?.on ?? !on;
  return (
    <>
      <Button
        size="sm"
        look={small ? "quiet" : on ? "danger" : "primary"}
        icon={<Icon size={13} aria-hidden />}
        aria-label={`${label} ${what}`}
        onClick={() => {
          turn.reset();
          setAsked({ on: !on });
        }}
      >
        {label}
      </Button>
      <Dialog
        open={asked !== null}
        onClose={() => setAsked(null)}
        title={`${wanted ? "Switch on" : "Switch off"} ${what}?`}
        footer={
          <>
            <Button onClick={() => setAsked(null)}>Cancel</Button>
            <Button
              look={wanted ? "primary" : "danger"}
              busy={turn.isPending}
              onClick={() => turn.mutate(wanted)}
            >
              {wanted ? "Switch on" : "Switch off"}
            </Button>
          </>
        }
      >
        <ul className="list-disc space-y-1 pl-5 text-sm text-ink-2">{wanted ? turnsOn : turnsOff}</ul>
        {asked !== null && wanted === on && (
          <p className="mt-3 text-sm text-ink-2">Somebody has switched it {on ? "on" : "off"} meanwhile.</p>
        )}
        {turn.isError && (
          <p role="alert" className="mt-3 text-sm text-bad">
            {messageOf(turn.error)}
          </p>
        )}
      </Dialog>
    </>
  );
}
