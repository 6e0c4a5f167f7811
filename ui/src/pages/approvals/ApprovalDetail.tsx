/** One question: what is asked, why, what led to it, and the answer. */

import { useQueryClient } from "@tanstack/react-query";
import clsx from "clsx";
import { ArrowLeft, ChevronDown, ChevronUp } from "lucide-react";
import { type KeyboardEvent, type RefObject, useEffect, useRef, useState } from "react";
import { keys } from "~/api/keys";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { Status } from "~/design/Badge";
import { IconButton } from "~/design/Button";
import { CopyButton, Time } from "~/design/Facts";
import { Markdown } from "~/design/Markdown";
import { ErrorState, Skeleton } from "~/design/States";
import { inert } from "~/lib/text";
import { useNow } from "~/lib/ticking";
import { AnswerForm } from "./AnswerForm";
import { Asked } from "./Asked";
import { ChangeNotice } from "./ChangeNotice";
import { DecisionPanel } from "./DecisionPanel";
import { Decisions } from "./Decisions";
import { useDraft } from "./draft";
import { TYPE_ICONS } from "./InboxList";
import { useApproval } from "./inbox";
import { LedTo } from "./LedTo";
import { Why } from "./Why";
import { timeLeft } from "./words";

export interface DetailProps {
  readonly id: string;
  readonly me: Me;
  readonly onBack: () => void;
  readonly onStep: (by: 1 | -1) => void;
  /** It was answered and is open no more. */
  readonly onDone: (asked: Approval) => void;
  readonly announce: (text: string) => void;
  /** Several are selected: the keys are for them. */
  readonly bulk: boolean;
  /** Set when the next one shown shall have the focus. */
  readonly takesFocus: RefObject<boolean>;
}

export function ApprovalDetail(props: DetailProps) {
  const found = useApproval(props.id);
  if (found.data === undefined)
    return found.isError ? (
      <div className="flex min-h-0 grow flex-col overflow-y-auto">
        <Bar {...props} />
        <ErrorState error={found.error} onRetry={() => void found.refetch()} what="This question" />
      </div>
    ) : (
      <Loading {...props} />
    );
  return <Shown key={props.id} {...props} asked={found.data} partial={found.isPlaceholderData} />;
}

function Loading(props: DetailProps) {
  return (
    <div role="status" aria-label="Loading the question" className="flex min-h-0 grow flex-col">
      <Bar {...props} />
      <div className="flex flex-col gap-4 p-5">
        <Skeleton className="h-7 w-2/3" />
        <Skeleton className="h-28 w-full" />
        <Skeleton className="h-20 w-full" />
        <Skeleton className="h-40 w-full" />
      </div>
    </div>
  );
}

function Bar({ onBack, onStep, asked }: Pick<DetailProps, "onBack" | "onStep"> & { asked?: Approval }) {
  return (
    <div className="flex h-11 shrink-0 items-center gap-1 border-b border-line bg-surface px-3 sm:px-5">
      <IconButton label="Back to the list" size="sm" onClick={onBack} className="min-[1000px]:!hidden">
        <ArrowLeft size={16} />
      </IconButton>
      {asked && (
        <span className="flex min-w-0 items-center gap-2 text-xs text-ink-3">
          <Status status={asked.status} />
          <span className="truncate">
            asked <Time at={asked.created_at} />
          </span>
        </span>
      )}
      <span className="grow" />
      <CopyButton text={() => location.href} label="Copy the link" />
      <IconButton label="Previous" size="sm" onClick={() => onStep(-1)}>
        <ChevronUp size={16} />
      </IconButton>
      <IconButton label="Next" size="sm" onClick={() => onStep(1)}>
        <ChevronDown size={16} />
      </IconButton>
    </div>
  );
}

const NO_ERRORS: Readonly<Record<string, string>> = {};

function Shown(props: DetailProps & { asked: Approval; partial: boolean }) {
  const { asked, me, partial, onBack, onStep, takesFocus } = props;
  const heading = useRef<HTMLHeadingElement>(null);
  const pane = useRef<HTMLDivElement>(null);
  const [draft, setDraft] = useDraft(asked.id);
  const [editing, setEditing] = useState(draft.arguments !== undefined);
  const [errors, setErrors] = useState(NO_ERRORS);
  const [valid, setValid] = useState(true);
  const pending = asked.status === "pending";
  const over = useOver(asked);
  // biome-ignore lint/correctness/useExhaustiveDependencies: at another question, once it is there
  useEffect(() => {
    if (!takesFocus.current) return;
    takesFocus.current = false;
    heading.current?.focus();
  }, [asked.id]);
  useEffect(() => {
    // Decided by somebody else while the focus stood in what is gone now.
    if (!pending && document.activeElement === document.body) heading.current?.focus();
  }, [pending]);
  const leaveField = (event: KeyboardEvent): void => {
    if (event.key !== "Escape" || !(event.target instanceof HTMLElement)) return;
    if (event.target.closest("input, textarea, select, [contenteditable=true]") === null) return;
    event.preventDefault();
    event.stopPropagation();
    heading.current?.focus();
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: Escape leaves whichever field is written in
    <div ref={pane} className="flex min-h-0 grow flex-col" onKeyDown={leaveField}>
      <Bar asked={asked} onBack={onBack} onStep={onStep} />
      <div
        tabIndex={0}
        className="@container min-h-0 grow overflow-y-auto focus-visible:-outline-offset-2"
        role="region"
        aria-label="The question"
      >
        <div className="mx-auto flex max-w-5xl flex-col gap-6 p-4 sm:p-5">
          <Headline asked={asked} heading={heading} />
          <ChangeNotice asked={asked} me={me} draft={draft} onDraft={setDraft} announce={props.announce} />
          <div className="grid min-w-0 grid-cols-1 gap-x-8 gap-y-6 @2xl:grid-cols-[minmax(0,1fr)_11.5rem] @2xl:grid-rows-[auto_1fr] @4xl:grid-cols-[minmax(0,1fr)_15rem]">
            <div className="flex min-w-0 flex-col gap-6">
              {!pending && <Decisions asked={asked} me={me} />}
              <Asked
                asked={asked}
                partial={partial}
                draft={draft}
                onDraft={setDraft}
                editing={editing && pending && !over}
                onEditing={setEditing}
                errors={errors}
                onValid={setValid}
              />
              {pending && asked.type !== "tool" && (
                <AnswerForm
                  asked={asked}
                  draft={draft}
                  onDraft={setDraft}
                  errors={errors}
                  onValid={setValid}
                />
              )}
              {pending && asked.decisions.length > 0 && <Decisions asked={asked} me={me} />}
            </div>
            <Why asked={asked} me={me} />
            <LedTo asked={asked} partial={partial} />
          </div>
        </div>
      </div>
      {pending && (
        <DecisionPanel
          asked={asked}
          me={me}
          draft={draft}
          onDraft={setDraft}
          over={over}
          editing={editing}
          onEditing={setEditing}
          valid={valid}
          onErrors={setErrors}
          bulk={props.bulk}
          pane={pane}
          onDone={props.onDone}
          onCounted={() => {
            setEditing(false);
            heading.current?.focus();
          }}
          announce={props.announce}
        />
      )}
    </div>
  );
}

function Headline({ asked, heading }: { asked: Approval; heading: RefObject<HTMLHeadingElement | null> }) {
  const Icon = TYPE_ICONS[asked.type];
  return (
    <div className="flex min-w-0 gap-2.5">
      <Icon
        size={20}
        aria-hidden
        className={clsx("mt-0.5 shrink-0", asked.status === "pending" ? "text-ask" : "text-ink-3")}
      />
      <div className="min-w-0">
        <h2
          ref={heading}
          tabIndex={-1}
          className="rounded-sm text-lg font-semibold outline-none [overflow-wrap:anywhere]"
        >
          {headline(asked)}
        </h2>
        {asked.type === "input" && (
          <Markdown text={asked.message.slice(0, MESSAGE_CHARS_MAX)} className="mt-1.5 text-base" />
        )}
      </div>
    </div>
  );
}

const MESSAGE_CHARS_MAX = 12_000;

function headline(asked: Approval): string {
  const agent = inert(asked.agent);
  const tool = inert(asked.tool ?? "a tool");
  const open = asked.status === "pending";
  switch (asked.type) {
    case "tool":
      return `${agent} ${open ? "wants" : "wanted"} to call ${tool}`;
    case "external":
      return `${agent} ${open ? "waits" : "waited"} for the result of ${tool}`;
    case "effect":
      return `What became of ${tool}, called by ${agent}?`;
    case "input":
      return `${agent} ${open ? "asks" : "asked"}`;
  }
}

/** Whether its time is over; then it is looked at again, since the server decides it by itself. */
function useOver(asked: Approval): boolean {
  const cache = useQueryClient();
  const pending = asked.status === "pending";
  const over = timeLeft(asked, useNow(pending && asked.expires_at !== null))?.over ?? false;
  useEffect(() => {
    if (!over || !pending) return;
    const again = setInterval(
      () => void cache.invalidateQueries({ queryKey: keys.approval(asked.id) }),
      2_000,
    );
    return () => clearInterval(again);
  }, [over, pending, cache, asked.id]);
  return over && pending;
}
