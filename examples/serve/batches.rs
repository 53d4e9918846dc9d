//! One thread takes the uploads that wait together, and names them as one batch: that keeps every core busy, and asks
//! more of a GPU than one image does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{io::Cursor, mem, sync::Arc, thread};

use axum::http::StatusCode;
use clip_adapter::{
    Error, Result, evaluate::Ranked, image::ImageReader, input::ImageBytes, tasks::Predictor,
};
use tokio::sync::{mpsc, oneshot};

use crate::fault::{Answer, Fault};

/// Pixels of an upload: more than most photos have, and a fraction of what a small file can claim.
const MAX_PIXELS: u64 = 1 << 26;

/// An image that waits, and where its likeliest classes go.
pub struct Upload {
    pub bytes: Vec<u8>,
    pub top: usize,
    pub answer: oneshot::Sender<Answer<Vec<Ranked>>>,
}

impl Upload {
    fn tell(self, labels: Answer<Vec<Ranked>>) {
        let labels = labels.map(|labels| labels.into_iter().take(self.top).collect());
        let _ = self.answer.send(labels); // unless the client has gone
    }
}

/// Refuses what claims to be too large before anything is decoded. A header that cannot be read is left to the library,
/// which says what is wrong with it.
pub fn check_size(bytes: &[u8]) -> Result<()> {
    let size = || ImageReader::new(Cursor::new(bytes)).with_guessed_format().ok()?.into_dimensions().ok();
    match catch_unwind(size).ok().flatten() {
        Some((width, height)) if u64::from(width) * u64::from(height) > MAX_PIXELS => {
            let reason = format!("{width} x {height} pixels: at most {MAX_PIXELS} are read");
            Err(Error::image("upload", reason))
        }
        _ => Ok(()),
    }
}

/// Starts the thread, which ends with the queue's last sender.
pub fn start(predictor: Arc<Predictor>, queue: usize, at_once: usize) -> mpsc::Sender<Upload> {
    let (sender, mut queue) = mpsc::channel::<Upload>(queue);
    thread::spawn(move || {
        let mut uploads = Vec::new();
        while queue.blocking_recv_many(&mut uploads, at_once) > 0 {
            uploads.retain(|upload| !upload.answer.is_closed());
            answer(&predictor, mem::take(&mut uploads));
        }
    });
    sender
}

fn answer(predictor: &Predictor, uploads: Vec<Upload>) {
    let Some(top) = uploads.iter().map(|upload| upload.top).max() else { return };
    let images: Vec<_> =
        uploads.iter().map(|upload| ImageBytes { name: "upload", bytes: &upload.bytes }).collect();
    match shielded(|| predictor.predict_each(&images, top)) {
        Ok(labels) => {
            uploads
                .into_iter()
                .zip(labels)
                .for_each(|(upload, labels)| upload.tell(labels.map_err(Fault::from)));
        }
        // It may be the fault of one of them, which must not be that of the others.
        Err(_) if uploads.len() > 1 => uploads.into_iter().for_each(|upload| answer(predictor, vec![upload])),
        Err(error) => {
            let fault = Fault::new(StatusCode::INTERNAL_SERVER_ERROR, error);
            uploads.into_iter().for_each(|upload| upload.tell(Err(fault.clone())));
        }
    }
}

/// A panic ends what it happened in, and not the service. Its message is in the log, and no client's concern.
fn shielded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let failed = |_| Err(Error::execution("naming images", "an unexpected failure"));
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(failed)
}
