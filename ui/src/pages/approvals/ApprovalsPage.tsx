/** The inbox: the questions beside the one at hand; on a narrow page one after the other. */

import { useQueryClient } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { CircleCheck, Inbox, X } from "lucide-react";
import { useCallback, useEffect, useRef, useState } from "react";
import type { Paged } from "~/api/hooks";
import { type Me, useMe } from "~/api/session";
import type { Approval, ApprovalRow } from "~/api/types";
import { Button, IconButton } from "~/design/Button";
import { Kbd } from "~/design/Facts";
import { PageHeader } from "~/design/Page";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { plural } from "~/lib/format";
import { useHotkeys } from "~/lib/hotkeys";
import { oneLine } from "~/lib/text";
import { outcome } from "~/transcript/deciding";
import { ApprovalDetail } from "./ApprovalDetail";
import { BulkDialog } from "./BulkDialog";
import type { BulkWord } from "./bulk";
import { InboxFilters } from "./InboxFilters";
import { InboxList } from "./InboxList";
import { type InboxSearch, isFiltered, neighbour, settle, span, useInbox } from "./inbox";
import { subject } from "./words";

/** As wide as two panes are. */
const WIDE = "(min-width: 1000px)";
const isWide = (): boolean => matchMedia(WIDE).matches;

/** The list and a question are two addresses, each with a page of its own: whom the next one gives the focus to. */
let focusNext: "row" | "detail" | null = null;
let lastOpened: string | null = null;

export function ApprovalsPage() {
  const me = useMe();
  return me.data === undefined ? null : <Page me={me.data} />;
}

function Page({ me }: { me: Me }) {
  const { approvalId } = useParams({ strict: false });
  const search: InboxSearch = useSearch({ strict: false });
  const navigate = useNavigate();
  const cache = useQueryClient();
  const list = useInbox(search);
  const { rows, query } = list;
  const selection = useSelection(rows);
  const [bulk, setBulk] = useState<BulkWord | null>(null);
  const [said, announce] = useAnnouncer();
  const [last, setLast] = useBriefly();
  const [cursor, setCursor] = useState<string | null>(approvalId ?? lastOpened);
  const [focusing, setFocusing] = useState(0);
  const takesFocus = useRef(focusNext === "detail");
  useEffect(() => {
    if (focusNext === "row") setFocusing((n) => n + 1);
    focusNext = null;
  }, []);
  const open = useCallback(
    (id: string | null, replace = false): void => {
      // The list keeps its own place: it is the same list beside another question.
      const how = { search, replace, resetScroll: false };
      if (id === null) void navigate({ to: "/approvals", ...how });
      else void navigate({ to: "/approvals/$approvalId", params: { approvalId: id }, ...how });
    },
    [navigate, search],
  );
  useEffect(() => {
    if (approvalId === undefined) return;
    lastOpened = approvalId;
    setCursor(approvalId);
  }, [approvalId]);

  const step = (by: 1 | -1): void => {
    const at = rows.findIndex((one) => one.id === cursor);
    const next = rows[at < 0 ? 0 : at + by];
    if (next === undefined) {
      announce(by > 0 ? "This is the last one." : "This is the first one.");
      return;
    }
    setCursor(next.id);
    if (approvalId !== undefined || isWide()) open(next.id, approvalId !== undefined);
    if (isWide() && approvalId === undefined) focusNext = "row";
    else if (isWide() || approvalId === undefined) setFocusing((n) => n + 1);
    else takesFocus.current = true;
  };
  const back = (): void => {
    if (selection.ids.size > 0) selection.clear();
    else if (approvalId !== undefined && !isWide()) {
      focusNext = "row";
      open(null);
    }
    setFocusing((n) => n + 1);
  };
  const toDetail = (): void => {
    takesFocus.current = true;
    document.querySelector<HTMLElement>("[data-detail] h2")?.focus();
  };
  const at = useRef(approvalId);
  useEffect(() => {
    at.current = approvalId;
  });
  const done = (asked: Approval): void => {
    setLast(`${subject(asked)}: ${outcome(asked)}`);
    if (at.current !== asked.id) return; // gone on to another one meanwhile
    const next = neighbour(rows, asked.id);
    const left = rows.filter((one) => one.id !== asked.id).length;
    announce(
      `${outcome(asked)}. ${next === null ? "Nothing else waits." : `${left} left. Next: ${subject(next)} of ${next.agent}.`}`,
    );
    takesFocus.current = next !== null;
    if (next === null) focusNext = "row";
    open(next?.id ?? null, true);
  };
  const enter = (): void => {
    if (approvalId !== undefined) toDetail();
    else if (cursor !== null) {
      focusNext = "detail";
      open(cursor);
    }
  };
  const startBulk = (word: BulkWord): void => setBulk(word);
  useHotkeys([
    { keys: "j", does: "Next question", group: "Inbox", run: () => step(1) },
    { keys: "k", does: "Previous question", group: "Inbox", run: () => step(-1) },
    {
      keys: "enter",
      does: "Open",
      group: "Inbox",
      run: enter,
    },
    { keys: "escape", does: "Back to the list", group: "Inbox", run: back },
    {
      keys: "x",
      does: "Select, to decide several at once",
      group: "Inbox",
      run: () => cursor !== null && selection.toggle(cursor, false),
    },
    ...(selection.ids.size > 0
      ? [
          { keys: "a", does: "Approve the selected", group: "Inbox", run: () => startBulk("approve") },
          { keys: "r", does: "Reject the selected", group: "Inbox", run: () => startBulk("reject") },
        ]
      : []),
  ]);
  return (
    <>
      <PageHeader
        title="Approvals"
        actions={
          last !== null && (
            // Not a toast: those stand over the buttons that are pressed next. It is read out below.
            <span aria-hidden className="flex items-center gap-1.5 text-xs text-ink-2">
              <CircleCheck size={14} className="text-good" />
              {oneLine(last, 80)}
            </span>
          )
        }
        lead={
          search.view === "decided" || query.data === undefined ? null : (
            <span className="text-xs text-ink-3 tabular">
              {query.hasNextPage ? `${rows.length}+ open` : `${rows.length} open`}
            </span>
          )
        }
      />
      <div role="status" aria-live="polite" className="sr-only">
        {said}
      </div>
      <div className="flex min-h-0 min-w-0 grow">
        <div
          className={clsx(
            "min-h-0 w-full min-w-0 flex-col bg-surface min-[1000px]:flex min-[1000px]:w-88 min-[1000px]:shrink-0 min-[1000px]:border-r min-[1000px]:border-line min-[1600px]:w-104",
            approvalId === undefined ? "flex" : "hidden",
          )}
        >
          <InboxFilters
            search={search}
            onChange={(change) => {
              selection.clear();
              void navigate({
                to: approvalId === undefined ? "/approvals" : "/approvals/$approvalId",
                params: approvalId === undefined ? {} : { approvalId },
                search: { ...search, ...change } as InboxSearch,
                replace: true,
                resetScroll: false,
              } as never);
            }}
          />
          {selection.ids.size > 0 && (
            <SelectionBar count={selection.ids.size} onWord={startBulk} onClear={selection.clear} />
          )}
          <Rows
            list={list}
            search={search}
            cursor={cursor}
            focusing={focusing}
            selected={selection.ids}
            onSelect={selection.toggle}
            onOpen={(id) => {
              setCursor(id);
              takesFocus.current = true;
              if (approvalId === undefined) focusNext = "detail";
              if (id === approvalId) toDetail();
            }}
          />
        </div>
        <div
          data-detail
          className={clsx(
            "min-h-0 min-w-0 grow flex-col min-[1000px]:flex",
            approvalId === undefined ? "hidden" : "flex",
          )}
        >
          {approvalId === undefined ? (
            <Nothing any={rows.length > 0} />
          ) : (
            <ApprovalDetail
              id={approvalId}
              me={me}
              bulk={selection.ids.size > 0}
              onBack={() => {
                focusNext = "row";
                open(null);
              }}
              onStep={step}
              onDone={done}
              announce={announce}
              takesFocus={takesFocus}
            />
          )}
        </div>
      </div>
      {bulk !== null && (
        <BulkDialog
          rows={rows.filter((one) => selection.ids.has(one.id))}
          word={bulk}
          onSettled={(asked) => settle(cache, asked)}
          onClose={() => {
            setBulk(null);
            selection.clear();
            if (!rows.some((one) => one.id === cursor)) setCursor(rows[0]?.id ?? null);
            setFocusing((n) => n + 1);
          }}
        />
      )}
    </>
  );
}

function Rows(props: Parameters<typeof InboxList>[0]) {
  const { list, search } = props;
  const { query } = list as Paged<ApprovalRow>;
  if (query.data === undefined)
    return query.isError ? (
      <ErrorState error={query.error} onRetry={() => void query.refetch()} />
    ) : (
      <div role="status" aria-label="Loading the questions" className="flex flex-col">
        {Array.from({ length: 6 }, (_, at) => (
          <div key={at} className="flex h-20 flex-col justify-center gap-2 border-b border-line px-3">
            <Skeleton className="h-4 w-2/3" />
            <Skeleton className="h-3 w-full" />
          </div>
        ))}
      </div>
    );
  if (list.rows.length > 0) return <InboxList {...props} />;
  if (isFiltered(search))
    return (
      <Empty
        icon={<Inbox size={22} />}
        title="None fits"
        action={
          <Link
            to="/approvals"
            search={search.view === undefined ? {} : { view: search.view }}
            className="text-accent-text underline"
          >
            Without filters
          </Link>
        }
      >
        No {search.view === "decided" ? "decided" : "open"} question has all that is asked for above.
      </Empty>
    );
  return search.view === "decided" ? (
    <Empty icon={<Inbox size={22} />} title="Nothing was decided yet">
      Who decided what, and when, is listed here.
    </Empty>
  ) : (
    <Empty icon={<Inbox size={22} />} title="Nobody waits for an answer">
      A run asks here when a tool’s policy says <code className="font-mono">confirm</code>, when its code
      calls <code className="font-mono">ctx.ask</code>, and when nobody knows what became of a call. It waits
      as long as it takes.
    </Empty>
  );
}

function SelectionBar({
  count,
  onWord,
  onClear,
}: {
  count: number;
  onWord: (word: BulkWord) => void;
  onClear: () => void;
}) {
  return (
    <div
      role="toolbar"
      aria-label="Selected questions"
      className="flex shrink-0 items-center gap-2 border-b border-line bg-accent-soft px-3 py-2"
    >
      <span className="grow text-xs font-medium tabular">{plural(count, "question")} selected</span>
      <Button size="sm" look="danger" onClick={() => onWord("reject")}>
        Reject…
      </Button>
      <Button size="sm" look="primary" onClick={() => onWord("approve")}>
        Approve…
      </Button>
      <IconButton size="sm" label="Clear the selection" onClick={onClear}>
        <X size={14} />
      </IconButton>
    </div>
  );
}

const KEYS: readonly (readonly [string, string])[] = [
  ["j", "next"],
  ["k", "previous"],
  ["a", "approve"],
  ["r", "reject"],
  ["e", "edit the arguments"],
  ["x", "select several"],
];

const Nothing = ({ any }: { any: boolean }) => (
  <Empty icon={<Inbox size={22} />} title={any ? "Choose a question" : "All is answered"}>
    {any && (
      <dl className="mt-2 inline-grid grid-cols-[auto_auto] gap-x-3 gap-y-1.5 text-left text-xs">
        {KEYS.map(([keys, does]) => (
          <div key={keys} className="contents">
            <dt className="text-right">
              <Kbd keys={keys} />
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    )}
  </Empty>
);

interface Selection {
  readonly ids: ReadonlySet<string>;
  readonly toggle: (id: string, upTo: boolean) => void;
  readonly clear: () => void;
}

/** Which questions are selected; what leaves the list, or is open no more, leaves the selection. */
function useSelection(rows: readonly ApprovalRow[]): Selection {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const anchor = useRef<string | null>(null);
  const ids = new Set(
    rows.filter((one) => one.status === "pending" && chosen.has(one.id)).map((one) => one.id),
  );
  return {
    ids,
    toggle: (id, upTo) => {
      const next = new Set(ids);
      if (upTo) for (const one of span(rows, anchor.current, id)) next.add(one);
      else if (!next.delete(id)) next.add(id);
      anchor.current = id;
      setChosen(next);
    },
    clear: () => setChosen(new Set()),
  };
}

/** What is read out; the same text twice is read twice. */
function useAnnouncer(): readonly [string, (text: string) => void] {
  const [said, setSaid] = useState("");
  const announce = useCallback((text: string): void => {
    setSaid((before) => (before === text ? `${text}\u00a0` : text));
  }, []);
  return [said, announce];
}

const BRIEFLY_MS = 8_000;

/** What was done last, until it is old. */
function useBriefly(): readonly [string | null, (text: string) => void] {
  const [text, setText] = useState<{ readonly said: string } | null>(null);
  useEffect(() => {
    if (text === null) return;
    const timer = setTimeout(() => setText(null), BRIEFLY_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return [text?.said ?? null, useCallback((said: string) => setText({ said }), [])];
}
