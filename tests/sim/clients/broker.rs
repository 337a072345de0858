//! What the model broker tells the store: messages, how far each delivery has come, changes of sessions.

use super::*;

impl World {
    pub(super) fn publish(&mut self) {
        if self.calm {
            return;
        }
        let gap = 1 + self.random.below(60);
        self.after(gap, Action::Publish);
        if self.unsecured.len() > 100 {
            return;
        }
        let id = self.id();
        let topic = Topic::new(&format!("t{}", self.random.below(3))).expect("a topic");
        let body = if self.random.one_in(5) { Bytes::new() } else { Bytes::from(self.counter.to_string()) };
        let mut entry =
            Entry { id, awaited: true, accepted: self.now.mono, accepted_wall: self.now.wall, ..Entry::new(topic, Body::raw(body)) };
        for client in 0..CLIENTS {
            if let Some(session) = self.clients[client].session.filter(|_| self.random.one_in(2)) {
                entry.due.push(self.deliver(client, session, id));
            }
        }
        if self.random.one_in(4) {
            entry.owed.insert(UpstreamId(0));
        }
        entry.retained = self.random.one_in(6);
        let publisher = self.random.below(CLIENTS as u64) as usize;
        let packet = 1 + self.random.below(9) as u16;
        entry.received = self.clients[publisher].session.filter(|_| self.random.one_in(6)).map(|session| (session, packet));
        let only_prompt = entry.owed.is_empty() && !entry.retained && entry.received.is_none() && entry.due.iter().all(|due| due.prompt);
        if only_prompt && !entry.due.is_empty() {
            self.sparing.insert(id, self.now.mono);
        }
        self.history.entry(&entry);
        self.put(Put::Entry(entry));
    }

    /// What the session is owed; written to the client where it is there.
    pub(super) fn deliver(&mut self, client: usize, session: SessionId, id: EntryId) -> Due {
        let exactly_once = client % 2 == 1 && !self.random.one_in(4);
        let qos = if exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let online = self.clients[client].online;
        let prompt = online && !exactly_once && (self.all_prompt || !self.random.one_in(5));
        let mut state = DueState::Queued;
        if online && exactly_once {
            state = DueState::Sent(self.packet(client));
            self.then.push((id, Then::Publish { client, id }));
        } else if online {
            self.expect_ack(client, id);
        }
        self.clients[client].queue.insert(id, (qos, state));
        Due { session, qos, retain: false, identifiers: [].into(), state, prompt }
    }

    pub(super) fn packet(&mut self, client: usize) -> u16 {
        self.clients[client].next_packet = self.clients[client].next_packet % 60_000 + 1;
        self.clients[client].next_packet
    }

    pub(super) fn expect_ack(&mut self, client: usize, id: EntryId) {
        let soon = self.all_prompt || self.calm || !self.random.one_in(10);
        let latency = self.random.below(if soon { SOON } else { 3_000 });
        self.after(latency, Action::Ack { life: self.life, client, connection: self.clients[client].connection, id });
    }

    pub(super) fn done(&mut self, client: usize, id: EntryId, how: DoneHow) {
        let Some(session) = self.clients[client].session else { return };
        if self.clients[client].queue.remove(&id).is_none() {
            return;
        }
        self.history.done(id, session);
        self.put(Put::Done(DueDone { session, entry: id, how }));
    }

    /// PUBREC has come, or PUBCOMP.
    pub(super) fn recorded(&mut self, client: usize, id: EntryId) {
        match self.clients[client].queue.get(&id) {
            Some((_, DueState::Sent(packet))) => self.move_on(client, id, DueState::Released(*packet), Then::Release { client, id }),
            Some((_, DueState::Released(_))) => self.done(client, id, DoneHow::Acknowledged),
            _ => {}
        }
    }

    pub(super) fn move_on(&mut self, client: usize, id: EntryId, state: DueState, then: Then) {
        let Some(session) = self.clients[client].session else { return };
        self.clients[client].queue.insert(id, (QoS::ExactlyOnce, state));
        let change = self.id();
        self.then.push((change, then));
        let due = Due { session, qos: QoS::ExactlyOnce, retain: false, identifiers: [].into(), state, prompt: false };
        self.change(change, StateChange::Due { entry: id, due });
    }

    pub(super) fn some_change(&mut self) {
        if self.calm {
            return;
        }
        let gap = 1 + self.random.below(150);
        self.after(gap, Action::Change);
        let client = self.random.below(CLIENTS as u64) as usize;
        let Some(session) = self.clients[client].session else { return };
        let filter = TopicFilter::new(&format!("f/{}", self.random.below(3))).expect("a filter");
        let packet_id = 1 + self.random.below(9) as u16;
        let topic = Topic::new(&format!("t{}", self.random.below(3))).expect("a topic");
        let id = self.id();
        let what = match self.random.below(12) {
            0..4 => {
                let options = SubscribeOptions { no_local: self.random.one_in(2), ..SubscribeOptions::at(QoS::AtLeastOnce) };
                StateChange::Subscribed { session, subscription: Subscription { filter, options, identifier: None } }
            }
            4 | 5 => StateChange::Unsubscribed { session, filter },
            6 | 7 => StateChange::Received { session, packet_id },
            8 => StateChange::Released { session, packet_id },
            9 => StateChange::Retained(RetainedMessage {
                topic,
                body: Body::raw(Bytes::from(self.counter.to_string())),
                qos: QoS::AtMostOnce,
                properties: Bytes::new(),
                expires: None,
                source: Publisher::Gateway,
            }),
            10 => StateChange::RetainedGone(topic),
            _ => {
                self.count.ended += 1;
                self.clients[client].session = None;
                for id in std::mem::take(&mut self.clients[client].queue).into_keys() {
                    self.sparing.remove(&id);
                }
                self.then.push((id, Then::Begin { client }));
                StateChange::SessionEnded(session)
            }
        };
        self.change(id, what);
    }

    pub(super) fn flip(&mut self, client: usize, online: bool) {
        self.clients[client].connection += 1;
        self.clients[client].online = online;
        let queue: Vec<(EntryId, (QoS, DueState))> = self.clients[client].queue.iter().map(|(id, state)| (*id, *state)).collect();
        for (id, (qos, state)) in queue {
            match (qos, state) {
                _ if !online => {}
                (QoS::ExactlyOnce, DueState::Queued) => {
                    let packet = self.packet(client);
                    self.move_on(client, id, DueState::Sent(packet), Then::Publish { client, id });
                }
                (QoS::ExactlyOnce, _) if !self.then.iter().any(|(_, then)| then.is_of(client, id)) => self.answer(client, id),
                (QoS::ExactlyOnce, _) => {}
                _ => self.expect_ack(client, id),
            }
        }
    }

    pub(super) fn answer(&mut self, client: usize, id: EntryId) {
        let latency = self.random.below(SOON);
        self.after(latency, Action::Recorded { life: self.life, client, connection: self.clients[client].connection, id });
    }

    /// A queue that is too long loses its oldest that is not in flight.
    pub(super) fn overflow(&mut self) {
        for client in 0..CLIENTS {
            let queue = &self.clients[client].queue;
            let oldest = queue.iter().find(|(_, (_, state))| *state == DueState::Queued).map(|(id, _)| *id);
            if let Some(id) = oldest.filter(|_| queue.len() > QUEUE && !self.clients[client].online) {
                self.sparing.remove(&id);
                self.count.dropped += 1;
                self.done(client, id, DoneHow::Overflow);
            }
        }
    }
}
