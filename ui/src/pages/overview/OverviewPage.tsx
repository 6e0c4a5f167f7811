/** How things stand: what runs, what waits for somebody, what went wrong, and what it cost. */

import { keepPreviousData, type UseQueryResult, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { CircleCheck } from "lucide-react";
import type { ReactNode } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { may, useMe } from "~/api/session";
import type { ApprovalRow, components, Page, Run } from "~/api/types";
import { PageBody, PageHeader, Panel } from "~/design/Page";
import { Segmented } from "~/design/Segmented";
import { Empty, ErrorState, Skeleton, SkeletonRows } from "~/design/States";
import { FirstSteps, type Led, useFirstSteps } from "./FirstSteps";
import { NoAgents } from "./NoAgents";
import { Numbers } from "./Numbers";
import { FailureList, RunList } from "./RunList";
import { RunsChart } from "./RunsChart";
import { WaitingList } from "./WaitingList";

type Overview = components["schemas"]["OverviewOut"];

const RECENT = 10;
const FAILED = 5;
const WAITING = 6;

function useOverview(hours: number): UseQueryResult<Overview> {
  return useQuery({
    queryKey: keys.overview(hours),
    placeholderData: keepPreviousData,
    queryFn: ({ signal }) => body(api.GET("/v1/overview", { params: { query: { hours } }, signal })),
  });
}

function useRuns(status: "failed" | undefined, limit: number): UseQueryResult<Page<Run>> {
  const query = { limit, ...(status !== undefined && { status: [status] }) };
  return useQuery({
    queryKey: keys.runs({ overview: true, ...query }),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/runs", { params: { query: query as never }, signal })) as Promise<Page<Run>>,
  });
}

function useWaiting(enabled: boolean): UseQueryResult<Page<ApprovalRow>> {
  return useQuery({
    queryKey: keys.approvals({ overview: true }),
    enabled,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/approvals", { params: { query: { status: ["pending"], limit: WAITING } }, signal }),
      ) as Promise<Page<ApprovalRow>>,
  });
}

export function OverviewPage() {
  const { days = 1 } = useSearch({ strict: false }) as { days?: 1 | 7 };
  const navigate = useNavigate();
  const me = useMe();
  const decides = may(me.data, "approvals:read");
  const asked: Asked = {
    overview: useOverview(days * DAY_HOURS),
    day: useOverview(DAY_HOURS),
    recent: useRuns(undefined, RECENT),
    failed: useRuns("failed", FAILED),
    waiting: useWaiting(decides),
    decides,
  };
  const { overview, recent, waiting } = asked;
  const led = useFirstSteps(
    listed(recent),
    decides ? listed(waiting) : NOBODY,
    overview.data === undefined || overview.data.agents > 0,
  );
  return (
    <>
      <PageHeader
        title="Overview"
        actions={
          <Segmented
            label="How far back"
            value={String(days)}
            onChange={(next) =>
              void navigate({ to: "/", search: next === "1" ? {} : { days: 7 }, replace: true })
            }
            options={[
              { value: "1", label: "24 hours" },
              { value: "7", label: "7 days" },
            ]}
          />
        }
      />
      {overview.isError && overview.data === undefined ? (
        <ErrorState error={overview.error} onRetry={() => void overview.refetch()} what="The overview" />
      ) : (
        <PageBody>
          {overview.data === undefined || led === undefined || me.isPending ? (
            <Loading />
          ) : (
            <Standing asked={asked} overview={overview.data} led={led} days={days} />
          )}
        </PageBody>
      )}
    </>
  );
}

const DAY_HOURS = 24;
const NOBODY: readonly ApprovalRow[] = [];

interface Asked {
  readonly overview: UseQueryResult<Overview>;
  readonly day: UseQueryResult<Overview>;
  readonly recent: UseQueryResult<Page<Run>>;
  readonly failed: UseQueryResult<Page<Run>>;
  readonly waiting: UseQueryResult<Page<ApprovalRow>>;
  readonly decides: boolean;
}

/** What a list has; nothing if it cannot be had: its own panel says why. */
const listed = <T,>(query: UseQueryResult<Page<T>>): readonly T[] | undefined =>
  query.isError ? [] : query.data?.data;

const Loading = () => (
  <div role="status" aria-label="Loading" className="flex flex-col gap-4">
    <Skeleton className="h-22 w-full" />
    <div className="grid gap-4 lg:grid-cols-3">
      <Skeleton className="h-80 lg:col-span-2" />
      <Skeleton className="h-80" />
    </div>
  </div>
);

function Standing({
  asked: { day, recent, failed, waiting, decides },
  overview,
  led,
  days,
}: {
  asked: Asked;
  overview: Overview;
  led: Led | null;
  days: number;
}) {
  const first = led !== null && <FirstSteps {...led} />;
  const isNew = recent.data?.data.length === 0;
  return (
    <>
      {overview.agents === 0 && <NoAgents />}
      {isNew && first}
      <Numbers overview={overview} day={day.data} days={days} />
      {!isNew && first}
      <div className="grid items-start gap-4 lg:grid-cols-3">
        <div className="flex min-w-0 flex-col gap-4 lg:col-span-2">
          <RunsChart
            buckets={overview.hours}
            bucketHours={overview.bucket_hours}
            priced={overview.since.priced}
            more={overview.more}
          />
          <Listed
            title="Recent runs"
            to="/runs"
            query={recent}
            rows={RECENT}
            empty={<NoRuns hasAgents={overview.agents > 0} />}
          >
            {(page) => <RunList runs={page.data} />}
          </Listed>
        </div>
        <div className="flex min-w-0 flex-col gap-4">
          {decides && (
            <Listed
              title="Waits for somebody"
              to="/approvals"
              query={waiting}
              rows={3}
              empty={<Calm>Nothing waits for anybody.</Calm>}
            >
              {(page) => <WaitingList approvals={page.data} />}
            </Listed>
          )}
          <Listed
            title="Newest failures"
            to="/runs"
            search={{ status: "failed" }}
            query={failed}
            rows={3}
            empty={<Calm>No run has failed.</Calm>}
          >
            {(page) => <FailureList runs={page.data} />}
          </Listed>
        </div>
      </div>
    </>
  );
}

function Listed<T>({
  title,
  to,
  search = {},
  query,
  rows,
  empty,
  children,
}: {
  title: string;
  to: string;
  search?: object;
  query: UseQueryResult<Page<T>>;
  rows: number;
  empty: ReactNode;
  children: (page: Page<T>) => ReactNode;
}) {
  return (
    <Panel
      title={title}
      flush
      actions={
        <Link
          to={to as never}
          search={search as never}
          aria-label={`All: ${title.toLowerCase()}`}
          className="rounded-sm text-xs text-accent-text hover:underline"
        >
          All
        </Link>
      }
    >
      {query.data !== undefined ? (
        query.data.data.length === 0 ? (
          empty
        ) : (
          children(query.data)
        )
      ) : query.isError ? (
        <ErrorState error={query.error} onRetry={() => void query.refetch()} />
      ) : (
        <SkeletonRows rows={rows} />
      )}
    </Panel>
  );
}

const Calm = ({ children }: { children: ReactNode }) => (
  <p className="flex items-center gap-2 px-4 py-4 text-sm text-ink-2">
    <CircleCheck size={16} aria-hidden className="shrink-0 text-good" />
    {children}
  </p>
);

const NoRuns = ({ hasAgents }: { hasAgents: boolean }) => (
  <Empty
    title="No runs yet"
    action={
      hasAgents && (
        <Link to="/chat" className="text-accent-text underline">
          Talk to an agent
        </Link>
      )
    }
  >
    A message in the chat, a request to the API or code of yours starts one. It then shows here by itself.
  </Empty>
);
