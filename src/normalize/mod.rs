//! Readings → messages: scale, offset, deadband, topic. Pure.

use std::sync::Arc;
use std::time::Duration;

use crate::model::Topic;

/// What the site's file says of a point's values. The topic template is already filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct PointOptions {
    pub topic: Topic,
    pub unit: Option<Arc<str>>,
    /// `value × scale + offset`.
    pub scale: f64,
    pub offset: f64,
    /// Digits after the point in the published text.
    pub decimals: Option<u8>,
    /// A value that differs from the last published one by less than this is not published.
    pub deadband: Option<f64>,
    /// With a deadband: published at least this often all the same.
    pub max_silence: Option<Duration>,
}
