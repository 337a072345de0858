//! The simulated devices on their wires, one thread a wire.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use super::folder::{self, Folder};
use super::pty::Pty;
use super::sim::Running;
use super::{Error, meters, weather};

/// Both wires. Unplugged when dropped.
#[derive(Debug)]
pub struct Devices {
    pub meters: PathBuf,
    pub weather: PathBuf,
    running: Running,
    threads: Vec<JoinHandle<()>>,
    /// They stay when the devices fall silent, so that no port is lost.
    _wires: Vec<Arc<Pty>>,
}

impl Devices {
    /// Plugs them in; their ports are links in `folder`.
    pub fn plug_in(folder: &Folder) -> Result<Self, Error> {
        let running = Running::new();
        let (meters_wire, meters, meters_thread) = wire(folder, "meters", &running, meters::run)?;
        let (weather_wire, weather, weather_thread) = wire(folder, "weather", &running, weather::run)?;
        Ok(Self { meters, weather, running, threads: vec![meters_thread, weather_thread], _wires: vec![meters_wire, weather_wire] })
    }

    /// From now on they say nothing.
    pub fn hush(&mut self) {
        self.running.end();
        for thread in self.threads.drain(..) {
            // A panic would have ended the process.
            let _ = thread.join();
        }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        // First the names: what the kernel gives to somebody else must not be opened by them.
        folder::unlink(&self.meters);
        folder::unlink(&self.weather);
        self.hush();
    }
}

type Wire = (Arc<Pty>, PathBuf, JoinHandle<()>);

fn wire(folder: &Folder, name: &str, running: &Running, device: fn(&Pty, &Running)) -> Result<Wire, Error> {
    let pty = Arc::new(Pty::open().map_err(Error::Pty)?);
    let port = folder.link(name, pty.path()).map_err(Error::Folder)?;
    let (running, wire) = (running.clone(), pty.clone());
    let thread = std::thread::Builder::new().name(format!("demo:{name}")).spawn(move || device(&wire, &running));
    Ok((pty, port, thread.map_err(Error::Runtime)?))
}
