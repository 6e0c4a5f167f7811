"""An agent with a tool.

    holdfast dev examples/first_agent.py
    curl -s 'http://127.0.0.1:8484/v1/runs?wait=30' -H 'content-type: application/json' \
        -d '{"agent": "assistant", "input": "How is the weather in Lisbon?"}'
"""

from holdfast import Agent, Holdfast, tool


@tool(effect="read")
def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is sunny in {city}."


assistant = Agent("assistant", model="openai:gpt-5.2", instructions="Answer in one sentence.", tools=[weather])
hf = Holdfast(agents=[assistant])
app = hf.app  # a FastAPI app; hf.mount(your_app, "/agents") puts it into yours
