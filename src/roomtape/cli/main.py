"""The command: its verbs, and what an error looks like (one line on stderr: what, why, what to do)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from roomtape.cli import app as app_verb
from roomtape.cli import (
    callback,
    config,
    demo,
    dev,
    doctor,
    key,
    library,
    node,
    openapi,
    policy,
    record,
    room,
    serve,
    user,
    usersig,
)
from roomtape.cli.say import Failure
from roomtape.config import ConfigError
from roomtape.supervisor import SupervisorError
from roomtape.version import version

command = typer.Typer(
    name="roomtape",
    help="Rooms and recordings of your own, spoken to in the TencentCloud API 3.0 of TRTC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"roomtape {version()}")
        raise typer.Exit


@command.callback()
def _options(
    version_wanted: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Rooms and recordings of your own, spoken to in the TencentCloud API 3.0 of TRTC."""


command.command("dev")(dev.dev)
command.command("serve")(serve.serve)
command.command("demo")(demo.demo)
command.add_typer(app_verb.command, name="app")
command.add_typer(key.command, name="key")
command.add_typer(usersig.command, name="usersig")
command.add_typer(policy.command, name="policy")
command.add_typer(room.command, name="room")
command.add_typer(user.command, name="user")
command.add_typer(record.command, name="record")
command.add_typer(library.command, name="library")
command.add_typer(callback.command, name="callback")
command.command("node")(node.node)
command.command("openapi")(openapi.openapi)
command.command("doctor")(doctor.doctor)
command.add_typer(config.command, name="config")


def run(arguments: Sequence[str]) -> int:
    """Run one command line. Returns the exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        code = command(args=list(arguments), prog_name="roomtape", standalone_mode=False)
    except (Failure, ConfigError, SupervisorError) as error:
        return _complain(str(error), 1)
    except typer.TyperException as error:
        return _complain(error.format_message(), error.exit_code)
    except (typer.Abort, KeyboardInterrupt):
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0


def _complain(text: str, code: int) -> int:
    """One line of what is wrong; of a command that names no verb, the list of them."""
    print(text if text.startswith("Usage:") else f"roomtape: {text}", file=sys.stderr)
    return code
