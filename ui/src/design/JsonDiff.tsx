/** The difference of two JSON values, member by member: what was there, and what is there now. */

import clsx from "clsx";
import { ArrowRight } from "lucide-react";
import { type ReactNode, useMemo } from "react";
import { inert } from "~/lib/text";
import { JsonView } from "./Json";
import { type Change, differences, pathText, wordDiff } from "./jsonDiff";

const INLINE_CHARS = 60;
const TEXT_CHARS_MAX = 2_000;

const MARKS: Readonly<Record<Change["kind"], readonly [string, string]>> = {
  added: ["+", "text-good"],
  removed: ["−", "text-bad"],
  changed: ["~", "text-info"],
};

export function JsonDiff({
  before,
  after,
  same = "No difference.",
  label = "Differences",
  className,
}: {
  before: unknown;
  after: unknown;
  /** Said when there is none. */
  same?: ReactNode;
  label?: string;
  className?: string;
}) {
  const { changes, more } = useMemo(() => differences(before, after), [before, after]);
  if (changes.length === 0) return <p className={clsx("text-xs text-ink-3", className)}>{same}</p>;
  return (
    <div className={clsx("min-w-0", className)}>
      <ul aria-label={label} className="flex min-w-0 flex-col divide-y divide-line">
        {changes.map((change, at) => (
          <Row key={at} change={change} />
        ))}
      </ul>
      {more && <p className="pt-2 text-xs text-ink-3">There are more; these are the first.</p>}
    </div>
  );
}

function Row({ change }: { change: Change }) {
  const [mark, tone] = MARKS[change.kind];
  const path = pathText(change.path);
  return (
    <li className="grid min-w-0 grid-cols-[0.75rem_minmax(0,1fr)] gap-x-1.5 py-1.5 first:pt-0 last:pb-0">
      <span aria-hidden className={clsx("text-center font-mono text-xs", tone)}>
        {mark}
      </span>
      <div className="min-w-0">
        <span className="mr-2 font-mono text-xs text-ink-2 [overflow-wrap:anywhere]">
          {path === "" ? "the whole" : inert(path)}
          <span className="sr-only"> {change.kind}</span>
        </span>
        <Values change={change} />
      </div>
    </li>
  );
}

function Values({ change: { kind, before, after } }: { change: Change }) {
  if (kind === "added") return <Value value={after} side="after" />;
  if (kind === "removed") return <Value value={before} side="before" />;
  if (isInline(before) && isInline(after))
    return (
      <span className="inline-flex max-w-full flex-wrap items-baseline gap-x-1.5">
        <Value value={before} side="before" />
        <ArrowRight size={11} aria-label="to" className="shrink-0 self-center text-ink-3" />
        <Value value={after} side="after" />
      </span>
    );
  if (typeof before === "string" && typeof after === "string") return <Texts before={before} after={after} />;
  return (
    <div className="mt-1 flex min-w-0 flex-col gap-1">
      <Value value={before} side="before" />
      <Value value={after} side="after" />
    </div>
  );
}

const isInline = (value: unknown): boolean =>
  typeof value === "string"
    ? value.length <= INLINE_CHARS && !value.includes("\n")
    : typeof value !== "object" || value === null;

/** Two longer texts: woven into one where that can be read, else one below the other, cut. */
function Texts({ before, after }: { before: string; after: string }) {
  const pieces = useMemo(() => wordDiff(before, after), [before, after]);
  if (pieces === null)
    return (
      <div className="mt-1 flex min-w-0 flex-col gap-1">
        <Value value={before} side="before" />
        <Value value={after} side="after" />
      </div>
    );
  return (
    <p dir="auto" className="mt-0.5 whitespace-pre-wrap text-sm leading-5 [overflow-wrap:anywhere]">
      {pieces.map((piece, at) =>
        piece.kind === "same" ? (
          <span key={at}>{inert(shortened(piece.text))}</span>
        ) : piece.kind === "removed" ? (
          <del key={at} className="rounded-sm bg-bad-soft text-bad">
            {inert(piece.text)}
          </del>
        ) : (
          <ins key={at} className="rounded-sm bg-good-soft text-good no-underline">
            {inert(piece.text)}
          </ins>
        ),
      )}
    </p>
  );
}

const KEPT_CHARS = 160;

/** Of a long part that stayed, its ends: enough to see where the change stands. */
const shortened = (text: string): string =>
  text.length <= KEPT_CHARS * 3 ? text : `${text.slice(0, KEPT_CHARS)} … ${text.slice(-KEPT_CHARS)}`;

function Value({ value, side }: { value: unknown; side: "before" | "after" }) {
  const Tag = side === "before" ? "del" : "ins";
  if (typeof value === "object" && value !== null)
    return (
      <div className={clsx("mt-1 border-l-2 pl-1", side === "before" ? "border-bad" : "border-good")}>
        <span className="sr-only">{side === "before" ? "was:" : "is now:"}</span>
        <JsonView value={value} actions={false} />
      </div>
    );
  const text = typeof value === "string" ? value : String(value);
  const cut = text.length > TEXT_CHARS_MAX;
  return (
    <Tag
      dir="auto"
      className={clsx(
        "max-w-full whitespace-pre-wrap rounded-sm px-1 font-mono text-xs [overflow-wrap:anywhere]",
        side === "before" ? "bg-bad-soft text-bad" : "bg-good-soft text-good no-underline",
      )}
    >
      {text === "" ? (
        <span className="italic">empty</span>
      ) : (
        inert(cut ? text.slice(0, TEXT_CHARS_MAX) : text)
      )}
      {cut && "…"}
    </Tag>
  );
}
