//! Disks below the data directories: write cache, scheduler, file system.

use crate::check::{Change, Context, Item, Standing};
use crate::machine::{Device, Mount};
use std::path::Path;

pub(crate) fn items(context: &Context<'_>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut seen: Vec<String> = Vec::new();
    for directory in &context.question.directories {
        let Some(mount) = Mount::of(context.root, directory) else {
            items.push(Item::new(format!("fs.{}", directory.display()), "The file system of the data directory is not to be seen."));
            continue;
        };
        items.extend([file_system(directory, &mount), mount_options(directory, &mount)]);
        for disk in mount.disks(context.root, context.machine) {
            if !seen.contains(&disk.name) {
                items.extend([scheduler(context, &disk), completion(context, &disk), write_cache(context, &disk)]);
                seen.push(disk.name);
            }
        }
    }
    items
}

fn file_system(directory: &Path, mount: &Mount) -> Item {
    let item = Item::new(
        format!("fs.{}.type", directory.display()),
        "Durable writes go straight to the disk with O_DIRECT; ext4 and xfs overwrite in place, others copy or keep everything in memory.",
    );
    let item = item.found(format!("{} ({})", mount.kind, mount.source)).wanted("xfs or ext4");
    let fix = "put log.dirs on a disk of its own with xfs or ext4";
    match mount.kind.as_str() {
        "ext4" | "xfs" => item.standing(Standing::Good),
        "tmpfs" | "ramfs" => item.judged(false, Standing::Bad, fix),
        _ => item.judged(false, Standing::Poor, fix),
    }
}

fn mount_options(directory: &Path, mount: &Mount) -> Item {
    let item = Item::new(
        format!("fs.{}.options", directory.display()),
        "Without barriers an acknowledged record can be lost; data=journal writes everything twice; access times cost writes; discard stalls deletes.",
    );
    let has = |names: &[&str]| mount.options.iter().any(|option| names.contains(&option.as_str()));
    let (wanted, unsafe_options) = ("noatime, without discard", has(&["nobarrier", "barrier=0"]));
    let mut faults = Vec::new();
    if unsafe_options {
        faults.push("barriers are off");
    }
    if has(&["data=journal"]) {
        faults.push("data=journal");
    }
    if has(&["discard"]) {
        faults.push("discard");
    }
    if !has(&["noatime"]) {
        faults.push("no noatime");
    }
    let point = mount.point.display();
    item.found(if faults.is_empty() { "as wanted".into() } else { faults.join(", ") }).wanted(wanted).judged(
        faults.is_empty(),
        if unsafe_options { Standing::Bad } else { Standing::Poor },
        format!("noatime (and no discard; enable fstrim.timer instead) for {point} in /etc/fstab, then mount -o remount {point}"),
    )
}

fn scheduler(context: &Context<'_>, disk: &Device) -> Item {
    let path = format!("/sys/block/{}/queue/scheduler", disk.name);
    let item = Item::new(format!("disk.{}.scheduler", disk.name), "The broker orders its writes itself; a scheduler only holds them back.")
        .wanted("none");
    let Some(text) = context.root.read(&path) else { return item };
    let found = crate::root::selected(&text);
    item.found(found).judged(found == "none", Standing::Poor, format!("echo none > {path}")).changes([Change::new(path, "none")])
}

fn completion(context: &Context<'_>, disk: &Device) -> Item {
    let path = format!("/sys/block/{}/queue/rq_affinity", disk.name);
    let item = Item::new(format!("disk.{}.rq-affinity", disk.name), "Completions should be worked off on the core that asked.").wanted("2");
    let Some(found) = context.root.read(&path) else { return item };
    item.found(&found).judged(found == "2", Standing::Poor, format!("echo 2 > {path}")).changes([Change::new(path, "2")])
}

/// Shown, never changed: telling the kernel `write through` for a drive that has a volatile cache loses acknowledged records.
fn write_cache(context: &Context<'_>, disk: &Device) -> Item {
    let item = Item::new(
        format!("disk.{}.write-cache", disk.name),
        "A drive without a volatile cache (power-loss protection) makes a write durable without a flush. Never set this file by hand.",
    )
    .wanted("write through");
    match context.root.read(format!("/sys/block/{}/queue/write_cache", disk.name)) {
        None => item,
        Some(found) if found == "write through" => item.found(found).standing(Standing::Good),
        Some(found) => item.found(format!("{found}: each durable write also flushes or uses FUA")).standing(Standing::Note),
    }
}
