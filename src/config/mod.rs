//! The site's file → each part's options.
