/** What is different in a fork: the field that the chosen change needs, filled with what was recorded. */

import { useQuery } from "@tanstack/react-query";
import { api, body, ROOT } from "~/api/client";
import { useAgents } from "~/api/hooks";
import { keys } from "~/api/keys";
import type { Run, Step } from "~/api/types";
import { Field, Input, Textarea } from "~/design/Field";
import { Skeleton } from "~/design/States";
import { bytes } from "~/lib/format";
import { inert } from "~/lib/text";
import { usePrompt } from "~/pages/run/step/queries";
import { AnswerFields } from "./AnswerFields";
import { type Change, type ModelAnswer, messageOf, outputOf } from "./forking";
import { ModelAnswerEditor } from "./ModelAnswerEditor";
import { Note, Wrong } from "./Notes";
import { ValueEditor } from "./ValueEditor";

export interface Anew {
  readonly instructions: string;
  readonly model: string;
}

export interface EditFieldsProps {
  readonly run: Run;
  readonly change: Change;
  /** The step at the chosen place, once it is there; null before the first. */
  readonly step: Step | null | undefined;
  readonly onValue: (value: unknown, error: string | null) => void;
  readonly anew: Anew;
  readonly onAnew: (anew: Anew) => void;
  readonly errors: {
    readonly edit: string | null;
    readonly instructions: string | null;
    readonly model: string | null;
  };
}

export function EditFields({ run, change, step, onValue, anew, onAnew, errors }: EditFieldsProps) {
  const edit = errors.edit;
  if (change === "message")
    return (
      <>
        <ValueEditor
          label="What the run is asked instead"
          initial={messageOf(run)}
          onChange={onValue}
          error={edit}
        />
        <AnewFields run={run} anew={anew} onChange={onAnew} errors={errors} also />
      </>
    );
  if (change === "model")
    return (
      <>
        <AnewFields run={run} asked={step?.seq ?? 0} anew={anew} onChange={onAnew} errors={errors} />
        {edit && <Wrong>{edit}</Wrong>}
      </>
    );
  if (change === "nothing" || change === "rerun") return edit && <Wrong>{edit}</Wrong>;
  if (step === undefined || step === null) return <Skeleton className="h-32 w-full" />;
  if (step.output_cut)
    return (
      <Note>
        What this step came to is {bytes(step.output_bytes)}, too much to be edited here.{" "}
        <a
          className="text-accent-text underline"
          href={`${ROOT}/v1/runs/${run.id}/steps/${step.seq}/output`}
          download
        >
          Download it
        </a>
        , and send the edited one with the API.
      </Note>
    );
  if (change === "answer") return <AnswerFields step={step} onChange={onValue} error={edit} />;
  if (step.kind === "model" && isAnswer(outputOf(step)))
    return <ModelEdit run={run} step={step} onValue={onValue} error={edit} />;
  return (
    <ValueEditor
      label={`What ${inert(step.name)} comes to instead`}
      initial={outputOf(step) ?? null}
      onChange={onValue}
      error={edit}
      hint={step.error === null ? undefined : `It failed: ${inert(step.error.message)}`}
    />
  );
}

const isAnswer = (value: unknown): value is ModelAnswer =>
  typeof value === "object" && value !== null && "tool_calls" in value;

function ModelEdit({
  run,
  step,
  onValue,
  error,
}: {
  run: Run;
  step: Step;
  onValue: EditFieldsProps["onValue"];
  error: string | null;
}) {
  const agents = useAgents();
  const tools = agents.data?.find((agent) => agent.id === run.agent)?.tools.map((tool) => tool.name) ?? [];
  return (
    <ModelAnswerEditor
      initial={outputOf(step) as ModelAnswer}
      tools={tools}
      onChange={onValue}
      error={error}
    />
  );
}

const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

function AnewFields({
  run,
  anew,
  onChange,
  errors,
  also = false,
  asked = 0,
}: {
  run: Run;
  /** The model step that is made anew: what it was asked with is what holds unless something else is written. */
  asked?: number;
  anew: Anew;
  onChange: (anew: Anew) => void;
  errors: EditFieldsProps["errors"];
  also?: boolean;
}) {
  const agent = useQuery({
    queryKey: keys.agent(run.acting_agent),
    queryFn: ({ signal }) =>
      body(api.GET("/v1/agents/{agent_id}", { params: { path: { agent_id: run.acting_agent } }, signal })),
  });
  const prompt = usePrompt(run.id, asked, asked > 0);
  const was = asked > 0 ? { instructions: null, model: null, ...prompt.data } : agent.data;
  if (also && (agent.data === undefined || agent.data.kind === "workflow")) return null;
  const fields = (
    <div className="flex flex-col gap-3">
      <Field
        label="Other instructions"
        hint="For this model call and all after it. Empty: as they were."
        error={errors.instructions}
      >
        {(props) => (
          <Textarea
            {...props}
            rows={3}
            value={anew.instructions}
            placeholder={text(was?.instructions) ?? ""}
            onChange={(event) => onChange({ ...anew, instructions: event.target.value })}
          />
        )}
      </Field>
      <Field label="Another model" hint="Written provider:model. Empty: as it was." error={errors.model}>
        {(props) => (
          <Input
            {...props}
            value={anew.model}
            className="font-mono !text-xs"
            placeholder={text(was?.model) ?? "provider:model"}
            onChange={(event) => onChange({ ...anew, model: event.target.value })}
          />
        )}
      </Field>
    </div>
  );
  if (!also) return fields;
  return (
    <details className="mt-3" open={errors.instructions !== null || errors.model !== null || undefined}>
      <summary className="cursor-pointer rounded-sm text-xs font-medium text-ink-2 hover:text-ink">
        With other instructions, or another model
      </summary>
      <div className="mt-2">{fields}</div>
    </details>
  );
}
