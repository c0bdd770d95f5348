"""The filter of system calls: what it refuses, how, and on which machines."""

from __future__ import annotations

import importlib
import os
import struct

import pytest

from watchglass.runtime.executor.host import linux, seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS, EAFNOSUPPORT = ERRNO | 1, ERRNO | 38, ERRNO | 97
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {  # of the calls that are looked at more closely
    "x86_64": {"clone": 56, "ioctl": 16, "socket": 41, "read": 0},
    "aarch64": {"clone": 220, "ioctl": 29, "socket": 198, "read": 63},
}
CLONE3 = 435
machines = pytest.mark.parametrize("machine", ["x86_64", "aarch64"])


def verdict(program: bytes, machine: str, number: int, *arguments: int) -> int:
    """Run the filter as the kernel does, on struct seccomp_data."""
    data = struct.pack("=IIQ6Q", number, AUDIT[machine], 0, *arguments, *[0] * (6 - len(arguments)))
    steps = list(struct.iter_unpack("=HBBI", program))
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        if code == 0x06:
            return int(value)
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, value)
            continue
        holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[
            code
        ]
        at += if_true if holds else if_false


@machines
def test_every_listed_call_is_refused_and_others_pass(machine: str) -> None:
    program = seccomp.build(machine)
    listed = seccomp.call_numbers(machine)
    assert {verdict(program, machine, number) for number in listed.values()} == {EPERM}
    looked_at = {*NUMBERS[machine].values(), CLONE3}
    others = set(range(460)) - set(listed.values()) - looked_at
    assert {verdict(program, machine, number) for number in others} == {ALLOW}


@machines
def test_a_clone_may_make_threads_and_processes_but_no_namespace(machine: str) -> None:
    program = seccomp.build(machine)
    clone = NUMBERS[machine]["clone"]
    assert verdict(program, machine, clone, 0x1200011) == ALLOW
    assert verdict(program, machine, clone, 0x3D0F00) == ALLOW
    for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(program, machine, clone, flag | 17) == EPERM
    assert verdict(program, machine, CLONE3) == ENOSYS


@machines
def test_an_ioctl_that_types_is_refused_whatever_its_upper_half_says(machine: str) -> None:
    program = seccomp.build(machine)
    ioctl = NUMBERS[machine]["ioctl"]
    for request in (0x5412, 0x541C):
        assert verdict(program, machine, ioctl, 0, request) == EPERM
        assert verdict(program, machine, ioctl, 0, request | 1 << 32) == EPERM
    assert verdict(program, machine, ioctl, 0, 0x5401) == ALLOW


@machines
def test_only_the_usual_families_have_sockets(machine: str) -> None:
    program = seccomp.build(machine)
    socket = NUMBERS[machine]["socket"]
    allowed = {family for family in range(64) if verdict(program, machine, socket, family) == ALLOW}
    assert allowed == {1, 2, 10, 16}
    assert verdict(program, machine, socket, 40) == EAFNOSUPPORT
    offline = seccomp.build(machine, internet=False)
    assert {family for family in range(64) if verdict(offline, machine, socket, family) == ALLOW} == {1}


def test_calls_by_another_architectures_numbers_kill() -> None:
    program = seccomp.build("x86_64")
    assert verdict(program, "x86_64", 0x40000000) == KILL
    assert verdict(program, "aarch64", 63) == KILL


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(seccomp.Unsupported):
        seccomp.build("s390x")


def test_the_kernel_takes_it_and_keeps_to_it() -> None:
    pid = os.fork()
    if pid == 0:
        linux.refuse_new_privileges()
        seccomp.load(seccomp.own_filter())
        os._exit(0 if seccomp.denied_call_is_refused() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not seccomp.denied_call_is_refused()


@machines
def test_the_numbers_are_those_of_libseccomp(machine: str) -> None:
    try:
        pyseccomp = importlib.import_module("pyseccomp")
    except (ImportError, RuntimeError) as missing:  # The second: there is no libseccomp to load.
        pytest.skip(str(missing))
    arch = {"x86_64": pyseccomp.Arch.X86_64, "aarch64": pyseccomp.Arch.AARCH64}[machine]
    listed = {**seccomp.call_numbers(machine), **NUMBERS[machine]}
    assert listed == {name: pyseccomp.resolve_syscall(arch, name) for name in listed}
