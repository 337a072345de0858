//! Unix sockets that listen: of the broker, and for the control of the gateway.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Who may connect: owner and group.
const MODE: u32 = 0o660;

/// Makes the folder if it is not there, and takes the place of a socket that nobody listens on, but not of anything else.
///
/// # Errors
/// The folder or the socket cannot be made, another process listens on it, or something else is there.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens on it"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "what is there is no socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the socket's file away. Gone already is as good.
pub fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// Gives the socket to a group of this system.
///
/// # Errors
/// There is no such group (`NotFound`), or this process may not give it away.
pub fn give_to_group(path: &Path, group: &str) -> io::Result<()> {
    let id = number_of(&std::fs::read_to_string("/etc/group")?, group).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::fs::chown(path, None, Some(rustix::fs::Gid::from_raw(id)))?)
}

/// What the system calls a user; `None` if its file has none of that number.
pub fn name_of_user(id: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    name_of(&text, id).map(str::to_owned)
}

/// In a file as passwd(5) and group(5): name, password, number, all between colons.
fn number_of(text: &str, name: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.split(':').nth(1)?.parse().ok())
}

fn name_of(text: &str, id: u32) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_on_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/some.sock");
        let first = bind(&path).expect("a fresh place");
        assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, MODE);
        assert!(bind(&path).is_err(), "somebody listens");
        drop(first);
        drop(bind(&path).expect("a socket whose process is gone"));
        std::fs::remove_file(&path).expect("a socket");
        std::fs::write(&path, "a file").expect("a file");
        assert!(bind(&path).is_err(), "a file is in the way");
        assert_eq!(std::fs::read_to_string(&path).expect("it is still there"), "a file");
    }

    #[test]
    fn the_system_s_files_are_read_as_they_are() {
        let text = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n\nbroken\n:x:7:\n";
        assert_eq!((name_of(text, 0), name_of(text, 1000), name_of(text, 7), name_of(text, 2)), (Some("root"), Some("ada"), None, None));
        assert_eq!((number_of(text, "ada"), number_of(text, "ad"), number_of(text, "nobody")), (Some(1000), None, None));
    }
}
