//! What lines are right, and what is said of those that are not.

use super::*;

#[test]
fn a_list_is_read_as_mosquitto_reads_it_and_with_words_of_ours() {
    for text in [
        "",
        "# nothing but a comment",
        "   # and one further in\n\n\r\n\t\n",
        "topic a",
        "topic read a/b",
        "topic readwrite a b/c d",
        "topic\tread\ta/#",
        "  topic read a/#  \r\n",
        "topic read",
        "topic deny",
        "pattern %c",
        "pattern write a/%u/%c/x-%u",
        "pattern read $SYS/%u",
        "pattern a",
        "topic $SYS/#",
        "user alice\ntopic a",
        "user a name with spaces\ntopic a",
        "user anonymous\ntopic a",
        "user alice\nuser bob\nuser alice\ntopic a",
        "anonymous\neveryone\nlistener tcp://127.0.0.1:1883\ntopic a",
        "client plc 7\ntopic subscribe a\ntopic receive a\ntopic publish a",
        "group crew\ntopic a\nmembers crew a b c",
        "members crew a\nmembers crew b\nmembers nobody",
        "\u{feff}topic a",
        "topic a/%u",
        "user ümläut\ntopic größe/#",
    ] {
        assert!(Acl::parse(text.as_bytes()).is_ok(), "{text:?}");
    }
}

#[test]
fn a_mistake_is_told_with_its_line() {
    let deep = format!("topic {}a", "a/".repeat(LEVELS_MAX));
    let long = format!("topic {}", "a".repeat(FILTER_MAX + 1));
    let many = "topic a\n".repeat(RULES_OF_ONE_MAX + 1);
    let most =
        format!("user x\n{}", (0..RULES_MAX / 1_000 + 1).map(|i| format!("user u{i}\n{}", "topic a\n".repeat(1_000))).collect::<String>());
    let groups: String = (0..=GROUPS_OF_ONE_MAX).map(|i| format!("group g{i}\nmembers g{i} alice\n")).collect();
    let members = format!("members g{}", " x".repeat(MEMBERS_MAX + 1));
    let huge = "#".repeat(FILE_MAX + 1);
    for (text, line, cause) in [
        ("\n\ntopics a", 3, Cause::Word("topics".into())),
        ("Topic a", 1, Cause::Word("Topic".into())),
        ("user", 1, Cause::NoName("user")),
        ("user   ", 1, Cause::NoName("user")),
        ("group\n", 1, Cause::NoName("group")),
        ("client", 1, Cause::NoName("client")),
        ("topic a\nlistener", 2, Cause::NoName("listener")),
        ("members", 1, Cause::NoName("members")),
        ("anonymous x", 1, Cause::Alone("anonymous")),
        ("everyone but", 1, Cause::Alone("everyone")),
        ("topic", 1, Cause::NoFilter("topic")),
        ("pattern ", 1, Cause::NoFilter("pattern")),
        ("topic a b", 1, Cause::Access("a".into())),
        ("topic Read a", 1, Cause::Access("Read".into())),
        ("topic read,write a", 1, Cause::Access("read,write".into())),
        ("topic a#", 1, Cause::Filter(TopicError::WildcardPlace)),
        ("topic read #/a", 1, Cause::Filter(TopicError::WildcardPlace)),
        ("pattern a/%u+", 1, Cause::Filter(TopicError::WildcardPlace)),
        ("topic a\0", 1, Cause::Filter(TopicError::Nul)),
        ("topic read $share/g/a", 1, Cause::Shared),
        ("pattern $%u/a", 1, Cause::DollarName),
        ("pattern $SYS%c/a", 1, Cause::DollarName),
        ("group crew\ntopic a", 1, Cause::Group("crew".into())),
        (&deep, 1, Cause::DeepFilter),
        (&long, 1, Cause::LongFilter),
        (&many, RULES_OF_ONE_MAX + 1, Cause::RulesOfOne),
        (&most, RULES_MAX + 35, Cause::Rules),
        (&groups, 67, Cause::Groups("alice".into())),
        (&members, 1, Cause::Members),
        (&huge, 1, Cause::LongFile),
    ] {
        let mistake = Acl::parse(text.as_bytes()).expect_err(text.get(..60).unwrap_or(text));
        assert_eq!(mistake, Mistake { line, cause }, "{text:.60}");
    }
    assert_eq!(Acl::parse(b"topic a\ntopic \xff"), Err(Mistake { line: 2, cause: Cause::NotUtf8 }));
}
