/** The ledger of side effects: what tools did, and what nobody knows of, beside the one at hand. */

import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { ShieldAlert } from "lucide-react";
import { useEffect, useMemo, useRef, useState } from "react";
import { type Me, useMe } from "~/api/session";
import { Badge } from "~/design/Badge";
import { PageHeader } from "~/design/Page";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { count } from "~/lib/format";
import { useHotkeys } from "~/lib/hotkeys";
import { EffectDetail } from "./EffectDetail";
import { EffectTable } from "./EffectTable";
import { LedgerFilters } from "./LedgerFilters";
import { isFiltered, type LedgerSearch, useLedger } from "./ledger";
import { attentionFirst } from "./words";

const isWide = (): boolean => matchMedia("(min-width: 1100px)").matches;

export function EffectsPage() {
  const me = useMe();
  return me.data === undefined ? null : <Page me={me.data} />;
}

function Page({ me }: { me: Me }) {
  const search: LedgerSearch = useSearch({ from: "/effects" });
  const navigate = useNavigate();
  const { effect: open, ...filters } = search;
  const list = useLedger(filters);
  const unknown = useLedger({ ...filters, status: "unknown" });
  const rows = useMemo(
    () => (filters.status === undefined ? attentionFirst(unknown.rows, list.rows) : list.rows),
    [filters.status, unknown.rows, list.rows],
  );
  const [cursor, setCursor] = useState<string | null>(open ?? null);
  useEffect(() => {
    if (open !== undefined) setCursor(open);
  }, [open]);
  const [focusing, setFocusing] = useState(0);
  const takesFocus = useRef(false);
  const go = (change: { [K in keyof LedgerSearch]?: LedgerSearch[K] | undefined }, replace = true): void =>
    void navigate({
      to: "/effects",
      search: { ...search, ...change } as LedgerSearch,
      replace,
      resetScroll: false,
    });
  const show = (id: string | undefined): void => {
    if (id !== undefined) {
      setCursor(id);
      takesFocus.current = true;
    }
    go({ effect: id }, id === undefined || open !== undefined);
  };
  const step = (by: 1 | -1): void => {
    const at = rows.findIndex((one) => one.id === cursor);
    const next = rows[at < 0 ? 0 : at + by];
    if (next === undefined) return;
    setCursor(next.id);
    if (open !== undefined) go({ effect: next.id });
    if (open === undefined || isWide()) setFocusing((n) => n + 1);
  };
  const close = (): void => {
    if (open !== undefined) show(undefined);
    setFocusing((n) => n + 1);
  };
  useHotkeys([
    { keys: "j", does: "Next effect", group: "Effects", run: () => step(1) },
    { keys: "k", does: "Previous effect", group: "Effects", run: () => step(-1) },
    { keys: "enter", does: "Open", group: "Effects", run: () => cursor !== null && show(cursor) },
    { keys: "escape", does: "Close", group: "Effects", run: close },
    {
      keys: "u",
      does: "Only the unknown, or all",
      group: "Effects",
      run: () => go({ status: filters.status === "unknown" ? undefined : "unknown" }),
    },
  ]);
  const waiting = unknown.rows.length;
  return (
    <>
      <PageHeader
        title="Effects"
        lead={
          waiting > 0 && (
            <Badge tone="warn">
              <ShieldAlert size={12} aria-hidden />
              {count(waiting)}
              {unknown.query.hasNextPage && "+"} unknown
            </Badge>
          )
        }
      />
      <div className="flex min-h-0 min-w-0 grow">
        <div
          className={clsx(
            "min-h-0 min-w-0 grow flex-col bg-surface min-[1100px]:flex",
            open === undefined ? "flex" : "hidden",
          )}
        >
          <LedgerFilters search={filters} onChange={(change) => go(change)} />
          {list.query.data === undefined ? (
            list.query.isError ? (
              <ErrorState error={list.query.error} onRetry={() => void list.query.refetch()} />
            ) : (
              <div role="status" aria-label="Loading the effects" className="flex flex-col">
                {Array.from({ length: 10 }, (_, at) => (
                  <div key={at} className="flex h-12 items-center border-b border-line px-4">
                    <Skeleton className="h-4 w-full" />
                  </div>
                ))}
              </div>
            )
          ) : rows.length === 0 ? (
            <Nothing filtered={isFiltered(filters)} />
          ) : (
            <EffectTable
              rows={rows}
              query={list.query}
              search={filters}
              narrow={open !== undefined}
              cursor={cursor}
              focusing={focusing}
              onOpen={show}
            />
          )}
        </div>
        {open !== undefined && (
          <aside
            aria-label="The effect"
            className="flex min-h-0 min-w-0 grow flex-col border-line bg-canvas min-[1100px]:w-[30rem] min-[1100px]:grow-0 min-[1100px]:border-l"
          >
            <EffectDetail key={open} id={open} me={me} onClose={close} takesFocus={takesFocus} />
          </aside>
        )}
      </div>
    </>
  );
}

const Nothing = ({ filtered }: { filtered: boolean }) =>
  filtered ? (
    <Empty
      icon={<ShieldAlert size={22} />}
      title="None fits"
      action={
        <Link to="/effects" search={{}} className="text-accent-text underline">
          Without filters
        </Link>
      }
    >
      No effect has all that is asked for above.
    </Empty>
  ) : (
    <Empty icon={<ShieldAlert size={22} />} title="No tool has changed anything yet">
      Each call of a tool that may change something is entered here before it is made: with its key, how often
      it was tried, and what became of it. Tools that only read are not.
    </Empty>
  );
