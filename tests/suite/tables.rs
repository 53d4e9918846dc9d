//! Every table of settings in the documentation, held against the `Default` of its type: each field has a row, each
//! row a field, and the same default stands in both.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use clip_adapter::{
    AdapterConfig, ProLip, ResidualFusionConfig,
    adapter::TemporalAdapterConfig,
    explain::{Occlusion, Splice},
    input::{Augment, Preprocess},
    pretrain::Contrastive,
    tasks::generation::{MlpPrior, Preference, Prior},
    tasks::questions::{AnswerClassifier, Prompts, StatementAdapter, Statements},
    tasks::recommendation::{Bpr, Ease, Tower},
    tasks::retrieval::{ClipAdapterPair, DualSoftmax, LinearPair, Nnn, QbNorm},
    tasks::taste::Taste,
    tasks::unlabelled::{DomainAdapter, Tda, TransClip},
    tasks::video::{Dct, TemporalTransformer},
    train::Registry,
};
use serde_json::{Value, json};

/// Builders, whose defaults are no value that could be read here: they depend on the machine.
const BUILDERS: [&str; 3] = ["Extraction", "Hub", "Indexer"];

/// Settings that only a build with a feature has.
const OPTIONAL: [&str; 1] = ["Ann"];

/// A table above a type.
struct Table {
    file: PathBuf,
    type_name: String,
    /// The names in a row, and the default that they share.
    rows: Vec<(Vec<String>, String)>,
}

impl Table {
    /// What is wrong with it, a line each.
    fn complaints(&self, defaults: &Value) -> Vec<String> {
        let fields = defaults.as_object().expect("an object");
        let rows: BTreeMap<&str, &str> = (self.rows.iter())
            .flat_map(|(names, default)| names.iter().map(|name| (name.as_str(), default.as_str())))
            .collect();
        let wrong = fields.iter().filter_map(|(name, value)| match rows.get(name.as_str()) {
            None => Some(format!("`{name}` has no row")),
            Some(default) if says(default, value) => None,
            Some(default) => Some(format!("`{name}` is {value} and not {default}")),
        });
        let unknown = rows.keys().filter(|name| !fields.contains_key(**name));
        let all = wrong.chain(unknown.map(|name| format!("`{name}` is no field")));
        all.map(|what| format!("{}: {}: {what}", self.file.display(), self.type_name)).collect()
    }

    /// The module's name: the file's, or its folder's.
    fn module(&self) -> &str {
        let own = if self.file.ends_with("mod.rs") { self.file.parent() } else { Some(self.file.as_path()) };
        own.and_then(Path::file_stem).and_then(|stem| stem.to_str()).unwrap()
    }
}

/// Whether a cell of a table says this value.
fn says(cell: &str, value: &Value) -> bool {
    match value {
        Value::Null => ["null", "by shots"].contains(&cell),
        Value::Bool(value) => cell == value.to_string(),
        Value::String(value) => cell.to_lowercase() == value.to_lowercase(),
        Value::Number(_) => number(cell) == value.as_f64(),
        Value::Array(_) => list(cell) == list(&value.to_string()),
        Value::Object(fields) => {
            let lists = fields.values().map(|value| list(&value.to_string()).unwrap_or_default());
            groups(cell) == fields.keys().map(String::as_str).zip(lists).collect::<BTreeMap<_, _>>()
        }
    }
}

/// A number, or a fraction of two.
fn number(word: &str) -> Option<f64> {
    match word.split_once('/') {
        Some((above, below)) => Some(above.parse::<f64>().ok()? / below.parse::<f64>().ok()?),
        None => word.parse().ok(),
    }
}

/// The words of a text, without what stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '[', ']', '{', '}', '`']).filter(|word| !["", "and"].contains(word))
}

/// Numbers and nulls, in their order; or nothing if there are other words.
fn list(text: &str) -> Option<Vec<Option<f64>>> {
    words(text).map(|word| if word == "null" { Some(None) } else { number(word).map(Some) }).collect()
}

/// Names, each with the numbers and nulls after it.
fn groups(text: &str) -> BTreeMap<&str, Vec<Option<f64>>> {
    let mut groups = BTreeMap::<&str, Vec<_>>::new();
    let mut group = "";
    for word in words(text) {
        match list(word) {
            Some(values) => groups.entry(group).or_default().extend(values),
            None => {
                group = word;
                groups.entry(group).or_default();
            }
        }
    }
    groups
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { sources(&path) } else { vec![path] };
    entries
        .flat_map(below)
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The tables of a file: a heading of names and defaults, its rows, and the type that the comment belongs to.
fn tables(file: &Path, source: &str) -> Vec<Table> {
    let mut tables = Vec::new();
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if !line.starts_with("/// | Name | Default |") {
            continue;
        }
        let table = lines.by_ref().skip(1).take_while(|line| line.starts_with("/// |"));
        let rows = table.map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            (words(cells[1]).map(str::to_owned).collect(), cells[2].to_owned())
        });
        let rows = rows.collect();
        let of =
            lines.by_ref().find_map(|line| line.strip_prefix("pub struct ")).expect("a type below a table");
        let type_name = of.split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned();
        tables.push(Table { file: file.to_owned(), type_name, rows });
    }
    tables
}

/// The defaults of a preprocessing, which is read from other formats and so is no JSON of its own.
fn preprocess() -> Value {
    let Preprocess { resize, resize_mode, crop, resampling, rounding, orient, rescale, mean, std } =
        Preprocess::default();
    assert_eq!(rescale, 1.0 / 255.0);
    approx::assert_abs_diff_eq!(mean[..], [0.4815, 0.4578, 0.4082][..], epsilon = 1e-4);
    approx::assert_abs_diff_eq!(std[..], [0.2686, 0.2613, 0.2758][..], epsilon = 1e-4);
    json!({
        "resize": resize,
        "resize_mode": format!("{resize_mode:?}"),
        "crop": crop,
        "resampling": format!("{resampling:?}"),
        "rounding": format!("{rounding:?}"),
        "orient": orient,
        "rescale": 1.0 / 255.0,
        "mean": "CLIP's",
        "std": "CLIP's",
    })
}

/// The defaults that are no method's, by the name of their type.
fn others() -> BTreeMap<&'static str, Value> {
    let mut adapter = json!(AdapterConfig::new(64));
    adapter["dim"] = "".into(); // has no default
    let mut temporal = json!(TemporalAdapterConfig::new(64, 8));
    (temporal["dim"], temporal["frames"]) = ("".into(), "".into());
    let mut statements = json!(Statements::default());
    statements["negations"] = "not, no, never, without".into();
    BTreeMap::from([
        #[cfg(feature = "ann")]
        ("Ann", json!(clip_adapter::tasks::search::Ann::default())),
        ("AdapterConfig", adapter),
        ("AnswerClassifier", json!(AnswerClassifier::default())),
        ("Dct", json!(Dct::default())),
        ("Prompts", json!(Prompts::default())),
        ("StatementAdapter", json!(StatementAdapter::default())),
        ("Statements", statements),
        ("TemporalAdapterConfig", temporal),
        ("TemporalTransformer", json!(TemporalTransformer::default())),
        ("Augment", json!(Augment::default())),
        ("ClipAdapterPair", json!(ClipAdapterPair::default())),
        ("Contrastive", json!(Contrastive::default())),
        ("DualSoftmax", json!(DualSoftmax::default())),
        ("LinearPair", json!(LinearPair::default())),
        ("Nnn", json!(Nnn::default())),
        ("DomainAdapter", json!(DomainAdapter::default())),
        ("Bpr", json!(Bpr::default())),
        ("Ease", json!(Ease::default())),
        ("MlpPrior", json!(MlpPrior::default())),
        ("Preference", json!(Preference::default())),
        ("Preprocess", preprocess()),
        ("Prior", json!(Prior::default())),
        ("ProLip", json!(ProLip::default())),
        ("QbNorm", json!(QbNorm::default())),
        ("ResidualFusionConfig", json!(ResidualFusionConfig::new())),
        ("Occlusion", json!(Occlusion::default())),
        ("Splice", json!(Splice::default())),
        ("Taste", json!(Taste::default())),
        ("Tda", json!(Tda::default())),
        ("Tower", json!(Tower::default())),
        ("TransClip", json!(TransClip::default())),
    ])
}

#[test]
fn every_table_says_the_defaults_of_its_type() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tables: Vec<Table> = (sources(&root.join("src")).iter())
        .flat_map(|file| tables(file.strip_prefix(root).unwrap(), &fs::read_to_string(file).unwrap()))
        .collect();
    let mut complaints = Vec::new();
    let mut held = [&BUILDERS[..], &OPTIONAL].concat();
    let registry = Registry::builtin();
    for name in registry.names() {
        let defaults = registry.method(name, &Default::default()).unwrap().settings();
        let module = name.replace('-', "_");
        match tables.iter().find(|table| table.file.starts_with("src/methods") && table.module() == module) {
            Some(table) => {
                complaints.extend(table.complaints(&defaults));
                held.push(&table.type_name);
            }
            None if defaults == json!({}) => {}
            None => complaints.push(format!("{name}: no table in a module `{module}`")),
        }
    }
    let others = others();
    for (name, defaults) in &others {
        match tables.iter().find(|table| table.type_name == *name) {
            Some(table) => complaints.extend(table.complaints(defaults)),
            None => complaints.push(format!("{name}: no table")),
        }
        held.push(name);
    }
    for table in tables.iter().filter(|table| !held.contains(&table.type_name.as_str())) {
        complaints.push(format!("{}: {}: held against nothing", table.file.display(), table.type_name));
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_table_that_is_wrong_is_found() {
    let source = "\
/// Text.
///
/// | Name | Default | Range | Meaning |
/// | --- | --- | --- | --- |
/// | `rate` | 0.0005 | above 0 | words |
/// | `low`, `high` | 3/4 | | words |
/// | `pair` | [0.2, 0.5] | | words |
/// | `grid` | `a` 0.2, 0.4 and `b` 2 | | words |
/// | `inner` | beta 5, weight null | | words |
/// | `none` | by shots | | words |
/// | `name` | ReLU | | words |
/// | `empty` | {} | | words |
///
/// More.
#[derive(Debug)]
pub struct Settings<T> {
";
    let found = tables(Path::new("src/methods/some_name/mod.rs"), source);
    let [table] = &found[..] else { panic!("{} tables", found.len()) };
    assert_eq!((table.type_name.as_str(), table.module()), ("Settings", "some_name"));
    let right = json!({
        "rate": 5e-4, "low": 0.75, "high": 0.75, "pair": [0.2, 0.5], "grid": { "b": [2.0], "a": [0.2, 0.4] },
        "inner": { "beta": 5.0, "weight": null }, "none": null, "name": "relu", "empty": {},
    });
    assert_eq!(table.complaints(&right), Vec::<String>::new());
    for (name, value) in [
        ("rate", json!(5e-5)),
        ("high", json!(0.7)),
        ("pair", json!([0.5, 0.2])),
        ("grid", json!({ "a": [0.2, 0.4], "b": [3.0] })),
        ("inner", json!({ "beta": 5.0, "weight": 1.0 })),
        ("none", json!(4)),
        ("name", json!("gelu")),
        ("empty", json!({ "a": 1 })),
        ("new", json!(1)),
    ] {
        let mut wrong = right.clone();
        wrong[name] = value;
        let complaints = table.complaints(&wrong);
        assert!(complaints.len() == 1 && complaints[0].contains(&format!("`{name}`")), "{complaints:?}");
    }
    let mut fewer = right.clone();
    fewer.as_object_mut().unwrap().remove("rate");
    assert_eq!(table.complaints(&fewer), ["src/methods/some_name/mod.rs: Settings: `rate` is no field"]);
}
