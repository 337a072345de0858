//! Connections that have more to do than one turn takes: they go on one at a time, each after all that have less.
//!
//! Without this a turn of everybody else's stands between two turns of an honest client: whoever opens a hundred connections and fills them all has
//! a hundred turns for its one.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use super::shell::Shell;

/// For as long as the thread lives.
pub(in crate::broker) async fn run(shell: Rc<Shell>) {
    poll_fn(|cx| {
        let mut waker = shell.again.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        if shell.wake_next_again() {
            // Behind the one that was woken, and those who have become ready meanwhile.
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    })
    .await;
}
