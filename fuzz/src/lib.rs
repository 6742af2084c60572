//! Readers of what strangers send, fed with what nobody would send.
//!
//! Each target is a plain function of bytes that panics where a reader is wrong: not only where
//! it panics itself, but also where it gives something else if the same bytes come in other
//! pieces, or something that it must never give. `fuzz_targets/` hands them to libFuzzer;
//! `cargo xtask fuzz` runs them; `seeds/` is what they begin with. To add one, add a function
//! here, a file there, a `[[bin]]`, and a row in `xtask/src/fuzz.rs`.
//!
//! | question | file |
//! |---|---|
//! | Are lines the same however the bytes are cut? | `packets.rs` |
//! | Does any pack, good or bad, break its reader? | `packs.rs` |
//! | Does any server break a look at it? | `looks.rs` |
//! | Does any commit make a path that leads elsewhere? | `checkouts.rs` |
//! | Does any archive? | `bundles.rs` |

mod bundles;
mod checkouts;
mod looks;
mod packets;
mod packs;

pub use bundles::{bundle, made_bundle};
pub use checkouts::checkout;
pub use looks::look;
pub use packets::packet_lines;
pub use packs::{made_pack, pack};

use git::Limits;

/// Small enough that a run takes microseconds, and that limits are met often.
const LIMITS: Limits = Limits {
    answer_bytes: 4 << 10,
    pack_bytes: 64 << 10,
    objects: 200,
    object_bytes: 16 << 10,
    inflated_bytes: 64 << 10,
    waiting_bytes: 1 << 10,
    depth: 4,
    entries: 200,
    files: 20,
    file_bytes: 1 << 10,
    checkout_bytes: 4 << 10,
};

/// Takes bytes from the front as choices.
struct Choices<'c>(&'c [u8]);

impl<'c> Choices<'c> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// At most `most` bytes: a byte says how many.
    fn bytes(&mut self, most: usize) -> Option<&'c [u8]> {
        let length = usize::from(self.byte()?) % (most + 1);
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        Some(taken)
    }
}
