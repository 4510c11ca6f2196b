//! Waiting for one another between tasks of one thread. Nothing here is `Send`; between threads see [`crate::mesh`].

mod event;
pub mod oneshot;
mod queue;
mod semaphore;

pub use event::{Event, Listen};
pub use queue::{Closed, Queue, TryPushError};
pub use semaphore::{Acquire, Permit, Semaphore};
