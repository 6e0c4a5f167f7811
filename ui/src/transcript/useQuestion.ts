import { type UseQueryResult, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { api, body, idempotencyKey } from "~/api/client";
import { keys } from "~/api/keys";
import { Problem } from "~/api/problem";
import type { Approval } from "~/api/types";
import { toastError } from "~/design/Toasts";
import { outcome, placed, type Resolution } from "./deciding";

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
  readonly decide: (resolution: Resolution) => Promise<boolean>;
}

/** Says what was decided. A repeated press of the same decision is one request; who comes second is told who came first. */
export function useDecide(id: string): Deciding {
  const cache = useQueryClient();
  const [busy, setBusy] = useState(false);
  const [errors, setErrors] = useState<Readonly<Record<string, string>>>({});
  const [refusal, setRefusal] = useState<string | null>(null);
  const pressed = useRef<{ said: string; key: string } | null>(null);
  const decide = async (resolution: Resolution): Promise<boolean> => {
    const said = JSON.stringify(resolution);
    if (pressed.current?.said !== said) pressed.current = { said, key: idempotencyKey() };
    setBusy(true);
    setErrors({});
    setRefusal(null);
    try {
      const decided = await body(
        api.POST("/v1/approvals/{approval_id}/resolve", {
          params: { path: { approval_id: id }, header: { "Idempotency-Key": pressed.current.key } },
          body: resolution as never,
        }),
      );
      cache.setQueryData(keys.approval(id), (before: Approval | undefined) => ({ ...before, ...decided }));
      return true;
    } catch (error) {
      if (error instanceof Problem && error.status === 422) {
        const found = placed(error.body.errors);
        setErrors(found);
        if (Object.keys(found).length === 0 || "" in found) setRefusal(error.message);
        return false;
      }
      if (error instanceof Problem && (error.status === 409 || error.status === 403)) {
        setRefusal(refusalOf(error));
        void cache.invalidateQueries({ queryKey: keys.approval(id) });
        return false;
      }
      toastError("The decision was not taken", error);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, errors, refusal, decide };
}

function refusalOf(error: Problem): string {
  if (error.code !== "already_resolved") return error.message;
  const decision = error.body.decision as Approval["decisions"][number] | null | undefined;
  if (decision === null || decision === undefined) return error.message;
  const status = { approve: "approved", reject: "rejected", answer: "answered" } as const;
  const said = outcome({ status: status[decision.decision], decisions: [decision], type: "tool" });
  return `Somebody was faster: ${said}${decision.note ? `, “${decision.note}”` : ""}`;
}
