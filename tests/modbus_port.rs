//! A Modbus port that is absent, comes, is pulled and comes again, by the real task over a pty.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::time::Timespec;
use tidegate::bus::ModbusOptions;
use tidegate::clock;
use tidegate::modbus::{ByteOrder, RegisterAddress, Reply, Table, ValueType, rtu};
use tidegate::model::{Cause, Sample, Value};

use crate::harness::modbus::{Bus, device, point};
use crate::harness::wait_for;

/// Polling again after a port has come back.
const AGAIN: Duration = Duration::from_secs(5);

#[test]
fn a_port_that_comes_and_goes_is_polled_again_within_five_seconds() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = folder.path().join("port");
    let register = RegisterAddress { table: Table::Holding, address: 4 };
    let points = vec![point("a", register, ValueType::U16, ByteOrder::Abcd, Duration::from_millis(20))];
    let (timeout, late_window) = (Duration::from_millis(100), Duration::from_secs(3));
    let mut bus = Bus::start(port.clone(), ModbusOptions { timeout, late_window, devices: vec![device(1, 3, points)] });
    let mut next = |what: &str, want: &Result<Value, Cause>| {
        let mut seen = Vec::new();
        wait_for(what, AGAIN, || {
            seen.extend(bus.waiting().iter().filter_map(|message| Sample::from_body(&message.body)).map(|sample| sample.value));
            seen.iter().position(|value| value == want)
        });
        seen
    };

    let closed = Err(Cause::Closed);
    assert_eq!(next("the port to be absent", &closed), std::slice::from_ref(&closed), "said once");
    for value in [17, 18] {
        let slave = Slave::plug_in(&port, value);
        let seen = next("a value", &Ok(Value::U64(value.into())));
        assert!(!seen.contains(&closed), "the loss is published once: {seen:?}");
        drop(slave);
        let seen = next("the loss of the port", &closed);
        assert_eq!(seen.last(), Some(&closed));
    }
    assert!(!bus.status().open);
}

/// A loss is published once, so no point may miss it and keep its last good value: not for want of room either.
#[test]
fn every_point_of_an_absent_port_is_published_as_bad_when_readings_have_little_room() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |address| RegisterAddress { table: Table::Holding, address };
    let points = (0..10).map(|i| point(&format!("p{i}"), at(i), ValueType::U16, ByteOrder::Abcd, Duration::from_secs(1))).collect();
    let (timeout, late_window) = (Duration::from_millis(100), Duration::from_secs(3));
    let options = ModbusOptions { timeout, late_window, devices: vec![device(1, 3, points)] };
    let mut bus = Bus::start_with_room(folder.path().join("port"), options, 4);
    let mut seen = Vec::new();
    wait_for("the last point", AGAIN, || {
        seen.extend(bus.waiting().into_iter().map(|message| message.topic.to_string()));
        (seen.len() >= 10).then_some(())
    });
    seen.sort();
    assert_eq!(seen, (0..10).map(|i| format!("p{i}")).collect::<Vec<_>>());
}

/// Answers every read with one value in all registers, until it is pulled.
struct Slave {
    pull: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Slave {
    fn plug_in(port: &Path, value: u16) -> Self {
        let line = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&line).expect("a pty");
        unlockpt(&line).expect("a pty");
        let name = ptsname(&line, Vec::new()).expect("a pty has a name").into_string().expect("in ASCII");
        let fresh = port.with_extension("new");
        symlink(name, &fresh).expect("the folder is ours");
        std::fs::rename(fresh, port).expect("the folder is ours");
        let (pulled, pull) = std::io::pipe().expect("a pipe");
        let thread = std::thread::spawn(move || answer(line.into(), &pulled, value));
        Self { pull: Some(pull), thread: Some(thread) }
    }
}

impl Drop for Slave {
    fn drop(&mut self) {
        drop(self.pull.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut line: File, pulled: &PipeReader, value: u16) {
    let (mut heard, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        let mut files = [PollFd::new(&line, PollFlags::IN), PollFd::new(pulled, PollFlags::IN)];
        poll(&mut files, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).expect("both are open");
        if !files[1].revents().is_empty() {
            return;
        }
        match line.read(&mut buffer) {
            Ok(read) => heard.extend_from_slice(&buffer[..read]),
            // Nobody has opened the other end yet, or no longer.
            Err(_) => clock::block_for(Duration::from_millis(5)),
        }
        while let Some(request) = rtu::take_request(&mut heard) {
            let read = request.read.expect("a read");
            let reply = Reply::words(Table::Holding, &vec![value; read.quantity().into()]);
            line.write_all(&rtu::encode_reply(request.unit, &reply)).expect("the pty takes it");
        }
    }
}
