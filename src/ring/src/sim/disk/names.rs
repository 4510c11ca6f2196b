//! Names: directories, and which changes to them a power loss leaves.

use super::{Disk, FileNode, Node, NodeId, ROOT, error};
use crate::file::{DirEntry, Metadata};
use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

#[derive(Default)]
pub(super) struct DirNode {
    pub(super) entries: BTreeMap<String, NodeId>,
    pub(super) durable: BTreeMap<String, NodeId>,
    /// Changes since the last sync, oldest first.
    pub(super) unsynced: Vec<NameChange>,
    pub(super) parent: NodeId,
}

/// One change to the names of a directory.
#[derive(Clone)]
pub(super) enum NameChange {
    Set {
        name: String,
        node: NodeId,
    },
    Remove {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        node: NodeId,
    },
    /// A rename from another directory; it is durable as a whole with this half.
    MovedIn {
        name: String,
        node: NodeId,
        from_dir: NodeId,
        from: String,
    },
    /// The other half: says where to look.
    MovedOut {
        to_dir: NodeId,
        to: String,
        node: NodeId,
        from: String,
    },
}

impl Disk {
    /// The directory a path lies in and the last name of the path; `None` for the root itself.
    fn locate(&self, path: &str) -> io::Result<Option<(NodeId, String)>> {
        let mut names = Vec::new();
        for component in Path::new(path).components() {
            match component {
                Component::Normal(name) => names.push(name.to_str().ok_or_else(|| error(libc::EINVAL))?),
                Component::ParentDir => drop(names.pop()),
                _ => {}
            }
        }
        let Some(last) = names.pop() else { return Ok(None) };
        let mut dir = ROOT;
        for name in names {
            dir = self.child(dir, name)?.ok_or_else(|| error(libc::ENOENT))?;
        }
        self.dir(dir)?;
        Ok(Some((dir, last.to_owned())))
    }

    pub(super) fn find(&self, path: &str) -> io::Result<NodeId> {
        match self.locate(path)? {
            None => Ok(ROOT),
            Some((dir, name)) => self.child(dir, &name)?.ok_or_else(|| error(libc::ENOENT)),
        }
    }

    fn dir(&self, node: NodeId) -> io::Result<&DirNode> {
        match self.nodes.get(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(error(libc::ENOTDIR)),
        }
    }

    fn child(&self, dir: NodeId, name: &str) -> io::Result<Option<NodeId>> {
        Ok(self.dir(dir)?.entries.get(name).copied())
    }

    fn change(&mut self, dir: NodeId, change: NameChange) {
        let Some(Node::Dir(dir)) = self.nodes.get_mut(&dir) else { return };
        if let NameChange::Remove { name: from } | NameChange::Rename { from, .. } | NameChange::MovedOut { from, .. } = &change {
            dir.entries.remove(from);
        }
        if let NameChange::Set { name: to, node } | NameChange::Rename { to, node, .. } | NameChange::MovedIn { name: to, node, .. } =
            &change
        {
            dir.entries.insert(to.clone(), *node);
        }
        dir.unsynced.push(change);
    }

    fn insert(&mut self, parent: NodeId, name: String, node: Node) -> NodeId {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        self.change(parent, NameChange::Set { name, node: id });
        id
    }

    pub(super) fn open(&mut self, path: &str, read_only: bool, create: bool, create_new: bool, directory: bool) -> io::Result<NodeId> {
        let found = match self.locate(path)? {
            None => Some(ROOT),
            Some((dir, name)) => match self.child(dir, &name)? {
                None if create || create_new => {
                    let file = FileNode::new(path.to_owned(), dir);
                    return Ok(self.insert(dir, name, Node::File(file)));
                }
                found => found,
            },
        };
        let node = found.ok_or_else(|| error(libc::ENOENT))?;
        if create_new {
            return Err(error(libc::EEXIST));
        }
        match self.nodes.get_mut(&node) {
            Some(Node::File(_)) if directory => Err(error(libc::ENOTDIR)),
            Some(Node::Dir(_)) if !read_only => Err(error(libc::EISDIR)),
            Some(Node::File(file)) => {
                file.path = path.to_owned();
                Ok(node)
            }
            _ => Ok(node),
        }
    }

    pub(super) fn create_dir(&mut self, path: &str) -> io::Result<()> {
        let Some((parent, name)) = self.locate(path)? else { return Err(error(libc::EEXIST)) };
        if self.child(parent, &name)?.is_some() {
            return Err(error(libc::EEXIST));
        }
        self.insert(parent, name, Node::Dir(DirNode { parent, ..DirNode::default() }));
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &str, directory: bool) -> io::Result<()> {
        let Some((parent, name)) = self.locate(path)? else { return Err(error(libc::EBUSY)) };
        let node = self.child(parent, &name)?.ok_or_else(|| error(libc::ENOENT))?;
        let freed = match self.nodes.get(&node) {
            Some(Node::File(_)) if directory => return Err(error(libc::ENOTDIR)),
            Some(Node::Dir(_)) if !directory => return Err(error(libc::EISDIR)),
            Some(Node::Dir(dir)) if !dir.entries.is_empty() => return Err(error(libc::ENOTEMPTY)),
            Some(Node::File(file)) => file.content.len() as u64,
            _ => 0,
        };
        self.used_bytes = self.used_bytes.saturating_sub(freed);
        self.change(parent, NameChange::Remove { name });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (Some((from_dir, from_name)), Some((to_dir, to_name))) = (self.locate(from)?, self.locate(to)?) else {
            return Err(error(libc::EBUSY));
        };
        let node = self.child(from_dir, &from_name)?.ok_or_else(|| error(libc::ENOENT))?;
        let mut above = to_dir;
        while above != ROOT {
            if above == node {
                return Err(error(libc::EINVAL));
            }
            above = self.dir(above)?.parent;
        }
        if let Some(replaced) = self.child(to_dir, &to_name)? {
            if replaced == node {
                return Ok(());
            }
            let freed = match (self.nodes.get(&node), self.nodes.get(&replaced)) {
                (Some(Node::Dir(_)), Some(Node::Dir(dir))) if dir.entries.is_empty() => 0,
                (Some(Node::Dir(_)), Some(Node::Dir(_))) => return Err(error(libc::ENOTEMPTY)),
                (Some(Node::Dir(_)), _) => return Err(error(libc::ENOTDIR)),
                (_, Some(Node::Dir(_))) => return Err(error(libc::EISDIR)),
                (_, Some(Node::File(file))) => file.content.len() as u64,
                _ => 0,
            };
            self.used_bytes = self.used_bytes.saturating_sub(freed);
        }
        if from_dir == to_dir {
            self.change(to_dir, NameChange::Rename { from: from_name, to: to_name, node });
        } else {
            self.change(to_dir, NameChange::MovedIn { name: to_name.clone(), node, from_dir, from: from_name.clone() });
            self.change(from_dir, NameChange::MovedOut { to_dir, to: to_name, node, from: from_name });
        }
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => (file.parent, file.path) = (to_dir, to.to_owned()),
            Some(Node::Dir(dir)) => dir.parent = to_dir,
            None => {}
        }
        Ok(())
    }

    pub(super) fn read_dir(&self, path: &str) -> io::Result<Vec<DirEntry>> {
        let entries = &self.dir(self.find(path)?)?.entries;
        Ok(entries
            .iter()
            .map(|(name, node)| DirEntry { name: name.clone(), is_dir: matches!(self.nodes.get(node), Some(Node::Dir(_))) })
            .collect())
    }

    pub(super) fn metadata(&self, path: &str) -> io::Result<Metadata> {
        match self.nodes.get(&self.find(path)?) {
            Some(Node::File(file)) => Ok(Metadata { len: file.content.len() as u64, is_dir: false }),
            _ => Ok(Metadata { len: 0, is_dir: true }),
        }
    }

    // What a power loss leaves.

    /// Per directory a prefix of the changes survives.
    pub(super) fn lose_names(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            let Some(Node::Dir(dir)) = self.nodes.get_mut(&id) else { continue };
            let changes = std::mem::take(&mut dir.unsynced);
            let kept = self.rng.below(changes.len() as u64 + 1) as usize;
            for change in &changes[..kept] {
                // A file that moved out is decided upon where it moved in.
                if !matches!(change, NameChange::MovedOut { .. }) {
                    self.make_durable(id, change);
                }
            }
        }
    }

    pub(super) fn make_durable(&mut self, id: NodeId, change: &NameChange) {
        let Some(Node::Dir(dir)) = self.nodes.get_mut(&id) else { return };
        match change {
            NameChange::Set { name, node } => {
                dir.durable.insert(name.clone(), *node);
            }
            NameChange::Remove { name } => {
                dir.durable.remove(name);
            }
            NameChange::Rename { from, to, node } => {
                dir.durable.remove(from);
                dir.durable.insert(to.clone(), *node);
            }
            NameChange::MovedIn { name, node, from_dir, from } => {
                dir.durable.insert(name.clone(), *node);
                if let Some(Node::Dir(other)) = self.nodes.get_mut(from_dir)
                    && other.durable.get(from) == Some(node)
                {
                    other.durable.remove(from);
                }
            }
            NameChange::MovedOut { to_dir, to, node, .. } => {
                let Some(Node::Dir(other)) = self.nodes.get(to_dir) else { return };
                let arrival = other
                    .unsynced
                    .iter()
                    .find(|change| matches!(change, NameChange::MovedIn { name, node: moved, .. } if name == to && moved == node));
                if let Some(arrival) = arrival.cloned() {
                    self.make_durable(*to_dir, &arrival);
                }
            }
        }
    }

    /// Makes the name under which a node was created durable, and so on upwards.
    pub(super) fn sync_creation(&mut self, node: NodeId, parent: NodeId) {
        let (mut node, mut parent) = (node, parent);
        while node != ROOT {
            let Some(Node::Dir(dir)) = self.nodes.get_mut(&parent) else { return };
            let created = dir.unsynced.iter().find_map(|change| match change {
                NameChange::Set { name, node: set } if *set == node => Some(name.clone()),
                _ => None,
            });
            if let Some(name) = created {
                dir.durable.insert(name, node);
            }
            (node, parent) = (parent, dir.parent);
        }
    }
}
