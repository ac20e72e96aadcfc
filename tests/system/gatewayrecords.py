"""The records of include/record.h as ctypes structures, and what they are numbered: gatewayhost.py's Runner speaks them."""

import ctypes
import ipaddress
import os
import re


def record_types(*names):
    """Their numbers, as include/record.h counts them."""
    with open(os.path.join(os.path.dirname(__file__), "../../include/record.h"), encoding="utf-8") as f:
        body = re.sub(r"/\*.*?\*/", "", re.search(r"enum record_type \{(.*?)\}", f.read(), re.DOTALL)[1], flags=re.DOTALL)
    order = [word.strip() for word in body.split(",")]
    return [order.index("RECORD_" + name) for name in names]


HELLO, READY, UNHEALTHY, IDLE, WELCOME, FUNCTION, INSTANCE, SYNCED, SETTINGS, FILE, FILES = record_types(
    "HELLO", "READY", "UNHEALTHY", "IDLE", "WELCOME", "FUNCTION", "INSTANCE", "SYNCED", "SETTINGS", "FILE", "FILES")
CERTIFICATE, KEY, ACME = 0, 1, 2
STATS_GET, STATS, REPLY = record_types("STATS_GET", "STATS", "REPLY")
REPORTS = {READY: "ready", UNHEALTHY: "unhealthy", IDLE: "idle"}
GONE_FUNCTION, ACTIVE, STOPPED = 0, 1, 2
STARTING, READY_STATE, DRAINING, GONE = 2, 3, 4, 5


class Head(ctypes.Structure):
    _fields_ = [("type", ctypes.c_uint32), ("size", ctypes.c_uint32), ("id", ctypes.c_uint64)]


class FnId(ctypes.Structure):
    _fields_ = [("env", ctypes.c_char * 58), ("name", ctypes.c_char * 58)]


def u32(names):
    return [(n, ctypes.c_uint32) for n in names.split()]


def u64(names):
    return [(n, ctypes.c_uint64) for n in names.split()]


class Welcome(ctypes.Structure):
    _fields_ = ([("head", Head)] + u32("protocol start_timeout_ms drain_timeout_ms metrics_public") + u64("max_body_bytes max_archive_bytes") +
                u32("max_connections max_connections_per_client max_requests_per_function threads") + [("runner_version", ctypes.c_char * 32)])


class Function(ctypes.Structure):
    _fields_ = ([("head", Head), ("function", ctypes.c_uint64), ("fn", FnId)] +
                u32("state version scale wanted port concurrency queue health_threshold scale_min scale_max cpu_milli pids") +
                u64("memory_bytes tmp_bytes timeout_ns health_interval_ns queue_timeout_ns stream_idle_ns image_bytes deployed_real_ns") + u32("restarts crash_loop") + u64("retry_mono_ns") +
                [("image", ctypes.c_char * 65), ("application", ctypes.c_char * 64), ("health_path", ctypes.c_char * 256), ("last_failure", ctypes.c_char * 256),
                 ("last_failed_instance", ctypes.c_char * 65), ("network", ctypes.c_char * 256)])


class Instance(ctypes.Structure):
    _fields_ = ([("head", Head)] + u64("instance function") + [("name", ctypes.c_char * 65)] + u32("state version slot addr port") + [("pid", ctypes.c_int32)] +
                u32("uid") + u64("started_real_ns ready_ns") + [("health_path", ctypes.c_char * 256), ("text", ctypes.c_char * 256)])


def source(path):
    with open(os.path.join(os.path.dirname(__file__), "../..", path), encoding="utf-8") as f:
        return re.sub(r"/\*.*?\*/", "", f.read(), flags=re.DOTALL)


class Nets(ctypes.Structure):
    """struct ip_nets: nets("10.0.0.0/8", ...) makes one."""

    class Net(ctypes.Structure):
        _fields_ = [("ip", ctypes.c_uint8 * 16), ("bits", ctypes.c_uint32)]

    _fields_ = [("count", ctypes.c_uint32), ("nets", Net * 32)]


def nets(*networks):
    made = Nets(count=len(networks))
    for to, text in zip(made.nets, networks):
        net = ipaddress.ip_network(text)
        v4 = net.version == 4
        to.ip[:] = (b"\0" * 10 + b"\xff\xff" if v4 else b"") + net.network_address.packed
        to.bits = net.prefixlen + 96 * v4
    return made


def settings_fields():
    """struct settings as include/settings.h has it, so that a new key needs nothing here."""
    types = {"uint64_t": ctypes.c_uint64, "uint32_t": ctypes.c_uint32, "bool": ctypes.c_bool, "struct ip_nets": Nets}
    out = []
    for line in re.search(r"struct settings \{(.*?)\n\}", source("include/settings.h"), re.DOTALL)[1].split(";")[:-1]:
        kind, names = re.fullmatch(r"\s*((?:struct )?\w+)\s+(.*)", line, re.DOTALL).groups()
        for name in names.split(","):
            size = re.fullmatch(r"\s*(\w+)(?:\[(\w+)\])?", name)
            out.append((size[1], (ctypes.c_char * int(size[2])) if kind == "char" else types[kind]))
    return out


def settings_defaults():
    """What settings_init() sets."""
    values = re.findall(r"s->(\w+) = ([^;]*);", source("runner/base/settings.c"))
    units = {"NS_PER_SEC": 10**9, "NS_PER_MS": 10**6, "true": True, "false": False}
    return {k: eval(v.replace("ULL", "").replace("U", ""), {}, units) for k, v in values}  # pylint: disable=eval-used


class Settings(ctypes.Structure):
    _fields_ = [("head", Head)] + settings_fields()


class File(ctypes.Structure):
    _fields_ = [("head", Head)] + u32("kind reserved") + [("name", ctypes.c_char * 256)]


class Files(ctypes.Structure):
    _fields_ = [("head", Head)] + u32("count reserved")


class Stats(ctypes.Structure):
    _fields_ = ([("head", Head)] + u64("instance memory_bytes memory_max_bytes cpu_ns throttled_ns io_read_bytes io_write_bytes") +
                u32("pids pids_max cpu_milli cpu_max_milli oom_kills pids_refused throttled memory_high"))


class Reply(ctypes.Structure):
    _fields_ = [("head", Head), ("err", ctypes.c_int32), ("text", ctypes.c_char * 508), ("function", ctypes.c_uint64)] + u32("version volumes") + u64("image_bytes") + u32("images reserved")


class Report(ctypes.Structure):
    _fields_ = [("head", Head), ("instance", ctypes.c_uint64), ("text", ctypes.c_char * 256)]


def record(cls, kind, **fields):
    return cls(head=Head(type=kind, size=ctypes.sizeof(cls)), **fields)
