//! `--describe`: offsets and lag, members, or the state of groups.

use super::table::Table;
use super::{groups, print_error};
use crate::console::Console;
use crate::tools::ToolError;
use crate::tools::options::Parsed;
use odradek_client::admin::{GroupDescription, OffsetSpec};
use odradek_client::consumer::IsolationLevel;
use odradek_client::{ClientError, Cluster};
use std::collections::{BTreeMap, BTreeSet};

const MISSING: &str = "-";

pub fn describe(parsed: &Parsed, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<(), ToolError> {
    let mut described = Vec::new();
    for group in groups(parsed, cluster)? {
        described.push(cluster.admin().describe_group(&group)?);
    }
    let verbose = parsed.has("verbose");
    for group in &described {
        if parsed.has("members") {
            members(group, verbose, console);
        } else if parsed.has("state") {
            state(group, cluster, console);
        } else {
            offsets(group, verbose, cluster, console)?;
        }
    }
    Ok(())
}

/// Says what is special about a group's state; false when there is nothing to show.
fn announce(group: &GroupDescription, rows: usize, console: &mut Console<'_>) -> bool {
    match group.state.as_str() {
        "Dead" => print_error(&format!("Consumer group '{}' does not exist.", group.id), console),
        "Empty" => console.error_line(&format!("\nConsumer group '{}' has no active members.", group.id)),
        "PreparingRebalance" | "CompletingRebalance" | "Assigning" | "Reconciling" => {
            console.error_line(&format!("\nWarning: Consumer group '{}' is rebalancing.", group.id));
        }
        _ => {}
    }
    group.state != "Dead" && rows > 0
}

/// A partition of a group with who reads it.
struct Row {
    topic: Option<(String, i32)>,
    consumer: String,
    host: String,
    client: String,
}

fn rows(group: &GroupDescription, committed: impl Iterator<Item = (String, i32)>) -> Vec<Row> {
    let mut members: Vec<_> = group.members.iter().filter(|m| !m.assignment.is_empty()).collect();
    members.sort_by_key(|m| std::cmp::Reverse(m.assignment.values().map(Vec::len).sum::<usize>()));
    let mut rows = Vec::new();
    let mut assigned = BTreeSet::new();
    for member in members {
        let mut partitions: Vec<(String, i32)> =
            member.assignment.iter().flat_map(|(topic, list)| list.iter().map(move |&p| (topic.clone(), p))).collect();
        partitions.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        for partition in partitions {
            assigned.insert(partition.clone());
            rows.push(Row {
                topic: Some(partition),
                consumer: member.id.clone(),
                host: member.host.clone(),
                client: member.client_id.clone(),
            });
        }
    }
    let mut free: Vec<(String, i32)> = committed.filter(|p| !assigned.contains(p)).collect();
    free.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
    let missing = || MISSING.to_owned();
    rows.extend(free.into_iter().map(|p| Row { topic: Some(p), consumer: missing(), host: missing(), client: missing() }));
    rows
}

fn offsets(group: &GroupDescription, verbose: bool, cluster: &mut Cluster, console: &mut Console<'_>) -> Result<(), ToolError> {
    let committed = cluster.admin().group_offsets(&group.id, None)?;
    let rows = rows(group, committed.keys().cloned());
    if !announce(group, rows.len(), console) {
        return Ok(());
    }
    let wanted: Vec<(String, i32, OffsetSpec)> =
        rows.iter().filter_map(|r| r.topic.clone()).map(|(t, p)| (t, p, OffsetSpec::Latest)).collect();
    let ends: BTreeMap<(String, i32), Result<_, ClientError>> = cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)?;
    let text = |value: Option<i64>| value.map_or(MISSING.to_owned(), |v| v.to_string());
    let mut cells = Vec::new();
    for row in rows {
        let end = row.topic.as_ref().and_then(|p| ends.get(p)).and_then(|e| e.as_ref().ok()).map(|e| e.offset);
        let at = row.topic.as_ref().and_then(|p| committed.get(p));
        let lag = at.zip(end).map(|(at, end)| end - at.offset);
        let epoch = at.map(|a| i64::from(a.leader_epoch)).filter(|&e| e >= 0);
        let (topic, partition) = row.topic.map_or((MISSING.to_owned(), MISSING.to_owned()), |(t, p)| (t, p.to_string()));
        cells.push((
            [group.id.clone(), topic, partition],
            text(epoch),
            [text(at.map(|a| a.offset)), text(end), text(lag), row.consumer, row.host, row.client],
        ));
    }
    let text = if verbose {
        let mut table = Table::new(&[
            ("GROUP", 15),
            ("TOPIC", 15),
            ("PARTITION", 10),
            ("LEADER-EPOCH", 15),
            ("CURRENT-OFFSET", 15),
            ("LOG-END-OFFSET", 15),
            ("LAG", 15),
            ("CONSUMER-ID", 15),
            ("HOST", 15),
            ("CLIENT-ID", 0),
        ]);
        for ([g, t, p], epoch, [at, end, lag, consumer, host, client]) in cells {
            table.row([g, t, p, epoch, at, end, lag, consumer, host, client]);
        }
        table.text()
    } else {
        let mut table = Table::new(&[
            ("GROUP", 15),
            ("TOPIC", 15),
            ("PARTITION", 10),
            ("CURRENT-OFFSET", 15),
            ("LOG-END-OFFSET", 15),
            ("LAG", 15),
            ("CONSUMER-ID", 15),
            ("HOST", 15),
            ("CLIENT-ID", 0),
        ]);
        for ([g, t, p], _, [at, end, lag, consumer, host, client]) in cells {
            table.row([g, t, p, at, end, lag, consumer, host, client]);
        }
        table.text()
    };
    console.line(&text);
    Ok(())
}

fn members(group: &GroupDescription, verbose: bool, console: &mut Console<'_>) {
    // Kafka prints the heading of a group without members too.
    if group.state == "Dead" {
        announce(group, 0, console);
        return;
    }
    announce(group, group.members.len(), console);
    let with_instance = group.members.iter().any(|m| m.instance.is_some());
    let width =
        |min: usize, cell: &dyn Fn(&odradek_client::admin::GroupMember) -> usize| group.members.iter().map(cell).fold(min, usize::max);
    let group_width = group.id.len().max(15);
    let id_width = width(15, &|m| m.id.len());
    let instance_width = width(17, &|m| m.instance.as_ref().map_or(0, String::len));
    let host_width = width(15, &|m| m.host.len());
    let client_width = width(15, &|m| m.client_id.len());
    let line = |g: &str, id: &str, instance: &str, host: &str, client: &str, count: &str, assignment: &str| {
        let instance = if with_instance { format!("{instance:<instance_width$} ") } else { String::new() };
        let assignment = if verbose { assignment } else { "" };
        format!("{g:<group_width$} {id:<id_width$} {instance}{host:<host_width$} {client:<client_width$} {count:<15} {assignment}")
    };
    console.line("");
    console.line(&line("GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS", "ASSIGNMENT"));
    for member in &group.members {
        let count: usize = member.assignment.values().map(Vec::len).sum();
        let mut topics: Vec<String> = member
            .assignment
            .iter()
            .map(|(topic, list)| format!("{topic}({})", list.iter().map(i32::to_string).collect::<Vec<_>>().join(",")))
            .collect();
        topics.sort();
        let assignment = if topics.is_empty() { MISSING.to_owned() } else { topics.join(", ") };
        let instance = member.instance.as_deref().unwrap_or_default();
        console.line(&line(&group.id, &member.id, instance, &member.host, &member.client_id, &count.to_string(), &assignment));
    }
}

fn state(group: &GroupDescription, cluster: &Cluster, console: &mut Console<'_>) {
    if !announce(group, 1, console) {
        return;
    }
    let coordinator = match cluster.broker(group.coordinator) {
        Some(broker) => format!("{}:{}  ({})", broker.host, broker.port, broker.id),
        None => format!("({})", group.coordinator),
    };
    let assignor = if group.assignor.is_empty() { MISSING } else { &group.assignor };
    let mut table = Table::new(&[("GROUP", 15), ("COORDINATOR (ID)", 25), ("ASSIGNMENT-STRATEGY", 20), ("STATE", 20), ("#MEMBERS", 0)]);
    table.row([group.id.clone(), coordinator, assignor.to_owned(), group.state.clone(), group.members.len().to_string()]);
    console.line(&table.text());
}

#[cfg(test)]
mod tests {
    use super::*;
    use odradek_client::admin::GroupMember;

    fn group(state: &str, members: Vec<GroupMember>) -> GroupDescription {
        GroupDescription { id: "cg1".into(), state: state.into(), kind: "classic".into(), assignor: String::new(), coordinator: 1, members }
    }

    #[test]
    fn partitions_of_members_first_then_the_free_ones() {
        let member = GroupMember {
            id: "m".into(),
            instance: None,
            client_id: "c".into(),
            host: "/h".into(),
            assignment: BTreeMap::from([("t".to_owned(), vec![1, 0])]),
        };
        let committed = [("t".to_owned(), 0), ("u".to_owned(), 3)];
        let rows = rows(&group("Stable", vec![member]), committed.into_iter());
        let shown: Vec<(String, i32, String)> = rows.into_iter().filter_map(|r| r.topic.map(|(t, p)| (t, p, r.consumer))).collect();
        assert_eq!(shown, [("t".into(), 0, "m".into()), ("t".into(), 1, "m".into()), ("u".into(), 3, "-".into())]);
    }

    #[test]
    fn an_empty_group_is_announced_and_its_members_table_is_only_a_heading() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        members(&group("Empty", vec![]), false, &mut Console::new(&mut out, &mut err));
        // Taken from kafka-consumer-groups of Apache Kafka 4.3.1.
        assert_eq!(String::from_utf8(out).unwrap(), "\nGROUP           CONSUMER-ID     HOST            CLIENT-ID       #PARTITIONS     \n");
        assert_eq!(String::from_utf8(err).unwrap(), "\nConsumer group 'cg1' has no active members.\n");
    }
}
