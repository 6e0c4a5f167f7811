/** Who said what, and when. */

import clsx from "clsx";
import type { Me } from "~/api/session";
import type { Approval } from "~/api/types";
import { STATUS_TONES } from "~/design/Badge";
import { Time } from "~/design/Facts";
import { JsonView } from "~/design/Json";
import { Section } from "~/design/Pane";
import { inert } from "~/lib/text";
import { outcome } from "~/transcript/deciding";
import { said, whenOver, who } from "./words";

const TONES: Readonly<Record<string, string>> = {
  good: "text-good",
  bad: "text-bad",
  warn: "text-warn",
};

export function Decisions({ asked, me }: { asked: Approval; me: Me }) {
  const pending = asked.status === "pending";
  return (
    <Section title={pending ? "Said so far" : "Decision"}>
      <div className="rounded-md border border-line">
        {!pending && (
          <p
            className={clsx(
              "flex flex-wrap items-baseline gap-x-2 px-3 py-2.5 font-medium",
              TONES[STATUS_TONES[asked.status] ?? ""] ?? "text-ink",
            )}
          >
            {inert(outcome(asked))}
            <Time at={asked.resolved_at} className="text-xs font-normal text-ink-3" />
          </p>
        )}
        {asked.status === "expired" && (
          <p className="px-3 pb-2.5 text-xs text-ink-2">Nobody answered in time: {whenOver(asked)}.</p>
        )}
        {asked.status === "answered" && asked.decisions.length === 0 && (
          <div className="px-3 pb-2.5 text-xs text-ink-2">
            <p>Nobody answered in time, so the answer is what the question said it would be:</p>
            <Answer value={asked.answer} />
          </div>
        )}
        <ol
          className={clsx(
            "divide-y divide-line",
            !pending && asked.decisions.length > 0 && "border-t border-line",
          )}
        >
          {asked.decisions.map((one, at) => (
            <li key={at} className={clsx("min-w-0 px-3 py-2.5", one.void && "text-ink-3")}>
              <p className="flex flex-wrap items-baseline gap-x-1.5">
                <span className="font-medium">{inert(who(one, me))}</span>
                <span className={clsx(one.void && "line-through")}>{said(one)}</span>
                {one.arguments !== null && <span>with other arguments</span>}
                {one.void && (
                  <span className="text-xs">(does not count: the arguments were changed since)</span>
                )}
                <Time at={one.at} className="text-xs text-ink-3" />
              </p>
              {one.note && (
                <p dir="auto" className="mt-1 whitespace-pre-wrap text-ink-2 [overflow-wrap:anywhere]">
                  “{inert(one.note)}”
                </p>
              )}
              {one.decision === "answer" && <Answer value={one.answer} />}
            </li>
          ))}
        </ol>
      </div>
    </Section>
  );
}

const Answer = ({ value }: { value: unknown }) =>
  typeof value === "string" && value.length <= 2_000 ? (
    <p dir="auto" className="mt-1 whitespace-pre-wrap [overflow-wrap:anywhere]">
      {inert(value)}
    </p>
  ) : (
    <JsonView value={value} className="mt-1.5" />
  );
