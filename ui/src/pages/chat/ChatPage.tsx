/** Talk to agents: the threads on the left, one conversation on the right. */

import { useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { PanelLeft, Plus } from "lucide-react";
import { Dialog as Radix } from "radix-ui";
import { useEffect, useState } from "react";
import { IconButton } from "~/design/Button";
import { useReturn } from "~/design/returning";
import { useHotkeys } from "~/lib/hotkeys";
import { ExistingChat } from "./ExistingChat";
import { NewChat } from "./NewChat";
import { ThreadList } from "./ThreadList";

export function ChatPage() {
  const { threadId } = useParams({ strict: false });
  const { agent } = useSearch({ strict: false });
  const navigate = useNavigate();
  const [drawer, setDrawer] = useState(false);
  const giveBack = useReturn(drawer);
  useHotkeys([{ keys: "n", does: "New chat", group: "Chat", run: () => void navigate({ to: "/chat" }) }]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: closed whenever another thread is gone to
  useEffect(() => setDrawer(false), [threadId]);
  const opener = (
    <span className="flex items-center gap-1 min-[900px]:hidden">
      <IconButton label="Show the threads" aria-expanded={drawer} onClick={() => setDrawer(true)}>
        <PanelLeft size={16} />
      </IconButton>
      <IconButton label="New chat" onClick={() => void navigate({ to: "/chat" })}>
        <Plus size={16} />
      </IconButton>
    </span>
  );
  return (
    <div className="flex min-h-0 grow">
      <aside
        aria-label="Threads"
        className="hidden w-64 shrink-0 flex-col border-r border-line bg-surface min-[900px]:flex xl:w-72"
      >
        <ThreadList current={threadId ?? null} />
      </aside>
      <Radix.Root open={drawer} onOpenChange={setDrawer}>
        <Radix.Portal>
          <Radix.Overlay className="fixed inset-0 z-40 bg-scrim" />
          <Radix.Content
            aria-describedby={undefined}
            onCloseAutoFocus={giveBack}
            className="fixed inset-y-0 left-0 z-50 flex w-[min(20rem,calc(100vw-3rem))] flex-col border-r border-line bg-surface shadow-pop"
          >
            <Radix.Title className="sr-only">Threads</Radix.Title>
            <ThreadList current={threadId ?? null} onChosen={() => setDrawer(false)} />
          </Radix.Content>
        </Radix.Portal>
      </Radix.Root>
      <div className="flex min-h-0 min-w-0 grow flex-col">
        {threadId === undefined ? (
          <NewChat key={agent ?? ""} agentId={agent ?? null} opener={opener} />
        ) : (
          <ExistingChat key={threadId} threadId={threadId} agentId={agent ?? null} opener={opener} />
        )}
      </div>
    </div>
  );
}
