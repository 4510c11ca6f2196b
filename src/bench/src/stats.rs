//! Whether two sides differ: ratios of rounds that ran beside each other, their spread, and the chance that it is luck.

use serde::Serialize;

/// Chance of a difference by luck, above which there is no verdict.
pub const LUCK_MAX: f64 = 0.05;

/// A measure of two sides, round by round.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Medians of the sides.
    pub a: f64,
    pub b: f64,
    /// B by A in each round: median, least and greatest.
    pub ratio: f64,
    pub ratio_min: f64,
    pub ratio_max: f64,
    /// Chance that rounds of two equal sides lie as far apart (Wilcoxon's signed ranks of the logarithms, both directions).
    pub luck: f64,
    pub rounds: usize,
    pub verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is better than A.
    Better,
    Worse,
    /// The rounds spread too much, or there are too few of them.
    None,
}

/// Compares sides whose rounds belong together. `None` where a value is missing or not above 0.
pub fn compare(a: &[f64], b: &[f64], more_is_better: bool) -> Option<Comparison> {
    if a.len() != b.len() || a.is_empty() || a.iter().chain(b).any(|v| !(v.is_finite() && *v > 0.0)) {
        return None;
    }
    let mut ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
    let luck = wilcoxon(&ratios.iter().map(|r| r.ln()).collect::<Vec<_>>());
    ratios.sort_by(f64::total_cmp);
    let ratio = median(&ratios);
    let verdict = match luck <= LUCK_MAX && ratio != 1.0 {
        false => Verdict::None,
        true if (ratio > 1.0) == more_is_better => Verdict::Better,
        true => Verdict::Worse,
    };
    let (ratio_min, ratio_max) = (ratios[0], ratios[ratios.len() - 1]);
    Some(Comparison { a: median_of(a), b: median_of(b), ratio, ratio_min, ratio_max, luck, rounds: a.len(), verdict })
}

/// Median of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

pub fn median_of(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    median(&sorted)
}

/// Chance of signed ranks as uneven as these or more, by counting all sign patterns; ties share their ranks, zeros fall out.
fn wilcoxon(differences: &[f64]) -> f64 {
    let mut values: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    values.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    // Twice the rank, so that shared ranks are whole.
    let mut ranks = vec![0usize; values.len()];
    let mut from = 0;
    while from < values.len() {
        let mut to = from;
        while to < values.len() && values[to].abs() == values[from].abs() {
            to += 1;
        }
        ranks[from..to].fill(from + to + 1);
        from = to;
    }
    let total: usize = ranks.iter().sum();
    let positive: usize = ranks.iter().zip(&values).filter(|(_, v)| **v > 0.0).map(|(r, _)| *r).sum();
    // How many sign patterns give each sum.
    let mut patterns = vec![0.0f64; total + 1];
    patterns[0] = 1.0;
    for &rank in &ranks {
        for sum in (rank..=total).rev() {
            patterns[sum] += patterns[sum - rank];
        }
    }
    let less = positive.min(total - positive);
    let tail: f64 = patterns[..=less].iter().sum();
    (2.0 * tail / patterns.iter().sum::<f64>()).min(1.0)
}

/// Least number of rounds that allow a verdict at all.
pub fn rounds_min() -> usize {
    (1..).find(|&n| 2.0 / 2f64.powi(n as i32) <= LUCK_MAX).expect("it shrinks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clear_difference_gets_a_verdict() {
        let (a, b) = ([10.0, 11.0, 12.0, 10.0, 11.0, 12.0], [20.0, 21.0, 25.0, 20.5, 23.0, 24.0]);
        let c = compare(&a, &b, true).unwrap();
        assert_eq!((c.a, c.b, c.verdict), (11.0, 22.0, Verdict::Better));
        assert!(c.ratio_min <= c.ratio && c.ratio <= c.ratio_max && c.luck < 0.04);
        assert_eq!(compare(&a, &b, false).unwrap().verdict, Verdict::Worse);
        assert_eq!(compare(&b, &a, false).unwrap().verdict, Verdict::Better);
    }

    #[test]
    fn spread_or_too_few_rounds_get_none() {
        let c = compare(&[10.0, 10.0, 10.0, 10.0, 10.0, 10.0], &[20.0, 5.0, 11.0, 9.0, 30.0, 3.0], true).unwrap();
        assert_eq!(c.verdict, Verdict::None);
        assert_eq!(compare(&[1.0; 5], &[2.0; 5], true).unwrap().verdict, Verdict::None);
        assert_eq!(compare(&[1.0; 6], &[2.0; 6], true).unwrap().verdict, Verdict::Better);
        assert_eq!(rounds_min(), 6);
        let same = compare(&[1.0; 8], &[1.0; 8], true).unwrap();
        assert_eq!((same.verdict, same.luck, same.ratio), (Verdict::None, 1.0, 1.0));
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        assert!(compare(&[], &[], true).is_none());
        assert!(compare(&[1.0], &[1.0, 2.0], true).is_none());
        assert!(compare(&[0.0], &[1.0], true).is_none());
        assert!(compare(&[f64::NAN], &[1.0], true).is_none());
    }

    #[test]
    fn chances_are_those_of_the_tables() {
        // Two-sided exact values: n = 5, W = 0: 0.0625; n = 6, W = 0: 0.03125; n = 6, W = 2: 0.09375; n = 8, W = 3: 0.0391.
        let signs = |negative: &[i32], n: i32| -> Vec<f64> {
            (1..=n).map(|i| if negative.contains(&i) { -f64::from(i) } else { f64::from(i) }).collect()
        };
        for (values, expected) in
            [(signs(&[], 5), 0.0625), (signs(&[], 6), 0.03125), (signs(&[2], 6), 0.09375), (signs(&[3], 8), 0.0390625)]
        {
            assert!((wilcoxon(&values) - expected).abs() < 1e-9, "{values:?}: {}", wilcoxon(&values));
        }
        assert_eq!(wilcoxon(&[]), 1.0);
    }
}
