//! Who is answered: the page itself, at an address of this computer.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clip_adapter::Error;

use crate::fault::Fault;

/// Nothing but what this service itself sends, and no page around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Which names of this computer are taken for it.
///
/// A page from elsewhere can give its own name an address of this computer (DNS rebinding) and would then be taken for
/// this one. Its name is in the header `Host`: where only this computer is served, no name but its own is answered, and
/// elsewhere no name at all but the one that was asked for, since an address cannot be given another meaning.
#[derive(Debug, Clone)]
pub struct Guard {
    name: String,
    loopback: bool,
}

impl Guard {
    /// Of what was asked for, and what that turned out to be.
    pub fn of(asked: &str, address: IpAddr) -> Self {
        let name = asked.rsplit_once(':').map_or(asked, |(name, _)| name).to_ascii_lowercase();
        Self { name, loopback: address.is_loopback() }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => &host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match address {
            Ok(address) => !self.loopback || address.is_loopback(),
            Err(_) => name == "localhost" || name == self.name,
        }
    }

    /// Why a request is not answered.
    fn refuse(&self, headers: &HeaderMap) -> Option<Error> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let host = text(header::HOST).unwrap_or("none");
        if !self.knows(host) {
            return Some(Error::data("header `Host`", "an address of this computer", host));
        }
        if let Some(origin) = text(header::ORIGIN).filter(|origin| *origin != format!("http://{host}")) {
            return Some(Error::data("header `Origin`", format!("http://{host}"), origin));
        }
        match text(HeaderName::from_static("sec-fetch-site")) {
            None | Some("same-origin" | "none") => None,
            Some(other) => Some(Error::data("header `Sec-Fetch-Site`", "same-origin", other)),
        }
    }
}

/// Refuses what is not for this service, and says to a browser what it may do with an answer.
pub async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut response = match guard.refuse(request.headers()) {
        Some(error) => Fault::new(StatusCode::FORBIDDEN, error).into_response(),
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
