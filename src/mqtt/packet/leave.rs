//! DISCONNECT (3.14) and AUTH (5.0, 3.15).

use super::super::primitive::Reader;
use super::super::properties::{Place, Properties, Property};
use super::super::reason::Carrier;
use super::super::{Error, Frame, Reason, Version};

/// DISCONNECT of a client (3.14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Success in 3.x; [`Reason::Success`] alone takes the will back [MQTT-3.14.4-3].
    pub reason: Reason,
    /// Seconds, in place of CONNECT's; not 0 only where CONNECT's was not (3.14.2.2.2), which is state.
    pub session_expiry: Option<u32>,
    pub reason_string: Option<&'a str>,
}

impl<'a> Disconnect<'a> {
    /// # Errors
    /// Flags, length, code or properties that 3.14 forbids to a client.
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Error> {
        super::expect_flags(frame, version, 0)?;
        let mut reader = Reader::new(frame.body);
        let mut this = Self { reason: Reason::Success, session_expiry: None, reason_string: None };
        if version.is_5() && !reader.is_empty() {
            this.reason = super::reason(reader.u8()?, Carrier::ClientDisconnect)?;
            // 3.14.2.2.1: fewer than two bytes have no property length.
            if !reader.is_empty() {
                let mut properties = Properties::of(frame, &mut reader, Place::Disconnect)?;
                while let Some(property) = properties.next()? {
                    match property {
                        Property::SessionExpiry(seconds) => this.session_expiry = Some(seconds),
                        Property::ReasonString(text) => this.reason_string = Some(text),
                        _ => {}
                    }
                }
            }
        }
        reader.finish()?;
        Ok(this)
    }
}

/// AUTH of a client (5.0, 3.15): a step of the exchange that CONNECT or it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// [`Reason::ContinueAuthentication`] or [`Reason::ReAuthenticate`].
    pub reason: Reason,
    pub method: &'a str,
    pub data: Option<&'a [u8]>,
}

impl<'a> Auth<'a> {
    /// # Errors
    /// Flags, length, code or properties that 3.15 forbids to a client; no method; a version before 5.0.
    pub fn parse(frame: &Frame<'a>, version: Version) -> Result<Self, Error> {
        if !version.is_5() {
            return Err(Error::Protocol("packet type 15 is reserved before 5.0 [3.1.1, 2.2.1]"));
        }
        super::expect_flags(frame, version, 0)?;
        let mut reader = Reader::new(frame.body);
        // An empty one says success (3.15.2.1), which is the server's to say.
        let reason = super::reason(if reader.is_empty() { 0 } else { reader.u8()? }, Carrier::ClientAuth)?;
        let mut properties = Properties::of(frame, &mut reader, Place::Auth)?;
        let (mut method, mut data) = (None, None);
        while let Some(property) = properties.next()? {
            match property {
                Property::AuthenticationMethod(name) => method = Some(name),
                Property::AuthenticationData(bytes) => data = Some(bytes),
                _ => {}
            }
        }
        reader.finish()?;
        let method = method.ok_or(Error::Protocol("AUTH without a method [3.15.2.2.2]"))?;
        Ok(Self { reason, method, data })
    }
}
