"""The explorer's files: served as what they are, closed by a strict policy, and in need of nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roomtape.console import explorer

FOLDER = Path(explorer.__file__).parent / "static" / "explorer"
FILES = sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_with_its_type_and_the_policy(name: str) -> None:
    answer = explorer._file(name)
    assert answer.status_code == 200
    assert answer.body == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == explorer.TYPES[name.rpartition(".")[2]]
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("name", ["", "..", "../../explorer.py", "explorer.py", "none.js", "__init__.py", ".html"])
def test_nothing_else_is_served(name: str) -> None:
    assert explorer._file(name).status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_a_file_loads_only_its_neighbours(name: str) -> None:
    text = (FOLDER / name).read_text()
    imported = re.findall(r'from "\./([^"]+)"', text) + re.findall(r'(?:src|href)="([\w.]+\.(?:mjs|css|js))"', text)
    assert set(imported) <= set(FILES)
    assert not re.search(r'(src|href|url\()="?https?:', text)


def test_the_page_has_nothing_the_policy_forbids() -> None:
    text = (FOLDER / "explorer.html").read_text()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)
    for name in FILES:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", (FOLDER / name).read_text()), name


def test_code_never_holds_a_key() -> None:
    """The generator is given no key: every snippet reads it from the environment."""
    text = (FOLDER / "snippets.mjs").read_text()
    assert "secretKey:" not in text.replace("secretKey: process.env.TENCENTCLOUD_SECRET_KEY", "")
    assert text.count("TENCENTCLOUD_SECRET_KEY") >= 5
