//! The range assignor (`RangeAssignor`): per topic, members in order of their ids get consecutive partitions, the first ones one more.

use std::collections::BTreeMap;

/// What each member is given: topic to partitions.
pub type Assignment = BTreeMap<String, Vec<i32>>;

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    /// Orders static members before the id does (KIP-345).
    pub instance: Option<String>,
    pub topics: Vec<String>,
}

/// Assigns the partitions (`topic -> count`) to the members; a topic that does not exist is left out.
pub fn range(members: &[Member], partitions: &BTreeMap<String, usize>) -> BTreeMap<String, Assignment> {
    let mut result: BTreeMap<String, Assignment> = members.iter().map(|m| (m.id.clone(), Assignment::new())).collect();
    for (topic, &count) in partitions {
        let mut interested: Vec<&Member> = members.iter().filter(|m| m.topics.contains(topic)).collect();
        interested.sort_by(|a, b| order(a).cmp(&order(b)));
        if interested.is_empty() {
            continue;
        }
        let (each, extra) = (count / interested.len(), count % interested.len());
        let mut first = 0;
        for (i, member) in interested.iter().enumerate() {
            let share = each + usize::from(i < extra);
            if share > 0 {
                let own = (first..first + share).map(|p| p as i32).collect();
                result.entry(member.id.clone()).or_default().insert(topic.clone(), own);
            }
            first += share;
        }
    }
    result
}

/// `AbstractPartitionAssignor.MemberInfo.compareTo`: static members by instance id first, then the others by member id.
fn order(member: &Member) -> (bool, &str, &str) {
    match &member.instance {
        Some(instance) => (false, instance, &member.id),
        None => (true, "", &member.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str]) -> Member {
        Member { id: id.into(), instance: None, topics: topics.iter().map(|t| t.to_string()).collect() }
    }

    #[test]
    fn the_first_members_get_one_more_of_each_topic() {
        // The example of RangeAssignor's own documentation.
        let members = [member("C1", &["t0", "t1"]), member("C0", &["t0", "t1"])];
        let partitions = BTreeMap::from([("t0".to_owned(), 3), ("t1".to_owned(), 3)]);
        let assigned = range(&members, &partitions);
        assert_eq!(assigned["C0"], BTreeMap::from([("t0".to_owned(), vec![0, 1]), ("t1".to_owned(), vec![0, 1])]));
        assert_eq!(assigned["C1"], BTreeMap::from([("t0".to_owned(), vec![2]), ("t1".to_owned(), vec![2])]));
    }

    #[test]
    fn subscriptions_differ_and_members_may_go_empty() {
        let members = [member("a", &["x"]), member("b", &["x", "y"]), member("c", &["missing"])];
        let partitions = BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]);
        let assigned = range(&members, &partitions);
        assert_eq!(assigned["a"], BTreeMap::from([("x".to_owned(), vec![0])]));
        assert_eq!(assigned["b"], BTreeMap::from([("y".to_owned(), vec![0, 1])]));
        assert!(assigned["c"].is_empty());
    }

    #[test]
    fn static_members_are_ordered_by_instance_before_dynamic_ones() {
        let mut fixed = member("zzz", &["x"]);
        fixed.instance = Some("i1".into());
        let assigned = range(&[member("aaa", &["x"]), fixed], &BTreeMap::from([("x".to_owned(), 1)]));
        assert_eq!(assigned["zzz"]["x"], [0]);
        assert!(assigned["aaa"].is_empty());
    }
}
