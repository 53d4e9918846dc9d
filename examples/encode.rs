//! Encodes images and texts to a safetensors file: pixels, token ids and embeddings under the names that Hugging Face
//! gives them, to use elsewhere or to compare with another implementation.
//!
//! ```text
//! cargo run --release --example encode -- --backbone clip-vit-base-patch32 --images *.jpg --texts captions.txt \
//!     --out embeddings.safetensors
//! ```

mod cli;

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use burn::tensor::{Device, Tensor};
use clap::Parser;
use clip_adapter::{
    ClipBackbone, DeviceSpec, Error, Result,
    features::Embeddings,
    input::{read_texts, readable},
};
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};

/// Images on the device at once.
const BATCH: usize = 16;

/// Encodes images and texts to a safetensors file.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; with the feature `hub` also ORG/NAME
    #[arg(long, value_name = "DIR")]
    backbone: PathBuf,
    /// Image files, in the order of the rows
    #[arg(long, value_name = "FILE", num_args = 1.., required = true)]
    images: Vec<PathBuf>,
    /// A JSON array of texts (.json), or one text a line
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// Turns images as their EXIF data say; the reference implementations do not
    #[arg(long)]
    exif: bool,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    #[command(flatten)]
    precision: cli::precision::InPrecision,
    /// The file to write: pixel_values, image_embeds and, with texts, input_ids and text_embeds
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| encode(&arguments))
}

fn encode(arguments: &Arguments) -> Result<()> {
    let device = arguments.device.open()?;
    let mut clip = arguments.precision.open(&arguments.backbone, &device)?;
    if arguments.exif {
        clip = clip.with_exif_orientation();
    }
    let mut parts = images(&clip, &arguments.images, &device)?;
    if let Some(path) = &arguments.texts {
        parts.extend(texts(&clip, &read_texts(path)?)?);
    }
    write(&arguments.out, &parts, clip.identity())?;
    for part in &parts {
        println!("{:<14} {:?}", part.name, part.shape);
    }
    println!("wrote {}", arguments.out.display());
    Ok(())
}

/// One tensor of the file.
struct Part {
    name: &'static str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Part {
    fn floats(name: &'static str, values: &[f32], shape: Vec<usize>) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self { name, dtype: Dtype::F32, shape, bytes }
    }

    fn view(&self) -> std::result::Result<(&str, TensorView<'_>), SafeTensorError> {
        Ok((self.name, TensorView::new(self.dtype, self.shape.clone(), &self.bytes)?))
    }
}

fn images(clip: &ClipBackbone, files: &[PathBuf], device: &Device) -> Result<Vec<Part>> {
    let (mut pixels, mut embeddings) = (Vec::new(), Vec::new());
    let dim = clip.config().embed_dim;
    for files in files.chunks(BATCH) {
        let batch = clip.preprocess().load(files, device)?;
        let rows = host(clip.image_embeddings(batch.clone()))?;
        for (file, row) in files.iter().zip(rows.chunks_exact(dim)) {
            // What is no number, or only zeros, would be found out far from here.
            Embeddings::new(row.to_vec(), dim).map_err(|error| match error {
                Error::Data { expected, found, .. } => Error::data(readable(file), expected, found),
                other => other,
            })?;
        }
        embeddings.extend(rows);
        pixels.extend(host(batch)?);
    }
    let side = clip.preprocess().crop;
    Ok(vec![
        Part::floats("pixel_values", &pixels, vec![files.len(), 3, side, side]),
        Part::floats("image_embeds", &embeddings, vec![files.len(), dim]),
    ])
}

fn texts(clip: &ClipBackbone, texts: &[String]) -> Result<Vec<Part>> {
    let ids = clip.tokenizer().encode(texts)?.ids;
    let bytes = ids.iter().flatten().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let shape = vec![texts.len(), clip.config().text.context];
    let embeddings = clip.encode_texts(texts)?;
    let embeddings =
        Part::floats("text_embeds", embeddings.values(), vec![embeddings.rows(), embeddings.dim()]);
    Ok(vec![Part { name: "input_ids", dtype: Dtype::I64, shape, bytes }, embeddings])
}

fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    let values = tensor.try_into_vec_as::<f32>();
    values.map_err(|error| Error::execution("encoding", error))
}

fn write(path: &Path, parts: &[Part], identity: &str) -> Result<()> {
    let metadata = HashMap::from([("backbone".to_owned(), identity.to_owned())]);
    let views = parts.iter().map(Part::view).collect::<std::result::Result<Vec<_>, _>>();
    let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
    let failed = |error| Error::write(path, io::Error::other(error));
    cli::files::write(path, bytes.map_err(failed)?)
}
