"""The certificates of `dev --tls`: trusted through their authority, kept while they are good."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from roomtape.cli import tls
from roomtape.config import Config, Server


def config(directory: Path, host: str = "127.0.0.1") -> Config:
    return Config(data_dir=str(directory), server=Server(http_host=host))


def handshake(data_dir: Path, settings: Config, name: str) -> None:
    """One TLS handshake in memory, the client trusting the authority only. Raises ssl.SSLError."""
    client = ssl.create_default_context(cafile=data_dir / "tls" / "ca.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(settings.server.tls_cert, settings.server.tls_key)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for end in list(ends):
            try:
                end.do_handshake()
                ends.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert ends == []


def test_a_client_that_trusts_the_authority_trusts_the_server(tmp_path: Path) -> None:
    settings = config(tmp_path)
    tls.prepare(settings)
    for name in ("127.0.0.1", "localhost", "::1"):
        handshake(tmp_path, settings, name)
    for key in ("ca.key", "server.key"):
        assert stat.S_IMODE((tmp_path / "tls" / key).stat().st_mode) == 0o600


def test_certificates_are_kept_until_they_end_or_the_host_changes(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    tls.prepare(config(tmp_path), now)
    ca, leaf = (tmp_path / "tls" / "ca.pem").read_bytes(), (tmp_path / "tls" / "server.pem").read_bytes()
    tls.prepare(config(tmp_path), now + timedelta(days=300))
    assert (tmp_path / "tls" / "server.pem").read_bytes() == leaf
    tls.prepare(config(tmp_path), now + timedelta(days=380))
    renewed = (tmp_path / "tls" / "server.pem").read_bytes()
    assert renewed != leaf
    settings = config(tmp_path, "rooms.example.net")
    tls.prepare(settings, now + timedelta(days=380))
    names = x509.load_pem_x509_certificate((tmp_path / "tls" / "server.pem").read_bytes()).extensions
    held = names.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "rooms.example.net" in held.get_values_for_type(x509.DNSName)
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == ca
