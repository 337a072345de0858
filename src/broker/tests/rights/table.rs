//! User, action, topic, rule → allowed or the reason code: each row with a client of 3.1.1 and one of 5.0.

use super::*;

/// Sees all, and may do all that is asked of it.
const ROOT: &str = "user root\ntopic readwrite #\ntopic readwrite $x/#\ntopic readwrite $SYS/#\n";

/// Sections of every kind, rules of every word.
const SITE: &str = "\
    topic read news/#\n\
    topic write box/+\n\
    topic free\n\
    pattern readwrite home/%u/#\n\
    pattern write dev/%c/up\n\
    pattern receive dev/%c/down\n\
    pattern subscribe dev/%c/#\n\
    user alice\n\
    topic readwrite plant/#\n\
    topic deny plant/secret/#\n\
    topic deny plant/+/set\n\
    topic free\n\
    user bob\n\
    topic read plant/+/temp\n\
    topic write plant/+/set\n\
    topic read $SYS/#\n\
    topic read $x/a\n\
    topic free\n\
    user carol\n\
    topic subscribe sub/#\n\
    topic receive sub/a\n\
    topic publish sub/b\n\
    topic größe/µ\n\
    topic free\n\
    user dave\n\
    topic readwrite #\n\
    topic deny +/set\n\
    topic free\n\
    members crew bob dave eve\n\
    group crew\n\
    topic publish tools/+\n\
    topic read tools/#\n\
    client plc\n\
    topic write plc/out\n\
    listener restricted\n\
    topic read lobby\n\
    everyone\n\
    topic read time\n";

/// What is done; each stands in the table by its letter.
///
/// p: publish QoS 1 · q: publish QoS 0 · w: a will, at CONNECT and when it fires · a: a response topic · s: subscribe · g: subscribe to it as a group
/// of its own · r: whether it comes by whatever subscription is granted of `#`, `$SYS/#`, `$x/#`, `sub/#`, `dev/+/#` and the topic itself
const LETTERS: &str = "pqwasgr";

/// User, client, door; what the topic is; the letters of what is allowed.
type Row<'a> = (&'a str, &'a str, &'a str);

const ROWS: &[Row<'_>] = &[
    // Anonymous clients: what stands before the first who-line.
    ("- c open", "news/a", "sgr"),
    ("- c open", "news", "sgr"),
    ("- c open", "news/a/b", "sgr"),
    ("- c open", "newsy", ""),
    ("- c open", "box/a", "pqwa"),
    ("- c open", "box/a/b", ""),
    ("- c open", "box", ""),
    ("- c open", "free", "pqwasgr"),
    ("- c open", "time", "sgr"),
    ("- c open", "home/c/x", ""),
    ("- c open", "home//x", ""),
    ("- c open", "dev/c/up", "pqwasg"),
    ("- c open", "dev/c/down", "sgr"),
    ("- c open", "dev/d/up", ""),
    ("- c open", "dev/d/down", ""),
    ("- c open", "plant/a", ""),
    ("- c open", "$SYS/x", ""),
    ("- c open", "a/set", ""),
    ("- c open", "lobby", ""),
    ("- c restricted", "lobby", "sgr"),
    ("- c restricted", "news/a", "sgr"),
    // Users have what is theirs, everyone's, and patterns.
    ("alice c open", "plant/a", "pqwasgr"),
    ("alice c open", "plant", "pqwasgr"),
    ("alice c open", "plant/secret", ""),
    ("alice c open", "plant/secret/a", ""),
    ("alice c open", "plant/secrets", "pqwasgr"),
    ("alice c open", "plant/a/set", ""),
    ("alice c open", "plant/a/b/set", "pqwasgr"),
    ("alice c open", "plants", ""),
    ("alice c open", "news/a", ""),
    ("alice c open", "box/a", ""),
    ("alice c open", "time", "sgr"),
    ("alice c open", "home/alice/x", "pqwasgr"),
    ("alice c open", "home/alice", "pqwasgr"),
    ("alice c open", "home/bob/x", ""),
    ("alice c open", "home/+/x", "sg"),
    ("alice c open", "tools/a", ""),
    ("alice c open", "plc/out", ""),
    ("alice plc open", "plc/out", "pqwa"),
    ("alice plc open", "dev/plc/up", "pqwasg"),
    ("alice c restricted", "lobby", "sgr"),
    ("alice c open", "lobby", ""),
    ("alice c open", "$SYS/x", ""),
    ("Alice c open", "plant/a", ""),
    ("alice2 c open", "plant/a", ""),
    ("bob c open", "plant/a/temp", "sgr"),
    ("bob c open", "plant/a/set", "pqwa"),
    ("bob c open", "plant/a/b/temp", ""),
    ("bob c open", "plant/temp", ""),
    ("bob c open", "$SYS/a/b", "sgr"),
    ("bob c open", "$SYS", "sgr"),
    ("bob c open", "$x/a", "sgr"),
    ("bob c open", "$x/b", ""),
    ("bob c open", "tools/a", "pqwasgr"),
    ("bob c open", "tools/a/b", "sgr"),
    ("bob c open", "tools", "sgr"),
    ("carol c open", "sub/a", "sgr"),
    ("carol c open", "sub/b", "pqwasg"),
    ("carol c open", "sub", "sg"),
    ("carol c open", "sub/c/d", "sg"),
    ("carol c open", "subs", ""),
    ("carol c open", "größe/µ", "pqwasgr"),
    ("carol c open", "größe/μ", ""),
    ("carol c open", "GRÖSSE/µ", ""),
    ("dave c open", "any/thing", "pqwasgr"),
    ("dave c open", "/", "pqwasgr"),
    ("dave c open", "//", "pqwasgr"),
    ("dave c open", "a/set", ""),
    ("dave c open", "/set", ""),
    ("dave c open", "set", "pqwasgr"),
    ("dave c open", "a/b/set", "pqwasgr"),
    ("dave c open", "$SYS/a", ""),
    ("dave c open", "$x/a", ""),
    ("dave c open", "a/$SYS", "pqwasgr"),
    ("dave c open", "tools/a", "pqwasgr"),
    ("eve c open", "tools/a", "pqwasgr"),
    ("eve c open", "free", ""),
    ("eve c open", "plant/a", ""),
    ("eve c open", "time", "sgr"),
    ("crew c open", "tools/a", ""),
    ("root c open", "anything", "pqwasgr"),
    ("root c open", "$x/a", "pqwasgr"),
    ("root c open", "$SYS/a", "sgr"),
    ("root c open", "$SYS/broker/connection/bridge/state", "pqwasgr"),
    ("bob c open", "$SYS/broker/connection/bridge/state", "sgr"),
    // Names are not looked into: %u and %c in them are letters.
    ("%u c open", "home/%u/x", "pqwasgr"),
    ("%u c open", "home/u/x", ""),
    ("%c c open", "home/c/x", ""),
    ("%c c open", "home/%c/x", "pqwasgr"),
    ("alice %u open", "dev/alice/up", ""),
    ("alice %u open", "dev/%u/up", "pqwasg"),
    ("größe ü open", "home/größe/x", "pqwasgr"),
    ("größe ü open", "dev/ü/up", "pqwasg"),
    ("upstream:cloud c open", "home/upstream:cloud/x", "pqwasgr"),
];

/// Filters that have wildcards: whether they are granted.
const FILTERS: &[(&str, &str, bool)] = &[
    ("- c open", "#", true),
    ("- c open", "+/a", true),
    ("- c open", "+", true),
    ("- c open", "box/#", false),
    ("- c open", "$SYS/#", false),
    ("- c open", "plant/#", false),
    ("- c open", "+/+/set", true),
    ("- c open", "dev/#", false),
    ("- c open", "dev/+/down", false),
    ("- c open", "dev/c/+", true),
    ("- c open", "dev/d/+", false),
    ("alice c open", "plant/secret/#", false),
    ("alice c open", "plant/secret/+/x", false),
    ("alice c open", "plant/#", true),
    ("alice c open", "plant/+/set", false),
    ("alice c open", "plant/+/+", true),
    ("alice c open", "home/#", true),
    ("alice c open", "home/+/x", true),
    ("alice c open", "home/bob/#", false),
    ("bob c open", "#", true),
    ("bob c open", "$SYS/#", true),
    ("bob c open", "$SYS/+", true),
    ("bob c open", "$x/#", true),
    ("bob c open", "$x/b/#", false),
    ("bob c open", "plant/+/set", false),
    ("carol c open", "sub/#", true),
    ("carol c open", "sub/+/+", true),
    ("carol c open", "+/a", false),
    ("carol c open", "#", true),
    ("dave c open", "+/set", false),
    ("dave c open", "a/set", false),
    ("dave c open", "+/+", true),
    ("dave c open", "#", true),
    ("dave c open", "$SYS/#", false),
    ("eve c open", "tools/#", true),
    ("eve c open", "+/x", true),
    ("eve c open", "+/x/+/y", true),
    ("eve c open", "a/x", false),
];

fn who(text: &str) -> (Option<&str>, &str, u16) {
    let mut names = text.split(' ');
    let mut next = || names.next().unwrap_or_default();
    let user = Some(next()).filter(|user| *user != "-");
    (user, next(), u16::from(next() == "restricted"))
}

/// A broker with these rules, one who sees what is published, and a client.
fn scene(rules: Option<&str>, version: u8, who_is: &str, will: Option<&str>) -> (Bench, Client, (Client, u8)) {
    let mut bench = Bench::new(&[]);
    if let Some(rules) = rules {
        bench.lists(&format!("{rules}{ROOT}"), "", "");
    }
    let root = bench.user("root", "watch");
    for filter in ["#", "$SYS/#", "$x/#"] {
        assert_eq!(bench.subscribes(root, filter, 0), 0);
    }
    let (user, client, listener) = who(who_is);
    let hello = hello(version, client, false, will.map(|topic| (topic, Note::default())));
    let entered = bench.enter((user, listener), version, &hello);
    (bench, root, entered)
}

/// Whether it is allowed; `None`: it cannot be asked in this version, or of this topic.
fn ask(rules: Option<&str>, letter: char, version: u8, who_is: &str, topic: &str) -> Option<bool> {
    let is_filter = topic.contains(['+', '#']);
    let will = (letter == 'w').then_some(topic);
    if (is_filter && letter != 's' && letter != 'g') || (letter == 'a' && version != 5) {
        return None;
    }
    let (mut bench, root, (client, code)) = scene(rules, version, who_is, will);
    // 3.x has no codes: what is not allowed is acknowledged and dropped.
    let code_of = |seen: bool| if seen || version != 5 { 0 } else { 0x87 };
    if letter == 'w' {
        bench.cut(client.id);
        let seen = !bench.got(root).is_empty();
        // A bridge is let in, whatever it may say of itself.
        let bridge = topic.starts_with("$SYS/broker/connection/");
        assert_eq!(code, if bridge { 0 } else { code_of(seen) }, "CONNACK, {version}");
        return Some(seen);
    }
    assert_eq!(code, 0, "{who_is} comes in");
    match letter {
        'p' | 'q' => {
            let code = if letter == 'p' { Some(bench.publishes(client, topic, Note::default())) } else { None };
            if letter == 'q' {
                bench.say_publish(client, topic, 0, Note::default());
            }
            let seen = bench.got(root) == [topic];
            assert!(code.is_none_or(|code| code == code_of(seen)), "PUBACK {code:?}, {version}");
            assert_eq!(bench.broker.counters.forbidden, u64::from(!seen), "it is counted");
            Some(seen)
        }
        'a' => {
            let free = bench.publishes(client, "free", Note::default()) == 0;
            bench.got(root);
            let code = bench.publishes(client, "free", Note { answer: Some(topic), ..Note::default() });
            assert_eq!(bench.got(root).is_empty(), code != 0);
            free.then_some(code == 0)
        }
        's' | 'g' => {
            let filter = if letter == 'g' { format!("$share/grp/{topic}") } else { topic.to_owned() };
            match (bench.subscribes(client, &filter, 0), version) {
                (0, _) => Some(true),
                (0x87, 5) | (0x80, 4) => Some(false),
                (code, _) => panic!("SUBACK {code:#x}, {version}"),
            }
        }
        _ => {
            for filter in ["#", "$SYS/#", "$x/#", "sub/#", "dev/+/#", topic] {
                bench.subscribes(client, filter, 0);
            }
            bench.got(client);
            if bench.publishes(root, topic, Note::default()) == 0x87 {
                // Nobody publishes there but the broker.
                let now = bench.now();
                let message = Message::new(Topic::new(topic).unwrap(), Body::raw("x".into()), QoS::AtMostOnce, false, Origin::Bus);
                bench.broker.inject(&mut [message].into(), now);
            }
            let got = bench.got(client);
            assert!(got.is_empty() || got == [topic], "{got:?}");
            Some(!got.is_empty())
        }
    }
}

/// As many rows as the table is to have; each is asked in seven ways, and in two versions.
#[test]
fn rules_say_who_may_do_what() {
    assert!(ROWS.len() + FILTERS.len() + NAMES.len() >= 150, "{}", ROWS.len() + FILTERS.len() + NAMES.len());
    check(Some(SITE), ROWS);
}

#[test]
fn filters_are_granted_each_by_itself() {
    for &(who_is, filter, want) in FILTERS {
        for (version, letter) in [(4, 's'), (5, 's'), (4, 'g'), (5, 'g')] {
            assert_eq!(ask(Some(SITE), letter, version, who_is, filter), Some(want), "{who_is} {letter} {filter}, {version}");
        }
    }
}

fn check(rules: Option<&str>, rows: &[Row<'_>]) {
    for (who_is, topic, want) in rows {
        for letter in LETTERS.chars() {
            for version in [4, 5] {
                let Some(allowed) = ask(rules, letter, version, who_is, topic) else { continue };
                assert_eq!(allowed, want.contains(letter), "{who_is} {letter} {topic}, version {version}");
            }
        }
    }
}

/// What each name would match if it were looked into, and what it matches: nothing where it could be a pattern.
const NAMES: &[Row<'_>] = &[
    ("+ c open", "home/bob/x", ""),
    ("# c open", "home/bob/x", ""),
    ("# c open", "home", ""),
    ("a/b c open", "home/a/b/x", ""),
    ("bob/# c open", "home/bob/x", ""),
    ("+b c open", "home/bb", ""),
    ("- c open", "home//x", ""),
    ("alice + open", "dev/d/up", ""),
    ("alice # open", "dev/d/up", ""),
    ("alice d/up open", "dev/d/up/up", ""),
    ("alice +/up open", "dev/d/up", ""),
    ("$x c open", "$x/a", ""),
    ("$SYS c open", "$SYS/a", ""),
    ("$share c open", "$share/g/a", ""),
    ("alice $x open", "$x/a", ""),
    ("alice $x open", "dev/$x/up", "pqwa"),
    ("$x c open", "home/$x/a", "pqwasgr"),
    ("alice c open", "alice/a", "pqwasgr"),
    ("alice c open", "in-alice-c", "pqwasgr"),
    ("+ c open", "in-x-c", ""),
    ("a + open", "in-a-b", ""),
    ("ali ce open", "alice", ""),
];

#[test]
fn names_that_would_be_patterns_match_nothing() {
    let rules =
        "pattern home/%u/#\npattern write dev/%c/up\npattern %u/a\npattern readwrite %c/a\npattern in-%u-%c\npattern %u\npattern free\n";
    check(Some(rules), NAMES);
}

/// Where a site has no list, the letters for a named user and for an anonymous client.
#[test]
fn without_rules_users_may_do_all_and_anonymous_clients_no_commands() {
    for (topic, named, anonymous) in [
        ("a/b", "pqwasgr", "pqwasgr"),
        ("a/set", "pqwasgr", ""),
        ("set", "pqwasgr", ""),
        ("a/set/b", "pqwasgr", "pqwasgr"),
        ("$x/a", "pqwasgr", ""),
        ("$SYS/a", "sgr", ""),
        ("$SYS/broker/connection/bridge/state", "pqwasgr", ""),
        ("free", "pqwasgr", "pqwasgr"),
    ] {
        check(None, &[("alice c open", topic, named), ("- c open", topic, anonymous), ("- c restricted", topic, anonymous)]);
    }
}
