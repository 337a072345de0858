//! After certificates and revocation lists were read anew: clients whose certificate would no longer be accepted go.

use std::rc::Rc;

use tokio::task::yield_now;

use super::super::end::End;
use super::shell::Shell;
use super::tls::Secured;
use crate::clock;

/// Certificates looked at in one turn: each costs two checks of a signature.
const A_TURN: usize = 2;

/// Looks at every connection, some at a time.
pub(in crate::broker) async fn run(renewed: &[(u16, Secured)], shell: &Rc<Shell>) {
    let mut looked = 0;
    for id in shell.ids() {
        let listener = shell.broker.borrow().listener_of(id);
        let Some((_, secured)) = renewed.iter().find(|(index, secured)| Some(*index) == listener && secured.clients.is_some()) else {
            continue;
        };
        let now = clock::wall();
        let accepted =
            shell.turn(true, || shell.with_socket(id, |socket| secured.still_accepts(socket.tls()?.peer_certificates(), now).into()));
        if accepted.flatten() == Some(false) {
            shell.broker.borrow_mut().lost(id, End::Revoked, clock::now());
            shell.settle();
        }
        looked += 1;
        if looked % A_TURN == 0 {
            yield_now().await;
        }
    }
}
