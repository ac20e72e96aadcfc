"""The tables of the hostile suite: what each hostile function tries, and which mechanism keeps what apart. No test without a row, no row without a test (test_table.py); README.md shows the second table.

H21 and H42 are not given to anything.
"""

import dataclasses

OWN = "tests/hostile/"
SANDBOX = "tests/root/test_sandbox.c::"
SLOTS = "tests/root/test_netns_slots.c::"
GATEWAY = "tests/system/test_gateway.py::"
GATEWAY_INSTANCES = "tests/system/test_gateway_instances.py::"
LIMITS = "tests/system/test_limits.py::"
STDIO = "tests/system/test_stdio_edges.py::"
APPS = "tests/shims/test_python_apps.py::"
IMAGES = "tests/root/test_image_hostile.c::"


@dataclasses.dataclass(frozen=True)
class Row:
    number: str
    name: str
    action: str
    expectation: str
    proves: str  # the vulnerability that taught it, or what it shows
    tests: tuple = ()  # beside the test_hNN_* of this suite: PATH::NAME of tests that are elsewhere


ROWS = (
    Row("H01", "self-exe", "write its own, PID 1's and the parent's program through /proc, also as `#!/proc/self/exe` and as a link to it", "refused; fnd's programs unchanged; the daemon starts again", "CVE-2019-5736"),
    Row("H02", "descriptors", "look for open descriptors; start in /proc/self/fd/N; look into PID 1 and into what `fnctl exec` brings", "0, 1, 2 only; the directory is refused at deploy; PID 1 cannot be read, traced or borrowed from", "CVE-2024-21626, CVE-2016-9962",
        ("tests/root/test_join.c::test_watched", "tests/system/test_exec.py::test_it_is_as_the_function")),
    Row("H03", "places", "an image whose /dev /proc /sys /tmp /etc are links to the host, files or FIFOs", "refused, or started safely; the host's tree keeps its bytes and times", "CVE-2026-41579, CVE-2026-47766, CVE-2025-24965"),
    Row("H04", "races", "swap a directory and a link in a volume that others start on", "no mount and no write goes elsewhere; volumes inside one another are refused", "CVE-2021-30465, CVE-2018-15664"),
    Row("H05", "planted null", "an image whose /dev/null is a link to core_pattern", "masks are made of our own node", "CVE-2025-31133"),
    Row("H06", "planted terminals", "an image with /dev/console and /dev/pts/0 as links", "they are not there", "CVE-2025-52565"),
    Row("H07", "planted proc", "an image with files at the places in /proc to which a runtime writes", "ids, limits and oom_score_adj are those that were asked for", "CVE-2025-52881, CVE-2019-19921, CVE-2019-16884"),
    Row("H08", "cgroup files", "mount cgroups, write release_agent", "refused; no cgroup is visible", "CVE-2022-0492"),
    Row("H09", "namespaces", "make each kind of namespace by unshare, clone, clone3, setns", "EPERM, clone3 ENOSYS; threads, posix_spawn and a shell work", "CVE-2022-0185, CVE-2023-0386, CVE-2024-1086", (SANDBOX + "test_calls",)),
    Row("H10", "signals", "kill everything that can be named", "its own processes end, nobody else's", "pid namespace"),
    Row("H11", "device nodes", "mknod, nodes in the archive, open /dev/mem, kvm, fuse ...", "EPERM, refused or dropped, ENOENT", "device access", ("tests/root/test_unpack.c::test_special",)),
    Row("H12", "walks", "open_by_handle_at, chroot, pivot_root, `..` to the end; own capabilities", "EPERM; nothing above /; all five sets empty, no_new_privs, seccomp", "CVE-2014-9357 (shocker), CVE-2022-24769", (SANDBOX + "test_identity",)),
    Row("H13", "mounts", "mount, umount, remount, fsopen, open_tree, move_mount, mount_setattr", "EPERM", "mounts are the plan's", (SANDBOX + "test_calls",)),
    Row("H14", "setuid", "setuid, setgid and file capabilities in the archive", "stripped; they run without privilege", "privilege from files", ("tests/system/test_bad_input.py::test_setuid_is_stripped",)),
    Row("H15", "writing", "write everywhere", "EROFS but in /tmp, /run, /dev/shm, which share one limit", "read-only root", (SANDBOX + "test_files",)),
    Row("H16", "keys", "add_key, request_key, keyctl; /proc/keys", "EPERM; masked", "keys have no namespace"),
    Row("H17", "terminals", "TIOCSTI, TIOCLINUX, with garbage in the upper half", "EPERM", "CVE-2017-5226, CVE-2019-10063, CVE-2023-1523", (SANDBOX + "test_calls",)),
    Row("H18", "socket families", "every family 0..45 with every type", "unix, inet, inet6; no netlink, raw, packet, vsock, alg", "CVE-2025-21756 (vsock), AF_ALG", (SANDBOX + "test_calls",)),
    Row("H19", "all system calls", "every number, x32 and i386; argument filters at their bounds", "the allow-list; foreign calls kill", "GHSA-4q85-33p6-j5g6", ("tests/root/test_filter_matrix.c::test_matrix", SANDBOX + "test_calls")),
    Row("H20", "kernel interfaces", "bpf, perf, userfaultfd, io_uring, kexec, modules, clocks, personality", "EPERM or ENOSYS; personality(0) works", "rarely used kernel code", (SANDBOX + "test_calls",)),
    Row("H22", "fork bomb", "fork to the limit", "pids.max holds; gone within a second of cgroup.kill; the neighbour answers", "CWE-400", (LIMITS + "test_pids_limit",)),
    Row("H23", "memory bombs", "anonymous, tmpfs, memfd, shm, pipes, sockets, inodes, dentries, epoll, queues", "within the limit; the instance dies as a whole; the host keeps its memory", "memory.max, oom.group", (LIMITS + "test_memory_hog_hurts_only_itself",)),
    Row("H24", "processor", "threads that spin; SCHED_FIFO, nice -20", "the quota and 5 %; EPERM", "cpu.max", (LIMITS + "test_cpu_limit",)),
    Row("H25", "crashes", "large processes that crash, again and again", "no core file, no dump handler", "RLIMIT_CORE 1"),
    Row("H26", "log flood", "output without end, without lines, binary", "bounded; the daemons do not grow; the writer is not blocked", "ring log", ("tests/system/test_requirements.py::test_log_is_bounded_and_the_last_eight_stay",)),
    Row("H27", "descriptors and connections", "files and connections without end", "the limit holds; others are served", "RLIMIT_NOFILE, listeners' places", (GATEWAY_INSTANCES + "test_full_house_leaves_the_api_open",)),
    Row("H28", "link layer", "another address, MAC or ARP as root of the slot's network", "dropped; the sibling's traffic goes on", "spoofing on a bridge", (SLOTS + "test_spoofed_source", SLOTS + "test_siblings")),
    Row("H29", "connect sweep", "siblings, gateway, host, loopback, metadata, multicast, IPv6", "nothing can be reached but what the policy opens", "CVE-2020-15257 and its kind", (SLOTS + "test_metadata", LIMITS + "test_no_network_but_answers")),
    Row("H30", "abstract sockets", "connect to the host's abstract sockets; look for the service manager's variables", "ECONNREFUSED; not there", "CVE-2020-15257"),
    Row("H31", "proc and sys", "read and write 163 places", "the golden list", "GHSA-6fw5-f8r9-fgfm, GHSA-jq35-85cj-fj4p"),
    Row("H32", "what it knows", "mountinfo, names, cgroup path", "the golden list; no host path, no other function", "information about the host", (SANDBOX + "test_mounts",)),
    Row("H33", "users", "use up what is counted per user", "another function has its own", "one id range per slot", (SANDBOX + "test_userns_owner", LIMITS + "test_unprivileged_uid_of_its_own_outside")),
    Row("H34", "archives", "absolute and climbing names, links, nodes, bombs, pax, duplicates, truncated ...", "refused or made harmless; limits hold while unpacking; nothing partial", "zip slip and its kind",
        ("tests/root/test_unpack.c::test_names", "tests/root/test_unpack.c::test_symlinks", "tests/root/test_unpack.c::test_hard_links", "tests/root/test_unpack.c::test_replaced", "tests/root/test_unpack.c::test_pax",
         "tests/root/test_unpack_limits.c::test_bytes", "tests/root/test_unpack_limits.c::test_many_entries", "tests/root/test_unpack_limits.c::test_sparse", "tests/root/test_unpack_limits.c::test_truncated",
         "tests/root/test_unpack_corpus.c::test_long_names", "tests/root/test_unpack_corpus.c::test_attributes", "tests/root/test_unpack_corpus.c::test_whiteouts", "tests/root/test_unpack_corpus.c::test_zero_bombs",
         "tests/root/test_unpack_jail.c::test_confined", "tests/system/test_bad_input.py::test_hostile_archive_is_refused")),
    Row("H35", "orphans", "10,000 children whose parents are gone", "all reaped", "duties of PID 1", (SANDBOX + "test_term", SANDBOX + "test_exec_fails")),
    Row("H36", "unkillable", "deaf, stopped, in vfork, frozen", "gone within half a second of cgroup.kill (longer in an emulated machine)", "cgroup.kill", (SANDBOX + "test_killed",)),
    Row("H37", "hostile answers", "broken, doubled, endless, poisoned HTTP responses", "502 or a cut; the connection is not used again", "response smuggling",
        (GATEWAY + "test_broken_answers", GATEWAY + "test_bytes_behind_an_answer_poison_nothing", GATEWAY_INSTANCES + "test_endless_interim_answers", GATEWAY + "test_early_answer", GATEWAY + "test_heads_without_body",
         APPS + "test_asgi_that_says_another_length", "tests/system/test_stdio_edges.py::test_connections")),
    Row("H38", "request smuggling", "requests that two parsers would read differently", "400 and closed; one request arrives", "request smuggling", (GATEWAY + "test_smuggling_table", GATEWAY + "test_broken_chunks", GATEWAY + "test_request_lines",
         APPS + "test_asgi_health_check_with_a_body")),
    Row("H39", "health checks", "no answer, endless, slow, 302, flapping", "time limits, backoff, no storm of starts", "health checks", (GATEWAY_INSTANCES + "test_not_ready_in_time", GATEWAY_INSTANCES + "test_unhealthy_later", "tests/system/test_crash.py::test_function_that_begins_to_die_is_a_crash_loop")),
    Row("H40", "odd lives", "fill /tmp, end at once, daemonise, die again and again", "explained; the neighbour answers", "state machine"),
    Row("H41", "oom score", "lower oom_score_adj", "EACCES", "the kernel's choice of victims"),
    Row("H43", "namespace numbers", "compare with the host's and another function's", "all eight differ", "namespaces"),
    Row("H44", "shared image", "write, map, splice, /proc/self/mem on the image", "its bytes stay", "CVE-2022-0847, CVE-2016-5195"),
    Row("H45", "shared inodes", "locks, leases, watches, mincore on a file of an image that two functions share", "neither sees nor blocks the other", "one overlay per instance"),
    Row("H46", "IPC", "System V, POSIX queues, /dev/shm of another function", "not there", "ipc namespace"),
    Row("H47", "clocks", "read them, set them, move the time namespace", "read only", "time namespace"),
    Row("H48", "earlier lives", "look for what an earlier instance left", "nothing", "slots are thrown away"),
    Row("H49", "a process per request", "look into the server of mode stdio, signal it, fill its places; forks, sessions, zombies and floods that outlive a request; stop other requests; name the proxy by a header",
        "the server goes on; all of a request dies with it; the next one is answered", "httpoxy (CVE-2016-5385), a watchdog that kills its child alone",
        (STDIO + "test_attacks_on_the_server", STDIO + "test_what_is_left_behind", STDIO + "test_flood_of_errors", STDIO + "test_odd_fields", "tests/system/test_stdio.py::test_cannot_reach_the_server",
         "tests/unit/test_stdio.c::test_keyed_filter", "tests/unit/test_stdio.c::test_ids_become")),
    Row("H50", "images", "layers with climbing names, links, whiteouts and bombs; digests that lie; endless JSON; labels that ask for more", "refused or confined as a package is; what a label asks for is said", "CVE-2019-14271 and its kind",
        (IMAGES + "test_hostile_layers", IMAGES + "test_symlinks_stay_inside", IMAGES + "test_limits", IMAGES + "test_digests", IMAGES + "test_json_bounds", IMAGES + "test_bad_layers", "tests/system/test_export.py::test_hostile_labels")),
    Row("H51", "a stranger's directory", "symlinks to elsewhere, FIFOs and devices in what root deploys, builds or watches, changed while it is read", "nothing outside is read, shown, sent or given away", "CVE-2021-30465 on the caller's side",
        ("tests/unit/test_project.c::test_links_out", "tests/unit/test_project.c::test_code_elsewhere", "tests/unit/test_ctl_pack.c::test_refusals", "tests/unit/test_ctl_pack.c::test_changes_while_it_is_read")),
    Row("H52", "gateway taken over", "records of every kind, bent; stray descriptors; uploads that never end, exports into what is no pipe", "the runner goes on; nothing is left", "no trust in what parses the Internet",
        ("tests/system/test_hostile_gateway.py::test_hostile_gateway",)),
)


@dataclasses.dataclass(frozen=True)
class Mechanism:
    name: str
    does: str
    test: str  # PATH::NAME


def own(name):
    for module, numbers in (("test_bombs.py", ("h22", "h23", "h24", "h25", "h26", "h27", "h27b", "h35", "h40b")), ("test_neighbours.py", ("h28", "h29", "h30", "h31", "h32", "h33", "h45", "h46", "h48"))):
        if name.split("_")[1] in numbers:
            return f"{OWN}{module}::{name}"
    return f"{OWN}test_hostile.py::{name}"


MECHANISMS = (
    Mechanism("user namespace, ids of its own", "65536 ids per slot, used by nobody else; the namespace belongs to one of them, so counters per user are its own too", own("test_h33_users_are_apart")),
    Mechanism("pid, mount, network, uts, ipc namespaces", "one of each per instance", own("test_h43_namespaces_are_not_the_hosts")),
    Mechanism("cgroup and time namespaces", "one of each per instance", own("test_h43_namespaces_are_not_the_hosts")),
    Mechanism("pivot_root, old root detached", "before anything of the image is executed", own("test_h12_handles_chroot_and_walks")),
    Mechanism("read-only root, sized temporary space", "an overlay of the instance's own; /tmp, /run, /dev/shm share one sized tmpfs", own("test_h15_only_tmp_run_and_shm_can_be_written")),
    Mechanism("nosuid, nodev", "on every mount; only /dev itself has nodes, and cannot be written", own("test_h32_mountinfo_and_identity_show_no_host")),
    Mechanism("masked places in /proc", "17, by our own null node or an empty directory, through descriptors", own("test_h31_proc_and_sys")),
    Mechanism("read-only /proc/sys, irq, bus, fs", "remounted before the function starts", own("test_h31_proc_and_sys")),
    Mechanism("/sys", "absent", own("test_h31_proc_and_sys")),
    Mechanism("/dev", "null, zero, full, random, urandom; no terminal", own("test_h05_h06_h07_planted_nodes_and_proc")),
    Mechanism("device access", "no nodes can be made (user namespace), opened (nodev) or unpacked", own("test_h11_device_nodes")),
    Mechanism("no_new_privs", "always", own("test_h14_setuid_and_file_capabilities")),
    Mechanism("capabilities", "all five sets empty, securebits locked", own("test_h12_handles_chroot_and_walks")),
    Mechanism("seccomp", "an allow-list by name; EPERM for what is refused, ENOSYS for what a kernel may add; x32 and i386 are killed", own("test_h19_foreign_calls")),
    Mechanism("arguments of calls", "namespace flags, personality, TIOCSTI, TIOCLINUX, core limit; as 32 bits where the kernel looks at 32", own("test_h17_terminal_injection")),
    Mechanism("socket families", "unix, inet, inet6", own("test_h18_socket_families")),
    Mechanism("rlimits", "files, core, locked memory, queues, signals, nice, real-time", own("test_h05_h06_h07_planted_nodes_and_proc")),
    Mechanism("memory", "max, no swap, the instance dies as a whole", own("test_h23_memory_bombs")),
    Mechanism("processor", "quota and weight", own("test_h24_processor")),
    Mechanism("processes", "pids.max", own("test_h22_fork_bomb")),
    Mechanism("cgroup.kill", "ends whatever does not end", own("test_h36_unkillable")),
    Mechanism("keyring", "a session keyring of its own; the calls are refused", own("test_h16_keys")),
    Mechanism("/proc/self/exe", "fn-init is a sealed copy in memory; nothing of the host's is executed inside", own("test_h01_runtime_cannot_be_overwritten")),
    Mechanism("descriptors", "all closed last; working directories only inside", own("test_h02_descriptors_and_working_directory")),
    Mechanism("path races", "openat2 below the new root, no symlinks, no magic links; mounts through descriptors", own("test_h03_places_of_the_plan_are_something_else_in_the_image")),
    Mechanism("shared images", "no lock, lease or watch crosses from one function to another", own("test_h45_locks_and_watches_on_a_shared_image")),
    Mechanism("isolated ports, no spoofing", "bridge ports cannot reach each other; source addresses are checked twice; ARP and other frames are dropped and counted", own("test_h28_frames_of_somebody_else")),
    Mechanism("metadata and link-local addresses", "always dropped", own("test_h29_nothing_can_be_reached_but_what_the_policy_opens")),
    Mechanism("server of mode stdio", "another user than its processes, which reach neither it nor the cgroups of requests", "tests/system/test_stdio.py::test_cannot_reach_the_server"),
    Mechanism("a request's processes", "one cgroup, killed with the request; one user with those of other requests of the instance: concurrency = 1 separates", STDIO + "test_what_is_left_behind"),
)


def readme_lines():
    return ["| mechanism | what fnd does | proven by |", "|---|---|---|"] + [f"| {m.name} | {m.does} | `{m.test.rsplit('::')[-1]}` |" for m in MECHANISMS]


def result(names, passed, failed):
    ran = [n for n in names if n in passed | failed]
    return "FAIL" if any(n in failed for n in ran) else "ok" if ran else "-"


def tests_of(row, names):
    return [n for n in names if row.number.lower() in n.split("_")[1:4] or n.startswith(f"test_{row.number.lower()}")]


def report(passed, failed, waivers, latencies):
    """What this run has shown: the hostile functions, then the mechanisms. `-` is proven by a test of another suite, or was not run."""
    lines = ["", "hostile functions:"]
    names = passed | failed
    for row in ROWS:
        lines.append(f"  {row.number}  {result(tests_of(row, names), passed, failed):4}  {row.name}: {row.expectation}")
    lines += ["", "isolation:"]
    width = max(len(m.name) for m in MECHANISMS)
    for m in MECHANISMS:
        name = m.test.rsplit("::")[-1]
        lines.append(f"  {result([name], passed, failed):4}  {m.name:{width}}  {m.does} ({name})")
    lines += ["", "the neighbour's 99th percentile meanwhile (of a host that may have other work):"]
    lines += [f"  {p99:7.1f} ms of {count:5} requests  {name}" for name, (p99, count) in latencies.items()]
    lines += [f"waived: {what}: {why}" for what, why in sorted(waivers.items())]
    return lines + [""]
