#!/usr/bin/env python3
"""kafka-python. Usage: kafka_python_client.py BOOTSTRAP PREFIX [CASE...]"""

import time

import kafka.errors
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import BrokerResponseError
from kafka.structs import OffsetAndMetadata

from suite import WAIT, Adapter, Record, Refused, main


def raised(action, *arguments, **options):
    try:
        return action(*arguments, **options)
    except BrokerResponseError as e:
        raise Refused(e.errno, str(e)) from e


class Subscriber:
    def __init__(self, consumer, topic):
        self.consumer = consumer
        consumer.subscribe([topic])

    def poll(self):
        # Not the 100 ms after which metadata is asked for again: kafka-python 3.0.12 forgets an assignment whose join began because the topic's
        # partitions became known, when the poll that began it ends before the join does.
        return [(r.partition, r.offset) for records in self.consumer.poll(1000, max_records=50).values() for r in records]

    def assignment(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self):
        self.consumer.commit()

    def close(self):
        self.consumer.close()


class KafkaPython(Adapter):
    name = "kafka-python"
    null_headers = False

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.shared_admin = None

    def admin(self):
        self.shared_admin = self.shared_admin or KafkaAdminClient(bootstrap_servers=self.bootstrap)
        return self.shared_admin

    def consumer(self, **more):
        config = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "group_id": None}
        config.update(more)
        return KafkaConsumer(bootstrap_servers=self.bootstrap, **config)

    def send(self, topic, records, codec="none", acks="all", idempotent=False, linger_ms=5, batch_bytes=16384):
        producer = KafkaProducer(
            bootstrap_servers=self.bootstrap,
            compression_type=None if codec == "none" else codec,
            acks={"0": 0, "1": 1, "all": "all"}[acks],
            enable_idempotence=idempotent,
            linger_ms=linger_ms,
            batch_size=batch_bytes,
            max_request_size=10_000_000,
        )
        try:
            futures = [
                producer.send(topic, r.value, r.key, headers=list(r.headers), partition=r.partition, timestamp_ms=r.timestamp) for r in records
            ]
            producer.flush(timeout=WAIT)
            answers = [raised(future.get, timeout=WAIT) for future in futures]
            return [(a.partition, a.offset if acks != "0" else None) for a in answers]
        finally:
            producer.close()

    @staticmethod
    def plain(r):
        return Record(r.partition, r.key, r.value, tuple(r.headers), r.timestamp, r.offset, r.timestamp_type == 1)

    def read(self, topic, partitions, count, committed_only=False):
        consumer = self.consumer(isolation_level="read_committed" if committed_only else "read_uncommitted")
        places = [TopicPartition(topic, p) for p in range(partitions)]
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        found, seen, deadline = {p: [] for p in range(partitions)}, 0, time.monotonic() + WAIT
        ended = False
        while not ended and time.monotonic() < deadline:
            ended = seen >= count  # one poll more shows a record too many
            for records in consumer.poll(100).values():
                for record in records:
                    found[record.partition].append(self.plain(record))
                    seen += 1
        ends = consumer.end_offsets(places)
        for place in places:
            assert consumer.position(place) == ends[place], "%s ends at %d, position is %d" % (place, ends[place], consumer.position(place))
        consumer.close()
        return found

    def read_from(self, topic, partition, offset):
        consumer, place = self.consumer(), TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            for records in consumer.poll(200, max_records=1).values():
                consumer.close()
                return self.plain(records[0])
        raise AssertionError("nothing came from offset %d" % offset)

    def offset_for_time(self, topic, partition, timestamp):
        consumer, place = self.consumer(), TopicPartition(topic, partition)
        found = consumer.offsets_for_times({place: timestamp})[place]
        consumer.close()
        return found.offset if found is not None and found.offset >= 0 else None

    def watermarks(self, topic, partition):
        consumer, place = self.consumer(), TopicPartition(topic, partition)
        low, high = consumer.beginning_offsets([place])[place], consumer.end_offsets([place])[place]
        consumer.close()
        return low, high

    def subscribe(self, topic, group, cooperative):
        return Subscriber(
            self.consumer(
                group_id=group,
                session_timeout_ms=10000,
                heartbeat_interval_ms=300,
                metadata_max_age_ms=1000,  # a member that joined before its metadata knew the topic has no partitions until it asks again
                partition_assignment_strategy=[RangePartitionAssignor],
            ),
            topic,
        )

    def commit(self, group, offsets):
        consumer = self.consumer(group_id=group)
        places = {TopicPartition(t, p): OffsetAndMetadata(o, "", -1) for (t, p), o in offsets.items()}
        consumer.assign(list(places))
        consumer.commit(places)
        consumer.close()

    def committed(self, group, topic, partition):
        consumer = self.consumer(group_id=group)
        offset = consumer.committed(TopicPartition(topic, partition))
        consumer.close()
        return offset

    def create(self, topic, partitions, config=None):
        wanted = {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": config or {}}}
        raised(self.admin().create_topics, wanted)

    def delete_topic(self, topic):
        raised(self.admin().delete_topics, [topic])

    def list_topics(self):
        return set(self.admin().list_topics())

    def describe_topic(self, topic):
        described = self.admin().describe_topics([topic])[0]
        return {p["partition_index"]: (p["leader_id"], p["replica_nodes"], p["isr_nodes"]) for p in described["partitions"]}

    def cluster(self):
        described = self.admin().describe_cluster()
        nodes = [(b["broker_id" if "broker_id" in b else "node_id"], b["host"], b["port"]) for b in described["brokers"]]
        return nodes, described["controller_id"], described["cluster_id"]

    def topic_config(self, topic, name):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: None})
        answer = self.admin().describe_configs([resource], config_filter="all")
        entry = next(iter(next(iter(answer.values())).values()))[name]
        return entry["value"], "default" in str(entry["config_source"]).lower() or entry["config_source"] == 5

    def alter_config(self, topic, name, value):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, {name: value})
        action = self.admin().reset_configs if value is None else self.admin().alter_configs
        outcome = raised(action, [resource])["topic"][topic]
        if outcome != "OK":  # "[Error 40] InvalidConfigurationError: ..."
            raise Refused(int(outcome.split("]")[0].split()[-1]), outcome)

    def create_partitions(self, topic, total):
        raised(self.admin().create_partitions, {topic: total})

    def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition)
        return raised(self.admin().delete_records, {place: before})[place]["low_watermark"]

    def list_groups(self):
        return {g["group_id"] for g in self.admin().list_groups()}

    def describe_group(self, group):
        described = self.admin().describe_groups([group])[group]
        assignments = []
        for member in described["members"]:
            assigned = member["member_assignment"]["assigned_partitions"]
            assignments.append(sorted((a["topic"], p) for a in assigned for p in a["partitions"]))
        return str(described["group_state"]).lower(), assignments

    def group_offsets(self, group):
        answer = self.admin().list_group_offsets({group: None})[group]
        return {(p.topic, p.partition): o.offset for p, o in answer.items()}

    def delete_group(self, group):
        outcome = raised(self.admin().delete_groups, [group])[group]
        if outcome != "OK":  # the name of an error class
            raise Refused(getattr(kafka.errors, outcome).errno, outcome)


if __name__ == "__main__":
    main(KafkaPython)
