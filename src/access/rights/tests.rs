//! Rights by tables: who may do what by which lines, and which rights cover which.

use super::super::filter::tests::{all_filters, all_topics};
use super::*;

fn grants(common: &str) -> Grants {
    let mut grants = Grants::default();
    let acl = |text: &str| Some(Arc::new(Acl::parse(text.as_bytes()).unwrap()));
    let listeners = [("lan".into(), None), ("door".into(), None)].into();
    grants.replace(Lists { common: acl(common), listeners });
    grants
}

/// `who`: "user client listener", - for none.
fn identity(who: &str) -> Identity {
    let mut names = who.split(' ').map(|name| if name == "-" { "" } else { name });
    let mut next = || -> Arc<str> { names.next().unwrap_or_default().into() };
    let user = Some(next()).filter(|user| !user.is_empty());
    Identity { user, client: next(), listener: next() }
}

/// What a client may do with a topic: p, r and s, for to publish, to receive, and to subscribe by just this topic.
fn allowed(rights: &Rights, topic: &str) -> String {
    let all = [('p', rights.may_publish(topic)), ('r', rights.may_receive(topic)), ('s', rights.may_subscribe(topic))];
    all.into_iter().filter_map(|(letter, may)| may.then_some(letter)).collect()
}

/// Every word, in an order that tests what goes on and what does not.
const ACL: &str = "\
    topic a/#\n\
    pattern read own/%u/#\n\
    pattern read mine/%c\n\
    user alice\n\
    topic read b\n\
    pattern write every/%u\n\
    client plc\n\
    topic write c\n\
    group crew\n\
    topic publish d\n\
    pattern receive crew/%u\n\
    listener door\n\
    topic subscribe e\n\
    members crew bob alice\n\
    everyone\n\
    topic read news\n\
    pattern write say/%c\n\
    anonymous\n\
    topic write box\n\
    pattern write guest/%c\n\
    user alice\n\
    topic deny secret/#\n\
    topic readwrite secret/hers\n\
    topic readwrite +/both\n\
    topic deny x/both\n";

#[test]
fn rules_hold_for_whom_they_name() {
    for (who, topic, want) in [
        ("- c lan", "a/x", "prs"),
        ("- c lan", "a", "prs"),
        ("- c lan", "b", ""),
        ("- c lan", "box", "p"),
        ("- c lan", "guest/c", "p"),
        ("- c lan", "guest/d", ""),
        ("- c lan", "own/c", ""),
        ("- c lan", "mine/c", "rs"),
        ("- c lan", "news", "rs"),
        ("- c lan", "say/c", "p"),
        ("alice c lan", "a/x", ""),
        ("alice c lan", "b", "rs"),
        ("alice c lan", "box", ""),
        ("alice c lan", "guest/c", ""),
        ("alice c lan", "own/alice/x", "rs"),
        ("alice c lan", "own/bob/x", ""),
        ("alice c lan", "every/alice", "p"),
        ("alice c lan", "mine/c", "rs"),
        ("alice c lan", "mine/alice", ""),
        ("alice c lan", "d", "p"),
        ("alice c lan", "crew/alice", "r"),
        ("alice c lan", "crew/bob", ""),
        ("alice c lan", "e", ""),
        ("alice c door", "e", "s"),
        ("- c door", "e", "s"),
        ("alice c lan", "c", ""),
        ("alice plc lan", "c", "p"),
        ("- plc lan", "c", "p"),
        ("alice c lan", "secret/x", ""),
        ("alice c lan", "secret/hers", ""),
        ("alice c lan", "y/both", "prs"),
        ("alice c lan", "x/both", ""),
        ("alice c lan", "$SYS/both", ""),
        ("bob c lan", "b", ""),
        ("bob c lan", "d", "p"),
        ("bob c lan", "crew/bob", "r"),
        ("bob c lan", "every/bob", "p"),
        ("bob c lan", "news", "rs"),
        ("eve c lan", "d", ""),
        ("eve c lan", "every/eve", "p"),
        ("Alice c lan", "b", ""),
        ("crew c lan", "d", ""),
        ("anonymous c lan", "box", ""),
    ] {
        assert_eq!(allowed(&grants(ACL).of(&identity(who)), topic), want, "{who} on {topic}");
    }
}

#[test]
fn names_that_try_to_be_patterns_match_nothing() {
    let acl = "\
        pattern readwrite home/%u/#\n\
        pattern readwrite dev/%c\n\
        pattern readwrite %u\n\
        pattern readwrite %c/x\n\
        pattern readwrite pre-%u-post/%c\n\
        pattern readwrite %u%c\n";
    for (who, topic, want) in [
        ("bob c lan", "home/bob/x", "prs"),
        ("bob c lan", "home/bob", "prs"),
        ("+ c lan", "home/bob/x", ""),
        ("+ c lan", "home/+/x", ""),
        ("# c lan", "home/bob/x", ""),
        ("# c lan", "home/#", ""),
        ("a/b c lan", "home/a/b/x", ""),
        ("a/# c lan", "home/a/x", ""),
        ("b+b c lan", "home/b+b/x", ""),
        ("- c lan", "home//x", ""),
        ("- c lan", "home/c/x", ""),
        ("bob + lan", "dev/x", ""),
        ("bob # lan", "dev/x", ""),
        ("bob a/b lan", "dev/a/b", ""),
        ("bob - lan", "dev/", ""),
        ("bob c lan", "dev/c", "prs"),
        ("$SYS c lan", "$SYS", ""),
        ("$SYS c lan", "home/$SYS/x", "prs"),
        ("bob $SYS lan", "$SYS/x", ""),
        ("bob $SYS lan", "dev/$SYS", "prs"),
        ("bob $share lan", "$share/x", ""),
        ("%c c lan", "home/c/x", ""),
        ("%c c lan", "home/%c/x", "prs"),
        ("%u c lan", "home/%u/x", "prs"),
        ("bob %u lan", "dev/bob", ""),
        ("bob %u lan", "dev/%u", "prs"),
        ("bob c lan", "pre-bob-post/c", "prs"),
        ("+ c lan", "pre-+-post/c", ""),
        ("$S YS lan", "$SYS", ""),
        ("bob by lan", "bobby", "prs"),
        ("größe ü lan", "home/größe/x", "prs"),
        ("größe ü lan", "dev/ü", "prs"),
    ] {
        let rights = grants(acl).of(&identity(who));
        assert_eq!(allowed(&rights, topic), want, "{who} on {topic}");
        for filter in ["home/#", "dev/+", "+", "#", "+/x"] {
            let abused = who.contains(['+', '#', '/', '$']) && topic.contains(['+', '#']) && rights.may_subscribe(filter);
            assert!(!abused || !allowed(&rights, filter).contains('p'), "{who} by {filter}");
        }
    }
}

#[test]
fn a_subscription_is_granted_by_what_covers_it_or_may_be_read_of_it() {
    let acl = "\
        user reader\ntopic read a/b\ntopic read plant/+/temp\n\
        user all\ntopic read #\ntopic deny secret/#\n\
        user sub\ntopic subscribe a/#\n\
        user only\ntopic receive a/#\n\
        user writer\ntopic write #\n\
        user both\ntopic subscribe a/+\ntopic deny a/x\n\
        user sys\ntopic read $SYS/#\n";
    for (user, filter, want) in [
        ("reader", "a/b", true),
        ("reader", "a/+", true),
        ("reader", "#", true),
        ("reader", "+/+/temp", true),
        ("reader", "plant/#", true),
        ("reader", "plant/+", false),
        ("reader", "a/c", false),
        ("reader", "b/#", false),
        ("reader", "$SYS/#", false),
        ("all", "#", true),
        ("all", "secret/#", false),
        ("all", "secret", false),
        ("all", "secret/a/+", false),
        ("all", "+/a", true),
        ("all", "$SYS/#", false),
        ("all", "$SYS/x", false),
        ("sub", "a/#", true),
        ("sub", "a/+/x", true),
        ("sub", "a", true),
        ("sub", "#", false),
        ("sub", "+/x", false),
        ("only", "a/b", false),
        ("only", "a/#", false),
        ("writer", "a", false),
        ("writer", "#", false),
        ("both", "a/+", true),
        ("both", "a/y", true),
        ("both", "a/x", false),
        ("both", "a/#", false),
        ("sys", "$SYS/#", true),
        ("sys", "$SYS/broker/+", true),
        ("sys", "#", false),
        ("sys", "+/broker/#", false),
        ("nobody", "a", false),
    ] {
        assert_eq!(grants(acl).of(&identity(&format!("{user} c lan"))).may_subscribe(filter), want, "{user} to {filter}");
    }
}

#[test]
fn without_a_list_anonymous_clients_give_no_commands_and_see_no_dollar_topics() {
    let acl = |text: &str| Some(Arc::new(Acl::parse(text.as_bytes()).unwrap()));
    let none = Lists { common: None, listeners: [("lan".into(), None), ("door".into(), None)].into() };
    let own =
        Lists { listeners: [("lan".into(), None), ("door".into(), acl("topic read news\nuser bob\ntopic a"))].into(), ..none.clone() };
    let both = Lists { common: acl("everyone\ntopic common\nuser upstream:cloud\ntopic write +/set"), ..own.clone() };
    for (lists, who, topic, want) in [
        (&none, "- c lan", "a/b", "prs"),
        (&none, "- c lan", "a/set", ""),
        (&none, "- c lan", "set", ""),
        (&none, "- c lan", "a/set/x", "prs"),
        (&none, "- c lan", "$SYS/x", ""),
        (&none, "- c lan", "$x", ""),
        (&none, "- c lan", "a/$x", "prs"),
        (&none, "bob c lan", "a/set", "prs"),
        (&none, "bob c lan", "$SYS/x", "prs"),
        (&none, "- c gone", "a/b", "prs"),
        (&none, "- c gone", "a/set", ""),
        (&none, "bob c -", "a/set", "prs"),
        (&none, "upstream:cloud - -", "a/b", "prs"),
        (&none, "upstream:cloud - -", "a/set", ""),
        (&none, "upstream:cloud - -", "$SYS/x", ""),
        (&own, "- c lan", "a/b", "prs"),
        (&own, "- c lan", "a/set", ""),
        (&own, "- c door", "a/b", ""),
        (&own, "- c door", "news", "rs"),
        (&own, "bob c door", "a", "prs"),
        (&own, "bob c lan", "b/set", "prs"),
        (&own, "bob c gone", "a", ""),
        (&own, "- c gone", "x", ""),
        (&own, "upstream:cloud c door", "a/set", ""),
        (&own, "upstream:cloud c door", "a/b", "prs"),
        (&both, "- c lan", "common", "prs"),
        (&both, "- c lan", "news", ""),
        (&both, "- c door", "news", "rs"),
        (&both, "bob c door", "common", ""),
        (&both, "bob c gone", "common", "prs"),
        (&both, "upstream:cloud - -", "a/set", "p"),
        (&both, "upstream:cloud - -", "common", "prs"),
        (&both, "upstream:other - -", "a/set", ""),
    ] {
        let mut grants = Grants::default();
        grants.replace(lists.clone());
        assert_eq!(allowed(&grants.of(&identity(who)), topic), want, "{who} on {topic}");
    }
    let mut grants = Grants::default();
    grants.replace(both);
    assert_eq!(allowed(&grants.upstream("cloud"), "a/set"), "p");
    assert_eq!(allowed(&grants.upstream("other"), "a/set"), "");
    assert_eq!(allowed(&grants.unknown(), "a/set"), "");
    assert_eq!(allowed(&grants.unknown(), "a"), "prs");
}

#[test]
fn clients_share_rights_unless_a_pattern_has_their_own_id() {
    let same = |acl: &str, one: &str, other: &str| {
        let mut grants = grants(acl);
        let (one, other) = (grants.of(&identity(one)), grants.of(&identity(other)));
        assert_eq!(Rc::ptr_eq(&one, &other), one.id() == other.id());
        one.id() == other.id()
    };
    for (acl, one, other, want) in [
        ("topic a", "- c lan", "- d lan", true),
        ("topic a", "- c lan", "- c door", true),
        ("topic a", "- c lan", "bob c lan", false),
        ("topic a", "bob c lan", "eve c lan", true),
        ("user bob\ntopic a", "bob c lan", "eve c lan", false),
        ("pattern %u", "bob c lan", "bob d lan", true),
        ("pattern %u", "bob c lan", "eve c lan", false),
        ("pattern %c", "bob c lan", "bob d lan", false),
        ("listener door\ntopic a", "bob c lan", "bob d door", false),
        ("anonymous\npattern %c", "bob c lan", "bob d lan", true),
    ] {
        assert_eq!(same(acl, one, other), want, "{acl:?} {one} {other}");
    }
    let mut grants = grants("pattern %u");
    for i in 0..10_000 {
        drop(grants.of(&identity(&format!("user{i} c lan"))));
    }
    assert!(grants.known.len() <= KNOWN, "what nobody has is forgotten");
    let all: Vec<_> = (0..10_000).map(|i| grants.of(&identity(&format!("user{i} c lan")))).collect();
    assert!(all.iter().all(|rights| rights.may_publish("user9999") == (rights.id() == all[9_999].id())));
}

#[test]
fn rights_cover_others_as_the_table_says() {
    let all = "topic readwrite #";
    for (new, old, want) in [
        ("topic a", "topic a", true),
        ("topic a\ntopic b", "topic a", true),
        ("topic a", "topic a\ntopic b", false),
        ("topic a/#", "topic a/b\ntopic read a/+", true),
        ("topic read a/#", "topic a/b", false),
        ("topic read a", "topic subscribe a", true),
        ("topic subscribe a", "topic read a", false),
        ("topic receive a", "topic read a", false),
        ("topic read a", "topic receive a", true),
        ("topic a\ntopic deny b", "topic a", true),
        ("topic a/#\ntopic deny a/b", "topic a/#", false),
        ("topic a/#", "topic a/#\ntopic deny a/b", true),
        ("topic a/#\ntopic deny a/b", "topic a/#\ntopic deny a/b", true),
        ("topic a/#\ntopic deny a/b\ntopic deny c", "topic a/#\ntopic deny a/b", true),
        ("topic b", "topic write a\ntopic b\ntopic deny a", true),
        // A subscription to more than is denied is granted, though nothing comes by it.
        ("topic b", "topic read a\ntopic b\ntopic deny a", false),
        ("", "topic deny a", true),
        ("", "", true),
        ("", "topic a", false),
        (all, "topic a\ntopic b/#", true),
        (all, "topic $SYS/#", false),
        // What is built in: an empty list has none of it.
        ("built in", "topic a/b\ntopic read c/d", true),
        ("built in", "topic a/set", false),
        ("built in", "topic read a/+", false),
        ("built in", "topic read a/#", false),
        ("built in", "topic read $SYS/x", false),
        (all, "built in", true),
        ("topic readwrite #\ntopic deny +/set", "built in", true),
        ("topic readwrite #\ntopic deny a", "built in", false),
        ("topic read #", "built in", false),
        ("built in", "built in", true),
    ] {
        let rights = |text: &str| if text == "built in" { Grants::default() } else { grants(text) }.of(&identity("- c lan"));
        let (new, old) = (rights(new), rights(old));
        // Numbers tell rights of one set apart: these are of two.
        let new = Rights { id: 1_000, kind: Rc::try_unwrap(new).unwrap().kind };
        assert_eq!(new.covers(&old), want, "{new:?} covers {old:?}");
        assert!(Rights::EVERYTHING.covers(&old) && !new.covers(&Rights { id: 5, kind: Kind::Everything }));
    }
}

/// Where rights are said to cover others, there is no topic and no filter that only the others have.
#[test]
fn rights_that_cover_others_take_nothing_away() {
    let (filters, topics) = (all_filters(), all_topics());
    let words = ["read", "write", "readwrite", "receive", "subscribe", "deny"];
    let mut random = 1_u64;
    let mut next = |n: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % n
    };
    // Few filters, so that they meet.
    let some: Vec<&str> = ["#", "a", "a/#", "a/+", "a/b", "+/b", "+", "b", "$x/#", "$x", "a/b/a"].into();
    let mut covered = 0;
    for _ in 0..2_000 {
        let mut list =
            || -> String { (0..1 + next(3)).map(|_| format!("topic {} {}\n", words[next(6)], some[next(some.len())])).collect() };
        let (new, old) = (list(), list());
        let (mine, theirs) = (grants(&new).of(&identity("- c lan")), grants(&old).of(&identity("- c lan")));
        let mine = Rights { id: 1_000, kind: Rc::try_unwrap(mine).unwrap().kind };
        if !mine.covers(&theirs) {
            continue;
        }
        covered += 1;
        for topic in &topics {
            assert!(mine.may_publish(topic) || !theirs.may_publish(topic), "{new} covers {old}: publish {topic}");
            assert!(mine.may_receive(topic) || !theirs.may_receive(topic), "{new} covers {old}: receive {topic}");
        }
        for filter in &filters {
            let filter = filter.as_str();
            assert!(mine.may_subscribe(filter) || !theirs.may_subscribe(filter), "{new} covers {old}: subscribe {filter}");
        }
    }
    assert!(covered > 100, "{covered}");
}
