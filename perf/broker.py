"""A broker under measurement: started, killed, looked at. Shared by the scripts beside it."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port():
    """A port that is free, and with it the ports of the shards (10000 and up above it)."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port > 50000:
            port -= 20000
        if all(is_free(p) for p in (port, *range(port + 10000, port + 10008))):
            return port


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Broker:
    """One broker on a directory of its own. `overrides` are KEY=VALUE settings."""

    def __init__(self, binary=None, directory=None, overrides=()):
        self.binary = binary or os.environ.get("ODRADEK", os.path.join(ROOT, "target", "release", "odradek"))
        if not os.path.exists(self.binary):
            raise SystemExit(f"{self.binary} is not there: cargo build --release, or set ODRADEK to a binary")
        self.own = directory is None
        self.directory = directory or tempfile.mkdtemp(prefix="odradek-perf-")
        self.port = free_port()
        self.overrides = list(overrides)
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        """Starts it; returns the milliseconds to `ready` that it reports."""
        data = os.path.join(self.directory, "data")
        settings = [f"log.dirs={data}", f"listeners=PLAINTEXT://127.0.0.1:{self.port}", *self.overrides]
        command = [self.binary, "serve", *(part for s in settings for part in ("--override", s))]
        self.log = open(os.path.join(self.directory, "log"), "a")
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.log, text=True)
        for line in self.process.stdout:
            ready = re.match(r"ready after (\d+) ms", line)
            if ready:
                return int(ready.group(1))
        raise SystemExit(f"the broker ended before it was ready; see {self.log.name}")

    def stop(self):
        """A clean stop; returns its seconds."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.stdout.read()
        if self.process.wait() != 0:
            raise SystemExit(f"the broker did not stop cleanly; see {self.log.name}")
        return time.monotonic() - began

    def kill(self):
        self.process.kill()
        self.process.wait()

    def resident_kib(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def run(self, *arguments):
        """Runs an `odradek` command against the broker; returns what it prints."""
        done = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit(f"odradek {' '.join(arguments)} failed")
        return done.stdout

    def command(self, *arguments):
        return [self.binary, *arguments, "--bootstrap" if arguments[0] == "bench" else "--bootstrap-server", self.address]

    def bench(self, *arguments):
        """Runs `odradek bench`; returns its figures."""
        return figures(self.run("bench", *arguments, "--json"))

    def close(self, keep=False):
        if self.process and self.process.poll() is None:
            self.kill()
        if self.own and not keep:
            shutil.rmtree(self.directory)


def figures(document):
    """The last step of a document of `odradek bench`, with the number of errors and `latency`: of the produces, or of the fetches where there are none."""
    step = json.loads(document)["steps"][-1]
    return {**step, "errors": sum(step["errors"].values()), "latency": step["produce"] or step["fetch"]}


def table(rows):
    """Prints rows of (what, value) as Markdown."""
    print("| | |\n|---|---|")
    for what, value in rows:
        print(f"| {what} | {value} |")
