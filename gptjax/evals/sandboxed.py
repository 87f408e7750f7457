"""The inside of the sandbox: it gives up rights, then runs one program. See `sandbox`.

    python -I -S sandboxed.py enter LIMITS COMMAND...   # limits, namespaces, Landlock, then COMMAND
    python -I -S sandboxed.py run < JOB > VERDICT       # an audit hook, then the program

It imports the standard library only. Two commands, so that what the first one needs (ctypes) is
gone when the program starts.
"""

import _imp
import json
import os
import resource
import struct
import sys
from collections.abc import Callable
from typing import Any

_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_NO_NEW_PRIVILEGES = 38

# Landlock: linux/landlock.h. Rights are added with its versions.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # bits by the version that brings them
_EXECUTE, _WRITE, _READ, _LIST = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE, _MAKE, _TRUNCATE = 3 << 4, 1 << 7 | 1 << 8, 1 << 14
_ALL_TCP, _ALL_SCOPES = 3, 3

_OWN_WRITES = 64  # times that a program opens a file to write
_OWN_PATHS = frozenset({"mkdir", "remove", "rmdir", "rename", "truncate", "utime"})
_READ_PATHS = frozenset({"listdir", "scandir", "walk", "fwalk", "getxattr", "listxattr"})
_HARMLESS = frozenset({"putenv", "unsetenv", "lockf"})
_REFUSED = frozenset(
    {
        "code.__new__",
        "cpython.PyInterpreterState_New",
        "sys._current_exceptions",
        "sys._current_frames",
        "sys.addaudithook",
    }
)
_REFUSED_ROOMS = """
ctypes ftplib gc http imaplib nntplib poplib pty resource signal smtplib socket sqlite3
subprocess syslog telnetlib urllib webbrowser
"""
# What they do in C is told to no hook.
_REFUSED_MODULES = """
_ctypes _ctypes_test _curses _dbm _gdbm _imp _interpreters _multiprocessing _posixshmem
_posixsubprocess _socket _sqlite3 _ssl _testcapi _testinternalcapi _testmultiphase _tkinter
_xxsubinterpreters ctypes readline
"""
_DEVICES = frozenset({"/dev/null", "/dev/urandom"})
_REASON = 300  # characters


def enter(limits: dict[str, int], command: list[str]) -> None:
    """Gives up rights, as far as the kernel knows how, and becomes `command`."""
    for name, most in limits.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            soft = most
            hard = most + 1 if name == "RLIMIT_CPU" else most  # first a signal with a name
            resource.setrlimit(kind, (soft, hard))
    _isolate(os.path.realpath(os.getcwd()))
    os.execv(command[0], command)


def _isolate(own: str) -> None:
    """No network and no other processes' signals; no files but Python's, and those of `own`."""
    import ctypes  # not for the program

    try:
        call = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return
    call.unshare(_NEW_USER | _NEW_NETWORK | _NEW_IPC)
    call.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    version = call.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return
    handled = (1 << max(bits for first, bits in _RIGHTS.items() if first <= version)) - 1
    parts = [handled, _ALL_TCP, _ALL_SCOPES][: 1 + (version >= 4) + (version >= 6)]
    wanted = struct.pack(f"{len(parts)}Q", *parts)
    rules = call.syscall(_CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0)
    if rules < 0:
        return

    def allow(path: str, rights: int) -> None:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        call.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", rights & handled, place), 0)
        os.close(place)

    for path in (sys.base_prefix, "/usr", "/lib", "/lib64"):
        allow(path, _EXECUTE | _READ | _LIST)
    allow(os.path.dirname(os.path.abspath(__file__)), _READ | _LIST)
    for path in ("/etc/ld.so.cache", "/etc/localtime"):
        allow(path, _READ)
    for path in _DEVICES:
        allow(path, _READ | _WRITE)
    allow(own, _READ | _LIST | _WRITE | _REMOVE | _MAKE | _TRUNCATE)
    call.syscall(_RESTRICT_SELF, rules, 0)
    os.close(rules)


def run() -> None:
    """Runs the program of the job on standard input; says how it ended on standard output."""
    job = json.loads(sys.stdin.buffer.read())
    end = _verdict(os.dup(1), job["nonce"])
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    os.close(nothing)
    os.environ.clear()  # of what Python itself puts there
    source = job["program"]
    del job
    _watch(os.path.realpath(os.getcwd()), os.path.dirname(os.__file__), end)
    try:
        exec(compile(source, "program", "exec"), {})
    except BaseException as error:  # whatever the program raises is its own failure
        end("failed", _reason(error, source))
    end("passed", "")


def _verdict(place: int, nonce: str) -> Callable[[str, str], None]:
    """A function that writes a kind and a reason, and ends the process."""
    write, leave, say = os.write, os._exit, json.dumps

    def end(kind: str, why: str) -> None:
        try:
            write(place, f"\n{nonce} {say([kind, why])}\n".encode())
        finally:
            leave(0)

    return end


def _reason(error: BaseException, source: str) -> str:
    """An exception and the line of the program that it comes from."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "program":
            line = trace.tb_lineno
        trace = trace.tb_next
    try:
        text = str(error)
    except BaseException:  # the program's own method
        text = ""
    lines = source.splitlines()
    at = f", at line {line}: {lines[line - 1].strip()}" if 0 < line <= len(lines) else ""
    said = f"{type(error).__name__}{': ' if text else ''}{' '.join(text.split())}"
    return said[:_REASON] + at[:_REASON]


def _watch(own: str, library: str, end: Callable[[str, str], None]) -> None:
    """Adds the hook that ends the process where the program does what it may not.

    All that the hook uses is bound here, out of the program's reach, and paths are compared as they
    are written: nothing in `own` is a link, as none may be made.
    """
    exact, text, octets, number, all_of = type, str, bytes, int, all
    rooms, modules = frozenset(_REFUSED_ROOMS.split()), frozenset(_REFUSED_MODULES.split())
    names, devices = _REFUSED, _DEVICES
    own_paths, read_paths, harmless, most = _OWN_PATHS, _READ_PATHS, _HARMLESS, _OWN_WRITES
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    zones = "/usr/share/zoneinfo"
    opened = 0

    def full(path: Any) -> str | None:
        """A path from the root; None: no text, or one with .. in it."""
        if path is None:
            return own
        if exact(path) is octets:
            path = path.decode("latin-1")
        if exact(path) is not text:
            return None
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            return None
        joined = "/".join(parts)
        return f"/{joined}" if path[:1] == "/" else f"{own}/{joined}" if joined else own

    def below(path: str | None, folder: str) -> bool:
        return path is not None and (path == folder or path.startswith(f"{folder}/"))

    def shown(path: Any) -> str:
        return path if exact(path) is text else "a path"

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal opened
        room, _, name = event.partition(".")
        if event == "open":
            path, mode, flags = arguments
            if exact(path) is number:
                return
            there = full(path)
            wants_to_write = (flags & writing) != 0
            if below(there, own):
                opened += wants_to_write
                if opened > most:
                    end("refused", f"more than {most} files opened for writing")
            elif there not in devices and (
                wants_to_write or mode is None or not (below(there, library) or below(there, zones))
            ):
                end("refused", f"open {shown(path)}")
        elif event == "import":
            module, file = arguments[:2]
            if module in modules or (file is not None and not below(full(file), library)):
                end("refused", f"import {shown(module)}")
        elif room == "os":
            if name in harmless:
                return
            if name in own_paths:
                paths = arguments[:2] if name == "rename" else arguments[:1]
                if all_of(exact(path) is number or below(full(path), own) for path in paths):
                    return
                end("refused", f"{event} {shown(paths[-1])}")
            there = full(arguments[0]) if arguments else None
            if name not in read_paths or not (below(there, own) or below(there, library)):
                end("refused", event)
        elif room in rooms or event in names:
            end("refused", event)

    create = _imp.create_builtin

    def create_builtin(spec: Any) -> Any:
        """Modules inside the interpreter, which no event tells of when they are made directly."""
        name = spec.name
        if exact(name) is not text or name in modules:
            end("refused", f"import {shown(name)}")
        return create(spec)

    _imp.create_builtin = create_builtin
    sys.addaudithook(hook)


if __name__ == "__main__":
    if sys.argv[1] == "enter":
        enter(json.loads(sys.argv[2]), sys.argv[3:])
    else:
        run()
