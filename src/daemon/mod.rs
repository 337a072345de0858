//! Builds the parts, joins them, supervises them, drains them.
