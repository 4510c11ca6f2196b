//! "Did you mean": the nearest known name to a mistyped one.

/// A suggestion is only made when at most this share of the longer name has to change.
const CHANGED_PART_MAX: usize = 3;

/// Longer names are not compared: the cost is quadratic and no setting comes near.
const NAME_LENGTH_MAX: usize = 128;

/// The candidate with the smallest edit distance to `name`, if it is near enough to be meant. Ties go to the first.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > NAME_LENGTH_MAX {
        return None;
    }
    let (distance, best) = candidates.map(|candidate| (distance(name, candidate), candidate)).min_by_key(|(distance, _)| *distance)?;
    (distance * CHANGED_PART_MAX <= name.len().max(best.len())).then_some(best)
}

/// Levenshtein's distance over bytes, one row at a time.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3), ("log.dirs", "log.dir", 1)] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["log.dirs", "listeners", "odradek.shards"];
        assert_eq!(nearest("odradek.shard", known.into_iter()), Some("odradek.shards"));
        assert_eq!(nearest("listener", known.into_iter()), Some("listeners"));
        assert_eq!(nearest("entirely.else", known.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(1000), known.into_iter()), None);
    }
}
