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
use clip_adapter::features::PairFile;
use clip_adapter::{ClipBackbone, Error, Result, input::readable};
use clip_adapter::{
    tasks::search::{Index, PhotoIndex},
    tasks::taste::Lessons,
};
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
    pub fn new(
        clip: ClipBackbone,
        index: PhotoIndex,
        folder: PathBuf,
        arguments: &Arguments,
    ) -> Result<Self> {
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
        .method_not_allowed_fallback(|| async {
            let error = Error::data("request", "GET of what is shown, POST of what is asked", "another");
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, error)
        })
        .with_state(service)
        .layer(middleware::from_fn_with_state(guard, guarded))
}

async fn fixed(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn about(State(service): State<Arc<Service>>) -> Json<Value> {
    let name = readable(service.folder.file_name().unwrap_or_default());
    Json(
        json!({ "folder": name, "pictures": service.library.index.len(), "lessons": service.lessons.is_some() }),
    )
}

async fn search(State(service): State<Arc<Service>>, body: Body) -> Answer<Json<Value>> {
    let query: Query = question(&read(body, MAX_QUESTION).await?)?;
    computed(&service, Kind::Model, move |service| service.library.search(&query, service.top))
        .await
        .map(Json)
}

async fn look(State(service): State<Arc<Service>>, body: Body) -> Answer<Json<Value>> {
    let bytes = read(body, service.max_bytes).await?;
    pictures::check_size(&bytes)?;
    computed(&service, Kind::Model, move |service| service.library.look(&bytes)).await.map(Json)
}

/// Keeps a sentence with the pictures that are liked for it.
async fn keep(State(service): State<Arc<Service>>, body: Body) -> Answer<Json<Value>> {
    let query: Query = question(&read(body, MAX_QUESTION).await?)?;
    if service.lessons.is_none() {
        return Err(Fault::not_found("file of lessons"));
    }
    computed(&service, Kind::Model, move |service| service.keep(&query)).await.map(Json)
}

async fn thumbnail(state: State<Arc<Service>>, row: Path<String>) -> Answer<Response> {
    drawn(state, row, THUMBNAIL).await
}

async fn picture(state: State<Arc<Service>>, row: Path<String>) -> Answer<Response> {
    drawn(state, row, LARGE).await
}

/// A picture by its row and by nothing else, so that no request can name a file.
async fn drawn(State(service): State<Arc<Service>>, Path(row): Path<String>, side: u32) -> Answer<Response> {
    let item = row.parse().ok().and_then(|row: usize| service.library.index.items().get(row));
    let path = item.and_then(|item| pictures::below(&service.folder, &item.path));
    let path = path.ok_or_else(|| Fault::not_found("picture"))?;
    let (kind, bytes) = computed(&service, Kind::Picture, move |_| pictures::shown(&path, side)).await?;
    // The address of a picture has its digest, and so never means another.
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "private, max-age=86400")], bytes)
        .into_response())
}

impl Service {
    fn keep(&self, query: &Query) -> Result<Value> {
        let Some((path, lessons)) = &self.lessons else { return Ok(Value::Null) };
        self.library.check_rows("like", &query.like)?;
        let text = query.text.trim();
        let words = Query { text: text.to_owned(), ..Query::default() };
        let Some(embedding) = self.library.embedding(&words)? else {
            return Err(Error::data("lesson", "what the pictures were liked for, in words", "none"));
        };
        let mut lessons = lessons.lock().unwrap_or_else(PoisonError::into_inner);
        for &row in &query.like {
            let name = &self.library.index.items()[row].path;
            lessons.like(text, embedding.row(0), name, &self.library.index.embedding(row)?)?;
        }
        PairFile::new("lessons", lessons.pairs()?).write(path)?;
        Ok(json!({ "lessons": lessons.len() }))
    }
}

/// What a computation takes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Model,
    Picture,
}

/// Computes on a thread of its own when its turn comes.
async fn computed<T: Send + 'static>(
    service: &Arc<Service>,
    kind: Kind,
    work: impl FnOnce(&Service) -> Result<T> + Send + 'static,
) -> Answer<T> {
    let busy = || {
        let error = Error::data("service", "a free place", "none; try again in a second");
        Fault::new(StatusCode::SERVICE_UNAVAILABLE, error)
    };
    let _place = service.waiting.try_acquire().map_err(|_| busy())?;
    let turn = match kind {
        Kind::Model => &service.model,
        Kind::Picture => &service.decoders,
    };
    let _turn = time::timeout(PATIENCE, turn.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
    let service = service.clone();
    let done = task::spawn_blocking(move || work(&service)).await;
    Ok(done.map_err(|_| Error::execution("answering", "an unexpected failure"))??)
}

fn question(bytes: &[u8]) -> Answer<Query> {
    let failed = |error: serde_json::Error| {
        let error = Error::data("question", "JSON of a search", error);
        Fault::new(StatusCode::BAD_REQUEST, error)
    };
    serde_json::from_slice(bytes).map_err(failed)
}

/// A body of some bytes and at most so many. A longer one is read to its end and dropped as it comes, since a client
/// that still sends would not hear the answer.
async fn read(mut body: Body, most: usize) -> Answer<Vec<u8>> {
    let reading = async {
        let (mut bytes, mut length) = (Vec::new(), 0);
        while let Some(frame) = future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let Ok(data) = frame?.into_data() else { continue };
            length += data.len();
            match length <= most {
                true => bytes.extend_from_slice(&data),
                false => bytes = Vec::new(),
            }
        }
        Ok::<_, axum::Error>((bytes, length))
    };
    let (status, expected, found) = match time::timeout(PATIENCE, reading).await {
        Err(_) => (StatusCode::REQUEST_TIMEOUT, format!("all of it in {PATIENCE:?}"), "a part".to_owned()),
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, "all of it".to_owned(), error.to_string()),
        Ok(Ok((_, 0))) => (StatusCode::BAD_REQUEST, "some bytes".to_owned(), "nothing".to_owned()),
        Ok(Ok((bytes, length))) if length <= most => return Ok(bytes),
        Ok(Ok((_, length))) => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("at most {most} bytes"), format!("{length} bytes"))
        }
    };
    Err(Fault::new(status, Error::data("body", expected, found)))
}
