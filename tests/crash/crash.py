#!/usr/bin/env python3
"""kill -9 under load, again and again, on one data directory.

Three producers write to topics of several partitions while a seeded clock kills the broker and starts it again:

- `idempotent`: acks=all, retried by librdkafka over the restarts. Every record exactly once, in order.
- `all`: acks=all, never retried. Acknowledged: exactly once, in order, at the offset that was acknowledged. Not acknowledged: at most once.
- `one`: acks=1, never retried. The same promises, because acks=1 survives the death of the process.

Each record names its producer, partition and sequence. Beside them a group commits offsets (an acknowledged commit never goes back), and
topics are made and deleted (what was acknowledged stays so). After each round the new records are checked, at the end everything from the start.
"""

import argparse
import os
import random
import shutil
import struct
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from broker import Broker  # noqa: E402

PARTITIONS = 4
HEADER = struct.Struct(">4sHQ")  # producer, partition, sequence
MODES = {
    "idem": ("idempotent", {"acks": "all", "enable.idempotence": True, "delivery.timeout.ms": 2147483647}),
    "all_": ("all", {"acks": "all", "enable.idempotence": False, "retries": 0, "delivery.timeout.ms": 8000}),
    "one_": ("one", {"acks": "1", "enable.idempotence": False, "retries": 0, "delivery.timeout.ms": 8000}),
}


class Load:
    """One producer on its own thread; remembers what was acknowledged, and where."""

    def __init__(self, tag, bootstrap, rate, seed):
        self.tag, self.topic = tag, MODES[tag][0]
        self.exact = tag == "idem"
        self.rate, self.random = rate, random.Random(seed)
        self.sent = [0] * PARTITIONS
        self.acknowledged = [{} for _ in range(PARTITIONS)]  # sequence -> offset
        self.unsure = [set() for _ in range(PARTITIONS)]
        self.stopping, self.fatal = False, None
        config = {"bootstrap.servers": bootstrap, "linger.ms": 2, "batch.size": 8000, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200}
        config.update({"queue.buffering.max.messages": 50000, "log_level": 0, "max.in.flight.requests.per.connection": 5, **MODES[tag][1]})
        if self.exact:
            config["retry.backoff.ms"] = 50
        self.producer = Producer(config)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def record(self, partition, sequence):
        head = HEADER.pack(self.tag.encode(), partition, sequence)
        return head + bytes([sequence & 0xFF]) * (50 + (sequence * 37) % 400)

    def delivered(self, partition, sequence):
        def done(error, message):
            if error is None:
                self.acknowledged[partition][sequence] = message.offset()
            else:
                self.unsure[partition].add(sequence)
                if error.fatal() or self.exact:
                    self.fatal = "sequence %d of partition %d: %s" % (sequence, partition, error)

        return done

    def run(self):
        start, produced = time.monotonic(), 0
        while not self.stopping:
            due = int((time.monotonic() - start) * self.rate) - produced
            if due > self.rate:  # blocked by a restart: no catching up beyond a second
                start, produced, due = time.monotonic(), 0, 0
            for _ in range(due):
                partition = self.random.randrange(PARTITIONS)
                sequence = self.sent[partition]
                try:
                    self.producer.produce(self.topic, self.record(partition, sequence), partition=partition, on_delivery=self.delivered(partition, sequence))
                except BufferError:
                    break
                except KafkaException as e:
                    self.fatal = str(e)
                    return
                self.sent[partition] += 1
                produced += 1
            self.producer.poll(0.002)

    def acknowledgements(self):
        return sum(len(a) for a in self.acknowledged)

    def finish(self):
        self.stopping = True
        self.thread.join()
        left = self.producer.flush(60)
        return left


class Commits:
    """A consumer that belongs to no group generation commits rising offsets and remembers which commit was acknowledged."""

    def __init__(self, bootstrap):
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "crash-commits", "enable.auto.commit": False, "log_level": 0,
                                  "reconnect.backoff.max.ms": 200})  # fmt: skip
        self.attempted = self.acknowledged = 0
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            self.attempted += 1
            try:
                places = [TopicPartition("idempotent", p, self.attempted) for p in range(PARTITIONS)]
                answer = self.consumer.commit(offsets=places, asynchronous=False)
                if all(place.error is None for place in answer):
                    self.acknowledged = self.attempted
            except KafkaException:
                time.sleep(0.05)
            time.sleep(0.005)

    def check(self, floor):
        places = [TopicPartition("idempotent", p) for p in range(PARTITIONS)]
        offsets = {p.offset for p in again(lambda: self.consumer.committed(places, 10))}
        if not all(floor <= offset <= self.attempted for offset in offsets):
            return ["committed offsets are %s, acknowledged was %d, attempted %d" % (sorted(offsets), floor, self.attempted)]
        return []


def again(action, seconds=60):
    """Repeats what a broker that has just started may refuse for a moment."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Reader:
    """Reads a topic from where it stopped the last time and checks each record's content, place and order."""

    def __init__(self, load, bootstrap):
        self.load = load
        self.seen = [{} for _ in range(PARTITIONS)]  # sequence -> offset
        self.highest = [-1] * PARTITIONS
        self.position = [0] * PARTITIONS
        self.problems = []
        self.consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "crash-reader", "enable.auto.commit": False, "log_level": 0,
                                  "auto.offset.reset": "error", "reconnect.backoff.max.ms": 200, "enable.partition.eof": False,
                                  "queued.min.messages": 100000, "check.crcs": True})  # fmt: skip

    def catch_up(self):
        load, name = self.load, self.load.topic
        ends = [again(lambda p=p: self.consumer.get_watermark_offsets(TopicPartition(name, p), 10))[1] for p in range(PARTITIONS)]
        start = [OFFSET_BEGINNING if at == 0 else at for at in self.position]
        self.consumer.assign([TopicPartition(name, p, start[p]) for p in range(PARTITIONS)])
        deadline = time.monotonic() + 120
        while any(self.position[p] < ends[p] for p in range(PARTITIONS)):
            if time.monotonic() > deadline:
                self.problems.append("%s: reading stops at %s of %s" % (name, self.position, ends))
                break
            for message in self.consumer.consume(5000, 0.2):
                if message.error():
                    if not message.error().retriable() and message.error().code() > 0:
                        self.problems.append("%s: %s" % (name, message.error()))
                    continue
                self.one(message.partition(), message.offset(), message.value())
        self.consumer.unassign()

    def one(self, partition, offset, value):
        name = "%s-%d@%d" % (self.load.topic, partition, offset)
        if offset < self.position[partition]:
            return self.problems.append("%s: offset comes again" % name)
        if offset > self.position[partition]:
            self.problems.append("%s: offsets %d to %d are missing" % (name, self.position[partition], offset - 1))
        self.position[partition] = offset + 1
        tag, home, sequence = HEADER.unpack_from(value)
        if value != self.load.record(partition, sequence) or tag.decode() != self.load.tag or home != partition:
            return self.problems.append("%s: foreign or damaged content" % name)
        if sequence in self.seen[partition]:
            return self.problems.append("%s: sequence %d is duplicated, first at %d" % (name, sequence, self.seen[partition][sequence]))
        if sequence < self.highest[partition]:
            self.problems.append("%s: sequence %d after %d" % (name, sequence, self.highest[partition]))
        self.highest[partition] = max(self.highest[partition], sequence)
        self.seen[partition][sequence] = offset
        return None

    def compare(self, acknowledged):
        """Against a copy of the acknowledgements taken before the reading."""
        for partition, known in enumerate(acknowledged):
            for sequence, offset in known.items():
                found = self.seen[partition].get(sequence)
                if found is None:
                    self.problems.append("%s-%d: sequence %d, acknowledged at %d, is lost" % (self.load.topic, partition, sequence, offset))
                elif offset >= 0 and found != offset:
                    self.problems.append("%s-%d: sequence %d was acknowledged at %d and is at %d" % (self.load.topic, partition, sequence, offset, found))
        return self.problems


def checked(loads, readers):
    problems = []
    for load in loads:
        acknowledged = [dict(a) for a in load.acknowledged]
        reader = readers[load.tag]
        reader.catch_up()
        problems += reader.compare(acknowledged)
        reader.problems = []
    return problems


def topics_survive(admin, kept, gone):
    """The topics of which creation or deletion was acknowledged."""
    listed = again(lambda: admin.list_topics(timeout=10)).topics
    problems = ["topic %s is lost" % t for t in kept if t not in listed]
    return problems + ["deleted topic %s is back" % t for t in gone if t in listed]


def main():
    parser = argparse.ArgumentParser(prog="tests/crash/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--advertise", choices=("cores", "node"), default="cores")
    parser.add_argument("--rate", type=int, default=2500, help="records per second of each producer")
    parser.add_argument("--load-seconds", type=float, default=3.0, help="longest load before a kill")
    parser.add_argument("--keep", action="store_true", help="keep the data directory also after success")
    parser.add_argument("--command", help="starts another broker in the foreground; with --bootstrap")
    parser.add_argument("--bootstrap", help="address of the broker that --command starts")
    options = parser.parse_args()

    directory = tempfile.mkdtemp(prefix="odradek-crash-")
    print("crash: seed %d, %d rounds, advertise=%s, directory %s" % (options.seed, options.rounds, options.advertise, directory), flush=True)
    draw = random.Random(options.seed)
    broker = Broker(directory, options.advertise, command=options.command, bootstrap=options.bootstrap)
    started, problems = time.monotonic(), []
    try:
        broker.start()
        problems = rounds(options, broker, draw)
    except (RuntimeError, KafkaException) as error:  # a broker that does not start, or that refuses for too long
        problems = [str(error)]
    finally:
        if broker.running():
            broker.kill()
    if problems:
        for problem in problems[:30]:
            print("  " + problem)
        print("crash: FAILED with %d problems, seed %d, after %.0f s; data in %s" % (len(problems), options.seed, time.monotonic() - started, directory))
        return 1
    if not options.keep:
        shutil.rmtree(directory)
    print("crash: passed, seed %d, %.0f s" % (options.seed, time.monotonic() - started))
    return 0


def rounds(options, broker, draw):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})

    def create(topic, partitions):
        admin.create_topics([NewTopic(topic, partitions, 1)], request_timeout=15)[topic].result(30)

    for topic, _ in MODES.values():
        again(lambda t=topic: create(t, PARTITIONS))
    loads = [Load(tag, broker.bootstrap, options.rate, options.seed + i) for i, tag in enumerate(MODES)]
    commits = Commits(broker.bootstrap)
    readers = {load.tag: Reader(load, broker.bootstrap) for load in loads}
    kept, gone = [], []
    restart_seconds = []
    for number in range(1, options.rounds + 1):
        before = [load.acknowledgements() for load in loads]
        committed_before = commits.acknowledged
        deadline = time.monotonic() + 60  # the load counts from when everybody is served again
        while any(load.acknowledgements() <= b for load, b in zip(loads, before)) or commits.acknowledged <= committed_before:
            if not broker.running():
                return ["round %d: the broker ended by itself:\n%s" % (number, broker.tail())]
            if time.monotonic() > deadline or any(load.fatal for load in loads):
                stuck = [load.topic for load, b in zip(loads, before) if load.acknowledgements() <= b]
                fatal = [load.fatal for load in loads if load.fatal]
                return ["round %d: no acknowledgements for %s, commits %d, %s\n%s" % (number, stuck, commits.acknowledged, fatal, broker.tail())]
            time.sleep(0.01)
        create("made-%d" % number, 2)
        kept.append("made-%d" % number)
        if number % 3 == 0:
            victim = kept.pop(0)
            admin.delete_topics([victim])[victim].result(30)
            gone.append(victim)
        time.sleep(draw.uniform(0.05, options.load_seconds))
        floor = commits.acknowledged
        broker.kill()
        floor = max(floor, commits.acknowledged)
        if draw.random() < 0.25:  # once more, while it recovers or has just recovered
            restart_then_kill(broker, draw.uniform(0, 0.3))
        begin = time.monotonic()
        broker.start()
        restart_seconds.append(time.monotonic() - begin)
        problems = commits.check(floor) + topics_survive(admin, kept, gone) + checked(loads, readers)
        problems += ["%s producer: %s" % (load.topic, load.fatal) for load in loads if load.fatal]
        if problems:
            return ["round %d: %s" % (number, problem) for problem in problems]
        counts = ", ".join("%s %d" % (load.topic, load.acknowledgements()) for load in loads)
        print("  round %2d: restart %.2f s, acknowledged: %s, commits %d" % (number, restart_seconds[-1], counts, commits.acknowledged), flush=True)

    commits.stopping = True
    commits.thread.join(30)
    problems = []
    for load in loads:
        left = load.finish()
        if left:
            problems.append("%s: %d records neither acknowledged nor refused" % (load.topic, left))
    floor = commits.acknowledged
    broker.stop()
    broker.start()
    problems += commits.check(floor) + topics_survive(admin, kept, gone)
    problems += checked(loads, {load.tag: Reader(load, broker.bootstrap) for load in loads})
    for load in loads:
        if load.exact and load.acknowledgements() != sum(load.sent):
            problems.append("%s: %d records sent, %d acknowledged" % (load.topic, sum(load.sent), load.acknowledgements()))
        unsure = sum(len(u) for u in load.unsure)
        print("  %s: %d records sent, %d acknowledged, %d unanswered" % (load.topic, sum(load.sent), load.acknowledgements(), unsure))
    print("  restart: median %.2f s, longest %.2f s" % (sorted(restart_seconds)[len(restart_seconds) // 2], max(restart_seconds)))
    return problems


def restart_then_kill(broker, after):
    """Starts the broker and kills it `after` seconds later, ready or not."""
    killer = threading.Thread(target=lambda: (time.sleep(after), broker.running() and broker.kill()), daemon=True)
    killer.start()
    try:
        broker.start()
    except RuntimeError:
        pass  # killed before it was ready
    killer.join()
    if broker.running():
        broker.kill()


if __name__ == "__main__":
    sys.exit(main())
