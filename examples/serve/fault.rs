//! What ends in an error: one sentence, and whose fault it is.

use axum::Json;
use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use clip_adapter::Error;
use serde_json::json;

/// What a request ends in.
pub type Answer<T> = std::result::Result<T, Fault>;

/// A status of 4xx where the client can mend it, of 5xx where not, and the library's sentence.
#[derive(Debug, Clone)]
pub struct Fault(StatusCode, String);

impl Fault {
    pub fn new(status: StatusCode, error: Error) -> Self {
        Self(status, error.to_string())
    }
}

/// Of an error in what the client sent.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Setting { .. } => StatusCode::BAD_REQUEST,
            Error::Image { .. } | Error::Data { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self(status, sentence) = self;
        let body = Json(json!({ "error": sentence }));
        match status {
            StatusCode::SERVICE_UNAVAILABLE => (status, [(RETRY_AFTER, "1")], body).into_response(),
            _ => (status, body).into_response(),
        }
    }
}
