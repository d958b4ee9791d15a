"""A twin of the server's end of the control channel: assigns tasks, commits pieces once, answers repeats."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

from roomtape.control import messages as say
from roomtape.control.channel import Unpacker, pack


class FakeServer:
    """Serves `control.sock` in a thread. `assign` gives what a worker that says Hello is told to do."""

    def __init__(self, path: str, assign: Callable[[], list[say.ToWorker]]) -> None:
        self.path = path
        self.pieces: dict[tuple[str, int], say.PieceReady] = {}  # committed, by output and number
        self.files: dict[str, say.FileReady] = {}
        self.stopped: list[str] = []
        self.heard: list[say.ToServer] = []
        self.epochs: dict[str, int] = {}  # the row's epoch per task; others are dropped
        self.errors: list[str] = []
        self.commit = True
        self._assign = assign
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen()
        self._listener.setblocking(False)
        self._connections: dict[socket.socket, Unpacker[say.ToServer]] = {}
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._running = True
        self._thread = threading.Thread(target=self._serve, name="fakeserver", daemon=True)
        self._thread.start()

    def __enter__(self) -> FakeServer:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._running:
            return
        self._running = False
        os.write(self._wake_write, b".")
        self._thread.join()
        for sock in self._connections:
            sock.close()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def send(self, message: say.ToWorker) -> None:
        """To every worker there is."""
        with self._lock:
            for sock in self._connections:
                with contextlib.suppress(OSError):
                    sock.sendall(pack(message))

    def committed(self, task_id: str) -> list[say.CommittedPiece]:
        """The last committed piece of each output, as Assign gives them."""
        with self._lock:
            last: dict[str, say.PieceReady] = {}
            for (output, number), piece in self.pieces.items():
                if piece.task_id == task_id and (output not in last or last[output].piece_no < number):
                    last[output] = piece
            return [
                say.CommittedPiece(output=o, piece_no=p.piece_no, end_ns=p.end_ns, counters=p.counters)
                for o, p in last.items()
            ]

    def of(self, task_id: str, output: str) -> list[say.PieceReady]:
        """Committed pieces of one output in order."""
        with self._lock:
            found = [p for p in self.pieces.values() if p.task_id == task_id and p.output == output]
            return sorted(found, key=lambda p: p.piece_no)

    def wait_for(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._lock:
            return self.changed.wait_for(condition, timeout_s)

    def notes(self, kind: str) -> list[say.Note]:
        with self._lock:
            return [m for m in self.heard if isinstance(m, say.Note) and m.kind == kind]

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while self._running:
                for key, _events in selector.select():
                    if key.fileobj is self._listener:
                        sock, _address = self._listener.accept()
                        with self._lock:
                            self._connections[sock] = Unpacker.at_server()
                        selector.register(sock, selectors.EVENT_READ)
                    elif isinstance(key.fileobj, socket.socket):
                        self._serve_one(selector, key.fileobj)

    def _serve_one(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        try:
            chunk = sock.recv(1 << 18)
        except ConnectionError:
            chunk = b""
        with self._lock:
            if not chunk:
                selector.unregister(sock)
                del self._connections[sock]
                sock.close()
            else:
                for message in self._connections[sock].feed(chunk):
                    for answer in self._on_message(message):
                        with contextlib.suppress(OSError):
                            sock.sendall(pack(answer))
            self.changed.notify_all()

    def _on_message(self, message: say.ToServer) -> list[say.ToWorker]:
        self.heard.append(message)
        if isinstance(message, say.Hello):
            return self._assign()
        if isinstance(message, say.Beat):
            return []
        if self.epochs.get(message.task_id, message.epoch) != message.epoch:
            return []
        row: dict[str, Any] = {"task_id": message.task_id, "epoch": message.epoch}
        if isinstance(message, say.PieceReady) and self.commit:
            self._commit(message)
            return [say.PieceCommitted(**row, output=message.output, piece_no=message.piece_no)]
        if isinstance(message, say.FileReady):
            self.files.setdefault(message.name, message)
            return [say.FileCommitted(**row, name=message.name)]
        if isinstance(message, say.Stopped):
            if message.task_id not in self.stopped:
                self.stopped.append(message.task_id)
            return [say.StoppedCommitted(**row)]
        return []

    def _commit(self, piece: say.PieceReady) -> None:
        known = self.pieces.setdefault((piece.output, piece.piece_no), piece)
        if (known.sha256, known.start_ns, known.end_ns) != (piece.sha256, piece.start_ns, piece.end_ns):
            self.errors.append(f"piece {piece.piece_no} of {piece.output!r} was made twice, differently")
