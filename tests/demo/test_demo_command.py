"""`holdfast demo` as a process: the tour, twice on the same files; and the printed lines, copied into a shell."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from holdfast.demo.models import choose
from holdfast.domain.errors import DefinitionError
from tests.cli.processes import WAIT_S, Process, holdfast


def test_the_tour_works_and_works_again_on_the_same_files(tmp_path: Path) -> None:
    first = holdfast("demo", "--once", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stderr == ""
    for words in (
        "SCRIPTED",
        "made now",
        "is on its way with",
        '"refunded": true',
        '"changed": true',
        "handed over to refunds",
        "run.succeeded",
        "products ran low",
        "at-least-once",
        "everything worked",
    ):
        assert words in first.stdout, first.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == [".holdfast-demo"]

    second = holdfast("demo", "--once", cwd=tmp_path)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "from an earlier start" in second.stdout
    assert "2 refunds" in second.stdout
    assert '"refunded": true' not in second.stdout
    assert "has been refunded in full already" in second.stdout


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="the lines are for curl")
def test_the_printed_lines_work_when_copied(tmp_path: Path) -> None:
    with Process("demo", "--port", "0", "--directory", "here", cwd=tmp_path) as process:
        url = process.url()
        assert f"{url}/docs" in process.output
        lines = [line for line in process.lines if line.startswith("curl ")]
        assert len(lines) == 7
        answers = [copied(line) for line in lines]
        for answer in answers[:4]:
            assert json.loads(answer)["status"] == "succeeded", answer
        assert "event: run.succeeded" in answers[4]
        assert len(json.loads(answers[5])["data"]) == 5
        models = {agent["id"]: agent.get("model") for agent in json.loads(answers[6])["data"]}
        assert models["support"] == "scripted:scripted"
        process.send(signal.SIGINT)
        assert process.ends() == 0
        assert "Traceback" not in process.output
    assert (tmp_path / "here" / "shop.db").exists()


def copied(line: str) -> str:
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=WAIT_S, check=True)
    return done.stdout


def test_a_folder_that_cannot_be_made_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = holdfast("demo", "--once", "--directory", "file/demo", cwd=tmp_path)
    assert done.returncode == 1
    assert "file/demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_decides_the_model_and_without_one_it_is_said_that_it_is_scripted() -> None:
    assert choose(None, {}).model == "scripted"
    assert "no OPENAI_API_KEY" in choose(None, {}).reason
    assert choose("scripted", {"OPENAI_API_KEY": "x"}).model == "scripted"
    with pytest.raises(DefinitionError, match="nobody"):
        choose("nobody:model", {})


@pytest.mark.parametrize(("key", "provider"), [("OPENAI_API_KEY", "openai:"), ("ANTHROPIC_API_KEY", "anthropic:")])
def test_a_providers_key_brings_its_model(monkeypatch: pytest.MonkeyPatch, key: str, provider: str) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(key, "a key for tests")
    choice = choose(None, {key: "a key for tests"})
    assert choice.model.startswith(provider)
    assert key in choice.reason
    assert "a key for tests" not in choice.reason
