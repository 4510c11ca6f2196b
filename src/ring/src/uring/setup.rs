//! Making the kernel ring: the best set of flags the kernel grants, and an account of what it refused.

use crate::config::{Features, RingConfig};
use crate::error::RingError;
use io_uring::{IoUring, Probe, opcode};
use std::io;

type FlagSet = &'static [&'static str];

/// From best to plainest. Completions deferred to our own enter calls are worth 21-30 % against the last row.
/// TASKRUN_FLAG is not optional beside the other two: without it a busy loop that never waits never sees that
/// completions are pending.
const FLAG_SETS: [FlagSet; 4] = [
    &["SINGLE_ISSUER", "DEFER_TASKRUN", "COOP_TASKRUN", "TASKRUN_FLAG"],
    &["SINGLE_ISSUER", "COOP_TASKRUN", "TASKRUN_FLAG"],
    &["COOP_TASKRUN", "TASKRUN_FLAG"],
    &[],
];

const REQUIRED_OPERATIONS: [(u8, &str); 9] = [
    (opcode::SendMsg::CODE, "sendmsg"),
    (opcode::Accept::CODE, "accept"),
    (opcode::Connect::CODE, "connect"),
    (opcode::AsyncCancel::CODE, "async cancel"),
    (opcode::OpenAt::CODE, "openat"),
    (opcode::Fallocate::CODE, "fallocate"),
    (opcode::UnlinkAt::CODE, "unlinkat"),
    (opcode::RenameAt::CODE, "renameat"),
    (opcode::MkDirAt::CODE, "mkdirat"),
];

pub(super) fn kernel_ring(config: &RingConfig) -> Result<(IoUring, Features), RingError> {
    check(config)?;
    let mut refused = Vec::new();
    let mut last_error = None;
    for flags in FLAG_SETS {
        match try_flags(config, flags) {
            Ok(ring) => {
                check_kernel(&ring)?;
                return Ok((ring, Features { backend: "io_uring", granted: flags.to_vec(), refused }));
            }
            Err(error) => {
                // Only an unknown flag is worth another try; everything else would fail again.
                let retry = error.raw_os_error() == Some(libc::EINVAL);
                refused.push(format!("{} ({error})", flags.join("|")));
                last_error = Some(error);
                if !retry {
                    break;
                }
            }
        }
    }
    Err(RingError::setup(last_error.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOSYS))))
}

fn check(config: &RingConfig) -> Result<(), RingError> {
    let setting = |setting, value, allowed| Err(RingError::Setting { setting, value, allowed });
    if !(8..=32768).contains(&config.submission_entries) {
        return setting("submission_entries", config.submission_entries.into(), "between 8 and 32768");
    }
    if config.completion_entries < config.submission_entries || config.completion_entries > 65536 {
        return setting("completion_entries", config.completion_entries.into(), "between the submission entries and 65536");
    }
    if !config.recv_buffers.is_power_of_two() || config.recv_buffers > 1024 {
        return setting("recv_buffers", config.recv_buffers.into(), "a power of two up to 1024");
    }
    if config.recv_buffer_bytes < 4096 || !config.recv_buffer_bytes.is_multiple_of(4096) || config.recv_buffer_bytes > 64 << 20 {
        return setting("recv_buffer_bytes", config.recv_buffer_bytes.into(), "a multiple of 4096 up to 64 MiB");
    }
    Ok(())
}

fn try_flags(config: &RingConfig, flags: FlagSet) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(config.completion_entries);
    for flag in flags {
        match *flag {
            "SINGLE_ISSUER" => builder.setup_single_issuer(),
            "DEFER_TASKRUN" => builder.setup_defer_taskrun(),
            "COOP_TASKRUN" => builder.setup_coop_taskrun(),
            "TASKRUN_FLAG" => builder.setup_taskrun_flag(),
            other => unreachable!("no such set-up flag: {other}"),
        };
    }
    builder.build(config.submission_entries)
}

fn check_kernel(ring: &IoUring) -> Result<(), RingError> {
    if !ring.params().is_feature_nodrop() {
        return Err(RingError::KernelTooOld { missing: "lossless completion queues (IORING_FEAT_NODROP)" });
    }
    if !ring.params().is_feature_ext_arg() {
        return Err(RingError::KernelTooOld { missing: "waits with a timeout (IORING_FEAT_EXT_ARG)" });
    }
    let mut probe = Probe::new();
    if ring.submitter().register_probe(&mut probe).is_ok() {
        for (code, name) in REQUIRED_OPERATIONS {
            if !probe.is_supported(code) {
                return Err(RingError::KernelTooOld { missing: name });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_set_makes_a_ring_here() {
        for flags in FLAG_SETS {
            try_flags(&RingConfig::default(), flags).unwrap_or_else(|error| panic!("{flags:?}: {error}"));
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        let config = RingConfig { recv_buffers: 3, ..RingConfig::default() };
        let error = kernel_ring(&config).err().expect("three buffers");
        assert!(error.to_string().contains("recv_buffers is 3"), "{error}");
    }
}
