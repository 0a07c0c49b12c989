"""Runs a command and writes down what it and all that it starts ask of the kernel: programs, sockets, files to write.

    python -m tests.moderation.screens.watching LOG COMMAND ...

The watcher is another process. A seccomp filter, which no program can take off again, stops the watched at each of the
calls below, and ptrace tells the watcher, who reads the arguments from outside. Nothing inside the watched process (an
audit hook, a patched module) takes part, so code that runs there cannot hide it. One JSON object a line:
  {"call", "path", "argv"}           a call; "path" and "argv" where it has them
  {"mark": name, "at": s, "peak": b} the watched opened /mark/NAME for writing: its way to say where it is; "peak" is
                                     the most memory since the last mark, in bytes, as the kernel counts it
  {"exit": b, "cpu_s": s}            a process that it started has ended: its own peak and its time"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import signal
import struct
import sys
import time
from typing import Any

CALLS = {
    "x86_64": {
        "socket": 41, "connect": 42, "sendto": 44, "bind": 49, "listen": 50, "execve": 59, "execveat": 322, "open": 2,
        "openat": 257, "creat": 85, "openat2": 437, "unlink": 87, "unlinkat": 263, "rename": 82, "renameat": 264,
        "renameat2": 316, "mkdir": 83, "mkdirat": 258, "symlink": 88, "symlinkat": 266, "link": 86, "linkat": 265,
        "chmod": 90, "fchmodat": 268, "truncate": 76, "ptrace": 101, "memfd_create": 319, "io_uring_setup": 425,
        "process_vm_writev": 311,
    },
    "aarch64": {
        "socket": 198, "connect": 203, "sendto": 206, "bind": 200, "listen": 201, "execve": 221, "execveat": 281,
        "openat": 56, "openat2": 437, "unlinkat": 35, "renameat": 38, "renameat2": 276, "mkdirat": 34, "symlinkat": 36,
        "linkat": 37, "fchmodat": 53, "truncate": 45, "ptrace": 117, "memfd_create": 279, "io_uring_setup": 425,
        "process_vm_writev": 271,
    },
}[platform.machine()]  # fmt: skip
NAMES = {number: name for name, number in CALLS.items()}
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[platform.machine()]
FLAGS = {"open": 1, "openat": 2}  # which argument holds them; without writing in it, the call is let through
PATH = {name: 1 if name.endswith("at") or name.endswith("at2") else 0 for name in CALLS}
PATH["symlinkat"] = 2
WITHOUT_PATH = {"socket", "connect", "sendto", "bind", "listen", "ptrace", "io_uring_setup", "process_vm_writev"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
LOAD, EQUAL, ANY_OF, RETURN = 0x20, 0x15, 0x45, 0x06  # of the kernel's packet filter
ALLOW, TRACE = 0x7FFF0000, 0x7FF00000
OTHER_ARCHITECTURE = 0xFFFF  # its calls have other numbers, so none of them is let through unseen
TRACE_ME, CONTINUE, SET_OPTIONS, EVENT_MESSAGE = 0, 7, 0x4200, 0x4201
EXIT_EVENT, SECCOMP_EVENT = 6, 7
OPTIONS = 0x02 | 0x04 | 0x08 | 0x40 | 0x80 | 0x100000  # fork, vfork, clone, exit, seccomp; ended with the watcher
WALL = 0x40000000
CANNOT_WATCH = 77  # exit status where the machine lets no process be traced
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def make_filter() -> bytes:
    code = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, AUDIT_ARCH), (RETURN, 0, 0, TRACE | OTHER_ARCHITECTURE), (LOAD, 0, 0, 0)]
    for name, number in CALLS.items():
        if name in FLAGS:
            code += [(EQUAL, 0, 4, number), (LOAD, 0, 0, 16 + 8 * FLAGS[name]), (ANY_OF, 0, 1, WRITING)]
            code += [(RETURN, 0, 0, TRACE | number), (RETURN, 0, 0, ALLOW)]
        else:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, TRACE | number)]
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("<HBBI", *step) for step in code)


def start(command: list[str]) -> int:
    """The watched, stopped before its first step. Returns its number."""
    raw = make_filter()
    steps = ctypes.create_string_buffer(raw)
    program = struct.pack("<HxxxxxxQ", len(raw) // 8, ctypes.addressof(steps))
    pid = os.fork()
    if pid:
        return pid
    try:
        if libc.ptrace(TRACE_ME, 0, None, None):
            os._exit(CANNOT_WATCH)
        os.kill(os.getpid(), signal.SIGSTOP)
        assert libc.prctl(38, 1, 0, 0, 0) == 0, "no new privileges"
        assert libc.prctl(22, 2, program, 0, 0) == 0, "filter"
        os.execvp(command[0], command)
    finally:
        os._exit(125)


def ask(request: int, pid: int, value: Any = 0) -> int:
    return int(libc.ptrace(request, pid, None, value))


def watch(pid: int, log: Any) -> int:
    """Until the watched has ended. Returns its exit status."""
    _, begun = os.waitpid(pid, WALL | os.WUNTRACED)
    if os.WIFEXITED(begun):
        return CANNOT_WATCH
    if ask(SET_OPTIONS, pid, OPTIONS):
        os.kill(pid, signal.SIGKILL)
        return CANNOT_WATCH
    ask(CONTINUE, pid)
    status = 1
    while True:
        try:
            who, ended = os.waitpid(-1, WALL)
        except ChildProcessError:
            return status
        if os.WIFEXITED(ended) or os.WIFSIGNALED(ended):
            status = os.waitstatus_to_exitcode(ended) if who == pid else status
            continue
        event, number = ended >> 16, os.WSTOPSIG(ended)
        if event == SECCOMP_EVENT:
            log.write(json.dumps(describe(pid, who)) + "\n")
        elif event == EXIT_EVENT and who != pid:
            with contextlib.suppress(OSError):  # killed meanwhile: nobody can read its books any more
                if is_process(who):
                    log.write(json.dumps({"exit": peak_of(who), "cpu_s": cpu_of(who)}) + "\n")
        # New threads and processes begin with a stop of their own; other signals are theirs.
        ask(CONTINUE, who, 0 if event or number in (signal.SIGSTOP, signal.SIGTRAP) else number)


def describe(pid: int, who: int) -> dict[str, Any]:
    message = ctypes.c_ulong()
    ask(EVENT_MESSAGE, who, ctypes.byref(message))
    if message.value == OTHER_ARCHITECTURE:
        return {"call": "another architecture"}
    name = NAMES[message.value]
    told: dict[str, Any] = {"call": name}
    if name not in WITHOUT_PATH:
        try:
            with open(f"/proc/{who}/syscall") as file:
                arguments = [int(word, 16) for word in file.read().split()[1:]]
        except OSError:
            return told | {"path": "?"}
        try:
            told["path"] = text_at(who, arguments[PATH[name]])
        except (OSError, OverflowError):  # a pointer to nothing, or killed meanwhile
            return told | {"path": "?"}
        if told["path"].startswith("/mark/"):
            peak = peak_of(pid)
            with open(f"/proc/{pid}/clear_refs", "w") as file:
                file.write("5")  # the peak begins anew
            return {"mark": told["path"][6:], "at": time.monotonic(), "peak": peak}
        if name == "execve":
            told["argv"] = list(texts_at(who, arguments[1]))
    return told


def text_at(who: int, address: int) -> str:
    with open(f"/proc/{who}/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        return memory.read(4096).split(b"\0", 1)[0].decode("utf-8", "replace")


def texts_at(who: int, address: int) -> Any:
    with contextlib.suppress(OSError, OverflowError), open(f"/proc/{who}/mem", "rb", buffering=0) as memory:
        for number in range(20):
            memory.seek(address + 8 * number)
            (pointer,) = struct.unpack("<Q", memory.read(8))
            if not pointer:
                return
            yield text_at(who, pointer)


def is_process(who: int) -> bool:
    with open(f"/proc/{who}/status") as file:
        return f"Tgid:\t{who}\n" in file.read()


def peak_of(who: int) -> int:
    with open(f"/proc/{who}/status") as file:
        lines = [line.split() for line in file if line.startswith("VmHWM")]
    return int(lines[0][1]) * 1024 if lines else 0


def cpu_of(who: int) -> float:
    with open(f"/proc/{who}/stat") as file:
        words = file.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with open(sys.argv[1], "w", buffering=1) as log:
        sys.exit(watch(start(sys.argv[2:]), log))
