//! Frames by an `ffmpeg` of the system: called without a shell, with a time-out, and ended when nobody reads on.

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use image::RgbImage;
use serde_json::Value;

use super::{Frame, Frames, Sampling, chosen};
use crate::error::{Error, Result};
use crate::input::decode::limits::MAX_SIDE;

/// How long a program may give nothing.
pub const FFMPEG_TIMEOUT: Duration = Duration::from_secs(60);

/// Uniform frames that are more seconds apart than this are sought one by one.
const FAR: f64 = 20.0;

/// Frames a second at which a video is looked through whose duration is not told.
const LOOK: f64 = 25.0;

/// What a program complains of where a file is cut off, although it calls that a success.
const CUT: [&str; 4] = ["ended prematurely", "partial file", "Invalid data", "runcated"];

/// Bytes of what a program complains of that are kept.
const COMPLAINT: u64 = 4096;

/// Uniform frames are taken by time: the first in the middle of the first share, the others a share apart.
pub(super) fn frames(path: &Path, sampling: Sampling) -> Result<Frames> {
    let duration = duration(path)?;
    let frames: Frames = match (sampling, duration) {
        (Sampling::Rate { fps, max }, _) => Box::new(read(path, Wanted::every(1.0 / fps, 0.0, max))?),
        (Sampling::Uniform { frames }, Some(duration)) => {
            let share = duration / frames as f64;
            let wanted = Wanted::every(share, share / 2.0, frames);
            if share > FAR { leaps(path, wanted) } else { Box::new(read(path, wanted)?) }
        }
        (Sampling::Uniform { .. }, None) => return looked_through(path, sampling),
    };
    let mut frames = frames.peekable();
    match (frames.peek(), sampling) {
        // A container may promise more time than it has pictures: the last one then fills up.
        (Some(_), Sampling::Uniform { frames: count }) => Ok(chosen(Box::new(frames), (0..count).collect())),
        (Some(_), Sampling::Rate { .. }) => Ok(Box::new(frames)),
        // Far more time than pictures: what there is must be looked for.
        (None, Sampling::Uniform { .. }) => looked_through(path, sampling),
        (None, Sampling::Rate { .. }) => Err(Error::image(path, "a video without frames")),
    }
}

/// Each frame by a program of its own, which begins to read near it: a film of hours is not decoded as a whole. Where
/// one gives nothing, another reads all that is left, and says why if that is damaged.
fn leaps(path: &Path, wanted: Wanted) -> Frames {
    let path = path.to_owned();
    let (mut at, mut rest) = (0, None::<Pictures>);
    Box::new(std::iter::from_fn(move || {
        if let Some(rest) = &mut rest {
            return rest.next();
        }
        if at == wanted.most {
            return None;
        }
        let leap = Wanted { seek: wanted.time(at), start: wanted.time(at), most: 1, ..wanted };
        let found = read(&path, leap).and_then(|mut pictures| pictures.next().transpose());
        if let Ok(None) = found {
            let seek = if at == 0 { 0.0 } else { wanted.time(at - 1) };
            let left = Wanted { seek, start: wanted.time(at), most: wanted.most - at, ..wanted };
            return match read(&path, left) {
                Ok(pictures) => rest.insert(pictures).next(),
                Err(error) => Some(Err(error)),
            };
        }
        at += 1;
        found.transpose()
    }))
}

/// Counts the frames first, where the duration is not told.
fn looked_through(path: &Path, sampling: Sampling) -> Result<Frames> {
    let wanted = Wanted::every(1.0 / LOOK, 0.0, 1 << 20);
    let mut count = 0;
    for frame in read(path, wanted)? {
        frame?;
        count += 1;
    }
    match count {
        0 => Err(Error::image(path, "a video without frames")),
        _ => Ok(chosen(Box::new(read(path, wanted)?), sampling.places(count))),
    }
}

/// Which pictures `ffmpeg` is asked for: those that are shown at `start` and every `step` seconds from then on.
#[derive(Clone, Copy)]
struct Wanted {
    /// Where it begins to read; what is shown there began before.
    seek: f64,
    start: f64,
    step: f64,
    most: usize,
}

impl Wanted {
    fn every(step: f64, start: f64, most: usize) -> Self {
        Self { seek: 0.0, start, step, most }
    }

    fn time(&self, at: usize) -> f64 {
        self.start + at as f64 * self.step
    }
}

/// The duration in seconds, if the file tells one that can be: not 0, negative or no number.
fn duration(path: &Path) -> Result<Option<f64>> {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v:0", "-show_entries"]);
    command
        .args(["format=duration:stream=duration,codec_type", "-of", "json", "-i"])
        .arg(file_argument(path));
    let mut output = Running::start(path, "ffprobe", command)?;
    let text = output.all()?;
    let found: Value = serde_json::from_slice(&text).unwrap_or_default();
    if found["streams"].as_array().is_none_or(Vec::is_empty) {
        return Err(Error::image(path, "a file without pictures that move"));
    }
    let seconds = |value: &Value| {
        let seconds = value.as_str().and_then(|text| text.parse::<f64>().ok());
        seconds.filter(|seconds| seconds.is_finite() && *seconds > 1e-3)
    };
    Ok(seconds(&found["streams"][0]["duration"]).or_else(|| seconds(&found["format"]["duration"])))
}

/// A path that is never taken for an option or an address.
fn file_argument(path: &Path) -> PathBuf {
    let mut argument = std::ffi::OsString::from("file:");
    argument.push(path);
    argument.into()
}

/// Starts `ffmpeg`, whose pictures come as PPM: each tells its own size, whatever a file says of turning.
///
/// The filter `fps` by itself rounds: it gives what is shown half a step *later*, and whether a last picture comes hangs
/// on a tie. Upwards, from a given time on, it gives what is shown then. With an exact seek a picture that began before
/// would be gone, however long it stays.
fn read(path: &Path, wanted: Wanted) -> Result<Pictures> {
    let Wanted { seek, start, step, most } = wanted;
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-xerror", "-threads", "1"]);
    if seek > 0.0 {
        command.args(["-noaccurate_seek", "-ss", &format!("{seek:.6}")]);
    }
    command.arg("-i").arg(file_argument(path));
    let filter = format!("settb=AVTB,fps=1/{:.9}:start_time={:.6}:round=up", step.min(1e6), start - seek);
    command.args(["-map", "0:v:0", "-vf", &filter, "-frames:v", &most.to_string()]);
    command.args(["-f", "image2pipe", "-c:v", "ppm", "pipe:1"]);
    Ok(Pictures { running: Running::start(path, "ffmpeg", command)?, wanted, given: 0, over: false })
}

/// Pictures that come from a running program.
struct Pictures {
    running: Running,
    wanted: Wanted,
    given: usize,
    over: bool,
}

impl Iterator for Pictures {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Result<Frame>> {
        if self.over {
            return None;
        }
        match self.running.next() {
            Ok(Some(image)) => {
                let time = self.wanted.time(self.given);
                self.given += 1;
                Some(Ok(Frame { time, image }))
            }
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) => {
                self.over = true;
                Some(Err(error))
            }
        }
    }
}

/// What a program gives: pictures, or all of its text.
enum Given {
    Picture(RgbImage),
    Bytes(Vec<u8>),
}

/// A program that is ended when this is dropped.
struct Running {
    path: PathBuf,
    program: &'static str,
    child: Child,
    given: Option<Receiver<io::Result<Given>>>,
    complaint: Option<JoinHandle<String>>,
}

impl Running {
    fn start(path: &Path, program: &'static str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let what = format!("{}", path.display());
                let expected = format!(
                    "GIF, WebP, APNG or a folder of pictures, or the program `{program}` on the path"
                );
                Error::unsupported(what, expected, "another kind of file and no such program")
            }
            _ => Error::read(program, error),
        })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // One picture waits while the next is read: no more is in memory.
        let (give, given) = sync_channel(0);
        thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut stdout = BufReader::new(stdout);
            if program == "ffprobe" {
                let mut bytes = Vec::new();
                let read = stdout.take(1 << 20).read_to_end(&mut bytes);
                let _ = give.send(read.map(|_| Given::Bytes(bytes)));
                return;
            }
            loop {
                match picture(&mut stdout) {
                    Ok(None) => return,
                    Ok(Some(image)) => {
                        if give.send(Ok(Given::Picture(image))).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = give.send(Err(error));
                        return;
                    }
                }
            }
        });
        let complaint = thread::spawn(move || {
            let mut text = Vec::new();
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(COMPLAINT).read_to_end(&mut text);
                let _ = io::copy(&mut stderr, &mut io::sink());
            }
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { path: path.to_owned(), program, child, given: Some(given), complaint: Some(complaint) })
    }

    /// The next picture; nothing at the end.
    fn next(&mut self) -> Result<Option<RgbImage>> {
        match self.receive()? {
            Some(Given::Picture(image)) => Ok(Some(image)),
            Some(Given::Bytes(_)) | None => Ok(None),
        }
    }

    /// All that it says.
    fn all(&mut self) -> Result<Vec<u8>> {
        let bytes = match self.receive()? {
            Some(Given::Bytes(bytes)) => bytes,
            Some(Given::Picture(_)) | None => Vec::new(),
        };
        self.finish()?;
        Ok(bytes)
    }

    fn receive(&mut self) -> Result<Option<Given>> {
        let Some(given) = &self.given else { return Ok(None) };
        match given.recv_timeout(FFMPEG_TIMEOUT) {
            Ok(Ok(given)) => Ok(Some(given)),
            Ok(Err(error)) => {
                self.finish()?; // what the program says of it is nearer to the cause
                Err(Error::image(&self.path, format!("pictures that cannot be read: {error}")))
            }
            Err(RecvTimeoutError::Timeout) => {
                let (program, seconds) = (self.program, FFMPEG_TIMEOUT.as_secs());
                self.end();
                Err(Error::image(
                    &self.path,
                    format!("a file of which `{program}` made nothing in {seconds} s"),
                ))
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.finish()?;
                Ok(None)
            }
        }
    }

    /// Waits for its end, which must be a good one.
    fn finish(&mut self) -> Result<()> {
        self.given = None;
        let status = self.child.wait().map_err(|error| Error::read(self.program, error))?;
        let complaint = self.complaint.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        if status.success() && !CUT.iter().any(|cut| complaint.contains(cut)) {
            return Ok(());
        }
        // Of several lines the last says what became of it; the file's name is said already.
        let line = complaint
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty() && !line.starts_with("Last message"));
        let line = line.map_or("it failed".to_owned(), |line| {
            let line = line.replace(&file_argument(&self.path).display().to_string(), "it");
            // `[matroska @ 0x55e1a5771980] ..`: which part of the program complains helps nobody.
            let said = line.strip_prefix('[').and_then(|rest| rest.split_once("] "));
            said.map_or(line.as_str(), |(_, said)| said).trim_start_matches("it: ").to_owned()
        });
        Err(Error::image(&self.path, format!("a file that `{}` cannot read: {line}", self.program)))
    }

    fn end(&mut self) {
        self.given = None; // so that the reading thread cannot wait for us
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The next picture of a stream of PPMs, 8 bits a channel; nothing at its end.
fn picture(from: &mut BufReader<ChildStdout>) -> io::Result<Option<RgbImage>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut numbers = [0; 3];
    let mut word = || -> io::Result<String> {
        let mut word = String::new();
        loop {
            let mut byte = [0];
            from.read_exact(&mut byte)?;
            match byte[0] {
                letter if letter.is_ascii_whitespace() && word.is_empty() => {}
                letter if letter.is_ascii_whitespace() => return Ok(word),
                letter if word.len() < 10 => word.push(char::from(letter)),
                _ => return Err(wrong("no header of a PPM")),
            }
        }
    };
    if word()? != "P6" {
        return Err(wrong("no PPM"));
    }
    for number in &mut numbers {
        *number = word()?.parse::<u32>().map_err(|_| wrong("no header of a PPM"))?;
    }
    let [width, height, most] = numbers;
    let side = 1..=MAX_SIDE;
    if !side.contains(&width) || !side.contains(&height) || most != 255 {
        return Err(wrong("a PPM of another size or depth"));
    }
    let mut bytes = vec![0; 3 * width as usize * height as usize];
    from.read_exact(&mut bytes)?;
    Ok(RgbImage::from_raw(width, height, bytes))
}
