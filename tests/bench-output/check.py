"""`odradek bench run` against a broker that it starts; its .hlog files read by HdrHistogram's Python library."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from broker import REPOSITORY, release_binary  # noqa: E402
from hdrh.histogram import HdrHistogram  # noqa: E402
from hdrh.log import HistogramLogReader  # noqa: E402

# Microseconds: up to an hour, three digits, as the harness records.
HIGHEST, DIGITS = 3_600_000_000, 3
# Two libraries may name either end of the range of values that a bucket stands for.
BUCKET = 2 / 10**DIGITS

failures = []


def check(what, found, expected, tolerance=0.0):
    near = abs(found - expected) <= tolerance * max(abs(expected), 1e-9)
    print("%-4s %-52s %s" % ("ok" if near else "FAIL", what, found if near else "%s, expected %s" % (found, expected)))
    if not near:
        failures.append(what)


def read_log(path):
    """All intervals of a log together, and how many there are."""
    total, intervals = HdrHistogram(1, HIGHEST, DIGITS), 0
    reader = HistogramLogReader(str(path), HdrHistogram(1, HIGHEST, DIGITS))
    while (interval := reader.get_next_interval_histogram()) is not None:
        total.add(interval)
        intervals += 1
    return total, intervals


def read_distribution(path):
    """Rows of value, percentile and count, and the total count of the last lines."""
    rows, total = [], None
    for line in path.read_text().splitlines()[2:]:
        if not line.startswith("#"):
            rows.append([float(field) for field in line.split()[:3]])
        elif "Total count" in line:
            total = int(line.rsplit("=", 1)[1].strip(" ]"))
    return rows, total


def main():
    with tempfile.TemporaryDirectory(prefix="odradek-bench-output-") as folder:
        prefix = Path(folder) / "out"
        scenario = REPOSITORY / "benches" / "scenarios" / "omb-latency-fixed-rate.toml"
        command = [str(release_binary()), "bench", "run", str(scenario), "--seconds", "3", "--threads", "2", "--start", "odradek", "--quiet",
                   "--cache", folder, "--broker-set", "odradek.shards=1", "--hdr", str(prefix), "--json", folder + "/out.json"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit("the benchmark failed:\n" + done.stdout + done.stderr)
        step = json.loads((Path(folder) / "out.json").read_text())["steps"][-1]
        for kind in ("produce", "end-to-end"):
            summary = step[kind.replace("-", "_")]
            log, intervals = read_log(Path("%s-%s.hlog" % (prefix, kind)))
            check(kind + ".hlog: at least one interval a second", min(intervals, 3), 3)
            check(kind + ".hlog: records, as in JSON", log.total_count, summary["count"])
            for name, percentile in (("p50_ms", 50), ("p99_ms", 99), ("max_ms", 100)):
                check("%s.hlog: %s, as in JSON" % (kind, name), log.get_value_at_percentile(percentile) / 1000, summary[name], BUCKET)
            rows, total = read_distribution(Path("%s-%s.hgrm" % (prefix, kind)))
            check(kind + ".hgrm: total count", total, log.total_count)
            check(kind + ".hgrm: the last row counts everything", rows[-1][2], total)
            # The Python library rounds to the nearest record where Java's and Rust's take the next one.
            one = 100 / total
            low, high = (lambda percent: log.get_value_at_percentile(max(0, percent - one)) / 1000 * (1 - BUCKET),
                         lambda percent: log.get_value_at_percentile(min(100, percent + one)) / 1000 * (1 + BUCKET))
            wrong = [row for row in rows if not low(100 * row[1]) <= row[0] <= high(100 * row[1])]
            check("%s.hgrm: %d percentiles, as in the log; others:" % (kind, len(rows)), len(wrong), 0)
    sys.exit("%d checks failed" % len(failures) if failures else 0)


main()
