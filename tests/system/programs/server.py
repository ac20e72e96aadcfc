"""Threads, processes, pipes and sockets of Python's library, behind its own server."""

import asyncio
import concurrent.futures
import http.server
import json
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import tempfile
import threading


def square(n):
    return n * n


def threads():
    seen = []
    workers = [threading.Thread(target=seen.append, args=(i,)) for i in range(16)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return len(seen) == 16


def processes():
    done = subprocess.run(["/bin/busybox", "cat"], input=b"hello", stdout=subprocess.PIPE, check=True)
    return done.stdout == b"hello" and subprocess.run("exit 7", shell=True, check=False).returncode == 7


def multi(method):
    context = multiprocessing.get_context(method)
    with context.Pool(2) as pool:
        return pool.map(square, range(5)) == [0, 1, 4, 9, 16]


def shared():
    value = multiprocessing.Value("i", 0)
    workers = [multiprocessing.Process(target=add, args=(value,)) for _ in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return value.value == 200


def add(value):
    for _ in range(100):
        with value.get_lock():
            value.value += 1


def executor():
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        return sum(pool.map(square, range(4))) == 14


async def talk():
    async def answer(reader, writer):
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"echo\n")
        line = await reader.readline()
        child = await asyncio.create_subprocess_exec("/bin/busybox", "true")
        return line == b"echo\n" and await child.wait() == 0


def database():
    with tempfile.TemporaryDirectory() as directory:
        db = sqlite3.connect(directory + "/db")
        db.execute("pragma journal_mode=wal")
        db.execute("create table t (n)")
        db.executemany("insert into t values (?)", [(i,) for i in range(10)])
        db.commit()
        return db.execute("select sum(n) from t").fetchone() == (45,)


def names():
    return socket.getaddrinfo("localhost", 80)[0][4][0] == "127.0.0.1" and os.cpu_count() > 0


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        checks = {
            "threads": threads,
            "processes": processes,
            "fork": lambda: multi("fork"),
            "spawn": lambda: multi("spawn"),
            "forkserver": lambda: multi("forkserver"),
            "shared": shared,
            "executor": executor,
            "asyncio": lambda: asyncio.run(talk()),
            "sqlite": database,
            "names": names,
        }
        body = json.dumps({k: bool(f()) for k, f in checks.items()}).encode() if self.path == "/check" else b"{}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    http.server.ThreadingHTTPServer(("", 3000), Handler).serve_forever()
