//! A page on this computer that finds pictures by words, by a picture, or by both, and learns from thumbs.
//!
//! ```text
//! cargo run --release --features server --example search -- --backbone clip-vit-base-patch32 --images photos \
//!     --index photos.index
//! ```
//!
//! Without `--backbone` and `--images` it searches the icons that come with the crate. The index is brought up to date
//! at the start: only what changed is encoded. The page has no part that comes from elsewhere, and nothing leaves this
//! computer: only requests to an address of this computer are answered, unless `--listen` says otherwise, and none that
//! another page sends. Nothing is written but the index and, where `--lessons` is given, the pairs of sentences and
//! pictures that were liked for them, which an adapter can learn from.

#[path = "../cli/mod.rs"]
mod cli;
mod fault;
mod guard;
mod pictures;
mod queries;
mod service;

use std::num::{NonZeroU16, NonZeroUsize};
use std::{env, future, io, net::SocketAddr, ops::ControlFlow, path::PathBuf, process::ExitCode, sync::Arc};

use clap::Parser;
use clip_adapter::{
    ClipBackbone, DeviceSpec, Error, Result,
    tasks::search::{Index, Indexer},
};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{net::TcpListener, signal};

use self::guard::Guard;
use self::service::Service;

/// Where the page is, unless another address is asked for.
const LISTEN: &str = "127.0.0.1:8080";

/// A page on this computer that finds pictures by words, by a picture, or by both, and learns from thumbs.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; the pocket model where none is given
    #[arg(long, value_name = "DIR", requires = "images")]
    backbone: Option<PathBuf>,
    /// The pictures, with those in all sub-folders; icons that come with the crate where none are given
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Keeps the features of the pictures here, and goes on from them; without it they are encoded at every start
    #[arg(long, value_name = "FILE")]
    index: Option<PathBuf>,
    /// Writes sentences and the pictures that were liked for them, a file of pairs, when the page asks for it
    #[arg(long, value_name = "FILE")]
    lessons: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Where to listen; port 0 takes a free one. An address that other computers reach shows them the pictures
    #[arg(long, value_name = "ADDRESS", default_value = LISTEN)]
    listen: String,
    /// Pictures shown at once
    #[arg(long, value_name = "K", default_value = "48")]
    top: NonZeroUsize,
    /// The largest picture that is searched with, in MiB
    #[arg(long, value_name = "MIB", default_value = "20")]
    max_upload: NonZeroU16,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| serve(&arguments))
}

fn serve(arguments: &Arguments) -> Result<()> {
    cli::folders::check_for(&[arguments.index.as_ref(), arguments.lessons.as_ref()])?;
    let backbone = arguments.backbone.clone().unwrap_or_else(|| cli::pocket::path("model"));
    let images = arguments.images.clone().unwrap_or_else(|| cli::pocket::path("images/icon-line"));
    let clip = ClipBackbone::from_pretrained(backbone, &arguments.device.open()?)?;
    clip.encode_texts(&["a device that fails should fail now"])?;
    let temporary = tempfile::tempdir().map_err(|source| Error::write(env::temp_dir(), source))?;
    let path = arguments.index.clone().unwrap_or_else(|| temporary.path().join("index"));

    let style = ProgressStyle::with_template("{bar:30} {pos}/{len}  {msg}").expect("a valid template");
    let bar = ProgressBar::new(0).with_style(style);
    let indexer = Indexer::new(&clip).on_progress(|now| {
        bar.set_length(now.total as u64);
        bar.set_position(now.done as u64);
        bar.set_message(format!("{:.1} images/s  {:.0} s left", now.images_per_second, now.seconds_left));
        ControlFlow::Continue(())
    });
    let indexed = indexer.run(&images, &path);
    bar.finish_and_clear();
    let (index, changes) = indexed?;
    for left in &changes.left_out {
        eprintln!("left out: {}: {}", left.path, left.reason);
    }
    eprintln!("{} pictures, {} of them encoded now", index.len(), changes.encoded);

    let service = Service::new(clip, index, images, arguments)?;
    listen(&arguments.listen, Arc::new(service))
}

#[tokio::main]
async fn listen(address: &str, service: Arc<Service>) -> Result<()> {
    let failed = |error: io::Error| Error::setting("listen", "a free address", format!("{address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local: SocketAddr = listener.local_addr().map_err(failed)?;
    if !local.ip().is_loopback() {
        eprintln!("other computers can see the pictures at {local}");
    }
    let router = service::router(service, Guard::of(address, local.ip()));
    println!("listening on http://{local}"); // a whole line is flushed
    axum::serve(listener, router).with_graceful_shutdown(interrupted()).await.map_err(failed)
}

/// Ctrl-C. What was asked before is still answered.
async fn interrupted() {
    if signal::ctrl_c().await.is_err() {
        future::pending::<()>().await; // this system has no such signal
    }
}
