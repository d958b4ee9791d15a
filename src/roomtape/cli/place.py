"""Where the server of a data directory is, and by what right a verb may talk to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from roomtape.cli.say import Failure
from roomtape.config import DATA_DIR_ENV, Config, load_effective
from roomtape.process import ServerReport, read_report
from roomtape.supervisor import http_url_of

DEFAULT = Path("roomtape-data")
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar=DATA_DIR_ENV, help="The data directory of the server.")
]


class DevFile(msgspec.Struct, kw_only=True):
    """The content of `dev.json`."""

    secret_id: str
    secret_key: str
    sdk_app_id: int
    app_secret_key: str
    callback_key: str
    http_url: str
    rtmp_url: str
    webrtc_addr: str
    console_url: str
    data_dir: str
    pid: int


def dev_file(data_dir: Path) -> DevFile | None:
    """What a running `roomtape dev` left there, or None."""
    try:
        return msgspec.json.decode((data_dir / "dev.json").read_bytes(), type=DevFile)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise Failure(f"{data_dir}/dev.json: {error}; it was not written by this version") from None


def effective(data_dir: Path) -> Config:
    """The configuration the running tree works with."""
    try:
        return load_effective(data_dir / "run" / "effective.json")
    except OSError:
        raise Failure(
            f"{data_dir}: no server runs there; start `roomtape dev` or name its --data-dir"
        ) from None


def report(data_dir: Path) -> ServerReport:
    """Where its server listens."""
    try:
        return read_report(data_dir / "run")
    except (OSError, msgspec.DecodeError):
        raise Failure(
            f"{data_dir}: no server runs there; start `roomtape dev` or name its --data-dir"
        ) from None


def admin_url(data_dir: Path) -> str:
    """The base URL of the admin interface: the admin listener, or the HTTP port in `dev`."""
    config = effective(data_dir)
    if config.admin.listen:
        return f"http://{config.admin.listen}"
    return http_url_of(report(data_dir))


def admin_token(data_dir: Path) -> str:
    """What proves that a caller may read the data directory, and so may administer."""
    try:
        return (data_dir / "run" / "admin.token").read_text().strip()
    except OSError as error:
        raise Failure(
            f"{data_dir}/run/admin.token: {error.strerror}; run this as the server's user"
        ) from None


def ca_file(data_dir: Path) -> Path | None:
    """The certificate authority `dev --tls` made, if it did."""
    path = data_dir / "tls" / "ca.pem"
    return path if path.exists() else None


def api_keys(data_dir: Path, secret_id: str | None, secret_key: str | None) -> tuple[str, str]:
    """The key that signs API calls: given, of the environment, or of `dev.json`."""
    secret_id = secret_id or os.environ.get("TENCENTCLOUD_SECRET_ID")
    secret_key = secret_key or os.environ.get("TENCENTCLOUD_SECRET_KEY")
    if secret_id and secret_key:
        return secret_id, secret_key
    dev = dev_file(data_dir)
    if dev is None:
        raise Failure(
            "no API key: give --secret-id and --secret-key, set TENCENTCLOUD_SECRET_ID and "
            "TENCENTCLOUD_SECRET_KEY, or name the --data-dir of a running `roomtape dev`"
        )
    return dev.secret_id, dev.secret_key


def sdk_app_id(data_dir: Path, given: int | None) -> int:
    """The application a verb is about: given, or that of `dev.json`."""
    if given is not None:
        return given
    dev = dev_file(data_dir)
    if dev is None:
        raise Failure("no application: give --sdk-app-id, or name the --data-dir of a running `roomtape dev`")
    return dev.sdk_app_id


def read_json(text: str) -> dict[str, object]:
    """A JSON object given on the command line, or in a file as `@file`."""
    try:
        content = Path(text[1:]).read_text() if text.startswith("@") else text
        value = json.loads(content)
    except OSError as error:
        raise Failure(f"{text[1:]}: {error.strerror}; name a readable file after the @") from None
    except ValueError as error:
        raise Failure(f"{text}: {error}; give a JSON object or @file") from None
    if not isinstance(value, dict):
        raise Failure(f"{text}: not a JSON object")
    return value
