"""Starts, kills and stops a broker for the tests under tests/: on loopback, on free ports, in a directory of its own."""

import os
import random
import shlex
import signal
import socket
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
READY_SECONDS = 60
STOP_SECONDS = 30
SHARD_PORT_OFFSET = 10000  # shard i listens on the bootstrap port + 10000 + i


def release_binary():
    """The release binary, or where it should be: $ODRADEK_BIN, else under the target directory."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return Path(os.environ.get("ODRADEK_BIN", target / "release" / "odradek"))


def cache_folder():
    """Where downloaded clients live between runs: never in the tree."""
    return Path(os.environ.get("ODRADEK_CACHE", Path(os.environ.get("TMPDIR", "/tmp")) / "odradek-cache"))


def free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_port(shards):
    """A bootstrap port that is free together with the shards' ports; all lie below the usual ephemeral range."""
    for _ in range(1000):
        port = random.randint(12000, 22000)
        if all(free(p) for p in [port, *range(port + SHARD_PORT_OFFSET, port + SHARD_PORT_OFFSET + shards)]):
            return port
    raise RuntimeError("no free ports between 12000 and 32700")


class Broker:
    """One broker process. `command` (with {config} for the properties file) starts another broker than Odradek."""

    def __init__(self, directory, advertise="cores", shards=2, command=None, bootstrap=None, settings=None):
        self.directory, self.shards = Path(directory), shards
        self.command = command
        self.process = None
        self.log_path = self.directory / "broker.log"
        self.data = self.directory / "data"
        self.directory.mkdir(parents=True, exist_ok=True)
        if bootstrap:
            self.bootstrap = bootstrap
        else:
            port = choose_port(shards)
            self.bootstrap = "127.0.0.1:%d" % port
            values = {
                "node.id": 1,
                "listeners": "PLAINTEXT://127.0.0.1:%d" % port,
                "log.dirs": self.data,
                "auto.create.topics.enable": "true",
                "group.initial.rebalance.delay.ms": 0,
                "offsets.topic.replication.factor": 1,
                "transaction.state.log.replication.factor": 1,
                "transaction.state.log.min.isr": 1,
                "odradek.shards": shards,
                "odradek.advertise": advertise,
                **(settings or {}),
            }
            (self.directory / "server.properties").write_text("".join("%s=%s\n" % item for item in values.items()))

    def start(self):
        config = self.directory / "server.properties"
        if self.command:
            arguments = shlex.split(self.command.replace("{config}", str(config)))
        else:
            arguments = [str(release_binary()), "serve", "--config", str(config)]
            if not release_binary().exists():
                raise SystemExit("%s is not there: cargo build --release first, or name it in ODRADEK_BIN" % release_binary())
        position = self.log_path.stat().st_size if self.log_path.exists() else 0
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.await_ready(position)
        return self

    def await_ready(self, position):
        host, port = self.bootstrap.split(":")
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("the broker ended with %d before it was ready:\n%s" % (self.process.returncode, self.tail()))
            text = self.log_path.read_bytes()[position:].decode(errors="replace")
            if self.command or "ready" in text:
                try:
                    socket.create_connection((host, int(port)), 1).close()
                    return
                except OSError:
                    pass
            time.sleep(0.01)
        raise RuntimeError("the broker is not ready after %d s:\n%s" % (READY_SECONDS, self.tail()))

    def kill(self):
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM; a broker that does not end, or not with 0, is an error."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError("the broker did not stop within %d s of SIGTERM:\n%s" % (STOP_SECONDS, self.tail())) from None
        if code != 0 and not self.command:
            raise RuntimeError("the broker ended with %d after SIGTERM:\n%s" % (code, self.tail()))

    def running(self):
        return self.process is not None and self.process.poll() is None

    def tail(self):
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return "\n".join("    " + line for line in lines[-20:])

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.running():
            self.kill()
