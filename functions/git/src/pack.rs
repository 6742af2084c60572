//! How a pack becomes objects.
