/** The list of questions: what is asked of the API for it, and what a decision does to what is cached of it. */

import {
  type InfiniteData,
  type QueryClient,
  type UseQueryResult,
  useQuery,
  useQueryClient,
} from "@tanstack/react-query";
import { api, body } from "~/api/client";
import { type Paged, usePages } from "~/api/hooks";
import { keys } from "~/api/keys";
import type { Approval, ApprovalRow, ApprovalStatus, Page } from "~/api/types";
import type * as search from "~/app/search";

export type InboxSearch = ReturnType<typeof search.approvals>;

const DECIDED: ApprovalStatus[] = ["approved", "rejected", "answered", "expired", "cancelled"];

const AGES_S = { hour: 3_600, day: 86_400, week: 604_800 } as const;

/** The question that a list's address asks. */
export function inboxQuery({ view, agent, tool, age, run }: InboxSearch) {
  const decided = view === "decided";
  return {
    status: decided ? DECIDED : (["pending"] satisfies ApprovalStatus[] as ApprovalStatus[]),
    ...(decided ? { by: "resolved" as const, order: "desc" as const } : { order: "asc" as const }),
    ...(agent === undefined ? {} : { agent }),
    ...(tool === undefined ? {} : { tool }),
    ...(run === undefined ? {} : { run_id: run }),
    ...(age === undefined ? {} : { older_than: AGES_S[age] }),
  };
}

export const isFiltered = ({ agent, tool, age, run }: InboxSearch): boolean =>
  [agent, tool, age, run].some((one) => one !== undefined);

export function useInbox(asked: InboxSearch): Paged<ApprovalRow> {
  const query = inboxQuery(asked);
  return usePages<ApprovalRow>(keys.approvals(query), (cursor, signal) =>
    body(
      api.GET("/v1/approvals", {
        params: { query: { ...query, limit: 100, ...(cursor === null ? {} : { cursor }) } },
        signal,
      }),
    ),
  );
}

/** A question with what led to it; at once without that, when the list has it. */
export function useApproval(id: string): UseQueryResult<Approval> {
  const cache = useQueryClient();
  return useQuery<Approval>({
    queryKey: keys.approval(id),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/approvals/{approval_id}", { params: { path: { approval_id: id } }, signal })),
    placeholderData: () => fromList(listed(cache).find((one) => one.id === id)),
  });
}

const fromList = (row: ApprovalRow | undefined): Approval | undefined =>
  row === undefined ? undefined : { ...row, context: [] };

type Listed = InfiniteData<Page<ApprovalRow>>;

/** The lists that grow; other pages keep single answers under the same noun. */
const grown = (cache: QueryClient): readonly (readonly [readonly unknown[], Listed])[] =>
  cache
    .getQueriesData<Listed>({ queryKey: ["approvals"] })
    .flatMap(([key, found]) => (Array.isArray(found?.pages) ? [[key, found] as const] : []));

const listed = (cache: QueryClient): readonly ApprovalRow[] =>
  grown(cache).flatMap(([, found]) => found.pages.flatMap((page) => page.data));

/** Put questions into what is cached as the server gave them: decided ones leave the lists of open ones. */
export function settle(cache: QueryClient, ...asked: readonly Approval[]): void {
  for (const one of asked) cache.setQueryData(keys.approval(one.id), one);
  for (const [key, found] of grown(cache)) {
    const kept = asked.reduce(
      (before, { context: _, ...row }) => replaced(before, filtersOf(key), row),
      found,
    );
    cache.setQueryData<Listed>(key, kept);
  }
  const stale: readonly unknown[][] = [["approvals"], ["overview"], ["effects"]];
  const runs = [...new Set(asked.map((one) => one.run_id))].map((id) => [...keys.run(id)]);
  for (const queryKey of [...stale, ...runs]) void cache.invalidateQueries({ queryKey });
}

const filtersOf = (key: readonly unknown[]): { status?: unknown } => (key[1] ?? {}) as { status?: unknown };

export function replaced(found: Listed, filters: { status?: unknown }, row: ApprovalRow): Listed {
  const wanted = Array.isArray(filters?.status) ? (filters.status as readonly unknown[]) : null;
  const stays = wanted === null || wanted.includes(row.status);
  return {
    ...found,
    pages: found.pages.map((page) => ({
      ...page,
      data: page.data.flatMap((one) => (one.id !== row.id ? [one] : stays ? [row] : [])),
    })),
  };
}

/** Whom to go to when `id` leaves the list: the one behind it, else the one before. */
export function neighbour(rows: readonly ApprovalRow[], id: string): ApprovalRow | null {
  const at = rows.findIndex((one) => one.id === id);
  if (at < 0) return rows[0] ?? null;
  return rows[at + 1] ?? rows[at - 1] ?? null;
}

/** All between two rows, in their order: what a shift-click selects. */
export function span(rows: readonly ApprovalRow[], from: string | null, to: string): readonly string[] {
  const end = rows.findIndex((one) => one.id === to);
  const start = from === null ? end : rows.findIndex((one) => one.id === from);
  if (end < 0) return [];
  const [first, last] = start < 0 ? [end, end] : start < end ? [start, end] : [end, start];
  return rows.slice(first, last + 1).map((one) => one.id);
}
