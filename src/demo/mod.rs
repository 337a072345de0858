//! `tidegate demo`: simulated devices, the gateway and an upstream in one process.
