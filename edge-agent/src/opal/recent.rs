//! The last updates, for a core that had no room for them when they came.

use std::collections::VecDeque;

use protocol::Seq;
use protocol::socket::Delivery;

/// Updates kept. The server has no copy of them: what is beyond is loaded anew.
const MAX_UPDATES: usize = 2_048;
/// Bytes of inline data kept.
const MAX_BYTES: usize = 8 << 20;

/// The end of the log that this process makes of what it hears.
#[derive(Debug, Default)]
pub(super) struct Recent {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    head: Seq,
}

impl Recent {
    /// The last number given.
    pub(super) fn head(&self) -> Seq {
        self.head
    }

    /// The number of the next update, and the one before it.
    pub(super) fn next(&self) -> (Seq, Seq) {
        (Seq(self.head.0.saturating_add(1)), self.head)
    }

    /// Keeps the update that has the next number.
    pub(super) fn push(&mut self, delivery: Delivery) {
        self.head = delivery.seq;
        self.bytes = self.bytes.saturating_add(bytes(&delivery));
        self.deliveries.push_back(delivery);
        while self.deliveries.len() > MAX_UPDATES || self.bytes > MAX_BYTES {
            let Some(oldest) = self.deliveries.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(bytes(&oldest));
        }
    }

    /// What follows `cursor`; none if it is no longer all there.
    pub(super) fn after(&self, cursor: Seq) -> Option<Vec<Delivery>> {
        let later = self.deliveries.iter().filter(|it| it.seq > cursor);
        let later: Vec<Delivery> = later.cloned().collect();
        let expected = self.head.0.saturating_sub(cursor.0);
        (u64::try_from(later.len()) == Ok(expected)).then_some(later)
    }
}

fn bytes(delivery: &Delivery) -> usize {
    let inline = delivery.entries.iter().filter_map(|entry| entry.inline());
    inline.map(|data| data.get().len()).sum()
}
