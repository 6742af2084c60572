//! Who waits for which look.
//!
//! There is one look at a time. What is asked for while one is under way is done after it, once
//! for everybody who asked: a look that had begun before may have missed what they ask about.

/// Those who ask, in the order of the looks whose answers they get.
#[derive(Clone, Debug)]
pub struct Turns<A> {
    /// They wait for the look that is under way; none if none is.
    now: Option<Vec<A>>,
    /// They wait for the next one.
    next: Vec<A>,
    /// There will be a next one.
    is_wanted: bool,
    /// It is to check again what was refused.
    is_thorough: bool,
}

impl<A> Default for Turns<A> {
    fn default() -> Self {
        Self { now: None, next: vec![], is_wanted: false, is_thorough: false }
    }
}

impl<A> Turns<A> {
    /// Wants a look that begins from now on; `asker` gets its answer.
    pub fn ask(&mut self, asker: Option<A>, thorough: bool) {
        self.next.extend(asker);
        self.is_wanted = true;
        self.is_thorough |= thorough;
    }

    /// Begins the look that is wanted, if none is under way: whether it is a thorough one.
    pub fn begin(&mut self) -> Option<bool> {
        if self.now.is_some() || !std::mem::take(&mut self.is_wanted) {
            return None;
        }
        self.now = Some(std::mem::take(&mut self.next));
        Some(std::mem::take(&mut self.is_thorough))
    }

    /// The look that was under way is over: who gets its answer.
    pub fn end(&mut self) -> Vec<A> {
        self.now.take().unwrap_or_default()
    }

    /// The look that was under way was of something else than what they ask about by now: they
    /// wait for the next one.
    pub fn again(&mut self) {
        let mut waiting = self.end();
        waiting.append(&mut self.next);
        self.next = waiting;
        self.is_wanted = true;
    }

    /// True while a look is under way.
    pub fn is_looking(&self) -> bool {
        self.now.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_during_a_look_is_answered_by_one_that_begins_later() {
        let mut turns = Turns::default();
        assert_eq!(turns.begin(), None);
        turns.ask(Some(1), false);
        assert_eq!(turns.begin(), Some(false));
        turns.ask(Some(2), false);
        turns.ask(None, true);
        turns.ask(Some(3), false);
        assert_eq!(turns.begin(), None, "one at a time");
        assert_eq!(turns.end(), [1]);
        assert_eq!(turns.begin(), Some(true), "somebody wanted a thorough one");
        assert!(turns.is_looking());
        assert_eq!(turns.end(), [2, 3], "one look for all");
        assert_eq!(turns.begin(), None);
    }

    #[test]
    fn a_look_at_what_is_not_followed_any_more_answers_nobody() {
        let mut turns = Turns::default();
        turns.ask(Some(1), false);
        turns.begin();
        turns.ask(Some(2), false);
        turns.again();
        assert_eq!(turns.begin(), Some(false));
        assert_eq!(turns.end(), [1, 2]);
    }
}
