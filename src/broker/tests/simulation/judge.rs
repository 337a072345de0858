//! What the model says of what came.

use super::client::{Client, Receipt};
use super::world::{Published, World};
use crate::broker::fuzz::peer::Got;

impl Client {
    /// Its session is over: what was on its way is no more.
    pub(super) fn begin_anew(&mut self) {
        self.session += 1;
        self.held.clear();
        self.newest.clear();
        self.promised = false;
        self.wanted.iter_mut().for_each(|wanted| wanted.granted = false);
        // Sent again it would be another message.
        self.window.clear();
    }
}

impl World<'_> {
    /// A message has come to an application.
    pub(super) fn note(&mut self, c: usize, got: &Got) {
        self.out.delivered += 1;
        let topic = String::from_utf8(got.topic.clone()).expect("a topic");
        if topic.starts_with("w/") {
            return self.note_will(c, &topic, got);
        }
        let m = *self.by_body.get(&got.body).expect("somebody has published it");
        let message = &self.messages[m];
        let client = &mut self.clients[c];
        let name = &client.name;
        assert_eq!(topic, message.topic);
        let wanted = client.wants(&topic, false).max(client.shares(&topic));
        let wanted = wanted.unwrap_or_else(|| panic!("{name} gets {topic}, to which it did not subscribe"));
        assert!(got.qos <= wanted.min(message.qos), "{name} gets {topic} at QoS {}", got.qos);
        assert!(!got.retain || message.retain, "{name}: RETAIN");
        let receipt = client.got.entry(m).or_insert(Receipt { session: client.session, ..Receipt::default() });
        if message.retain {
            // It comes live, and again with each subscription that is made anew.
            receipt.retained += 1;
            return;
        }
        if receipt.session != client.session {
            // To a new session it is a new message: in a queue of before, or still on its way when the old one ended.
            *receipt = Receipt { session: client.session, ..Receipt::default() };
        }
        receipt.times += 1;
        let again = receipt.times > 1;
        receipt.exactly += u32::from(got.qos == 2);
        assert!(receipt.exactly < 2, "{name} gets m{m} twice at QoS 2, dup {}", got.dup);
        assert!(!again || got.qos > 0 || message.again || client.shares(&topic).is_some(), "{name} gets m{m} twice at QoS 0");
        if !again && client.shares(&topic).is_none() {
            let newest = client.newest.entry((message.by, topic, message.qos << 4 | got.qos)).or_insert(0);
            assert!(*newest <= m || message.again, "{name} gets m{m} after m{newest} of the same publisher, topic and QoS");
            *newest = m.max(*newest);
        }
    }

    fn note_will(&mut self, c: usize, topic: &str, got: &Got) {
        assert!(self.clients[c].wants(topic, false).is_some(), "{} gets a will", self.clients[c].name);
        let text = String::from_utf8(got.body.clone()).expect("text");
        let mut words = text.split(' ').skip(1);
        let (name, connection) = (words.next().expect("a name"), words.next().expect("a number"));
        let owner = self.clients.iter().find(|client| client.name == name).expect("a client");
        let connection: u32 = connection.parse().expect("a number");
        assert!(!owner.departed.contains(&connection), "the will of {name}, which has said DISCONNECT");
        assert!(owner.conn.is_none() || owner.connections > connection, "the will of {name}, which is connected");
    }

    /// In the end: whoever had to get something has got it.
    pub(super) fn judge(&mut self) {
        for (m, message) in self.messages.iter().enumerate().filter(|(_, message)| message.acked) {
            self.out.acknowledged += 1;
            for &(c, session) in &message.must {
                let client = &self.clients[c];
                // What a session that is about to end drops from a full queue is written down nowhere.
                if client.session != session || client.farewell {
                    continue;
                }
                self.out.required += 1;
                let excused = self.rig.store.dropped(&client.name, &message.body);
                self.out.excused += usize::from(excused);
                assert!(client.got.contains_key(&m) || excused, "{} never got m{m}, which was acknowledged: {message:?}", client.name);
            }
            if message.shared && message.topic.starts_with("g/") {
                self.judge_shared(m, message);
            }
        }
    }

    /// All members of the first group have sessions that never end: one of them gets it.
    fn judge_shared(&self, m: usize, message: &Published) {
        let members = || (60..80).map(|c| &self.clients[c]);
        let holders = members().filter(|client| client.got.contains_key(&m)).count();
        let excused = members().any(|client| self.rig.store.dropped(&client.name, &message.body));
        let lost_before_it_began = members().any(|client| client.session > 1);
        assert!(holders > 0 || excused || lost_before_it_began, "no member of the group got m{m}: {message:?}");
        // Members of the second come and go; what one that is not in the store has taken over does not outlive a kill or a full queue.
        let kept = self.out.kills == 0 && self.rig.broker.counters.dropped_queue == 0;
        let taken = (80..90).any(|c| self.clients[c].got.contains_key(&m));
        assert!(taken || !kept, "no member of the second group got m{m}: {message:?}");
        assert!(holders <= 1 || message.again && message.qos == 1, "{holders} members of the group got m{m}: {message:?}");
    }
}
