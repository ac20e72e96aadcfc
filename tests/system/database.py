"""A PostgreSQL server of Debian's, at an address of the world around the test host, as an unprivileged user."""

import contextlib
import glob
import os
import shutil
import subprocess

import world
from fndtest import run, wait_until

USER = 65534
PORT = 5432


class Database:
    def __init__(self, around, address):
        self.bin = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
        self.around, self.address, self.server = around, address, None
        self.top = "/tmp/postgresql"
        self.env = {"PGHOST": self.top, "PGUSER": "postgres", "PGDATABASE": "postgres"}
        os.mkdir(self.top)
        os.chown(self.top, USER, USER)
        self.must(self.command("initdb", "-D", f"{self.top}/data", "-U", "postgres", "--no-sync", "--locale=C", "--auth-local=trust", "--auth-host=scram-sha-256"))
        with open(f"{self.top}/data/pg_hba.conf", "a", encoding="ascii") as f:
            f.write("host all all 0.0.0.0/0 scram-sha-256\n")

    def command(self, name, *args):
        """Out there, and as nobody: PostgreSQL refuses root."""
        return ["nsenter", f"--net={self.around.path}", "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "env", "-C", self.top, "LC_ALL=C", f"{self.bin}/{name}", *args]

    @staticmethod
    def must(command):
        result = run(*command)
        assert result.status == 0, result
        return result.out

    def start(self):
        log = os.open(f"{self.top}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self.server = subprocess.Popen(self.command("postgres", "-D", f"{self.top}/data", "-k", self.top, "-h", self.address, "-p", str(PORT), "-F", "-c", "shared_buffers=8MB"), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        finally:
            os.close(log)
        wait_until(lambda: self.ask("select 1") == "1", what="the database")

    def ask(self, text, database="postgres"):
        """One statement as its administrator; rows as lines, columns between bars."""
        return self.must(["psql", "-X", "-A", "-t", "-c", text, f"host={self.top} user=postgres dbname={database}"]).strip()

    def stop(self):
        if self.server:
            self.server.send_signal(2)  # "fast": ends the sessions
            self.server.wait(30)
            self.server = None


@contextlib.contextmanager
def made(address):
    with world.made() as around:
        around.shell(f"ip addr add {address}/32 dev far")
        database = Database(around, address)
        try:
            database.start()
            yield database
        finally:
            database.stop()
            shutil.rmtree(database.top)
