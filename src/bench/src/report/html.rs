//! One page with everything in it: no script, no other file, readable on a phone.

use super::{plots, text};
use crate::measure::{Recorder, RunResult, StepResult};
use std::fmt::Write as _;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:0 auto;padding:1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}svg{width:100%;max-width:38rem;height:auto;display:block}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.25rem .5rem;text-align:right;\
border-bottom:1px solid #ddd;white-space:nowrap}th:first-child,td:first-child{text-align:left;padding-left:0}td.group{border:0;padding-top:.8rem;\
white-space:normal;font-weight:600}.good{color:#00664f}.bad{color:#b00020;font-weight:600}.legend{margin:0}.legend span{white-space:nowrap;margin-right:1rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem .8rem;margin:.4rem 0}dt{color:#555}dd{margin:0;overflow-wrap:anywhere}code{font-size:.9em}\
@media(max-width:30rem){body{padding:.6rem}table{font-size:.7rem}th,td{padding:.25rem .14rem}dl{grid-template-columns:1fr}dt{margin-top:.4rem}}";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The page.
pub fn page(result: &RunResult, recorder: &Recorder) -> String {
    let mut out = String::new();
    let title = format!("{}, {}", escaped(&result.scenario), escaped(&result.target));
    let _ = write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escaped(&result.description)
    );
    verdict(&mut out, result);
    steps(&mut out, result);
    for plot in plots::all(result, recorder) {
        let name = plot.title;
        let _ = write!(out, "<h2>{name}</h2>\n<figure style=\"margin:0\" aria-label=\"{name}\">");
        if !plot.legend.is_empty() {
            out.push_str("<p class=\"legend\">");
            for (name, colour) in &plot.legend {
                let _ = write!(out, "<span><b style=\"color:{colour}\">&#9632;</b> {}</span>", escaped(name));
            }
            out.push_str("</p>");
        }
        let _ = writeln!(out, "{}</figure>", plot.svg);
    }
    facts(&mut out, result);
    out.push_str("</body></html>\n");
    out
}

fn verdict(out: &mut String, result: &RunResult) {
    let a = &result.audit;
    let class = if a.is_clean() { "good" } else { "bad" };
    let _ = writeln!(
        out,
        "<p class=\"{class}\">Audit of {} records: {} lost, {} duplicated, {} reordered, {} damaged, {} in the wrong partition.</p>",
        a.records, a.lost, a.duplicated, a.reordered, a.damaged, a.misplaced
    );
    let errors = result.steps.iter().chain([&result.warm_up]).flat_map(|s| &s.errors);
    for (error, count) in errors {
        let _ = writeln!(out, "<p class=\"bad\">{count} × {}</p>", escaped(error));
    }
    if result.generator.bottleneck {
        out.push_str("<p class=\"bad\">The generator was the bottleneck: the broker may do better than these figures.</p>\n");
    }
}

fn steps(out: &mut String, result: &RunResult) {
    out.push_str(
        "<h2>Figures</h2>\n<div class=\"wide\"><table><tr><th>ms</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>p99.99</th>\
         <th>max</th><th>mean</th></tr>\n",
    );
    row_group(out, "warm-up", &result.warm_up);
    for (index, step) in result.steps.iter().enumerate() {
        let name = if result.steps.len() > 1 { format!("step {}", index + 1) } else { "measured".to_owned() };
        row_group(out, &name, step);
    }
    out.push_str("</table></div>\n");
}

fn row_group(out: &mut String, name: &str, step: &StepResult) {
    let offered = step.offered_records_per_s.map_or_else(String::new, |o| format!("{o:.0} records/s offered, "));
    let read = if step.consumed_mb_per_s > 0.0 { format!(", read {:.1} MB/s", step.consumed_mb_per_s) } else { String::new() };
    let _ = writeln!(
        out,
        "<tr><td class=\"group\" colspan=\"8\">{name}: {offered}{:.0} records/s, {:.1} MB/s{read}</td></tr>",
        step.records_per_s, step.mb_per_s
    );
    for (kind, summary) in [("produce", &step.produce), ("end to end", &step.end_to_end), ("fetch", &step.fetch)] {
        let Some(l) = summary else { continue };
        let _ = write!(out, "<tr><td>{kind}</td>");
        for value in [l.p50_ms, l.p90_ms, l.p99_ms, l.p999_ms, l.p9999_ms, l.max_ms, l.mean_ms] {
            let _ = write!(out, "<td>{}</td>", digits(value));
        }
        out.push_str("</tr>\n");
    }
}

/// Microseconds below 10 ms, and as wide a number above.
fn digits(ms: f64) -> String {
    let digits = match ms {
        v if v >= 1000.0 => 0,
        v if v >= 100.0 => 1,
        v if v >= 10.0 => 2,
        _ => 3,
    };
    format!("{ms:.digits$}")
}

fn facts(out: &mut String, result: &RunResult) {
    let (m, g) = (&result.machine, &result.generator);
    let mut facts = vec![
        ("command", format!("<code>{}</code>", escaped(&result.command))),
        ("harness", format!("odradek {}", escaped(&result.harness_version))),
        ("machine", format!("{} cores, {}, {} MB, Linux {}", m.cores, escaped(&m.cpu), m.memory_mb, escaped(&m.kernel))),
        ("generator", text::generator_line(g)),
    ];
    facts.extend(text::generator_limit_line(result).map(|line| ("generator", line)));
    if let Some(b) = &result.broker {
        facts.push((
            "broker",
            format!(
                "{:.2} s CPU, {:.0} MB resident ({:.0} at most), {:.1} MB written, {} context switches, started in {:.3} s",
                b.cpu_s, b.resident_mb, b.resident_peak_mb, b.written_mb, b.context_switches, b.start_up_s
            ),
        ));
    }
    facts.extend(result.commit.iter().map(|c| ("commit", text::commit_line(c))));
    facts.extend(result.groups.iter().map(|g| ("group", escaped(&text::group_line(g)))));
    let unsent: u64 = result.steps.iter().map(|s| s.unsent_records).sum();
    facts.push(("not sent in time", format!("{unsent} records")));
    facts.extend(result.limits.iter().map(|line| ("limit", escaped(line))));
    out.push_str("<h2>How it was measured</h2>\n<dl>");
    for (name, value) in facts {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{value}</dd>");
    }
    out.push_str(
        "</dl>\n<p>Latencies count from the moment a record was meant to be sent. Fetch latencies count from the moment its connection was free.</p>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{AuditResult, GeneratorUse, Kind, Machine};
    use std::time::Duration;

    #[test]
    fn a_page_is_whole_and_escapes() {
        let mut recorder = Recorder::new(Duration::ZERO, None);
        recorder.window(Duration::from_secs(3), Some(5.0));
        for ms in 1..3000 {
            recorder.tick(ms * 1_000_000);
            recorder.latency(Kind::Produce, ms * 1_000_000, ms * 1_003_000, 1);
        }
        recorder.flush(3_000_000_000);
        let result = RunResult {
            scenario: "<b>".into(),
            description: "a & b".into(),
            parameters: serde_json::Value::Null,
            target: "t".into(),
            command: "odradek bench".into(),
            harness_version: "1".into(),
            started_ms: 0,
            machine: Machine::this(),
            warm_up: recorder.step(0),
            steps: vec![recorder.step(1)],
            seconds: Recorder::seconds_of([&recorder].into_iter()),
            core_busy: vec![0.3, 0.9],
            generator: GeneratorUse { bottleneck: true, ..GeneratorUse::default() },
            broker: None,
            audit: AuditResult { lost: 3, ..AuditResult::default() },
            groups: Vec::new(),
            commit: None,
            limits: Vec::new(),
        };
        let page = page(&result, &recorder);
        assert!(page.contains("&lt;b&gt;") && page.contains("a &amp; b") && !page.contains("<b>"));
        assert!(page.contains("class=\"bad\">Audit of 0 records: 3 lost") && page.contains("bottleneck"));
        let plots = ["Latency by percentile", "p99 over time", "Throughput over time", "Busy share of each core"];
        assert!(plots.iter().all(|p| page.contains(&format!("<h2>{p}</h2>"))), "{page}");
        assert_eq!(page.matches("<svg").count(), 4);
        assert!(page.contains("warm-up: ") && page.contains("measured: 5 records/s offered, ") && page.contains("&#9632;</b> produce"));
        assert_eq!([0.5, 12.3456, 123.456, 1234.5].map(digits), ["0.500", "12.35", "123.5", "1234"]);
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="), "nothing from elsewhere");
    }
}
