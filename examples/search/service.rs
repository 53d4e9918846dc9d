//! What is answered, and how much of it at the same time.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{future, thread};

use axum::body::{Body, HttpBody};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use clip_adapter::features::{PairFile, Pairs};
use clip_adapter::{ClipBackbone, Error, Result, input::readable};
use clip_adapter::{tasks::search::{Index, PhotoIndex}, tasks::taste::Lessons};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::{task, time};

use crate::fault::{Answer, Fault};
use crate::guard::{Guard, guarded};
use crate::queries::{Library, Query};
use crate::{Arguments, pictures};

/// What a page may take to send something, and wait for its turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Requests that may wait for a computation.
const WAITING: usize = 64;

/// The largest question, in bytes.
const MAX_QUESTION: usize = 1 << 18;

/// Longer sides of pictures, in pixels.
const THUMBNAIL: u32 = 256;
const LARGE: u32 = 1600;

/// What every request needs.
#[derive(Debug)]
pub struct Service {
    library: Library,
    folder: PathBuf,
    lessons: Option<(PathBuf, Mutex<Lessons>)>,
    top: usize,
    max_bytes: usize,
    waiting: Semaphore,
    model: Semaphore,
    decoders: Semaphore,
}

impl Service {
    pub fn new(clip: ClipBackbone, index: PhotoIndex, folder: PathBuf, arguments: &Arguments) -> Result<Self> {
        let lessons = arguments.lessons.clone().map(|path| -> Result<_> {
            let mut lessons = Lessons::of(&clip);
            if path.exists() {
                lessons.add(PairFile::read(&path)?.pairs())?;
            }
            Ok((path, Mutex::new(lessons)))
        });
        Ok(Self {
            lessons: lessons.transpose()?,
            library: Library::new(clip, index)?,
            folder,
            top: arguments.top.get(),
            max_bytes: usize::from(arguments.max_upload.get()) << 20,
            waiting: Semaphore::new(WAITING),
            model: Semaphore::new(1), // which takes all cores
            decoders: Semaphore::new(thread::available_parallelism().map_or(1, usize::from)),
        })
    }
}

pub fn router(service: Arc<Service>, guard: Guard) -> Router {
    Router::new()
        .route("/", get(|| fixed("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/page.css", get(|| fixed("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/page.js", get(|| fixed("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/icon.svg", get(|| fixed("image/svg+xml", include_str!("icon.svg"))))
        .route("/about", get(about))
        .route("/search", post(search))
        .route("/look", post(look))
        .route("/lessons", post(keep))
        .route("/thumbnail/{row}", get(thumbnail))
        .route("/picture/{row}", get(picture))
        .fallback(|| async { Fault::not_found("page") })
        .with_state(service)
        .layer(middleware::from_fn_with_state(guard, guarded))
}

async fn fixed(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn about(State(service): State<Arc<Service>>) -> Json<Value> {
    let name = readable(service.folder.file_name().unwrap_or_default());
    Json(json!({ "folder": name, "pictures": service.library.index.len(), "lessons": service.lessons.is_some() }))
}

async fn search(State(service): State<Arc<Service>>, body: Body) -> Answer<Json<Value>> {
    let query: Query = question(&read(body, MAX_QUESTION).await?)?;
    let run = |service: &Service| service.library.search(&query, service.top);
    Ok(Json(computed(&service.clone(), |service| &service.model, service, run).await?))
}

async fn look(State(service): State<Arc<Service>>, body: Body) -> Answer<Json<Value>> {
    let bytes = read(body, service.max_bytes).await?;
    pictures::check_size(&bytes)?;
    let run = move |service: &Service| service.library.look(&bytes);
    Ok(Json(computed(&service.clone(), |service| &service.model, service, run).await?))
}
