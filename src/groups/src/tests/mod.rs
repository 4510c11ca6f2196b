//! Tests of the whole coordinator in virtual time.

mod classic;
mod commits;
mod consumers;
mod durability;
mod groups;
mod harness;
mod histories;
mod hostile;
mod statics;
