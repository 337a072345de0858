//! One connection's task: reads, applies, keeps what is left; waits for writability when the kernel takes no more.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::super::apply::{Applied, Turn};
use super::super::conn::Hold;
use super::super::end::End;
use super::super::id::ConnId;
use super::flusher;
use super::shell::Shell;
use crate::clock;

/// Most bytes of one read before CONNECT.
const STRANGER_READ: usize = 4 << 10;

/// An unfinished packet that takes no more than this is never the one too many.
const UNFINISHED_SMALL: usize = 4 << 10;

/// Most bytes that are read and dropped after a connection's end: what a client has on its way of a packet that is too large.
const DROPPED_MAX: usize = 8 << 20;

/// Reads in one turn. The second finds nothing, unless the client sends as fast as it is read: of WebSocket and TLS much may come that is little
/// to MQTT.
const READS_A_TURN: usize = 2;

/// Turns with less input than this are too short to be measured.
const MEASURED_INPUT: usize = 1 << 10;

/// What a read came to.
enum Read {
    /// Nothing is there; the task is woken when something is.
    Nothing,
    /// All that was there, and how the turn ended.
    All(Turn),
    /// There may be more.
    Some(Turn),
}

#[derive(Debug)]
pub(in crate::broker) struct Connection {
    id: ConnId,
    shell: Rc<Shell>,
    /// Bytes that are not applied: part of a packet, or what a turn left. Read into the thread's buffer otherwise.
    left: Vec<u8>,
    /// Bytes of `left` that are dealt with.
    done: usize,
    /// What `left` counts for in the shell's `unfinished`.
    counted: usize,
    /// Whole packets may stand in `left`.
    again: bool,
    eof: bool,
    /// What the drain waits for has been applied.
    settled: bool,
    /// Bytes that came after the end.
    dropped: usize,
}

/// Until the connection's end. Written by hand: what an `async` block holds across its one await it holds twice, for each connection.
impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let ended = this.advance(cx);
        if ended.is_ready() {
            this.finish(cx);
        }
        ended
    }
}

impl Connection {
    pub(in crate::broker) const fn new(id: ConnId, shell: Rc<Shell>) -> Self {
        Self { id, shell, left: Vec::new(), done: 0, counted: 0, again: false, eof: false, settled: false, dropped: 0 }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.note_settled();
        self.shell.with_socket(self.id, |socket| socket.say_farewell(cx));
        self.shell.count_unfinished(self.counted, 0);
        self.shell.remove(self.id);
        self.shell.settle();
        if self.shell.draining.get() {
            self.shell.main.notify_one();
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.shell.with_socket(self.id, |socket| match &socket.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => socket.waker = Some(cx.waker().clone()),
        });
        let written = self.poll_write(cx).is_ready() || self.shell.broker.borrow().has_waited(self.id);
        if self.shell.is_put_off(self.id) {
            return Poll::Pending;
        }
        if written && self.has_ended() {
            return self.poll_linger(cx);
        }
        if self.shell.broker.borrow().is_ending(self.id) {
            self.note_settled();
            return Poll::Pending;
        }
        let mut result = self.poll_input(cx);
        if !self.has_room() {
            self.left = Vec::new();
            result = self.end(End::Unfinished);
        }
        self.shell.settle();
        if matches!(result, Turn::Again) {
            self.shell.put_off(self.id);
        }
        Poll::Pending
    }

    /// Ready when the socket is not blocked.
    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<()> {
        while self.shell.with_socket(self.id, |socket| socket.blocked).unwrap_or(false) {
            let writable = self.shell.with_socket(self.id, |socket| {
                let writable = socket.poll_writable(cx).is_ready();
                socket.blocked = !writable;
                writable
            });
            if writable == Some(false) {
                return Poll::Pending;
            }
            flusher::flush(&self.shell, self.id);
        }
        Poll::Ready(())
    }

    /// Ended, and the last bytes are written.
    fn has_ended(&self) -> bool {
        let broker = self.shell.broker.borrow();
        broker.is_ending(self.id) && broker.output(self.id).is_none_or(|out| out.waiting() == 0)
    }

    /// The last word is written. What the peer still sends is read and dropped for a while: a close with input unread resets the connection, and
    /// the reset can overtake the last word.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.note_settled();
        if self.shell.draining.get() || self.dropped > DROPPED_MAX || !self.shell.broker.borrow().lingers(self.id) {
            return Poll::Ready(());
        }
        self.left = Vec::new();
        let mut buffer = self.shell.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        let got = self.shell.with_socket(self.id, |socket| {
            socket.shut_down(cx);
            socket.poll_discard(cx, &mut read)
        });
        match got {
            Some(Poll::Pending) => return Poll::Pending,
            Some(Poll::Ready(Ok(()))) if !read.filled().is_empty() => self.dropped += read.filled().len(),
            None | Some(Poll::Ready(_)) => return Poll::Ready(()),
        }
        self.shell.put_off(self.id);
        Poll::Pending
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Turn {
        // Leftovers first: they came before whatever can be read. A connection that wants to send retained messages has its turn here, too.
        let turn = self.apply_left();
        if turn != Turn::Hungry {
            if matches!(
                self.shell.broker.borrow().hold_of(self.id),
                Some(Hold::NotStarted | Hold::Full(_) | Hold::Unread | Hold::Rate | Hold::Password)
            ) {
                // Nothing says that its time will come: a drain does not wait for it.
                self.note_settled();
            }
            return turn;
        }
        self.again = false;
        if self.shell.draining.get() {
            self.note_settled();
            return Turn::Held;
        }
        if self.eof {
            return self.end(End::Eof);
        }
        for _ in 0..READS_A_TURN {
            match self.read(cx) {
                Read::Nothing => return Turn::Hungry,
                // Registers for more; nothing is read before others had their turn.
                Read::All(Turn::Hungry) => {}
                Read::Some(Turn::Hungry) => return Turn::Again,
                Read::All(turn) | Read::Some(turn) => return turn,
            }
        }
        Turn::Again
    }

    /// Counts what an unfinished packet takes; whether there is room for it. What merely waits to be applied is bounded by the read buffer.
    fn has_room(&mut self) -> bool {
        let unfinished = if self.again { 0 } else { self.left.capacity() };
        let all = self.shell.count_unfinished(self.counted, unfinished);
        self.counted = unfinished;
        let max = self.shell.broker.borrow().limits.unfinished_max();
        unfinished <= UNFINISHED_SMALL || all <= max
    }

    fn apply_left(&mut self) -> Turn {
        if !self.again && !self.shell.broker.borrow().wants_turn(self.id) {
            return Turn::Hungry;
        }
        let input = self.left.get(self.done..).unwrap_or_default();
        let applied = self.apply(input);
        self.done += applied.used;
        if self.done == self.left.len() {
            self.left = Vec::new();
            self.done = 0;
        } else if self.done > self.left.len() / 2 {
            self.left.drain(..self.done);
            self.done = 0;
        }
        applied.turn
    }

    /// One read, behind what is left of a packet.
    fn read(&mut self, cx: &mut Context<'_>) -> Read {
        let shell = Rc::clone(&self.shell);
        let mut buffer = shell.buffer.borrow_mut();
        let known = shell.broker.borrow().is_connected(self.id);
        self.left.drain(..self.done);
        self.done = 0;
        // The beginning of a small packet is put before what is read; that of a large one gathers by itself.
        let before = if self.left.len() <= buffer.len() / 2 { self.left.len() } else { 0 };
        let end = if known { buffer.len() } else { before + STRANGER_READ };
        let mut read = ReadBuf::new(buffer.get_mut(before..end).unwrap_or_default());
        match shell.with_socket(self.id, |socket| socket.poll_read(cx, &mut read)) {
            // Without a socket there is nothing to wait for.
            None | Some(Poll::Pending) => return Read::Nothing,
            // Frames or records that hold nothing for us, if not a signal.
            Some(Poll::Ready(Err(e))) if e.kind() == ErrorKind::Interrupted => return Read::Some(Turn::Hungry),
            Some(Poll::Ready(Err(e))) if e.kind() == ErrorKind::InvalidData => {
                tracing::debug!(id = ?self.id, error = %e, "a connection is garbled");
                return Read::All(self.end(End::Garbled));
            }
            Some(Poll::Ready(Err(_))) => return Read::All(self.end(End::Broken)),
            Some(Poll::Ready(Ok(()))) => {}
        }
        let n = read.filled().len();
        if n == 0 {
            self.eof = true;
            return Read::All(self.end(End::Eof));
        }
        let all = read.remaining() > 0;
        let turn = if before == self.left.len() {
            let input = buffer.get_mut(..before + n).unwrap_or_default();
            if let Some(front) = input.get_mut(..before) {
                front.copy_from_slice(&self.left);
            }
            let applied = self.apply(input);
            let rest = input.get(applied.used..).unwrap_or_default();
            self.keep(rest);
            applied.turn
        } else {
            self.left.extend_from_slice(buffer.get(..n).unwrap_or_default());
            drop(buffer);
            self.again = true;
            self.apply_left()
        };
        self.again = matches!(turn, Turn::Again | Turn::Held);
        if all { Read::All(turn) } else { Read::Some(turn) }
    }

    fn keep(&mut self, rest: &[u8]) {
        self.left.clear();
        if rest.is_empty() {
            self.left = Vec::new();
        } else {
            self.left.extend_from_slice(rest);
        }
    }

    fn apply(&self, input: &[u8]) -> Applied {
        // A CONNECT may resume a session with all that it has in flight; a replay has no input.
        let measured = input.len() >= MEASURED_INPUT || {
            let broker = self.shell.broker.borrow();
            !broker.is_connected(self.id) || broker.wants_turn(self.id)
        };
        self.shell.turn(measured, || self.shell.broker.borrow_mut().apply(self.id, input, clock::now()))
    }

    fn end(&self, end: End) -> Turn {
        self.shell.broker.borrow_mut().lost(self.id, end, clock::now());
        Turn::Ended
    }

    /// Tells the drain that nothing more comes from this connection.
    fn note_settled(&mut self) {
        if !self.settled && self.shell.draining.get() {
            self.settled = true;
            self.shell.unsettled.set(self.shell.unsettled.get().saturating_sub(1));
            self.shell.main.notify_one();
        }
    }
}
