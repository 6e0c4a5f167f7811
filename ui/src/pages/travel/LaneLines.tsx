/** The lines of a tree beside its rows. */

import clsx from "clsx";
import type { Leaf, Row } from "./lanes";

const LANE = 16;
const ROW = 64;
const DOT_COLOURS: Readonly<Record<string, string>> = {
  neutral: "var(--c-ink-3)",
  info: "var(--c-info)",
  warn: "var(--c-warn)",
  good: "var(--c-good)",
  bad: "var(--c-bad)",
};

/** The lines of a row, which join those of the rows above and below whatever height text gives it. */
export function LaneLines({
  row,
  lanes,
  tone,
  current,
}: {
  row: Row<Leaf>;
  lanes: number;
  tone: string;
  current: boolean;
}) {
  const x = (lane: number): number => lane * LANE + LANE / 2;
  const line = { stroke: "var(--c-line-2)", strokeWidth: 1.5, fill: "none" };
  const middle = ROW / 2;
  return (
    <div aria-hidden className="relative shrink-0" style={{ width: lanes * LANE }}>
      {row.past.map((lane) => (
        <Line key={lane} at={x(lane)} className="inset-y-0" />
      ))}
      {row.from !== null && row.from === row.lane && <Line at={x(row.lane)} className="top-0 h-1/2" />}
      {row.goesOn && <Line at={x(row.lane)} className="bottom-0 h-1/2" />}
      {row.from !== null && row.from !== row.lane && (
        <svg
          aria-hidden
          className="absolute left-0 top-[calc(50%-2rem)] overflow-visible"
          width={lanes * LANE}
          height={ROW}
        >
          <path
            d={`M${x(row.from)} 0 C${x(row.from)} ${middle} ${x(row.lane)} ${middle * 0.4} ${x(row.lane)} ${middle}`}
            {...line}
          />
        </svg>
      )}
      <span
        className={clsx(
          "absolute top-1/2 size-2.5 -translate-x-1/2 -translate-y-1/2 rounded-full ring-2",
          current ? "ring-accent" : "ring-surface",
        )}
        style={{ left: x(row.lane), background: DOT_COLOURS[tone] }}
      />
    </div>
  );
}

const Line = ({ at, className }: { at: number; className: string }) => (
  <span className={clsx("absolute w-[1.5px] -translate-x-1/2 bg-line-2", className)} style={{ left: at }} />
);
