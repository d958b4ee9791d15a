"""The explorer's code generator, run by Node as it is served, and its snippets, run as a reader would."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.clients import CLIENTS, venv_with
from tests.support.stack import REPO, Stack

MODULES = REPO / "src" / "roomtape" / "console" / "static" / "explorer"
FILES = {"python": "call.py", "go": "main.go", "java": "Main.java", "node": "call.js", "tccli": "call.sh", "curl": "call.sh"}


def node(script: str, given: Any = None) -> Any:
    """Run an ES module whose `given` is the value, and whose last word is `told(value)`."""
    head = f"const given = {json.dumps(given)}; const told = (v) => process.stdout.write(JSON.stringify(v));\n"
    done = subprocess.run(
        ["node", "--input-type=module", "-"], input=head + script, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def generate(language: str, call: dict[str, Any]) -> str:
    script = f"import {{ generate }} from {json.dumps((MODULES / 'snippets.mjs').as_uri())}; told(generate(...given));"
    text: str = node(script, [language, call])
    return text


def call_of(stack: Stack, action: str, body: dict[str, Any]) -> dict[str, Any]:
    scheme, host = stack.dev["http_url"].split("://")
    return {"action": action, "version": "2019-07-22", "region": "ap-singapore", "scheme": scheme, "host": host, "body": body}


class Capture:
    """A server that answers every call and keeps the body; https when given a folder with a certificate."""

    def __init__(self, tls: Path | None = None) -> None:
        self.bodies: list[Any] = []
        bodies = self.bodies

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                told = b'{"Response": {"TaskId": "t", "Status": "Idle", "StorageFileList": [], "RequestId": "r"}}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

            def log_message(self, *told: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls / "server.pem", tls / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def run(language: str, code: str, folder: Path, stack: Stack) -> str:
    """Save the snippet under its name and run it. Returns all it printed."""
    env = {
        **os.environ, "TENCENTCLOUD_SECRET_ID": stack.dev["secret_id"], "TENCENTCLOUD_SECRET_KEY": stack.dev["secret_key"],
        "PYTHONPATH": "", "HOME": os.environ.get("HOME", "/root"),
    }  # fmt: skip
    place = folder
    command = ["sh", "call.sh"]
    if language == "python":
        command = [sys.executable, "call.py"]
    elif language == "go":
        for name in ("go.mod", "go.sum"):
            shutil.copy(CLIENTS / "go" / name, folder)
        command = ["go", "run", "."]
    elif language == "java":
        pom = (CLIENTS / "java" / "pom.xml").read_text()
        (folder / "pom.xml").write_text(pom.replace("<mainClass>Client<", "<mainClass>Main<"))
        place = folder / "src" / "main" / "java"
        place.mkdir(parents=True)
        command = ["mvn", "-q", "-B", "compile", "exec:java"]
    elif language == "node":
        subprocess.run(["npm", "ci", "--silent", "--ignore-scripts"], cwd=CLIENTS / "node", check=True)
        env["NODE_PATH"] = str(CLIENTS / "node" / "node_modules")
        env["NODE_EXTRA_CA_CERTS"] = str(stack.data_dir / "tls" / "ca.pem")
        command = ["node", "call.js"]
    elif language == "tccli":
        env["PATH"] = f"{venv_with('client-tccli').parent}:{env['PATH']}"
        env["HOME"] = str(folder)  # it writes its settings there
    (place / FILES[language]).write_text(code)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
    return done.stdout + done.stderr
