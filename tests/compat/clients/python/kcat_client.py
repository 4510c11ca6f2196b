#!/usr/bin/env python3
"""kcat, by its command line. Usage: kcat_client.py BOOTSTRAP PREFIX [CASE...]

kcat has no admin functions: topics are made, and committed offsets looked up, with confluent-kafka from the same environment
(`helper` below).
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from itertools import groupby

from confluent_client import Confluent
from suite import WAIT, Adapter, NotOffered, Record, Refused, main

# Where the library can wait for itself at the end, whatever the broker answers: kcat asks for the protocol within the callback of the close
# (librdkafka issue 4041), and threads that are taken apart may keep hold of each other.
LIBRARY_HANGS = ("rd_kafka_rebalance_protocol", "rd_kafka_destroy")
END, BETWEEN = "~~end~~\n", "~~key~~"


def run(arguments, stdin=None, timeout=WAIT):
    done = subprocess.run(["kcat", *arguments], input=stdin, capture_output=True, timeout=timeout)
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip()
        for sign, code in (("Message size too large", 10), ("failed to validate record", 87), ("Unknown topic", 3)):
            if sign in text:
                raise Refused(code, text)
        raise AssertionError("kcat %s: %s" % (" ".join(arguments)[:200], text[-400:]))
    return done.stdout


class Subscriber:
    """`kcat -G`: prints its assignment on stderr and a line per record; commits by itself, also when it leaves."""

    def __init__(self, bootstrap, topic, group):
        arguments = ["kcat", "-b", bootstrap, "-G", group, "-X", "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=50"]
        arguments += ["-X", "session.timeout.ms=10000", "-X", "heartbeat.interval.ms=300", "-u", "-f", "%p %o\n", topic]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.mine, self.lock = [], set(), threading.Lock()
        for watch in (self.watch_records, self.watch_assignment):
            threading.Thread(target=watch, daemon=True).start()

    def watch_records(self):
        for line in self.process.stdout:
            partition, offset = line.split()
            with self.lock:
                self.lines.append((int(partition), int(offset)))

    def watch_assignment(self):
        for line in self.process.stderr:
            if "assigned:" in line or "revoked:" in line:
                partitions = {int(p) for p in re.findall(r"\[(\d+)\]", line)}
                self.mine = partitions if "assigned:" in line else set()

    def poll(self):
        time.sleep(0.05)
        if self.process.poll() is not None:
            raise AssertionError("kcat ended with %s" % self.process.returncode)
        with self.lock:
            batch, self.lines = self.lines, []
        return batch

    def assignment(self):
        return self.mine

    def commit(self):
        pass

    def close(self):
        time.sleep(0.3)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(WAIT / 2)
        except subprocess.TimeoutExpired:
            where = self.where()
            self.process.kill()
            if not any(call in where for call in LIBRARY_HANGS):
                raise AssertionError("kcat does not end: %s" % (where or "no gdb")) from None

    def where(self):
        """The calls that kcat's main thread is in."""
        arguments = ["gdb", "-p", str(self.process.pid), "-batch", "-nx", "-ex", "thread apply 1 backtrace"]
        try:
            lines = subprocess.run(arguments, capture_output=True, text=True, timeout=WAIT / 3).stdout.splitlines()
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return " < ".join(line.split(" (")[0].split()[-1] for line in lines if line.startswith("#"))


class Kcat(Adapter):
    name = "kcat"
    binary = False
    commits_chosen_offsets = False

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.helper = Confluent(bootstrap)

    def create(self, topic, partitions, config=None):
        self.helper.create(topic, partitions, config)

    def send(self, topic, records, codec="none", acks="all", idempotent=False, linger_ms=5, batch_bytes=None):
        options = ["-b", self.bootstrap, "-P", "-t", topic, "-X", "acks=%s" % acks, "-X", "linger.ms=%d" % linger_ms]
        options += ["-X", "message.max.bytes=10000000", "-X", "partitioner=murmur2_random"]
        options += ["-X", "enable.idempotence=%s" % str(idempotent).lower()]
        if codec != "none":
            options += ["-z", codec]
        if batch_bytes:
            options += ["-X", "batch.size=%d" % batch_bytes]
        # One process per partition and set of headers, in the order of the records.
        order = sorted(range(len(records)), key=lambda i: -1 if records[i].partition is None else records[i].partition)
        places = [(records[i].partition, None) for i in range(len(records))]
        for (partition, headers), group in groupby(order, key=lambda i: (records[i].partition, records[i].headers)):
            more = [] if partition is None else ["-p", str(partition)]
            for name, value in headers:
                more += ["-H", "%s=%s" % (name, value.decode())]
            chosen = [records[i] for i in group]
            if len(chosen) <= 4 and all(r.key is None for r in chosen):
                with tempfile.TemporaryDirectory() as folder:  # a file is a record, byte for byte
                    files = []
                    for i, record in enumerate(chosen):
                        files.append(os.path.join(folder, str(i)))
                        with open(files[-1], "wb") as file:
                            file.write(record.value)
                    run(options + more + files)
                continue
            lines = [(b"" if r.key is None else r.key + BETWEEN.encode()) + (r.value or b"") + END.encode() for r in chosen]
            run(options + more + ["-Z", "-K", BETWEEN, "-D", END], b"".join(lines))
        return places

    def records(self, topic, arguments):
        form = "%p %o %T %K %S %h|%k%s"
        data = run(["-b", self.bootstrap, "-C", "-t", topic, "-e", "-q", "-f", form, *arguments], timeout=WAIT)
        at, out = 0, []
        while at < len(data):
            bar = data.index(b"|", at)
            partition, offset, timestamp, key_length, value_length, *headers = data[at:bar].decode().split(" ", 5)
            key_length, value_length, at = int(key_length), int(value_length), bar + 1
            key = None if key_length < 0 else data[at : at + key_length]
            at += max(key_length, 0)
            value = None if value_length < 0 else data[at : at + value_length]
            at += max(value_length, 0)
            pairs = [pair.split("=", 1) for pair in headers[0].split(",")] if headers and headers[0] else []
            pairs = tuple((name, value_.encode()) for name, value_ in pairs)
            out.append(Record(int(partition), key, value, pairs, int(timestamp), int(offset)))
        return out

    def read(self, topic, partitions, count, committed_only=False):
        isolation = "read_committed" if committed_only else "read_uncommitted"
        deadline = time.monotonic() + WAIT
        while True:
            found = {p: [] for p in range(partitions)}
            for record in self.records(topic, ["-o", "beginning", "-X", "isolation.level=%s" % isolation]):
                found[record.partition].append(record)
            if sum(map(len, found.values())) >= count or time.monotonic() > deadline:
                return found

    def read_from(self, topic, partition, offset):
        return self.records(topic, ["-p", str(partition), "-o", str(offset), "-c", "1"])[0]

    def offset_for_time(self, topic, partition, timestamp):
        answer = run(["-b", self.bootstrap, "-Q", "-t", "%s:%d:%d" % (topic, partition, timestamp)]).decode()
        offset = int(re.search(r"offset (-?\d+)", answer).group(1))
        return offset if offset >= 0 else None

    def subscribe(self, topic, group, cooperative):
        return Subscriber(self.bootstrap, topic, group)

    def watermarks(self, topic, partition):
        return self.helper.watermarks(topic, partition)

    def committed(self, group, topic, partition):
        return self.helper.committed(group, topic, partition)

    def cluster(self):
        listed = json.loads(run(["-b", self.bootstrap, "-L", "-J"]))
        nodes = [(b["id"], *b["name"].rsplit(":", 1)) for b in listed["brokers"]]
        return [(i, host, int(port)) for i, host, port in nodes], listed["controllerid"], NotImplemented

    def list_topics(self):
        return {t["topic"] for t in json.loads(run(["-b", self.bootstrap, "-L", "-J"]))["topics"]}

    def describe_topic(self, topic):
        listed = json.loads(run(["-b", self.bootstrap, "-L", "-J", "-t", topic]))["topics"][0]["partitions"]
        return {p["partition"]: (p["leader"], [r["id"] for r in p["replicas"]], [r["id"] for r in p["isrs"]]) for p in listed}

    def delete_topic(self, *_):
        raise NotOffered("admin functions")

    alter_config = topic_config = create_partitions = delete_records = list_groups = delete_topic


if __name__ == "__main__":
    main(Kcat)
