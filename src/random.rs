//! Random bytes as a parameter.

use std::fmt::Debug;
use std::sync::Mutex;

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng, TryRng};

use crate::codec::hex;

/// Where random bytes come from.
pub trait Random: Send + Sync + Debug {
    /// Fills `out`. Ends the process if there is no entropy: nothing safe can be done without.
    fn fill(&self, out: &mut [u8]);
}

/// The kernel's generator, one call per request: a resumed snapshot of a virtual machine does not
/// repeat what a generator in user space would.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, out: &mut [u8]) {
        if SysRng.try_fill_bytes(out).is_err() {
            std::process::abort();
        }
    }
}

/// A reproducible generator for tests and vectors. Never for real keys.
#[derive(Debug)]
pub struct SeededRandom(Mutex<StdRng>);

impl SeededRandom {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, out: &mut [u8]) {
        let mut rng = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        rng.fill_bytes(out);
    }
}

/// A version 4 UUID (RFC 9562).
pub fn uuid(random: &dyn Random) -> String {
    uuid_of(random_array(random))
}

/// The version 4 UUID that random bytes make.
pub fn uuid_of(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex(&bytes);
    let part = |from, to| digits.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// `N` random bytes.
pub fn random_array<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill(&mut out);
    out
}
