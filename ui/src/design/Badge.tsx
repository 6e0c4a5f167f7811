import clsx from "clsx";
import type { ReactNode } from "react";

export type Tone = "neutral" | "accent" | "info" | "warn" | "good" | "bad";

const TONES: Readonly<Record<Tone, string>> = {
  neutral: "bg-mute-soft text-ink-2",
  accent: "bg-accent-soft text-accent-text",
  info: "bg-info-soft text-info",
  warn: "bg-warn-soft text-warn",
  good: "bg-good-soft text-good",
  bad: "bg-bad-soft text-bad",
};

export function Badge({
  tone = "neutral",
  className,
  children,
  title,
}: {
  tone?: Tone;
  className?: string;
  children: ReactNode;
  title?: string;
}) {
  return (
    <span
      title={title}
      className={clsx(
        "inline-flex h-5 shrink-0 items-center gap-1 whitespace-nowrap rounded-sm px-1.5 text-2xs font-medium",
        TONES[tone],
        className,
      )}
    >
      {children}
    </span>
  );
}

/** The tone of a state of a run, an approval or an effect. */
export const STATUS_TONES: Readonly<Record<string, Tone>> = {
  queued: "neutral",
  running: "info",
  waiting: "warn",
  succeeded: "good",
  failed: "bad",
  cancelled: "neutral",
  voided: "neutral",
  pending: "warn",
  approved: "good",
  rejected: "bad",
  answered: "good",
  expired: "neutral",
  planned: "neutral",
  started: "info",
  committed: "good",
  unknown: "warn",
  abandoned: "neutral",
  compensated: "neutral",
};

const DOTS: Readonly<Record<Tone, string>> = {
  neutral: "bg-ink-3",
  accent: "bg-accent",
  info: "bg-info",
  warn: "bg-warn",
  good: "bg-good",
  bad: "bg-bad",
};

/** A state in one word and a colour; the word alone says it. */
export function Status({ status, quiet = false }: { status: string; quiet?: boolean }) {
  const tone = STATUS_TONES[status] ?? "neutral";
  const dot = (
    <span
      aria-hidden
      className={clsx("size-1.5 rounded-full", DOTS[tone], status === "running" && "animate-breathe")}
    />
  );
  if (quiet)
    return (
      <span className="inline-flex items-center gap-1.5 whitespace-nowrap text-xs text-ink-2">
        {dot}
        {status}
      </span>
    );
  return (
    <Badge tone={tone}>
      {dot}
      {status}
    </Badge>
  );
}
