//! Output → sockets: one task writes for all connections, so that what a turn gathered for one receiver leaves in one write.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::Poll;

use super::super::end::End;
use super::super::id::ConnId;
use super::super::output::SLICES;
use super::shell::Shell;
use crate::clock;

/// Sockets written in one poll, before others of the thread have their turn.
const SOCKETS_A_POLL: usize = 64;

/// Bytes written in one poll, the last write whole. Measured: 64 sockets that each take a megabyte hold the thread 20 ms.
const BYTES_A_POLL: usize = 512 << 10;

/// Polls that write fewer are too short to be measured.
const SOCKETS_MEASURED: usize = 8;

/// Writes for as long as the thread lives.
pub(in crate::broker) async fn run(shell: Rc<Shell>) {
    poll_fn(|cx| {
        let mut waker = shell.flusher.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        let many = shell.broker.borrow().count_dirty() >= SOCKETS_MEASURED;
        shell.turn(many, || {
            let (mut sockets, mut bytes) = (0, 0);
            while sockets < SOCKETS_A_POLL && bytes < BYTES_A_POLL {
                let next = shell.broker.borrow_mut().next_dirty();
                let Some(id) = next else { break };
                bytes += flush(&shell, id);
                sockets += 1;
            }
        });
        shell.settle();
        Poll::<()>::Pending
    })
    .await;
}

/// What became of one write.
enum Wrote {
    Bytes(usize),
    /// Taken, and the connection's own task has to see it out.
    Part(usize),
    Blocked,
    Broken,
}

/// One write for one connection; the bytes that were written.
pub(in crate::broker) fn flush(shell: &Shell, id: ConnId) -> usize {
    let wrote = {
        let broker = shell.broker.borrow();
        let Some(out) = broker.output(id).filter(|out| out.waiting() > 0) else { return 0 };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = out.slices(&mut slices);
        shell.with_socket(id, |socket| {
            if socket.blocked {
                // Its own task writes all of it, once it may.
                return Wrote::Bytes(0);
            }
            match socket.write(slices.get_mut(..count).unwrap_or_default()) {
                Ok(0) => Wrote::Broken,
                // Not all of it is out.
                Ok(n) if socket.blocked => Wrote::Part(n),
                Ok(n) => Wrote::Bytes(n),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    socket.blocked = true;
                    Wrote::Blocked
                }
                Err(_) => Wrote::Broken,
            }
        })
    };
    match wrote {
        Some(Wrote::Bytes(0)) | None => {}
        Some(Wrote::Bytes(n)) => {
            shell.broker.borrow_mut().written(id, n, clock::now());
            return n;
        }
        Some(Wrote::Part(n)) => {
            shell.broker.borrow_mut().written(id, n, clock::now());
            shell.wake(id);
            return n;
        }
        Some(Wrote::Blocked) => {
            shell.wake(id);
        }
        Some(Wrote::Broken) => {
            let mut broker = shell.broker.borrow_mut();
            broker.lost(id, End::Broken, clock::now());
            broker.forget_output(id);
        }
    }
    0
}
