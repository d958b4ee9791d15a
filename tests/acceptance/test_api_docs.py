"""What README and docs/api show that needs a server, run as it stands there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.stack import REPO, Stack

PAGE = (REPO / "docs" / "api" / "preset-policies.md").read_text()
RESOURCES = (REPO / "docs" / "api" / "resources-and-actions.md").read_text()


def test_the_commands_of_the_policies_page(stack: Stack, tmp_path: Path) -> None:
    lines = [line for block in re.findall(r"```console\n(.+?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 7
    (document,) = re.findall(r"```json\n(.+?)```", RESOURCES, re.DOTALL)
    file = tmp_path / "policy.json"
    file.write_text(document)
    uin, printed = "", {}
    for line in lines:
        _, *arguments = shlex.split(line)
        filled = [
            {"UIN": uin, "SDKAPPID": str(stack.sdk_app_id), "policy.json": str(file)}.get(part, part) for part in arguments
        ]
        printed[line] = stack.cli(*filled)
        if line.startswith("roomtape policy user"):
            found = re.search(r"\b\d{6,}\b", printed[line])
            assert found is not None, printed[line]
            uin = found[0]
    test = next(text for line, text in printed.items() if " policy test " in line)
    assert "allow" in test
    listed = next(text for line, text in printed.items() if " policy list " in line)
    assert "stop-only" in listed


def test_the_client_of_the_readme_records(stack: Stack, tmp_path: Path) -> None:
    (client,) = re.findall(r"```python\n(.+?)```", (REPO / "README.md").read_text(), re.DOTALL)
    (tmp_path / "record.py").write_text(client)
    (tmp_path / "roomtape-data").symlink_to(stack.data_dir)
    sig = stack.cli("usersig", "issue", "recorder").strip()
    done = subprocess.run(
        [sys.executable, "record.py", sig], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    task = done.stdout.strip()
    assert stack.describe(task)["Status"] == "Idle"
    stack.delete(task)


def test_schemathesis_finds_nothing_wrong_with_the_started_server(stack: Stack, tmp_path: Path) -> None:
    """As anybody runs it, unsigned, against the description the server itself gives; the signed ones are in
    tests/integration/api/test_openapi.py. Its checks of HTTP statuses that say an error are left out: errors are 200."""
    checks = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
    done = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", f"{stack.dev['http_url']}/openapi.json",
         "--phases", "examples,fuzzing", "--max-examples", "20", "--generation-deterministic", "--checks", ",".join(checks)],
        capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"[1-9][0-9]* generated, ", done.stdout), done.stdout[-1000:]
    assert "action_failed" not in stack.log()
