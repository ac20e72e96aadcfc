"""The daemons themselves: what they have given up, seen from outside."""

from fndtest import fnctl, process_status

# SYS_ADMIN NET_ADMIN SETUID SETGID SETPCAP CHOWN DAC_OVERRIDE FOWNER KILL MKNOD SYS_CHROOT SYS_PTRACE NET_BIND_SERVICE
RUNNER_CAPABILITIES = sum(1 << n for n in (21, 12, 7, 6, 8, 0, 1, 3, 5, 27, 18, 19, 10))


def test_runner_is_bounded(daemon):
    """A capability set and a filter; what it starts under them works."""
    status = process_status(daemon.pid)
    assert status["Seccomp"] == "2" and int(status["Seccomp_filters"]) >= 1
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(status[name], 16) & ~RUNNER_CAPABILITIES == 0, (name, status[name])
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert int(process_status(daemon.gateway_pid)["Seccomp_filters"]) >= 2
    fnctl("deploy", "hello")
