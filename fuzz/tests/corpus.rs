//! Every input of the corpus is checked again.

use std::path::Path;

fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files: Vec<_> = folder.read_dir().expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty());
    for file in files {
        println!("{}", file.display());
        check(&std::fs::read(&file).expect("an input"));
    }
}

#[test]
fn the_codec_takes_its_corpus() {
    replay("codec", tidegate_fuzz::codec::check);
}

#[test]
fn the_broker_takes_its_corpus() {
    replay("apply", tidegate_fuzz::apply::check);
}

#[test]
fn what_stands_around_mqtt_takes_its_corpus() {
    replay("proxy", tidegate_fuzz::proxy::check);
    replay("upgrade", tidegate_fuzz::upgrade::check);
    replay("websocket", tidegate_fuzz::websocket::check);
}

#[test]
fn the_files_of_rights_take_their_corpus() {
    replay("acl", tidegate_fuzz::acl::check);
    replay("users", tidegate_fuzz::users::check);
}
