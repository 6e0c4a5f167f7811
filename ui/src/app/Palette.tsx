/** ⌘K: go anywhere, and do what can be done from everywhere. Pasting an id opens what it names. */

import { useQuery } from "@tanstack/react-query";
import clsx from "clsx";
import { Activity, Bot, CornerDownLeft, Monitor, Moon, Sun } from "lucide-react";
import { Dialog } from "radix-ui";
import { type KeyboardEvent, type ReactNode, useEffect, useId, useMemo, useRef, useState } from "react";
import { api, body } from "~/api/client";
import { useAgents } from "~/api/hooks";
import { keys } from "~/api/keys";
import { type Me, may } from "~/api/session";
import type { Page, Run } from "~/api/types";
import { Status } from "~/design/Badge";
import { Id } from "~/design/Facts";
import { useReturn } from "~/design/returning";
import { isOnToast } from "~/design/Toasts";
import { nameOf } from "~/lib/hotkeys";
import { oneLine, saidTo } from "~/lib/text";
import { setTheme } from "~/lib/theme";
import { useGo } from "./go";
import { placesOf } from "./places";

interface Command {
  readonly id: string;
  readonly label: string;
  readonly group: string;
  readonly icon: ReactNode;
  readonly hint?: ReactNode;
  readonly run: () => void;
}

const RECENT_RUNS = 8;
const SHOWN_MAX = 40;

export function Palette({ me, open, onClose }: { me: Me; open: boolean; onClose: () => void }) {
  const went = useRef(false);
  const giveBack = useReturn(open);
  return (
    <Dialog.Root open={open} onOpenChange={(next) => !next && onClose()}>
      <Dialog.Portal>
        <Dialog.Overlay className="fixed inset-0 z-40 bg-scrim" />
        <Dialog.Content
          aria-describedby={undefined}
          aria-modal
          onInteractOutside={(event) => isOnToast(event.target) && event.preventDefault()}
          onCloseAutoFocus={(event) => {
            if (went.current)
              event.preventDefault(); // the page that was gone to has the focus
            else giveBack(event);
            went.current = false;
          }}
          className="fixed left-1/2 top-[12dvh] z-50 flex max-h-[70dvh] w-[calc(100vw-1.5rem)] max-w-xl -translate-x-1/2 flex-col overflow-hidden rounded-lg border border-line bg-raised shadow-pop"
        >
          <Dialog.Title className="sr-only">Search and commands</Dialog.Title>
          <Commands
            me={me}
            onChosen={() => {
              went.current = true;
              onClose();
            }}
          />
        </Dialog.Content>
      </Dialog.Portal>
    </Dialog.Root>
  );
}

function Commands({ me, onChosen }: { me: Me; onChosen: () => void }) {
  const [asked, setAsked] = useState("");
  /** By its id: what is found may grow at any place while somebody reaches for a key. */
  const [chosenId, setChosenId] = useState<string | null>(null);
  const list = useId();
  const chosen = useRef<HTMLDivElement>(null);
  const commands = useCommands(me);
  const found = useMemo(() => matching(asked, commands), [asked, commands]);
  const current = Math.max(
    0,
    found.findIndex((one) => one.id === chosenId),
  );
  // biome-ignore lint/correctness/useExhaustiveDependencies: brought into view whenever another one is chosen
  useEffect(() => {
    chosen.current?.scrollIntoView({ block: "nearest" }); // in braces: browsers answer with a promise, no clean-up
  }, [current]);
  const run = (command: Command | undefined): void => {
    if (command === undefined) return;
    onChosen();
    command.run();
  };
  const pressed = (event: KeyboardEvent): void => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      setChosenId(found[(current + step + found.length) % Math.max(1, found.length)]?.id ?? null);
    } else if (nameOf(event.nativeEvent) === "enter" && !event.nativeEvent.isComposing) {
      event.preventDefault();
      run(found[current]);
    }
  };
  return (
    <>
      <input
        role="combobox"
        aria-label="Search and commands"
        aria-expanded
        aria-autocomplete="list"
        autoComplete="off"
        spellCheck={false}
        aria-controls={list}
        aria-activedescendant={found[current] ? `${list}-${current}` : undefined}
        placeholder="Go to, start, or paste an id…"
        value={asked}
        onChange={(event) => {
          setAsked(event.target.value);
          setChosenId(null);
        }}
        onKeyDown={pressed}
        className="h-12 w-full shrink-0 focus-visible:-outline-offset-2 border-b border-line bg-transparent px-4 text-base text-ink placeholder:text-ink-3"
      />
      <p
        role="status"
        className={found.length === 0 ? "px-4 py-8 text-center text-sm text-ink-2" : "sr-only"}
      >
        {found.length === 0 ? "Nothing is called that." : ""}
      </p>
      <div
        id={list}
        role="listbox"
        aria-label="Commands"
        tabIndex={-1}
        className={clsx("min-h-0 grow overflow-y-auto p-2", found.length === 0 && "hidden")}
      >
        {found.map((command, index) => (
          <div key={command.id}>
            {command.group !== found[index - 1]?.group && (
              <div
                aria-hidden
                className="px-2 pb-1 pt-2 text-2xs font-medium uppercase tracking-wide text-ink-3"
              >
                {command.group}
              </div>
            )}
            {/* biome-ignore lint/a11y/useKeyWithClickEvents: the keyboard is the input's above */}
            <div
              ref={index === current ? chosen : undefined}
              id={`${list}-${index}`}
              role="option"
              tabIndex={-1}
              aria-selected={index === current}
              onMouseMove={() => setChosenId(command.id)}
              onClick={() => run(command)}
              className={clsx(
                "flex h-9 cursor-pointer items-center gap-2.5 rounded-md px-2 text-sm",
                index === current && "bg-hover",
              )}
            >
              <span aria-hidden className="text-ink-3">
                {command.icon}
              </span>
              <span className="min-w-0 grow truncate">{command.label}</span>
              {command.hint}
              {index === current && <CornerDownLeft size={13} aria-hidden className="text-ink-3" />}
            </div>
          </div>
        ))}
      </div>
    </>
  );
}

const ID = /\b(run|thr|apr|eff)_[0-9a-z]{26}\b/;
const PLACE_OF: Readonly<Record<string, (id: string) => string>> = {
  run: (id) => `/runs/${id}`,
  thr: (id) => `/chat/${id}`,
  apr: (id) => `/approvals/${id}`,
  eff: (id) => `/effects?effect=${id}`,
};

function useCommands(me: Me): (asked: string) => readonly Command[] {
  const go = useGo();
  const agents = useAgents(may(me, "agents:read"));
  const runs = useQuery({
    enabled: may(me, "runs:read"),
    queryKey: keys.runs({ recent: RECENT_RUNS }),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/runs", { params: { query: { limit: RECENT_RUNS } }, signal })) as Promise<Page<Run>>,
  });
  return useMemo(() => {
    const places = placesOf(me).map(
      ({ to, label, icon: Icon }): Command => ({
        id: to,
        label,
        group: "Go to",
        icon: <Icon size={15} />,
        run: () => go(to),
      }),
    );
    const failed: readonly Command[] = may(me, "runs:read")
      ? [
          {
            id: "failed",
            label: "Failed runs",
            group: "Go to",
            icon: <Activity size={15} />,
            run: () => go("/runs?status=failed"),
          },
        ]
      : [];
    const startable = may(me, "runs:write") ? (agents.data ?? []) : [];
    const chats = startable.map(
      (agent): Command => ({
        id: `agent-${agent.id}`,
        label: `${agent.kind === "workflow" ? "Start" : "Chat with"} ${agent.name}`,
        group: "Agents",
        icon: <Bot size={15} />,
        hint: <span className="text-xs text-ink-3">{agent.id}</span>,
        run: () => go(`/chat?agent=${encodeURIComponent(agent.id)}`),
      }),
    );
    const recent = (runs.data?.data ?? []).map(
      (run): Command => ({
        id: run.id,
        label: `${run.agent}: ${oneLine(saidTo(run), 80) || "run"}`,
        group: "Recent runs",
        icon: <Activity size={15} />,
        hint: <Status status={run.status} quiet />,
        run: () => go(`/runs/${run.id}`),
      }),
    );
    const themes: readonly Command[] = [
      {
        id: "light",
        label: "Light theme",
        group: "Settings",
        icon: <Sun size={15} />,
        run: () => setTheme("light"),
      },
      {
        id: "dark",
        label: "Dark theme",
        group: "Settings",
        icon: <Moon size={15} />,
        run: () => setTheme("dark"),
      },
      {
        id: "system",
        label: "Theme of the system",
        group: "Settings",
        icon: <Monitor size={15} />,
        run: () => setTheme("system"),
      },
    ];
    return (asked) => {
      const id = ID.exec(asked)?.[0];
      const place = id === undefined ? undefined : PLACE_OF[id.slice(0, 3)];
      if (id !== undefined && place !== undefined)
        return [
          {
            id,
            label: `Open ${id.slice(0, 3)}`,
            group: "By id",
            icon: <CornerDownLeft size={15} />,
            hint: <Id id={id} />,
            run: () => go(place(id)),
          },
        ];
      return [...places, ...failed, ...chats, ...recent, ...themes];
    };
  }, [me, agents.data, runs.data, go]);
}

/** All words of what was asked occur, in any order; at most as many as can be looked over. */
function matching(asked: string, commands: (asked: string) => readonly Command[]): readonly Command[] {
  const all = commands(asked);
  if (all.length === 1) return all;
  const words = asked.toLowerCase().split(/\s+/).filter(Boolean);
  return all
    .filter((one) =>
      words.every((word) => `${one.label} ${one.group} ${one.id}`.toLowerCase().includes(word)),
    )
    .slice(0, SHOWN_MAX);
}
