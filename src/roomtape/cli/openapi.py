"""`roomtape openapi`: the API's description, for generators and testers of clients."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from roomtape.cli.say import Failure

Name = Annotated[str | None, typer.Argument(metavar="[ACTION]", help="Only this action; default: all.")]


def openapi(action: Name = None) -> None:
    """Print the OpenAPI 3.1 document of the API. It is also at /openapi.json of a server."""
    from roomtape.api.openapi import NoSuchAction, document

    try:
        made = document(action)
    except NoSuchAction:
        raise Failure(f"{action}: no such action; `roomtape openapi` prints all") from None
    print(json.dumps(made, indent=2, ensure_ascii=False))
