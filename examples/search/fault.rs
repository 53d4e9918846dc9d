//! What ends in an error: one sentence, and whose fault it is.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use clip_adapter::Error;
use serde_json::json;

/// What a request ends in.
pub type Answer<T> = std::result::Result<T, Fault>;

/// A status of 4xx where the page can mend it, of 5xx where not, and a sentence.
#[derive(Debug)]
pub struct Fault(StatusCode, String);

impl Fault {
    pub fn new(status: StatusCode, error: Error) -> Self {
        Self(status, error.to_string())
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Error::data(what, "one that is there", "none"))
    }
}

/// Of an error in what the page sent.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Setting { .. } => StatusCode::BAD_REQUEST,
            Error::Image { .. } | Error::Data { .. } | Error::Dim { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Error::Read { .. } => StatusCode::NOT_FOUND, // a picture that was moved since
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self(status, sentence) = self;
        (status, Json(json!({ "error": sentence }))).into_response()
    }
}
