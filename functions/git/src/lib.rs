//! Follows a branch of a git repository over HTTP, without a clone on a disk.
