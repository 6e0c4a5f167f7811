/** Tells that a question changed while somebody looked at it, and keeps what they typed. */

import { useEffect, useRef } from "react";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { Button } from "~/design/Button";
import { CopyButton } from "~/design/Facts";
import { JsonView, written } from "~/design/Json";
import { JsonDiff } from "~/design/JsonDiff";
import { Notice } from "~/design/Pane";
import { same } from "~/design/schema";
import { inert } from "~/lib/text";
import { outcome } from "~/transcript/deciding";
import { caughtUp, type Draft, EMPTY, isDirty, isOutdated } from "./draft";
import { said, standingDecisions, who } from "./words";

export function ChangeNotice({
  asked,
  me,
  draft,
  onDraft,
  announce,
}: {
  asked: Approval;
  me: Me;
  draft: Draft;
  onDraft: (draft: Draft) => void;
  announce: (text: string) => void;
}) {
  const seen = useRef(asked.version);
  useEffect(() => {
    if (seen.current === asked.version) return;
    seen.current = asked.version;
    // What they did themselves is told by whoever sent it.
    if (standingDecisions(asked).at(-1)?.principal === me.principal.id) return;
    announce(
      asked.status === "pending" ? `This question changed. ${lastWord(asked, me)}` : `${outcome(asked)}.`,
    );
  }, [asked, me, announce]);
  if (asked.status !== "pending") return isDirty(draft) ? <Unsent draft={draft} onDraft={onDraft} /> : null;
  if (!isOutdated(draft, asked)) return null;
  const argumentsChanged = draft.base !== undefined && !same(draft.base, asked.arguments);
  return (
    <Notice
      alert
      tone="warn"
      title="This changed while you were writing"
      actions={
        <>
          <Button size="sm" onClick={() => onDraft(caughtUp(draft, asked))}>
            Keep what I typed
          </Button>
          <Button size="sm" look="quiet" onClick={() => onDraft(EMPTY)}>
            Start again from how it is now
          </Button>
        </>
      }
    >
      <p>{lastWord(asked, me)}</p>
      {argumentsChanged && <JsonDiff before={draft.base} after={asked.arguments} label="What changed" />}
      <p>Nothing that you typed is lost. An answer is sent once you have chosen.</p>
    </Notice>
  );
}

function lastWord(asked: Approval, me: Me): string {
  const last = standingDecisions(asked).at(-1);
  if (last === undefined) return asked.escalated ? "It has been escalated to others." : "It was changed.";
  const how = last.arguments === null ? said(last) : `${said(last)} it with other arguments`;
  return `${who(last, me)} ${how}.`;
}

/** It was decided before they were done: what they typed can still be taken along. */
function Unsent({ draft, onDraft }: { draft: Draft; onDraft: (draft: Draft) => void }) {
  const given = draft.arguments ?? draft.answer;
  return (
    <Notice
      title="What you had typed was not sent"
      actions={
        <Button size="sm" onClick={() => onDraft(EMPTY)}>
          Discard it
        </Button>
      }
    >
      {draft.outcome !== null && (
        <p>{draft.outcome === "committed" ? "That it happened." : "That it did not happen."}</p>
      )}
      {draft.note.trim() !== "" && (
        <div className="flex items-start gap-1">
          <p dir="auto" className="min-w-0 whitespace-pre-wrap">
            “{inert(draft.note)}”
          </p>
          <CopyButton text={draft.note} label="Copy the note" />
        </div>
      )}
      {given !== undefined && (
        <div className="flex items-start gap-1">
          <div className="min-w-0">
            {draft.arguments === undefined ? (
              <JsonView value={given} actions={false} />
            ) : (
              <JsonDiff before={draft.base} after={given} label="What you had changed" />
            )}
          </div>
          <CopyButton text={() => written(given)} label="Copy what you typed" />
        </div>
      )}
    </Notice>
  );
}
