//! Bugs that the simulation plants, one at a time, to see that it finds each of them.
//!
//! Only with the feature `planted`, which nothing that is built to run switches on. Without
//! it [`planted`] is a constant `false`, and the compiler leaves no trace of the bugs.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Hub: a delivery says that there is nothing before it.
    PrevIsZero,
    /// Hub: compaction takes a patch for a document.
    PatchCompacts,
    /// Hub: compaction does not look for patches in between.
    BarrierIgnored,
    /// Hub: compaction does not look at who gets an entry.
    AudienceIgnored,
    /// Hub: a replay begins one number too late.
    ReplaySkips,
    /// Hub: a replay ends after its first batch.
    CaughtUpEarly,
    /// Hub: an id counts as known whatever is in the update.
    BodyIgnored,
    /// Hub: an id that is known is appended again.
    AppendedTwice,
    /// Hub: a subscriber that shows no sign of life is pushed to all the same.
    NeverPauses,
    /// Hub: somebody who waits is answered before the last receipt.
    AnsweredEarly,
    /// Hub: sockets outlive their tokens.
    ExpiryForgotten,
    /// Hub: a revoked token may publish.
    RevocationForgotten,
    /// Hub: a number is left out.
    NumberLeftOut,
    /// Hub: compaction does not look at the patches of the document's own update.
    OwnPatchIgnored,
    /// Hub: of updates that come together only the last is delivered, as if it were alone.
    BatchForgotten,
    /// Hub: a grant that is to be revoked is forgotten before the log says so.
    RevokedHalfway,
    /// Hub: what is written down of a grant counts before the log says so.
    UnsettledCounts,
    /// Agent: the mark that is kept is what was received, not what took effect.
    MarkAhead,
    /// Agent: what the store has is not known after a restart.
    TagsForgotten,
    /// Agent: an older entry is written over a newer document of the store.
    NewerForgotten,
    /// Agent: what a newer document covers is written after it.
    CoveredWritten,
    /// Agent: entries are written as they are ready.
    OrderIgnored,
    /// Agent: a patch is written before the entry that makes its parent.
    ExtentIgnored,
    /// Agent: a hole is not noticed.
    HoleOverlooked,
    /// Agent: what was received before is taken again.
    TakenTwice,
    /// Agent: a write of unknown outcome is done again.
    DoubtfulWrittenAgain,
    /// Agent: a receipt is given for what is not written yet.
    ReceiptEarly,
    /// Agent: a pause is not answered.
    PauseIgnored,
    /// Agent: the parts of a commit are written before its marker has come.
    MarkerIgnored,
    /// Agent: what a replay says of policy is written before its end.
    ReplayCommitted,
    /// Agent: it says that it is where it has only received.
    ProgressEarly,
    /// Agent: a replay counts before all of it has taken effect.
    SettlingForgotten,
    /// Agent: what could not be recorded counts as written.
    RecordErrorIgnored,
    /// Agent: an engine that was emptied is not noticed.
    EmptinessOverlooked,
    /// Agent: an entry shares a fetch that began before it came.
    FetchJoined,
    /// Agent: of the entries that share a fetch one gets what it brings.
    SharedWithOne,
    /// Agent: an entry is not fetched for a newer document that waits for what waits for it.
    BetweenIgnored,
    /// Agent: an entry is not fetched for a newer document though that one fails.
    FailureCovers,
    /// Agent: grants outlive the log that they came in.
    GrantsOutliveLog,
    /// Agent: grants count before the log was replayed once.
    BookTooEarly,
    /// Agent: a grant is written while another write is in doubt.
    DoubtOvertaken,
    /// Shell: answers and deliveries leave before the commit.
    AnswerBeforeCommit,
    /// Shell: the engine is written before the store.
    EngineFirst,
    /// Shell: a restore leaves out the last record.
    RestoreIncomplete,
    /// Shell: a late write of an earlier life is let in.
    NoFence,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 45] = [
        Self::PrevIsZero,
        Self::PatchCompacts,
        Self::BarrierIgnored,
        Self::AudienceIgnored,
        Self::ReplaySkips,
        Self::CaughtUpEarly,
        Self::BodyIgnored,
        Self::AppendedTwice,
        Self::NeverPauses,
        Self::AnsweredEarly,
        Self::ExpiryForgotten,
        Self::RevocationForgotten,
        Self::NumberLeftOut,
        Self::OwnPatchIgnored,
        Self::BatchForgotten,
        Self::RevokedHalfway,
        Self::UnsettledCounts,
        Self::MarkAhead,
        Self::TagsForgotten,
        Self::NewerForgotten,
        Self::CoveredWritten,
        Self::OrderIgnored,
        Self::ExtentIgnored,
        Self::HoleOverlooked,
        Self::TakenTwice,
        Self::DoubtfulWrittenAgain,
        Self::ReceiptEarly,
        Self::PauseIgnored,
        Self::MarkerIgnored,
        Self::ReplayCommitted,
        Self::ProgressEarly,
        Self::SettlingForgotten,
        Self::RecordErrorIgnored,
        Self::EmptinessOverlooked,
        Self::FetchJoined,
        Self::SharedWithOne,
        Self::BetweenIgnored,
        Self::FailureCovers,
        Self::GrantsOutliveLog,
        Self::BookTooEarly,
        Self::DoubtOvertaken,
        Self::AnswerBeforeCommit,
        Self::EngineFirst,
        Self::RestoreIncomplete,
        Self::NoFence,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in everything that this thread runs from now on, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    CHOSEN.set(bug);
}

/// True if this bug is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn planted(bug: Bug) -> bool {
    CHOSEN.get() == Some(bug)
}

/// True if this bug is planted, which it is not.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn planted(_: Bug) -> bool {
    false
}
