//! Serial ports: the only file of the buses that touches a tty.

use std::path::Path;

use super::{Line, Parity};

/// An open port: `AsyncRead` and `AsyncWrite`, and `try_read` for what it holds already. A read of 0 bytes is its end.
pub(super) use tokio_serial::SerialStream as Port;

/// Opens the port with these settings.
///
/// # Errors
/// It is not there, is no terminal, or does not take the settings.
pub(super) fn open(port: &Path, line: &Line) -> std::io::Result<Port> {
    let builder = tokio_serial::new(port.to_string_lossy(), line.baud)
        .data_bits(match line.data_bits {
            5 => tokio_serial::DataBits::Five,
            6 => tokio_serial::DataBits::Six,
            7 => tokio_serial::DataBits::Seven,
            _ => tokio_serial::DataBits::Eight,
        })
        .parity(match line.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Even => tokio_serial::Parity::Even,
            Parity::Odd => tokio_serial::Parity::Odd,
        })
        .stop_bits(if line.stop_bits == 2 { tokio_serial::StopBits::Two } else { tokio_serial::StopBits::One });
    let opened = Port::open(&builder)?;
    ask_for_low_latency(port);
    Ok(opened)
}

/// A USB adapter holds bytes back, up to 16 ms, unless its latency timer says 1 ms. Not every adapter has one, and it is often not ours to set
/// (a udev rule can); replies are right without it, only later.
fn ask_for_low_latency(port: &Path) {
    let Some(name) = port.canonicalize().ok().and_then(|real| Some(real.file_name()?.to_owned())) else { return };
    let timer = Path::new("/sys/bus/usb-serial/devices").join(name).join("latency_timer");
    if timer.exists()
        && let Err(error) = std::fs::write(&timer, "1")
    {
        tracing::debug!(port = %port.display(), %error, "the adapter's latency timer stays as it is");
    }
}
