//! Mistakes and what is said of them; the shipped files.
