import { useState } from "react";
import type { Approval } from "~/api/types";
import { Button } from "~/design/Button";
import { Field, Textarea } from "~/design/Field";
import { JsonView, written } from "~/design/Json";
import { SchemaForm } from "~/design/SchemaForm";
import { blank } from "~/design/schema";
import { brief } from "~/lib/text";
import { asksForText } from "./deciding";
import { Note, noted, type OpenProps } from "./openForms";

/** An answer: one of the choices, a text, or a form; or none, and why. */
export function AnswerForm(props: OpenProps) {
  const [refusing, setRefusing] = useState(false);
  return refusing ? (
    <Refusing {...props} onBack={() => setRefusing(false)} />
  ) : (
    <Answering {...props} onRefuse={() => setRefusing(true)} />
  );
}

function Refusing({ approval, bar, deciding, onUnsent, onBack }: OpenProps & { onBack: () => void }) {
  const [note, setNote] = useState("");
  const { version } = approval;
  return (
    <>
      <Note
        value={note}
        onChange={(next) => {
          setNote(next);
          onUnsent(next);
        }}
        hint="Why there is no answer. It is kept with the decision."
      />
      <div className="flex gap-2">
        <Button
          look="danger"
          busy={deciding.busy}
          disabled={bar?.of === "all"}
          onClick={() => deciding.decide({ decision: "reject", version, ...noted(note) })}
        >
          Refuse to answer
        </Button>
        <Button look="quiet" disabled={deciding.busy} onClick={onBack}>
          Back
        </Button>
      </div>
    </>
  );
}

function Answering({ approval, bar, deciding, onUnsent, onRefuse }: OpenProps & { onRefuse: () => void }) {
  const plain = approval.choices === null && asksForText(approval.schema);
  const [answer, setAnswer] = useState<unknown>(
    () => approval.default ?? (plain ? "" : blank(approval.schema, approval.schema)),
  );
  const [valid, setValid] = useState(true);
  const closed = bar?.of === "all";
  const change = (next: unknown): void => {
    setAnswer(next);
    onUnsent(typeof next === "string" ? next : written(next));
  };
  const send = (said: unknown): void =>
    deciding.decide({ decision: "answer", answer: said, version: approval.version });
  return (
    <>
      {approval.type === "external" && approval.arguments !== null && (
        <JsonView value={approval.arguments} name="arguments.json" />
      )}
      {approval.choices !== null ? (
        <Choices choices={approval.choices} disabled={closed} busy={deciding.busy} onChoose={send} />
      ) : plain ? (
        <Field label="Answer" error={deciding.errors[""]}>
          {(control) => (
            <Textarea
              {...control}
              rows={2}
              disabled={closed}
              value={typeof answer === "string" ? answer : brief(answer, 10_000)}
              onChange={(event) => change(event.target.value)}
            />
          )}
        </Field>
      ) : (
        <SchemaForm
          schema={approval.schema}
          value={answer}
          onChange={change}
          onValid={setValid}
          errors={deciding.errors}
          readOnly={closed}
          label="Answer"
        />
      )}
      <div className="flex flex-wrap gap-2">
        {approval.choices === null && (
          <Button
            look="primary"
            busy={deciding.busy}
            disabled={closed || !valid || (plain && answer === "")}
            onClick={() => send(answer)}
          >
            Answer
          </Button>
        )}
        <Button look="quiet" disabled={closed || deciding.busy} onClick={onRefuse}>
          Refuse…
        </Button>
      </div>
    </>
  );
}

function Choices({
  choices,
  disabled,
  busy,
  onChoose,
}: {
  choices: NonNullable<Approval["choices"]>;
  disabled: boolean;
  busy: boolean;
  onChoose: (choice: unknown) => void;
}) {
  return (
    <div role="group" aria-label="Answers" className="flex flex-wrap gap-2">
      {choices.map((choice, index) => (
        <Button
          key={index}
          disabled={disabled}
          busy={busy}
          onClick={() => onChoose(choice)}
          className="max-w-full"
        >
          <span dir="auto" className="truncate">
            {brief(choice, 120) || "nothing"}
          </span>
        </Button>
      ))}
    </div>
  );
}
