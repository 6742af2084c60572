//! How lines are framed on the wire.
