//! Sets of CPUs as the kernel writes them: lists (`0-3,8`) and masks (`ff,00000000`).

use std::collections::BTreeSet;

/// CPUs by number, in order.
pub type Cpus = BTreeSet<u32>;

/// The highest CPU number that is believed: the kernel's own largest `NR_CPUS` is 8192.
const CPU_MAX: u32 = 65_535;

/// Reads `0-3,8`. Nothing for anything else; the empty text is the empty set.
pub fn parse(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > CPU_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// Writes `0-3,8`.
pub fn format(cpus: &Cpus) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for &cpu in cpus {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            _ => parts.push((cpu, cpu)),
        }
    }
    let parts: Vec<String> = parts.iter().map(|&(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") }).collect();
    parts.join(",")
}

/// Reads a mask: hexadecimal words of 32 CPUs, the highest first, separated by commas.
pub fn parse_mask(text: &str) -> Option<Cpus> {
    let mut cpus = Cpus::new();
    for (word, digits) in text.trim().rsplit(',').enumerate() {
        let bits = u32::from_str_radix(digits, 16).ok()?;
        cpus.extend((0..32).filter(|bit| bits >> bit & 1 == 1).map(|bit| word as u32 * 32 + bit));
    }
    Some(cpus)
}

/// Writes a mask as the kernel takes it.
pub fn format_mask(cpus: &Cpus) -> String {
    let words = cpus.last().map_or(0, |&last| last / 32) as usize + 1;
    let mut bits = vec![0u32; words];
    for cpu in cpus {
        bits[(cpu / 32) as usize] |= 1 << (cpu % 32);
    }
    let words: Vec<String> = bits.iter().rev().map(|word| format!("{word:08x}")).collect();
    let text = words.join(",");
    let short = text.trim_start_matches('0');
    if words.len() == 1 && short.is_empty() {
        "0".into()
    } else if words.len() == 1 {
        short.into()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_both_ways() {
        for (text, cpus) in [("", vec![]), ("0", vec![0]), ("0-2,5", vec![0, 1, 2, 5]), ("1,3,5-6", vec![1, 3, 5, 6])] {
            let set: Cpus = cpus.into_iter().collect();
            assert_eq!(parse(text), Some(set.clone()));
            assert_eq!(format(&set), text);
        }
        for wrong in ["a", "3-1", "1-", "0-4000000000"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn masks_both_ways() {
        for (text, list) in [("0", ""), ("3", "0-1"), ("80000000", "31"), ("00000001,00000000", "32"), ("00000001,00000003", "0-1,32")] {
            assert_eq!(format_mask(&parse(list).unwrap()), text);
            assert_eq!(format(&parse_mask(text).unwrap()), list);
        }
        assert_eq!(parse_mask("xyz"), None);
    }
}
