#!/usr/bin/env python3
"""Installs the clients, runs client x case against a broker, prints what differs and a summary; exits 1 on any failure.

A client program prints a line `client case pass|fail|n/a ...` per case. A case without a line, and an `n/a` that is not listed in NOT_OFFERED,
are failures: nothing goes missing quietly.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENTS = HERE / "clients"
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(CLIENTS / "python"))
from broker import REPOSITORY, Broker, cache_folder  # noqa: E402
from raw import stored_codecs  # noqa: E402
from suite import CASES  # noqa: E402

CLIENT_SECONDS = 600
ADMIN = {"admin-topics", "admin-configs", "admin-partitions", "admin-delete-records", "admin-groups"}
NOT_OFFERED = {
    "kcat": ADMIN | {"timestamps"},
    "kafkajs": set(),
}


def run(arguments, **options):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        sys.exit("%s failed:\n%s" % (" ".join(map(str, arguments)), done.stdout[-4000:]))
    return done.stdout


def installed(name, sources, make):
    """A folder of the cache that belongs to the content of `sources`; `make(folder)` fills it once."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(Path(source).read_bytes())
    folder = cache_folder() / ("%s-%s" % (name, digest.hexdigest()[:12]))
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print("installing %s" % name, flush=True)
        make(folder)
        (folder / "complete").touch()
    return folder


def java(profile):
    """The classpath of the Java cases with one version of kafka-clients."""
    home = CLIENTS / "java"
    sources = [home / "all" / "Cases.java", home / profile / "Shim.java"]

    def make(folder):
        run(["mvn", "-q", "-B", "-f", home / "pom.xml", "-P", profile, "dependency:copy-dependencies", "-DoutputDirectory=%s" % (folder / "jars")])
        run(["javac", "--release", "11", "-nowarn", "-Xlint:none", "-cp", "%s/jars/*" % folder, "-d", folder / "classes", *sources])

    folder = installed("java-" + profile, [home / "pom.xml", *sources], make)
    return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", "%s/classes:%s/jars/*" % (folder, folder), "Cases"]


def go():
    home = CLIENTS / "go"
    make = lambda folder: run(["go", "build", "-buildvcs=false", "-o", folder / "cases", "."], cwd=home)  # noqa: E731
    return [str(installed("go", [home / "main.go", home / "go.mod", home / "go.sum"], make) / "cases")]


def javascript():
    home = CLIENTS / "javascript"

    def make(folder):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(home / name, folder)
        run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder)

    folder = installed("javascript", [home / "package.json", home / "package-lock.json"], make)
    shutil.copy(home / "cases.js", folder)
    return ["node", str(folder / "cases.js")]


def kcat():
    if not shutil.which("kcat"):
        sys.exit("kcat is missing: apt-get install kcat")
    return [sys.executable, str(CLIENTS / "python" / "kcat_client.py")]


COMMANDS = {
    "java-4.3.1": lambda: [*java("current"), "java-4.3.1"],
    "java-2.1.0": lambda: [*java("floor"), "java-2.1.0"],
    "confluent-kafka": lambda: [sys.executable, str(CLIENTS / "python" / "confluent_client.py")],
    "kcat": kcat,
    "kafka-python": lambda: [sys.executable, str(CLIENTS / "python" / "kafka_python_client.py")],
    "franz-go": go,
    "kafkajs": javascript,
}


def run_client(name, command, bootstrap, prefix, cases):
    """{case: (verdict, detail)} of one client."""
    arguments = [*command, bootstrap, "%s-%s" % (prefix, name), *cases]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
        guard = threading.Timer(CLIENT_SECONDS, process.kill)
        guard.start()
        results = {}
        for line in process.stdout:
            words = line.rstrip("\n").split(" ", 3)
            if len(words) >= 3 and words[0] == name and words[1] in CASES and words[2] in ("pass", "fail", "n/a"):
                results[words[1]] = (words[2], words[3] if len(words) > 3 else "")
        code = process.wait()
        guard.cancel()
        errors.seek(0)
        said = " ".join(errors.read()[-400:].split())
    for case in cases or CASES:
        verdict, detail = results.get(case, ("fail", "no result; the client ended with %d: %s" % (code, said)))
        if verdict == "n/a" and case not in NOT_OFFERED.get(name, ()):
            verdict, detail = "fail", "n/a is not expected here: " + detail
        if verdict == "pass" and case.startswith("codec-"):
            verdict, detail = codec_is_stored(bootstrap, "%s-%s-%s" % (prefix, name, case), case[6:], detail)
        results[case] = (verdict, detail)
    return results


def codec_is_stored(bootstrap, topic, codec, detail):
    """A client that quietly sends uncompressed batches would pass its own case."""
    try:
        stored = stored_codecs(bootstrap, topic)
    except Exception as e:
        return "fail", "raw fetch: %r" % e
    return ("pass", detail) if stored == {codec} else ("fail", "batches are stored with %s" % sorted(stored))


def run_all(commands, bootstrap, cases, jobs, label):
    prefix = "c%x" % (time.time_ns() // 1_000_000 & 0xFFFFFFF)
    results, started = {}, time.monotonic()
    with ThreadPoolExecutor(jobs) as pool:
        running = {name: pool.submit(run_client, name, command, bootstrap, prefix, cases) for name, command in commands.items()}
        for name, future in running.items():
            results[name] = future.result()
            for case, (verdict, detail) in results[name].items():
                if verdict == "fail":
                    print("%s: %s %s fail %s" % (label, name, case, detail), flush=True)
    print("%s: %.0f s" % (label, time.monotonic() - started), flush=True)
    return results


def table(by_label):
    """Markdown: one table of client x case, a cell for all modes."""
    names = list(next(iter(by_label.values())))
    lines = [
        "# Clients",
        "",
        "Made by `tests/compat/run --table`: unmodified clients against the release binary, "
        + " and ".join("`%s`" % label for label in by_label)
        + ". What each case does: [tests/compat/README.md](../tests/compat/README.md).",
        "",
        "| case | " + " | ".join(names) + " |",
        "|---|" + "---|" * len(names),
    ]
    for case in CASES:
        cells = []
        for name in names:
            verdicts = {label: results[name][case][0] for label, results in by_label.items() if case in results[name]}
            kinds = set(verdicts.values())
            cells.append(kinds.pop() if len(kinds) == 1 else ", ".join("%s: %s" % item for item in verdicts.items()))
        lines.append("| %s | %s |" % (case, " | ".join(cells)))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="tests/compat/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", help="a running broker; default: start the release binary")
    parser.add_argument("--advertise", choices=("cores", "node", "both"), default="both")
    parser.add_argument("--client", action="append", choices=list(COMMANDS), help="only this client (may be given more than once)")
    parser.add_argument("--case", action="append", choices=list(CASES), default=[], help="only this case (may be given more than once)")
    parser.add_argument("--table", action="store_true", help="write docs/CLIENTS.md")
    parser.add_argument("--jobs", type=int, default=2, help="clients at a time")
    parser.add_argument("--install-only", action="store_true")
    options = parser.parse_args()

    commands = {name: COMMANDS[name]() for name in options.client or COMMANDS}
    if options.install_only:
        return 0
    by_label = {}
    if options.bootstrap:
        by_label[options.bootstrap] = run_all(commands, options.bootstrap, options.case, options.jobs, options.bootstrap)
    else:
        for advertise in ("cores", "node") if options.advertise == "both" else (options.advertise,):
            label = "odradek.advertise=" + advertise
            directory = tempfile.mkdtemp(prefix="odradek-compat-")
            broker = Broker(directory, advertise).start()
            try:
                by_label[label] = run_all(commands, broker.bootstrap, options.case, options.jobs, label)
                if not broker.running():
                    print("%s: the broker died:\n%s" % (label, broker.tail()))
                    return 1
                broker.stop()
            finally:
                if broker.running():
                    broker.kill()
            shutil.rmtree(directory)
    if options.table:
        (REPOSITORY / "docs").mkdir(exist_ok=True)
        (REPOSITORY / "docs" / "CLIENTS.md").write_text(table(by_label))
    verdicts = [verdict for results in by_label.values() for cases in results.values() for verdict, _ in cases.values()]
    passed, failed, skipped = (verdicts.count(v) for v in ("pass", "fail", "n/a"))
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(main())
