//! `[broker.limits]`.

use std::time::Duration;

use super::super::reader::Table;
use super::store::set;
use crate::broker::{Limits, OwnLimits};

pub(super) fn limits(mut table: Table<'_>, limits: &mut Limits) {
    set(&mut limits.connections_max, table.whole("connections_max"));
    limits.connections_per_address = table.whole("connections_per_address");
    limits.pending_max = table.whole("pending_max");
    set(&mut limits.handshakes_max, table.whole("handshakes_max"));
    set(&mut limits.websocket_header_max, table.size("websocket_header_max"));
    set(&mut limits.logins_waiting_max, table.whole("logins_waiting_max"));
    set(&mut limits.connect_timeout, table.duration("connect_timeout"));
    set(&mut limits.keep_alive_max, seconds(table.duration("keep_alive_max")));
    set(&mut limits.packet_max, table.size("packet_max"));
    set(&mut limits.unfinished_max, table.size("unfinished_max"));
    set(&mut limits.client_id_max, table.whole("client_id_max"));
    set(&mut limits.topic_length_max, table.whole("topic_length_max"));
    set(&mut limits.topic_levels_max, table.whole("topic_levels_max"));
    set(&mut limits.user_properties_max, table.whole("user_properties_max"));
    set(&mut limits.publish_rate, table.whole("publish_rate"));
    set(&mut limits.receive_maximum, table.whole("receive_maximum"));
    set(&mut limits.topic_aliases_max, table.whole("topic_aliases_max"));
    set(&mut limits.topic_aliases_bytes, table.size("topic_aliases_bytes"));
    set(&mut limits.subscriptions_max, table.whole("subscriptions_max"));
    set(&mut limits.subscription_levels_max, table.whole("subscription_levels_max"));
    set(&mut limits.subscription_bytes, table.size("subscription_bytes"));
    set(&mut limits.shared_groups_max, table.whole("shared_groups_max"));
    set(&mut limits.shared_members_max, table.whole("shared_members_max"));
    limits.sessions_max = table.whole("sessions_max");
    limits.sessions_per_user = table.whole("sessions_per_user");
    set(&mut limits.session_expiry_max, seconds(table.duration("session_expiry_max")));
    set(&mut limits.session_queue, table.whole("session_queue"));
    set(&mut limits.session_queue_bytes, table.size("session_queue_bytes"));
    set(&mut limits.output_max, table.size("output_max"));
    set(&mut limits.retained_max, table.whole("retained_max"));
    set(&mut limits.retained_bytes, table.size("retained_bytes"));
    limits.wills_max = table.whole("wills_max");
    set(&mut limits.wills_bytes, table.size("wills_bytes"));
    table.finish();
}

/// Those that a listener has by itself.
pub(super) fn own(table: &mut Table<'_>) -> OwnLimits {
    OwnLimits {
        connections_per_address: table.whole("connections_per_address"),
        packet_max: table.size("packet_max"),
        keep_alive_max: seconds(table.duration("keep_alive_max")),
        connect_timeout: table.duration("connect_timeout"),
        publish_rate: table.whole("publish_rate"),
    }
}

/// The keys' ranges are those of the types.
fn seconds<T: TryFrom<u64>>(time: Option<Duration>) -> Option<T> {
    T::try_from(time?.as_secs()).ok()
}
