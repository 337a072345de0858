//! All tests of the whole: one binary, because linking one is faster than linking twenty. One module a behaviour.

mod tidy;
