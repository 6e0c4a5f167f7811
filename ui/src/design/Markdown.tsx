/**
 * Text as models write it. Markup in it is shown as text, never run; images of elsewhere are links, since the page loads
 * nothing from outside. A text that grows is read block by block: blocks that are whole are not read again.
 */

import clsx from "clsx";
import { memo, Suspense, useMemo } from "react";
import { inert } from "~/lib/text";
import { blocksOf } from "./blocks";
import { lazyOr } from "./lazyOr";

const Plain = ({ text }: { text: string }) => <p className="whitespace-pre-wrap">{text}</p>;
const Rendered = lazyOr(() => import("./MarkdownBlock"), Plain);

const Block = memo(function Block({ text }: { text: string }) {
  return (
    <Suspense fallback={<Plain text={text} />}>
      <Rendered text={text} />
    </Suspense>
  );
});

export function Markdown({ text, className }: { text: string; className?: string }) {
  const blocks = useMemo(() => blocksOf(inert(text)), [text]);
  return (
    <div dir="auto" className={clsx("flex min-w-0 flex-col gap-2 [overflow-wrap:anywhere]", className)}>
      {blocks.map((block, index) => (
        <Block key={index} text={block} />
      ))}
    </div>
  );
}
