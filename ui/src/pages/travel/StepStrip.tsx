/**
 * All steps of a run as a strip to move along: one cell a step, in the colour of its kind. A slider for the keyboard and
 * for aids, and for a finger. With more steps than there is room for, the strip is a plain bar.
 */

import clsx from "clsx";
import { ChevronLeft, ChevronRight } from "lucide-react";
import { type KeyboardEvent, type PointerEvent, useEffect, useRef } from "react";
import { IconButton } from "~/design/Button";
import { KindIcon, kindColour } from "~/design/Kind";
import { oneLine } from "~/lib/text";
import { movedBy, type StripKey } from "./moving";
import type { Steps } from "./steps";

const CELLS_MAX = 160;

export interface StepStripProps {
  readonly steps: Steps;
  readonly at: number;
  readonly onChange: (at: number) => void;
  readonly label: string;
  /** Cells up to here are shown as being there; the place itself unless given. */
  readonly filledTo?: number;
  /** Whether the keyboard is here at first. */
  readonly focused?: boolean;
}

export const nameAt = (steps: Steps, at: number): string =>
  at === 0 ? "before the first step" : oneLine(steps.at(at)?.name ?? `step ${at}`, 60);

export function StepStrip({ steps, at, onChange, label, filledTo = at, focused = false }: StepStripProps) {
  const { last } = steps;
  const slider = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (focused) slider.current?.focus();
  }, [focused]);
  const go = (next: number): void => onChange(Math.min(last, Math.max(0, next)));
  const pressed = (event: KeyboardEvent): void => {
    if (event.metaKey || event.ctrlKey || event.altKey) return;
    const next = movedBy(event.key as StripKey, at, last);
    if (next === null) return;
    event.preventDefault();
    go(next);
  };
  const pointed = (event: PointerEvent<HTMLDivElement>): void => {
    if (event.buttons !== 1) return;
    const box = event.currentTarget.getBoundingClientRect();
    go(Math.floor(((event.clientX - box.left) / Math.max(1, box.width)) * (last + 1)));
  };
  return (
    <div className="flex min-w-0 items-center gap-1">
      <IconButton label="One step back" size="sm" disabled={at <= 0} onClick={() => go(at - 1)}>
        <ChevronLeft size={16} />
      </IconButton>
      <div
        ref={slider}
        role="slider"
        tabIndex={0}
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={last}
        aria-valuenow={at}
        aria-valuetext={`Step ${at} of ${last}: ${nameAt(steps, at)}`}
        onKeyDown={pressed}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          pointed(event);
        }}
        onPointerMove={pointed}
        style={last <= CELLS_MAX ? { maxWidth: `${(last + 1) * 3}rem` } : undefined}
        className="flex h-8 min-w-0 grow cursor-ew-resize touch-none items-center gap-px rounded-md px-0.5"
      >
        {last <= CELLS_MAX ? (
          Array.from({ length: last + 1 }, (_, seq) => (
            <Cell key={seq} kind={steps.at(seq)?.kind} chosen={seq === at} filled={seq <= filledTo} />
          ))
        ) : (
          <Bar part={at / last} />
        )}
      </div>
      <IconButton label="One step on" size="sm" disabled={at >= last} onClick={() => go(at + 1)}>
        <ChevronRight size={16} />
      </IconButton>
    </div>
  );
}

function Cell({ kind, chosen, filled }: { kind: string | undefined; chosen: boolean; filled: boolean }) {
  return (
    <span aria-hidden className="flex h-full min-w-0 grow flex-col items-center justify-center">
      <span
        className={clsx(
          "w-full rounded-[2px] transition-[height]",
          chosen ? "h-5 ring-2 ring-accent ring-offset-1 ring-offset-surface" : "h-2",
          !filled && "opacity-25",
        )}
        style={{ background: kind === undefined ? "var(--c-wait)" : kindColour(kind) }}
      />
    </span>
  );
}

const Bar = ({ part }: { part: number }) => (
  <span aria-hidden className="relative block h-2 w-full rounded-full bg-mute-soft">
    <span className="absolute inset-y-0 left-0 rounded-full bg-accent" style={{ width: `${part * 100}%` }} />
    <span
      className="absolute top-1/2 size-4 -translate-x-1/2 -translate-y-1/2 rounded-full border-2 border-accent bg-raised"
      style={{ left: `${part * 100}%` }}
    />
  </span>
);

/** Which step a place is, in words. */
export function StepAt({ steps, at }: { steps: Steps; at: number }) {
  const step = steps.at(at);
  return (
    <span className="inline-flex min-w-0 max-w-full items-center gap-1.5 text-sm">
      {step !== undefined && <KindIcon kind={step.kind} />}
      <span className="truncate font-medium">{nameAt(steps, at)}</span>
      <span className="shrink-0 text-xs text-ink-3 tabular">
        {at} of {steps.last}
      </span>
    </span>
  );
}
