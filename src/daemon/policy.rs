//! Who there is and what each may do: the files, read at the start, and read again on SIGHUP.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::access::file::{self, FileError};
use crate::access::users::Users;
use crate::access::{Policy, Realm};
use crate::broker;

/// The files that a site names.
#[derive(Debug, Clone)]
pub(super) struct Files {
    /// Users and rights of each listener.
    listeners: Vec<(Option<PathBuf>, Option<PathBuf>)>,
    acl: Option<PathBuf>,
}

impl Files {
    pub(super) fn of(options: &broker::Options) -> Self {
        let listeners = options.listeners.iter().map(|listener| (listener.users.clone(), listener.acl.clone())).collect();
        Self { listeners, acl: options.acl.clone() }
    }

    /// Blocks on the disk.
    ///
    /// # Errors
    /// The first file that cannot be read or has a mistake.
    pub(super) fn read(&self) -> Result<Policy, FileError> {
        let (mut users, mut acls) = (Once::default(), Once::default());
        let mut realms = Vec::with_capacity(self.listeners.len());
        for (users_path, acl_path) in &self.listeners {
            let users = users.get(users_path.as_ref(), |path| read_users(path))?;
            realms.push(Realm { users, acl: acls.get(acl_path.as_ref(), |path| file::acl(path))? });
        }
        Ok(Policy { realms, acl: acls.get(self.acl.as_ref(), |path| file::acl(path))? })
    }
}

fn read_users(path: &Path) -> Result<Users, FileError> {
    let users = file::users(path)?;
    let weak = users.iter().filter(|user| user.password.is_weak()).count();
    if weak > 0 {
        tracing::warn!(
            path = %path.display(),
            users = weak,
            "hashes of passwords in the users' file are of a kind that is guessed quickly: `tidegate passwd add NAME` makes better ones"
        );
    }
    Ok(users)
}

/// Files that were read, by path: listeners that name the same share what it says.
struct Once<K, T>(HashMap<K, Arc<T>>);

impl<K, T> Default for Once<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Clone + Eq + Hash, T> Once<K, T> {
    fn get<E>(&mut self, path: Option<&K>, read: impl FnOnce(&K) -> Result<T, E>) -> Result<Option<Arc<T>>, E> {
        let Some(path) = path else { return Ok(None) };
        if let Some(known) = self.0.get(path) {
            return Ok(Some(Arc::clone(known)));
        }
        let new = Arc::new(read(path)?);
        self.0.insert(path.clone(), Arc::clone(&new));
        Ok(Some(new))
    }
}
