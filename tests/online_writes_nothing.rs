//! A gateway whose upstream answers in time does not touch its disk; one whose upstream is away pays one fsync a batch.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tidegate::clock;

use crate::harness::gateway::{Gateway, Site};
use crate::harness::ledger::percentile;
use crate::harness::mosquitto::Mosquitto;
use crate::harness::proxy::{Mode, Proxy};
use crate::harness::publisher::{Load, Publishers};
use crate::harness::receiver::Receiver;
use crate::harness::rig::upstream;
use crate::harness::{alone, let_run, report, wait_exit, wait_for, wait_until};

/// 100 messages a second.
const LOAD: Load = Load { publishers: 5, rate: 20, window: 20, topic: "pub/{p}" };
const MEASURED: Duration = Duration::from_secs(30);
/// 10 ms there and back.
const ONE_WAY: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(20);
/// The shortest time that a receiver is given before what it has not answered is written (outbox.md 6).
const LATE: Duration = Duration::from_millis(100);
/// So long after something was written its row is gone and the WAL is empty again: the cursor comes after 5 s, the checkpoint after 10 s idle.
const TAIL: Duration = Duration::from_secs(17);
/// Where the machine itself stood still, another try shows what the gateway does when it does not.
const TRIES: usize = 4;

#[test]
fn an_online_gateway_writes_nothing_and_an_offline_one_in_batches() {
    let _alone = alone();
    let broker = Mosquitto::start();
    let proxy = Proxy::before(broker.port());
    proxy.delay(ONE_WAY, ONE_WAY);
    let receiver = Receiver::start(broker.port(), "#");
    let site = Site::new(&upstream("cloud", proxy.port(), "#"));
    let gateway = site.start();
    site.status_with("a connected upstream", SOON, |status| status.upstreams.iter().all(|upstream| upstream.connects > 0).then_some(()));
    let publishers = Publishers::start(site.port, LOAD);
    wait_until("messages at the upstream", SOON, || receiver.count() >= 100);

    let online = (1..=TRIES).map(|_| online(&site, &gateway, &publishers)).find(|online| online.fsyncs == 0 || online.late == 0);
    let online = online.unwrap_or_else(|| panic!("in none of {TRIES} tries was everybody answered in time: is the machine busy?"));

    proxy.set(Mode::Closed);
    let before = site.status().expect("a status").outbox;
    let began = clock::mono();
    let shut = fsyncs(&site, &gateway, || let_run(MEASURED));
    let acked_shut = publishers.acked_between(began, clock::mono());
    let after = site.status().expect("a status").outbox;
    let (commits, rows) = (after.commits - before.commits, after.rows - before.rows);
    report(&format!(
        "online writes nothing: shut, {acked_shut} messages acknowledged in {MEASURED:?}: {shut} fsyncs, {commits} commits, {:.1} rows a commit",
        rows as f64 / commits.max(1) as f64
    ));

    assert_eq!(online.fsyncs, 0, "an online gateway has touched its disk\n{}", site.log_tail());
    assert!(online.acked >= 2_500, "{} of 3,000 messages were acknowledged online: too few to have shown anything", online.acked);
    assert!((60..=240).contains(&shut), "{shut} fsyncs while shut");
    assert!(acked_shut >= 2_500, "{acked_shut} of 3,000 messages were acknowledged while shut");

    proxy.set(Mode::Open);
    let ledger = publishers.finish(SOON);
    wait_until("all that was acknowledged", SOON, || ledger.judge(&receiver.all()).lost.is_empty());
}

/// What was measured while the upstream was there.
struct Online {
    fsyncs: u64,
    acked: usize,
    /// Messages that nobody answered in time, so that they had to be written.
    late: usize,
}

fn online(site: &Site, gateway: &Gateway<'_>, publishers: &Publishers) -> Online {
    // What a late answer has had written before is over, or counts as late here.
    let before = clock::mono();
    let_run(TAIL);
    let began = clock::mono();
    let fsyncs = fsyncs(site, gateway, || let_run(MEASURED));
    let ended = clock::mono();
    let ledger = publishers.ledger();
    let acked = publishers.acked_between(began, ended);
    let p99 = percentile(&ledger.ack_times(began, ended), 99);
    let late = ledger.ack_times(before, ended).into_iter().filter(|took| *took >= LATE).count();
    report(&format!(
        "online writes nothing: {acked} messages acknowledged in {MEASURED:?}, PUBACK p99 {p99:?}, {late} after {LATE:?}: {fsyncs} fsyncs"
    ));
    Online { fsyncs, acked, late }
}

/// How often the gateway calls fsync or fdatasync, in all its threads, while `meanwhile` runs.
fn fsyncs(site: &Site, gateway: &Gateway<'_>, meanwhile: impl FnOnce()) -> u64 {
    let counts = site.path().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-o"]).arg(&counts).arg("-p").arg(gateway.pid().to_string());
    let messages = site.path().join("strace.messages");
    let log = std::fs::File::create(&messages).expect("a file");
    let mut strace = strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("the program strace");
    let said = || std::fs::read_to_string(&messages).unwrap_or_default();
    wait_for("strace to attach (it may trace only as root, or with /proc/sys/kernel/yama/ptrace_scope at 0)", SOON, || {
        if let Some(status) = strace.try_wait().expect("the child is ours") {
            panic!("strace ended: {status}: {}", said());
        }
        attached(gateway.pid()).then_some(())
    });
    meanwhile();
    interrupt(&mut strace);
    sum(&std::fs::read_to_string(&counts).unwrap_or_else(|e| panic!("strace wrote no counts ({e}): {}", said())))
}

/// Whether each thread of the process has a tracer.
fn attached(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the gateway runs");
    threads.flatten().all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|tracer| tracer.trim() != "0"))
    })
}

/// strace lets go and writes its counts.
fn interrupt(strace: &mut Child) {
    let pid = i32::try_from(strace.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::INT).expect("the child is ours and not yet waited for");
    wait_exit("strace", strace, SOON);
}

/// The calls in a table of `strace -c`: "% time, seconds, usecs/call, calls, errors, syscall"; the errors may be blank.
fn sum(table: &str) -> u64 {
    let rows = table.lines().filter(|line| line.trim_end().ends_with("sync"));
    rows.map(|row| {
        row.split_whitespace().nth(3).and_then(|calls| calls.parse::<u64>().ok()).unwrap_or_else(|| panic!("no count in {row:?}"))
    })
    .sum()
}
