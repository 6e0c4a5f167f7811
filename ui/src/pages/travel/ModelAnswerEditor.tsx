/** What a model said, to be said differently: its text, and the tools that it calls. */

import { Plus, X } from "lucide-react";
import { useId, useState } from "react";
import { exactlyParsed } from "~/builders/exact";
import { Button, IconButton } from "~/design/Button";
import { Field, Input, Textarea } from "~/design/Field";
import { JsonEditor, written } from "~/design/Json";
import { asSent, type ModelAnswer } from "./forking";

interface Call {
  readonly id: number;
  readonly tool: string;
  readonly args: string;
}

export function ModelAnswerEditor({
  initial,
  tools,
  onChange,
  error,
}: {
  initial: ModelAnswer;
  tools: readonly string[];
  onChange: (value: unknown, error: string | null) => void;
  error?: string | null | undefined;
}) {
  const names = useId();
  const [text, setText] = useState(initial.text);
  const [calls, setCalls] = useState<readonly Call[]>(() =>
    initial.tool_calls.map(({ tool, args }, id) => ({ id, tool, args: written(args) })),
  );
  const change = (nextText: string, nextCalls: readonly Call[]): void => {
    setText(nextText);
    setCalls(nextCalls);
    const read = nextCalls.map((call) => ({ tool: call.tool.trim(), ...exactlyParsed(call.args) }));
    const wrong = read.findIndex((call) => call.error !== null || call.tool === "");
    const found = read[wrong];
    onChange(
      asSent({
        text: nextText,
        tool_calls: read.map((call) => ({ tool: call.tool, args: call.value })),
      }),
      found === undefined
        ? null
        : `Call ${wrong + 1}: ${found.tool === "" ? "which tool?" : `not JSON yet: ${found.error}`}`,
    );
  };
  const set = (id: number, part: Partial<Call>): void =>
    change(
      text,
      calls.map((call) => (call.id === id ? { ...call, ...part } : call)),
    );
  const add = (): void => {
    const id = Math.max(-1, ...calls.map((call) => call.id)) + 1;
    change(text, [...calls, { id, tool: tools[0] ?? "", args: "{}" }]);
  };
  return (
    <div className="flex flex-col gap-3">
      <Field label="What the model says instead">
        {(props) => (
          <Textarea
            {...props}
            rows={3}
            value={text}
            onChange={(event) => change(event.target.value, calls)}
          />
        )}
      </Field>
      <datalist id={names}>
        {tools.map((tool) => (
          <option key={tool} value={tool} />
        ))}
      </datalist>
      {calls.map((call, index) => (
        <fieldset key={call.id} className="min-w-0 rounded-md border border-line p-2.5">
          <legend className="px-1 text-xs font-medium text-ink-2">It calls a tool ({index + 1})</legend>
          <div className="mb-2 flex items-center gap-2">
            <Input
              aria-label={`Tool of call ${index + 1}`}
              list={names}
              value={call.tool}
              className="font-mono !text-xs"
              onChange={(event) => set(call.id, { tool: event.target.value })}
            />
            <IconButton
              label={`Without call ${index + 1}`}
              size="sm"
              onClick={() =>
                change(
                  text,
                  calls.filter((one) => one.id !== call.id),
                )
              }
            >
              <X size={14} />
            </IconButton>
          </div>
          <JsonEditor
            label={`Arguments of call ${index + 1}`}
            minHeight="3rem"
            value={call.args}
            onChange={(args) => set(call.id, { args })}
          />
        </fieldset>
      ))}
      <div>
        <Button size="sm" icon={<Plus size={13} aria-hidden />} onClick={add}>
          {calls.length === 0 ? "Let it call a tool" : "Another call"}
        </Button>
      </div>
      {error && (
        <p role="alert" className="text-xs text-bad [overflow-wrap:anywhere]">
          {error}
        </p>
      )}
    </div>
  );
}
