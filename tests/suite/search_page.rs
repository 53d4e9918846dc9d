//! The example `search` over HTTP: what it finds, what it learns, what it shows, and to whom.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use clip_adapter::{ClipBackbone, burn::tensor::Device, features::PairFile, tasks::search::Indexer};
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    commands::{example, failure_in, text},
    images::{chunk, encoded, gradient},
};

fn pocket(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/pocket").join(part)
}

/// The page's service, which stops with the test, over some icons.
struct Service {
    child: Child,
    address: String,
    folder: TempDir,
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
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: `{}`", String::from_utf8_lossy(&self.body)))
    }

    fn paths(&self) -> Vec<String> {
        let json = self.json();
        let results = json["results"].as_array().unwrap_or_else(|| panic!("{json}"));
        results.iter().map(|result| result["path"].as_str().unwrap().to_owned()).collect()
    }
}

impl Service {
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for class in ["food", "vehicles", "weather"] {
            let to = folder.path().join("photos").join(class);
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(pocket("images/icon-line").join(class)).unwrap() {
                let path = entry.unwrap().path();
                fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
            }
        }
        gradient(600, 300)
            .save_with_format(folder.path().join("photos/large.jpg"), ImageFormat::Jpeg)
            .unwrap();
        fs::write(folder.path().join("secret.png"), encoded(&gradient(9, 9), ImageFormat::Png)).unwrap();
        let mut command = example("search");
        command.current_dir(folder.path()).args(["--backbone", &text(pocket("model")), "--images", "photos"]);
        command.args(["--device", "flex", "--listen", "127.0.0.1:0", "--max-upload", "1"]).args(options);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("example search, which is built alone: {error}"));
        let stdout = child.stdout.take().unwrap();
        let mut service = Self { child, address: String::new(), folder };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix("listening on http://");
        service.address = address.unwrap_or_else(|| panic!("no address: `{line}`")).to_owned();
        service
    }

    fn photos(&self) -> PathBuf {
        self.folder.path().join("photos")
    }

    /// Sends a request with this `Host` and a line of its own.
    fn ask(&self, method: &str, target: &str, host: &str, line: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let head =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
        stream.write_all(format!("{head}Connection: close\r\n{line}\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: answer[end + 4..].to_vec() }
    }

    fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, &self.address, "", b"")
    }

    fn post(&self, target: &str, body: &[u8]) -> Answer {
        self.ask("POST", target, &self.address, "", body)
    }

    fn search(&self, query: Value) -> Answer {
        let answer = self.post("/search", query.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        answer
    }
}

/// By words, by a picture, by a picture of the index, by both, and by nothing: what this process finds.
#[test]
fn it_finds_what_the_library_finds() {
    let service = Service::start(&["--top", "7"]);
    let clip = ClipBackbone::from_pretrained(pocket("model"), &Device::flex()).unwrap();
    let index = service.folder.path().join("index");
    let (index, _) = Indexer::new(&clip).run(service.photos(), &index).unwrap();
    let about = service.get("/about").json();
    assert_eq!(about, json!({ "folder": "photos", "pictures": index.items().len(), "lessons": false }));

    let paths = |found: Vec<clip_adapter::tasks::search::Found>| -> Vec<String> {
        found.into_iter().map(|found| found.path).collect()
    };
    let by_text = service.search(json!({ "text": " a car " }));
    assert_eq!(by_text.paths(), paths(index.search_text(&clip, "a car", 7).unwrap()));
    let score = by_text.json()["results"][0]["score"].as_f64().unwrap();
    let expected = index.search_text(&clip, "a car", 1).unwrap()[0].score;
    approx::assert_abs_diff_eq!(score, f64::from(expected), epsilon = 1e-4);

    let icon = pocket("images/icon-line/vehicles/car.png");
    let look = service.post("/look", &fs::read(&icon).unwrap()).json();
    let by_picture = service.search(json!({ "embedding": look["embedding"] }));
    assert_eq!(by_picture.paths(), paths(index.search_image(&clip, &icon, 7).unwrap()));
    let both = service.search(json!({ "embedding": look["embedding"], "text": "rain", "top": 5 }));
    assert_eq!(both.paths(), paths(index.search_composed(&clip, &icon, "rain", 1.0, 5).unwrap()));

    let row = index.row_of("vehicles/car.png").unwrap();
    let like_it = service.search(json!({ "row": row }));
    assert_eq!(like_it.paths()[0], "vehicles/car.png");
    let all: Vec<&str> = index.items().iter().take(7).map(|item| item.path.as_str()).collect();
    let nothing = service.search(json!({}));
    assert_eq!(
        (nothing.paths(), &nothing.json()["results"][0]["score"]),
        (all.iter().map(|path| (*path).to_owned()).collect(), &Value::Null)
    );
}

/// A thumb moves what is alike, and pairs of lessons outlive the service.
#[test]
fn it_learns_from_thumbs() {
    let lessons = ["--lessons", "lessons.safetensors"];
    let service = Service::start(&lessons);
    let all = service.search(json!({ "top": 1000 })).json();
    let results = all["results"].as_array().unwrap();
    let of = |class: &str, answer: &Answer| -> f64 {
        let paths = answer.paths();
        let places = paths.iter().enumerate().filter(|(_, path)| path.starts_with(class));
        let (mut hits, mut sum) = (0.0, 0.0);
        for (at, _) in places {
            hits += 1.0;
            sum += hits / (at + 1) as f64;
        }
        sum / hits
    };
    let first = |class: &str| -> Vec<u64> {
        let of = results.iter().filter(|result| result["path"].as_str().unwrap().starts_with(class));
        of.map(|result| result["row"].as_u64().unwrap()).take(3).collect()
    };
    let (weather, vehicles) = (first("weather"), first("vehicles"));
    let plain = service.search(json!({ "text": "a thing", "top": 1000 }));
    let taught =
        service.search(json!({ "text": "a thing", "top": 1000, "like": weather, "dislike": vehicles }));
    assert_eq!((&plain.json()["taught"], &taught.json()["taught"]), (&false.into(), &true.into()));
    assert!(
        of("weather", &taught) > of("weather", &plain) + 0.05,
        "{} {}",
        of("weather", &taught),
        of("weather", &plain)
    );
    let alone = service.search(json!({ "like": weather, "dislike": vehicles, "top": 3 }));
    assert!(alone.paths().iter().all(|path| path.starts_with("weather")), "{:?}", alone.paths());

    let kept =
        service.post("/lessons", json!({ "text": "my weather", "like": weather }).to_string().as_bytes());
    assert_eq!(kept.json(), json!({ "lessons": 3 }));
    let file = service.folder.path().join(lessons[1]);
    let pairs = PairFile::read(&file).unwrap();
    assert_eq!(
        (pairs.pairs().len(), pairs.pairs().captions().unwrap()),
        (3, &["my weather"; 3].map(String::from)[..])
    );
    let wrong = service.post("/lessons", json!({ "like": weather }).to_string().as_bytes());
    assert_eq!(wrong.status, 422, "{}", wrong.json());
    let without = Service::start(&[]);
    let absent =
        without.post("/lessons", json!({ "text": "my weather", "like": weather }).to_string().as_bytes());
    assert_eq!(absent.status, 404, "{}", absent.json());
}

#[test]
fn pictures_are_those_of_the_index_and_no_others() {
    let service = Service::start(&["--index", "photos.index"]);
    let all = service.search(json!({ "top": 1000 })).json();
    let results = all["results"].as_array().unwrap();
    let large = results.iter().find(|result| result["path"] == "large.jpg").unwrap()["row"].as_u64().unwrap();
    for (kind, width, height) in [("thumbnail", 256, 128), ("picture", 600, 300)] {
        let answer = service.get(&format!("/{kind}/{large}?v=1"));
        assert!(answer.head.contains("content-type: image/jpeg"), "{}", answer.head);
        let image = image::load_from_memory(&answer.body).unwrap();
        assert_eq!((image.width(), image.height()), (width, height), "{kind}");
    }
    let small = service.get("/thumbnail/0");
    assert!(small.head.contains("content-type: image/png"), "{}", small.head);
    for target in [
        "/thumbnail/../secret.png",
        "/thumbnail/..%2f..%2fsecret.png",
        "/picture/secret.png",
        "/picture/-1",
        "/picture/99999",
        "/picture/0/0",
        "/photos/large.jpg",
        "/../secret.png",
        "//etc/passwd",
        "/nothing",
    ] {
        let answer = service.get(target);
        assert_eq!(answer.status, 404, "{target}");
        assert!(answer.json()["error"].is_string(), "{target}");
    }
    fs::remove_file(service.photos().join("large.jpg")).unwrap();
    assert_eq!(service.get(&format!("/picture/{large}")).status, 404);
    let again = RgbImage::new(1, 1);
    again.save_with_format(service.photos().join("large.jpg"), ImageFormat::Png).unwrap();
    assert_eq!(service.get(&format!("/picture/{large}")).status, 200);
}

/// DNS rebinding gives another page's name an address of this computer; a form or script of another page names its own
/// origin.
#[test]
fn only_its_own_page_is_answered() {
    let service = Service::start(&[]);
    let port = service.address.rsplit_once(':').unwrap().1.to_owned();
    let own = format!("Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n", service.address);
    for (host, line, status) in [
        (service.address.clone(), own.as_str(), 200),
        (format!("localhost:{port}"), "", 200),
        (format!("LOCALHOST:{port}"), "", 200),
        (format!("[::1]:{port}"), "Sec-Fetch-Site: none\r\n", 200),
        (format!("evil.example:{port}"), "", 403),
        ("evil.example".into(), "", 403),
        (format!("localhost.evil.example:{port}"), "", 403),
        (format!("192.168.1.2:{port}"), "", 403),
        (String::new(), "", 403),
        (service.address.clone(), "Origin: http://evil.example\r\n", 403),
        (service.address.clone(), "Origin: null\r\n", 403),
        (service.address.clone(), "Sec-Fetch-Site: cross-site\r\n", 403),
        (service.address.clone(), "Sec-Fetch-Site: same-site\r\n", 403),
    ] {
        for (method, target, body) in
            [("GET", "/about", ""), ("POST", "/search", "{}"), ("GET", "/thumbnail/0", "")]
        {
            let answer = service.ask(method, target, &host, line, body.as_bytes());
            assert_eq!(answer.status, status, "{host} {line} {target}");
        }
    }
}

#[test]
fn the_page_has_all_it_needs_and_may_do_nothing_else() {
    let service = Service::start(&[]);
    for (target, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let answer = service.get(target);
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains(&format!("content-type: {kind}")), "{}", answer.head);
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self';",
            "x-content-type-options: nosniff",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(answer.head.contains(header), "{target}: {header}: {}", answer.head);
        }
        let outside = body.replace("http://www.w3.org/2000/svg", "");
        assert!(!outside.contains("http://") && !outside.contains("https://"), "{target}");
        assert!(
            !body.contains("style=\"") && !body.contains("onclick"),
            "{target}: the policy allows no such"
        );
    }
    assert!(service.get("/nothing").head.contains("content-security-policy"));
}

#[test]
fn every_fault_is_one_sentence_with_its_status() {
    let service = Service::start(&[]);
    let icon = fs::read(pocket("images/icon-line/vehicles/car.png")).unwrap();
    let mut huge = encoded(&gradient(40, 30), ImageFormat::Png);
    let size = [&15_000u32.to_be_bytes()[..], &15_000u32.to_be_bytes(), &huge[24..29]].concat();
    huge.splice(8..33, chunk(b"IHDR", &size));
    let (long, letters) = (vec![0; (1 << 20) + 1], format!("{{\"text\": \"{}\"}}", "a".repeat(2001)));
    let faults: &[(&str, &[u8], u16, &str)] = &[
        ("/search", b"", 400, "body: expected some bytes, found nothing"),
        ("/search", b"words", 400, "question: expected JSON of a search"),
        ("/search", b"{\"texts\": \"a\"}", 400, "unknown field `texts`"),
        ("/search", b"{\"top\": 0}", 400, "setting `top`: expected 1..=1000, found 0"),
        ("/search", b"{\"top\": 1001}", 400, "setting `top`"),
        ("/search", b"{\"like\": [99999]}", 400, "setting `like`: expected pictures below"),
        ("/search", b"{\"like\": [-1]}", 400, "question"),
        ("/search", b"{\"row\": 99999}", 400, "setting `row`"),
        ("/search", b"{\"like\": [1], \"dislike\": [1]}", 422, "one thumb, up or down"),
        ("/search", b"{\"embedding\": [1, 2]}", 422, "expected whole rows"),
        ("/search", b"{\"embedding\": []}", 422, "embedding: expected one row, found 0"),
        ("/search", b"{\"embedding\": [1e999]}", 400, "question"),
        ("/search", letters.as_bytes(), 400, "setting `text`: expected at most 2000 letters, found 2001"),
        ("/search", &long, 413, "body: expected at most 262144 bytes"),
        ("/look", b"", 400, "body: expected some bytes, found nothing"),
        ("/look", b"words", 422, "picture: expected an image"),
        ("/look", &icon[..icon.len() / 2], 422, "picture: expected an image"),
        ("/look", &huge, 422, "15000 x 15000 pixels"),
        ("/look", &long, 413, "body: expected at most 1048576 bytes, found 1048577 bytes"),
        ("/nothing", b"{}", 404, "page"),
    ];
    for &(target, body, status, expected) in faults {
        let answer = service.post(target, body);
        let json = answer.json();
        assert_eq!(answer.status, status, "{target}: {json}");
        let sentence = json["error"].as_str().unwrap();
        assert!(sentence.contains(expected) && !sentence.contains('\n'), "{target}: {sentence}");
    }
    let other = service.get("/search");
    assert_eq!((other.status, other.json()["error"].is_string()), (405, true));
    assert_eq!(service.get("/about").status, 200);
}

#[test]
fn mistakes_end_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let model = text(pocket("model"));
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("words"), b"no pairs").unwrap();
    let photos = text(pocket("images/icon-line/food"));
    for (arguments, sentence) in [
        (vec!["--backbone", &model], "--images"),
        (vec!["--backbone", "absent", "--images", "empty"], "absent"),
        (vec!["--images", "absent"], "absent"),
        (vec!["--images", "empty"], "an image"),
        (vec!["--images", &photos, "--index", "no/where"], "cannot write no/where"),
        (vec!["--images", &photos, "--lessons", "words"], "words"),
        (vec!["--images", &photos, "--listen", "nowhere"], "setting `listen`: expected a free address"),
        (vec!["--images", &photos, "--device", "abacus"], "unknown device `abacus`"),
        (vec!["--images", &photos, "--top", "0"], "invalid value '0'"),
    ] {
        let message = failure_in(folder.path(), "search", &arguments);
        assert!(message.contains(sentence), "{arguments:?}: {message}");
    }
}
