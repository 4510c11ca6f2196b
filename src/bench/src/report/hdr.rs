//! Files that HdrHistogram's tools open: percentile distributions (`.hgrm`) and interval logs (`.hlog`).

use crate::BenchError;
use crate::measure::{Kind, Recorder};
use crate::run_command::save;
use hdrhistogram::Histogram;
use std::fmt::Write as _;
use std::path::Path;

/// Steps between two halvings of the distance to 100 %, as HdrHistogram's tools have them.
const TICKS_PER_HALF: u32 = 5;

/// A percentile distribution in milliseconds, of a histogram in microseconds.
pub fn percentiles(histogram: &Histogram<u64>) -> String {
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for at in histogram.iter_quantiles(TICKS_PER_HALF) {
        // The iterator's own value may be that of the next record: its quantiles are sums of fractions.
        let quantile = at.quantile_iterated_to();
        let at = histogram.value_at_quantile(quantile);
        let (value, count) = (at as f64 / 1e3, histogram.count_between(0, at));
        if quantile < 1.0 {
            let _ = writeln!(out, "{value:>12.3} {quantile:.12} {count:>10} {:>14.2}", 1.0 / (1.0 - quantile));
        } else {
            let _ = writeln!(out, "{value:>12.3} {quantile:.12} {count:>10}");
        }
    }
    let (mean, deviation, max) = (histogram.mean() / 1e3, histogram.stdev() / 1e3, histogram.max() as f64 / 1e3);
    let _ = writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]");
    let _ = writeln!(out, "#[Max     = {max:>12.3}, Total count    = {:>12}]", histogram.len());
    let _ = writeln!(
        out,
        "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.buckets(),
        histogram.distinct_values() / usize::from(histogram.buckets()).max(1)
    );
    out
}

/// Writes PREFIX-KIND.hgrm and PREFIX-KIND.hlog for each kind of latency that was measured.
pub fn write(recorder: &Recorder, prefix: &Path) -> Result<(), BenchError> {
    for kind in Kind::ALL {
        let histogram = recorder.histogram(kind);
        if histogram.is_empty() {
            continue;
        }
        let named = |extension: &str| {
            let mut name = prefix.as_os_str().to_owned();
            name.push(format!("-{}.{extension}", kind.name()));
            std::path::PathBuf::from(name)
        };
        save(&named("hgrm"), percentiles(&histogram).as_bytes())?;
        save(&named("hlog"), &recorder.interval_log(kind))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn distributions_end_with_everything() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for ms in 1..=100 {
            histogram.record(ms * 1000).unwrap();
        }
        let text = percentiles(&histogram);
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|l| !l.starts_with('#'))
            .map(|l| l.split_whitespace().map(|n| n.parse().unwrap()).collect())
            .collect();
        assert_eq!((rows[0].len(), rows[0][0].round(), rows[0][2]), (4, 1.0, 1.0));
        let half = rows.iter().find(|r| r[1] == 0.5).unwrap();
        assert_eq!((half[0].round(), half[2], half[3]), (50.0, 50.0, 2.0));
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[0].round(), last[1], last[2]), (3, 100.0, 1.0, 100.0));
        assert!(text.contains("Total count    =          100]"), "{text}");
    }

    #[test]
    fn only_what_was_measured_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::new(Duration::ZERO, None);
        recorder.window(Duration::from_secs(1), None);
        recorder.latency(Kind::EndToEnd, 5, 2_000_005, 1);
        recorder.flush(1_000_000_000);
        write(&recorder, &folder.path().join("x")).unwrap();
        let mut names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["x-end-to-end.hgrm", "x-end-to-end.hlog"]);
    }
}
