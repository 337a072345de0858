//! An ordinary MQTT client of the gateway: what the demo shows has come the whole way.

use std::borrow::Cow;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::view::Heard;
use crate::clock;
use crate::model::Mono;

/// After a connection has failed.
const RETRY: Duration = Duration::from_secs(1);
/// Requests to the client that wait; there is one, the subscription.
const REQUESTS_MAX: usize = 4;

/// Subscribes to everything and hands on each reading with its topic, until nobody takes them any more.
pub async fn run(port: u16, readings: mpsc::Sender<(String, Heard)>) {
    let mut options = MqttOptions::new("tidegate-demo-table", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = AsyncClient::new(options, REQUESTS_MAX);
    loop {
        match connection.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                // Its queue has room for more than one subscription.
                let _ = client.try_subscribe("#", QoS::AtMostOnce);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if let Some(heard) = heard(&publish.payload, clock::mono())
                    && readings.send((publish.topic, heard)).await.is_err()
                {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) if readings.is_closed() => return,
            Err(_) => clock::sleep(RETRY).await,
        }
    }
}

/// The published text of a reading; a topic of somebody else's has another and is not shown.
#[derive(Deserialize)]
struct Sample<'a> {
    #[serde(borrow)]
    v: &'a RawValue,
    #[serde(borrow)]
    u: Option<Cow<'a, str>>,
    #[serde(borrow)]
    q: Cow<'a, str>,
    #[serde(borrow)]
    cause: Option<Cow<'a, str>>,
}

fn heard(payload: &[u8], at: Mono) -> Option<Heard> {
    let sample: Sample<'_> = serde_json::from_slice(payload).ok()?;
    let text = match (sample.cause, sample.u) {
        (Some(cause), _) => cause.into_owned(),
        (None, Some(unit)) => format!("{} {unit}", sample.v.get()),
        (None, None) => sample.v.get().to_owned(),
    };
    Some(Heard { text, good: sample.q == "good", at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_shown_as_it_was_published() {
        for (payload, want) in [
            (r#"{"v":230.10,"u":"V","q":"good","t":"x"}"#, Some(("230.10 V", true))),
            (r#"{"v":true,"q":"good","t":"x"}"#, Some(("true", true))),
            (r#"{"v":null,"u":"\u00b0C","q":"bad","t":"x","cause":"exception:2"}"#, Some(("exception:2", false))),
            ("hello", None),
            ("{}", None),
            ("", None),
        ] {
            let got = heard(payload.as_bytes(), Mono::ZERO);
            assert_eq!(got.as_ref().map(|h| (h.text.as_str(), h.good)), want, "{payload}");
        }
    }
}
