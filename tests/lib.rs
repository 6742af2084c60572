//! Black-box tests of Girasol; the suites are beside this file, one folder each.
