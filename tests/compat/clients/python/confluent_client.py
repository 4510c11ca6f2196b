#!/usr/bin/env python3
"""librdkafka through confluent-kafka. Usage: confluent_client.py BOOTSTRAP PREFIX [CASE...]"""

import time

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec

from suite import WAIT, Adapter, Record, Refused, main


def result(future):
    try:
        return future.result(WAIT)
    except KafkaException as e:
        raise Refused(e.args[0].code(), e.args[0].str()) from e


class Subscriber:
    def __init__(self, consumer, topic):
        self.consumer = consumer
        consumer.subscribe([topic])

    def poll(self):
        messages = self.consumer.consume(50, 0.1)
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        return [(m.partition(), m.offset()) for m in messages]

    def assignment(self):
        return [p.partition for p in self.consumer.assignment()]

    def commit(self):
        self.consumer.commit(asynchronous=False)

    def close(self):
        self.consumer.close()


class Confluent(Adapter):
    name = "confluent-kafka"
    cooperative = True

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.shared_admin = None

    def admin(self):
        # Kept: an admin client that is collected takes its unfinished requests along.
        self.shared_admin = self.shared_admin or AdminClient({"bootstrap.servers": self.bootstrap})
        return self.shared_admin

    def consumer(self, **more):
        config = {"bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        config.update({k.replace("_", "."): v for k, v in more.items()})
        return Consumer(config)

    def send(self, topic, records, codec="none", acks="all", idempotent=False, linger_ms=5, batch_bytes=None):
        config = {
            "bootstrap.servers": self.bootstrap,
            "compression.type": codec,
            "acks": acks,
            "enable.idempotence": idempotent,
            "linger.ms": linger_ms,
            "message.max.bytes": 10_000_000,
            "partitioner": "murmur2_random",  # Java's; librdkafka's own scatters empty keys
        }
        if batch_bytes:
            config["batch.size"] = batch_bytes
        producer, places, errors = Producer(config), [None] * len(records), []

        def delivered(i):
            def done(error, message):
                if error:
                    errors.append(error)
                else:
                    places[i] = (message.partition(), message.offset() if acks != "0" else None)

            return done

        for i, record in enumerate(records):
            more = {} if record.partition is None else {"partition": record.partition}
            if record.timestamp is not None:
                more["timestamp"] = record.timestamp
            producer.produce(topic, record.value, record.key, headers=list(record.headers), on_delivery=delivered(i), **more)
            producer.poll(0)
        left = producer.flush(WAIT)
        if errors:
            raise Refused(errors[0].code(), errors[0].str())
        assert left == 0, "%d records not delivered" % left
        return places

    @staticmethod
    def plain(message):
        if message.error():
            raise KafkaException(message.error())
        kind, timestamp = message.timestamp()
        headers = tuple(message.headers() or ())
        return Record(message.partition(), message.key(), message.value(), headers, timestamp, message.offset(), kind == TIMESTAMP_LOG_APPEND_TIME)

    def read(self, topic, partitions, count, committed_only=False):
        consumer = self.consumer(isolation_level="read_committed" if committed_only else "read_uncommitted", fetch_message_max_bytes=10_000_000)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        found, seen, deadline = {p: [] for p in range(partitions)}, 0, time.monotonic() + WAIT
        while seen < count and time.monotonic() < deadline:
            for message in consumer.consume(500, 0.2):
                found[message.partition()].append(self.plain(message))
                seen += 1
        for message in consumer.consume(1, 0.1):
            found[message.partition()].append(self.plain(message))
        ends = sum(high for _, high in (consumer.get_watermark_offsets(TopicPartition(topic, p), 10) for p in range(partitions)))
        assert ends >= seen, "ends add up to %d, read %d" % (ends, seen)
        consumer.close()
        return found

    def read_from(self, topic, partition, offset):
        consumer = self.consumer()
        consumer.assign([TopicPartition(topic, partition, offset)])
        message = consumer.poll(WAIT)
        consumer.close()
        return self.plain(message)

    def offset_for_time(self, topic, partition, timestamp):
        consumer = self.consumer()
        found = consumer.offsets_for_times([TopicPartition(topic, partition, timestamp)], 10)[0]
        by_admin = result(self.admin().list_offsets({TopicPartition(topic, partition): OffsetSpec.for_timestamp(timestamp)})[TopicPartition(topic, partition)])
        assert max(found.offset, -1) == by_admin.offset, "consumer finds %d, admin %d" % (found.offset, by_admin.offset)
        consumer.close()
        return found.offset if found.offset >= 0 else None

    def watermarks(self, topic, partition):
        consumer = self.consumer()
        low_high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
        consumer.close()
        return low_high

    def subscribe(self, topic, group, cooperative):
        strategy = "cooperative-sticky" if cooperative else "range"
        return Subscriber(
            self.consumer(group_id=group, partition_assignment_strategy=strategy, session_timeout_ms=10000, heartbeat_interval_ms=300), topic
        )

    def commit(self, group, offsets):
        consumer = self.consumer(group_id=group)
        consumer.commit(offsets=[TopicPartition(t, p, o) for (t, p), o in offsets.items()], asynchronous=False)
        consumer.close()

    def committed(self, group, topic, partition):
        consumer = self.consumer(group_id=group)
        offset = consumer.committed([TopicPartition(topic, partition)], 10)[0].offset
        consumer.close()
        return offset if offset >= 0 else None

    def create(self, topic, partitions, config=None):
        result(self.admin().create_topics([NewTopic(topic, partitions, 1, config=config or {})])[topic])

    def delete_topic(self, topic):
        result(self.admin().delete_topics([topic])[topic])

    def list_topics(self):
        return set(self.admin().list_topics(timeout=10).topics)

    def describe_topic(self, topic):
        partitions = self.admin().list_topics(topic, timeout=10).topics[topic].partitions
        return {p: (m.leader, list(m.replicas), list(m.isrs)) for p, m in partitions.items()}

    def cluster(self):
        described = result(self.admin().describe_cluster())
        nodes = [(n.id, n.host, n.port) for n in described.nodes]
        return nodes, described.controller.id, described.cluster_id

    def topic_config(self, topic, name):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        entry = result(self.admin().describe_configs([resource])[resource])[name]
        return entry.value, entry.is_default

    def alter_config(self, topic, name, value):
        operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
        resource = ConfigResource(
            ConfigResource.Type.TOPIC, topic, incremental_configs=[ConfigEntry(name, value, incremental_operation=operation)]
        )
        result(self.admin().incremental_alter_configs([resource])[resource])

    def create_partitions(self, topic, total):
        result(self.admin().create_partitions([NewPartitions(topic, total)])[topic])

    def delete_records(self, topic, partition, before):
        place = TopicPartition(topic, partition, before)
        return result(self.admin().delete_records([place])[place]).low_watermark

    def list_groups(self):
        return {g.group_id for g in result(self.admin().list_consumer_groups()).valid}

    def describe_group(self, group):
        described = result(self.admin().describe_consumer_groups([group])[group])
        assignments = [sorted((p.topic, p.partition) for p in m.assignment.topic_partitions) for m in described.members]
        return described.state.name.lower(), assignments

    def group_offsets(self, group):
        answer = result(self.admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group])
        return {(p.topic, p.partition): p.offset for p in answer.topic_partitions}

    def delete_group(self, group):
        result(self.admin().delete_consumer_groups([group])[group])


if __name__ == "__main__":
    main(Confluent)
