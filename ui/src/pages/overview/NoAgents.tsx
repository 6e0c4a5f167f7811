/** What to do when the server has nothing to run. */

import { Bot } from "lucide-react";
import { CopyButton } from "~/design/Facts";
import { Panel } from "~/design/Page";

const CODE = `# agents.py
from holdfast import Agent, Holdfast, tool


@tool(effect="read")
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


assistant = Agent(
    "assistant",
    model="openai:gpt-5.2",
    instructions="Answer in one sentence.",
    tools=[weather],
)
hf = Holdfast(agents=[assistant])`;

const START = "holdfast dev agents.py";

export function NoAgents() {
  return (
    <Panel title="No agents yet">
      <div className="flex flex-col gap-3">
        <p className="flex items-start gap-2 text-sm text-ink-2">
          <Bot size={18} aria-hidden className="mt-0.5 shrink-0 text-ink-3" />
          <span className="max-w-prose">
            Agents are plain Python. Declare one, start the server with that file, and it shows up here and in
            the chat. Workflows and tools are declared the same way.
          </span>
        </p>
        <Code text={CODE} label="How an agent is declared" />
        <Code text={START} label="How the server is started with it" />
        <p className="text-xs text-ink-3">
          To look around without writing anything: <code className="font-mono">holdfast demo</code>.
        </p>
      </div>
    </Panel>
  );
}

const Code = ({ text, label }: { text: string; label: string }) => (
  <div className="relative min-w-0">
    <pre
      tabIndex={0}
      role="region"
      aria-label={label}
      className="overflow-x-auto rounded-md bg-sunken p-3 pr-10 font-mono text-xs leading-5"
    >
      {text}
    </pre>
    <span className="absolute right-1.5 top-1.5">
      <CopyButton text={text} />
    </span>
  </div>
);
