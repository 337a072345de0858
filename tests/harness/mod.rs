//! Test equipment: peers that are not ours, and networks that misbehave.

pub mod mosquitto;
pub mod proxy;
pub mod receiver;
