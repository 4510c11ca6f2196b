//! The glommio executor of the background plane.

use crate::jobs::{Job, JobResult, Priority, Work};
use crate::pulse::Pulse;
use crate::{JOBS_QUEUED_MAX, QueueFull};
use crossbeam::queue::ArrayQueue;
use futures_util::task::AtomicWaker;
use glommio::io::{BufferedFile, DmaFile, OpenOptions};
use glommio::{GlommioError, Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use odradek_base::disk;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes that one write of zeros covers.
const ZERO_CHUNK_BYTES: usize = 512 * 1024;
/// Memory that glommio registers for direct I/O; more comes from the heap when it is used up.
const IO_MEMORY_BYTES: usize = 64 * 1024;
/// The longest that one task queue runs before others are looked at. Long on purpose: nothing here computes on the executor's own
/// thread, and the timer is what makes glommio forget work ([`crate::pulse`]); before the first task has run nobody could remind it.
const PREEMPT_AFTER: Duration = Duration::from_secs(1);
/// Jobs of one priority that run at the same time.
const JOBS_RUNNING_MAX: usize = 4;

/// The background plane could not be started.
#[derive(Debug, thiserror::Error)]
#[error(
    "the background plane (glommio) could not be started: {reason}; it needs io_uring (kernel.io_uring_disabled=0) and a little locked memory (ulimit -l)"
)]
pub struct StartError {
    reason: String,
}

/// A handle to the plane; cheap to clone, may be used from any thread.
#[derive(Clone)]
pub struct Background {
    shared: Arc<Shared>,
}

struct Shared {
    jobs: ArrayQueue<Job>,
    waker: AtomicWaker,
    stopping: AtomicBool,
    pulse: Arc<Pulse>,
}

impl Background {
    /// Starts the plane's thread. `probe_dir` is a directory on the file system that the jobs will work on.
    pub fn start(probe_dir: &Path) -> Result<(Self, JoinHandle<()>), StartError> {
        let pulse = Pulse::start().map_err(|error| StartError { reason: error.to_string() })?;
        // The start itself is work, and so is the end.
        pulse.begin();
        let shared = Arc::new(Shared {
            jobs: ArrayQueue::new(JOBS_QUEUED_MAX),
            waker: AtomicWaker::new(),
            stopping: AtomicBool::new(false),
            pulse: pulse.clone(),
        });
        let (started, wait) = crossbeam::channel::bounded(1);
        let mine = shared.clone();
        let probe = probe_dir.join(".background-probe");
        let thread = std::thread::Builder::new()
            .name("background".into())
            .spawn(move || {
                let executor = LocalExecutorBuilder::new(Placement::Unbound)
                    .name("background")
                    .io_memory(IO_MEMORY_BYTES)
                    .ring_depth(64)
                    .preempt_timer(PREEMPT_AFTER)
                    .make();
                match executor {
                    Ok(executor) => executor.run(async move {
                        poll_fn(|context| {
                            mine.pulse.set_waker(context.waker());
                            Poll::Ready(())
                        })
                        .await;
                        let result = probe_polling(&probe).await;
                        mine.pulse.done();
                        let good = result.is_ok();
                        let _ = started.send(result.map_err(|error| error.to_string()));
                        if good {
                            serve(mine).await;
                        }
                    }),
                    Err(error) => {
                        let _ = started.send(Err(error.to_string()));
                    }
                }
                pulse.end();
            })
            .map_err(|error| StartError { reason: error.to_string() })?;
        match wait.recv() {
            Ok(Ok(())) => Ok((Self { shared }, thread)),
            Ok(Err(reason)) => Err(StartError { reason }),
            Err(_) => Err(StartError { reason: "its thread ended at once".into() }),
        }
    }

    /// Hands a job over.
    pub fn submit(&self, job: Job) -> Result<(), QueueFull> {
        // Before the push: a job may be done before this thread goes on.
        self.shared.pulse.begin();
        if self.shared.jobs.push(job).is_err() {
            self.shared.pulse.done();
            return Err(QueueFull);
        }
        self.shared.waker.wake();
        Ok(())
    }

    /// Ends the plane after the jobs that it has.
    pub fn stop(&self) {
        self.shared.pulse.begin();
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.waker.wake();
    }
}

/// glommio probes on the first file it opens whether the device can be polled, and on a file without written extents the
/// probe passes falsely and I/O spins. So the first file it sees is one that has been written. Without direct I/O nothing is polled.
async fn probe_polling(path: &Path) -> io::Result<()> {
    match std::fs::write(path, [0u8; 4096]) {
        // Nothing can be probed, and nothing much written: a full disk does not keep the broker from starting.
        Err(error) if disk::is_full(&error) => {
            // It may have been made without its content, or not even that.
            let _ = std::fs::remove_file(path);
            return Ok(());
        }
        other => other?,
    }
    if let Some(file) = open_direct(path).await? {
        file.close().await.map_err(io::Error::from)?;
    }
    std::fs::remove_file(path)
}

/// Opens a file for direct I/O; `None` where the file system has none (`EINVAL` in open(2), some say `EOPNOTSUPP`).
async fn open_direct(path: &Path) -> io::Result<Option<DmaFile>> {
    match OpenOptions::new().read(true).write(true).dma_open(path).await.map_err(io::Error::from) {
        Ok(file) => Ok(Some(file)),
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn serve(shared: Arc<Shared>) {
    let executor = glommio::executor();
    let soon = executor.create_task_queue(Shares::Static(800), Latency::NotImportant, "soon");
    let whenever = executor.create_task_queue(Shares::Static(200), Latency::NotImportant, "whenever");
    let slots = Rc::new(glommio::sync::Semaphore::new(2 * JOBS_RUNNING_MAX as u64));
    while let Some(job) = next_job(&shared).await {
        let queue = match job.priority() {
            Priority::Soon => soon,
            Priority::Whenever => whenever,
        };
        let Ok(permit) = slots.acquire_static_permit(1).await else { return };
        start(job, queue, permit, shared.pulse.clone());
    }
    // Every job that runs holds a permit: having all of them means that all have ended.
    let _ = slots.acquire(2 * JOBS_RUNNING_MAX as u64).await;
}

fn start(job: Job, queue: TaskQueueHandle, permit: glommio::sync::StaticPermit, pulse: Arc<Pulse>) {
    let Job { work, done } = job;
    let spawned = glommio::spawn_local_into(
        async move {
            let result = run(work).await;
            drop(permit);
            pulse.done();
            done(result);
        },
        queue,
    );
    if let Ok(task) = spawned {
        task.detach();
    }
}

/// The next job; `None` when the plane is stopping and has none left.
async fn next_job(shared: &Shared) -> Option<Job> {
    poll_fn(|context| {
        if let Some(job) = shared.jobs.pop() {
            return Poll::Ready(Some(job));
        }
        shared.waker.register(context.waker());
        // Again: a job may have come between the look and the registration.
        if let Some(job) = shared.jobs.pop() {
            return Poll::Ready(Some(job));
        }
        if shared.stopping.load(Ordering::Acquire) { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

async fn run(work: Work) -> JobResult {
    match work {
        Work::Zero { path, from, to } => match open_direct(&path).await? {
            Some(file) => zero(file, from, to).await.map_err(io::Error::from),
            None => zero_buffered(&path, from, to).await.map_err(io::Error::from),
        },
        Work::RemoveFile { path } => remove_file(path).await,
        Work::Compute(work) => glommio::executor().spawn_blocking(work).await,
    }
}

async fn zero(file: DmaFile, from: u64, to: u64) -> Result<(), GlommioError<()>> {
    let mut at = from;
    while at < to {
        let len = ZERO_CHUNK_BYTES.min((to - at) as usize);
        let mut buffer = file.alloc_dma_buffer(len);
        buffer.as_bytes_mut().fill(0);
        at += file.write_at(buffer, at).await? as u64;
        glommio::yield_if_needed().await;
    }
    file.fdatasync().await?;
    file.close().await
}

async fn zero_buffered(path: &Path, from: u64, to: u64) -> Result<(), GlommioError<()>> {
    let file: BufferedFile = OpenOptions::new().read(true).write(true).buffered_open(path).await?;
    let mut at = from;
    while at < to {
        let len = ZERO_CHUNK_BYTES.min((to - at) as usize);
        at += file.write_at(vec![0; len], at).await? as u64;
        glommio::yield_if_needed().await;
    }
    file.fdatasync().await?;
    file.close().await
}

/// Unlinking a large file takes the kernel long (extents are freed), so it goes to the blocking pool.
async fn remove_file(path: PathBuf) -> JobResult {
    glommio::executor()
        .spawn_blocking(move || match std::fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_job(background: &Background, make: impl FnOnce(Box<dyn FnOnce(JobResult) + Send>) -> Job) -> JobResult {
        let (tell, wait) = crossbeam::channel::bounded(1);
        background.submit(make(Box::new(move |result| tell.send(result).unwrap()))).unwrap();
        wait.recv().unwrap()
    }

    #[test]
    fn jobs_run_and_answer() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (background, thread) = Background::start(dir.path()).unwrap();

        let file = dir.path().join("journal");
        std::fs::write(&file, vec![7u8; 3 * 4096]).unwrap();
        run_job(&background, |done| Job::zero(file.clone(), 4096, 1 << 20, done)).unwrap();
        let bytes = std::fs::read(&file).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        assert!(bytes[..4096].iter().all(|&b| b == 7) && bytes[4096..].iter().all(|&b| b == 0));

        let segment = dir.path().join("x.log");
        std::fs::write(&segment, b"x").unwrap();
        run_job(&background, |done| Job::remove_file(segment.clone(), done)).unwrap();
        run_job(&background, |done| Job::remove_file(segment.clone(), done)).expect("gone already is fine");
        assert!(!segment.exists());

        let missing = dir.path().join("missing");
        assert!(run_job(&background, |done| Job::zero(missing, 0, 4096, done)).is_err());
        assert!(run_job(&background, |done| Job::compute(|| Err(io::Error::other("no")), done)).is_err());

        background.stop();
        thread.join().unwrap();
    }

    /// Starts, works and stops over and over while the cores are contended: with glommio's own timer this hung within a hundred rounds.
    #[test]
    fn it_does_not_sleep_through_its_work() {
        let over = Arc::new(AtomicBool::new(false));
        let busy: Vec<_> = (0..4)
            .map(|_| {
                let over = over.clone();
                std::thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                })
            })
            .collect();
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for _ in 0..60 {
            let (background, thread) = Background::start(dir.path()).unwrap();
            run_job(&background, |done| Job::remove_file(dir.path().join("missing"), done)).unwrap();
            background.stop();
            thread.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        for thread in busy {
            thread.join().unwrap();
        }
    }
}
