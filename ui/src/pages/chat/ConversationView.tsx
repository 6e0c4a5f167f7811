/**
 * The scrolling column of a conversation. It opens at its end and stays there while something is said, until somebody
 * scrolls up. What is loaded above moves nothing of what is in sight.
 */

import { ArrowDown } from "lucide-react";
import { type ReactNode, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";
import { Button } from "~/design/Button";
import { Skeleton } from "~/design/States";
import { Following } from "~/transcript/Transcript";

const NEAR_END_PX = 60;
const NEAR_START_PX = 400;

export function ConversationView({
  label,
  firstId,
  hasOlder,
  isLoadingOlder,
  olderFailed = false,
  onOlder,
  children,
}: {
  label: string;
  /** Of the first message: when it changes, something was put above. */
  firstId?: string | undefined;
  hasOlder: boolean;
  isLoadingOlder: boolean;
  olderFailed?: boolean;
  onOlder: () => void;
  children: ReactNode;
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const column = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  const last = useRef({ top: 0, height: 0 });
  const [away, setAway] = useState(false);
  const isFollowed = useCallback(() => stuck.current, []);
  useKeptPlace(scroller, firstId);

  const toEnd = useCallback((): void => {
    const area = scroller.current;
    if (area !== null) area.scrollTop = area.scrollHeight;
  }, []);
  const older = useCallback((): void => {
    const area = scroller.current;
    const wanted = hasOlder && !isLoadingOlder && !olderFailed;
    if (area !== null && wanted && area.scrollTop < NEAR_START_PX) onOlder();
  }, [hasOlder, isLoadingOlder, olderFailed, onOlder]);
  const scrolled = (): void => {
    const area = scroller.current;
    if (area === null) return;
    const { scrollTop: top, scrollHeight: height, clientHeight } = area;
    // Somebody scrolled up if it went up, however little, and nothing shrank; growth alone scrolls nobody away.
    const up = top < last.current.top && height >= last.current.height;
    const distance = height - top - clientHeight;
    if (up && distance >= 1) stuck.current = false;
    else if (distance < NEAR_END_PX) stuck.current = true;
    last.current = { top, height };
    setAway(!stuck.current);
    older();
  };
  useLayoutEffect(toEnd, [toEnd]);
  useEffect(() => {
    const [area, content] = [scroller.current, column.current];
    if (area === null || content === null) return;
    const grown = new ResizeObserver(() => {
      if (stuck.current) toEnd();
    });
    grown.observe(content);
    grown.observe(area);
    return () => grown.disconnect();
  }, [toEnd]);
  useEffect(older, [older]);

  return (
    <div className="relative min-h-0 grow">
      <section
        ref={scroller}
        aria-label={label}
        tabIndex={0}
        onScroll={scrolled}
        className="h-full overflow-y-auto overscroll-contain focus-visible:-outline-offset-2"
      >
        <div ref={column} className="mx-auto flex max-w-3xl flex-col gap-6 px-4 pb-8 pt-5 sm:px-5">
          {hasOlder && olderFailed && !isLoadingOlder && (
            <p role="alert" className="flex flex-wrap items-center gap-2 text-sm text-ink-2">
              The earlier messages could not be loaded.
              <Button size="sm" onClick={onOlder}>
                Try again
              </Button>
            </p>
          )}
          {hasOlder && (!olderFailed || isLoadingOlder) && (
            <div role="status" aria-label="Loading earlier messages" className="flex flex-col gap-2">
              <Skeleton className="h-5 w-2/3" />
              <Skeleton className="h-5 w-1/2" />
            </div>
          )}
          <Following value={isFollowed}>{children}</Following>
        </div>
      </section>
      {away && (
        <Button
          size="sm"
          className="absolute bottom-3 left-1/2 -translate-x-1/2 rounded-full shadow-pop"
          icon={<ArrowDown size={13} />}
          onClick={() => {
            stuck.current = true;
            setAway(false);
            toEnd();
          }}
        >
          Jump to latest
        </Button>
      )}
    </div>
  );
}

/** Keeps what is in sight where it is when something is put above it; browsers do not do so at the very top. */
function useKeptPlace(
  scroller: { readonly current: HTMLDivElement | null },
  firstId: string | undefined,
): void {
  const before = useRef<{ id: string | undefined; height: number; top: number }>({
    id: undefined,
    height: 0,
    top: 0,
  });
  useLayoutEffect(() => {
    const area = scroller.current;
    if (area === null) return;
    const { id, height, top } = before.current;
    if (id !== undefined && id !== firstId) {
      const done = area.scrollTop - top; // what the browser did by itself
      area.scrollTop += area.scrollHeight - height - done;
    }
    before.current = { id: firstId, height: area.scrollHeight, top: area.scrollTop };
  });
  useEffect(() => {
    const area = scroller.current;
    if (area === null) return;
    const moved = (): void => {
      before.current = { ...before.current, height: area.scrollHeight, top: area.scrollTop };
    };
    area.addEventListener("scroll", moved, { passive: true });
    return () => area.removeEventListener("scroll", moved);
  }, [scroller]);
}
