//! The demo's site as a file: also an example of one.

use std::path::Path;

/// As it might be at a site. What is one's own in each demo stands where [`Places`] goes.
pub const EXAMPLE: &str = include_str!("site.toml");

/// What differs from one demo to the next, and how the example has it.
const STORE: &str = "\"/var/lib/tidegate/store.db\"";
const LISTEN: &str = "tcp://127.0.0.1:1883";
const METERS: &str = "\"/dev/serial/by-id/usb-FTDI_USB-RS485_Cable-if00-port0\"";
const WEATHER: &str = "\"/dev/ttyUSB1\"";
const UPSTREAM: &str = "mqtt://127.0.0.1:1884";

/// Files and ports of one demo.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    pub store: &'a Path,
    /// Port of the gateway's broker on the loopback.
    pub listen: u16,
    pub meters: &'a Path,
    pub weather: &'a Path,
    /// Port of the upstream on the loopback.
    pub upstream: u16,
}

/// The text of this demo's file.
pub fn toml(places: Places<'_>) -> String {
    EXAMPLE
        .replacen(STORE, &quoted(places.store), 1)
        .replacen(LISTEN, &format!("tcp://127.0.0.1:{}", places.listen), 1)
        .replacen(METERS, &quoted(places.meters), 1)
        .replacen(WEATHER, &quoted(places.weather), 1)
        .replacen(UPSTREAM, &format!("mqtt://127.0.0.1:{}", places.upstream), 1)
}

fn quoted(path: &Path) -> String {
    toml::Value::from(&*path.to_string_lossy()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Environment, parse};

    #[test]
    fn the_example_is_a_site_and_says_each_place_once() {
        for place in [STORE, LISTEN, METERS, WEATHER, UPSTREAM] {
            assert_eq!(EXAMPLE.matches(place).count(), 1, "{place}");
        }
        let site = parse(EXAMPLE, "site.toml", &Environment::unknown()).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(site.warnings.is_empty(), "{:?}", site.warnings);
    }

    #[test]
    fn a_demo_has_its_own_places() {
        let (store, meters, weather) = (Path::new("/tmp/a \"b\"/store.db"), Path::new("/tmp/m"), Path::new("/tmp/w"));
        let text = toml(Places { store, listen: 0, meters, weather, upstream: 4_711 });
        let site = parse(&text, "site.toml", &Environment::unknown()).unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(site.outbox.path, store);
        assert_eq!(site.broker.listeners[0].at, crate::broker::At::Tcp(std::net::SocketAddr::from(([127, 0, 0, 1], 0))));
        assert_eq!(site.buses.iter().map(|bus| bus.port.as_path()).collect::<Vec<_>>(), [meters, weather]);
        assert_eq!(site.upstreams[0].port, 4_711);
    }
}
