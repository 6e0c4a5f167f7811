/** How much waits for somebody: the numbers beside the navigation. */

import { queryOptions } from "@tanstack/react-query";
import { request } from "~/api/client";
import { keys } from "~/api/keys";
import { type Me, may } from "~/api/session";

export interface Attention {
  readonly approvals: number;
  readonly effects: number;
}

interface Counted {
  readonly approvals_pending: number | null;
  readonly effects_unknown: number | null;
}

export const attention = (me: Me) =>
  queryOptions({
    queryKey: keys.overview(24),
    enabled: may(me, "runs:read"),
    queryFn: async ({ signal }) => (await request("/v1/overview", { signal })).json() as Promise<Counted>,
    select: (found: Counted): Attention => ({
      approvals: found.approvals_pending ?? 0,
      effects: found.effects_unknown ?? 0,
    }),
  });
