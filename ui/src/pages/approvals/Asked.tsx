/** What is asked: the arguments of the call, to be read or to be changed. */

import { Pencil, RotateCcw } from "lucide-react";
import { useEffect, useMemo, useRef } from "react";
import { useAgents } from "~/api/hooks";
import type { Approval } from "~/api/types";
import { Arguments } from "~/design/Arguments";
import { Button } from "~/design/Button";
import { CopyButton, Kbd } from "~/design/Facts";
import { written } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { Notice, Section } from "~/design/Pane";
import { SchemaForm } from "~/design/SchemaForm";
import { isInexact, ordered, same } from "~/design/schema";
import { inert } from "~/lib/text";
import { type Draft, editedArguments, typed } from "./draft";
import { firstArguments } from "./words";

export interface AskedProps {
  readonly asked: Approval;
  readonly partial: boolean;
  readonly draft: Draft;
  readonly onDraft: (draft: Draft) => void;
  readonly editing: boolean;
  readonly onEditing: (editing: boolean) => void;
  /** What the server found wrong with them, by path. */
  readonly errors: Readonly<Record<string, string>>;
  readonly onValid: (valid: boolean) => void;
}

export function Asked(props: AskedProps) {
  const { asked, editing } = props;
  const first = useMemo(() => firstArguments(asked), [asked]);
  if (asked.type === "input") return null;
  const yours = editedArguments(props.draft, asked);
  const edited = first !== null && asked.arguments !== null && !same(first, asked.arguments);
  return (
    <Section title={editing ? "Change the arguments" : "Arguments"} actions={<Actions {...props} />}>
      <ToolSays asked={asked} />
      {editing ? (
        <Editor {...props} />
      ) : (
        <Arguments value={ordered(asked.arguments, asked.schema)} name={`${asked.id}.json`} />
      )}
      {!editing && asked.status === "pending" && yours !== undefined && (
        <div className="mt-3">
          <h4 className="mb-1.5 text-xs font-medium text-ink-2">Your changes, not sent yet</h4>
          <JsonDiff before={asked.arguments} after={yours} label="Your changes" />
        </div>
      )}
      {!editing && isInexact(asked.arguments) && (
        <p className="mt-1.5 text-xs text-warn">
          A whole number here has more digits than a browser keeps: it is shown rounded. The call gets it as
          it was asked.
        </p>
      )}
      {edited && (
        <div className="mt-3">
          <h4 className="mb-1.5 text-xs text-ink-3">Changed since the agent asked</h4>
          <JsonDiff before={first} after={asked.arguments} label="Changed since the agent asked" />
        </div>
      )}
    </Section>
  );
}

function ToolSays({ asked }: { asked: Approval }) {
  const agents = useAgents();
  const tool = agents.data
    ?.find((one) => one.id === asked.agent)
    ?.tools.find((one) => one.name === asked.tool);
  const text = tool?.description?.split("\n\n")[0];
  if (!text) return null;
  return (
    <p dir="auto" className="mb-2 text-xs text-ink-2 [overflow-wrap:anywhere]">
      {inert(text.slice(0, 600))}
    </p>
  );
}

function Actions({ asked, draft, onDraft, editing, onEditing }: AskedProps) {
  if (asked.arguments === null) return null;
  if (!editing)
    return (
      <>
        <CopyButton text={() => written(asked.arguments)} label="Copy the arguments" />
        {asked.type === "tool" && asked.status === "pending" && (
          <Button
            size="sm"
            look="quiet"
            className="-mr-1.5"
            icon={<Pencil size={13} />}
            onClick={() => onEditing(true)}
          >
            Edit{" "}
            <span aria-hidden className="hidden sm:inline">
              <Kbd keys="e" />
            </span>
          </Button>
        )}
      </>
    );
  const stop = (): void => {
    onDraft(typed(draft, asked, { arguments: undefined }));
    onEditing(false);
  };
  return (
    <Button size="sm" look="quiet" icon={<RotateCcw size={13} />} onClick={stop}>
      {editedArguments(draft, asked) === undefined ? "Stop editing" : "Discard the changes"}
    </Button>
  );
}

function Editor({ asked, draft, onDraft, errors, onValid }: AskedProps) {
  const frame = useRef<HTMLDivElement>(null);
  const value = draft.arguments === undefined ? asked.arguments : draft.arguments;
  useEffect(() => {
    frame.current?.querySelector<HTMLElement>("input, textarea, select")?.focus();
  }, []);
  if (isInexact(asked.arguments))
    return (
      <Notice tone="warn" title="These arguments cannot be changed here">
        <p>
          One of them is a whole number with more digits than a browser keeps. Approve or reject them as they
          are, or change them over the API.
        </p>
      </Notice>
    );
  return (
    <div ref={frame} className="grid min-w-0 gap-4 @2xl:grid-cols-[minmax(0,3fr)_minmax(0,2fr)]">
      <SchemaForm
        label="Arguments"
        schema={asked.schema ?? true}
        value={value}
        original={asked.arguments}
        onChange={(next) => onDraft(typed(draft, asked, { arguments: next }))}
        errors={errors}
        onValid={onValid}
      />
      <div className="min-w-0">
        <h4 className="mb-1.5 text-xs font-medium text-ink-2">Your changes</h4>
        <div aria-live="polite">
          <JsonDiff
            before={asked.arguments}
            after={value}
            label="Your changes"
            same="None yet: it would be approved as it was asked."
          />
        </div>
      </div>
    </div>
  );
}
