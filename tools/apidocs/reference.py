"""One page per action, and the table of structures: from the published shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from roomtape.api.dispatch import Action, Planned
from roomtape.api.openapi import codes, described, group, response_of
from roomtape.contract import examples
from roomtape.contract.codes import COMMON
from roomtape.contract.explanations import explain
from roomtape.contract.meanings import meaning
from roomtape.contract.members import Member, members
from roomtape.contract.regions import REGIONS
from roomtape.contract.shapes import Part

REQUEST_ID = "57b8d2c8-92d3-4f57-b9b0-0d9c7a5d1e63"
KINDS = {"uint64": "Integer", "int64": "Integer", "string": "String", "boolean": "Boolean", "float": "Float"}


def actions() -> Iterator[tuple[str, str]]:
    """Each action whose parameters are known, with its page."""
    for name, row in described().items():
        yield name, _page(name, row)


def structures() -> str:
    """All structures that requests and responses are made of."""
    shapes: dict[str, type[Part]] = {}
    used: dict[str, set[str]] = {}
    for name, row in described().items():
        assert row.request is not None
        for whole in (row.request, response_of(row)):
            if whole is not None:
                for inner in _inside(whole):
                    shapes[inner.__name__] = inner
                    used.setdefault(inner.__name__, set()).add(name)
    parts = []
    for name, shape in sorted(shapes.items()):
        text = (shape.__doc__ or "").strip().splitlines()
        by = ", ".join(f"[{user}](actions/{user}.md)" for user in sorted(used[name]))
        parts += [
            f"## {name}",
            *([text[0]] if text and shape.__doc__ != Part.__doc__ else []),
            f"In {by}.",
            table(shape, ""),
        ]
    return "\n\n".join(parts)


def _inside(shape: type[Part]) -> Iterator[type[Part]]:
    for member in members(shape):
        if member.shape is not None:
            yield member.shape
            yield from _inside(member.shape)


def table(shape: type[Part], up: str, *, answer: bool = False) -> str:
    """The members of a shape; `up` is the path from the page to docs/api."""
    if not members(shape):
        return "None."
    head = ("Name", "Type", "Meaning") if answer else ("Name", "Required", "Type", "Meaning")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for member in members(shape):
        cells = [f"`{member.name}`", _kind(member, up), _told(shape, member, answer)]
        if not answer:
            cells.insert(1, "yes" if member.required else "no")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _kind(member: Member, up: str) -> str:
    if member.shape is None:
        one = KINDS[member.kind]
    else:
        name = member.shape.__name__
        one = f"[{name}]({up}data-types.md#{name.lower()})"
    return f"Array of {one}" if member.is_list else one


def _told(shape: type[Part], member: Member, answer: bool) -> str:
    told = meaning(shape, member.name)
    if told is None:
        return ""
    parts = [told.text]
    if told.choices:
        parts.append(", ".join(f"{value}: {stands}" for value, stands in told.choices.items()) + ".")
    elif told.words and not answer:
        parts.append(f"One of {', '.join(f'`{word}`' for word in told.words)}.")
    elif told.low is not None and not answer:
        parts.append(f"{told.low} to {told.high}." if told.high is not None else f"At least {told.low}.")
    if told.most is not None and not answer:
        parts.append(f"At most {told.most}.")
    if told.default is not None and not answer:
        parts.append(f"Default: {json.dumps(told.default)}.".replace('"', "`"))
    return " ".join(part for part in parts if part)


def _page(name: str, row: Action | Planned) -> str:
    assert row.request is not None
    text = (row.handler.__doc__ or "").strip().splitlines()[0] if isinstance(row, Action) else ""
    parts = [f"# {name}", f"{group(row)}. {text}" if text else f"{group(row)}."]
    if isinstance(row, Planned):
        parts.append(f"**Not built**: {row.reason}. A valid request is answered `UnsupportedOperation`.")
    parts.append(_facts(row))
    parts += [
        "## Request",
        "Besides the [common parameters](../common-parameters.md):",
        table(row.request, "../"),
    ]
    response = response_of(row)
    parts += ["## Response"]
    if response is not None and members(response):
        parts += ["Besides `RequestId`:", table(response, "../", answer=True)]
    else:
        parts.append("`RequestId` alone.")
    parts += ["## Example", _example(name, row.request)]
    parts += ["## Error codes", "Besides the [common ones](../error-codes.md#common-codes):", _codes(name)]
    return "\n\n".join(parts)


def _facts(row: Action | Planned) -> str:
    rate = f"{row.rate:g} calls per second" if row.rate >= 1 else f"one call in {1 / row.rate:g} s"
    lines = [f"- At most {rate} of an account."]
    if row.name in REGIONS:
        accepted = ", ".join(f"`{region}`" for region in REGIONS[row.name])
        lines.append(f"- Regions: {accepted}; they have no effect here.")
    if isinstance(row, Action) and row.mutating:
        lines.append(
            "- The same signed request again, within ten minutes of its success, gets the first answer."
        )
    return "\n".join(lines)


def _example(name: str, request: type[Part]) -> str:
    """A call and its answer; tests hold that the one is legal and the other complete."""
    body = json.dumps(examples.request(request), indent=2, ensure_ascii=False)
    head = (
        f"POST / HTTP/1.1\nContent-Type: application/json\nX-TC-Action: {name}\n(other common parameters)\n"
    )
    answer = {"Response": {**examples.ANSWERS[name], "RequestId": REQUEST_ID}}
    told = json.dumps(answer, indent=2, ensure_ascii=False)
    return f"```http\n{head}\n{body}\n```\n\n```json\n{told}\n```"


def _codes(name: str) -> str:
    own = [code for code in codes(name) if code not in COMMON]
    if not own:
        return "None."
    return "\n".join(
        ["| Code | Meaning |", "|---|---|", *(f"| `{code}` | {explain(code)} |" for code in own)]
    )
