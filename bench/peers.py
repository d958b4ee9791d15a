"""The peers measured beside us in the same run: nginx-rtmp writing HLS, and FFmpeg from a file to HLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULE = "/usr/lib/nginx/modules/ngx_rtmp_module.so"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx_rtmp(work: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """nginx with its RTMP module writing 10 s HLS segments. Yields the process and the publish URL prefix."""
    port = free_port()
    (work / "hls").mkdir(parents=True)
    conf = work / "nginx.conf"
    conf.write_text(
        f"load_module {MODULE};\nworker_processes 1;\ndaemon off;\nuser root;\npid {work}/nginx.pid;\n"
        f"error_log {work}/error.log;\nevents {{}}\nrtmp {{ server {{ listen 127.0.0.1:{port};\n"
        f"application live {{ live on; hls on; hls_path {work}/hls; hls_fragment 10s; hls_playlist_length 60s; }} }} }}\n"
    )
    nginx = subprocess.Popen(["nginx", "-c", str(conf), "-p", str(work)])
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                nginx.kill()
                raise
            time.sleep(0.05)
    try:
        yield nginx, f"rtmp://127.0.0.1:{port}/live/"
    finally:
        nginx.terminate()
        nginx.wait(10)


def rtmp_pushers(source: Path, urls: list[str], seconds: float) -> list[subprocess.Popen[bytes]]:
    """One FFmpeg per URL that sends `source` in a loop at real-time pace, nothing re-encoded."""
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", str(source)]
    return [
        subprocess.Popen([*command, "-t", str(seconds), "-c", "copy", "-f", "flv", url], stderr=subprocess.DEVNULL)
        for url in urls
    ]


def ffmpeg_file_to_hls_cpu_s(source: Path, work: Path, seconds: float) -> float:
    """CPU-seconds per media-second of `ffmpeg -c:v copy -c:a aac` into HLS, as fast as it runs."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["ffmpeg", "-nostdin", "-loglevel", "error", "-stream_loop", "-1", "-i", str(source), "-t", str(seconds),
         "-c:v", "copy", "-c:a", "aac", "-b:a", "64k", "-f", "hls", "-hls_time", "10", "-hls_list_size", "0",
         str(work / "out.m3u8")],
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    shutil.rmtree(work)
    return used / seconds
