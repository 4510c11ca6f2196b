import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The cases of tests/compat/README.md with Java's kafka-clients, any version from 2.1.0.
 * Usage: Cases CLIENT_NAME BOOTSTRAP PREFIX [CASE...]; one line `client case pass|fail|n/a detail` each.
 */
public final class Cases {
    /** The largest value of a record without key and headers that still fits Kafka's default max.message.bytes. */
    static final int LARGEST_VALUE = 1048588 - 61 - 11;
    static final long WAIT_MS = 30_000;

    static String bootstrap;
    static String prefix;

    interface Body {
        void run(String topic) throws Exception;
    }

    public static void main(String[] args) throws Exception {
        String client = args[0];
        bootstrap = args[1];
        prefix = args[2];
        Set<String> only = new HashSet<>(Arrays.asList(args).subList(3, args.length));
        Map<String, Body> cases = new LinkedHashMap<>();
        for (String codec : Arrays.asList("none", "gzip", "snappy", "lz4", "zstd")) cases.put("codec-" + codec, t -> codec(t, codec));
        for (String acks : Arrays.asList("0", "1", "all")) cases.put("acks-" + acks, t -> acks(t, acks));
        cases.put("idempotent", Cases::idempotent);
        cases.put("keys", Cases::keys);
        cases.put("headers", Cases::headers);
        cases.put("tombstones", Cases::tombstones);
        cases.put("timestamps", Cases::timestamps);
        cases.put("offsets-for-time", Cases::offsetsForTime);
        cases.put("record-1mb", Cases::record1mb);
        cases.put("record-too-large", Cases::recordTooLarge);
        cases.put("seek", Cases::seek);
        cases.put("auto-create", Cases::autoCreate);
        cases.put("group-two", t -> group(t, 2, null));
        cases.put("group-three", t -> group(t, 3, Shim.COOPERATIVE_ASSIGNOR));
        cases.put("commit-resume", Cases::commitResume);
        cases.put("admin-cluster", Cases::adminCluster);
        cases.put("admin-topics", Cases::adminTopics);
        cases.put("admin-configs", Cases::adminConfigs);
        cases.put("admin-partitions", Cases::adminPartitions);
        cases.put("admin-delete-records", Cases::adminDeleteRecords);
        cases.put("admin-groups", Cases::adminGroups);

        ExecutorService runner = Executors.newCachedThreadPool(task -> {
            Thread thread = new Thread(task, "case");
            thread.setDaemon(true);
            return thread;
        });
        for (Map.Entry<String, Body> entry : cases.entrySet()) {
            String name = entry.getKey();
            if (!only.isEmpty() && !only.contains(name)) continue;
            long started = System.nanoTime();
            Future<?> running = runner.submit(() -> {
                entry.getValue().run(prefix + "-" + name);
                return null;
            });
            String verdict = "pass";
            String detail = "";
            try {
                running.get(90, TimeUnit.SECONDS);
            } catch (TimeoutException e) {
                verdict = "fail";
                detail = "not done after 90 s";
                running.cancel(true);
            } catch (ExecutionException e) {
                verdict = "fail";
                detail = e.getCause() + " at " + Arrays.stream(e.getCause().getStackTrace())
                    .filter(f -> f.getClassName().startsWith("Cases") || f.getClassName().equals("Shim")).findFirst().orElse(null);
            }
            long ms = (System.nanoTime() - started) / 1_000_000;
            System.out.println(client + " " + name + " " + verdict + " " + ms + " ms " + detail.replaceAll("\\s+", " "));
            System.out.flush();
        }
        System.exit(0);
    }

    // ---------------------------------------------------------------- tools of the cases

    static void check(boolean holds, String otherwise) {
        if (!holds) throw new AssertionError(otherwise);
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Bytes that differ from record to record; every codec makes them smaller, none makes them vanish. */
    static byte[] pattern(int seed, int length) {
        byte[] out = new byte[length];
        int state = seed * 0x9E3779B1 + 1;
        for (int i = 0; i < length; i++) {
            state = state * 1664525 + 1013904223;
            out[i] = (byte) (i % 16 == 0 ? state >>> 24 : i);
        }
        return out;
    }

    static Map<String, Object> config(Object... pairs) {
        Map<String, Object> map = new HashMap<>();
        map.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) map.put((String) pairs[i], pairs[i + 1]);
        return map;
    }

    static AdminClient admin() {
        return AdminClient.create(config("request.timeout.ms", 20000));
    }

    static KafkaProducer<byte[], byte[]> producer(Object... pairs) {
        Map<String, Object> config = config(pairs);
        config.putIfAbsent("linger.ms", 5);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Object... pairs) {
        Map<String, Object> config = config(pairs);
        config.putIfAbsent("auto.offset.reset", "earliest");
        config.putIfAbsent("enable.auto.commit", "false");
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static void create(String topic, int partitions, String... settings) throws Exception {
        Map<String, String> map = new HashMap<>();
        for (int i = 0; i < settings.length; i += 2) map.put(settings[i], settings[i + 1]);
        try (AdminClient admin = admin()) {
            admin.createTopics(Collections.singleton(new NewTopic(topic, partitions, (short) 1).configs(map))).all().get();
        }
    }

    static List<ProducerRecord<byte[], byte[]>> records(String topic, int partitions, int count, int longest) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        long now = System.currentTimeMillis();
        for (int i = 0; i < count; i++) {
            byte[] key = i % 7 == 0 ? null : bytes("key-" + i);
            List<Header> headers = Collections.singletonList(new RecordHeader("n", bytes("" + i)));
            records.add(new ProducerRecord<>(topic, i % partitions, now + i, key, pattern(i, (i * 37) % (longest + 1)), headers));
        }
        return records;
    }

    /** Sends all and checks that offsets count up from `first` per partition, in the order of sending. */
    static List<RecordMetadata> send(List<ProducerRecord<byte[], byte[]>> records, long first, Object... pairs) throws Exception {
        List<RecordMetadata> sent = new ArrayList<>();
        Map<Integer, Long> next = new HashMap<>();
        try (KafkaProducer<byte[], byte[]> producer = producer(pairs)) {
            List<Future<RecordMetadata>> futures = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) futures.add(producer.send(record));
            producer.flush();
            for (Future<RecordMetadata> future : futures) sent.add(future.get());
        }
        if (!"0".equals(config(pairs).get("acks"))) {
            for (RecordMetadata one : sent) {
                long expected = next.getOrDefault(one.partition(), first);
                check(one.offset() == expected, "acknowledged offset " + one.offset() + ", expected " + expected + " in partition " + one.partition());
                next.put(one.partition(), expected + 1);
            }
        }
        return sent;
    }

    static List<TopicPartition> partitions(String topic, int count) {
        List<TopicPartition> list = new ArrayList<>();
        for (int i = 0; i < count; i++) list.add(new TopicPartition(topic, i));
        return list;
    }

    /** Everything between the beginning and the end of all partitions, once the ends add up to `count` records. */
    static Map<Integer, List<ConsumerRecord<byte[], byte[]>>> readAll(String topic, int partitions, int count, Object... pairs) throws Exception {
        Map<Integer, List<ConsumerRecord<byte[], byte[]>>> found = new HashMap<>();
        List<TopicPartition> all = partitions(topic, partitions);
        for (TopicPartition partition : all) found.put(partition.partition(), new ArrayList<>());
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(pairs)) {
            consumer.assign(all);
            consumer.seekToBeginning(all);
            long deadline = System.currentTimeMillis() + WAIT_MS;
            int seen = 0;
            while (seen < count && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    found.get(record.partition()).add(record);
                    seen++;
                }
            }
            check(seen == count, "read " + seen + " records, expected " + count);
            for (ConsumerRecord<byte[], byte[]> extra : consumer.poll(Duration.ofMillis(100))) check(false, "one record too many: " + extra);
            for (Map.Entry<TopicPartition, Long> end : consumer.endOffsets(all).entrySet()) {
                long position = consumer.position(end.getKey());
                check(position == end.getValue(), end.getKey() + " ends at " + end.getValue() + ", position is " + position);
            }
        }
        return found;
    }

    static void compare(ProducerRecord<byte[], byte[]> sent, ConsumerRecord<byte[], byte[]> got, boolean timestamps) {
        String where = got.topic() + "-" + got.partition() + "@" + got.offset();
        check(Arrays.equals(sent.key(), got.key()), "key differs at " + where);
        check(Arrays.equals(sent.value(), got.value()), "value differs at " + where);
        check(Arrays.equals(sent.headers().toArray(), got.headers().toArray()), "headers differ at " + where);
        if (timestamps && sent.timestamp() != null) {
            check(sent.timestamp() == got.timestamp(), "timestamp " + got.timestamp() + ", sent " + sent.timestamp() + " at " + where);
            check(got.timestampType() == TimestampType.CREATE_TIME, "timestamp type " + got.timestampType() + " at " + where);
        }
    }

    static void roundTrip(String topic, int partitions, List<ProducerRecord<byte[], byte[]>> records, Object... pairs) throws Exception {
        List<RecordMetadata> sent = send(records, 0, pairs);
        Map<Integer, List<ConsumerRecord<byte[], byte[]>>> found = readAll(topic, partitions, records.size());
        Map<Integer, Integer> next = new HashMap<>();
        for (int i = 0; i < records.size(); i++) {
            int partition = sent.get(i).partition();
            int index = next.merge(partition, 1, Integer::sum) - 1;
            check(index < found.get(partition).size(), "partition " + partition + " has too few records");
            ConsumerRecord<byte[], byte[]> got = found.get(partition).get(index);
            check(got.offset() == index, "offset " + got.offset() + ", expected " + index);
            compare(records.get(i), got, true);
        }
    }

    interface Action {
        void run() throws Exception;
    }

    static void refused(Class<? extends Exception> with, Action action) throws Exception {
        try {
            action.run();
        } catch (ExecutionException e) {
            check(with.isInstance(e.getCause()), "refused with " + e.getCause() + " instead of " + with.getSimpleName());
            return;
        }
        check(false, "not refused with " + with.getSimpleName());
    }

    // ---------------------------------------------------------------- producing and consuming

    static void codec(String topic, String codec) throws Exception {
        create(topic, 3);
        roundTrip(topic, 3, records(topic, 3, 400, 2000), "compression.type", codec, "linger.ms", 20);
    }

    static void acks(String topic, String acks) throws Exception {
        create(topic, 3);
        // Without acknowledgements nobody hears that a leader was not ready for its new partition yet; asking for the ends waits for that.
        readAll(topic, 3, 0);
        List<ProducerRecord<byte[], byte[]>> records = records(topic, 3, 300, 500);
        if (acks.equals("all")) roundTrip(topic, 3, records, "acks", "all");
        else roundTrip(topic, 3, records, "acks", acks, "enable.idempotence", "false");
        readAll(topic, 3, records.size(), "isolation.level", "read_committed");
    }

    static void idempotent(String topic) throws Exception {
        create(topic, 2);
        roundTrip(topic, 2, records(topic, 2, 3000, 200), "acks", "all", "enable.idempotence", "true", "batch.size", 1000, "max.in.flight.requests.per.connection", 5);
    }

    static void keys(String topic) throws Exception {
        create(topic, 4);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        byte[][] keys = {bytes("a"), bytes(""), bytes("\u00e4\u4e16\ud83e\uddf5"), pattern(1, 1), pattern(2, 255), pattern(3, 10_000), {0, -1, 0, -1}};
        for (int i = 0; i < 140; i++) records.add(new ProducerRecord<>(topic, keys[i % keys.length], bytes("value-" + i)));
        for (int i = 0; i < 20; i++) records.add(new ProducerRecord<>(topic, (byte[]) null, bytes("no key " + i)));
        roundTrip(topic, 4, records);
        Map<String, Set<Integer>> homes = new HashMap<>();
        for (List<ConsumerRecord<byte[], byte[]>> list : readAll(topic, 4, records.size()).values()) {
            for (ConsumerRecord<byte[], byte[]> record : list) {
                if (record.key() != null) homes.computeIfAbsent(Arrays.toString(record.key()), k -> new HashSet<>()).add(record.partition());
            }
        }
        check(homes.size() == keys.length, "distinct keys read: " + homes.size());
        for (Set<Integer> home : homes.values()) check(home.size() == 1, "one key in partitions " + home);
    }

    static void headers(String topic) throws Exception {
        create(topic, 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        List<Header> many = new ArrayList<>();
        for (int i = 0; i < 100; i++) many.add(new RecordHeader("h" + i % 10, pattern(i, i)));
        List<List<Header>> sets = Arrays.asList(
            Collections.emptyList(),
            Collections.singletonList(new RecordHeader("one", bytes("1"))),
            Arrays.asList(new RecordHeader("twice", bytes("a")), new RecordHeader("twice", bytes("b")), new RecordHeader("twice", bytes("a"))),
            Arrays.asList(new RecordHeader("null", (byte[]) null), new RecordHeader("empty", new byte[0]), new RecordHeader("", bytes("no name"))),
            Collections.singletonList(new RecordHeader("\u00fcnic\u00f6de-\u4e16", pattern(5, 3000))),
            many);
        for (List<Header> set : sets) records.add(new ProducerRecord<>(topic, 0, bytes("k"), bytes("v"), set));
        roundTrip(topic, 1, records);
    }

    static void tombstones(String topic) throws Exception {
        create(topic, 1, "cleanup.policy", "compact");
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 30; i++) records.add(new ProducerRecord<>(topic, 0, bytes("k" + i % 5), i % 3 == 0 ? null : bytes(i % 3 == 1 ? "" : "v" + i)));
        roundTrip(topic, 1, records);
        try {
            send(Collections.singletonList(new ProducerRecord<>(topic, 0, null, bytes("no key"))), 30);
        } catch (ExecutionException expected) {
            readAll(topic, 1, 30);
            return;
        }
        check(false, "a record without a key was accepted by a compacted topic");
    }

    static void timestamps(String topic) throws Exception {
        create(topic, 1);
        long now = System.currentTimeMillis();
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        long[] times = {now, now - 1000, 0, 1, now - 86_400_000L * 30, now + 60_000, now, 1_500_000_000_123L};
        for (long time : times) records.add(new ProducerRecord<>(topic, 0, time, bytes("k"), bytes("at " + time)));
        roundTrip(topic, 1, records, "linger.ms", 50);

        String appended = topic + "-appended";
        create(appended, 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        for (RecordMetadata one : send(Arrays.asList(
                new ProducerRecord<>(appended, 0, 12345L, bytes("k"), bytes("v")),
                new ProducerRecord<>(appended, 0, 12346L, bytes("k"), bytes("w"))), 0, "compression.type", "gzip")) {
            check(one.timestamp() >= before - 2000 && one.timestamp() <= System.currentTimeMillis() + 2000, "acknowledged append time " + one.timestamp());
        }
        for (ConsumerRecord<byte[], byte[]> record : readAll(appended, 1, 2).get(0)) {
            check(record.timestampType() == TimestampType.LOG_APPEND_TIME, "timestamp type " + record.timestampType());
            check(record.timestamp() >= before - 2000 && record.timestamp() <= System.currentTimeMillis() + 2000, "append time " + record.timestamp());
        }
    }

    static void offsetsForTime(String topic) throws Exception {
        create(topic, 1);
        long base = 1_700_000_000_000L;
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 100; i++) records.add(new ProducerRecord<>(topic, 0, base + i * 1000L, bytes("k"), pattern(i, 300)));
        send(records, 0, "batch.size", 2000, "compression.type", "lz4");
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            long[][] questions = {{base, 0}, {base + 1, 1}, {base + 41_000, 41}, {base + 41_001, 42}, {0, 0}, {base + 99_000, 99}, {base + 99_001, -1}};
            for (long[] question : questions) {
                OffsetAndTimestamp answer = consumer.offsetsForTimes(Collections.singletonMap(partition, question[0])).get(partition);
                long offset = answer == null ? -1 : answer.offset();
                check(offset == question[1], "offset for base+" + (question[0] - base) + " is " + offset + ", expected " + question[1]);
                if (answer != null) check(answer.timestamp() == base + offset * 1000, "timestamp of offset " + offset + " is " + answer.timestamp());
            }
            consumer.assign(Collections.singleton(partition));
            check(consumer.beginningOffsets(Collections.singleton(partition)).get(partition) == 0, "beginning");
            check(consumer.endOffsets(Collections.singleton(partition)).get(partition) == 100, "end");
        }
    }

    static void record1mb(String topic) throws Exception {
        create(topic, 1);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 4; i++) records.add(new ProducerRecord<>(topic, 0, null, pattern(i, LARGEST_VALUE - i % 2)));
        roundTrip(topic, 1, records, "max.request.size", 10_000_000);
    }

    static void recordTooLarge(String topic) throws Exception {
        create(topic, 1);
        create(topic + "-small", 1, "max.message.bytes", "20000");
        List<ProducerRecord<byte[], byte[]>> kept = new ArrayList<>();
        try (KafkaProducer<byte[], byte[]> producer = producer("max.request.size", 10_000_000)) {
            for (int length : new int[] {LARGEST_VALUE + 1, 2_000_000}) {
                refused(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic, 0, null, pattern(1, length))).get());
                ProducerRecord<byte[], byte[]> small = new ProducerRecord<>(topic, 0, (long) length, null, pattern(2, 100));
                producer.send(small).get();
                kept.add(small);
            }
            refused(RecordTooLargeException.class, () -> producer.send(new ProducerRecord<>(topic + "-small", 0, null, pattern(1, 30_000))).get());
            producer.send(new ProducerRecord<>(topic + "-small", 0, null, pattern(1, 19_000))).get();
        }
        List<ConsumerRecord<byte[], byte[]>> found = readAll(topic, 1, 2).get(0);
        for (int i = 0; i < 2; i++) compare(kept.get(i), found.get(i), true);
        readAll(topic + "-small", 1, 1);
    }

    static void seek(String topic) throws Exception {
        create(topic, 1);
        List<ProducerRecord<byte[], byte[]>> records = records(topic, 1, 500, 200);
        send(records, 0, "compression.type", "gzip", "linger.ms", 50);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("max.poll.records", 3, "max.partition.fetch.bytes", 1000)) {
            consumer.assign(Collections.singleton(partition));
            for (int offset : new int[] {499, 0, 123, 7, 250}) {
                consumer.seek(partition, offset);
                ConsumerRecord<byte[], byte[]> first = null;
                long deadline = System.currentTimeMillis() + WAIT_MS;
                while (first == null && System.currentTimeMillis() < deadline) {
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                        first = record;
                        break;
                    }
                }
                check(first != null && first.offset() == offset, "after seek to " + offset + " came " + first);
                compare(records.get(offset), first, true);
            }
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("auto.offset.reset", "none")) {
            consumer.assign(Collections.singleton(partition));
            consumer.seek(partition, 501);
            boolean refused = false;
            long deadline = System.currentTimeMillis() + WAIT_MS;
            while (!refused && System.currentTimeMillis() < deadline) {
                try {
                    consumer.poll(Duration.ofMillis(200));
                } catch (OffsetOutOfRangeException e) {
                    refused = true;
                }
            }
            check(refused, "offset 501 of 500 is not out of range");
        }
    }

    static void autoCreate(String topic) throws Exception {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 10; i++) records.add(new ProducerRecord<>(topic, 0, bytes("k"), bytes("v" + i)));
        roundTrip(topic, 1, records);
    }

    // ---------------------------------------------------------------- groups

    /** One member of a group on its own thread: commits what it has read after every poll. */
    static final class Member extends Thread {
        final KafkaConsumer<byte[], byte[]> consumer;
        final List<String> read = Collections.synchronizedList(new ArrayList<>());
        volatile Set<TopicPartition> assigned = Collections.emptySet();
        volatile boolean leave;
        volatile Throwable failure;

        Member(String topic, String group, String assignor) {
            Object[] pairs = {"group.id", group, "session.timeout.ms", 10000, "heartbeat.interval.ms", 300, "max.poll.records", 50};
            if (assignor != null) {
                pairs = Arrays.copyOf(pairs, pairs.length + 2);
                pairs[pairs.length - 2] = "partition.assignment.strategy";
                pairs[pairs.length - 1] = assignor;
            }
            consumer = consumer(pairs);
            consumer.subscribe(Collections.singleton(topic));
            setDaemon(true);
            start();
        }

        @Override
        public void run() {
            try {
                while (!leave) {
                    List<String> batch = new ArrayList<>();
                    for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                        batch.add(record.partition() + "@" + record.offset());
                    }
                    assigned = new HashSet<>(consumer.assignment());
                    if (!batch.isEmpty()) {
                        consumer.commitSync();
                        read.addAll(batch);
                    }
                }
                consumer.close();
            } catch (Throwable e) {
                failure = e;
            }
        }
    }

    static void balanced(List<Member> members, int partitions) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS;
        String seen = "";
        while (System.currentTimeMillis() < deadline) {
            Set<TopicPartition> union = new HashSet<>();
            int sum = 0;
            boolean even = true;
            List<Integer> counts = new ArrayList<>();
            for (Member member : members) {
                if (member.failure != null) throw new AssertionError("member failed: " + member.failure);
                Set<TopicPartition> now = member.assigned;
                union.addAll(now);
                sum += now.size();
                counts.add(now.size());
                even &= now.size() == partitions / members.size();
            }
            seen = counts.toString();
            if (even && sum == partitions && union.size() == partitions) return;
            Thread.sleep(50);
        }
        check(false, "assignment of " + partitions + " partitions stays at " + seen);
    }

    static void collected(List<Member> members, int count) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS;
        int total = 0;
        while (System.currentTimeMillis() < deadline && total < count) {
            total = 0;
            for (Member member : members) total += member.read.size();
            Thread.sleep(20);
        }
        Set<String> distinct = new HashSet<>();
        total = 0;
        for (Member member : members) {
            distinct.addAll(member.read);
            total += member.read.size();
        }
        check(total == count && distinct.size() == count, "members read " + total + " records, " + distinct.size() + " distinct, expected " + count);
    }

    static void group(String topic, int size, String assignor) throws Exception {
        int partitions = 6;
        create(topic, partitions);
        List<Member> members = new ArrayList<>();
        members.add(new Member(topic, topic, assignor));
        balanced(members, partitions);
        while (members.size() < size) members.add(new Member(topic, topic, assignor));
        balanced(members, partitions);
        send(records(topic, partitions, 600, 100), 0);
        collected(members, 600);
        Member leaver = members.get(0);
        leaver.leave = true;
        leaver.join(WAIT_MS);
        check(leaver.failure == null, "leaving failed: " + leaver.failure);
        List<Member> rest = members.subList(1, members.size());
        balanced(rest, partitions);
        send(records(topic, partitions, 600, 100), 100);
        collected(members, 1200);
        for (Member member : rest) member.leave = true;
        for (Member member : rest) {
            member.join(WAIT_MS);
            check(member.failure == null, "closing failed: " + member.failure);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", topic)) {
            for (TopicPartition partition : partitions(topic, partitions)) {
                OffsetAndMetadata committed = Shim.committed(consumer, partition);
                check(committed != null && committed.offset() == 200, "committed of " + partition + " is " + committed);
            }
        }
    }

    static void commitResume(String topic) throws Exception {
        create(topic, 2);
        List<ProducerRecord<byte[], byte[]>> records = records(topic, 2, 200, 100);
        send(records, 0);
        List<TopicPartition> both = partitions(topic, 2);
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        offsets.put(both.get(0), new OffsetAndMetadata(40, "forty"));
        offsets.put(both.get(1), new OffsetAndMetadata(60, ""));
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", topic)) {
            consumer.subscribe(Collections.singleton(topic));
            long deadline = System.currentTimeMillis() + WAIT_MS;
            int seen = 0;
            while (seen < 200 && System.currentTimeMillis() < deadline) seen += consumer.poll(Duration.ofMillis(200)).count();
            check(seen == 200, "read " + seen);
            consumer.commitSync();
            check(Shim.committed(consumer, both.get(0)).offset() == 100, "position was not committed");
            consumer.commitSync(offsets);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", topic)) {
            OffsetAndMetadata committed = Shim.committed(consumer, both.get(0));
            check(committed.offset() == 40 && committed.metadata().equals("forty"), "committed " + committed);
            consumer.subscribe(Collections.singleton(topic));
            Map<Integer, Long> next = new HashMap<>();
            next.put(0, 40L);
            next.put(1, 60L);
            long deadline = System.currentTimeMillis() + WAIT_MS;
            int seen = 0;
            while (seen < 100 && System.currentTimeMillis() < deadline) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    long expected = next.get(record.partition());
                    check(record.offset() == expected, "resumed at " + record.offset() + ", expected " + expected);
                    compare(records.get((int) (record.offset() * 2 + record.partition())), record, true);
                    next.put(record.partition(), expected + 1);
                    seen++;
                }
            }
            check(seen == 100, "after resuming " + seen + " records, expected 100");
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer("group.id", topic + "-other")) {
            check(Shim.committed(consumer, both.get(0)) == null, "a group that never committed has an offset");
        }
    }

    // ---------------------------------------------------------------- admin

    static void adminCluster(String topic) throws Exception {
        try (AdminClient admin = admin()) {
            DescribeClusterResult cluster = admin.describeCluster();
            Collection<Node> nodes = cluster.nodes().get();
            check(!nodes.isEmpty(), "no nodes");
            check(cluster.clusterId().get() != null && !cluster.clusterId().get().isEmpty(), "no cluster id");
            check(nodes.stream().anyMatch(n -> n.id() == cluster_controller(cluster)), "the controller is not one of the nodes");
            for (Node node : nodes) check(node.port() > 0 && !node.host().isEmpty(), "node " + node);
        }
    }

    static int cluster_controller(DescribeClusterResult cluster) {
        try {
            return cluster.controller().get().id();
        } catch (Exception e) {
            throw new AssertionError(e);
        }
    }

    static void adminTopics(String topic) throws Exception {
        try (AdminClient admin = admin()) {
            NewTopic fresh = new NewTopic(topic, 4, (short) 1).configs(Collections.singletonMap("retention.ms", "1234567"));
            admin.createTopics(Collections.singleton(fresh)).all().get();
            TopicDescription description = Shim.describe(admin, topic);
            check(description.partitions().size() == 4, "partitions: " + description.partitions().size());
            for (int i = 0; i < 4; i++) {
                check(description.partitions().get(i).partition() == i, "partition order");
                check(description.partitions().get(i).leader() != null, "no leader");
                check(description.partitions().get(i).replicas().size() == 1, "replicas");
                check(description.partitions().get(i).isr().size() == 1, "in-sync replicas");
            }
            check(admin.listTopics().names().get().contains(topic), "created topic is not listed");
            refused(TopicExistsException.class, () -> admin.createTopics(Collections.singleton(fresh)).all().get());
            refused(InvalidTopicException.class, () -> admin.createTopics(Collections.singleton(new NewTopic("a b", 1, (short) 1))).all().get());
            admin.deleteTopics(Collections.singleton(topic)).all().get();
            long deadline = System.currentTimeMillis() + WAIT_MS;
            while (admin.listTopics().names().get().contains(topic)) {
                check(System.currentTimeMillis() < deadline, "deleted topic is still listed");
                Thread.sleep(50);
            }
            refused(UnknownTopicOrPartitionException.class, () -> Shim.describe(admin, topic));
            refused(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(Collections.singleton(topic)).all().get());
            admin.createTopics(Collections.singleton(new NewTopic(topic, 1, (short) 1))).all().get();
        }
        roundTrip(topic, 1, records(topic, 1, 10, 10));
    }

    static void adminConfigs(String topic) throws Exception {
        create(topic, 1);
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        try (AdminClient admin = admin()) {
            ConfigEntry entry = topicConfig(admin, resource);
            check(entry.value().equals("604800000") && entry.isDefault(), "default " + entry);
            Shim.alterConfig(admin, resource, "retention.ms", "3600000");
            awaitConfig(admin, resource, "3600000", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
            refused(InvalidConfigurationException.class, () -> Shim.alterConfig(admin, resource, "retention.ms", "-7"));
            awaitConfig(admin, resource, "3600000", ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
            Shim.alterConfig(admin, resource, "retention.ms", null);
            awaitConfig(admin, resource, "604800000", ConfigEntry.ConfigSource.DEFAULT_CONFIG);
            int node = admin.describeCluster().nodes().get().iterator().next().id();
            ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, "" + node);
            check(admin.describeConfigs(Collections.singleton(broker)).all().get().get(broker).get("num.partitions") != null, "broker settings lack num.partitions");
        }
    }

    static ConfigEntry topicConfig(AdminClient admin, ConfigResource resource) throws Exception {
        return admin.describeConfigs(Collections.singleton(resource)).all().get().get(resource).get("retention.ms");
    }

    static void awaitConfig(AdminClient admin, ConfigResource resource, String value, ConfigEntry.ConfigSource source) throws Exception {
        long deadline = System.currentTimeMillis() + WAIT_MS;
        while (true) {
            ConfigEntry entry = topicConfig(admin, resource);
            if (entry.value().equals(value) && entry.source() == source) return;
            check(System.currentTimeMillis() < deadline, "expected " + value + " from " + source + ", still " + entry);
            Thread.sleep(50);
        }
    }

    static void adminPartitions(String topic) throws Exception {
        create(topic, 2);
        send(records(topic, 2, 20, 20), 0);
        try (AdminClient admin = admin()) {
            admin.createPartitions(Collections.singletonMap(topic, NewPartitions.increaseTo(5))).all().get();
            long deadline = System.currentTimeMillis() + WAIT_MS;
            while (Shim.describe(admin, topic).partitions().size() != 5) {
                check(System.currentTimeMillis() < deadline, "still not 5 partitions");
                Thread.sleep(50);
            }
            refused(InvalidPartitionsException.class, () -> admin.createPartitions(Collections.singletonMap(topic, NewPartitions.increaseTo(3))).all().get());
        }
        List<ProducerRecord<byte[], byte[]>> late = new ArrayList<>();
        for (int i = 0; i < 30; i++) late.add(new ProducerRecord<>(topic, 2 + i % 3, bytes("k"), bytes("late " + i)));
        send(late, 0);
        Map<Integer, List<ConsumerRecord<byte[], byte[]>>> found = readAll(topic, 5, 50);
        for (int i = 0; i < 30; i++) compare(late.get(i), found.get(2 + i % 3).get(i / 3), false);
    }

    static void adminDeleteRecords(String topic) throws Exception {
        create(topic, 1);
        List<ProducerRecord<byte[], byte[]>> records = records(topic, 1, 100, 50);
        send(records, 0, "batch.size", 500);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (AdminClient admin = admin(); KafkaConsumer<byte[], byte[]> consumer = consumer()) {
            long low = admin.deleteRecords(Collections.singletonMap(partition, RecordsToDelete.beforeOffset(40))).lowWatermarks().get(partition).get().lowWatermark();
            check(low == 40, "low watermark " + low);
            check(consumer.beginningOffsets(Collections.singleton(partition)).get(partition) == 40, "beginning is not 40");
            List<ConsumerRecord<byte[], byte[]>> found = readAll(topic, 1, 60).get(0);
            for (int i = 0; i < 60; i++) {
                check(found.get(i).offset() == 40 + i, "offset " + found.get(i).offset());
                compare(records.get(40 + i), found.get(i), true);
            }
            refused(org.apache.kafka.common.errors.OffsetOutOfRangeException.class,
                () -> admin.deleteRecords(Collections.singletonMap(partition, RecordsToDelete.beforeOffset(101))).lowWatermarks().get(partition).get());
            low = admin.deleteRecords(Collections.singletonMap(partition, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(partition).get().lowWatermark();
            check(low == 100, "low watermark after deleting all " + low);
        }
    }

    static void adminGroups(String topic) throws Exception {
        create(topic, 2);
        send(records(topic, 2, 20, 20), 0);
        Set<String> group = Collections.singleton(topic);
        try (AdminClient admin = admin()) {
            Member member = new Member(topic, topic, null);
            balanced(Collections.singletonList(member), 2);
            collected(Collections.singletonList(member), 20);
            Collection<ConsumerGroupListing> listed = admin.listConsumerGroups().all().get();
            check(listed.stream().anyMatch(g -> g.groupId().equals(topic)), "group is not listed");
            ConsumerGroupDescription description = admin.describeConsumerGroups(group).all().get().get(topic);
            check(description.state().toString().equals("Stable"), "state " + description.state());
            check(description.members().size() == 1, "members " + description.members().size());
            check(description.members().iterator().next().assignment().topicPartitions().equals(new HashSet<>(partitions(topic, 2))), "assignment");
            refused(GroupNotEmptyException.class, () -> admin.deleteConsumerGroups(group).all().get());
            member.leave = true;
            member.join(WAIT_MS);
            check(member.failure == null, "member: " + member.failure);
            description = admin.describeConsumerGroups(group).all().get().get(topic);
            check(description.state().toString().equals("Empty"), "state after leaving " + description.state());
            Map<TopicPartition, OffsetAndMetadata> offsets = admin.listConsumerGroupOffsets(topic).partitionsToOffsetAndMetadata().get();
            for (TopicPartition partition : partitions(topic, 2)) check(offsets.get(partition).offset() == 10, "offsets " + offsets);
            Shim.alterGroupOffset(admin, topic, new TopicPartition(topic, 0), 3);
            admin.deleteConsumerGroups(group).all().get();
            check(admin.listConsumerGroups().all().get().stream().noneMatch(g -> g.groupId().equals(topic)), "deleted group is listed");
        }
    }
}
