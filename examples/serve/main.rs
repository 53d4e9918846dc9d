//! Names images over HTTP, by an adapter that `train_folder`, `few_shot` or `quickstart` wrote.
//!
//! ```text
//! cargo run --release --features server --example serve -- --backbone clip-vit-base-patch32 \
//!     --adapter photos.adapter.safetensors
//!
//! curl --data-binary @photo.jpg 'http://127.0.0.1:8080/classify?top=2'
//! {"labels":[{"class":"heron","probability":0.93},{"class":"stork","probability":0.05}]}
//! curl http://127.0.0.1:8080/classes
//! curl http://127.0.0.1:8080/health
//! ```
//!
//! What cannot be answered ends in `{"error":".."}`: 4xx where the client can mend it, 5xx where not. Nothing is written
//! to disk. At most `--queue` uploads of `--max-upload` MiB wait; who comes when that is full is asked to come again.

mod batches;
#[path = "../cli/mod.rs"]
mod cli;
mod fault;

use std::num::{NonZeroU16, NonZeroUsize};
use std::{future, io, path::PathBuf, pin::Pin, process::ExitCode, sync::Arc, time::Duration};

use axum::body::{Body, HttpBody};
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use clip_adapter::{DeviceSpec, Error, Result, evaluate::Ranked, image::RgbImage, tasks::Predictor};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::{net::TcpListener, signal, time};

use self::batches::Upload;
use self::fault::{Answer, Fault};

/// What a client may take to send an image.
const PATIENCE: Duration = Duration::from_secs(30);

/// Names images over HTTP.
#[derive(Parser)]
struct Arguments {
    /// The CLIP that the adapter was trained on; with the feature `hub` also ORG/NAME
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// The adapter file
    #[arg(long, value_name = "FILE")]
    adapter: PathBuf,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: String,
    /// Classes named of an image, where the request does not say
    #[arg(long, value_name = "K", default_value = "3")]
    top: NonZeroUsize,
    /// The largest upload, in MiB
    #[arg(long, value_name = "MIB", default_value = "10")]
    max_upload: NonZeroU16,
    /// Uploads that may wait
    #[arg(long, value_name = "N", default_value = "256")]
    queue: NonZeroU16,
    /// Images encoded as one batch
    #[arg(long, value_name = "N", default_value = "32")]
    at_once: NonZeroU16,
}

/// What every request needs.
#[derive(Clone)]
struct Service {
    predictor: Arc<Predictor>,
    queue: mpsc::Sender<Upload>,
    top: usize,
    max_bytes: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| serve(&arguments))
}

fn serve(arguments: &Arguments) -> Result<()> {
    let device = arguments.device.open()?;
    let predictor = Arc::new(Predictor::open(&arguments.backbone, &arguments.adapter, &device)?);
    predictor.predict(&RgbImage::new(1, 1), 1)?; // a device that fails should fail now, and not the first client
    let [queue, at_once] = [arguments.queue, arguments.at_once].map(|count| usize::from(count.get()));
    let service = Service {
        queue: batches::start(predictor.clone(), queue, at_once),
        predictor,
        top: arguments.top.get(),
        max_bytes: usize::from(arguments.max_upload.get()) << 20,
    };
    let router = Router::new()
        .route("/classify", post(classify))
        .route("/classes", get(classes))
        .route("/health", get(|| async { Json(json!({ "status": "ok" })) }))
        .fallback(astray)
        .method_not_allowed_fallback(astray)
        .with_state(service);
    listen(&arguments.listen, router)
}

#[tokio::main]
async fn listen(address: &str, router: Router) -> Result<()> {
    let failed = |error: io::Error| Error::setting("listen", "a free address", format!("{address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    println!("listening on http://{}", listener.local_addr().map_err(failed)?); // a whole line is flushed
    axum::serve(listener, router).with_graceful_shutdown(interrupted()).await.map_err(failed)
}

/// Ctrl-C. What was asked before is still answered.
async fn interrupted() {
    if signal::ctrl_c().await.is_err() {
        future::pending::<()>().await; // this system has no such signal
    }
}

async fn classes(State(service): State<Service>) -> Json<Value> {
    Json(json!({ "classes": service.predictor.class_names() }))
}

async fn classify(
    State(service): State<Service>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answer<Json<Value>> {
    // The place comes before the upload: no more of them are in memory than the queue and a batch hold.
    let Ok(place) = service.queue.try_reserve_owned() else {
        let _ = read(body, 0).await;
        let error = Error::data("queue", "a free place", "none; try again in a second");
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, error));
    };
    let bytes = read(body, service.max_bytes).await?;
    let top = top(query.as_deref(), service.top)?;
    batches::check_size(&bytes)?;
    let (answer, labels) = oneshot::channel();
    place.send(Upload { bytes, top, answer });
    let labels = labels.await.map_err(|error| Error::execution("naming an image", error))??;
    let label = |Ranked { name, probability, .. }| json!({ "class": name, "probability": probability });
    Ok(Json(json!({ "labels": labels.into_iter().map(label).collect::<Vec<_>>() })))
}

/// `top` of the query, where it is there.
fn top(query: Option<&str>, default: usize) -> Result<usize> {
    let mut pairs = query.unwrap_or("").split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let Some((name, found)) = pairs.find(|(name, _)| *name == "top") else { return Ok(default) };
    let count = found.parse::<NonZeroUsize>();
    Ok(count.map_err(|_| Error::setting(name, "a number, 1 or more", found))?.get())
}

/// Another path, or a method that its path does not take.
async fn astray(method: Method, uri: Uri, body: Body) -> Fault {
    let _ = read(body, 0).await;
    let (status, expected) = match uri.path() {
        "/classify" => (StatusCode::METHOD_NOT_ALLOWED, "POST"),
        "/classes" | "/health" => (StatusCode::METHOD_NOT_ALLOWED, "GET"),
        _ => (StatusCode::NOT_FOUND, "/classify, /classes or /health"),
    };
    Fault::new(status, Error::data("request", expected, format!("{method} {}", uri.path())))
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
        Ok(Ok((_, 0))) => (StatusCode::BAD_REQUEST, "an image".to_owned(), "nothing".to_owned()),
        Ok(Ok((bytes, length))) if length <= most => return Ok(bytes),
        Ok(Ok((_, length))) => {
            (StatusCode::PAYLOAD_TOO_LARGE, format!("at most {} MiB", most >> 20), format!("{length} bytes"))
        }
    };
    Err(Fault::new(status, Error::data("body", expected, found)))
}
