"""Apache Kafka and Odradek read each other's data directories, record by record."""

import base64
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import dump_log
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from driver import run

from broker import Broker  # its folder is on the path through the driver

PARTITIONS, RECORDS = 2, 3000
START = 1_700_000_000_000
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
CHECKPOINTS = ("recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint")
READ_SECONDS = 60
OURS, THEIRS = "__cluster_metadata-0", "__cluster_metadata-0.kafka"
DELETED_BELOW = 101
GROUP, COMMITTED = "exchange", 17


class Kafka(Broker):
    """Apache Kafka as broker and controller in one process."""

    def __init__(self, directory, data=None):
        self.classpath = dump_log.tools()
        java = "java -Xms512m -Xmx512m -cp '%s' kafka.Kafka {config}" % self.classpath
        super().__init__(directory, command=java)
        self.data = data or self.data
        port = int(self.bootstrap.rsplit(":", 1)[1])
        values = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "listeners": "PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d" % (port, port + 10000),
            "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % port,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.bootstrap.servers": "127.0.0.1:%d" % (port + 10000),
            "log.dirs": self.data,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 5,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 5,
            "share.coordinator.state.topic.replication.factor": 1,
            "group.initial.rebalance.delay.ms": 0,
            "log.cleaner.enable": "false",
        }
        self.properties = self.directory / "server.properties"
        self.properties.write_text("".join("%s=%s\n" % item for item in values.items()))

    def format(self):
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        run(["java", "-cp", self.classpath, "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", self.properties])
        return self


class Written:
    """What was acknowledged, and everything that was sent, by topic and partition."""

    def __init__(self):
        self.acknowledged, self.sent = {}, {}

    def send(self, producer, topic, number, transaction=None):
        partition = number % PARTITIONS
        key, value = b"key-%d" % number, bytes((number * 31 + j * j) & 0xFF for j in range(64)) * (1 + number % 30)
        headers = [("n", b"%d" % number), ("n", b"twice"), ("empty", b""), ("null", None)]
        record = (key, value, headers, START + number * 10)
        self.sent.setdefault((topic, partition), {})[key] = record

        def delivered(error, message):
            if error is None and transaction is not False:
                self.acknowledged.setdefault((topic, partition), {})[message.offset()] = record

        producer.produce(topic, value, key, partition=partition, headers=headers, timestamp=record[3], on_delivery=delivered)
        producer.poll(0)

    def __len__(self):
        return sum(map(len, self.acknowledged.values()))


def create(bootstrap, topics):
    admin = AdminClient({"bootstrap.servers": bootstrap})
    deadline = time.monotonic() + READ_SECONDS
    while True:
        try:
            for future in admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config) for name, config in topics.items()]).values():
                future.result(30)
            return admin
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def topics():
    config = {"segment.bytes": "1048576", "index.interval.bytes": "4096", "retention.ms": "-1"}
    return {"exchange-" + codec: config for codec in CODECS}


def fill(bootstrap, written, numbers=range(RECORDS)):
    for codec in CODECS:
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "enable.idempotence": True, "linger.ms": 5, "batch.size": 20000})
        for number in numbers:
            written.send(producer, "exchange-" + codec, number)
        assert producer.flush(60) == 0, "not all records were delivered"


def fill_kafka(kafka, written):
    """Everything that Kafka's directories can hold and ours must take over."""
    create(kafka.bootstrap, topics() | {name: {"retention.ms": "-1"} for name in ("exchange-deleted", "exchange-transactions")})
    fill(kafka.bootstrap, written)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "acks": "all", "linger.ms": 0, "batch.num.messages": 10})
    for number in range(600):
        written.send(producer, "exchange-deleted", number)
    assert producer.flush(60) == 0
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for future in admin.delete_records([TopicPartition("exchange-deleted", 0, DELETED_BELOW)]).values():
        future.result(30)
    rows = written.acknowledged[("exchange-deleted", 0)]
    written.acknowledged[("exchange-deleted", 0)] = {offset: row for offset, row in rows.items() if offset >= DELETED_BELOW}
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": "exchange", "linger.ms": 5})
    producer.init_transactions(60)
    for number, commit in enumerate((True, False, True, False, False, True)):
        producer.begin_transaction()
        for at in range(number * 20, number * 20 + 20):
            written.send(producer, "exchange-transactions", at, commit)
        producer.flush(60)
        producer.commit_transaction(60) if commit else producer.abort_transaction(60)
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": GROUP, "enable.auto.commit": False})
    commit_when_loaded(consumer, TopicPartition("exchange-none", 0, COMMITTED))
    consumer.close()


def commit_when_loaded(consumer, offset):
    """A coordinator that has just been made loads for a while."""
    deadline = time.monotonic() + READ_SECONDS
    while True:
        try:
            return consumer.commit(offsets=[offset], asynchronous=False)
        except KafkaException as error:
            if "oordinator" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def read_all(bootstrap, partitions):
    """Every record that a read_committed consumer sees, by topic and partition."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "isolation.level": "read_committed", "check.crcs": True, "enable.partition.eof": True})
    deadline = time.monotonic() + READ_SECONDS
    left, found = set(partitions), {partition: {} for partition in partitions}
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in partitions])
    while left and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        at = (message.topic(), message.partition())
        if message.error():
            if message.error().name() == "_PARTITION_EOF":
                left.discard(at)
            continue
        found[at][message.offset()] = (message.key(), message.value(), message.headers(), message.timestamp()[1])
    consumer.close()
    if left:
        raise AssertionError("not read to the end within %d s: %s" % (READ_SECONDS, sorted(left)))
    return found


def compare(what, bootstrap, written, problems):
    """Every acknowledged record is there as it was sent, and nothing that was not sent."""
    found, count = read_all(bootstrap, sorted(written.sent)), 0
    for at, rows in written.acknowledged.items():
        for offset, row in rows.items():
            count += 1
            if found[at].get(offset) != row:
                problems.append("%s: %s offset %d is %.90r, not %.90r" % (what, at, offset, found[at].get(offset), row))
                break
    for at, rows in found.items():
        wrong = [offset for offset, row in rows.items() if written.sent[at].get(row[0]) != row]
        if wrong:
            problems.append("%s: %s offset %d was never sent like this: %.90r" % (what, at, wrong[0], rows[wrong[0]]))
        keys = [row[0] for row in rows.values()]
        committed = {row[0] for row in written.acknowledged[at].values()}
        if at[0] == "exchange-transactions" and set(keys) != committed:
            problems.append("%s: %s shows records of aborted transactions: %s" % (what, at, sorted(set(keys) - committed)[:3]))
        if len(set(keys)) != len(keys):
            problems.append("%s: %s has records twice" % (what, at))
    print("exchange: %s: %d acknowledged records read back, %d problems" % (what, count, len(problems)), flush=True)


def check_carried_over(bootstrap, unclean, problems):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "enable.auto.commit": False})
    low, _ = consumer.get_watermark_offsets(TopicPartition("exchange-deleted", 0), 20)
    committed = consumer.committed([TopicPartition("exchange-none", 0)], 20)[0].offset
    at = consumer.offsets_for_times([TopicPartition("exchange-gzip", 0, START + 1000)], 20)[0].offset
    consumer.close()
    if low != DELETED_BELOW and not unclean:  # Kafka writes its checkpoint once a minute, and on a clean stop
        problems.append("DeleteRecords: the log starts at %d, not %d" % (low, DELETED_BELOW))
    if committed != COMMITTED:
        problems.append("the group's committed offset is %d, not %d" % (committed, COMMITTED))
    if at != 100 // PARTITIONS:
        problems.append("the record of %d is found at %d, not %d" % (START + 1000, at, 100 // PARTITIONS))


def dumped(what, data, problems):
    """The directories hold together for Kafka's own tool, with every flag."""
    problems.extend("%s: %s" % (what, problem) for problem in dump_log.check(data, {}))


def adopt(folder, unclean, problems):
    """Kafka's directory under Odradek, and back under Kafka."""
    what = "kill -9 of Kafka" if unclean else "clean stop of Kafka"
    kafka, written = Kafka(folder / "kafka").format().start(), Written()
    fill_kafka(kafka, written)
    if unclean:
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": 3000, "log_level": 0})
        before = len(written)
        for number in range(RECORDS, RECORDS + 100_000):
            written.send(producer, "exchange-none", number)
            if len(written) > before + 2000:
                break
        kafka.kill()
        producer.flush(10)
    else:
        kafka.stop()
    ours = Broker(folder / "odradek", settings={"log.dirs": kafka.data})
    ours.data = kafka.data
    with ours:
        compare("Odradek after a " + what, ours.bootstrap, written, problems)
        check_carried_over(ours.bootstrap, unclean, problems)
        fill(ours.bootstrap, written, range(200_000, 200_300))
        compare("Odradek, having written more", ours.bootstrap, written, problems)
    with ours:
        compare("Odradek, started again", ours.bootstrap, written, problems)
    dumped("after Odradek", kafka.data, problems)
    # Back to Kafka: its own metadata log takes its place again.
    (kafka.data / OURS).rename(folder / "metadata-of-odradek")
    (kafka.data / THEIRS).rename(kafka.data / OURS)
    again = Kafka(folder / "kafka-again", kafka.data)
    with again:
        compare("Kafka again", again.bootstrap, written, problems)


def hand_over(folder, checked, problems):
    """Directories that Odradek made under a Kafka that knows topics of these names. `checked`: without checkpoints, so that Kafka reads everything."""
    written = Written()
    ours = Broker(folder / "odradek")
    with ours:
        create(ours.bootstrap, topics())
        fill(ours.bootstrap, written)
    dumped("before Kafka", ours.data, problems)
    kafka = Kafka(folder / "kafka").format()
    with kafka:
        create(kafka.bootstrap, topics())
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
        for topic, partition in written.sent:  # makes the directories exist
            producer.produce(topic, b"replaced", partition=partition)
        assert producer.flush(60) == 0
    for topic, partition in written.sent:
        name = "%s-%d" % (topic, partition)
        theirs = (kafka.data / name / "partition.metadata").read_text()
        shutil.rmtree(kafka.data / name)
        shutil.copytree(ours.data / name, kafka.data / name)
        (kafka.data / name / "partition.metadata").write_text(theirs)
    for name in CHECKPOINTS:
        moved = {topic for topic, _ in written.sent}
        rows = [line for line in (kafka.data / name).read_text().splitlines()[2:] if line.split()[0] not in moved]
        rows += [line for line in (ours.data / name).read_text().splitlines()[2:] if line.split()[0] in moved]
        (kafka.data / name).write_text("0\n%d\n%s" % (len(rows), "".join(row + "\n" for row in rows)))
    if checked:
        for name in (".kafka_cleanshutdown", CHECKPOINTS[0]):
            (kafka.data / name).unlink()
    what = "Kafka, checking everything" if checked else "Kafka after a clean stop of Odradek"
    with Kafka(folder / "kafka-again", kafka.data) as again:
        compare(what, again.bootstrap, written, problems)
        fill(again.bootstrap, written, range(300_000, 300_100))
        compare(what + ", having written more", again.bootstrap, written, problems)


def main():
    if sys.argv[1:] not in ([], ["--keep"]):
        sys.exit("usage: tests/compat/exchange [--keep]")
    directory, problems = Path(tempfile.mkdtemp(prefix="odradek-exchange-")), []
    try:
        for name, step, option in (("adopt-clean", adopt, False), ("adopt-unclean", adopt, True), ("hand-over", hand_over, False), ("hand-over-checked", hand_over, True)):
            step(directory / name, option, problems)
    except (AssertionError, KafkaException, RuntimeError, OSError, subprocess.SubprocessError) as error:
        problems.append("%s: %s" % (type(error).__name__, error))
    if problems or "--keep" in sys.argv:
        print("exchange: directories are in %s" % directory)
    else:
        shutil.rmtree(directory)
    for problem in problems:
        print("  " + problem)
    print("exchange: %s" % ("FAILED" if problems else "passed"))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
