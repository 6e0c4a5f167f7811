from __future__ import annotations

from pathlib import Path

from holdfast import Agent, Holdfast
from holdfast.testing import ScriptedModel
from holdfast.testing.client import client


async def test_the_client_in_the_process_speaks_to_the_real_api(tmp_path: Path) -> None:
    hf = Holdfast([Agent("a", model=ScriptedModel(["hello"]))], database=f"sqlite:///{tmp_path / 'x.db'}")
    async with client(hf) as http:
        answer = await http.post("/v1/runs?wait=10", json={"agent": "a", "input": "hi"})
    assert answer.status_code == 201
    assert answer.json()["output"] == "hello"


async def test_an_application_starts_again_after_it_stopped(tmp_path: Path) -> None:
    hf = Holdfast(
        [Agent("a", model=ScriptedModel(["hello"], on_end="repeat"))], database=f"sqlite:///{tmp_path / 'x.db'}"
    )
    app = hf.app
    for _ in range(2):
        async with client(hf) as http:
            answer = await http.post("/v1/runs?wait=10", json={"agent": "a", "input": "hi"})
        assert answer.json()["output"] == "hello"
    assert hf.app is app
