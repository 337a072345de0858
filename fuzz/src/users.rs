//! The users file: whatever its bytes, reading it ends well; what was read is written as it was, and a user's line can be replaced and removed
//! without another's changing; a mistake repeats nothing that could be a secret, and nothing that could forge a line of a log.

use tidegate::access::users::{Users, check_name, with, without};

pub fn check(input: &[u8]) {
    let users = match Users::parse(input) {
        Ok(users) => users,
        Err(error) => return mistake(input, error.line, &error.to_string()),
    };
    let file = std::str::from_utf8(input).expect("it was read");
    for user in users.iter().take(8) {
        assert_eq!(check_name(&user.name), Ok(()));
        let again = Users::parse(user.line().as_bytes()).expect("what was written can be read");
        assert_eq!(again.get(&user.name), Some(user));
        assert!(!format!("{user:?}").contains(user.line().split(':').nth(1).expect("a hash")), "{user:?} shows its hash");

        let replaced = with(file, user);
        let replaced = Users::parse(replaced.as_bytes()).expect("a file with a line replaced can be read");
        assert!(replaced.iter().eq(users.iter()));
        let removed = without(file, &user.name).expect("it was there");
        let removed = Users::parse(removed.as_bytes()).expect("a file with a line removed can be read");
        assert!(removed.iter().eq(users.iter().filter(|one| one.name != user.name)));
    }
    assert!(users.iter().all(|user| users.get(&user.name).is_some()));
}

fn mistake(input: &[u8], line: usize, text: &str) {
    assert!(!text.contains(char::is_control), "a log could be forged: {text}");
    let wrong = input.split(|byte| *byte == b'\n').nth(line - 1).expect("the line is there");
    // What stands behind the name, where a character in it shows that it is not in the text by chance.
    let secrets = wrong.split(|byte| *byte == b':').skip(1).filter(|part| part.len() >= 12 && part.contains(&b'~'));
    for secret in secrets.filter_map(|part| std::str::from_utf8(part).ok()) {
        // The name is repeated, with what could forge a log escaped.
        let name = String::from_utf8_lossy(wrong.split(|byte| *byte == b':').next().unwrap_or_default());
        let names = name.contains(secret) || format!("{name:?}").contains(secret);
        assert!(names || !text.contains(secret), "{text:?} repeats {secret:?}");
    }
}
