/** Effects as a table, or as cards where there is no room for one. */

import type { UseInfiniteQueryResult } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import { Undo2 } from "lucide-react";
import type { ReactNode } from "react";
import type { EffectRow } from "~/api/types";
import { Badge, Status } from "~/design/Badge";
import { Id, Time } from "~/design/Facts";
import { useRows } from "~/design/useRows";
import { useMedia } from "~/lib/media";
import { placeIn } from "~/lib/place";
import { inert, oneLine } from "~/lib/text";
import type { LedgerSearch } from "./ledger";
import { begunAt, CLASS_WORDS, gist, STATUS_WORDS } from "./words";

const COLUMNS = ["Status", "Tool", "Arguments", "Agent", "Tries", "When", "Run"] as const;
const GRID =
  "grid grid-cols-[6.5rem_minmax(6.5rem,1.1fr)_minmax(6rem,2.2fr)_minmax(4.5rem,0.8fr)_2.5rem_5.5rem_7rem] min-[1700px]:grid-cols-[6.5rem_20rem_minmax(6rem,1fr)_14rem_2.5rem_5.5rem_7rem] items-center gap-x-4 px-4 sm:px-5";

export interface EffectTableProps {
  readonly rows: readonly EffectRow[];
  readonly query: UseInfiniteQueryResult;
  readonly search: LedgerSearch;
  /** A pane stands beside it. */
  readonly narrow: boolean;
  readonly cursor: string | null;
  /** Rises whenever the row at the cursor shall have the focus. */
  readonly focusing: number;
  readonly onOpen: (id: string) => void;
}

export function EffectTable({ rows, query, search, narrow, cursor, focusing, onOpen }: EffectTableProps) {
  const wide = useMedia("(min-width: 900px)");
  const table = wide && !narrow;
  const rowPx = table ? 44 : 76;
  const { scroller, shown, totalPx } = useRows({ rows, query, rowPx, cursor, focusing });
  const Row = table ? TableRow : Card;
  const label = "Effects";
  const frame = table
    ? { role: "table", "aria-label": label, "aria-rowcount": query.hasNextPage ? -1 : rows.length + 1 }
    : {};
  const list = table ? { role: "presentation" } : { role: "list", "aria-label": label };
  const rowOf = (index: number) =>
    table ? { role: "row", "aria-rowindex": index + 2 } : { role: "listitem" };
  return (
    <div {...frame} className="flex min-h-0 grow flex-col">
      {table && (
        <div role="rowgroup" className="shrink-0 border-b border-line">
          {/* biome-ignore lint/a11y/useFocusableInteractive: a row of a table to be read, not of a grid */}
          <div
            role="row"
            className={clsx(GRID, "h-8 text-2xs font-medium uppercase tracking-wide text-ink-3")}
          >
            {COLUMNS.map((column) => (
              // biome-ignore lint/a11y/useFocusableInteractive: the head of a table to be read, not of a grid
              <div key={column} role="columnheader" className={column === "Tries" ? "text-right" : undefined}>
                {column}
              </div>
            ))}
          </div>
        </div>
      )}
      <div
        ref={scroller}
        {...(table ? { role: "rowgroup" } : {})}
        tabIndex={-1}
        className="min-h-0 grow overflow-y-auto"
      >
        <div {...list} className="relative" style={{ height: totalPx }}>
          {shown.map((item) => {
            const effect = rows[item.index];
            if (effect === undefined) return null;
            return (
              <div
                key={item.key}
                data-row={effect.id}
                {...rowOf(item.index)}
                style={{ height: rowPx, transform: `translateY(${item.start}px)` }}
                className={clsx(
                  "absolute inset-x-0 border-b border-line",
                  effect.id === cursor
                    ? "bg-accent-soft"
                    : effect.status === "unknown"
                      ? "bg-warn-soft hover:brightness-[0.98] dark:hover:brightness-110"
                      : "hover:bg-hover",
                )}
              >
                {effect.id === cursor && (
                  <span aria-hidden className="absolute inset-y-0 left-0 w-0.5 bg-accent" />
                )}
                <Row effect={effect} search={search} current={effect.id === cursor} onOpen={onOpen} />
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

interface RowProps {
  readonly effect: EffectRow;
  readonly search: LedgerSearch;
  readonly current: boolean;
  readonly onOpen: (id: string) => void;
}

function Name({ effect, search, current, onOpen }: RowProps) {
  return (
    <span className="flex min-w-0 items-center gap-1.5">
      <Link
        to="/effects"
        search={{ ...search, effect: effect.id }}
        aria-current={current ? "true" : undefined}
        onClick={(event) => {
          if (event.metaKey || event.ctrlKey || event.shiftKey) return;
          event.preventDefault();
          onOpen(effect.id);
        }}
        className="min-w-0 truncate font-medium text-ink outline-none after:absolute after:inset-0 focus-visible:after:outline-2 focus-visible:after:-outline-offset-2 focus-visible:after:outline-accent"
      >
        {oneLine(effect.tool, 80)}
      </Link>
      <span title={CLASS_WORDS[effect.effect_class]}>
        <Badge>{effect.effect_class}</Badge>
      </span>
      {effect.compensates !== null && (
        <Undo2 size={13} aria-label="undoes another effect" className="shrink-0 text-ink-3" />
      )}
    </span>
  );
}

const Cell = ({ children, className }: { children: ReactNode; className?: string }) => (
  <div role="cell" className={clsx("min-w-0", className)}>
    {children}
  </div>
);

function TableRow(props: RowProps) {
  const { effect } = props;
  return (
    <div role="presentation" className={clsx(GRID, "h-full")}>
      <Cell>
        <span title={STATUS_WORDS[effect.status]}>
          <Status status={effect.status} />
        </span>
      </Cell>
      <Cell>
        <Name {...props} />
      </Cell>
      <Cell className="truncate text-xs text-ink-2">
        <bdi>{gist(effect)}</bdi>
      </Cell>
      <Cell className="truncate text-xs text-ink-2">{inert(effect.agent)}</Cell>
      <Cell className="text-right text-xs text-ink-2 tabular">{effect.attempt}</Cell>
      <Cell className="text-xs text-ink-2">
        <Time at={begunAt(effect)} />
      </Cell>
      <Cell className="relative z-10">
        <Link
          to="/runs/$runId"
          params={{ runId: effect.run_id }}
          search={placeIn(effect)}
          className="rounded-sm hover:underline"
        >
          <Id id={effect.run_id} />
        </Link>
      </Cell>
    </div>
  );
}

function Card(props: RowProps) {
  const { effect } = props;
  return (
    <div className="flex h-full flex-col justify-center gap-0.5 px-4 sm:px-5">
      <div className="flex min-w-0 items-center gap-2">
        <Name {...props} />
        <span className="grow" />
        <Time at={begunAt(effect)} className="text-xs text-ink-3" />
      </div>
      <p dir="auto" className="truncate text-xs text-ink-2">
        {gist(effect)}
      </p>
      <div className="flex min-w-0 items-center gap-2 text-2xs text-ink-3">
        <Status status={effect.status} quiet />
        <span className="truncate">{inert(effect.agent)}</span>
        <span className="shrink-0 tabular">{effect.attempt === 1 ? "1 try" : `${effect.attempt} tries`}</span>
      </div>
    </div>
  );
}
