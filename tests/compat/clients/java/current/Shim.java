import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.AdminClient;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** What kafka-clients 4.3.1 calls by other names than 2.1.0. */
final class Shim {
    static final String COOPERATIVE_ASSIGNOR = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";

    static OffsetAndMetadata committed(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition) {
        return consumer.committed(Collections.singleton(partition)).get(partition);
    }

    static TopicDescription describe(AdminClient admin, String topic) throws Exception {
        return admin.describeTopics(Collections.singleton(topic)).allTopicNames().get().get(topic);
    }

    /** A null value takes the setting back to its default. */
    static void alterConfig(AdminClient admin, ConfigResource resource, String name, String value) throws Exception {
        AlterConfigOp.OpType op = value == null ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET;
        List<AlterConfigOp> ops = new ArrayList<>();
        ops.add(new AlterConfigOp(new ConfigEntry(name, value), op));
        admin.incrementalAlterConfigs(Collections.singletonMap(resource, ops)).all().get();
    }

    static void alterGroupOffset(AdminClient admin, String group, TopicPartition partition, long offset) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> to = Collections.singletonMap(partition, new OffsetAndMetadata(offset));
        admin.alterConsumerGroupOffsets(group, to).all().get();
        OffsetAndMetadata seen = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition);
        Cases.check(seen != null && seen.offset() == offset, "altered group offset is " + seen);
        admin.deleteConsumerGroupOffsets(group, Collections.singleton(partition)).all().get();
        seen = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().get(partition);
        Cases.check(seen == null, "deleted group offset is still " + seen);
    }
}
