/** A call of a tool: what was asked, what came back, how long it took, and what is known of its effect. */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { ChevronRight, Split } from "lucide-react";
import { memo, type ReactNode, useId, useState } from "react";
import { Badge, type Tone } from "~/design/Badge";
import { Elapsed } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { KindIcon } from "~/design/Kind";
import { inert, oneLine } from "~/lib/text";
import { argumentsBrief } from "./deciding";
import { PlainText } from "./LongText";
import type { CallState, EffectSeen, ToolCall } from "./model";

/** Of a result or an error that is text, at first. */
const RESULT_CHARS = 4_000;

const STATES: Readonly<Record<CallState, readonly [Tone, string]>> = {
  writing: ["info", "writing"],
  requested: ["neutral", "requested"],
  asking: ["warn", "waits for leave"],
  running: ["info", "running"],
  succeeded: ["good", "done"],
  failed: ["bad", "failed"],
  unknown: ["warn", "unknown"],
  unanswered: ["neutral", "no result"],
};

const EFFECT_CLASSES: Readonly<Record<string, string>> = {
  read: "It only reads.",
  transaction: "Recorded in the same transaction as the run.",
  keyed: "The provider is given a key, so a repeated call is done once.",
  reconcilable: "The provider can be asked whether it was done.",
  unsafe: "Nobody can tell one call from its repetition.",
};

export const ToolCard = memo(function ToolCard({
  call,
  runId,
  open: openAtFirst = false,
  children,
}: {
  call: ToolCall;
  /** With it, links lead to the step and to the effect. */
  runId: string | null;
  open?: boolean;
  /** Below the head, always shown: questions about the call. */
  children?: ReactNode;
}) {
  const [open, setOpen] = useState(openAtFirst);
  const body = useId();
  if (call.handoffTo !== null) return <Handoff call={call} runId={runId} />;
  const busy = call.state === "running" || call.state === "writing";
  const [tone, word] = STATES[call.state];
  return (
    <div
      role="group"
      aria-label={`Call of ${call.name ?? "a tool"}`}
      className="min-w-0 rounded-md border border-line bg-surface"
    >
      <button
        type="button"
        aria-expanded={open}
        aria-controls={body}
        onClick={() => setOpen(!open)}
        className="flex min-h-9 w-full min-w-0 items-center gap-2 rounded-md px-2.5 py-1 text-left hover:bg-hover"
      >
        <KindIcon kind="tool" />
        <span className="shrink-0 truncate font-mono text-xs font-medium text-ink max-[480px]:max-w-[45%]">
          {call.name === null ? "a tool…" : oneLine(call.name, 80)}
        </span>
        <span dir="auto" className="min-w-0 grow truncate font-mono text-xs text-ink-3">
          {call.writing === null ? argumentsBrief(call.arguments) : inert(call.writing.slice(-160))}
        </span>
        {call.startedAt !== null && call.state !== "asking" && (
          <Elapsed
            from={call.startedAt}
            to={call.endedAt ?? (busy ? null : call.startedAt)}
            className="hidden text-xs text-ink-3 sm:inline"
          />
        )}
        {call.state === "succeeded" ? (
          <span className="sr-only">{word}</span>
        ) : (
          <Badge tone={tone} className={clsx(busy && "animate-breathe")}>
            {word}
          </Badge>
        )}
        <ChevronRight
          size={14}
          aria-hidden
          className={clsx("shrink-0 text-ink-3 transition-transform", open && "rotate-90")}
        />
      </button>
      {!open && call.state === "failed" && call.error !== null && (
        <p dir="auto" className="truncate px-2.5 pb-1.5 pl-8 text-xs text-bad">
          {oneLine(call.error, 300)}
        </p>
      )}
      {open && (
        <div id={body} className="flex flex-col gap-2.5 border-t border-line px-2.5 py-2.5">
          <Labelled label="Arguments">
            {call.writing === null ? (
              <JsonView value={call.arguments} name={`${call.name ?? "tool"}-arguments.json`} />
            ) : (
              <PlainText text={call.writing} className="rounded-md bg-sunken p-2.5 font-mono text-xs" />
            )}
          </Labelled>
          {call.error !== null && (
            <Labelled label="Error">
              <PlainText text={call.error} className="rounded-md bg-bad-soft p-2.5 text-xs text-bad" />
            </Labelled>
          )}
          {call.result !== undefined && call.result !== null && (
            <Labelled label="Result">
              {typeof call.result === "string" ? (
                <PlainText
                  charsMax={RESULT_CHARS}
                  text={call.result}
                  className="rounded-md bg-sunken p-2.5 font-mono text-xs leading-5"
                />
              ) : (
                <JsonView value={call.result} name={`${call.name ?? "tool"}-result.json`} />
              )}
            </Labelled>
          )}
          {call.state === "unanswered" && (
            <p className="text-xs text-ink-2">The run ended before this call had a result.</p>
          )}
          <CardFoot call={call} runId={runId} />
        </div>
      )}
      {children && <div className="flex flex-col gap-2 border-t border-line p-2.5">{children}</div>}
    </div>
  );
});

function CardFoot({ call, runId }: { call: ToolCall; runId: string | null }) {
  const { effect, seq } = call;
  if (effect === null && (seq === null || runId === null)) return null;
  return (
    <div className="flex flex-wrap items-center gap-x-3 gap-y-1 text-xs text-ink-2">
      {effect !== null && <EffectFact effect={effect} />}
      <span className="grow" />
      {runId !== null && seq !== null && (
        <Link
          to="/runs/$runId"
          params={{ runId }}
          search={{ step: seq }}
          className="text-accent-text underline-offset-2 hover:underline"
        >
          Step {seq}
        </Link>
      )}
    </div>
  );
}

export function EffectFact({ effect }: { effect: EffectSeen }) {
  const shown = (
    <>
      effect {effect.effectClass ?? ""} · {effect.status ?? "planned"}
    </>
  );
  const title = EFFECT_CLASSES[effect.effectClass ?? ""] ?? "";
  if (effect.id === null) return <span title={title}>{shown}</span>;
  return (
    <Link
      to="/effects"
      search={{ effect: effect.id }}
      title={title}
      className={clsx(
        "underline-offset-2 hover:underline",
        effect.status === "unknown" ? "font-medium text-warn" : "text-ink-2",
      )}
    >
      {shown}
    </Link>
  );
}

function Handoff({ call, runId }: { call: ToolCall; runId: string | null }) {
  const said = (
    <>
      <Split size={14} aria-hidden className="shrink-0 text-child" />
      Handed over to <span className="font-medium text-ink">{oneLine(call.handoffTo ?? "", 80)}</span>
    </>
  );
  const look = "inline-flex items-center gap-1.5 text-xs text-ink-2";
  return (
    <div className="flex items-center gap-3 py-0.5">
      <span aria-hidden className="h-px grow bg-line" />
      {runId !== null && call.seq !== null ? (
        <Link
          to="/runs/$runId"
          params={{ runId }}
          search={{ step: call.seq }}
          className={clsx(look, "hover:underline")}
        >
          {said}
        </Link>
      ) : (
        <span className={look}>{said}</span>
      )}
      <span aria-hidden className="h-px grow bg-line" />
    </div>
  );
}

function Labelled({ label, children }: { label: string; children: ReactNode }) {
  return (
    <div className="min-w-0">
      <div className="mb-1 text-2xs font-medium uppercase tracking-wide text-ink-3">{label}</div>
      {children}
    </div>
  );
}
