/** What led to the question: the last messages before it, the latest open and the earlier ones at hand. */

import clsx from "clsx";
import { Bot, ChevronRight, CornerDownRight, UserRound, Wrench } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { Approval, Message, Part } from "~/api/types";
import { Button } from "~/design/Button";
import { Time } from "~/design/Facts";
import { Cut, JsonView } from "~/design/Json";
import { Markdown } from "~/design/Markdown";
import { Section } from "~/design/Pane";
import { Skeleton } from "~/design/States";
import { plural } from "~/lib/format";
import { brief, inert } from "~/lib/text";
import { MessageParts } from "~/transcript/Transcript";

const SHOWN_FIRST = 5;

export function LedTo({ asked, partial }: { asked: Approval; partial: boolean }) {
  const [all, setAll] = useState(false);
  if (partial)
    return (
      <Section title="What led to it">
        <div role="status" aria-label="Loading what led to it" className="flex flex-col gap-2">
          <Skeleton className="h-8 w-3/4" />
          <Skeleton className="h-16 w-full" />
          <Skeleton className="h-8 w-2/3" />
        </div>
      </Section>
    );
  const messages = asked.context as readonly Message[];
  const hidden = all ? 0 : Math.max(0, messages.length - SHOWN_FIRST);
  return (
    <Section title="What led to it">
      {messages.length === 0 ? (
        <p className="text-xs text-ink-3">No messages: the code of {inert(asked.agent)} asked by itself.</p>
      ) : (
        <div className="flex min-w-0 flex-col gap-3">
          {hidden > 0 && (
            <Button size="sm" look="quiet" className="self-start" onClick={() => setAll(true)}>
              {plural(hidden, "earlier message")}
            </Button>
          )}
          <ol className="flex min-w-0 flex-col gap-3">
            {messages.slice(hidden).map((message) => (
              <Said key={message.id} message={message} />
            ))}
          </ol>
        </div>
      )}
    </Section>
  );
}

const ROLES = { user: UserRound, assistant: Bot, tool: CornerDownRight } as const;

function Said({ message }: { message: Message }) {
  const Icon = ROLES[message.role] ?? Bot;
  return (
    <li className="grid min-w-0 grid-cols-[1rem_minmax(0,1fr)_auto] gap-x-2.5">
      <Icon size={14} aria-hidden className="mt-1 text-ink-3" />
      <div className={clsx("flex min-w-0 flex-col gap-1.5", message.role === "user" && "font-medium")}>
        <span className="sr-only">{message.role}:</span>
        {message.parts.map((part, at) => (
          <One key={at} part={part} />
        ))}
      </div>
      {message.role === "user" && <Time at={message.created_at} className="text-2xs leading-5 text-ink-3" />}
    </li>
  );
}

function One({ part }: { part: Part }) {
  switch (part.type) {
    case "text":
      return <Prose text={part.text} />;
    case "tool_call":
      return (
        <Folded
          label={
            <>
              <Wrench size={12} aria-hidden className="shrink-0 text-ink-3" />
              <span className="font-medium text-ink">{inert(part.name)}</span>
              <span className="min-w-0 truncate text-ink-2">{brief(part.arguments, 160)}</span>
            </>
          }
        >
          <JsonView value={part.arguments} />
        </Folded>
      );
    case "tool_result":
      return (
        <Folded
          label={
            <>
              <span className={part.error ? "text-bad" : "text-ink-3"}>{part.error ? "failed" : "gave"}</span>
              <span className="min-w-0 truncate text-ink-2">{brief(part.error ?? part.result, 200)}</span>
            </>
          }
        >
          <JsonView value={part.error ?? part.result} />
        </Folded>
      );
    default:
      return <MessageParts parts={[part]} />;
  }
}

const PROSE_CHARS_MAX = 6_000;

function Prose({ text }: { text: string }) {
  const [all, setAll] = useState(false);
  const cut = !all && text.length > PROSE_CHARS_MAX;
  return (
    <div className="min-w-0">
      <Markdown text={cut ? text.slice(0, PROSE_CHARS_MAX) : text} />
      {cut && <Cut text={text} onAll={() => setAll(true)} />}
    </div>
  );
}

function Folded({ label, children }: { label: ReactNode; children: ReactNode }) {
  const [open, setOpen] = useState(false);
  return (
    <div className="min-w-0 text-xs font-normal">
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex max-w-full items-center gap-1.5 rounded-sm py-0.5 pr-1 text-left hover:bg-hover"
      >
        <ChevronRight
          size={13}
          aria-hidden
          className={clsx("shrink-0 text-ink-3 transition-transform", open && "rotate-90")}
        />
        {label}
      </button>
      {open && <div className="mt-1 pl-5">{children}</div>}
    </div>
  );
}
