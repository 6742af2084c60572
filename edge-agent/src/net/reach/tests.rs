//! What is reached and what is not.

use super::*;
