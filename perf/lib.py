"""What the scripts beside this file share: a broker under load, and saying that a machine does not allow something."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))
from broker import Broker, release_binary  # noqa: E402


def arguments(description, seconds, short_seconds=2, broker=True):
    """The options that all scripts have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--short", action="store_true", help="a few seconds, to see that the script works here")
    parser.add_argument("--seconds", type=float, default=None, help="how long to look (default: %g)" % seconds)
    if broker:
        parser.add_argument("--pid", type=int, help="a broker that runs already, under a load of your own; without it one is started and loaded")
        parser.add_argument("--saturate", action="store_true", help="load as fast as answered instead of 2,000 requests a second")
    return parser, lambda parsed: setattr(parsed, "seconds", parsed.seconds or (short_seconds if parsed.short else seconds))


def end(*_):
    """SIGTERM unwinds like any other end, so that the broker and the load do not outlive the script."""
    sys.exit(143)


signal.signal(signal.SIGTERM, end)


def not_here(why):
    """Ends the script without a failure: the machine does not allow what it needs."""
    print("not possible on this machine: " + why)
    sys.exit(0)


def figures(document):
    """The last step of a document of `odradek bench`."""
    return json.loads(document)["steps"][-1]


def have(tool):
    return shutil.which(tool) is not None


def produce_arguments(binary, bootstrap, seconds, saturate, partitions=16):
    load = ["--saturate", "--batch-bytes", "15872", "--connections", "16", "--in-flight", "4"] if saturate else ["--rate", "2000"]
    return [str(binary), "bench", "produce", "--bootstrap", bootstrap, "--partitions", str(partitions), "--warm-up", "0.5",
            "--duration", str(seconds), "--json", *load]


def produce(binary, bootstrap, seconds, saturate):
    """One run of the load generator: its JSON."""
    done = subprocess.run(produce_arguments(binary, bootstrap, seconds, saturate), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit("the load generator failed:\n" + done.stdout + done.stderr)
    return figures(done.stdout)


class Loaded:
    """A broker under load: `pid`, and after the end of the block `result` of the generator (nothing for a broker of the caller's)."""

    def __init__(self, pid, generator=None):
        self.pid, self.generator, self.result = pid, generator, None


@contextlib.contextmanager
def loaded(args):
    """The broker of --pid, or one with two shards under load for at least the time that the block takes to look."""
    if args.pid:
        yield Loaded(args.pid)
        return
    with tempfile.TemporaryDirectory(prefix="odradek-perf-") as directory, Broker(directory, shards=2) as broker:
        # The load starts before and ends after what looks at it.
        command = produce_arguments(release_binary(), broker.bootstrap, args.seconds + 3, args.saturate)
        generator = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        run = Loaded(broker.process.pid, generator)
        try:
            await_load(broker.process.pid, generator)
            yield run
            out, error = generator.communicate(timeout=args.seconds + 60)
            if generator.returncode != 0:
                raise SystemExit("the load generator failed:\n" + out + error)
            run.result = figures(out)
        finally:
            if generator.poll() is None:
                generator.kill()
                generator.wait()


def await_load(pid, generator):
    """Returns when the broker uses CPU, which it does not before the first request."""
    import time
    used = lambda: sum(int(field) for field in Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[11:13])
    before, deadline = used(), time.monotonic() + 30
    while used() < before + 5 and time.monotonic() < deadline:
        if generator.poll() is not None:
            raise SystemExit("the load generator ended early:\n" + "".join(generator.communicate()))
        time.sleep(0.02)


def threads(pid):
    """Thread ids and names of a process."""
    found = {}
    for task in os.listdir("/proc/%d/task" % pid):
        with contextlib.suppress(OSError):
            found[int(task)] = Path("/proc/%d/task/%s/comm" % (pid, task)).read_text().strip()
    return found


def tracepoints(*names):
    """Whether perf is there and may record these events."""
    if not have("perf"):
        return False
    with tempfile.TemporaryDirectory() as directory:
        events = [part for name in names for part in ("-e", name)]
        trial = subprocess.run(["perf", "record", "-q", "-o", directory + "/x", *events, "--", "true"], capture_output=True)
        return trial.returncode == 0
