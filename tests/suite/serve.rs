//! The example `serve` as its clients see it.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::Barrier,
    thread,
    time::Duration,
};

use clip_adapter::{SsText, prelude::*};
use image::ImageFormat;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    commands::{example, failure_in, text},
    images::{chunk, encoded, gradient},
};

const MIB: usize = 1 << 20;

fn pocket(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part)
}

/// A service of the icons' classes, which stops with the test, and the same adapter in this process.
struct Service {
    child: Child,
    address: String,
    predictor: Predictor,
    icons: Vec<PathBuf>,
    _folder: TempDir,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    json: Value,
}

impl Service {
    fn start(options: &[&str]) -> Self {
        let (device, photos) = (Device::flex(), ImageFolder::open(pocket("images/icon-line")).unwrap());
        let clip = ClipBackbone::from_pretrained(pocket("model"), &device).unwrap();
        let classes = clip.text_classifier(photos.class_names(), &Prompts::default()).unwrap();
        let shots = clip.extract().run(&photos).unwrap().labelled().unwrap().shots(4, 1).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let adapter = folder.path().join("icons.adapter");
        let model = SsText::default().fit(&shots, &classes, &device).unwrap();
        model.save(&adapter).unwrap();
        let predictor = Predictor::new(clip, Box::new(model)).unwrap();

        let mut command = example("serve");
        command.args(["--backbone", &text(pocket("model")), "--adapter", &text(&adapter)]);
        command.args(["--device", "flex", "--listen", "127.0.0.1:0", "--max-upload", "1"]).args(options);
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("example serve, which is built alone: {error}"));
        let stdout = child.stdout.take().unwrap();
        let icons = photos.files().to_vec();
        let mut service = Self { child, address: String::new(), predictor, icons, _folder: folder };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        service.address = address.unwrap_or_else(|| panic!("no address: `{line}`")).to_owned();
        service
    }

    /// Sends the head of a request, with a line of its own, after which the body may come.
    fn begin(&self, method: &str, target: &str, length: usize, line: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let host = &self.address;
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n");
        stream.write_all(format!("{head}Connection: close\r\n{line}\r\n").as_bytes()).unwrap();
        stream
    }

    fn send(&self, method: &str, target: &str, body: &[u8]) -> Answer {
        let mut stream = self.begin(method, target, body.len(), "");
        stream.write_all(body).unwrap();
        end(stream)
    }

    /// Sends images, all at the same time.
    fn send_all(&self, bodies: &[&[u8]]) -> Vec<Answer> {
        let start = &Barrier::new(bodies.len());
        thread::scope(|scope| {
            let client = |&body| {
                scope.spawn(move || {
                    start.wait();
                    self.send("POST", "/classify", body)
                })
            };
            let clients: Vec<_> = bodies.iter().map(client).collect();
            clients.into_iter().map(|client| client.join().unwrap()).collect()
        })
    }

    /// The most memory that it ever held, in bytes. Linux alone says so.
    fn peak(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?.trim();
        Some(kilobytes.strip_suffix(" kB")?.parse::<usize>().ok()? << 10)
    }

    fn check_health(&self) {
        assert_eq!(self.send("GET", "/health", b"").status, 200);
    }
}

fn end(mut stream: TcpStream) -> Answer {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, json) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: `{answer}`"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no status: `{head}`")),
        head: head.to_ascii_lowercase(),
        json: serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: `{json}`")),
    }
}

/// The one sentence of an error, and nothing else.
fn sentence(answer: &Answer) -> &str {
    let fields = answer.json.as_object().unwrap();
    let sentence = fields["error"].as_str().unwrap();
    assert!(fields.len() == 1 && !sentence.is_empty(), "{}", answer.json);
    assert!(!sentence.contains("panicked") && !sentence.contains('\n'), "{sentence}");
    sentence
}

/// Bytes in which nothing is to be found.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// One in twenty is broken, and spoils no other: whoever sent an image gets what this process says of it.
#[test]
fn two_hundred_at_once_are_all_answered() {
    let service = Service::start(&[]);
    let mut uploads = Vec::new();
    for index in 0..200 {
        let icon = fs::read(&service.icons[index * 3 % service.icons.len()]).unwrap();
        let (status, body) = match (index % 20, index / 20 % 5) {
            (7, 0) => (422, icon[..icon.len() / 2].to_vec()),
            (7, 1) => (400, Vec::new()),
            (7, 2) => (422, b"just text".to_vec()),
            (7, 3) => (422, noise(5000)),
            (7, _) => (413, noise(2 * MIB as u32)),
            _ => (200, icon),
        };
        uploads.push((status, body));
    }
    assert_eq!(uploads.iter().filter(|(status, _)| *status != 200).count(), 10);
    let bodies: Vec<&[u8]> = uploads.iter().map(|(_, body)| body.as_slice()).collect();
    for ((status, body), answer) in uploads.iter().zip(service.send_all(&bodies)) {
        assert_eq!(answer.status, *status, "{}", answer.json);
        if *status != 200 {
            sentence(&answer);
            continue;
        }
        let expected = service.predictor.predict(&ImageBytes { name: "icon", bytes: body }, 3).unwrap();
        let labels = answer.json["labels"].as_array().unwrap();
        assert_eq!((labels.len(), labels[0]["class"].as_str()), (3, Some(expected[0].name.as_str())));
        for (label, expected) in labels.iter().zip(&expected) {
            let found = label["probability"].as_f64().unwrap();
            approx::assert_abs_diff_eq!(found, f64::from(expected.probability), epsilon = 1e-4);
        }
    }
    service.check_health();
}

/// The second time they come, and with them 640 MiB of uploads of which each is too long. A service that held these
/// before it refused them would grow by all of that; 200 icons have less than 1 MiB, and a batch of 32 of them takes
/// as much as it did the first time. What is left for growth is for the allocator, and the buffers of connections.
#[test]
fn memory_is_bounded_by_what_is_accepted() {
    let service = Service::start(&[]);
    let icons: Vec<Vec<u8>> = service.icons.iter().take(200).map(|icon| fs::read(icon).unwrap()).collect();
    let mut bodies: Vec<&[u8]> = icons.iter().map(Vec::as_slice).collect();
    assert!(service.send_all(&bodies).iter().all(|answer| answer.status == 200));
    let before = service.peak();

    let long = vec![0; 40 * MIB];
    bodies.extend([long.as_slice(); 16]);
    for (answer, body) in service.send_all(&bodies).iter().zip(&bodies) {
        assert_eq!(answer.status, if body.len() > MIB { 413 } else { 200 }, "{}", answer.json);
    }
    service.check_health();
    if let (Some(before), Some(after)) = (before, service.peak()) {
        assert!(after - before < 256 * MIB, "{} MiB, and then {}", before / MIB, after / MIB);
    }
}

/// With one place, which a client holds that has not sent all of its image.
#[test]
fn a_full_queue_says_so_and_goes_on() {
    let service = Service::start(&["--queue", "1"]);
    let icon = fs::read(&service.icons[0]).unwrap();
    let mut slow = service.begin("POST", "/classify", icon.len(), "Expect: 100-continue\r\n");
    let mut go_on = [0; 25];
    slow.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n"); // it has its place
    let refused = service.send("POST", "/classify", &icon);
    assert_eq!(refused.status, 503, "{}", refused.json);
    assert!(sentence(&refused).contains("a free place"), "{}", refused.json);
    assert!(refused.head.contains("\r\nretry-after: 1"), "{}", refused.head);
    service.check_health();
    slow.write_all(&icon).unwrap();
    assert_eq!(end(slow).status, 200);
    assert_eq!(service.send("POST", "/classify", &icon).status, 200);
}

#[test]
fn as_many_classes_are_named_as_are_asked_for() {
    let service = Service::start(&["--top", "2"]);
    let icon = fs::read(&service.icons[0]).unwrap();
    let classes = service.predictor.class_names();
    assert_eq!(service.send("GET", "/classes", b"").json, serde_json::json!({ "classes": classes }));
    for (target, count) in [
        ("/classify", 2),
        ("/classify?top=1", 1),
        ("/classify?other=0&top=4", 4),
        ("/classify?top=10000", classes.len()),
    ] {
        let answer = service.send("POST", target, &icon);
        let labels = answer.json["labels"].as_array().unwrap_or_else(|| panic!("{target}: {}", answer.json));
        assert_eq!(labels.len(), count, "{target}");
        let probability = |label: &Value| label["probability"].as_f64().unwrap();
        assert!(labels.is_sorted_by(|a, b| probability(a) >= probability(b)), "{}", answer.json);
    }
}

#[test]
fn every_fault_is_one_sentence_with_its_status() {
    let service = Service::start(&[]);
    let icon = fs::read(&service.icons[0]).unwrap();
    let (half, long) = (&icon[..icon.len() / 2], vec![0; MIB + 1]);
    // A header of 15,000 pixels a side: 675 MB, from a file of a few hundred bytes.
    let mut huge = encoded(&gradient(40, 30), ImageFormat::Png);
    let size = [&15_000u32.to_be_bytes()[..], &15_000u32.to_be_bytes(), &huge[24..29]].concat();
    huge.splice(8..33, chunk(b"IHDR", &size));
    let faults: &[(&str, &str, &[u8], u16, &str)] = &[
        ("GET", "/", b"", 404, "expected /classify, /classes or /health, found GET /"),
        ("POST", "/classify/all", &icon, 404, "found POST /classify/all"),
        ("GET", "/classify", b"", 405, "expected POST, found GET /classify"),
        ("POST", "/classes", &icon, 405, "expected GET, found POST /classes"),
        ("POST", "/classify", b"", 400, "body: expected an image, found nothing"),
        ("POST", "/classify", &long, 413, "body: expected at most 1 MiB, found 1048577 bytes"),
        ("POST", "/classify", b"just text", 422, "upload: expected an image"),
        ("POST", "/classify", half, 422, "upload: expected an image"),
        ("POST", "/classify", &huge, 422, "15000 x 15000 pixels"),
        ("POST", "/classify?top=0", &icon, 400, "setting `top`: expected a number, 1 or more, found 0"),
        ("POST", "/classify?top=-1", &icon, 400, "found -1"),
        ("POST", "/classify?top=many", &icon, 400, "found many"),
        ("POST", "/classify?top", &icon, 400, "setting `top`"),
    ];
    for &(method, target, body, status, expected) in faults {
        let answer = service.send(method, target, body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.json);
        assert!(sentence(&answer).contains(expected), "{method} {target}: {}", answer.json);
    }
    service.check_health();
}

#[test]
fn mistakes_end_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(pocket("model"));
    let serve = ["--backbone", &model, "--adapter", "absent"];
    for (arguments, sentence) in [
        (serve[..2].to_vec(), "--adapter"),
        (serve[2..].to_vec(), "--backbone"),
        (serve.to_vec(), "cannot read absent"),
        ([&serve[..], &["--top", "0"]].concat(), "invalid value '0'"),
        ([&serve[..], &["--device", "abacus"]].concat(), "unknown device `abacus`"),
    ] {
        let message = failure_in(folder.path(), "serve", &arguments);
        assert!(message.contains(sentence), "{arguments:?}: {message}");
    }
}
