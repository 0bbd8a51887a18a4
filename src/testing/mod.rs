//! What tests put in the place of the world: files in memory, files that lose power, a filesystem to
//! compare with.

mod crash_file;
mod crash_images;
mod disk_log;
mod fault_file;
mod fault_kms;
pub mod fuzz;
mod mem_file;
pub mod model;
pub mod ops;
mod pages;

pub use crash_file::CrashFile;
pub use disk_log::{DiskLog, Survival};
pub use fault_file::{Fault, FaultFile};
pub use fault_kms::FaultKms;
pub use mem_file::MemFile;
pub use model::ModelFs;
pub use ops::Op;
