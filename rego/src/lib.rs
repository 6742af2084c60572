//! What Rego files are to everybody who compiles them.
