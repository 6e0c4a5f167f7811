/** The questions as rows. */

import { Link } from "@tanstack/react-router";
import clsx from "clsx";
import {
  CircleHelp,
  Eye,
  Hourglass,
  type LucideIcon,
  ShieldAlert,
  ShieldQuestion,
  Users,
  Wrench,
} from "lucide-react";
import type { MouseEvent } from "react";
import type { Paged } from "~/api/hooks";
import type { ApprovalRow } from "~/api/types";
import { Status } from "~/design/Badge";
import { Time } from "~/design/Facts";
import { useRows } from "~/design/useRows";
import { inert, oneLine } from "~/lib/text";
import { useNow } from "~/lib/ticking";
import type { InboxSearch } from "./inbox";
import { approvalsGiven, decidedLine, gist, subject, TYPE_WORDS, timeLeft } from "./words";

const ROW_PX = 80;

export const TYPE_ICONS: Readonly<Record<ApprovalRow["type"], LucideIcon>> = {
  tool: ShieldQuestion,
  input: CircleHelp,
  external: Wrench,
  effect: ShieldAlert,
};

export interface InboxListProps {
  readonly list: Paged<ApprovalRow>;
  readonly search: InboxSearch;
  readonly cursor: string | null;
  /** Rises whenever the row at the cursor shall have the focus. */
  readonly focusing: number;
  readonly selected: ReadonlySet<string>;
  readonly onSelect: (id: string, upTo: boolean) => void;
  readonly onOpen: (id: string) => void;
}

export function InboxList({ list, search, cursor, focusing, selected, onSelect, onOpen }: InboxListProps) {
  const { rows, query } = list;
  const { scroller, shown, totalPx } = useRows({ rows, query, rowPx: ROW_PX, cursor, focusing });
  return (
    <div ref={scroller} className="min-h-0 grow overflow-y-auto" tabIndex={-1}>
      <ul
        aria-label={search.view === "decided" ? "Decided questions" : "Open questions"}
        className="relative"
        style={{ height: totalPx }}
      >
        {shown.map((item) => {
          const row = rows[item.index];
          if (row === undefined) return null;
          return (
            <li
              key={item.key}
              data-row={row.id}
              aria-setsize={query.hasNextPage ? -1 : rows.length}
              aria-posinset={item.index + 1}
              className="absolute inset-x-0 border-b border-line"
              style={{ height: ROW_PX, transform: `translateY(${item.start}px)` }}
            >
              <Row
                row={row}
                search={search}
                current={row.id === cursor}
                selected={selected.has(row.id)}
                selecting={selected.size > 0}
                onSelect={(upTo) => onSelect(row.id, upTo)}
                onOpen={() => onOpen(row.id)}
              />
            </li>
          );
        })}
      </ul>
    </div>
  );
}

function Row({
  row,
  search,
  current,
  selected,
  selecting,
  onSelect,
  onOpen,
}: {
  row: ApprovalRow;
  search: InboxSearch;
  current: boolean;
  selected: boolean;
  selecting: boolean;
  onSelect: (upTo: boolean) => void;
  onOpen: () => void;
}) {
  const pending = row.status === "pending";
  const Icon = TYPE_ICONS[row.type];
  const clicked = (event: MouseEvent): void => {
    if (event.shiftKey && pending) {
      event.preventDefault();
      onSelect(true);
    } else if (!event.metaKey && !event.ctrlKey) onOpen();
  };
  return (
    <div
      className={clsx(
        "group relative flex h-full gap-2.5 px-4 py-2 sm:px-5 hover:bg-hover",
        current && "bg-accent-soft hover:bg-accent-soft",
      )}
    >
      {current && <span aria-hidden className="absolute inset-y-0 left-0 w-0.5 bg-accent" />}
      <span className="relative mt-0.5 flex size-5 shrink-0 items-center justify-center">
        <Icon
          size={16}
          aria-hidden
          className={clsx(
            row.type === "effect" ? "text-warn" : "text-ink-3",
            pending && (selecting ? "hidden" : "group-focus-within:hidden group-hover:hidden"),
          )}
        />
        {pending && (
          <input
            type="checkbox"
            tabIndex={-1}
            checked={selected}
            aria-label={`Select ${subject(row)} of ${row.agent}`}
            onClick={(event) => {
              if (event.shiftKey) {
                event.preventDefault();
                onSelect(true);
              }
            }}
            onChange={() => onSelect(false)}
            className={clsx(
              "absolute z-10 size-4 accent-[var(--c-accent)]",
              !selecting &&
                "opacity-0 focus:opacity-100 group-focus-within:opacity-100 group-hover:opacity-100",
            )}
          />
        )}
      </span>
      <div className="min-w-0 grow">
        <div className="flex items-baseline gap-1.5">
          <Link
            to="/approvals/$approvalId"
            params={{ approvalId: row.id }}
            search={search}
            preload={false}
            resetScroll={false}
            aria-current={current ? "true" : undefined}
            onClick={clicked}
            className="min-w-0 truncate font-medium text-ink outline-none after:absolute after:inset-0 focus-visible:after:outline-2 focus-visible:after:-outline-offset-2 focus-visible:after:outline-accent"
          >
            {oneLine(subject(row), 80)}
          </Link>
          <span className="min-w-0 shrink truncate text-xs text-ink-2">{inert(row.agent)}</span>
          <span className="grow" />
          <Time
            at={row.status === "pending" ? row.created_at : row.resolved_at}
            className="text-xs text-ink-3"
          />
        </div>
        <p dir="auto" className="truncate text-xs text-ink-2">
          {gist(row)}
        </p>
        {pending ? <Pending row={row} /> : <Decided row={row} />}
      </div>
    </div>
  );
}

function Pending({ row }: { row: ApprovalRow }) {
  const left = timeLeft(row, useNow(row.expires_at !== null && row.type !== "effect"));
  return (
    <p className="mt-0.5 flex min-w-0 items-center gap-2.5 text-2xs text-ink-3">
      <span className="min-w-0 truncate">{oneLine(row.reason ?? TYPE_WORDS[row.type], 100)}</span>
      <span className="grow" />
      {row.four_eyes && (
        <span className="flex shrink-0 items-center gap-1">
          <Eye size={12} aria-hidden />
          four eyes
        </span>
      )}
      {row.quorum > 1 && (
        <span className="flex shrink-0 items-center gap-1 tabular">
          <Users size={12} aria-hidden />
          {approvalsGiven(row)} of {row.quorum}
        </span>
      )}
      {left?.soon && (
        <span className="flex shrink-0 items-center gap-1 text-warn tabular">
          <Hourglass size={12} aria-hidden />
          {left.text}
        </span>
      )}
    </p>
  );
}

const Decided = ({ row }: { row: ApprovalRow }) => (
  <p className="mt-0.5 flex min-w-0 items-center gap-2 text-2xs text-ink-2">
    <Status status={row.status} quiet />
    <span dir="auto" className="min-w-0 truncate">
      {decidedLine(row)}
    </span>
  </p>
);
