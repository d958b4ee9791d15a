"""Settings: what a file and the environment may say, and what is answered when they say it wrong."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from roomtape.config import (
    Config,
    ConfigError,
    load,
    load_effective,
    save_effective,
    settings,
    split_address,
)

FILE = """
[server]
http_port = 9000
[rooms]
lost_after = "2m"
[spool]
flush = "200ms"
[storage.local.recordings]
dir = "/srv/recordings"
apps = [1400000001]
[limits.per_action]
CreateCloudRecording = 50
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "roomtape.toml"
    path.write_text(text)
    return path


def test_a_file_sets_what_it_names_and_leaves_the_defaults(tmp_path: Path) -> None:
    config = load(write(tmp_path, FILE), {})
    assert config.server.http_port == 9000
    assert config.rooms.lost_after_s == 120.0
    assert config.spool.flush_ms == 200
    assert config.storage.local["recordings"].dir == "/srv/recordings"
    assert config.storage.local["recordings"].apps == [1400000001]
    assert config.limits.per_action == {"CreateCloudRecording": 50}
    assert config.rtmp == Config().rtmp


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    env = {
        "ROOMTAPE_CONFIG_FILE": str(write(tmp_path, FILE)),
        "ROOMTAPE_SERVER__HTTP_PORT": "9001",
        "ROOMTAPE_CALLBACKS__GIVE_UP_AFTER": "60s",
        "ROOMTAPE_WEBRTC__ADVERTISE": "198.51.100.7, 2001:db8::7",
        "ROOMTAPE_STORAGE__LOCAL__RECORDINGS__DIR": "/mnt/r",
        "ROOMTAPE_STORAGE__LOCAL__RECORDINGS__APPS": "1400000002",
        "ROOMTAPE_API__STRICT_SERVICE": "true",
        "ROOMTAPE_DATABASE__URL": "postgresql://db/roomtape",
        "ROOMTAPE_DATA_DIR": "/var/lib/roomtape",
    }
    config = load(None, env)
    assert config.server.http_port == 9001
    assert config.callbacks.give_up_after_s == 60.0
    assert config.webrtc.advertise == ["198.51.100.7", "2001:db8::7"]
    assert config.storage.local["recordings"].dir == "/mnt/r"
    assert config.storage.local["recordings"].apps == [1400000002]
    assert config.api.strict_service is True
    assert config.database_url == "postgresql://db/roomtape"
    assert config.data_path == Path("/var/lib/roomtape")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[server]\nhttp_prot = 1", "server.http_prot: no such key; the nearest is server.http_port"),
        ("[server]\nprot = 1", "server.prot: no such key; the nearest is server.http_port"),
        ("[sever]\nhttp_port = 1", "sever: no such key; the nearest is server"),
        ("[rooms]\nlost_afer = 1", "rooms.lost_afer: no such key; the nearest is rooms.lost_after_s"),
        ("[server]\nlanes = 2", "server.lanes: no such key; the nearest is webrtc.lanes"),
        (
            "[storage.local.r]\ndri = 'x'",
            "storage.local.r.dri: no such key; the nearest is storage.local.<name>.dir",
        ),
        ("[server]\nhttp_port = 'x'", "server.http_port: expected `int`, got `str`"),
        ("[server]\nhttp_port = 70000", "server.http_port: expected `int` <= 65535"),
        ("[rooms]\nlost_after = '2 weeks'", "rooms.lost_after: '2 weeks' is no duration"),
        ("[recording]\npre_create = 'x'", "recording.pre_create: expected `str` matching"),
        ("[server]\ntls_cert = 'x'", "server.tls_cert, server.tls_key: set both or none"),
        ("[server]\ntrusted_proxies = ['10.0.0.1/8']", "server.trusted_proxies: '10.0.0.1/8' is no address or network"),
        ("[admin]\nlisten = 'x'", "admin.listen: 'x' is not host:port"),
        ("[database]\nurl = 'mysql://x'", "database.url: must begin with sqlite: or postgresql:"),
        ("[storage.local.r]\nmax_gb = 1", "storage.local.r.dir: missing"),
        ("dev = true", "dev: no such key"),
        ("[server", "not TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_would_be_right(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text), {})
    assert says in str(caught.value)


def test_a_wrong_environment_variable_is_named_as_it_was_written() -> None:
    with pytest.raises(
        ConfigError, match=r"^ROOMTAPE_WEBRTC__LANS: webrtc.lans: .* nearest is webrtc.lanes$"
    ):
        load(None, {"ROOMTAPE_WEBRTC__LANS": "2"})


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "absent.toml", {})


def test_the_effective_configuration_comes_back_whole_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    config = load(write(tmp_path, FILE), {})
    path = tmp_path / "effective.json"
    save_effective(config, path)
    assert load_effective(path) == config
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_setting_says_what_it_means() -> None:
    rows = list(settings())
    assert len(rows) > 50
    assert [row.key for row in rows if not row.meaning] == []


@pytest.mark.parametrize(
    ("text", "parts"), [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("host:9", ("host", 9))]
)
def test_addresses_are_split_at_their_last_colon(text: str, parts: tuple[str, int]) -> None:
    assert split_address(text) == parts
