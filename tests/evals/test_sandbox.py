"""Hostile programs, and what the machine looks like afterwards."""

import json
import os
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from gptjax.evals import sandbox
from gptjax.evals.sandbox import FAILED, PASSED, REFUSED, TIMED_OUT, Limits, entered, run

QUICK = Limits(cpu_seconds=1, wall_seconds=20)

REFUSALS = {  # program, and what is refused
    "import os\nos.fork()": "os.fork",
    "import os\nos.system('true')": "os.system",
    "import os\nos.execv('/bin/true', ['true'])": "os.exec",
    "import os\nos.posix_spawn('/bin/true', ['true'], {})": "os.posix_spawn",
    "import subprocess\nsubprocess.run(['true'])": "import _posixsubprocess",
    "import socket\nsocket.socket()": "import _socket",
    "import ctypes": "import ctypes",
    "import sqlite3\nsqlite3.connect('/tmp/file')": "import _sqlite3",
    "import os\nos.kill(os.getppid(), 9)": "os.kill",
    "import resource as r\nr.setrlimit(r.RLIMIT_CPU, (99, 99))": "resource.setrlimit",
    "open('../outside', 'w')": "open ../outside",
    "open('/etc/passwd').read()": "open /etc/passwd",
    "import os\nopen(f'/proc/{os.getppid()}/environ').read()": "open /proc/",
    "import os\nos.symlink('/', 'root')": "os.symlink",
    "import os\nos.chdir('/')": "os.chdir",
    "import os\nos.listdir('/')": "os.listdir",
    "import os\nos.open('/', os.O_RDONLY)": "open /",
    "for i in range(99): open(str(i), 'w').close()": "more than 64 files",
    "import gc\ngc.get_objects()": "gc.get_objects",
    "def f(): pass\nf.__code__.replace(co_consts=())": "code.__new__",
    "import _xxsubinterpreters" if sys.version_info < (3, 13) else "import _interpreters": "import",
    "import _imp, importlib.machinery as m\n"
    "m.BuiltinImporter.create_module(m.ModuleSpec('_imp', m.BuiltinImporter))": "import _imp",
}


def test_a_program_passes_or_fails_with_one_line_that_says_why():
    assert run("x = 1\nassert x == 1") == sandbox.Outcome(PASSED)
    assert run("x = 1\nassert x == 2, 'no\\nno'") == sandbox.Outcome(
        FAILED, "AssertionError: no no, at line 2: assert x == 2, 'no\\nno'"
    )
    assert run("def f(:").why.startswith("SyntaxError: invalid syntax")


def test_what_a_program_may_do():
    program = """
    import collections, copy, datetime, decimal, fractions, hashlib, heapq, itertools, math, random
    import dataclasses, re, string, typing
    Pair = collections.namedtuple("Pair", "a b")
    @dataclasses.dataclass
    class One:
        x: int
    assert One(1).x == Pair(1, 2).a
    import os
    os.mkdir("folder")
    with open("folder/file", "w") as file:
        file.write("text")
    os.rename("folder/file", "folder/other")
    assert open("folder/other").read() == "text"
    os.remove("folder/other")
    os.rmdir("folder")
    assert os.listdir() == []
    """
    assert run(textwrap.dedent(program)) == sandbox.Outcome(PASSED)


@pytest.mark.parametrize("program", REFUSALS)
def test_what_a_program_may_not_do_ends_it(program):
    # What it catches does not save it.
    guarded = f"try:\n{textwrap.indent(program, '  ')}\nexcept BaseException:\n  pass"
    outcome = run(guarded)
    assert outcome.kind == REFUSED and outcome.why.startswith(REFUSALS[program]), outcome


@pytest.mark.parametrize("call", ["open(PATH, 'w')", "open(PATH, 'r+')", "os.remove(PATH)"])
def test_files_of_others_stay_as_they_are(call, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    outcome = run(f"import os\nPATH = {str(victim)!r}\n{call}")
    assert outcome.kind == REFUSED and str(victim) in outcome.why
    assert victim.read_text() == "mine"


def test_a_new_file_or_folder_outside_is_not_made(tmp_path):
    for call in ("open(PATH, 'x')", "os.mkdir(PATH)", "os.rename('own', PATH)"):
        program = f"import os\nopen('own', 'w')\nPATH = {str(tmp_path / 'new')!r}\n{call}"
        assert run(program).kind == REFUSED
    assert list(tmp_path.iterdir()) == []


def test_the_environment_is_empty(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "hunter2")
    assert run("import os\nassert dict(os.environ) == {}").kind == PASSED


def test_an_endless_loop_is_stopped_by_the_limit_of_processor_time():
    outcome = run("while True: pass", QUICK)
    assert outcome == sandbox.Outcome(TIMED_OUT, "used more than 1 seconds of processor time")


@pytest.mark.slow
def test_a_loop_that_ignores_the_limit_is_stopped_too():
    stubborn = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert run(stubborn, QUICK).kind == TIMED_OUT


def test_one_that_waits_is_stopped_by_the_clock():
    began = time.monotonic()
    outcome = run("import time\ntime.sleep(60)", Limits(wall_seconds=1))
    assert outcome == sandbox.Outcome(TIMED_OUT, "took more than 1 seconds")
    assert time.monotonic() - began < 30


def test_memory_and_files_have_limits():
    outcome = run("x = []\nwhile True: x.append(bytearray(1 << 20))", Limits(memory_bytes=1 << 28))
    assert outcome.kind == FAILED and outcome.why.startswith("MemoryError")
    outcome = run("open('file', 'w').write('x' * (1 << 21))")
    assert outcome.kind == FAILED and "File too large" in outcome.why


def test_what_it_prints_goes_nowhere(capfd):
    assert run("for _ in range(100): print('x' * 1_000_000)").kind == PASSED
    assert capfd.readouterr() == ("", "")


def test_there_is_nothing_to_read():
    outcome = run("input('a number')")
    assert outcome.kind == FAILED and outcome.why.startswith("EOFError")


@pytest.mark.parametrize(
    "end",
    ["raise SystemExit(0)", "import os\nos._exit(0)", "import os\nos.write(1, b'passed')\n1/0"],
)
def test_one_that_leaves_before_its_end_has_not_passed(end):
    assert run(f"{end}\nassert False").kind == FAILED


def test_what_a_child_leaves_behind_is_killed(tmp_path, monkeypatch):
    """A child that got past the hook, and whose own child goes on."""
    child, said = tmp_path / "child.py", tmp_path / "pid"
    child.write_text(
        "import os, pathlib, time\npid = os.fork()\nif not pid: time.sleep(600)\n"
        f"pathlib.Path({str(said)!r}).write_text(str(pid))"
    )
    monkeypatch.setattr(sandbox, "_CHILD", child)
    run("")
    pid = int(said.read_text())
    deadline = time.monotonic() + 30
    while _alive(pid):  # until whoever has taken it over reaps it
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def unhooked(code: str, folder) -> subprocess.CompletedProcess[str]:
    """Runs code behind the means of the kernel alone, as if it had got past the hook."""
    command = entered(Limits(), [*sandbox._python(), "-c", code])
    return subprocess.run(
        command, cwd=folder, env={}, capture_output=True, text=True, check=False, timeout=60
    )


def of_the_kernel(expression: str) -> int:
    """What the C library says in a process of its own."""
    code = f"import ctypes\nprint(ctypes.CDLL(None).{expression})"
    return int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)


@pytest.fixture
def landlock():
    """The version of the kernel's Landlock; skips where there is none."""
    version = of_the_kernel("syscall(444, None, ctypes.c_size_t(0), 1)")
    if version < 1:
        pytest.skip("this kernel has no Landlock")
    return version


@pytest.mark.parametrize(
    "code",
    ["open(PATH, 'w')", "os.remove(PATH)", "os.mknod(PATH + '2')", "os.kill(os.getppid(), 0)"],
)
def test_the_kernel_refuses_it_too(code, landlock, tmp_path):
    if "kill" in code and landlock < 6:
        pytest.skip("this kernel's Landlock knows no signals")
    own, victim = tmp_path / "own", tmp_path / "victim"
    own.mkdir()
    victim.write_text("mine")
    ended = unhooked(f"import os\nPATH = {str(victim)!r}\n{code}", own)
    assert "PermissionError" in ended.stderr
    assert victim.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2
    assert unhooked("open('file', 'w').write('x')", own).returncode == 0


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_nothing_comes_through_the_network(kind, tmp_path):
    if of_the_kernel("unshare(0x50000000)"):
        pytest.skip("this kernel lets nobody have a network namespace")
    with socket.socket(type=getattr(socket, kind)) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        if kind == "SOCK_STREAM":
            server.listen()
        code = (
            f"import socket\nout = socket.socket(type=socket.{kind})\n"
            f"out.connect({server.getsockname()!r})\nout.send(b'secret')"
        )
        ended = unhooked(code, tmp_path)
        assert ended.returncode == 1 and "Error" in ended.stderr
        with pytest.raises(BlockingIOError):
            server.accept() if kind == "SOCK_STREAM" else server.recv(10)


@pytest.mark.slow
def test_the_hostile_examples_of_human_eval(shared_data):
    folder = shared_data / "humaneval"
    problem = json.loads((folder / "example_problem.jsonl").read_text())
    ends = []
    for line in (folder / "example_samples.jsonl").read_text().splitlines():
        answer = json.loads(line)["completion"]
        test = f"{problem['test']}\ncheck({problem['entry_point']})"
        ends.append(run(f"{problem['prompt']}{answer}\n{test}", Limits(wall_seconds=4)).kind)
    assert ends == [REFUSED, TIMED_OUT, FAILED, PASSED, PASSED, PASSED]
    assert os.path.isdir(folder)
