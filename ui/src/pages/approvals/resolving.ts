/** Sending an answer from the inbox, whose lists change at once with it. */

import { type UseMutationResult, useQueryClient } from "@tanstack/react-query";
import { useResolve as useSent, type Word } from "~/api/resolving";
import type { Approval } from "~/api/types";
import { settle } from "./inbox";

export { resolve, type Word } from "~/api/resolving";

export function useResolve(id: string): UseMutationResult<Approval, unknown, Word> {
  const cache = useQueryClient();
  return useSent(id, (asked) => settle(cache, asked));
}
