/** The inbox: the questions beside the one at hand; on a narrow page one after the other. */

import { useQueryClient } from "@tanstack/react-query";
import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import clsx from "clsx";
import { CircleCheck } from "lucide-react";
import { type ReactNode, useState } from "react";
import type { Paged } from "~/api/hooks";
import { type Me, useMe } from "~/api/session";
import type { ApprovalRow } from "~/api/types";
import { PageHeader } from "~/design/Page";
import { useHotkeys } from "~/lib/hotkeys";
import { oneLine } from "~/lib/text";
import { ApprovalDetail } from "./ApprovalDetail";
import { useAnnouncer, useBriefly } from "./announcing";
import { BulkDialog } from "./BulkDialog";
import type { BulkWord } from "./bulk";
import { InboxFilters } from "./InboxFilters";
import { InboxRows, NothingOpen } from "./InboxRows";
import { type InboxSearch, settle, useInbox } from "./inbox";
import { SelectionBar } from "./SelectionBar";
import { usePlace } from "./usePlace";
import { type Selection, useSelection } from "./useSelection";

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
  const { rows } = list;
  const selection = useSelection(rows);
  const [bulk, setBulk] = useState<BulkWord | null>(null);
  const [said, announce] = useAnnouncer();
  const [last, setLast] = useBriefly();
  const place = usePlace({ approvalId, search, list, announce, onSaid: setLast });
  useInboxKeys(place, selection, setBulk);
  const change = (wanted: { [K in keyof InboxSearch]?: InboxSearch[K] | undefined }): void => {
    selection.clear();
    void navigate({
      to: approvalId === undefined ? "/approvals" : "/approvals/$approvalId",
      params: approvalId === undefined ? {} : { approvalId },
      search: { ...search, ...wanted } as InboxSearch,
      replace: true,
      resetScroll: false,
    } as never);
  };
  return (
    <>
      <PageHeader
        title="Approvals"
        actions={last !== null && <DoneLast text={last} />}
        lead={search.view === "decided" ? null : <Count list={list} />}
      />
      <div role="status" aria-live="polite" className="sr-only">
        {said}
      </div>
      <div className="flex min-h-0 min-w-0 grow">
        <Side hidden={approvalId !== undefined}>
          <InboxFilters search={search} onChange={change} />
          {selection.ids.size > 0 && (
            <SelectionBar count={selection.ids.size} onWord={setBulk} onClear={selection.clear} />
          )}
          <InboxRows
            list={list}
            search={search}
            cursor={place.cursor}
            focusing={place.focusing}
            selected={selection.ids}
            onSelect={selection.toggle}
            onOpen={place.opened}
          />
        </Side>
        <div
          data-detail
          className={clsx(
            "min-h-0 min-w-0 grow flex-col min-[1000px]:flex",
            approvalId === undefined ? "hidden" : "flex",
          )}
        >
          {approvalId === undefined ? (
            <NothingOpen any={rows.length > 0} />
          ) : (
            <ApprovalDetail
              id={approvalId}
              me={me}
              bulk={selection.ids.size > 0}
              onBack={place.toList}
              onStep={place.step}
              onDone={place.done}
              announce={announce}
              takesFocus={place.takesFocus}
            />
          )}
        </div>
      </div>
      {bulk !== null && (
        <BulkDialog
          rows={rows.filter((one) => selection.ids.has(one.id))}
          word={bulk}
          me={me}
          onSettled={(asked) => settle(cache, ...asked)}
          onClose={() => {
            setBulk(null);
            selection.clear();
            place.refocus();
          }}
        />
      )}
    </>
  );
}

const Side = ({ hidden, children }: { hidden: boolean; children: ReactNode }) => (
  <div
    className={clsx(
      "min-h-0 w-full min-w-0 flex-col bg-surface min-[1000px]:flex min-[1000px]:w-88 min-[1000px]:shrink-0 min-[1000px]:border-r min-[1000px]:border-line min-[1600px]:w-104",
      hidden ? "hidden" : "flex",
    )}
  >
    {children}
  </div>
);

/** Not a toast: those stand over the buttons that are pressed next. It is read out beside. */
const DoneLast = ({ text }: { text: string }) => (
  <span aria-hidden className="flex items-center gap-1.5 text-xs text-ink-2">
    <CircleCheck size={14} className="text-good" />
    {oneLine(text, 80)}
  </span>
);

const Count = ({ list: { rows, query } }: { list: Paged<ApprovalRow> }) =>
  query.data === undefined ? null : (
    <span className="text-xs text-ink-3 tabular">
      {query.hasNextPage ? `${rows.length}+ open` : `${rows.length} open`}
    </span>
  );

function useInboxKeys(
  place: ReturnType<typeof usePlace>,
  selection: Selection,
  onBulk: (word: BulkWord) => void,
): void {
  const group = "Inbox";
  const back = (): void => {
    if (selection.ids.size > 0) selection.clear();
    else place.leave();
    place.refocus();
  };
  const select = (): void => {
    if (place.cursor !== null) selection.toggle(place.cursor, false);
  };
  useHotkeys([
    { keys: "j", does: "Next question", group, run: () => place.step(1) },
    { keys: "k", does: "Previous question", group, run: () => place.step(-1) },
    { keys: "enter", does: "Open", group, run: place.enter },
    { keys: "escape", does: "Back to the list", group, run: back },
    { keys: "x", does: "Select, to decide several at once", group, run: select },
    ...(selection.ids.size > 0
      ? [
          { keys: "a", does: "Approve the selected", group, run: () => onBulk("approve") },
          { keys: "r", does: "Reject the selected", group, run: () => onBulk("reject") },
        ]
      : []),
  ]);
}
