"""Our shapes, codes, regions and actions are the published ones, no more and no fewer."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import msgspec
import pytest

import roomtape.api.gateway  # noqa: F401  (registers the actions)
from roomtape.api.dispatch import ACTIONS, PLANNED, RETIRED
from roomtape.contract import ingest, quality, recording, relay, rooms, usage
from roomtape.contract.codes import LISTED
from roomtape.contract.members import members
from roomtape.contract.regions import REGIONS
from roomtape.contract.shapes import Part, Response

SPEC = Path(__file__).parents[3] / "spec"
FILES = [json.loads((SPEC / name).read_text()) for name in ("actions.json", "extra_actions.json")]
PUBLISHED: dict[str, Any] = {name: action for file in FILES for name, action in file["actions"].items()}
STRUCTS: dict[str, Any] = {name: struct for file in FILES for name, struct in file["structs"].items()}
CODES = json.loads((SPEC / "errorcodes.json").read_text())
MODULES = (recording, relay, ingest, rooms, quality, usage)


def shape(name: str) -> type[Part]:
    found = [getattr(module, name) for module in MODULES if hasattr(module, name)]
    assert found, f"{name} has no shape"
    assert all(one is found[0] for one in found)
    shape = found[0]
    assert isinstance(shape, type)
    assert issubclass(shape, Part)
    return shape


def kind_of(member: dict[str, Any]) -> str:
    return str(member["wire"] if member["type"] == "integer" else member["type"])


def published_members(members: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (m["name"], kind_of(m), m.get("struct"), m.get("list", False), m.get("required", False))
        for m in members
        if m["name"] != "RequestId"
    ]


def our_members(part: type[Part]) -> list[tuple[Any, ...]]:
    return [
        (m.name, m.kind, m.shape.__name__ if m.shape else None, m.is_list, m.required) for m in members(part)
    ]


@pytest.mark.parametrize("name", STRUCTS)
def test_a_structure_has_the_published_members(name: str) -> None:
    assert our_members(shape(name)) == published_members(STRUCTS[name]["members"])


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("side", ["request", "response"])
def test_an_action_has_the_published_members_in_page_order(name: str, side: str) -> None:
    assert our_members(shape(name + side.capitalize())) == published_members(PUBLISHED[name][side])


def test_every_shape_of_ours_is_published() -> None:
    ours = {
        name
        for module in MODULES
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Part) and value.__module__ == module.__name__
    }
    theirs = STRUCTS.keys() | {name + side for name in PUBLISHED for side in ("Request", "Response")}
    assert ours == theirs


def test_every_published_action_has_a_row() -> None:
    assert PUBLISHED.keys() <= ACTIONS.keys() | PLANNED.keys()
    assert not ACTIONS.keys() & PLANNED.keys()
    assert not RETIRED & (ACTIONS.keys() | PLANNED.keys())


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_action_reads_its_own_request(name: str) -> None:
    row = ACTIONS.get(name) or PLANNED[name]
    assert row.request is shape(f"{name}Request")


@pytest.mark.parametrize("name", ACTIONS)
def test_a_built_action_answers_its_own_response(name: str) -> None:
    assert ACTIONS[name].response is shape(f"{name}Response")


def test_the_codes_of_each_action_are_its_pages() -> None:
    theirs = {**CODES["by_action"], **FILES[1]["by_action"]}
    assert {name: frozenset(codes) for name, codes in theirs.items()} == LISTED


def test_every_published_action_has_its_regions() -> None:
    assert REGIONS.keys() == PUBLISHED.keys()
    assert all(regions for regions in REGIONS.values())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_response_reads_as_the_clients_models_read_it(module: ModuleType) -> None:
    """Written members carry exactly their published names; absent ones are left out, not null."""
    for value in vars(module).values():
        if not (inspect.isclass(value) and issubclass(value, Response) and value is not Response):
            continue
        fields = msgspec.structs.fields(value)
        hints = get_type_hints(value)
        sample = value(**{f.name: [] if "list" in str(hints[f.name]) else "" for f in fields if f.required})
        assert set(msgspec.to_builtins(sample)) == {f.encode_name for f in fields if f.required}


def test_a_request_prints_none_of_its_secrets() -> None:
    storage = recording.CloudStorage(vendor=0, region="r", bucket="b", access_key="AK-1", secret_key="SK-1")
    assert "SK-1" not in repr(recording.StorageParams(cloud_storage=storage))
    assert "AK-1" not in f"{storage}"
