use rusqlite::Connection;

use super::*;
use crate::model::status::StoreState;
use crate::outbox::schema;

const MS: Duration = Duration::from_millis(1);

/// Somebody else's hand on the file, while nobody holds it.
fn edit(path: &Path, sql: &str) {
    let db = Connection::open(path).expect("the file opens");
    db.execute_batch(sql).expect("it can be edited");
}

fn names_in(folder: &tempfile::TempDir) -> Vec<String> {
    let names = std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().expect("a name")).collect();
    names.sort();
    names
}

#[test]
fn a_second_instance_is_told_who_holds_the_file() {
    let folder = folder();
    let _first = Rig::open(&store_in(&folder), &["cloud"]);
    let error = Rig::with(options(&store_in(&folder), &["cloud"])).err().expect("it is held");
    let pid = format!("pid {}", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
}

#[test]
fn the_file_has_the_pragmas_of_the_contract_and_is_nobody_elses() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("made/store.db");
    let rig = Rig::open(&path, &["cloud"]);
    let db = rig.file.db.as_ref().expect("a connection");
    for (pragma, expected) in
        [("page_size", "1024"), ("auto_vacuum", "2"), ("locking_mode", "exclusive"), ("journal_mode", "wal"), ("synchronous", "2")]
    {
        let value: rusqlite::types::Value = db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0)).expect("a value");
        let value = match value {
            rusqlite::types::Value::Integer(n) => n.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(value, expected, "{pragma}");
    }
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(path.parent().expect("a folder")), mode(&path)), (0o700, 0o600));
    let index = path.with_file_name("store.db-shm");
    assert!(!index.exists());
    drop(rig);
    let _again = Rig::open(&path, &["cloud"]);
    assert!(!index.exists(), "a file that is in WAL mode already");
}

#[test]
fn what_cannot_be_read_is_set_aside_untouched_and_a_fresh_file_is_made() {
    let newer = format!("UPDATE meta SET value = 99, crc = {}", schema::meta_crc("schema", 99));
    type Spoil<'a> = &'a dyn Fn(&Path);
    let cases: [(&str, Spoil<'_>); 4] = [
        ("damaged", &|path| std::fs::write(path, b"not a database, and long enough to be read as one").expect("written")),
        ("damaged", &|path| edit(path, "UPDATE meta SET value = 99")),
        ("damaged", &|path| edit(path, "DROP TABLE start; CREATE TABLE start (x)")),
        ("newer", &|path| edit(path, &newer)),
    ];
    for (why, spoil) in cases {
        let folder = folder();
        let path = store_in(&folder);
        Rig::open(&path, &["cloud"]).put(1, &[0], true);
        spoil(&path);
        let before = std::fs::read(&path).expect("it is there");
        let mut rig = Rig::open(&path, &["cloud"]);
        let aside = folder.path().join(format!("store.db.{why}-1"));
        assert_eq!(std::fs::read(&aside).expect("it was set aside"), before, "{why}");
        let alarms = rig.status().alarms;
        assert!(alarms.iter().any(|alarm| alarm.contains(&*aside.to_string_lossy())), "{why}: {alarms:?}");
        let id = rig.put(1, &[0], true);
        assert!(rig.is_secured(id) && rig.start.epoch == 1, "{why}");
        drop(rig);
        assert_eq!(Rig::open(&path, &["cloud"]).start.epoch, 2, "{why}: set aside once, {:?}", names_in(&folder));
    }
}

/// A full disk has no room for one.
#[test]
fn a_start_after_a_kill_needs_no_index_of_the_wal_beside_the_file() {
    let folder = folder();
    let path = store_in(&folder);
    Rig::open(&path, &["cloud"]).put(1, &[0], true);
    std::fs::create_dir(folder.path().join("store.db-shm")).expect("made");
    let status = Rig::open(&path, &["cloud"]).status();
    assert_eq!((status.store, status.entries), (StoreState::Good, 1), "{:?}", status.alarms);
}

#[test]
fn a_wal_without_its_file_does_not_come_back_in_a_fresh_one() {
    let folder = folder();
    let path = store_in(&folder);
    Rig::open(&path, &["cloud"]).put(1, &[0], true);
    std::fs::remove_file(&path).expect("it is there");
    let rig = Rig::open(&path, &["cloud"]);
    assert_eq!((rig.start.epoch, rig.status().entries), (1, 0));
    assert!(names_in(&folder).contains(&"store.db.orphan-1-wal".to_owned()));
}

#[test]
fn a_damaged_entry_is_counted_and_passed_over() {
    let folder = folder();
    let path = store_in(&folder);
    Rig::open(&path, &["cloud"]).put(300, &[0], false);
    for (row, column) in [(3, "body"), (150, "topic"), (299, "properties")] {
        let flip =
            format!("UPDATE entry SET {column} = CAST(replace({column}, substr({column}, 1, 1), x'7f') AS BLOB) WHERE id & 1023 = {row}");
        edit(&path, &flip);
    }
    let mut rig = Rig::open(&path, &["cloud"]);
    rig.link(0, true);
    let got = rig.drain(0);
    assert_eq!(got, (1..=300).filter(|n| ![3, 150, 299].contains(n)).collect::<Vec<_>>());
    let status = rig.status();
    assert_eq!(status.entries, 0);
    assert!(status.alarms.iter().any(|alarm| alarm.starts_with("3 rows")), "{:?}", status.alarms);
}

#[test]
fn a_damaged_position_means_from_the_first_entry() {
    let folder = folder();
    let path = store_in(&folder);
    let mut rig = Rig::open(&path, &["cloud", "away"]);
    let first = rig.put(10, &[0, 1], true);
    rig.link(0, true);
    assert_eq!(rig.drain(0).len(), 10);
    rig.after(MS * 6_000);
    drop(rig);
    edit(&path, &format!("UPDATE queue SET cursor = cursor + 1 WHERE cursor > {}", first.as_i64()));
    let mut rig = Rig::open(&path, &["cloud", "away"]);
    rig.link(0, true);
    assert_eq!(rig.drain(0).len(), 10, "twice, and none lost");
    assert!(!rig.status().alarms.is_empty());
}

/// The rows of the ids are gone and their start's row is damaged: they are known from the cursors only.
#[test]
fn ids_are_not_given_twice_when_the_row_of_their_start_is_damaged() {
    let folder = folder();
    let path = store_in(&folder);
    let mut rig = Rig::open(&path, &["cloud"]);
    rig.put(10, &[0], true);
    rig.link(0, true);
    assert_eq!(rig.drain(0).len(), 10);
    rig.after(MS * 12_000);
    drop(rig);
    edit(&path, "UPDATE start SET nonce = nonce + 1");
    let mut rig = Rig::open(&path, &["cloud"]);
    let id = rig.put(1, &[0], true);
    assert!(rig.start.epoch > 1 && rig.is_secured(id), "{:?}", rig.start);
    drop(rig);
    let mut rig = Rig::open(&path, &["cloud"]);
    rig.link(0, true);
    assert_eq!(rig.drain(0), [1], "what was acknowledged is sent");
}

/// Its rows are owed to somebody, whoever that is.
#[test]
fn rows_of_a_bit_that_no_upstream_has_are_left_alone() {
    let folder = folder();
    let path = store_in(&folder);
    let mut rig = Rig::open(&path, &["cloud", "other"]);
    rig.put(5, &[1], true);
    drop(rig);
    edit(&path, "UPDATE upstream SET bit = 9 WHERE name = 'other'");
    let mut rig = Rig::open(&path, &["cloud", "other"]);
    rig.after(MS * 12_000);
    assert!(!rig.status().alarms.is_empty());
    let db = rig.file.db.as_ref().expect("a connection");
    let rows: i64 = db.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).expect("a number");
    assert_eq!(rows, 5);
}

#[test]
fn each_upstream_gets_its_own_in_whatever_order_and_one_that_is_gone_is_kept_and_announced() {
    let folder = folder();
    let path = store_in(&folder);
    let mut rig = Rig::open(&path, &["a", "b", "c"]);
    rig.put(10, &[0], false);
    rig.put(20, &[1], false);
    rig.put(30, &[2, 0], false);
    rig.after(MS * 1_001);
    drop(rig);
    let mut rig = Rig::open(&path, &["c", "renamed", "a"]);
    let status = rig.status();
    let counts: Vec<(&str, u64, bool)> = status.queues.iter().map(|queue| (&*queue.upstream, queue.entries, queue.gone)).collect();
    assert_eq!(counts, [("c", 30, false), ("renamed", 0, false), ("a", 40, false), ("b", 20, true)]);
    let alarm = "20 entries are owed to upstream b";
    assert!(status.alarms.iter().any(|told| told.starts_with(alarm) && told.contains("name = \"b\"")), "{:?}", status.alarms);
    for upstream in 0..3 {
        rig.link(upstream, true);
    }
    assert_eq!(rig.drain(0), (31..=60).collect::<Vec<_>>());
    assert_eq!(rig.drain(1), Vec::<u64>::new());
    assert_eq!(rig.drain(2), (1..=10).chain(31..=60).collect::<Vec<_>>());
    rig.after(MS * 6_000);
    assert_eq!(rig.status().entries, 20, "only what b is owed is left");
    drop(rig);
    let mut rig = Rig::open(&path, &["b"]);
    rig.link(0, true);
    assert_eq!(rig.drain(0), (11..=30).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_secures_nothing_until_there_is_space_again() {
    let folder = folder();
    let mut rig = Rig::open(&store_in(&folder), &["dead", "live"]);
    rig.link(1, true);
    let limit = |rig: &Rig, pages: i64| {
        let db = rig.file.db.as_ref().expect("a connection");
        db.query_row(&format!("PRAGMA max_page_count({pages})"), [], |_| Ok(())).expect("it is set");
    };
    limit(&rig, 1);
    let first = rig.put(200, &[0], true);
    assert!(!rig.is_secured(first));
    assert_eq!((rig.status().store, rig.status().failed_commits), (StoreState::Full, 1));
    let other = rig.put(1, &[1], true);
    rig.pull(1, 1);
    rig.ack(1, &[other]);
    assert!(rig.is_secured(other), "what the live upstream acknowledges needs no space");
    rig.after(MS * 10_000);
    assert!(rig.status().failed_commits > 1 && !rig.is_secured(first));
    limit(&rig, 1 << 20);
    rig.after(MS * 31_000);
    assert!(rig.is_secured(first));
    assert_eq!((rig.status().store, rig.status().entries), (StoreState::Good, 200));
}

#[test]
fn without_a_disk_acknowledgements_still_secure_and_dead_letters_do_not() {
    let folder = folder();
    // A folder stands where the file should be.
    std::fs::create_dir(store_in(&folder)).expect("made");
    let mut rig = Rig::open(&store_in(&folder), &["dead", "live"]);
    assert_eq!(rig.status().store, StoreState::Diskless);
    assert_eq!(rig.status().alarms.len(), 1, "{:?}", rig.status().alarms);
    rig.link(1, true);
    let (owed, acked, refused) = (rig.put(1, &[0], true), rig.put(1, &[1], true), rig.put(1, &[1], true));
    rig.pull(1, 10);
    rig.ack(1, &[acked]);
    let outcome = Outcome::DeadLetter { code: None, cause: "no".into() };
    rig.bridge(BridgeToOutbox::Done { upstream: UpstreamId(1), settled: vec![Settled { id: refused, outcome }] });
    rig.after(MS * 60_000);
    assert!(rig.is_secured(acked) && !rig.is_secured(owed) && !rig.is_secured(refused));
}

#[test]
fn a_backlog_is_trimmed_as_it_drains_and_the_file_shrinks() {
    let folder = folder();
    let path = store_in(&folder);
    let mut rig = Rig::open(&path, &["cloud"]);
    for _ in 0..20 {
        rig.put(5_000, &[0], false);
    }
    rig.after(MS * 12_000);
    let grown = std::fs::metadata(&path).expect("it is there").len();
    assert!(rig.status().commits < 100, "{} commits for 100,000 rows", rig.status().commits);
    drop(rig);
    let asked = crate::clock::mono();
    let (file, opened) = recover::open(&path, &["cloud".into()], claim(&path).expect("free"), &moment(Now::default()), ClockTrust::Never);
    let took = crate::clock::mono().since(asked);
    assert!(took < Duration::from_secs(1), "{took:?} to start with 100,000 rows");
    drop((file, opened));
    let mut rig = Rig::open(&path, &["cloud"]);
    assert_eq!(rig.status().entries, 100_000);
    rig.link(0, true);
    assert_eq!(rig.drain(0).len(), 100_000);
    rig.after(MS * 60_000);
    let shrunk = std::fs::metadata(&path).expect("it is there").len();
    assert!(shrunk < grown / 2, "{grown} bytes, then {shrunk}");
    assert_eq!(rig.status().entries, 0);
}

#[test]
fn a_queue_that_reaches_its_share_has_no_room_until_it_drains() {
    let folder = folder();
    let mut rig = Rig::with(Options { max_bytes: 200_000, ..options(&store_in(&folder), &["dead", "live"]) }).expect("free");
    rig.link(1, true);
    rig.put(1_000, &[0], true);
    let mut dead = UpstreamSet::EMPTY;
    dead.insert(UpstreamId(0));
    assert_eq!(rig.full, dead);
    rig.link(0, true);
    assert_eq!(rig.drain(0).len(), 1_000);
    rig.after(MS * 6_000);
    assert_eq!(rig.full, UpstreamSet::EMPTY);
}

/// What is in a file that is given up takes no room from what is to come: the upstream is there and its publishers are not held.
#[test]
fn a_full_queue_has_room_again_when_its_file_is_given_up() {
    let folder = folder();
    let mut rig = Rig::with(Options { max_bytes: 200_000, ..options(&store_in(&folder), &["cloud"]) }).expect("free");
    rig.put(1_000, &[0], true);
    assert!(!rig.full.is_empty());
    rig.file.db = None;
    rig.link(0, true);
    rig.pull(0, 10);
    assert_eq!((rig.status().store, rig.full), (StoreState::Diskless, UpstreamSet::EMPTY));
    let id = rig.put(1, &[0], true);
    rig.ack(0, &[id]);
    assert!(rig.is_secured(id));
}

#[test]
fn a_damaged_time_of_acceptance_is_no_trouble() {
    let folder = folder();
    let path = store_in(&folder);
    Rig::open(&path, &["cloud", "gone"]).put(3, &[0, 1], true);
    edit(&path, "UPDATE entry SET properties = x'0101000000000000000080'");
    let rig = Rig::open(&path, &["cloud"]);
    assert_eq!(rig.status().queues.len(), 2);
}
