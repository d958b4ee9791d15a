"""Every setting of the product: its name, type, range, default and meaning, in one tree of structs.

A TOML file, then environment variables (`ROOMTAPE_SECTION__KEY`) on top.

Keys whose name ends in `_s` or `_ms` may also be written without that ending and with a unit in the
value: `rooms.lost_after = "90s"` is `rooms.lost_after_s = 90`. `docs/settings.md` is generated from here.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from roomtape.process import write_private

ENV_PREFIX = "ROOMTAPE_"
CONFIG_FILE_ENV = "ROOMTAPE_CONFIG_FILE"
DATA_DIR_ENV = "ROOMTAPE_DATA_DIR"

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


class ConfigError(Exception):
    """A setting is unknown or has a wrong value; the text names the key and what to do."""


class _Section(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: every key has a default."""


class Server(_Section):
    """The HTTP listener: API, WHIP and WHEP, playback."""

    http_host: Annotated[str, Meta(description="address the HTTP listener binds")] = "127.0.0.1"
    http_port: Annotated[Port, Meta(description="its port; 0 picks a free one")] = 8080
    tls_cert: Annotated[str, Meta(description="PEM file with the certificate chain; empty: plain HTTP")] = ""
    tls_key: Annotated[str, Meta(description="PEM file with the private key of `tls_cert`")] = ""
    public_url: Annotated[
        str, Meta(description="the URL clients reach the HTTP listener by; empty: made of host and port")
    ] = ""
    header_timeout_s: Annotated[Seconds, Meta(description="deadline for a request's header")] = 10.0
    body_timeout_s: Annotated[Seconds, Meta(description="deadline for a request's body")] = 30.0
    idle_timeout_s: Annotated[
        Seconds, Meta(description="how long a connection may be idle between two requests")
    ] = 30.0
    write_timeout_s: Annotated[
        Seconds,
        Meta(
            description="how long a client may take for 64 KiB of an answer that waits for it, or for its "
            "rest, before the connection is cut"
        ),
    ] = 60.0
    ping_every_s: Annotated[Seconds, Meta(description="how often a WebSocket is pinged; 0: never")] = 20.0
    pong_timeout_s: Annotated[
        Seconds, Meta(description="a WebSocket whose answer to a ping takes longer is closed")
    ] = 20.0
    connections_per_address: Annotated[
        NotNegative,
        Meta(
            description="connections one address (of IPv6, one /64) may hold, those of `trusted_proxies` "
            "not counted; one more is closed unread with HTTP 503; 0: no bound"
        ),
    ] = 1000
    max_connections: Annotated[
        NotNegative,
        Meta(
            description="connections a listener holds at once, whoever's; one more is closed unread with "
            "HTTP 503; 0: no bound but that of three quarters of the files the process may open"
        ),
    ] = 10_000
    trusted_proxies: Annotated[
        list[str], Meta(description="addresses or networks whose X-Forwarded-Host and -For are believed")
    ] = []


class Webrtc(_Section):
    """WebRTC media: UDP and TCP on the same number, one port per lane."""

    host: Annotated[str, Meta(description="address the media ports bind")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="port of lane 0; 0 picks a free block")] = 8443
    lanes: Annotated[int, Meta(ge=1, le=64, description="core threads, each with its own port")] = 1
    advertise: Annotated[
        list[str], Meta(description="addresses offered to clients; empty: the bound one")
    ] = []
    lost_after_ms: Annotated[
        int, Meta(ge=1000, description="silence of ICE after which a peer's tracks stop")
    ] = 5000


class Rtmp(_Section):
    """RTMP push."""

    host: Annotated[str, Meta(description="address the RTMP listener binds")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="its port; 0 picks a free one")] = 1935
    allow_bframes: Annotated[
        bool,
        Meta(description="record pushes with B-frames instead of refusing them"),
    ] = False
    connections_per_address: Annotated[
        NotNegative,
        Meta(description="connections one address (of IPv6, one /64) may hold; 0: no bound"),
    ] = 256
    publish_within_s: Annotated[
        Seconds, Meta(description="from the connection to the publish command; who is later is closed")
    ] = 10.0


class Admin(_Section):
    """The operator's listener: /console, /metrics, /livez, /readyz; `dev` has them on the HTTP port."""

    listen: Annotated[str, Meta(description="host:port; empty: no admin listener")] = "127.0.0.1:9090"
    password_hash: Annotated[
        str,
        Meta(description="argon2 hash of the console's password; empty: no console"),
    ] = ""


class LocalBucket(_Section):
    """One bucket that is a directory of this server."""

    dir: Annotated[str, Meta(description="the directory; relative to the data directory")] = ""
    apps: Annotated[list[int], Meta(description="applications that may use it; empty: all")] = []
    max_gb: Annotated[Seconds, Meta(description="room it may fill, in GB; 0: no limit")] = 0.0


class Storage(_Section):
    """Where recordings go."""

    local: Annotated[
        dict[str, LocalBucket], Meta(description="buckets that are directories: `[storage.local.<bucket>]`")
    ] = {}
    endpoints: Annotated[
        dict[str, str],
        Meta(description='S3 endpoints by `vendor.region`, for example `"0.ap-guangzhou" = "https://..."`'),
    ] = {}
    checksums: Annotated[
        dict[str, str],
        Meta(description="checksum header an S3 host is sent: `sha256` or `crc64nvme`; others get none"),
    ] = {}
    ca_file: Annotated[
        str, Meta(description="PEM file of further authorities S3 endpoints may be certified by; empty: none")
    ] = ""


class Recording(_Section):
    """Cloud recording."""

    pre_create: Annotated[
        str,
        Meta(
            pattern="^(gop|never)$",
            description="`gop`: a picture may begin one GOP before Create; `never`: not",
        ),
    ] = "gop"
    mp4_on_resize: Annotated[
        str,
        Meta(
            pattern="^(inband|split)$",
            description="a new picture size stays in the MP4, or begins a new one",
        ),
    ] = "inband"
    exited_min_s: Annotated[Seconds, Meta(description="how long a task stays visible as Exited at least")] = (
        60.0
    )
    max_tasks_per_app: Annotated[Positive, Meta(description="recordings one application may run at once")] = (
        100
    )
    check_every: Annotated[
        Positive,
        Meta(description="one piece in so many is read back by FFmpeg, too"),
    ] = 100


class Spool(_Section):
    """The working files of recordings."""

    sync_s: Annotated[
        Seconds,
        Meta(
            description="journals are forced to disk once written, but not more often than this: "
            "what a power cut may cost beyond a batch"
        ),
    ] = 0.2
    flush_ms: Annotated[
        int, Meta(ge=20, le=10_000, description="length of a batch: what a death of the server may cost")
    ] = 500


class Workers(_Section):
    """Media processes."""

    count: Annotated[NotNegative, Meta(description="how many; 0: one per core")] = 0
    max_rss_mb: Annotated[Positive, Meta(description="memory above which a worker is replaced")] = 1024
    address_space_mb: Annotated[NotNegative, Meta(description="limit of its address space; 0: none")] = 8192


class Rooms(_Section):
    """Membership."""

    lost_after_s: Annotated[
        Seconds, Meta(description="a user whose connection was lost leaves after this")
    ] = 90.0
    one_share_per_room: Annotated[bool, Meta(description="only one user of a room may share a substream")] = (
        True
    )


class Callbacks(_Section):
    """Delivery of webhooks."""

    give_up_after_s: Annotated[
        Seconds,
        Meta(description="age at which an undelivered event is a dead letter; vendor: 60"),
    ] = 86_400.0


class Limits(_Section):
    """Calls per second of the API."""

    per_action: Annotated[
        dict[str, int], Meta(description="per account and action, over the published number of that action")
    ] = {}
    per_account: Annotated[Positive, Meta(description="per account over all actions")] = 200
    per_address: Annotated[
        Positive,
        Meta(description="per address (of IPv6, per /64), before the signature is looked at"),
    ] = 1000


class Api(_Section):
    """How strictly requests are read."""

    region_mode: Annotated[
        str,
        Meta(
            pattern="^(documented|any)$", description="`documented`: only the published regions, `any`: all"
        ),
    ] = "documented"
    extra_regions: Annotated[list[str], Meta(description="regions taken besides the published ones")] = []
    reject_unknown: Annotated[bool, Meta(description="an undeclared parameter is an error")] = True
    allow_unsigned_payload: Annotated[bool, Meta(description="take requests whose body is not signed")] = True
    strict_service: Annotated[bool, Meta(description="the credential scope must name `trtc`")] = False
    signing_host_aliases: Annotated[
        list[str],
        Meta(description="host names signatures may be made for, besides the official ones"),
    ] = []
    path_prefixes: Annotated[list[str], Meta(description="paths besides `/` that take API calls")] = []


class Access(_Section):
    """What a file declares of accounts, keys and policies, beside the command; read again on reload."""

    accounts_file: Annotated[
        str,
        Meta(description="TOML file of accounts, keys and policies, readable by its owner only; empty: none"),
    ] = ""


class Database(_Section):
    """The state."""

    url: Annotated[
        str, Meta(description="`sqlite:///file` or `postgresql://...`; empty: SQLite in the data directory")
    ] = ""


class Log(_Section):
    """The frame log, and what is printed."""

    max_track_mb: Annotated[
        Positive, Meta(description="frames kept per track for a reader that is behind")
    ] = 64
    max_mb: Annotated[
        NotNegative, Meta(description="frames kept in all; 0: a quarter of the machine's memory")
    ] = 0
    level: Annotated[
        str, Meta(pattern="^(debug|info|warning|error)$", description="`debug`, `info`, `warning` or `error`")
    ] = "info"


class Upload(_Section):
    """From the spool to the store."""

    max_age_s: Annotated[
        Seconds, Meta(description="age at which a failing upload is given up; the file stays")
    ] = 604_800.0
    concurrency: Annotated[Positive, Meta(description="uploads at once")] = 8
    probe: Annotated[
        bool, Meta(description="a recording that begins puts one byte into its bucket and deletes it")
    ] = False
    one_put_mb: Annotated[
        int, Meta(ge=1, le=5_000, description="MiB; larger objects are sent to S3 in parts")
    ] = 64
    part_mb: Annotated[
        int, Meta(ge=5, le=1_000, description="MiB of one part; larger when there would be over 10 000")
    ] = 16


class Library(_Section):
    """The media library behind CloudVod."""

    dir: Annotated[str, Meta(description="its directory; relative to the data directory")] = "library"
    max_gb: Annotated[Seconds, Meta(description="room it may fill, in GB; 0: no limit")] = 0.0
    link_s: Annotated[
        Seconds, Meta(description="how long a playback link is valid; 0: as long as its file")
    ] = 604_800.0


class Disk(_Section):
    """What happens as the disk fills: warn, admit nothing new, pause the youngest tasks.

    A level is reached when free space is below the smaller of its percentage and its size.
    """

    warn_percent: Annotated[Seconds, Meta(description="first level, percent free")] = 15.0
    warn_gb: Annotated[Seconds, Meta(description="first level, GB free")] = 20.0
    refuse_percent: Annotated[Seconds, Meta(description="second level, percent free")] = 8.0
    refuse_gb: Annotated[Seconds, Meta(description="second level, GB free")] = 10.0
    pause_percent: Annotated[Seconds, Meta(description="third level, percent free")] = 3.0
    pause_gb: Annotated[Seconds, Meta(description="third level, GB free")] = 2.0
    task_reserve_mb: Annotated[NotNegative, Meta(description="room asked for before a task is admitted")] = (
        128
    )


class Fetching(_Section):
    """Addresses tenants may name."""

    allow: Annotated[
        list[str], Meta(description="private networks tenant URLs may reach; `dev` adds loopback")
    ] = []


class Config(_Section):
    """The whole tree; `load` makes it, the supervisor writes it to `run/effective.json` for its children."""

    data_dir: Annotated[str, Meta(description="where everything is kept")] = "roomtape-data"
    dev: Annotated[bool, Meta(description="set by `roomtape dev`: loopback, no login")] = False
    server: Server = msgspec.field(default_factory=Server)
    webrtc: Webrtc = msgspec.field(default_factory=Webrtc)
    rtmp: Rtmp = msgspec.field(default_factory=Rtmp)
    admin: Admin = msgspec.field(default_factory=Admin)
    storage: Storage = msgspec.field(default_factory=Storage)
    recording: Recording = msgspec.field(default_factory=Recording)
    spool: Spool = msgspec.field(default_factory=Spool)
    workers: Workers = msgspec.field(default_factory=Workers)
    rooms: Rooms = msgspec.field(default_factory=Rooms)
    callbacks: Callbacks = msgspec.field(default_factory=Callbacks)
    limits: Limits = msgspec.field(default_factory=Limits)
    api: Api = msgspec.field(default_factory=Api)
    access: Access = msgspec.field(default_factory=Access)
    database: Database = msgspec.field(default_factory=Database)
    log: Log = msgspec.field(default_factory=Log)
    upload: Upload = msgspec.field(default_factory=Upload)
    library: Library = msgspec.field(default_factory=Library)
    disk: Disk = msgspec.field(default_factory=Disk)
    fetching: Fetching = msgspec.field(default_factory=Fetching)

    @property
    def data_path(self) -> Path:
        """The data directory, absolute."""
        return Path(self.data_dir).absolute()

    @property
    def run_path(self) -> Path:
        """Sockets and the effective configuration of the running tree."""
        return self.data_path / "run"

    @property
    def spool_path(self) -> Path:
        return self.data_path / "spool"

    @property
    def library_path(self) -> Path:
        return self.data_path / self.library.dir

    @property
    def database_url(self) -> str:
        return self.database.url or f"sqlite:///{self.data_path / 'roomtape.db'}"

    @property
    def worker_count(self) -> int:
        return self.workers.count or len(os.sched_getaffinity(0))


class Setting(msgspec.Struct, frozen=True):
    """One row of `docs/settings.md`."""

    key: str
    env: str
    type: str
    default: str
    meaning: str


def load(path: Path | None = None, env: Mapping[str, str] | None = None) -> Config:
    """Read the TOML file (argument, else `ROOMTAPE_CONFIG_FILE`, else none) and the environment over it.

    Raises:
        ConfigError: naming the wrong key, or the value and what is allowed.
    """
    env = os.environ if env is None else env
    if path is None and env.get(CONFIG_FILE_ENV):
        path = Path(env[CONFIG_FILE_ENV])
    table = _normalise(_read_toml(path), Config, "")
    if "dev" in table:  # it opens the console to everybody on the machine: never by a file
        raise ConfigError("dev: no such key; `roomtape dev` is the command for it")
    for name, raw in sorted(env.items()):
        if name.startswith(ENV_PREFIX) and "__" in name:
            _put(table, name, raw)
    if env.get(DATA_DIR_ENV):
        table["data_dir"] = env[DATA_DIR_ENV]
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_say(error)) from None
    _check(config)
    return config


def load_effective(path: Path) -> Config:
    """Read what `save_effective` wrote (JSON)."""
    return msgspec.json.decode(Path(path).read_bytes(), type=Config)


def save_effective(config: Config, path: Path) -> None:
    """Write the whole configuration as JSON, readable by its owner only."""
    write_private(path, msgspec.json.format(msgspec.json.encode(config)))


def split_address(text: str, key: str = "address") -> tuple[str, int]:
    """`host:port` or `[v6]:port` as its two parts. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{key}: {text!r} is not host:port; write for example 127.0.0.1:8080")
    return host, int(port)


def settings() -> Iterator[Setting]:
    """Every key there is, in the order of the structs; keys below a table of the user's have `<name>`."""
    yield from _settings(Config, "")


# --- reading --------------------------------------------------------------------------------------


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a readable file with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _normalise(table: Mapping[str, Any], struct: type[msgspec.Struct], prefix: str) -> dict[str, Any]:
    """Resolve spellings with units, and refuse unknown keys with the nearest right one."""
    hints = _fields(struct)
    out: dict[str, Any] = {}
    for key, value in table.items():
        name = _field_for(key, hints)
        if name is None:
            raise ConfigError(_unknown(prefix + key))
        out[name] = _value(value, name, hints[name], f"{prefix}{key}")
    return out


def _value(value: Any, name: str, kind: Any, path: str) -> Any:
    inner = _struct_of(kind)
    if inner is not None and isinstance(value, Mapping):
        return _normalise(value, inner, f"{path}.")
    item = _struct_of_values(kind)
    if item is not None and isinstance(value, Mapping):
        return {k: _value(v, k, item, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, str) and name.endswith(("_s", "_ms")):
        return _duration(value, name, path)
    return value


def _field_for(key: str, hints: Mapping[str, Any]) -> str | None:
    return next((name for name in (key, f"{key}_s", f"{key}_ms") if name in hints), None)


_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "": 0}


def _duration(text: str, name: str, path: str) -> float | int:
    """`90s`, `24h`, `500ms`, or a bare number in the key's own unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)\s*", text)
    if match is None:
        raise ConfigError(f"{path}: {text!r} is no duration; write it like 90s, 24h or 500ms")
    own_ms = 1 if name.endswith("_ms") else 1000
    in_ms = float(match[1]) * (_UNITS_MS[match[2]] or own_ms)
    value = in_ms / own_ms
    return round(value) if name.endswith("_ms") else value


def _put(table: dict[str, Any], name: str, raw: str) -> None:
    """Set one environment variable's value in the table."""
    path = [part.lower() for part in name.removeprefix(ENV_PREFIX).split("__")]
    struct: type[msgspec.Struct] | None = Config
    kind: Any = Config
    target = table
    for depth, part in enumerate(path):
        if struct is not None:
            hints = _fields(struct)
            field = _field_for(part, hints)
            if field is None:
                raise ConfigError(f"{name}: {_unknown('.'.join(path))}")
            kind = hints[field]
        else:
            field, kind = part, _value_kind(kind)
        if depth == len(path) - 1:
            target[field] = _value(_from_text(raw, kind), field, kind, name)
            return
        struct = _struct_of(kind)
        target = target.setdefault(field, {})


def _from_text(raw: str, kind: Any) -> Any:
    """An environment variable's text as the TOML value of that kind."""
    base = get_origin(kind) or kind
    if base is str:
        return raw
    if base is list and not raw.lstrip().startswith("["):
        items = [item.strip() for item in raw.split(",") if item.strip()]
        return [_from_text(item, _plain(get_args(kind)[0])) for item in items]
    try:
        return tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return raw


def _unknown(key: str) -> str:
    """The error for an unknown key, with the nearest right one: of its section if there is one."""
    section, _, last = key.rpartition(".")
    known = [setting.key for setting in settings()]
    if not section:
        known = sorted({k.partition(".")[0] for k in known})
    near = [k for k in known if k.rpartition(".")[0] == section]
    same = [k for k in known if _last(k) == last]
    best = max(same or near or known, key=lambda k: _likeness(last, _last(k)))
    return f"{key}: no such key; the nearest is {best}"


def _last(key: str) -> str:
    return re.sub(r"_m?s$", "", key.rpartition(".")[2])


def _likeness(wrong: str, right: str) -> float:
    """How near two names are, as wholes or to one word of the right one (`prot` and `http_port`)."""
    return max(
        difflib.SequenceMatcher(None, wrong, part).ratio() * weight
        for part, weight in [(right, 1.0), *((word, 0.9) for word in right.split("_"))]
    )


def _say(error: msgspec.ValidationError) -> str:
    """msgspec's "Expected `int`, got `str` - at `$.server.http_port`" the other way round."""
    text, _, path = str(error).partition(" - at `$")
    key = path.rstrip("`").lstrip(".")
    return f"{key}: {text[0].lower()}{text[1:]}" if key else str(error)


def _check(config: Config) -> None:
    """What two keys must say together."""
    if bool(config.server.tls_cert) != bool(config.server.tls_key):
        raise ConfigError("server.tls_cert, server.tls_key: set both or none")
    for network in config.server.trusted_proxies:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            raise ConfigError(
                f"server.trusted_proxies: {network!r} is no address or network; write for example 10.0.0.0/8"
            ) from None
    if config.admin.listen:
        split_address(config.admin.listen, "admin.listen")
    if config.database.url and not config.database.url.startswith(("sqlite:", "postgresql:", "postgresql+")):
        raise ConfigError("database.url: must begin with sqlite: or postgresql:")
    for name, bucket in config.storage.local.items():
        if not bucket.dir:
            raise ConfigError(f"storage.local.{name}.dir: missing; name a directory")
    for name, url in config.storage.endpoints.items():
        if not re.fullmatch(r"[01]\.[A-Za-z0-9-]+", name):
            raise ConfigError(
                f'storage.endpoints: {name!r} is not vendor.region; write for example "1.us-east-1"'
            )
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#@]*)?", url):
            raise ConfigError(f"storage.endpoints.{name}: {url!r} is not a URL; write https://host")
    for host, algorithm in config.storage.checksums.items():
        if algorithm not in ("sha256", "crc64nvme"):
            raise ConfigError(f"storage.checksums.{host}: {algorithm!r} is not sha256 or crc64nvme")


# --- looking at the structs -----------------------------------------------------------------------


def _fields(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Field names and their types without annotations."""
    return {name: _plain(kind) for name, kind in get_type_hints(struct, include_extras=True).items()}


def _plain(kind: Any) -> Any:
    return _plain(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _struct_of(kind: Any) -> type[msgspec.Struct] | None:
    return kind if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None


def _value_kind(kind: Any) -> Any:
    return _plain(get_args(kind)[1]) if get_origin(kind) is dict else None


def _struct_of_values(kind: Any) -> type[msgspec.Struct] | None:
    return _struct_of(_value_kind(kind))


def _settings(struct: type[msgspec.Struct], prefix: str) -> Iterator[Setting]:
    annotated = get_type_hints(struct, include_extras=True)
    for field in msgspec.structs.fields(struct):
        kind = _plain(annotated[field.name])
        inner = _struct_of(kind)
        item = _struct_of_values(kind)
        if inner is not None:
            yield from _settings(inner, f"{prefix}{field.name}.")
        elif item is not None:
            yield from _settings(item, f"{prefix}{field.name}.<name>.")
        elif field.name != "dev":
            key = f"{prefix}{field.name}"
            yield Setting(
                key=key,
                env=DATA_DIR_ENV if key == "data_dir" else ENV_PREFIX + key.upper().replace(".", "__"),
                type=_type_name(kind),
                default=_default(field),
                meaning=_description(annotated[field.name]),
            )


def _type_name(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_type_name(arg) for arg in get_args(kind))
    if get_origin(kind) is list:
        return f"list of {_type_name(_plain(get_args(kind)[0]))}"
    if get_origin(kind) is dict:
        return f"table of {_type_name(_plain(get_args(kind)[1]))}"
    return {str: "text", int: "integer", float: "number", bool: "true or false"}.get(kind, str(kind))


def _default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return msgspec.json.encode(default).decode()


def _description(kind: Any) -> str:
    """The outermost description; Annotated types nest when an alias is annotated again."""
    metas = [arg for arg in getattr(kind, "__metadata__", ()) if isinstance(arg, Meta) and arg.description]
    return metas[-1].description or "" if metas else ""
