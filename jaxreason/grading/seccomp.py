"""What a program in the sandbox may not ask of the kernel: a seccomp filter, assembled here for want of a library.

Namespaces and limits bound most things; this closes what they leave open. Without it memory would not be bounded, since
System V segments and memory files lie outside RLIMIT_AS, and a process that forks has that limit once more. Source:
Linux, Documentation/userspace-api/seccomp_filter.rst; call numbers from the kernel's tables.
"""

import errno
import platform
import struct
from typing import NamedTuple

ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
"""Offsets into struct seccomp_data."""
_CLONE_THREAD, _AF_UNIX, _X32 = 0x10000, 1, 0x40000000


class Calls(NamedTuple):
    """A processor architecture's name for the kernel and its call numbers."""

    audit: int
    clone: int
    clone3: int
    socket: int
    refused: tuple[int, ...]
    x32: bool = False  # whether numbers from _X32 on are another table of the same calls


CALLS = {
    "x86_64": Calls(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        socket=41,
        refused=(
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(101, 310, 311, 434, 438),  # ptrace, process_vm_readv and _writev, pidfd_open, pidfd_getfd
            *(29, 64, 68, 240, 319, 447),  # shmget, semget, msgget, mq_open, memfd_create, memfd_secret
            *(272, 308, 155, 161, 165, 166),  # unshare, setns, pivot_root, chroot, mount, umount2
            *(428, 429, 430, 432, 433, 442),  # open_tree, move_mount, fsopen, fsmount, fspick, mount_setattr
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(298, 321, 323, 425, 304),  # perf_event_open, bpf, userfaultfd, io_uring_setup, open_by_handle_at
            *(175, 176, 246, 313),  # init_module, delete_module, kexec_load, finit_module
        ),
        x32=True,
    ),
    "aarch64": Calls(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        socket=198,
        refused=(
            *(221, 281),  # execve, execveat; fork and vfork do not exist
            *(117, 270, 271, 434, 438),
            *(194, 190, 186, 180, 279, 447),
            *(97, 268, 41, 51, 40, 39),
            *(428, 429, 430, 432, 433, 442),
            *(217, 218, 219),
            *(241, 280, 282, 425, 265),
            *(105, 106, 104, 273),
        ),
    ),
}
"""By `platform.machine()`."""


def program(machine: str = "") -> bytes:
    """The filter as an array of struct sock_filter.

    Threads may be made and processes not; sockets only of the family that stays on the machine.

    Args:
      machine: of CALLS; empty: this one.

    Raises:
      ValueError: an architecture without a table.
    """
    machine = machine or platform.machine()
    if machine not in CALLS:
        raise ValueError(f"sandbox: expected a processor of {' or '.join(CALLS)}, got {machine}")
    calls = CALLS[machine]
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, calls.audit), _answer(KILL), (_LOAD, 0, 0, _NUMBER)]
    if calls.x32:
        steps += [(_AT_LEAST, 0, 1, _X32), _answer(FAIL | errno.EPERM)]
    for number in calls.refused:
        steps += [(_EQUAL, 0, 1, number), _answer(FAIL | errno.EPERM)]
    # The C library then falls back to clone, whose flags can be read: those of clone3 are behind a pointer.
    steps += [(_EQUAL, 0, 1, calls.clone3), _answer(FAIL | errno.ENOSYS)]
    for number, test, value, refusal in (
        (calls.clone, _ANY_BIT, _CLONE_THREAD, errno.EPERM),
        (calls.socket, _EQUAL, _AF_UNIX, errno.EACCES),
    ):
        steps += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _FIRST_ARGUMENT), (test, 0, 1, value), _answer(ALLOW)]
        steps += [_answer(FAIL | refusal)]
    steps += [_answer(ALLOW)]
    return b"".join(struct.pack("HBBI", *step) for step in steps)


def _answer(value: int) -> tuple[int, int, int, int]:
    return (_RETURN, 0, 0, value)
