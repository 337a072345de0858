//! Faults that tests switch on to see that they would notice: `TIDEGATE_FAULT=name[,name]` in a build with the cargo feature `faults`.
//! Without the feature every question is the constant "no" and the code behind it is gone.
//!
//! | name | what goes wrong |
//! |---|---|
//! | `early-ack` | the outbox calls entries secured when it takes them, before any commit |
//! | `pubcomp-early` | the outbox calls the removal of a QoS 2 packet id secured before its commit |
//! | `suback-early` | the outbox calls a subscription secured before its commit |
//! | `qos2-early` | the outbox calls what a session is owed at QoS 2, with its packet id, secured before its commit |
//! | `keep-eventloop` | the bridge keeps rumqttc's event loop over an error instead of throwing it away |
//! | `ack-at-once` | the broker acknowledges a publish without waiting for those before it on its connection |
//! | `drop-queued` | the broker forgets one in four of the messages that wait for a client |
//! | `dup-id` | the broker sends messages under the packet id of one that is in flight |
//! | `forget-received` | the broker forgets the packet ids of QoS 2 messages that it has taken |
//! | `open-patterns` | names that have wildcards, or are empty, stand in the patterns of access lists as they are |
//! | `no-nonce` | every start draws nonce 0 |
//! | `no-budget` | the broker applies all input that it has read in one turn |
//! | `no-yield` | the broker goes through with what is due by itself, without turns of others between its slices |
//! | `hang:PART` | the part's loop stops for ever; PART as in [`crate::stats::Heartbeat::part`], or its part before the colon |
//! | `end:PART` | the part ends as if it were done |
//! | `hang-fsync` | the store's thread sleeps 3 s inside each commit |

/// What a part is told to do to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartFault {
    Hang,
    End,
}

/// Whether the fault `name` is switched on.
#[cfg(not(feature = "faults"))]
pub const fn active(_name: &str) -> bool {
    false
}

/// The fault of the part `part`, if any. A part asks at each heartbeat.
#[cfg(not(feature = "faults"))]
pub const fn part(_part: &str) -> Option<PartFault> {
    None
}

#[cfg(feature = "faults")]
static NAMES: std::sync::LazyLock<Vec<String>> =
    std::sync::LazyLock::new(|| std::env::var("TIDEGATE_FAULT").unwrap_or_default().split(',').map(str::to_owned).collect());

/// Whether the fault `name` is switched on.
#[cfg(feature = "faults")]
pub fn active(name: &str) -> bool {
    NAMES.iter().any(|n| n == name)
}

/// The fault of the part `part`, if any. A part asks at each heartbeat.
#[cfg(feature = "faults")]
pub fn part(part: &str) -> Option<PartFault> {
    let kind = part.split(':').next().unwrap_or(part);
    NAMES.iter().find_map(|name| {
        let (fault, target) = name.split_once(':')?;
        let fault = match fault {
            "hang" => PartFault::Hang,
            "end" => PartFault::End,
            _ => return None,
        };
        (target == part || target == kind).then_some(fault)
    })
}
