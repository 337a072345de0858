//! What joins the state to its sockets: wakers, write halves, the thread's one read buffer. Shared by the tasks of the broker's thread.
//!
//! Every use borrows, calls and lets go: no borrow lives across an await, and none is taken while another is held, except that of the read
//! buffer, which only a connection's own turn touches.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;

use tokio::sync::Notify;

use super::super::conn::Hold;
use super::super::end::End;
use super::super::id::ConnId;
use super::super::state::Broker;
use super::socket::Socket;
use crate::clock;

/// The thread's read buffer.
const BUFFER: usize = 64 << 10;

#[derive(Debug)]
pub(in crate::broker) struct Shell {
    pub(in crate::broker) broker: RefCell<Broker>,
    sockets: RefCell<Vec<Option<(ConnId, Socket)>>>,
    pub(in crate::broker) buffer: RefCell<Box<[u8]>>,
    pub(in crate::broker) flusher: RefCell<Option<Waker>>,
    pub(in crate::broker) again: Again,
    /// Wakes the broker's task: entries to send, wills to publish.
    pub(in crate::broker) main: Notify,
    /// What the unfinished packets of all connections take.
    unfinished: Cell<usize>,
    /// No more is read from clients.
    pub(in crate::broker) draining: Cell<bool>,
    /// Connections whose leftovers are still to be applied, of those that have been polled since the drain began.
    pub(in crate::broker) unsettled: Cell<usize>,
}

/// Connections whose turn comes after those of others, in order.
#[derive(Debug, Default)]
pub(in crate::broker) struct Again {
    queue: RefCell<VecDeque<ConnId>>,
    pub(in crate::broker) waker: RefCell<Option<Waker>>,
}

impl Shell {
    pub(in crate::broker) fn new(broker: Broker) -> Self {
        Self {
            broker: RefCell::new(broker),
            sockets: RefCell::default(),
            buffer: RefCell::new(vec![0; BUFFER].into()),
            flusher: RefCell::default(),
            again: Again::default(),
            main: Notify::new(),
            unfinished: Cell::new(0),
            draining: Cell::new(false),
            unsettled: Cell::new(0),
        }
    }

    pub(in crate::broker) fn add(&self, id: ConnId, socket: Socket) {
        let mut sockets = self.sockets.borrow_mut();
        let index = id.index as usize;
        if sockets.len() <= index {
            sockets.resize_with(index + 1, || None);
        }
        if let Some(place) = sockets.get_mut(index) {
            *place = Some((id, socket));
        }
    }

    /// Closes the socket and forgets the connection.
    pub(in crate::broker) fn remove(&self, id: ConnId) {
        if let Some(place) = self.sockets.borrow_mut().get_mut(id.index as usize)
            && place.as_ref().is_some_and(|(owner, _)| *owner == id)
        {
            *place = None;
        }
        self.broker.borrow_mut().gone(id);
    }

    /// One turn of the thread: how long the longest took is kept. What is known to be short is not `measured`: that takes two system calls.
    pub(in crate::broker) fn turn<T>(&self, measured: bool, work: impl FnOnce() -> T) -> T {
        let before = measured.then(clock::thread_cpu);
        let result = work();
        if let Some(before) = before {
            self.broker.borrow_mut().took(clock::thread_cpu().saturating_sub(before));
        }
        result
    }

    /// A connection's unfinished packet takes `now` bytes instead of `before`; what all take together.
    pub(in crate::broker) fn count_unfinished(&self, before: usize, now: usize) -> usize {
        self.unfinished.set(self.unfinished.get().saturating_sub(before) + now);
        self.unfinished.get()
    }

    pub(in crate::broker) fn with_socket<T>(&self, id: ConnId, f: impl FnOnce(&mut Socket) -> T) -> Option<T> {
        let mut sockets = self.sockets.borrow_mut();
        let (owner, socket) = sockets.get_mut(id.index as usize)?.as_mut()?;
        (*owner == id).then(|| f(socket))
    }

    /// Every connection that has a socket.
    pub(in crate::broker) fn ids(&self) -> Vec<ConnId> {
        self.sockets.borrow().iter().flatten().map(|(id, _)| *id).collect()
    }

    /// After an event was applied: wakes whom it concerns.
    pub(in crate::broker) fn settle(&self) {
        let (wakes, dirty, news) = {
            let mut broker = self.broker.borrow_mut();
            (broker.take_wakes(), broker.has_dirty(), broker.take_news())
        };
        for id in wakes {
            self.wake(id);
        }
        if dirty && let Some(waker) = self.flusher.borrow().as_ref() {
            waker.wake_by_ref();
        }
        if news {
            self.main.notify_one();
        }
    }

    /// The connection has more to do than one turn takes.
    pub(in crate::broker) fn put_off(&self, id: ConnId) {
        if self.with_socket(id, |socket| std::mem::replace(&mut socket.put_off, true)) == Some(false) {
            self.again.queue.borrow_mut().push_back(id);
            if let Some(waker) = self.again.waker.borrow().as_ref() {
                waker.wake_by_ref();
            }
        }
    }

    /// Whether its turn is still to come, whatever it was woken for.
    pub(in crate::broker) fn is_put_off(&self, id: ConnId) -> bool {
        self.with_socket(id, |socket| socket.put_off).unwrap_or(false)
    }

    /// The next of those that were put off has its turn; true if there are more.
    pub(in crate::broker) fn wake_next_again(&self) -> bool {
        let next = self.again.queue.borrow_mut().pop_front();
        if let Some(id) = next {
            self.with_socket(id, |socket| socket.put_off = false);
            self.wake(id);
        }
        !self.again.queue.borrow().is_empty()
    }

    pub(in crate::broker) fn wake(&self, id: ConnId) {
        let waker = self.with_socket(id, |socket| socket.waker.clone()).flatten();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// A held connection is not read, so its end is looked for: a peer that has closed or broken the connection is let go.
    /// One that feeds a slow receiver goes on within a tenth of a second, and what it said before its end, DISCONNECT too, is still applied. One
    /// that does not read is written to: that shows whether it is there, and it may still read after it has said all.
    pub(in crate::broker) fn look_for_ends(&self) {
        for id in self.ids() {
            let held = self.broker.borrow().hold_of(id).is_some_and(|hold| !matches!(hold, Hold::Slow | Hold::Rate | Hold::Unread));
            if held && self.with_socket(id, |socket| socket.is_hung_up()).unwrap_or(false) {
                self.broker.borrow_mut().lost(id, End::Eof, clock::now());
            }
        }
        self.settle();
    }

    /// Begins the drain: nothing more is read, and what was read is applied.
    pub(in crate::broker) fn begin_drain(&self) {
        let ids = self.ids();
        self.unsettled.set(ids.len());
        self.draining.set(true);
        ids.iter().for_each(|id| self.wake(*id));
    }
}
