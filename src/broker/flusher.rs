//! Output → sockets: one task writes for all connections, so that what a turn gathered for one receiver leaves in one write.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::task::Poll;

use super::end::End;
use super::id::ConnId;
use super::output::SLICES;
use super::shell::Shell;
use crate::clock;

/// Sockets written in one poll, before others of the thread have their turn.
const SOCKETS_A_POLL: usize = 64;

/// Writes for as long as the thread lives.
pub(super) async fn run(shell: Rc<Shell>) {
    poll_fn(|cx| {
        let mut waker = shell.flusher.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        for _ in 0..SOCKETS_A_POLL {
            let next = shell.broker.borrow_mut().next_dirty();
            let Some(id) = next else { break };
            flush(&shell, id);
        }
        shell.settle();
        Poll::<()>::Pending
    })
    .await;
}

/// What became of one write.
enum Wrote {
    Bytes(usize),
    Blocked,
    Broken,
}

/// One write for one connection.
pub(super) fn flush(shell: &Shell, id: ConnId) {
    let wrote = {
        let broker = shell.broker.borrow();
        let Some(out) = broker.output(id).filter(|out| out.waiting() > 0) else { return };
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = out.slices(&mut slices);
        shell.with_socket(id, |socket| {
            if socket.blocked {
                // Its own task writes all of it, once it may.
                return Wrote::Bytes(0);
            }
            match socket.write(slices.get(..count).unwrap_or_default()) {
                Ok(0) => Wrote::Broken,
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
}
