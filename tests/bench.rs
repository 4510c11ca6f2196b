//! `odradek bench` as a process: what it starts ends with it.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use support::{Mode, TestBroker};
use tempfile::TempDir;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of a broker that shares the cores with other tests.
const SMALL: [&str; 6] = [
    "odradek.shards=1",
    "odradek.pin=false",
    "odradek.spin.us=0",
    "odradek.journal.bytes=33554432",
    "odradek.journal.files=2",
    "offsets.topic.num.partitions=4",
];

fn bench(work: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_odradek"));
    command.arg("bench").args(arguments).arg("--cache").arg(work);
    for setting in SMALL {
        command.args(["--broker-set", setting]);
    }
    command
}

/// A scenario that would run for an hour, in its measured part, with a broker of its own.
fn endless(work: &Path) -> Child {
    let file = work.join("endless.toml");
    std::fs::write(&file, "name = 'endless'\nwarm_up_s = 0\nduration_s = 3600\nrate.requests_per_s = 20\n[producers]\n").expect("written");
    let file = file.to_str().expect("a path");
    let mut child = bench(work, &["run", file, "--start", "odradek"]).stderr(Stdio::piped()).spawn().expect("started");
    let mut progress = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("records/s") {
        line.clear();
        assert!(progress.read_line(&mut line).expect("readable") > 0, "it ended before it measured");
    }
    // What it says later must find a reader.
    std::thread::spawn(move || std::io::copy(&mut progress, &mut std::io::sink()));
    child
}

/// Processes whose arguments name this folder.
fn processes_of(work: &Path) -> Vec<String> {
    let name = work.to_str().expect("a path");
    let commands = std::fs::read_dir("/proc").expect("proc").flatten().map(|p| std::fs::read(p.path().join("cmdline")).unwrap_or_default());
    commands.map(|c| String::from_utf8_lossy(&c).replace('\0', " ")).filter(|c| c.contains(name)).collect()
}

fn folders_in(work: &Path) -> Vec<String> {
    let names = std::fs::read_dir(work).expect("readable").map(|e| e.expect("an entry").file_name().into_string().expect("a name"));
    names.filter(|n| n.starts_with("broker-")).collect()
}

fn await_nothing_of(work: &Path) {
    let asked = Instant::now();
    while !processes_of(work).is_empty() || !folders_in(work).is_empty() {
        assert!(asked.elapsed() < PATIENCE, "left: {:?} {:?}", processes_of(work), folders_in(work));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_was_started_ends_with_the_harness() {
    // Told to stop; as a panic ends a release build; killed.
    for signal in [Signal::TERM, Signal::INT, Signal::ABORT, Signal::KILL] {
        let work = TempDir::new().expect("a folder");
        let mut harness = endless(work.path());
        assert_eq!((processes_of(work.path()).len(), folders_in(work.path()).len()), (3, 1), "harness, guard, broker and its folder");
        kill_process(Pid::from_child(&harness), signal).expect("it runs");
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(harness.wait().expect("ended").signal(), Some(signal.as_raw()));
        if signal == Signal::TERM || signal == Signal::INT {
            // It waited for them.
            assert_eq!((processes_of(work.path()), folders_in(work.path())), (vec![], vec![]));
        }
        await_nothing_of(work.path());
    }
}

fn run(work: &Path, scenario: &str, more: &[&str]) -> (std::process::Output, serde_json::Value) {
    let file = work.join("scenario.toml");
    std::fs::write(&file, scenario).expect("written");
    let arguments = [&["run", file.to_str().expect("a path"), "--start", "odradek", "--json"], more].concat();
    let output = bench(work, &arguments).output().expect("it runs");
    let result = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, result)
}

#[test]
fn members_of_groups_share_partitions_and_lose_nothing_when_they_come_and_go() {
    let work = TempDir::new().expect("a folder");
    let scenario = "name = 'members'\npartitions = 6\nwarm_up_s = 0.2\nduration_s = 2\nrate.records_per_s = 2000\nrecord.size = 100\n\
        [producers]\ncount = 2\nbatch_bytes = 1000\n\
        [consumers]\ngroups = 2\ncount = 3\ngroup = true\nheartbeat_ms = 50\ncommit_interval_ms = 100\nrebalance_every_s = 0.3\n";
    let (output, result) = run(work.path(), scenario, &["--broker-set", "group.initial.rebalance.delay.ms=0"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(result["audit"]["lost"], 0);
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    // Each of the groups has seen each record.
    let produced = result["steps"][0]["produce"]["count"].as_u64().expect("a count") + number(&result["warm_up"]["produce"]["count"]);
    assert_eq!(number(&result["audit"]["records"]), 2 * produced);
    for group in result["groups"].as_array().expect("groups") {
        assert_eq!((number(&group["members"]), number(&group["uncommitted_partitions"])), (3, 0));
        assert!(number(&group["generations"]) >= 2 && number(&group["commits"]) >= 6, "{group}");
    }
    assert_eq!(result["groups"].as_array().expect("groups").len(), 2);
}

#[test]
fn transactions_are_measured_where_there_are_any_and_refused_by_name_where_there_are_none() {
    let work = TempDir::new().expect("a folder");
    let scenario = "name = 'transactions'\nwarm_up_s = 0.1\nduration_s = 0.5\nrate.records_per_s = 200\n\
        [producers]\ntransactional = true\n[consumers]\nread_committed = true\n";
    let (output, result) = run(work.path(), scenario, &[]);
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        assert!(result["commit"]["count"].as_u64() > Some(0), "{result}");
    } else {
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("producers.transactional") && error.contains("AddPartitionsToTxn"), "{error}");
    }
}

#[test]
fn regress_says_what_is_wrong_before_it_builds_anything() {
    let work = TempDir::new().expect("a folder");
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/scenarios/tiny.toml");
    let cases: [(&[&str], &str); 6] = [
        (&["HEAD"], "<AFTER>"),
        (&["HEAD", "HEAD"], "--scenario"),
        (&["HEAD", "no-such-revision", "--scenario", scenario], "odradek@no-such-revision"),
        (&["HEAD", "--scenario", scenario, "--", "--upload-pack=x"], "no revision"),
        (&["HEAD", "HEAD", "--scenario", scenario, "--broker-cores", "x"], "list of CPUs"),
        (&["HEAD", "HEAD", "--scenario", scenario, "--rounds", "0"], "--rounds"),
    ];
    for (arguments, part) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_odradek"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).env("ODRADEK_CACHE", work.path());
        let output = command.args(["bench", "regress"]).args(arguments).output().expect("it runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(part), "{arguments:?}: {error}");
    }
    assert_eq!(std::fs::read_dir(work.path()).expect("readable").count(), 0, "nothing was built");
}

#[test]
fn threads_share_a_load_and_nothing_is_sent_twice_or_left_out() {
    let work = TempDir::new().expect("a folder");
    let keys = "record.keys = { zipf = { keys = 1000, exponent = 1.0 } }";
    for (name, keys, count) in [("by key", keys, 5), ("by turn", "", 2)] {
        let scenario = format!(
            "name = '{name}'\npartitions = 8\ntopics = 2\nwarm_up_s = 0.25\nduration_s = 1\nrate.records_per_s = 2000\n{keys}\n\
            [producers]\ncount = {count}\nbatch_bytes = 4000\nlinger_ms = 1\nidempotent = true\n\
            [consumers]\ngroups = 2\ncount = 2\n[catch_up]\npreload_mb = 1\n"
        );
        let (output, result) = run(work.path(), &scenario, &["--threads", "3"]);
        assert!(output.status.success(), "{}{result}", String::from_utf8_lossy(&output.stderr));
        let count = |window: &serde_json::Value, kind: &str| window[kind]["count"].as_u64().expect("a count");
        assert_eq!((count(&result["warm_up"], "produce"), count(&result["steps"][0], "produce")), (500, 2000), "{name}");
        assert_eq!(count(&result["steps"][0], "end_to_end"), 2 * 2000, "{name}: each group saw each record");
        assert_eq!(result["generator"]["threads"].as_array().map(Vec::len), Some(3));
    }
}

#[test]
fn limits_run_to_their_end_and_stand_beside_the_next_run() {
    let work = TempDir::new().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_odradek"));
    command.args(["bench", "limits", "--seconds", "0.01", "--file-mb", "16", "--cache"]).arg(work.path());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(["memory copy", "CRC-32C", "loopback", "direct reads", "DSYNC writes"].iter().all(|part| table.contains(part)), "{table}");
    let scenario = "name = 'x'\nwarm_up_s = 0.1\nduration_s = 0.4\nrate.closed_loop = true\n[producers]\ncount = 2\n[consumers]\n";
    let (output, result) = run(work.path(), scenario, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shares = result["limits"].as_array().expect("a list").iter().map(|s| s.as_str().expect("text")).collect::<Vec<_>>();
    assert!(shares.iter().any(|s| s.contains("% of the best DSYNC writes")), "{shares:?}");
    assert!(shares.iter().any(|s| s.starts_with("read:")), "{shares:?}");
    assert!(result["generator"]["limit"]["requests_per_s"].as_f64() > Some(0.0));

    // A reader that has seen enough is no failure.
    let saved = work.path().join("saved.json");
    std::fs::write(&saved, &output.stdout).expect("written");
    let mut compare = Command::new(env!("CARGO_BIN_EXE_odradek"));
    compare.args(["bench", "compare"]).args([&saved, &saved]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut compare = compare.spawn().expect("started");
    drop(compare.stdout.take());
    let output = compare.wait_with_output().expect("ended");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Scenarios that run at the same time; more would only wait for the cores.
const AT_A_TIME: usize = 3;

#[test]
fn every_scenario_that_comes_with_the_harness_runs_to_its_end() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/scenarios");
    let files = std::fs::read_dir(folder).expect("readable").map(|e| e.expect("an entry").path()).collect::<Vec<_>>();
    assert!(files.len() >= 8, "{files:?}");
    let broker = TestBroker::start_with(Mode::Cores, &["odradek.journal.bytes=134217728"]);
    let (address, files) = (broker.address(), Mutex::new(files));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(file) = files.lock().map(|mut files| files.pop()).expect("no panic") {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_odradek"));
                    command.args(["bench", "run", "--seconds", "0.3", "--scale", "0.05", "--json", "-b", &address]).arg(&file);
                    let output = command.output().expect("it runs");
                    let error = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{}: {error}{}", file.display(), String::from_utf8_lossy(&output.stdout));
                    let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
                    assert!(result["audit"]["records"].as_u64() > Some(0), "{}: {error}{result}", file.display());
                }
            });
        }
    });
}
