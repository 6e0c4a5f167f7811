/** Where somebody writes: text for agents that are talked to, a form for those that take something else. */

import clsx from "clsx";
import { ArrowUp, ChevronDown, CornerDownRight, ListPlus, Square } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { useLive } from "~/api/hooks";
import { Problem } from "~/api/problem";
import { may, useMe } from "~/api/session";
import type { Agent } from "~/api/types";
import { Button } from "~/design/Button";
import { Menu } from "~/design/Menu";
import { SchemaForm } from "~/design/SchemaForm";
import { blank } from "~/design/schema";
import { toastError } from "~/design/Toasts";
import { isComposing } from "~/lib/composing";
import { oneLine } from "~/lib/text";
import { placed } from "~/transcript/deciding";
import { AgentPicker } from "./AgentPicker";
import { takesText, unable } from "./agents";
import { draftOf, keepDraft } from "./drafts";
import type { OnBusy } from "./starting";

export interface ComposerProps {
  /** Under which what is written is kept. */
  readonly draft: string;
  readonly agents: readonly Agent[];
  readonly agent: Agent | null;
  readonly onAgent: (agent: Agent) => void;
  /** A run is under way: what is sent waits for it, or takes its place. */
  readonly busy: boolean;
  /** Whether a form is open at first. */
  readonly open: boolean;
  readonly stopping: boolean;
  readonly onStop: () => void;
  /** Raises what the server said no with. */
  readonly onSend: (agent: Agent, input: unknown, onBusy: OnBusy | null) => Promise<void>;
}

export function Composer(props: ComposerProps) {
  const { agent } = props;
  const text = agent === null || takesText(agent.input_schema);
  return (
    <div className="shrink-0 px-3 pb-3 sm:px-5 sm:pb-4">
      <div className="mx-auto max-w-3xl">
        {text || agent === null ? (
          <TextComposer {...props} />
        ) : (
          <FormComposer key={agent.id} {...props} agent={agent} />
        )}
      </div>
    </div>
  );
}

/** Why nothing can be sent; and what else is to be known before it is. */
function useObstacle(agent: Agent | null): {
  readonly closed: string | null;
  readonly warning: string | null;
} {
  const me = useMe();
  const state = useLive();
  if (me.data !== undefined && !may(me.data, "runs:write"))
    return {
      closed: "Your key may read conversations, not start runs (it lacks runs:write).",
      warning: null,
    };
  if (agent === null) return { closed: "Choose an agent first.", warning: null };
  const why = unable(agent);
  if (!agent.enabled) return { closed: why, warning: null };
  if (state === "offline")
    return { closed: null, warning: "Offline: trying to reach the server. Runs go on without this page." };
  return { closed: null, warning: why };
}

function Frame({ children, notice }: { children: ReactNode; notice: string | null }) {
  return (
    <>
      {notice !== null && (
        <p role="status" className="mb-1.5 px-1 text-xs text-warn">
          {notice}
        </p>
      )}
      <div className="rounded-lg border border-line-2 bg-surface focus-within:border-accent">{children}</div>
    </>
  );
}

function TextComposer({ draft, agents, agent, onAgent, busy, stopping, onStop, onSend }: ComposerProps) {
  const [text, setText] = useState(() => draftOf(draft));
  const [sending, setSending] = useState(false);
  const [onBusy, setOnBusy] = useState<"enqueue" | "interrupt">("enqueue");
  const field = useRef<HTMLTextAreaElement>(null);
  const { closed, warning } = useObstacle(agent);
  const latest = useRef(text);
  const change = (next: string): void => {
    latest.current = next;
    setText(next);
    keepDraft(draft, next);
  };
  useEffect(() => {
    if (matchMedia("(pointer: fine)").matches) field.current?.focus();
  }, []);
  const ready = text.trim() !== "" && closed === null && !sending;
  const send = async (): Promise<void> => {
    if (!ready || agent === null) return;
    const said = text;
    setSending(true);
    change("");
    try {
      await onSend(agent, said, busy ? onBusy : null);
    } catch (error) {
      // What was written meanwhile stays, behind what was not sent; also when somebody looks at another thread by now.
      change(latest.current === "" ? said : `${said}\n${latest.current}`);
      toastError("This was not sent", error);
    } finally {
      setSending(false);
      field.current?.focus();
    }
  };
  const pressed = (event: KeyboardEvent): void => {
    if (isComposing(event)) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      void send();
    } else if (event.key === "Escape" && busy && !stopping) {
      event.preventDefault();
      event.stopPropagation();
      onStop();
    }
  };
  return (
    <Frame notice={closed ?? warning}>
      <textarea
        ref={field}
        dir="auto"
        rows={1}
        aria-label={`Message to ${agent?.name ?? "an agent"}`}
        aria-keyshortcuts="Enter"
        placeholder={agent === null ? "Choose an agent…" : `Message ${oneLine(agent.name, 40)}…`}
        value={text}
        onChange={(event) => change(event.target.value)}
        onKeyDown={pressed}
        className="block max-h-[40dvh] min-h-11 w-full resize-none overflow-y-auto bg-transparent px-3 pb-1 pt-2.5 text-base text-ink outline-none field-sizing-content placeholder:text-ink-3"
      />
      <div className="flex items-center gap-1.5 px-1.5 pb-1.5">
        <AgentPicker agents={agents} chosen={agent} onChoose={onAgent} />
        <span className="grow" />
        {busy && <StopButton stopping={stopping} onStop={onStop} />}
        {busy && text.trim() !== "" && <BusyMenu onBusy={onBusy} onChange={setOnBusy} />}
        {(!busy || text.trim() !== "") && (
          <Button
            look="primary"
            aria-label="Send"
            title="Send (Enter; Shift+Enter begins a line)"
            disabled={!ready}
            busy={sending}
            onClick={() => void send()}
            className="w-8 !px-0"
            icon={<ArrowUp size={16} />}
          />
        )}
      </div>
    </Frame>
  );
}

function StopButton({ stopping, onStop }: { stopping: boolean; onStop: () => void }) {
  const me = useMe();
  if (!may(me.data, "runs:write")) return null;
  return (
    <Button
      busy={stopping}
      onClick={onStop}
      title="Stop the run (Esc)"
      icon={<Square size={12} fill="currentColor" />}
    >
      {stopping ? "Stopping" : "Stop"}
    </Button>
  );
}

const HOW = {
  enqueue: ["Queue after it", <ListPlus key="i" size={14} />],
  interrupt: ["Interrupt it", <CornerDownRight key="i" size={14} />],
} as const;

function BusyMenu({
  onBusy,
  onChange,
}: {
  onBusy: "enqueue" | "interrupt";
  onChange: (how: "enqueue" | "interrupt") => void;
}) {
  return (
    <Menu
      trigger={
        <Button look="quiet" aria-label={`A run is under way: ${HOW[onBusy][0]}`}>
          {HOW[onBusy][0]}
          <ChevronDown size={13} aria-hidden />
        </Button>
      }
      items={(["enqueue", "interrupt"] as const).map((how) => ({
        label: HOW[how][0],
        icon: HOW[how][1],
        checked: how === onBusy,
        onSelect: () => onChange(how),
      }))}
    />
  );
}

function FormComposer(props: ComposerProps & { agent: Agent }) {
  const { agent, agents, onAgent, busy, open: openAtFirst, stopping, onStop, onSend } = props;
  const schema = agent.input_schema;
  const [value, setValue] = useState<unknown>(() => blank(schema, schema));
  const [valid, setValid] = useState(true);
  const [tried, setTried] = useState(false);
  const [sending, setSending] = useState(false);
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});
  const [open, setOpen] = useState(openAtFirst);
  const { closed, warning } = useObstacle(agent);
  const send = async (): Promise<void> => {
    setTried(true);
    if (!open) return setOpen(true);
    if (!valid || closed !== null) return;
    setSending(true);
    setErrors({});
    try {
      await onSend(agent, value, busy ? "enqueue" : null);
      setOpen(false);
    } catch (error) {
      const found = error instanceof Problem && error.status === 422 ? placed(error.body.errors) : {};
      setErrors(found);
      if (Object.keys(found).length === 0) toastError("This was not started", error);
    } finally {
      setSending(false);
    }
  };
  return (
    <Frame notice={closed ?? warning}>
      {open && (
        <div className="max-h-[45dvh] overflow-y-auto border-b border-line p-3">
          <SchemaForm
            schema={schema}
            value={value}
            onChange={setValue}
            onValid={setValid}
            errors={errors}
            showErrors={tried}
            label="Input"
          />
        </div>
      )}
      <div className={clsx("flex flex-wrap items-center gap-1.5 p-1.5")}>
        <AgentPicker agents={agents} chosen={agent} onChoose={onAgent} />
        <span className="grow" />
        {open && (
          <Button look="quiet" onClick={() => setOpen(false)}>
            Hide the input
          </Button>
        )}
        {busy && <StopButton stopping={stopping} onStop={onStop} />}
        <Button
          look="primary"
          busy={sending}
          disabled={closed !== null || (open && tried && !valid)}
          aria-expanded={open}
          onClick={() => void send()}
        >
          {open ? (busy ? "Queue" : "Start") : "Run it again…"}
        </Button>
      </div>
    </Frame>
  );
}
