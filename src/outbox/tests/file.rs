use super::*;

#[test]
fn a_second_instance_is_told_who_holds_the_file() {
    let folder = folder();
    let _first = Rig::open(&store_in(&folder), &["cloud"]);
    let error = Rig::with(options(&store_in(&folder), &["cloud"])).err().expect("it is held");
    let pid = format!("pid {}", std::process::id());
    assert!(error.to_string().contains(&pid), "{error}");
}
