/** The answer to a question that asks for more than leave: one of its choices, a value, or what became of an effect. */

import clsx from "clsx";
import { useId } from "react";
import type { Approval } from "~/api/types";
import { AnyValue } from "~/design/AnyValue";
import { Field, Select } from "~/design/Field";
import { JsonView } from "~/design/Json";
import { Notice, Section } from "~/design/Pane";
import { same } from "~/design/schema";
import { brief, inert } from "~/lib/text";
import { useLedgerRow } from "../effects/ledger";
import { OutcomeFields } from "../effects/OutcomeFields";
import { type Draft, typed } from "./draft";

export interface AnswerFormProps {
  readonly asked: Approval;
  readonly draft: Draft;
  readonly onDraft: (draft: Draft) => void;
  readonly errors: Readonly<Record<string, string>>;
  readonly onValid: (valid: boolean) => void;
}

export function AnswerForm(props: AnswerFormProps) {
  const { asked } = props;
  return (
    <Section title={TITLES[asked.type]}>
      <div data-answer>
        {asked.type === "effect" ? (
          <WhatBecame {...props} />
        ) : asked.choices !== null ? (
          <Choices {...props} choices={asked.choices} />
        ) : (
          <Value {...props} />
        )}
      </div>
    </Section>
  );
}

const TITLES: Readonly<Record<Approval["type"], string>> = {
  tool: "Answer",
  input: "Your answer",
  external: "The result",
  effect: "What became of it?",
};

function Value({ asked, draft, onDraft, errors, onValid }: AnswerFormProps) {
  const answer = draft.answer === undefined ? (asked.default ?? undefined) : draft.answer;
  return (
    <div className="flex flex-col gap-2">
      <AnyValue
        label={asked.type === "external" ? "Result of the call" : "Answer"}
        schema={asked.schema}
        value={answer}
        onChange={(next) => onDraft(typed(draft, asked, { answer: next }))}
        errors={errors}
        onValid={onValid}
        titled
        first={asked.type === "external" ? "json" : "text"}
      />
      {asked.default !== null && (
        <p className="text-xs text-ink-3 [overflow-wrap:anywhere]">
          Without an answer in time it is {brief(asked.default, 200)}.
        </p>
      )}
    </div>
  );
}

const LISTED_MAX = 12;

function Choices({ asked, draft, onDraft, choices }: AnswerFormProps & { choices: readonly unknown[] }) {
  const name = useId();
  const at = draft.answer === undefined ? -1 : choices.findIndex((one) => same(one, draft.answer));
  const choose = (index: number): void => onDraft(typed(draft, asked, { answer: choices[index] }));
  if (choices.length > LISTED_MAX)
    return (
      <Field label="Answer">
        {(a11y) => (
          <Select {...a11y} value={at} onChange={(event) => choose(Number(event.target.value))}>
            {at < 0 && <option value={-1}>Choose…</option>}
            {choices.map((choice, index) => (
              <option key={index} value={index}>
                {brief(choice, 120) || "null"}
              </option>
            ))}
          </Select>
        )}
      </Field>
    );
  return (
    <fieldset className="flex min-w-0 flex-col gap-1.5">
      <legend className="sr-only">Answer</legend>
      {choices.map((choice, index) => (
        <label
          key={index}
          className={clsx(
            "flex min-w-0 cursor-pointer items-start gap-2.5 rounded-md border px-3 py-2 has-focus-visible:outline-2 has-focus-visible:outline-offset-1 has-focus-visible:outline-accent",
            index === at ? "border-accent bg-accent-soft" : "border-line-2 hover:bg-hover",
          )}
        >
          <input
            type="radio"
            name={name}
            checked={index === at}
            onChange={() => choose(index)}
            className="mt-0.5 size-4 shrink-0 accent-[var(--c-accent)] outline-none"
          />
          <span dir="auto" className="min-w-0 [overflow-wrap:anywhere]">
            {typeof choice === "object" && choice !== null ? (
              <JsonView value={choice} actions={false} />
            ) : typeof choice === "string" ? (
              inert(choice.slice(0, 2_000)) || "(empty)"
            ) : (
              String(choice)
            )}
          </span>
          {same(choice, asked.default) && asked.default !== null && (
            <span className="ml-auto shrink-0 text-xs text-ink-3">taken if nobody answers</span>
          )}
        </label>
      ))}
    </fieldset>
  );
}

function WhatBecame({ asked, draft, onDraft, errors, onValid }: AnswerFormProps) {
  const effect = useLedgerRow(asked.effect_id);
  return (
    <div className="flex min-w-0 flex-col gap-3">
      {asked.reason && (
        <Notice tone="warn" title="Nobody knows whether this was done">
          <p dir="auto">{inert(asked.reason.slice(0, 2_000))}</p>
          {effect.data && (
            <p>
              The other side was given the key{" "}
              <span className="font-mono">{effect.data.idempotency_key}</span>
              {effect.data.provider_ref && (
                <>
                  , and its reference is <span className="font-mono">{inert(effect.data.provider_ref)}</span>
                </>
              )}
              . Look there first.
            </p>
          )}
        </Notice>
      )}
      <OutcomeFields
        tool={asked.tool ?? "the call"}
        schema={asked.schema}
        effect={effect.data}
        outcome={draft.outcome}
        result={draft.answer}
        onOutcome={(outcome) => onDraft(typed(draft, asked, { outcome }))}
        onResult={(answer) => onDraft(typed(draft, asked, { answer }))}
        errors={errors}
        onValid={onValid}
      />
    </div>
  );
}
