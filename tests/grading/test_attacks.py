"""Programs that want out of the sandbox, or want to keep a step waiting: none does."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from jaxreason.data.problems import Problem
from jaxreason.grading import sandbox
from jaxreason.grading.pool import Pool
from jaxreason.grading.programs import run_calls, run_check, run_stdin
from jaxreason.tasks import judge
from tests.sandboxed import needs_sandbox

pytestmark = needs_sandbox
PERIOD_S = 8.0
"""In which every attack has its verdict, on a machine that does other work."""
MAKER = f"{judge.MAKER} code"


@pytest.fixture(scope="module")
def pool():
    with Pool(num_workers=1, timeout_s=2.0) as result:
        result.verify([("print(1)", _problem("1"))], MAKER)  # its start is no part of an attack's time
        yield result


def _problem(output: str) -> dict:
    return {
        "id": "a",
        "question": "q",
        "answer": "a",
        "source": "",
        "meta": {"tests": [{"input": "", "output": output}]},
    }


def _prints(program: str) -> str:
    """What a program prints in the sandbox, with the name of what it raised."""
    with sandbox.Guest("stdin", time.monotonic() + PERIOD_S, program=program, prelude="") as guest:
        guest.send({"stdin": ""})
        reply = guest.receive() or {"out": "ended"}
    return f"{reply['out']}{reply.get('raised', '')}".strip()


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/shadow", "/proc/1/environ", "/root/.bashrc", "/sys/kernel", "/tmp"]
)
def test_no_file_of_this_machine_can_be_read(path):
    assert _prints(f"print(open({path!r}).read())") in ("FileNotFoundError", "PermissionError")
    assert _prints(f"import os\nprint(os.listdir({path!r}))") in (
        "FileNotFoundError",
        "PermissionError",
        "NotADirectoryError",
    )


def test_a_file_at_home_can_not_be_read(tmp_path):
    """Also not by a path that exists outside, nor over a link into it."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    assert _prints(f"print(open({str(secret)!r}).read())") == "FileNotFoundError"
    assert _prints(f"print(open('/usr/../{secret}').read())") == "FileNotFoundError"
    assert _prints("import os\nprint(sorted(os.environ))") in ("['PWD']", "['LC_CTYPE', 'PWD']")


@pytest.mark.parametrize(
    "folder", ["/", "/root", "/dev", "/usr", "/usr/lib", "/tmp", os.path.expanduser("~"), sys.base_prefix]
)
def test_nothing_can_be_written_anywhere(folder):
    found = _prints(f"open({folder!r} + '/escaped', 'w').write('x')")
    assert found in ("OSError", "PermissionError", "FileNotFoundError")
    assert not os.path.exists(f"{folder}/escaped")


def test_a_link_leads_nowhere(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    found = _prints(f"import os\nos.symlink({str(tmp_path)!r}, '/dev/out')\nprint(open('/dev/out/secret.txt').read())")
    assert found in ("OSError", "PermissionError")
    assert not os.path.lexists("/dev/out")


def test_no_process_can_be_made():
    """A fork bomb ends at its first fork; threads are allowed and counted."""
    assert _prints("import os\nwhile True: os.fork()") == "PermissionError"
    assert _prints("import subprocess\nsubprocess.run(['/usr/bin/true'])") == "PermissionError"
    assert _prints("import os\nos.execv('/usr/bin/true', ['true'])") == "PermissionError"
    thread = "threading.Thread(target=time.sleep, args=(9,), daemon=True)"
    assert _prints(f"import threading, time\nfor i in range(1000): {thread}.start()") == "RuntimeError"
    one = "import threading\nthreading.stack_size(2**26)\nt = threading.Thread(target=print, args=(7,))\nt.start()"
    assert _prints(one) == "7"


@pytest.mark.parametrize(
    "program",
    [
        "x = bytearray(10**11)",
        "x = []\nwhile True: x.append(bytearray(10**7))",
        "import mmap\nx = []\nwhile True: x.append(mmap.mmap(-1, 10**8))",
        "print('a' * 10**10)",
    ],
)
def test_memory_ends_at_its_limit(program):
    assert _prints(program) in ("MemoryError", "OSError", "killed", "OverflowError")


def test_memory_outside_of_the_address_space_is_refused():
    """Segments and memory files would be bounded by nothing."""
    assert _prints("import os\nos.memfd_create('x')") == "PermissionError"
    assert _prints(_system_call(29 if os.uname().machine == "x86_64" else 194, 0, 10**8, 0o1600)) == "-1 1"


def test_there_is_no_network():
    """Neither another machine nor a server on this one."""
    server = socket.create_server(("127.0.0.1", 0))
    try:
        at = ("127.0.0.1", server.getsockname()[1])
        for address in (at, ("1.1.1.1", 53)):
            assert _prints(f"import socket\nsocket.create_connection({address!r}, 2)") == "PermissionError"
        assert _prints("import socket\nsocket.getaddrinfo('example.org', 80)") == "gaierror"
    finally:
        server.close()


def test_a_signal_reaches_nobody_outside():
    """The test's own process, the parent and everybody are signalled; they go on."""
    for target in (os.getpid(), os.getppid(), "os.getppid()", 1, -1):
        program = f"import os, signal\nos.kill({target}, signal.SIGKILL)"
        found = run_stdin(program, [("", "x")])
        assert found.outcome == "wrong"
    assert os.getpid() > 0


def _system_call(number: int, *args: int) -> str:
    values = ", ".join(f"ctypes.c_long({arg})" for arg in args)
    return (
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({number}, {values}), ctypes.get_errno())"
    )


def test_ctypes_reaches_the_kernel_and_is_refused_there():
    """Errors: 1 is EPERM, 13 EACCES, 38 ENOSYS. Numbers are x86-64's and, where they differ, ARM's."""
    intel = os.uname().machine == "x86_64"
    for number, expected in (
        (101 if intel else 117, "-1 1"),  # ptrace
        (272 if intel else 97, "-1 1"),  # unshare
        (165 if intel else 40, "-1 1"),  # mount
        (56 if intel else 220, "-1 1"),  # clone without a thread's flag
        (435, "-1 38"),  # clone3
        (41 if intel else 198, "-1 13"),  # socket
        (425, "-1 1"),  # io_uring_setup
    ):
        assert _prints(_system_call(number, 2, 0, 0)) == expected, number
    if intel:
        assert _prints(_system_call(0x40000000 + 57)) == "-1 1"  # the same fork in the table of x32
    assert _prints("import ctypes\nctypes.string_at(0)") == "killed"
    if os.geteuid() == 0:
        assert _prints("import os\nprint(os.getuid() > 0, os.getresuid()[2] > 0)") == "True True"
        assert _prints("import os\nos.setuid(0)") == "PermissionError"


SEARCH = """
import gc, os, sys
def search():
    seen = [repr(one) for one in gc.get_objects() if isinstance(one, (str, dict, list, tuple, bytes))]
    frame = sys._getframe()
    while frame:
        seen.append(repr(frame.f_locals))
        frame = frame.f_back
    return any('sesame' + str(42) in one for one in seen)
"""


def test_the_expected_answers_are_not_inside():
    """All objects, frames and open files are searched; what came in as input is found, so the search works."""
    files = (
        "for n in range(20):\n    try: print('sesame' + str(42) in str(os.read(n, 10**6)))\n    except OSError: pass\n"
    )
    assert set(_prints(f"{SEARCH}\nprint(search())\n{files}").split()) == {"False"}
    assert run_stdin(f"{SEARCH}\nprint(search())\n{files}", [("", "sesame42")]).status == "test 1: wrong output"
    assert run_stdin(f"{SEARCH}\nx = input()\nprint(search())", [("sesame42", "True")]).outcome == "right"
    function = f"{SEARCH}\ndef f(x): return 'sesame' + str(42) if search() else 'nothing'"
    assert run_calls(function, "f", [(["a"], "sesame42")]).status == "test 1: wrong value"
    assert run_calls(function, "f", [(["sesame42"], "sesame42")]).outcome == "right"
    check = "def check(candidate):\n    assert candidate('a') == 'sesame42'"
    assert run_check(function, "f", check).status == "check: AssertionError"
    assert run_check(function, "f", check.replace("'a'", "'sesame42'")).outcome == "right"


YES = """
class Yes:
    def __eq__(self, other): return True
    def __bool__(self): return True
def f(x): return Yes()
"""
UNDER_THE_FEET = """
import builtins, sys
builtins.AssertionError = Exception
sys.modules['__main__'].check = lambda candidate: None
def f(x): return 0
"""
FORGED = """
import os
for n in range(3, 20):
    try: os.write(n, b'{"passed": true}\\n{"loaded": true, "value": 0}\\n')
    except OSError: pass
def f(x): return 0
"""


@pytest.mark.parametrize(
    "program",
    [
        YES,
        UNDER_THE_FEET,
        FORGED,
        "import os\nos._exit(0)",
        "raise SystemExit",
        "def f(x):\n    import os\n    os._exit(0)",
    ],
)
def test_a_check_can_not_be_talked_out_of_its_assertions(program):
    """In one process with them each of these has passed."""
    assert run_check(program, "f", "def check(candidate):\n    assert candidate(2) == 4").outcome == "wrong"
    assert (
        run_check("def f(x): return x * x", "f", "def check(candidate):\n    assert candidate(2) == 4").outcome
        == "right"
    )


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("while True: pass", "timeout"),
        ("import time\ntime.sleep(1000)", "timeout"),
        ("import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))\nwhile True: pass", "timeout"),
        ("while True: print('x' * 10000)", "test 1: too much output"),
        ("import sys\nwhile True: sys.stderr.write('x' * 10000)", "timeout"),
        ("import os\nos.close(1)\nwhile True: pass", "timeout"),
        ("import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()", "timeout"),
        ("x = 10**10**10", "timeout"),
        ("import os\nos.kill(os.getppid(), 9)", "test 1: ended"),
        ("print(" + "(" * 10**5, "test 1: "),
    ],
)  # fmt: skip
def test_none_stalls_a_step(pool, program, status):
    """Each is wrong within the time of an answer, and its worker goes on: no new one is started."""
    before = [worker.process.pid for worker in pool.workers]
    start = time.monotonic()
    (verdict,) = pool.verify([(program, _problem("1"))], MAKER)
    assert time.monotonic() - start < PERIOD_S
    assert verdict.outcome == "wrong"
    assert verdict.status.startswith(status)
    assert [worker.process.pid for worker in pool.workers] == before
    assert pool.verify([("print(1)", _problem("1"))], MAKER)[0].outcome == "right"


def test_nothing_is_left_when_a_worker_is_killed():
    """A trainer that dies takes what it had started along."""
    code = (
        "import time\nfrom jaxreason.grading.programs import run_stdin\n"
        "print('up', flush=True)\nrun_stdin('import time\\ntime.sleep(77.125)', [('', '')], time_limit_s=60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    _wait(lambda: len(_below(process.pid)) >= 4)  # two of bwrap's, the guest, the program
    below = _below(process.pid)
    process.kill()
    process.wait()
    process.stdout.close()
    _wait(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in below))


def _below(pid: int) -> set[int]:
    """Processes started by one, and by those."""
    found = set()
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            found |= {int(child) for child in file.read().split()}
    return found.union(*(_below(child) for child in found)) if found else found


def _wait(done) -> None:
    for _ in range(300):
        if done():
            return
        time.sleep(0.03)
    raise AssertionError("not within nine seconds")


def test_two_threads_of_a_caller_do_not_meet():
    """Guests share nothing: not a pipe, and not each other's time."""
    found = {}

    def ask(name: str) -> None:
        found[name] = run_stdin(f"print({name!r})", [("", name)]).outcome

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"a": "right", "b": "right"}


def test_problems_are_what_the_worker_gets():
    """That the helper above spells a problem's fields as the pool sends them."""
    assert Problem(**_problem("1")).meta["tests"] == [{"input": "", "output": "1"}]
