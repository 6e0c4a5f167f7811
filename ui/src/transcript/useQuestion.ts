/** A question as it stands, and deciding it where it is shown. */

import { type UseQueryResult, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import { useResolve } from "~/api/resolving";
import type { Approval } from "~/api/types";
import { toastError } from "~/design/Toasts";
import { placed, type Resolution, refusalOf } from "./deciding";

export function useQuestion(id: string): UseQueryResult<Approval> {
  return useQuery({
    queryKey: keys.approval(id),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/approvals/{approval_id}", { params: { path: { approval_id: id } }, signal })),
  });
}

export interface Deciding {
  readonly busy: boolean;
  /** What is wrong with what was sent, by path. */
  readonly errors: Readonly<Record<string, string>>;
  /** Why it was not taken, if no field can be named. */
  readonly refusal: string | null;
  /** What was decided here last was taken. */
  readonly taken: boolean;
  readonly decide: (resolution: Resolution, onTaken?: () => void) => void;
}

/** Says what was decided; who comes second is told who came first. */
export function useDecide(id: string): Deciding {
  const sent = useResolve(id);
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});
  const [refusal, setRefusal] = useState<string | null>(null);
  const refused = (error: unknown): void => {
    const status = error instanceof Problem ? error.status : 0;
    if (error instanceof Problem && status === 422) {
      const found = placed(error.body.errors);
      setErrors(found);
      if (Object.keys(found).length === 0 || "" in found) setRefusal(error.message);
    } else if (error instanceof Problem && (status === 409 || status === 403)) setRefusal(refusalOf(error));
    else toastError("The decision was not taken", error);
  };
  const decide = (resolution: Resolution, onTaken?: () => void): void => {
    if (sent.isPending) return;
    setErrors({});
    setRefusal(null);
    sent.mutate(resolution as never, { onError: refused, ...(onTaken ? { onSuccess: onTaken } : {}) });
  };
  return { busy: sent.isPending, errors, refusal, taken: sent.isSuccess, decide };
}
