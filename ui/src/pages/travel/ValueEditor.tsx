/** A value of JSON to be changed: as plain text while it is one, and as JSON always. */

import { useId, useState } from "react";
import { exactlyParsed } from "~/builders/exact";
import { Button } from "~/design/Button";
import { Textarea } from "~/design/Field";
import { JsonEditor, written } from "~/design/Json";

export interface ValueEditorProps {
  readonly initial: unknown;
  readonly onChange: (value: unknown, error: string | null) => void;
  readonly label: string;
  readonly error?: string | null | undefined;
  readonly hint?: string | undefined;
}

export function ValueEditor({ initial, onChange, label, error, hint }: ValueEditorProps) {
  const id = useId();
  const [plain, setPlain] = useState(typeof initial === "string");
  const [text, setText] = useState(typeof initial === "string" ? initial : written(initial));
  const [wrong, setWrong] = useState<string | null>(null);
  const change = (next: string, asPlain: boolean): void => {
    const read = asPlain ? { value: next, error: null } : exactlyParsed(next);
    setText(next);
    setWrong(read.error);
    onChange(read.value, read.error === null ? null : `Not JSON yet: ${read.error}`);
  };
  const turn = (): void => {
    const read = plain ? { value: text, error: null } : exactlyParsed(text);
    const next = plain ? written(text) : typeof read.value === "string" ? read.value : text;
    setPlain(!plain);
    change(next, !plain);
  };
  const shown = wrong === null ? error : `Not JSON yet: ${wrong}`;
  return (
    <div className="flex min-w-0 flex-col gap-1">
      <div className="flex items-end justify-between gap-2">
        <label htmlFor={id} className="text-xs font-medium text-ink-2">
          {label}
        </label>
        <Button look="quiet" size="sm" onClick={turn} className="!h-5 !px-1">
          {plain ? "Write JSON" : "Write plain text"}
        </Button>
      </div>
      {plain ? (
        <Textarea
          id={id}
          rows={4}
          value={text}
          aria-describedby={`${id}-said`}
          aria-invalid={shown ? true : undefined}
          onChange={(event) => change(event.target.value, true)}
        />
      ) : (
        <JsonEditor label={label} value={text} onChange={(next) => change(next, false)} />
      )}
      <p
        id={`${id}-said`}
        role={shown ? "alert" : undefined}
        className={shown ? "text-xs text-bad [overflow-wrap:anywhere]" : "text-xs text-ink-3 empty:hidden"}
      >
        {shown ?? hint}
      </p>
    </div>
  );
}
