"""The task runner's own promises: failures are seen, closing lines told, work not repeated."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> object:
    """Loads a module of tools/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_a_tier_runs_all_its_commands_and_fails_when_one_fails(tool, capsys) -> None:
    check = tool("check")
    passing = [sys.executable, "-c", "print('3 passed in 0.1s')"]
    failing = [sys.executable, "-c", "print('1 failed, 2 passed in 0.2s'); raise SystemExit(1)"]
    _, good, closing = check.tier("x", [failing, passing], {})
    assert not good
    assert closing == "1 failed, 2 passed in 0.2s; 3 passed in 0.1s"
    assert check.tier("x", [passing], {})[1:] == (True, "3 passed in 0.1s")
    assert "3 passed" in capsys.readouterr().out


def test_the_results_of_all_crates_are_added_up(tool, capsys) -> None:
    text = "test result: ok. 3 passed; 0 failed; 0 ignored\\ntest result: ok. 4 passed; 1 failed; 0 ignored"
    _, _, closing = tool("check").tier("rust", [[sys.executable, "-c", f"print('{text}')"]], {})
    assert closing == "7 passed, 1 failed"


SPREAD_TESTS = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_late(number, tmp_path_factory):
    mark = Path(__file__).with_name(f"seen{{number}}")
    first = not mark.exists()
    mark.touch()
    assert {good}

def test_in_time():
    pass
"""


@pytest.mark.parametrize(
    ("count", "good", "verdict", "told"),
    [(2, "not first", True, "alone: 2 passed"), (1, "False", False, "alone: 1 failed"), (5, "not first", False, "5 failed")],
)  # fmt: skip
def test_the_few_that_fail_beside_others_are_tried_once_more_alone(
    tool, tmp_path, capsys, count: int, good: str, verdict: bool, told: str
) -> None:
    (tmp_path / "test_spread.py").write_text(SPREAD_TESTS.format(count=count, good=good))
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", str(tmp_path)]
    _, passed, closing = tool("check").tier("x", [command], {**os.environ, "PYTEST_ADDOPTS": ""})
    assert passed is verdict
    assert f"{count} failed, 1 passed" in closing
    assert told in closing
    assert ("alone" in closing) is (count < 5)


def test_an_unknown_tier_is_wrong_usage(tool, capsys) -> None:
    assert tool("check").main(["bogus"]) == 2
    assert "no such tier: bogus" in capsys.readouterr().err


def test_a_build_step_is_fresh_only_for_the_same_inputs(tool, tmp_path, monkeypatch) -> None:
    project = tool("project")
    monkeypatch.setattr(project, "STAMPS", tmp_path)
    monkeypatch.setattr(project, "ROOT", tmp_path)
    source = tmp_path / "a.rs"
    source.write_text("1")
    first = project.digest([source])
    assert not project.is_fresh("core", first)
    project.done("core", first)
    assert project.is_fresh("core", first)
    source.write_text("2")
    assert not project.is_fresh("core", project.digest([source]))


@pytest.mark.parametrize("home", [None, "", "empty"])
def test_toolchains_are_found_without_a_home(tool, home, tmp_path, monkeypatch) -> None:
    import subprocess

    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home and str(tmp_path))
    env = tool("project").environment()
    assert Path(env["HOME"]).is_dir()
    done = subprocess.run(["cargo", "--version"], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("cargo 1."), done.stderr
