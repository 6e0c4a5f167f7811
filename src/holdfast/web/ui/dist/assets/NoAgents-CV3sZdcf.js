import{k as e}from"./index-BntfAy0P.js";import{a as t}from"./text-DW0rzmNn.js";import{r as n}from"./Page-BV5j28hB.js";import{t as r}from"./jsx-runtime-Wy9s6hX0.js";var i=r(),a=`# agents.py
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
hf = Holdfast(agents=[assistant])`,o=`holdfast dev agents.py`;function s(){return(0,i.jsx)(n,{title:`No agents yet`,children:(0,i.jsxs)(`div`,{className:`flex flex-col gap-3`,children:[(0,i.jsxs)(`p`,{className:`flex items-start gap-2 text-sm text-ink-2`,children:[(0,i.jsx)(e,{size:18,"aria-hidden":!0,className:`mt-0.5 shrink-0 text-ink-3`}),(0,i.jsx)(`span`,{className:`max-w-prose`,children:`Agents are plain Python. Declare one, start the server with that file, and it shows up here and in the chat. Workflows and tools are declared the same way.`})]}),(0,i.jsx)(c,{text:a,label:`How an agent is declared`}),(0,i.jsx)(c,{text:o,label:`How the server is started with it`}),(0,i.jsxs)(`p`,{className:`text-xs text-ink-3`,children:[`To look around without writing anything: `,(0,i.jsx)(`code`,{className:`font-mono`,children:`holdfast demo`}),`.`]})]})})}var c=({text:e,label:n})=>(0,i.jsxs)(`div`,{className:`relative min-w-0`,children:[(0,i.jsx)(`pre`,{tabIndex:0,role:`region`,"aria-label":n,className:`overflow-x-auto rounded-md bg-sunken p-3 pr-10 font-mono text-xs leading-5`,children:e}),(0,i.jsx)(`span`,{className:`absolute right-1.5 top-1.5`,children:(0,i.jsx)(t,{text:e})})]});export{s as t};