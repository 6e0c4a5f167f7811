/** The list of questions, or what stands in its place while there is none. */

import { Link } from "@tanstack/react-router";
import { Inbox } from "lucide-react";
import type { ReactNode } from "react";
import { Kbd } from "~/design/Facts";
import { Empty, ErrorState, Skeleton } from "~/design/States";
import { InboxList, type InboxListProps } from "./InboxList";
import { type InboxSearch, isFiltered } from "./inbox";

export function InboxRows(props: InboxListProps) {
  const { list, search } = props;
  const { query } = list;
  if (query.data === undefined)
    return query.isError ? (
      <ErrorState error={query.error} onRetry={() => void query.refetch()} />
    ) : (
      <Loading />
    );
  return list.rows.length > 0 ? <InboxList {...props} /> : <Without search={search} />;
}

const Loading = () => (
  <div role="status" aria-label="Loading the questions" className="flex flex-col">
    {Array.from({ length: 6 }, (_, at) => (
      <div key={at} className="flex h-20 flex-col justify-center gap-2 border-b border-line px-4 sm:px-5">
        <Skeleton className="h-4 w-2/3" />
        <Skeleton className="h-3 w-full" />
      </div>
    ))}
  </div>
);

const ICON: ReactNode = <Inbox size={22} />;

function Without({ search }: { search: InboxSearch }) {
  const decided = search.view === "decided";
  if (isFiltered(search))
    return (
      <Empty
        icon={ICON}
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
        No {decided ? "decided" : "open"} question has all that is asked for above.
      </Empty>
    );
  return decided ? (
    <Empty icon={ICON} title="Nothing was decided yet">
      Who decided what, and when, is listed here.
    </Empty>
  ) : (
    <Empty icon={ICON} title="Nobody waits for an answer">
      A run asks here when a tool’s policy says <code className="font-mono">confirm</code>, when its code
      calls <code className="font-mono">ctx.ask</code>, and when nobody knows what became of a call. It waits
      as long as it takes.
    </Empty>
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

/** Beside the list while none is open. */
export const NothingOpen = ({ any }: { any: boolean }) => (
  <Empty icon={ICON} title={any ? "Choose a question" : "All is answered"}>
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
