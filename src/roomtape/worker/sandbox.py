"""What a worker gives up after it is connected: the network, other programs, other processes, other files.

Plain prctl(2) and hand-made BPF: forty instructions are easier to read than a dependency. It is a deny
list on purpose: codec libraries call what they like, but none of them has business with these.
Source: seccomp(2), landlock(7), signal numbers and system call numbers of the kernel's UAPI headers.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
from collections.abc import Sequence
from pathlib import Path

ADDRESS_SPACE_BYTES = 8 << 30
ARENAS = 2  # malloc arenas reserve address space and never give memory back to each other

_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_KILL_PROCESS = 0x80000000
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000

_LOAD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG0 = 0, 4, 16  # offsets in struct seccomp_data; arguments are little-endian 64 bits

# name: (x86_64, aarch64); -1 where the machine has no such call
_DENIED = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "connect": (42, 203),
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, -1),
    "vfork": (58, -1),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "open_tree": (428, 428),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "open_by_handle_at": (304, 265),
    "tkill": (200, 130),
}
_CLONE, _CLONE3, _KILL, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_MACHINES = ("x86_64", "aarch64")

_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LANDLOCK_VERSION = 1
_LANDLOCK_PATH_BENEATH = 1
_READ_RIGHTS = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, read a directory
_RIGHTS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}


class SandboxRefused(OSError):
    """The kernel did not take the filter: this worker must not touch hostile media."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def limit_memory(address_space_bytes: int = ADDRESS_SPACE_BYTES) -> None:
    """Bound the address space and the number of malloc arenas of this process."""
    _hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    bound = address_space_bytes if _hard == resource.RLIM_INFINITY else min(address_space_bytes, _hard)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-8, ARENAS)  # M_ARENA_MAX of glibc


def seal(writable: Sequence[Path]) -> bool:
    """Give up new privileges, the system calls of the list, and all files but those below `writable`.

    Reading stays allowed everywhere. Returns whether the kernel also guards files (Landlock); a kernel
    without it is told of by `doctor`, not here.
    Raises:
        SandboxRefused: no filter could be set.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    guarded = _landlock(writable)
    machine = platform.machine()
    if machine not in _MACHINES:
        raise SandboxRefused(errno.ENOSYS, f"no system call list for {machine}")
    program = build_filter(machine, os.getpid())
    buffer = ctypes.create_string_buffer(program, len(program))
    head = _Program(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(head), 0, 0) != 0:
        code = ctypes.get_errno()
        raise SandboxRefused(code, os.strerror(code))
    return guarded


def build_filter(machine: str, pid: int) -> bytes:
    """The BPF program as bytes of struct sock_filter, 8 each."""
    column = _MACHINES.index(machine)
    refuse = _instruction(_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = _instruction(_RETURN, 0, 0, _ALLOW)
    code = [
        _instruction(_LOAD, 0, 0, _ARCH),
        _instruction(_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        _instruction(_RETURN, 0, 0, _KILL_PROCESS),
        _instruction(_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":
        code += [_instruction(_JUMP_GREATER_EQUAL, 0, 1, _X32), refuse]
    for numbers in _DENIED.values():
        if numbers[column] >= 0:
            code += [_instruction(_JUMP_EQUAL, 0, 1, numbers[column]), refuse]
    # clone3 takes its flags from memory, which a filter cannot read: glibc falls back to clone
    code += [
        _instruction(_JUMP_EQUAL, 0, 1, _CLONE3[column]),
        _instruction(_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        _instruction(_JUMP_EQUAL, 0, 4, _CLONE[column]),
        _instruction(_LOAD, 0, 0, _ARG0),
        _instruction(_JUMP_SET, 1, 0, _CLONE_THREAD),
        refuse,
        allow,
    ]
    for number in (_KILL[column], _TGKILL[column]):  # abort() signals itself
        code += [
            _instruction(_JUMP_EQUAL, 0, 4, number),
            _instruction(_LOAD, 0, 0, _ARG0),
            _instruction(_JUMP_EQUAL, 1, 0, pid),
            refuse,
            allow,
        ]
    code.append(allow)
    return b"".join(code)


def landlock_abi() -> int:
    """Version of Landlock this kernel has, 0 without it."""
    libc = ctypes.CDLL(None, use_errno=True)
    found = int(libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_VERSION)))
    return max(0, found)


def _landlock(writable: Sequence[Path]) -> bool:
    abi = landlock_abi()
    if abi == 0:
        return False
    handled = _RIGHTS_BY_ABI[min(abi, 3)]
    libc = ctypes.CDLL(None, use_errno=True)
    attribute = ctypes.c_uint64(handled)
    rules = libc.syscall(_LANDLOCK_CREATE, ctypes.byref(attribute), ctypes.c_size_t(8), ctypes.c_uint32(0))
    if rules < 0:
        return False
    try:
        _allow(libc, rules, Path("/"), _READ_RIGHTS & handled)
        for path in writable:
            _allow(libc, rules, path, handled & ~(1 << 0))
        return bool(libc.syscall(_LANDLOCK_RESTRICT, rules, ctypes.c_uint32(0)) == 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        beneath = ctypes.create_string_buffer(struct.pack("=Qi", rights, fd))
        kind = ctypes.c_int(_LANDLOCK_PATH_BENEATH)
        if libc.syscall(_LANDLOCK_ADD, rules, kind, beneath, ctypes.c_uint32(0)) != 0:
            code = ctypes.get_errno()
            raise SandboxRefused(code, f"Landlock: {path}: {os.strerror(code)}")
    finally:
        os.close(fd)


def _instruction(code: int, if_true: int, if_false: int, operand: int) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, operand)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise SandboxRefused(code, os.strerror(code))
