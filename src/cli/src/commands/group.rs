//! `odradek group`: list, describe, delete, reset offsets.

use super::{ConnectArgs, Failure, Outcome, output};
use crate::datetime;
use clap::{Args, Subcommand};
use odradek_client::Cluster;
use odradek_client::admin::{GroupDescription, OffsetSpec};
use odradek_client::consumer::{CommittedOffset, IsolationLevel};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// List, describe and delete consumer groups, and move their offsets
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  odradek group list\n  odradek group describe billing\n  \
    odradek group reset-offsets billing --topic orders --to earliest --execute\n  odradek group delete billing")]
pub struct GroupArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List groups
    ///
    /// --json: [{"group", "state", "type", "protocolType"}]
    List {
        #[arg(long)]
        json: bool,
    },
    /// Describe groups: members, offsets and lag
    ///
    /// --json: [{"group", "state", "type", "assignor", "coordinator", "members": [{"id", "instance", "clientId", "host"}],
    /// "offsets": [{"topic", "partition", "committed", "end", "lag", "member"}]}]
    Describe {
        /// Groups; all if left out.
        groups: Vec<String>,
        #[arg(long)]
        json: bool,
    },
    /// Delete groups without members, with their offsets
    ///
    /// --json, one line per group: {"group", "result": "deleted"}
    Delete {
        #[arg(required = true)]
        groups: Vec<String>,
        #[arg(long)]
        json: bool,
    },
    /// Move the offsets of a group without members; shows the plan, does it with --execute
    ///
    /// --json: [{"topic", "partition", "from", "to"}]
    ResetOffsets(ResetArgs),
}

#[derive(Debug, Args)]
struct ResetArgs {
    group: String,
    /// Topic, or topic:0,1 for some partitions; may repeat. All topics with offsets of the group if left out.
    #[arg(long, short = 't')]
    topic: Vec<String>,
    /// earliest, latest, an offset, +N or -N from where the group is, a time (2024-02-29T12:00:00) or a duration ago (PT1H).
    #[arg(long, allow_hyphen_values = true)]
    to: String,
    /// Do it.
    #[arg(long)]
    execute: bool,
    #[arg(long)]
    json: bool,
}

pub fn run(args: GroupArgs) -> Outcome {
    let mut cluster = args.connect.connect()?;
    match args.action {
        Action::List { json } => list(json, &mut cluster),
        Action::Describe { groups, json } => describe(groups, json, &mut cluster),
        Action::Delete { groups, json } => {
            for group in groups {
                cluster.admin().delete_group(&group)?;
                output::done(json, "group", &group, "deleted");
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::ResetOffsets(args) => reset(args, &mut cluster),
    }
}

fn list(json: bool, cluster: &mut Cluster) -> Outcome {
    let groups = cluster.admin().list_groups(&[], &[])?;
    if json {
        let list: Vec<Value> =
            groups.iter().map(|g| json!({ "group": g.id, "state": g.state, "type": g.kind, "protocolType": g.protocol_type })).collect();
        output::json(&Value::from(list));
    } else if groups.is_empty() {
        output::print("no consumer groups yet\n");
    } else {
        output::table(&["GROUP", "STATE", "TYPE"], groups.into_iter().map(|g| vec![g.id, g.state, g.kind]).collect());
    }
    Ok(ExitCode::SUCCESS)
}

/// An offset of a group and where the log ends.
struct Lag {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    member: Option<String>,
}

impl Lag {
    fn lag(&self) -> Option<i64> {
        self.committed.zip(self.end).map(|(at, end)| end - at)
    }
}

fn describe(names: Vec<String>, json: bool, cluster: &mut Cluster) -> Outcome {
    let names = match names.is_empty() {
        true => cluster.admin().list_groups(&[], &[])?.into_iter().map(|g| g.id).collect(),
        false => names,
    };
    let mut documents = Vec::new();
    for name in &names {
        let group = cluster.admin().describe_group(name)?;
        if group.state == "Dead" {
            return Err(Failure::Message(format!("group '{name}' does not exist")));
        }
        let lags = lags(&group, cluster)?;
        if json {
            documents.push(document(&group, &lags));
        } else {
            show(&group, &lags);
        }
    }
    if json {
        output::json(&Value::from(documents));
    }
    Ok(ExitCode::SUCCESS)
}

fn lags(group: &GroupDescription, cluster: &mut Cluster) -> Result<Vec<Lag>, Failure> {
    let committed = cluster.admin().group_offsets(&group.id, None)?;
    let mut owners: BTreeMap<(String, i32), Option<String>> = committed.keys().map(|p| (p.clone(), None)).collect();
    for member in &group.members {
        for (topic, list) in &member.assignment {
            owners.extend(list.iter().map(|&p| ((topic.clone(), p), Some(member.id.clone()))));
        }
    }
    let wanted: Vec<(String, i32, OffsetSpec)> = owners.keys().map(|(t, p)| (t.clone(), *p, OffsetSpec::Latest)).collect();
    let mut ends = cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)?;
    Ok(owners
        .into_iter()
        .map(|(partition, member)| Lag {
            committed: committed.get(&partition).map(|c| c.offset),
            end: ends.remove(&partition).and_then(Result::ok).map(|e| e.offset),
            member,
            topic: partition.0,
            partition: partition.1,
        })
        .collect())
}

fn document(group: &GroupDescription, lags: &[Lag]) -> Value {
    let members: Vec<Value> =
        group.members.iter().map(|m| json!({ "id": m.id, "instance": m.instance, "clientId": m.client_id, "host": m.host })).collect();
    let offsets: Vec<Value> = lags
        .iter()
        .map(|l| {
            json!({ "topic": l.topic, "partition": l.partition, "committed": l.committed, "end": l.end, "lag": l.lag(), "member": l.member })
        })
        .collect();
    json!({
        "group": group.id, "state": group.state, "type": group.kind, "assignor": group.assignor, "coordinator": group.coordinator,
        "members": members, "offsets": offsets,
    })
}

fn show(group: &GroupDescription, lags: &[Lag]) {
    let total: i64 = lags.iter().filter_map(Lag::lag).sum();
    output::print(&format!(
        "group        {}\nstate        {}, {} members\ncoordinator  broker {}\nlag          {}\n\n",
        group.id,
        group.state,
        group.members.len(),
        group.coordinator,
        output::grouped(total)
    ));
    let number = |n: Option<i64>| n.map_or("-".to_owned(), output::grouped);
    let rows = lags.iter().map(|l| {
        let member = l.member.clone().unwrap_or_else(|| "-".to_owned());
        vec![l.topic.clone(), l.partition.to_string(), number(l.committed), number(l.end), number(l.lag()), member]
    });
    output::table(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER"], rows.collect());
    output::print("\n");
}

/// Where offsets go.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Spec(OffsetSpec),
    Offset(i64),
    Shift(i64),
}

fn target(text: &str, now_ms: i64) -> Result<Target, String> {
    match text {
        "earliest" | "beginning" => Ok(Target::Spec(OffsetSpec::Earliest)),
        "latest" | "end" => Ok(Target::Spec(OffsetSpec::Latest)),
        t if t.starts_with('P') => datetime::parse_duration_ms(t).map(|ms| Target::Spec(OffsetSpec::Timestamp(now_ms - ms))),
        t if t.contains('T') => datetime::parse_datetime(t).map(|ms| Target::Spec(OffsetSpec::Timestamp(ms))),
        t if t.starts_with(['+', '-']) => t.parse().map(Target::Shift).map_err(|_| format!("--to {t}: not a number")),
        t => t
            .parse()
            .map(Target::Offset)
            .map_err(|_| format!("--to {t}: expected earliest, latest, an offset, +N, -N, a time or a duration like PT1H")),
    }
}

fn reset(args: ResetArgs, cluster: &mut Cluster) -> Outcome {
    let target = target(&args.to, odradek_client::producer::wall_clock_ms()).map_err(Failure::Usage)?;
    let committed = cluster.admin().group_offsets(&args.group, None)?;
    let mut partitions: Vec<(String, i32)> = Vec::new();
    for topic in &args.topic {
        match topic.split_once(':') {
            Some((topic, list)) => {
                for text in list.split(',') {
                    let index = text.parse().map_err(|_| Failure::Usage(format!("--topic {topic}:{list}: '{text}' is no partition")))?;
                    partitions.push((topic.to_owned(), index));
                }
            }
            None => partitions.extend(cluster.await_topic(topic, false)?.partitions.iter().map(|p| (topic.clone(), p.index))),
        }
    }
    if args.topic.is_empty() {
        partitions = committed.keys().cloned().collect();
        if partitions.is_empty() {
            return Err(Failure::Message(format!("group '{}' has no offsets: name topics with --topic", args.group)));
        }
    }
    let mut plan: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for partition in &partitions {
        let at = committed.get(partition).map(|c| c.offset);
        let offset = match (&target, at) {
            (Target::Spec(_), _) => continue,
            (Target::Offset(offset), _) => *offset,
            (Target::Shift(shift), Some(at)) => at.saturating_add(*shift),
            (Target::Shift(_), None) => {
                return Err(Failure::Message(format!("{}-{} has no committed offset to shift", partition.0, partition.1)));
            }
        };
        plan.insert(partition.clone(), offset);
    }
    let ask = |spec: OffsetSpec, cluster: &mut Cluster| -> Result<BTreeMap<(String, i32), i64>, Failure> {
        let wanted: Vec<(String, i32, OffsetSpec)> = partitions.iter().map(|(t, p)| (t.clone(), *p, spec)).collect();
        let mut found = BTreeMap::new();
        for (partition, result) in cluster.admin().list_offsets(&wanted, IsolationLevel::ReadUncommitted)? {
            found.insert(partition, result?.offset);
        }
        Ok(found)
    };
    if let Target::Spec(spec) = target {
        plan = ask(spec, cluster)?;
    }
    let (starts, ends) = (ask(OffsetSpec::Earliest, cluster)?, ask(OffsetSpec::Latest, cluster)?);
    for (partition, offset) in &mut plan {
        let end = ends.get(partition).copied().unwrap_or(*offset);
        // No record is that new: the end. Otherwise into what the log holds.
        let wanted = if *offset < 0 && matches!(target, Target::Spec(_)) { end } else { *offset };
        *offset = wanted.min(end).max(starts.get(partition).copied().unwrap_or(0));
    }
    if args.execute {
        let offsets =
            plan.iter().map(|(p, &offset)| (p.clone(), CommittedOffset { offset, leader_epoch: -1, metadata: String::new() })).collect();
        cluster.admin().alter_group_offsets(&args.group, &offsets)?;
    }
    let from = |p: &(String, i32)| committed.get(p).map(|c| c.offset);
    if args.json {
        let list: Vec<Value> = plan.iter().map(|(p, to)| json!({ "topic": p.0, "partition": p.1, "from": from(p), "to": to })).collect();
        output::json(&Value::from(list));
    } else {
        let rows = plan
            .iter()
            .map(|(p, to)| vec![p.0.clone(), p.1.to_string(), from(p).map_or("-".to_owned(), output::grouped), output::grouped(*to)]);
        output::table(&["TOPIC", "PARTITION", "FROM", "TO"], rows.collect());
        output::print(if args.execute { "\ndone\n" } else { "\nnothing was changed: add --execute\n" });
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(target("+5", 0), Ok(Target::Shift(5)));
        assert_eq!(target("-5", 0), Ok(Target::Shift(-5)));
        assert_eq!(target("5", 0), Ok(Target::Offset(5)));
        assert_eq!(target("PT1S", 5000), Ok(Target::Spec(OffsetSpec::Timestamp(4000))));
        assert_eq!(target("1970-01-01T00:00:01", 0), Ok(Target::Spec(OffsetSpec::Timestamp(1000))));
        assert!(target("soon", 0).is_err());
    }
}
