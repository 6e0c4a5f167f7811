/** Who is signed in. */

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { request } from "./client";
import { keys } from "./keys";
import { isOwn } from "./owner";
import { Problem } from "./problem";

export interface Me {
  readonly principal: { readonly id: string; readonly name: string; readonly kind: string };
  readonly tenant: { readonly id: string; readonly name: string };
  readonly scopes: readonly string[];
  readonly roles: readonly string[];
  readonly via: "local" | "api_key" | "session";
  readonly expires_at: string | null;
}

/** A session that is used is renewed; a tab that only listens asks who it is, now and then. */
const RENEW_MS = 30 * 60_000;
/** How soon a server that could not be reached is tried again. */
const AGAIN_MS = 5_000;

export function useMe(): UseQueryResult<Me> {
  return useQuery({
    queryKey: keys.me,
    staleTime: Number.POSITIVE_INFINITY,
    refetchInterval: ({ state }) =>
      state.data === undefined && state.error instanceof Problem && state.error.isPassing
        ? AGAIN_MS
        : RENEW_MS,
    queryFn: async ({ signal }) => {
      const answer = await request("/v1/me", { signal });
      const me = (await answer.json()) as Me;
      if (isOwn(me.principal.id)) return me;
      location.reload();
      return new Promise<Me>(() => {}); // nothing here is for them; the page goes away
    },
  });
}

export const may = (me: Me | undefined, scope: string): boolean =>
  me?.scopes.some((held) => held === "*" || held === scope) ?? false;

export async function signIn(apiKey: string): Promise<void> {
  await request("/v1/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ api_key: apiKey }),
  });
}

export async function signOut(): Promise<void> {
  await request("/v1/session", { method: "DELETE" });
}
