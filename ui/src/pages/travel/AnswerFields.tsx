/** Another answer to a question that a run asked. Leave for a call is no answer: that is said instead. */

import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useState } from "react";
import { api, body } from "~/api/client";
import { keys } from "~/api/keys";
import type { Approval, Step } from "~/api/types";
import { holdsRaw } from "~/builders/exact";
import { SchemaForm } from "~/design/SchemaForm";
import { ErrorState, Skeleton } from "~/design/States";
import type { JsonSchema } from "~/design/schema";
import { inert } from "~/lib/text";
import { outputOf } from "./forking";
import { Note, Wrong } from "./Notes";
import { ValueEditor } from "./ValueEditor";

type Changed = (value: unknown, error: string | null) => void;

export function AnswerFields({
  step,
  onChange,
  error,
}: {
  step: Step;
  onChange: Changed;
  error: string | null;
}) {
  const id = step.approval_id ?? "";
  const asked = useQuery({
    queryKey: keys.approval(id),
    enabled: id !== "",
    queryFn: ({ signal }) =>
      body(api.GET("/v1/approvals/{approval_id}", { params: { path: { approval_id: id } }, signal })),
  });
  if (asked.isError) return <ErrorState error={asked.error} what="The question" />;
  if (asked.data === undefined && id !== "") return <Skeleton className="h-24 w-full" />;
  const type = asked.data?.type;
  if (type === "tool" || type === "effect")
    return (
      <Note>
        This is leave for a call, not an answer. Choose a step before it: the fork then asks for leave of its
        own.
      </Note>
    );
  if (asked.data?.schema && !holdsRaw(step.output))
    return <Answer asked={asked.data} was={outputOf(step)} onChange={onChange} error={error} />;
  return (
    <ValueEditor
      label={asked.data ? `The answer to “${inert(asked.data.message)}”` : "The answer instead"}
      initial={outputOf(step) ?? ""}
      onChange={onChange}
      error={error}
    />
  );
}

function Answer({
  asked,
  was,
  onChange,
  error,
}: {
  asked: Approval;
  was: unknown;
  onChange: Changed;
  error: string | null;
}) {
  const [value, setValue] = useState(was);
  const said = useRef({ value: was, changed: false, tell: onChange });
  useEffect(() => {
    said.current.tell = onChange;
  });
  const fits = useRef(true);
  const tell = useCallback((): void => {
    const { value, changed, tell } = said.current;
    if (changed) tell(value, fits.current ? null : "The answer does not fit what is asked.");
  }, []);
  const onValid = useCallback(
    (valid: boolean): void => {
      fits.current = valid;
      tell();
    },
    [tell],
  );
  return (
    <div className="flex flex-col gap-2">
      <p dir="auto" className="text-sm [overflow-wrap:anywhere]">
        {inert(asked.message)}
      </p>
      <SchemaForm
        schema={asked.schema as JsonSchema}
        value={value}
        original={was}
        label="The answer instead"
        onChange={(next) => {
          setValue(next);
          said.current = { ...said.current, value: next, changed: true };
          tell();
        }}
        onValid={onValid}
      />
      {error && <Wrong>{error}</Wrong>}
    </div>
  );
}
