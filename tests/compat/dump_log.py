"""Fills a broker, stops it, and has org.apache.kafka.tools.DumpLogSegments read every file of its partitions."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from driver import CLIENTS, installed, run

from broker import Broker  # its folder is on the path through the driver

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
RECORDS, PARTITIONS = 3000, 2
TOOL_SECONDS = 300
FILES_AT_ONCE = 500


def tools():
    """The classpath of Kafka's tools."""
    pom = CLIENTS / "java" / "pom.xml"
    make = lambda folder: run(["mvn", "-q", "-B", "-f", pom, "-P", "tools", "dependency:copy-dependencies", "-DoutputDirectory=%s" % (folder / "jars")])  # noqa: E731
    return "%s/jars/*" % installed("kafka-tools", [pom], make)


def dump(classpath, files, *options):
    """The worst exit code and the whole output; the tool takes its files as one argument."""
    code, text = 0, ""
    for at in range(0, len(files), FILES_AT_ONCE):
        names = ",".join(str(file) for file in files[at : at + FILES_AT_ONCE])
        command = ["java", "-Xmx512m", "-cp", classpath, "org.apache.kafka.tools.DumpLogSegments", "--files", names, *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TOOL_SECONDS)
        code, text = code or done.returncode, text + done.stdout
    return code, text


def fill(bootstrap):
    """Records in every codec, enough for more than one segment; gives the number of records by topic."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    counts = {}
    for codec in CODECS:
        topic = "dump-" + codec
        admin.create_topics([NewTopic(topic, PARTITIONS, 1, config={"segment.bytes": "1048576", "index.interval.bytes": "4096"})])[topic].result(30)
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5, "batch.size": 20000})
        for i in range(RECORDS):
            value = bytes((i * 31 + j * j) & 0xFF for j in range(64)) * (1 + i % 30)
            producer.produce(topic, value, b"key-%d" % i, partition=i % PARTITIONS, headers=[("n", b"%d" % i)], timestamp=1_700_000_000_000 + i)
            producer.poll(0)
        assert producer.flush(60) == 0, "not all records were delivered"
        counts[topic] = RECORDS
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "dump", "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("dump-none", 0, 17)], asynchronous=False)
    consumer.close()
    return counts


def epoch_problems(folders, epochs):
    """Where `leader-epoch-checkpoint` does not say of a batch what the batch says of itself."""
    problems = []
    for folder in folders:
        file = folder / "leader-epoch-checkpoint"
        lines = file.read_text().splitlines() if file.exists() else ["0", "0"]
        starts = [tuple(map(int, line.split())) for line in lines[2:]]
        if lines[0] != "0" or int(lines[1]) != len(starts) or starts != sorted(starts):
            problems.append("%s is malformed: %s" % (file, lines[:5]))
        for base, epoch in epochs.get(folder, []):
            if starts and base < starts[0][1]:
                continue  # below the log start, where the checkpoint begins
            known = [start for start, first in starts if first <= base]
            if not known or known[-1] != epoch:
                problems.append("%s: the batch at %d is of epoch %d, the checkpoint says %s" % (file, base, epoch, starts[:5]))
                break
    return problems


def check(directory, counts):
    """Problems in the files below `directory`; `counts` says how many records a topic must have, where that is known."""
    classpath, problems = tools(), []
    folders = sorted({log.parent for log in directory.rglob("*.log") if log.parent.name[-1].isdigit() and not log.parent.name.startswith("__cluster_metadata")})
    logs = [log for folder in folders for log in sorted(folder.glob("*.log")) if log.stat().st_size]
    if not logs:
        return ["no segment files below %s" % directory]
    code, text = dump(classpath, logs, "--deep-iteration")
    if code or "Exception" in text or "isvalid: false" in text:
        problems.append("DumpLogSegments --deep-iteration ended with %d:\n%s" % (code, text[-1500:]))
    found, codecs, epochs, topic = {}, {}, {}, ""
    for line in text.splitlines():
        if line.startswith("Dumping "):
            folder = Path(line[len("Dumping ") :]).parent
            topic = folder.name.rsplit("-", 1)[0]
        elif line.startswith("| offset:"):
            found[topic] = found.get(topic, 0) + 1
        elif line.startswith("baseOffset:"):
            base, epoch = re.search(r"baseOffset: (\d+) .*partitionLeaderEpoch: (-?\d+)", line).groups()
            epochs.setdefault(folder, []).append((int(base), int(epoch)))
            codecs.setdefault(topic, set()).add(re.search(r"compresscodec: (\w+)", line).group(1))
        elif re.search(r"Found \d+ invalid|mismatch|  \d+ is followed by", line, re.I):  # "-1 is followed by" is the tool's start of a later segment
            problems.append(line)
    for name, count in counts.items():
        if found.get(name) != count:
            problems.append("%s: %s records dumped, %d produced" % (name, found.get(name), count))
        if codecs.get(name) != {name.removeprefix("dump-")}:
            problems.append("%s: stored with %s" % (name, codecs.get(name)))
        if sum(log.parent.name.startswith(name) for log in logs) <= PARTITIONS and name in ("dump-none",):
            problems.append("%s: only one segment for each partition" % name)
    indexes = [log.with_suffix(kind) for log in logs for kind in (".index", ".timeindex")]  # the tool stumbles over those of empty logs
    indexes = [index for index in indexes if index.exists()]
    for option in ("--index-sanity-check", "--verify-index-only"):
        code, text = dump(classpath, indexes, option)
        if code or "Exception" in text or "Mismatches" in text or "Found" in text or "out of order" in text:
            problems.append("DumpLogSegments %s ended with %d:\n%s" % (option, code, text[-1500:]))
    entries = sum(file.stat().st_size for file in indexes)
    if counts and not any(index.stat().st_size and index.parent.name.startswith("dump-none") for index in indexes):
        problems.append("the segments of dump-none have no index entries")
    snapshots = [file for folder in folders for file in sorted(folder.glob("*.snapshot"))]
    if snapshots:
        code, text = dump(classpath, snapshots)
        if code or "Exception" in text:
            problems.append("DumpLogSegments of snapshots ended with %d:\n%s" % (code, text[-1500:]))
    # Checked by the tool while it prints them: entries of aborted transactions.
    transactions = [file for folder in folders for file in sorted(folder.glob("*.txnindex")) if file.stat().st_size]
    if transactions:
        code, text = dump(classpath, transactions)
        if code or "Exception" in text or "version: " not in text:
            problems.append("DumpLogSegments of transaction indexes ended with %d:\n%s" % (code, text[-1500:]))
    problems.extend(epoch_problems(folders, epochs))
    groups = [log for log in logs if log.parent.name.startswith("__consumer_offsets")]
    if groups:
        code, text = dump(classpath, groups, "--offsets-decoder")
        if code or "Exception" in text or (counts and "dump-none" not in text):
            problems.append("DumpLogSegments --offsets-decoder ended with %d:\n%s" % (code, text[-1500:]))
    numbers = (len(logs), sum(found.values()), len(indexes), entries, len(snapshots), len(transactions))
    print("dump-log: %d segments with %d records, %d indexes of %d bytes, %d producer snapshots, %d transaction indexes" % numbers)
    return problems


def main():
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit("usage: tests/compat/dump-log [DIRECTORY]")
    if len(sys.argv) == 2:
        problems = check(Path(sys.argv[1]), {})
    else:
        directory = Path(tempfile.mkdtemp(prefix="odradek-dump-log-"))
        with Broker(directory) as broker:
            counts = fill(broker.bootstrap)
        problems = check(broker.data, counts)
        if not problems:
            shutil.rmtree(directory)
    for problem in problems:
        print("  " + problem)
    print("dump-log: %s" % ("FAILED" if problems else "passed"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
