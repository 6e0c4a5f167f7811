import clsx from "clsx";
import { Check, ChevronRight, CircleX, GitFork } from "lucide-react";
import { memo } from "react";
import { Cell } from "~/design/Cell";
import { KindIcon, kindColour } from "~/design/Kind";
import { cost, duration, plural, short } from "~/lib/format";
import { inert } from "~/lib/text";
import type { Axis, View } from "./axis";
import { COLUMNS, ROW_PX } from "./columns";
import type { NoteRow, SpanRow as Row } from "./rows";
import type { Span } from "./tree";
import { placed } from "./useView";
import { occurrence, spanName } from "./words";

const INDENT_PX = 14;
const DEPTH_SHOWN_MAX = 12;
const WAITS: ReadonlySet<string> = new Set(["sleep", "event", "interrupt"]);

export interface SpanRowProps {
  readonly row: Row;
  readonly id: string;
  readonly index: number;
  readonly top: number;
  readonly axis: Axis;
  readonly view: View;
  /** Now, on this run's clock; null when nothing of it is open. */
  readonly now: number | null;
  readonly current: boolean;
  readonly onSelect: (row: Row) => void;
  readonly onToggle: (row: Row, open: boolean) => void;
}

export const SpanRow = memo(function SpanRow({
  row,
  id,
  index,
  top,
  axis,
  view,
  now,
  current,
  onSelect,
  onToggle,
}: SpanRowProps) {
  const { span, steps } = row;
  const inherited = span.seq !== null && span.seq <= steps.inheritedTo;
  const dim = row.aside || inherited || span.status === "voided";
  const took = span.to === null ? (now === null ? null : now - span.from - row.shift) : span.to - span.from;
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: the keyboard is the treegrid's
    <div
      role="row"
      id={id}
      tabIndex={-1}
      aria-level={row.depth + 1}
      aria-rowindex={index + 1}
      aria-selected={current}
      aria-expanded={row.expandable ? row.expanded : undefined}
      onClick={() => onSelect(row)}
      style={{ transform: `translateY(${top}px)`, height: ROW_PX }}
      className={clsx(
        COLUMNS,
        "absolute inset-x-0 top-0 cursor-default items-center border-b border-line/60 text-xs [contain:strict]",
        current ? "bg-accent-soft" : "hover:bg-hover/60",
        dim ? "text-ink-3" : "text-ink-2",
      )}
    >
      <Cell
        className="flex h-full min-w-0 items-center gap-1.5 pr-2"
        style={{ paddingLeft: 6 + Math.min(row.depth, DEPTH_SHOWN_MAX) * INDENT_PX }}
      >
        <Chevron row={row} onToggle={onToggle} />
        {span.at >= 0 && (
          <span className={clsx("flex shrink-0", dim && "opacity-60")}>
            <KindIcon kind={span.kind} size={13} />
          </span>
        )}
        <Name span={span} inherited={inherited} dim={dim} />
        <Marks row={row} />
      </Cell>
      <Cell className={clsx("relative h-full min-w-0 overflow-hidden", dim && "opacity-60")}>
        <Bar row={row} axis={axis} view={view} now={now} />
      </Cell>
      <Cell className="truncate px-2 text-right tabular">{span.kind === "emit" ? "" : duration(took)}</Cell>
      <Cell className="hidden truncate px-2 text-right tabular @2xl:block">
        {span.tokens > 0 && <span title="tokens of this and all below">{short(span.tokens)}</span>}
      </Cell>
      <Cell className="hidden truncate px-2 text-right tabular @2xl:block">
        {span.cost > 0 && <span title="cost of this and all below">{cost(span.cost)}</span>}
      </Cell>
    </div>
  );
});

function Chevron({ row, onToggle }: { row: Row; onToggle: SpanRowProps["onToggle"] }) {
  if (!row.expandable) return <span className="w-4 shrink-0" />;
  return (
    <button
      type="button"
      tabIndex={-1}
      aria-label={row.expanded ? "Collapse" : "Expand"}
      onClick={(event) => {
        event.stopPropagation();
        onToggle(row, !row.expanded);
      }}
      className="flex size-4 shrink-0 items-center justify-center rounded-sm text-ink-3 hover:bg-hover hover:text-ink"
    >
      <ChevronRight size={13} aria-hidden className={clsx(row.expanded && "rotate-90")} />
    </button>
  );
}

function Name({ span, inherited, dim }: { span: Span; inherited: boolean; dim: boolean }) {
  const number = occurrence(span);
  const scope = span.at < 0;
  return (
    <span className="min-w-0 truncate" title={span.key}>
      {span.branch !== null && !scope && <span className="mr-1 text-ink-3 tabular">{span.branch}</span>}
      <span
        dir="auto"
        className={clsx(
          !scope && "font-medium",
          !scope && !dim && "text-ink",
          span.status === "voided" && "line-through",
        )}
      >
        {inert(spanName(span))}
      </span>
      {number !== null && <span className="ml-1 text-ink-3 tabular">{number}</span>}
      {scope && <span className="ml-1.5 text-ink-3 tabular">{plural(span.steps, "step")}</span>}
      {inherited && <span className="sr-only"> (taken over by the fork)</span>}
    </span>
  );
}

/** What is special about a step, in a word or a sign with a name. */
function Marks({ row: { span, steps } }: { row: Row }) {
  const tries = span.type === "step" ? (steps.tries[span.at] ?? 1) : 1;
  const attempt = span.type === "step" ? (steps.attempt[span.at] ?? 1) : 1;
  const effect = span.type === "step" ? (steps.effect[span.at] ?? null) : null;
  const error = span.type === "step" ? (steps.error[span.at] ?? null) : null;
  const plain = span.type === "step" && span.status === "succeeded" && span.childRunId === null;
  if (plain && effect === null && tries === 1 && attempt === 1) return null;
  return (
    <span className="ml-auto flex shrink-0 items-center gap-1 text-2xs text-ink-3">
      {span.type === "open" && <span className="text-info">{span.approvalId ? "asks" : "open"}</span>}
      {span.status === "voided" && <span>voided</span>}
      {attempt > 1 && <span title={`attempt ${attempt}, after a retry`}>attempt {attempt}</span>}
      {tries > 1 && <span title={`${tries} tries`}>{tries} tries</span>}
      {effect === "committed" && (
        <Check size={12} className="text-good" role="img" aria-label="effect committed" />
      )}
      {effect !== null && effect !== "committed" && (
        <span className={effect === "unknown" ? "text-warn" : undefined}>{effect}</span>
      )}
      {span.at < 0 && span.failed > 0 && (
        <span className="flex items-center gap-0.5 text-bad tabular" title={`${span.failed} failed`}>
          <CircleX size={12} aria-hidden />
          {span.failed}
          <span className="sr-only"> failed</span>
        </span>
      )}
      {span.status === "failed" && (
        <span className="inline-flex text-bad" title={error ?? "failed"}>
          <CircleX size={12} role="img" aria-label={`failed${error ? `: ${error}` : ""}`} />
        </span>
      )}
      {span.childRunId !== null && (
        <GitFork size={12} className="rotate-180" role="img" aria-label="a child run" />
      )}
    </span>
  );
}

function Bar({ row, axis, view, now }: { row: Row; axis: Axis; view: View; now: number | null }) {
  const { span, shift } = row;
  const to = span.to === null ? Math.max(span.from, (now ?? axis.end) - shift) : span.to;
  const place = placed(view, axis.toV(span.from + shift), axis.toV(to + shift));
  if (place === null) return null;
  const colour = kindColour(span.kind);
  const title = `${spanName(span)} · ${duration(to - span.from)}${span.to === null ? " so far" : ""}`;
  const style = { left: `min(${place.left}%, 100% - 3px)`, width: `max(${place.width}%, 3px)` };
  if (span.at < 0)
    return (
      <span
        title={title}
        style={style}
        className="absolute top-1/2 h-1.5 -translate-y-1/2 rounded-full bg-ink-3/60"
      />
    );
  if (WAITS.has(span.kind))
    return (
      <span
        title={title}
        style={{ ...style, borderColor: colour }}
        className={clsx(
          "hatched absolute top-1/2 h-2.5 -translate-y-1/2 rounded-sm border",
          span.to === null && "animate-breathe",
        )}
      />
    );
  return (
    <span
      title={title}
      style={{ ...style, backgroundColor: colour }}
      className={clsx(
        "absolute top-1/2 h-2.5 -translate-y-1/2 rounded-sm",
        span.to === null && "animate-breathe",
        span.status === "failed" && "outline-2 -outline-offset-1 outline-bad",
      )}
    />
  );
}

export function NoteLine({ row, top, index }: { row: NoteRow; top: number; index: number }) {
  return (
    <div
      role="row"
      aria-level={row.depth + 1}
      aria-rowindex={index + 1}
      tabIndex={-1}
      style={{ transform: `translateY(${top}px)`, height: ROW_PX }}
      className="absolute inset-x-0 top-0 flex items-center text-xs text-ink-3"
    >
      <Cell style={{ paddingLeft: 28 + row.depth * INDENT_PX }}>{row.text}</Cell>
    </div>
  );
}
