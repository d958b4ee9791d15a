"""`make docs`: docs/settings.md, docs/actions.md, docs/api/ and the README's status table, from the code.

With --check it changes nothing and ends with 1 when a page is not what the code says.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import apidocs
import msgspec
import promises

ROOT = Path(__file__).resolve().parents[1]
MADE = "<!-- made by `make docs`, do not edit -->"
BEGIN, END = "<!-- actions: made by `make docs` -->", "<!-- end of actions -->"
RESULTS_BEGIN, RESULTS_END = "<!-- results: made by `make docs` -->", "<!-- end of results -->"
SETTINGS = """\
# Settings

One TOML file (`roomtape serve --config FILE`, or `ROOMTAPE_CONFIG_FILE`; `roomtape dev` reads
`<data-dir>/roomtape.toml` if it is there). Every key can be given as an environment variable, which wins
over the file. A key that ends in `_s` or `_ms` may also be written without the ending and with a unit in
the value: `rooms.lost_after = "90s"`, `callbacks.give_up_after = "24h"`, `spool.flush = "200ms"`.
`roomtape config check FILE` names a wrong key and the nearest right one.

Keys under `<name>` belong to a table of your own naming, for example `[storage.local.recordings]`.

A running server takes changes of `limits`, `api`, `callbacks`, `rooms` and `server.tls_*` on
`roomtape config reload` (`serve` on SIGHUP too), of the others at its next start. Addresses of callbacks,
keys and switches of an application are no settings: `roomtape app set` and `roomtape key` change them at
once."""
ACTIONS = """\
# Actions

What the API at `/` knows (TencentCloud API 3.0, service `trtc`, version `2019-07-22`). Every answer is
HTTP 200 with `application/json`; an error is in `Response.Error`.

{built} actions are built, {planned} are known and answer `UnsupportedOperation`, {retired} former names
answer `ActionOffline`, any other name `InvalidAction`.

## Built"""
GROUPS = {
    "CloudRecording": "Recording",
    "PublishCdnStream": "Mixing and relay",
    "StreamIngest": "Pulled streams",
    "Usage": "Usage",
}


def main(arguments: list[str]) -> int:
    stale = 0
    for path, text in pages():
        old = path.read_text() if path.exists() else ""
        if old == text:
            continue
        if "--check" in arguments:
            names = (f"{path.relative_to(ROOT)} (there)", "(from the code)")
            print("".join(difflib.unified_diff(old.splitlines(True), text.splitlines(True), *names)))
            stale = 1
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return stale


def pages() -> Iterator[tuple[Path, str]]:
    yield ROOT / "docs" / "settings.md", settings_page()
    yield ROOT / "docs" / "actions.md", actions_page()
    yield from apidocs.pages()
    yield ROOT / "docs" / "coverage.md", promises.coverage_page()
    page = ROOT / "docs" / "reliability.md"
    before, after = _around(page.read_text(), RESULTS_BEGIN, RESULTS_END)
    yield page, f"{before}{RESULTS_BEGIN}\n\n{promises.sections()}\n{RESULTS_END}{after}"
    readme = ROOT / "README.md"
    before, after = _around(readme.read_text(), BEGIN, END)
    yield readme, f"{before}{BEGIN}\n\n{status_table()}\n{END}{after}"


def _around(text: str, begin: str, end: str) -> tuple[str, str]:
    return text.split(begin, 1)[0], text.split(end, 1)[1]


def settings_page() -> str:
    from roomtape.config import settings

    lines = [MADE, "", SETTINGS]
    section = None
    for row in settings():
        head = row.key.partition(".")[0] if "." in row.key else ""
        if head != section:
            section = head
            title = f"`[{head}]`" if head else "Top level"
            lines += ["", f"## {title}", "", "| Key | Type | Default | Meaning |", "|---|---|---|---|"]
        default = row.default.replace("|", "\\|")
        meaning = row.meaning.replace("|", "\\|")
        lines.append(f"| `{row.key}`<br>`{row.env}` | {row.type} | `{default}` | {meaning} |")
    return "\n".join(lines) + "\n"


def actions_page() -> str:
    built, planned, retired = _tables()
    counts = {"built": len(built), "planned": len(planned), "retired": len(retired)}
    lines = [MADE, "", ACTIONS.format(**counts)]
    for name, action in sorted(built.items()):
        repeat = (
            "answered from its first success for ten minutes" if action.mutating else "just answered again"
        )
        text = (action.handler.__doc__ or "").strip().splitlines()[0]
        lines += [
            "",
            f"### {name}",
            "",
            text,
            "",
            f"At most {action.rate:g} calls per second of an account.",
            f"The same signed request again is {repeat}.",
            "",
            "| Parameter | Type | Required |",
            "|---|---|---|",
        ]
        lines += [f"| {' | '.join(row)} |" for row in _parameters(action.request)]
    lines += ["", "## Known, not built", "", "| Action | Why |", "|---|---|"]
    lines += [f"| {name} | {row.reason} |" for name, row in sorted(planned.items())]
    lines += ["", "## Former names", "", ", ".join(f"`{name}`" for name in sorted(retired)), ""]
    return "\n".join(lines)


def status_table() -> str:
    """The README's: every action this server set out to do, whether it does it."""
    built, planned, _ = _tables()
    scope = {**dict.fromkeys(built, ""), **{n: p.reason for n, p in planned.items() if p.request is not None}}
    lines = ["| Action | State |", "|---|---|"]
    for name in sorted(scope, key=lambda name: (name not in built, _group(name), name)):
        lines.append(f"| {name} | {'works' if name in built else f'no: {scope[name]}'} |")
    return "\n".join(lines) + "\n"


def _tables():  # type: ignore[no-untyped-def]  # imported late: the pages of settings need no API
    import roomtape.api.actions as package
    from roomtape.api import dispatch

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return dispatch.ACTIONS, dispatch.PLANNED, dispatch.RETIRED


def _group(name: str) -> str:
    return next((title for part, title in GROUPS.items() if part in name), "Rooms")


def _parameters(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Every member, those of objects below their parent as `Parent.Member`."""
    info = msgspec.inspect.type_info(struct)
    for field in info.fields:  # type: ignore[union-attr]
        kind = _core_type(field.type)
        inner = kind.item_type if isinstance(kind, msgspec.inspect.ListType) else kind
        inner = _core_type(inner)
        name = f"{prefix}{field.encode_name}"
        yield f"`{name}`", _type_name(kind), "yes" if field.required else "no"
        if isinstance(inner, msgspec.inspect.StructType):
            dots = "[]." if isinstance(kind, msgspec.inspect.ListType) else "."
            yield from _parameters(inner.cls, f"{name}{dots}")


def _core_type(kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """The type behind an optional one."""
    if isinstance(kind, msgspec.inspect.UnionType):
        rest = [t for t in kind.types if not isinstance(t, msgspec.inspect.NoneType)]
        return rest[0]
    return kind


def _type_name(kind: msgspec.inspect.Type) -> str:
    kind = _core_type(kind)
    if isinstance(kind, msgspec.inspect.ListType):
        return f"list of {_type_name(kind.item_type)}"
    name = re.sub(r"Type$", "", type(kind).__name__)
    words = {"Int": "integer", "Str": "string", "Struct": "object", "Float": "number", "Bool": "boolean"}
    return words.get(name, name.lower())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
