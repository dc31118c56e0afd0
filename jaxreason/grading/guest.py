"""What runs inside the sandbox: takes a program and its inputs, gives what it prints or returns.

The standard library only, for nothing else is in there. Expected outputs never come in, so a program that reads
everything it can find knows no more than its input. A message is a line of JSON, see `sandbox.Guest`.

Three modes: `stdin` runs a program once an input, each in a process of its own; `calls` loads it once and calls a
function; `check` loads a data set's own test code, whose calls of the candidate are answered from outside.
"""

import atexit
import builtins
import ctypes
import gc
import importlib
import io
import json
import os
import resource
import select
import signal
import sys
import types

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER_MODE = 38, 22, 2
NAME_CHARS = 60
RECURSION_LIMIT = 50_000
"""Of a program under test: Python's own would end some that a judge's machine runs."""


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


class Channel:
    """Lines of JSON to and from outside."""

    def __init__(self):
        self.requests = os.fdopen(os.dup(0), "rb")
        self.replies = os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)

    def read(self):
        """The next message; None where the other side has ended."""
        line = self.requests.readline()
        return json.loads(line) if line else None

    def write(self, message):
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            line = line[os.write(self.replies, line) :]

    def close(self):
        self.requests.close()
        os.close(self.replies)


def main():
    """Serve until the other side ends."""
    channel = Channel()
    setup = channel.read()
    if setup is None:
        return
    if setup["uid"]:  # real root's count of processes is not limited, so it must not be root
        os.setgroups([])
        os.setresgid(setup["uid"], setup["uid"], setup["uid"])
        os.setresuid(setup["uid"], setup["uid"], setup["uid"])
    for name, most in setup["limits"].items():
        which = getattr(resource, name)
        hard = resource.getrlimit(which)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (most, most))
    sys.set_int_max_str_digits(0)
    builtins.exit = builtins.quit = sys.exit  # which Python's module site makes, left out here for its time
    channel.write({"ready": True})
    MODES[setup["mode"]](setup, channel)


def forbid(setup, libc=ctypes.CDLL(None)):
    """Put the filter of system calls in force, for good."""
    steps = bytes.fromhex(setup["filter"])
    held = _Filter(len(steps) // 8, steps)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SET_SECCOMP, _FILTER_MODE, ctypes.byref(held), 0, 0):
        os._exit(70)


def main_module():
    """A fresh `__main__` for a program."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    return vars(module)


def serve_stdin(setup, channel):
    """{"stdin": text} -> {"out": text} with {"raised": name} or {"flood": true} where it came to that."""
    warm(setup["prelude"])
    try:
        code = compile(f"{setup['prelude']}\n{setup['program']}", "program.py", "exec")
    except BaseException as error:
        code = type(error).__name__
    while (request := channel.read()) is not None:
        if isinstance(code, str):
            channel.write({"out": "", "raised": code})
            continue
        given = os.memfd_create("stdin")
        text = memoryview(request["stdin"].encode("utf-8", "surrogatepass"))
        while text:
            text = text[os.write(given, text) :]
        os.lseek(given, 0, os.SEEK_SET)
        (out, out_end), (note, note_end) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            channel.close()
            os.dup2(given, 0)
            os.dup2(out_end, 1)
            for end in (given, out, out_end, note):
                os.close(end)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            forbid(setup)
            run(code, note_end)
        for end in (given, out_end, note_end):
            os.close(end)
        channel.write(outcome(child, out, note, setup["output_bytes"]))


def warm(prelude):
    """Import what a prelude imports of the standard library, once for all processes that will."""
    if not prelude:
        return
    import ast  # costs more than the rest together, and most problems have no prelude

    names = []
    for node in ast.walk(ast.parse(prelude)):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [one.name for one in node.names]
    for name in names:
        if name.partition(".")[0] in sys.stdlib_module_names:
            importlib.import_module(name)


def run(code, note):
    """Run a program and end as Python does, but for taking itself apart, which costs more than most programs."""
    status = 0
    try:
        sys.setrecursionlimit(RECURSION_LIMIT)
        exec(code, main_module())
    except SystemExit:
        pass
    except BaseException as error:
        os.write(note, type(error).__name__.encode()[:NAME_CHARS])
        status = 1
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
    atexit._run_exitfuncs()
    for file in (sys.stdout, *(one for one in gc.get_objects() if isinstance(one, io.IOBase))):
        try:
            file.flush()  # also one that the program opened and never closed
        except Exception:  # closed, or a file of the program's own making
            pass
    os._exit(status)


def outcome(child, out, note, most):
    """What a process printed, read to its end or to the limit."""
    found, open_ends = {out: bytearray(), note: bytearray()}, [out, note]
    while open_ends:
        for end in select.select(open_ends, [], [])[0]:
            piece = os.read(end, 1 << 16)
            if not piece:
                open_ends.remove(end)
            elif len(found[end]) <= most:
                found[end] += piece
            if len(found[out]) > most:
                os.kill(child, signal.SIGKILL)
    os.close(out)
    os.close(note)
    status = os.waitpid(child, 0)[1]
    if len(found[out]) > most:
        return {"out": "", "flood": True}
    printed = {"out": found[out].decode("utf-8", "replace")}
    if status == 0:
        return printed
    return printed | {
        "raised": found[note].decode("utf-8", "replace") or ("ended" if os.WIFEXITED(status) else "killed")
    }


def serve_calls(setup, channel):
    """{"args": [...], "kwargs": {...}} -> {"value": ...} or {"raised": name}; first {"loaded": true}."""
    forbid(setup)
    space, name = main_module(), setup["entry_point"]
    sys.setrecursionlimit(RECURSION_LIMIT)
    try:
        program = setup["program"]
        if program.lstrip("\n")[:1] in (" ", "\t"):  # the body of the function that the prelude begins
            program = f"{setup['prelude']}\n{program}"
        else:
            exec(compile(setup["prelude"], "prelude.py", "exec"), space)
        exec(compile(program, "program.py", "exec"), space)
        function = space.get(name) or getattr(space["Solution"]() if "Solution" in space else None, name, None)
        if function is None:
            return channel.write({"raised": f"no {name}"})
    except BaseException as error:
        return channel.write({"raised": type(error).__name__})
    channel.write({"loaded": True})
    while (request := channel.read()) is not None:
        try:
            args, kwargs = decode(request["args"]), decode(request["kwargs"])
            reply = {"value": encode(function(*args, **kwargs))}
        except BaseException as error:
            reply = {"raised": type(error).__name__}
        channel.write(reply)
    return None


def serve_check(setup, channel):
    """Run `check(candidate)`: asks {"args", "kwargs"}, says {"passed": true}, {"failed": name} or {"broken": why}."""
    forbid(setup)
    space, raised = main_module(), []

    def candidate(*args, **kwargs):
        channel.write({"args": encode(list(args)), "kwargs": encode(kwargs)})
        reply = channel.read() or {}
        if "value" in reply:
            return decode(reply["value"])
        kind = getattr(builtins, str(reply.get("raised")), None)
        raised.append(True)
        raise kind() if isinstance(kind, type) and issubclass(kind, Exception) else RuntimeError()

    try:
        exec(compile(setup["prelude"], "prelude.py", "exec"), space)
        exec(compile(setup["check"], "check.py", "exec"), space)
        check = space["check"]
    except BaseException as error:
        return channel.write({"broken": f"{type(error).__name__}: {error}"})
    space[setup["entry_point"]] = candidate
    try:
        check(candidate)
    except (NameError, ImportError) as error:
        if not raised:  # no value can bring this about
            return channel.write({"broken": f"{type(error).__name__}: {error}"})
        return channel.write({"failed": type(error).__name__})
    except BaseException as error:
        return channel.write({"failed": type(error).__name__})
    return channel.write({"passed": True})


def encode(value):
    """A value as JSON can hold it; what JSON lacks is an object with the type's name.

    Raises:
      TypeError: no plain data.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return [encode(one) for one in value]
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(one)] for key, one in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(one) for one in value]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": list(value)}
    raise TypeError


def decode(value):
    """The value of `encode`; anything else raises."""
    if isinstance(value, list):
        return [decode(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((name, held),) = value.items()
    kinds = {"tuple": tuple, "set": set, "frozenset": frozenset, "dict": dict, "bytes": bytes}
    if name == "complex":
        return complex(*held)
    return kinds[name](decode(held))


MODES = {"stdin": serve_stdin, "calls": serve_calls, "check": serve_check}

if __name__ == "__main__":
    main()
