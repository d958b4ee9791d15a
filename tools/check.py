"""`make test`, `make lint` and their like: the tiers of checks, each with its time and its last line.

python tools/check.py [TIER ...]      default: all of lint rust unit integration acceptance wheel
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from project import PYTHON, ROOT, Broken, done, environment, is_fresh, need, run

Command = Sequence[str]
FAILED = re.compile(r"(\d+) (?:failed|error)")
CLOSING = re.compile(r"(\d+ (passed|failed|error)|no tests ran|^Contracts:|^Success:|^Found \d+ error)")
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed")
# Tests with real media run in real time and mostly wait: two at once on two cores, whole files each.
SPREAD = ("-n", "2", "--dist", "loadfile")
# What is late only because others ran beside it is not late alone: so many are tried once more, and told.
SECOND_TRIES = 4
CARGO_TEST = ("cargo", "test", "--release", "--locked")
FUZZ_S = 20  # each target, in the rust tier; `make fuzz` takes longer
WHEEL = "tests/acceptance/test_wheel.py"

TIERS: dict[str, list[Command]] = {
    "lint": [
        [str(PYTHON), "-m", "ruff", "check", "."],
        [str(PYTHON), "-m", "mypy"],
        [str(PYTHON), "-m", "mypy", "--config-file", "tests/mypy.ini"],
        [str(PYTHON), "-m", "mypy.stubtest", "roomtape._core"],
        ["lint-imports"],
        ["cargo", "fmt", "--all", "--check"],
        ["cargo", "clippy", "--release", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"],
    ],
    "rust": [
        [*CARGO_TEST, "--workspace", "--exclude", "roomtape-py", "--exclude", "roomtape-fuzz"],
        ["env", f"ROOMTAPE_FUZZ_SECONDS={FUZZ_S}", *CARGO_TEST, "-p", "roomtape-fuzz"],
    ],
    "unit": [[str(PYTHON), "-m", "pytest", "-n", "2", "tests/unit", "tests/golden"]],
    "integration": [[str(PYTHON), "-m", "pytest", *SPREAD, "tests/integration"]],
    "acceptance": [[str(PYTHON), "-m", "pytest", *SPREAD, "tests/acceptance", f"--ignore={WHEEL}"]],
    "wheel": [[str(PYTHON), "-m", "pytest", WHEEL]],
    "soak": [[str(PYTHON), "-m", "pytest", "tests", "-m", "soak"]],
    "fix": [
        [str(PYTHON), "-m", "ruff", "check", "--fix", "."],
        [str(PYTHON), "-m", "ruff", "format", "src", "tools"],
        ["cargo", "fmt", "--all"],
    ],
}
ALL = ("lint", "rust", "unit", "integration", "acceptance", "wheel")
GO_BIN = ROOT / ".cache" / "bin"
NEED_SYSTEM = {"integration", "acceptance", "soak"}


def main(arguments: Sequence[str]) -> int:
    wanted = list(arguments) or list(ALL)
    if unknown := [name for name in wanted if name not in TIERS]:
        print(f"check: no such tier: {unknown[0]}; there are {', '.join(TIERS)}", file=sys.stderr)
        return 2
    env = environment()
    try:
        if NEED_SYSTEM & set(wanted):
            system_packages(env)
            go_programs(env)
    except Broken as broken:
        print(f"check: {broken}", file=sys.stderr)
        return 1
    results = [(name, *tier(name, TIERS[name], env)) for name in wanted]
    print("\ntier          time       result")
    for name, seconds, good, closing in results:
        print(f"{name:12} {seconds:7.1f} s   {'ok' if good else 'FAILED'}   {closing}")
    return 0 if all(good for _, _, good, _ in results) else 1


def tier(name: str, commands: list[Command], env: dict[str, str]) -> tuple[float, bool, str]:
    """Run all commands of a tier, also after a failure. Returns seconds, verdict and closing lines.

    A few failures among tests that share the machine are tried once more alone; the closing lines tell both.
    """
    begin = time.monotonic()
    good, closings = True, []
    for command in commands:
        print(f"\n== {name}: {' '.join(command).replace(str(ROOT) + '/', '')}", flush=True)
        code, closing = stream(command, env, print_line)
        closings += [closing] if closing else []
        if code == 1 and SPREAD[-1] in command and sum(map(int, FAILED.findall(closing))) <= SECOND_TRIES:
            alone = [word for word in command if word not in SPREAD] + ["--last-failed"]
            print(f"\n== {name}, alone: {' '.join(alone).replace(str(ROOT) + '/', '')}", flush=True)
            code, closing = stream(alone, env, print_line)
            closings += [f"alone: {closing}"]
        good = good and code == 0
        if code != 0:
            print(f"== {name}: ended with {code}", flush=True)
    return time.monotonic() - begin, good, "; ".join(closings)


def stream(command: Command, env: dict[str, str], tell: Callable[[str], None]) -> tuple[int, str]:
    """Run a command with its output shown as it comes. Returns its code and its closing line."""
    closing, cargo = "", [0, 0]
    with subprocess.Popen(
        list(command), cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            tell(line)
            if counts := CARGO.match(line):  # one line per crate: their sum is the closing line
                cargo = [cargo[0] + int(counts[1]), cargo[1] + int(counts[2])]
                closing = f"{cargo[0]} passed, {cargo[1]} failed"
            elif CLOSING.search(line):
                closing = line.strip(" =\n")
    return process.returncode, closing


def print_line(line: str) -> None:
    print(line, end="", flush=True)


def system_packages(env: dict[str, str]) -> None:
    """Install what requirements/apt.txt names and this machine lacks. Raises Broken when it may not."""
    lines = (ROOT / "requirements" / "apt.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    if shutil.which("dpkg-query") is None:
        print(f"check: no dpkg here; the tests need {', '.join(wanted)}", file=sys.stderr)
        return
    missing = [name for name in wanted if not _is_installed(name)]
    if not missing:
        return
    install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0:
        raise Broken(f"system packages are missing; run: sudo {' '.join(install)}")
    quiet = {**env, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], install):
        if subprocess.run(command, env=quiet, stdin=subprocess.DEVNULL, check=False).returncode != 0:
            raise Broken(f"`{' '.join(command)}` failed")


def go_programs(env: dict[str, str]) -> None:
    """Build what requirements/go.txt names into .cache/bin, in exactly that version. Raises Broken."""
    lines = (ROOT / "requirements" / "go.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    stamp = "\n".join(wanted)
    programs = [GO_BIN / line.partition("@")[0].rsplit("/", 1)[1] for line in wanted]
    if is_fresh("go-programs", stamp) and all(program.exists() for program in programs):
        return
    go = need("go", "install Go 1.26 or later (go.dev); the tests run an S3 server written in it", env)
    for line in wanted:
        run([go, "install", line], {**env, "GOBIN": str(GO_BIN), "GOFLAGS": "-p=2"})
    done("go-programs", stamp)


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "-W", "-f", "${Status}", package]
    return "ok installed" in subprocess.run(query, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
