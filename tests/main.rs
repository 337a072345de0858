//! All tests of the whole: one binary, because linking one is faster than linking twenty. One module a behaviour.

mod acks_in_order;
mod bridge_loss;
mod bridge_refusals;
mod bridge_tls;
mod broker_clients;
mod check;
mod demo;
mod harness;
mod harness_ledger;
mod harness_self;
mod install;
mod journal;
mod kill;
mod lines;
mod modbus_port;
mod modbus_types;
mod no_wrong_value;
mod one_thread;
mod online_writes_nothing;
mod outage;
mod readme;
mod sim;
mod supervision;
mod systemd;
mod tidy;
mod upstreams;
