//! `--reset-offsets`: a plan of new offsets, shown or executed.

use super::table::Table;
use super::{groups, print_error, topic_partitions};
use crate::console::Console;
use crate::datetime;
use crate::tools::options::Parsed;
use crate::tools::{ToolError, usage_error};
use odradek_client::Cluster;
use odradek_client::admin::OffsetSpec;
use odradek_client::consumer::{CommittedOffset, IsolationLevel};
use std::collections::BTreeMap;

const SCENARIOS: [&str; 8] = ["to-offset", "shift-by", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "from-file"];

type Plan = BTreeMap<(String, i32), i64>;

pub fn check(parsed: &Parsed) -> Result<(), String> {
    for scenario in SCENARIOS {
        let others: Vec<&str> = SCENARIOS.into_iter().filter(|s| *s != scenario).collect();
        parsed.exclude(scenario, &others)?;
    }
    if !SCENARIOS.iter().any(|s| parsed.has(s)) {
        let list: Vec<String> = SCENARIOS.iter().map(|s| format!("[{s}]")).collect();
        return Err(format!("Option '[reset-offsets]' requires one of the following scenarios: {}", list.join(", ")));
    }
    if !parsed.has("from-file") && !parsed.has("all-topics") && !parsed.has("topic") {
        return Err("One of the reset scopes should be defined: --all-topics, --topic.".to_owned());
    }
    Ok(())
}

pub fn reset(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<(), ToolError> {
    let groups = groups(parsed, cluster)?;
    let single = groups.len() == 1 && !parsed.has("all-groups");
    let mut plans: Vec<(String, Plan)> = Vec::new();
    for group in groups {
        // A group that does not exist yet gets its first offsets.
        let state = match cluster.admin().describe_group(&group) {
            Ok(described) => described.state,
            Err(error) if error.code() == Some(odradek_wire::ErrorCode::GroupIdNotFound) => "Dead".to_owned(),
            Err(error) => return Err(error.into()),
        };
        if state != "Empty" && state != "Dead" {
            print_error(
                &format!("Assignments can only be reset if the group '{group}' is inactive, but the current state is {state}."),
                console,
            );
            continue;
        }
        let plan = plan(parsed, &group, single, cluster, console)?;
        if parsed.has("execute") && !plan.is_empty() {
            let offsets = plan
                .iter()
                .map(|(p, &offset)| (p.clone(), CommittedOffset { offset, leader_epoch: -1, metadata: String::new() }))
                .collect();
            cluster.admin().alter_group_offsets(&group, &offsets)?;
        }
        plans.push((group, plan));
    }
    if parsed.has("export") {
        for (group, plan) in &plans {
            for ((topic, partition), offset) in plan {
                let lead = if single { String::new() } else { format!("{group},") };
                console.line(&format!("{lead}{topic},{partition},{offset}"));
            }
        }
        console.line("");
        return Ok(());
    }
    let mut table = Table::new(&[("GROUP", 15), ("TOPIC", 15), ("PARTITION", 10), ("NEW-OFFSET", 0)]);
    for (group, plan) in plans {
        for ((topic, partition), offset) in plan {
            table.row([group.clone(), topic, partition.to_string(), offset.to_string()]);
        }
    }
    console.line(&table.text());
    Ok(())
}

fn plan(parsed: &Parsed, group: &str, single: bool, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<Plan, ToolError> {
    if let Some(path) = parsed.value("from-file").map_err(usage_error)? {
        let text = std::fs::read_to_string(path).map_err(|e| ToolError::Failed(format!("{path}: {e}")))?;
        return in_range(from_csv(&text, group, single).map_err(ToolError::Failed)?, cluster, console);
    }
    let partitions: Vec<(String, i32)> = if parsed.has("all-topics") {
        cluster.admin().group_offsets(group, None)?.into_keys().collect()
    } else {
        topic_partitions(&parsed.values("topic"), cluster)?
    };
    if let Some(offset) = parsed.number::<i64>("to-offset").map_err(usage_error)? {
        return in_range(partitions.into_iter().map(|p| (p, offset)).collect(), cluster, console);
    }
    if let Some(shift) = parsed.number::<i64>("shift-by").map_err(usage_error)? {
        let committed = cluster.admin().group_offsets(group, Some(&partitions))?;
        let mut plan = Plan::new();
        for partition in partitions {
            let Some(at) = committed.get(&partition) else {
                return Err(ToolError::Usage(format!(
                    "Cannot shift offset for partition {}-{} since there is no current committed offset",
                    partition.0, partition.1
                )));
            };
            plan.insert(partition, at.offset.saturating_add(shift));
        }
        return in_range(plan, cluster, console);
    }
    if parsed.has("to-current") {
        let committed = cluster.admin().group_offsets(group, Some(&partitions))?;
        let (known, unknown): (Vec<_>, Vec<_>) = partitions.into_iter().partition(|p| committed.contains_key(p));
        let mut plan = listed(&unknown, OffsetSpec::Latest, cluster)?;
        plan.extend(known.into_iter().filter_map(|p| committed.get(&p).map(|c| (p.clone(), c.offset))));
        return Ok(plan);
    }
    if parsed.has("to-earliest") {
        return listed(&partitions, OffsetSpec::Earliest, cluster);
    }
    if parsed.has("to-latest") {
        return listed(&partitions, OffsetSpec::Latest, cluster);
    }
    let timestamp = match (parsed.value("to-datetime").map_err(usage_error)?, parsed.value("by-duration").map_err(usage_error)?) {
        (Some(text), _) => datetime::parse_datetime(text).map_err(ToolError::Failed)?,
        (None, Some(text)) => odradek_client::producer::wall_clock_ms() - datetime::parse_duration_ms(text).map_err(ToolError::Failed)?,
        (None, None) => return Err(ToolError::Usage("--reset-offsets needs a scenario".to_owned())),
    };
    let mut plan = listed(&partitions, OffsetSpec::Timestamp(timestamp), cluster)?;
    let empty: Vec<(String, i32)> = plan.iter().filter(|(_, offset)| **offset < 0).map(|(p, _)| p.clone()).collect();
    for (topic, partition) in &empty {
        console.line(&format!("\nWarn: Partition {partition} from topic {topic} is empty. Falling back to latest known offset."));
    }
    plan.extend(listed(&empty, OffsetSpec::Latest, cluster)?);
    Ok(plan)
}

fn listed(partitions: &[(String, i32)], spec: OffsetSpec, cluster: &mut Cluster) -> Result<Plan, ToolError> {
    let wanted: Vec<(String, i32, OffsetSpec)> = partitions.iter().map(|(t, p)| (t.clone(), *p, spec)).collect();
    let mut plan = Plan::new();
    for (partition, result) in cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)? {
        plan.insert(partition, result?.offset);
    }
    Ok(plan)
}

/// Moves offsets into what the partitions hold, with a warning.
fn in_range(plan: Plan, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<Plan, ToolError> {
    let partitions: Vec<(String, i32)> = plan.keys().cloned().collect();
    let (starts, ends) = (listed(&partitions, OffsetSpec::Earliest, cluster)?, listed(&partitions, OffsetSpec::Latest, cluster)?);
    let mut checked = Plan::new();
    for (partition, offset) in plan {
        let (start, end) = (starts.get(&partition).copied().unwrap_or(0), ends.get(&partition).copied().unwrap_or(offset));
        let (name, used) = (format!("{}-{}", partition.0, partition.1), offset.min(end).max(start));
        if offset > end {
            console.error_line(&format!(
                "WARN New offset ({offset}) is higher than latest offset for topic partition {name}. Value will be set to {used}"
            ));
        } else if offset < start {
            console.error_line(&format!(
                "WARN New offset ({offset}) is lower than earliest offset for topic partition {name}. Value will be set to {used}"
            ));
        }
        checked.insert(partition, used);
    }
    Ok(checked)
}

/// Rows `topic,partition,offset` (one group) or `group,topic,partition,offset`.
fn from_csv(text: &str, group: &str, single: bool) -> Result<Plan, String> {
    let mut plan = Plan::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let bad = || format!("'{line}' is not topic,partition,offset or group,topic,partition,offset");
        let cells: Vec<&str> = line.split(',').map(|c| c.trim().trim_matches('"')).collect();
        let (of, cells) = match cells.as_slice() {
            [topic, partition, offset] if single => (group, [*topic, *partition, *offset]),
            [of, topic, partition, offset] => (*of, [*topic, *partition, *offset]),
            _ => return Err(bad()),
        };
        if of == group {
            let [topic, partition, offset] = cells;
            plan.insert((topic.to_owned(), partition.parse().map_err(|_| bad())?), offset.parse().map_err(|_| bad())?);
        }
    }
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_of_one_and_of_many_groups() {
        let one = BTreeMap::from([(("t".to_owned(), 0), 5), (("t".to_owned(), 1), 7)]);
        assert_eq!(from_csv("t,0,5\n\"t\",1,7\n", "g", true), Ok(one));
        assert_eq!(from_csv("g,t,0,5\nh,t,0,9\n", "g", false), Ok(BTreeMap::from([(("t".to_owned(), 0), 5)])));
        assert!(from_csv("t,0,5", "g", false).is_err());
        assert!(from_csv("t,x,5", "g", true).is_err());
    }
}
