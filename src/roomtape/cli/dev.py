"""`roomtape dev`: everything in one command, on loopback, with SQLite and the local disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from roomtape.cli import place
from roomtape.cli.config import checked
from roomtape.config import Config, LocalBucket, load, split_address
from roomtape.process import ServerReport
from roomtape.supervisor import Supervisor, http_url_of


def dev(
    data_dir: place.DataDir = place.DEFAULT,
    http: Annotated[str, typer.Option(help="host:port of API, WHIP and console; port 0 picks one.")] = "",
    webrtc: Annotated[str, typer.Option(help="host:port of WebRTC media.")] = "",
    rtmp: Annotated[str, typer.Option(help="host:port of RTMP.")] = "",
    with_tls: Annotated[bool, typer.Option("--tls", help="Serve HTTPS by a CA made for it.")] = False,
) -> int:
    """Start a server for development. Rooms, API, recordings and console, ready in seconds."""

    def settings() -> Config:
        config = checked(dev_config(data_dir, http=http, webrtc=webrtc, rtmp=rtmp))
        if with_tls:
            from roomtape.cli import tls  # cryptography is slow to load

            tls.prepare(config)
        return config

    config = settings()
    # A hangup is a closed terminal here; `roomtape config reload` reloads.
    return Supervisor(config, on_ready=banner(config), reload=settings, hangup_ends=True).run()


def dev_config(data_dir: Path, *, http: str = "", webrtc: str = "", rtmp: str = "") -> Config:
    """The embedded defaults, `roomtape.toml` of the data directory if there is one, then the flags."""
    file = data_dir / "roomtape.toml"
    config = load(file if file.exists() else None)
    config.data_dir = str(data_dir.absolute())
    config.dev = True
    config.admin.listen = ""  # the HTTP port serves it, while that is bound to loopback
    if http:
        config.server.http_host, config.server.http_port = split_address(http, "--http")
    if webrtc:
        config.webrtc.host, config.webrtc.port = split_address(webrtc, "--webrtc")
    if rtmp:
        config.rtmp.host, config.rtmp.port = split_address(rtmp, "--rtmp")
    recordings = LocalBucket(dir=str(config.data_path / "recordings"))
    config.storage.local = {"recordings": recordings, **config.storage.local}
    return config


def banner(config: Config) -> Callable[[ServerReport], None]:
    """What is printed once the server serves: to stdout, never to the log."""

    def show(report: ServerReport) -> None:
        if report.dev is None:
            return
        keys = report.dev
        http_url = http_url_of(report)
        endpoint = http_url if not report.tls else http_url.removeprefix("https://")
        room, user = "demo", "alice"
        default = config.data_path == place.DEFAULT.absolute()
        data_flag = "" if default else f" --data-dir {config.data_path}"
        print(
            f"""
roomtape dev is ready (pid {os.getpid()}), data in {config.data_path}

  API, WHIP, WHEP   {http_url}
  RTMP              rtmp://{report.rtmp_host}:{report.rtmp_port}/push/<room>
  WebRTC media      {", ".join(report.webrtc_addrs)}
  Console           {http_url}/console
  API explorer      {http_url}/console/explorer
  Browser demo      {http_url}/demo/

  SdkAppId          {keys.sdk_app_id}
  SecretId          {keys.secret_id}
  SecretKey         {keys.secret_key}
  UserSig key       {keys.app_secret_key}
  Callback key      {keys.callback_key}
  (also in {config.data_path}/dev.json)

Call the API with any official SDK or with tccli:

  tccli trtc DescribeCloudRecording --endpoint {endpoint} --region ap-singapore \\
    --secretId {keys.secret_id} --secretKey {keys.secret_key} \\
    --SdkAppId {keys.sdk_app_id} --TaskId <task>

Publish from OBS or FFmpeg (room {room!r}, user {user!r}), SIG being what this prints:

  roomtape usersig issue {user}{data_flag}

  WHIP    {http_url}/v2/pub/{keys.sdk_app_id}/{room}?SessionID={user}   bearer token: SIG
  RTMP    server       rtmp://{report.rtmp_host}:{report.rtmp_port}/push/
          stream key   {room}?sdkappid={keys.sdk_app_id}&userid={user}&usersig=SIG

Record the room into {config.data_path}/recordings:

  roomtape record start {room}{data_flag}

Stop with Ctrl-C.
""",
            flush=True,
        )

    return show
