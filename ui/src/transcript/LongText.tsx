/** Texts of any length: as Markdown or as they are, bounded, so that a page never lays out megabytes at once. */

import clsx from "clsx";
import { useState } from "react";
import { blocksOf } from "~/design/blocks";
import { Cut } from "~/design/Json";
import { Markdown } from "~/design/Markdown";
import { inert } from "~/lib/text";

const SHOWN_CHARS = 30_000;
/** A block of Markdown that still grows and is longer than this is shown as it is until it is whole. */
const LIVE_BLOCK_CHARS_MAX = 6_000;

/** Text as a person or a program wrote it; at first so much of it. */
export function PlainText({
  text,
  className,
  charsMax = SHOWN_CHARS,
}: {
  text: string;
  className?: string;
  charsMax?: number;
}) {
  const [all, setAll] = useState(false);
  const cut = !all && text.length > charsMax;
  return (
    <div dir="auto" className={clsx("min-w-0 whitespace-pre-wrap [overflow-wrap:anywhere]", className)}>
      {inert(cut ? text.slice(0, charsMax) : text)}
      {cut && <Cut text={text} onAll={() => setAll(true)} />}
    </div>
  );
}

/** Text as models write it. */
export function ModelText({ text, streaming }: { text: string; streaming: boolean }) {
  const [all, setAll] = useState(false);
  if (streaming) return <GrowingText text={text} />;
  const cut = !all && text.length > SHOWN_CHARS;
  return (
    <div className="min-w-0">
      {all && text.length > SHOWN_CHARS ? (
        <div dir="auto" className="whitespace-pre-wrap [overflow-wrap:anywhere]">
          {inert(text)}
        </div>
      ) : (
        <Markdown text={cut ? text.slice(0, SHOWN_CHARS) : text} />
      )}
      {cut && <Cut text={text} onAll={() => setAll(true)} />}
    </div>
  );
}

function GrowingText({ text }: { text: string }) {
  const tail = text.length > SHOWN_CHARS ? text.slice(-SHOWN_CHARS) : text;
  const last = tail.length > LIVE_BLOCK_CHARS_MAX ? (blocksOf(tail).at(-1) ?? "") : "";
  const heavy = last.length > LIVE_BLOCK_CHARS_MAX && tail.endsWith(last);
  return (
    <div className="flex min-w-0 flex-col gap-2">
      {tail !== text && <p className="text-ink-3">…</p>}
      {heavy ? (
        <>
          <Markdown text={tail.slice(0, -last.length)} />
          <div dir="auto" className="whitespace-pre-wrap [overflow-wrap:anywhere]">
            {inert(last)}
          </div>
        </>
      ) : (
        <Markdown text={tail} />
      )}
    </div>
  );
}
