//! Answers questions about images from a closed list, and says what of it the questions alone are worth.
//!
//! ```text
//! cargo run --release --example ask -- --images apple.png --question "what is it?" --answers "an apple,a car"
//! cargo run --release --example ask -- --data easy_vqa/data --method statements
//! cargo run --release --example ask -- --data easy_vqa/data --method statements --train 500 --seed 1 --html page.html
//! ```

#[path = "../cli/mod.rs"]
mod cli;
mod page;
mod photo;

use std::{path::PathBuf, process::ExitCode, time::Instant};

use clap::{Parser, ValueEnum};
use clip_adapter::{
    Classifier, ClipBackbone, DeviceSpec, Error, Prompts, Result, TextClassifier,
    evaluate::{Logits, answers::Normalise, retrieval::Similarities},
    features::Embeddings,
    input::QuestionList,
    model::Save,
    tasks::questions::{
        self, AnswerClassifier, AnswerReport, AnswerScores, AnswerVocabulary, Answerer, Asked, Candidate,
        QuestionPrior, StatementAdapter, Statements, choose_answerer,
    },
    train::permutation,
};
use serde_json::{Value, json};

/// Answers questions about images from a closed list.
#[derive(Parser)]
struct Arguments {
    /// A CLIP in the layout of Hugging Face or open_clip; the pocket model where none is given
    #[arg(long, value_name = "DIR")]
    backbone: Option<PathBuf>,
    /// A folder of easy-VQA, VQAv2 or VizWiz
    #[arg(long, value_name = "FOLDER", conflicts_with = "images", required_unless_present = "images")]
    data: Option<PathBuf>,
    /// How to answer
    #[arg(long, value_enum, default_value_t = Way::Statements)]
    method: Way,
    /// Training questions that are learned from, drawn at random; none where not given
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// Fixes the draw and the initial weights
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The split that answers, statements and the prior come from, and training questions
    #[arg(long, value_name = "SPLIT", default_value = "train")]
    train_split: String,
    /// The split to answer
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    test_split: String,
    /// How a family of answers is stated, such as "color=a {} shape"; may be given several times
    #[arg(long = "statement", value_name = "FAMILY=TEXT")]
    statements: Vec<String>,
    /// Answers of the vocabulary, commonest first
    #[arg(long, value_name = "N", default_value_t = 3000)]
    vocabulary: usize,
    /// Steps of the classifier
    #[arg(long, value_name = "N", default_value_t = AnswerClassifier::default().steps)]
    steps: usize,
    /// What makes two spellings one answer: official or clean
    #[arg(long, value_name = "NAME", default_value_t = Normalise::Official)]
    normalise: Normalise,
    /// Images to ask about instead
    #[arg(long, value_name = "FILE", num_args = 1.., requires = "question")]
    images: Vec<PathBuf>,
    /// What to ask about them
    #[arg(long, value_name = "TEXT", requires = "images")]
    question: Option<String>,
    /// The answers there are, with commas between
    #[arg(long, value_name = "A,B,C", requires = "question", value_delimiter = ',')]
    answers: Vec<String>,
    /// A file that --save wrote, to answer with
    #[arg(long, value_name = "FILE", requires = "question")]
    model: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::default())]
    device: DeviceSpec,
    /// Writes what was learned
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Writes the whole result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page of answers with what speaks for them
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Way {
    /// Question and answer as one text
    ZeroShot,
    /// Questions as statements; with --train, the adapter that learns from questions
    Statements,
    /// The commonest answer, without the picture
    Prior,
    /// A layer or two on picture and question, learned from --train questions or all
    Classifier,
    /// Statements or classifier, whichever does better on held-out training questions
    Auto,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    cli::run(|| {
        cli::folders::check_for(&[
            arguments.save.as_ref(),
            arguments.json.as_ref(),
            arguments.html.as_ref(),
        ])?;
        let folder = arguments.backbone.clone().unwrap_or_else(|| cli::pocket::path("model"));
        let clip = ClipBackbone::from_pretrained(folder, &arguments.device.open()?)?;
        match (&arguments.data, &arguments.question) {
            (Some(data), _) => Exam::open(&arguments, &clip, data)?.run(),
            (None, Some(question)) => photo::ask(&arguments, &clip, question),
            (None, None) => Err(Error::setting("question", "--question beside --images, or --data", "none")),
        }
    })
}

/// The questions of a data set, and what all training questions say without pictures.
struct Exam<'a> {
    arguments: &'a Arguments,
    clip: &'a ClipBackbone,
    train: QuestionList,
    test: QuestionList,
    vocabulary: AnswerVocabulary,
    prior: QuestionPrior,
}

/// The image of every question.
fn images(asked: &Asked) -> Result<Embeddings> {
    let rows = (0..asked.len()).flat_map(|row| asked.image(row)).copied().collect();
    Embeddings::new(rows, asked.dim())
}

/// How the test questions were answered, and where that is by statements how well each fits every image. The prior has
/// no scores.
#[derive(Default)]
struct Answered {
    scores: Option<(AnswerScores, Asked)>,
    statements: Option<(Statements, Logits)>,
    learned: Option<Answerer>,
    drawn: Option<(QuestionList, Asked)>,
    details: Value,
}

impl<'a> Exam<'a> {
    fn open(arguments: &'a Arguments, clip: &'a ClipBackbone, data: &PathBuf) -> Result<Self> {
        let train = QuestionList::open(data, &arguments.train_split)?;
        let test = QuestionList::open(data, &arguments.test_split)?;
        let vocabulary = AnswerVocabulary::new(train.questions(), arguments.vocabulary, 1)?;
        let prior = QuestionPrior::new(train.questions())?;
        Ok(Self { arguments, clip, train, test, vocabulary, prior })
    }

    fn run(&self) -> Result<()> {
        let (arguments, questions) = (self.arguments, self.test.questions());
        let start = Instant::now();
        let Answered { scores, statements, learned, drawn, details } = self.answer()?;
        let predictions: Vec<&str> = match &scores {
            Some((scores, _)) => scores.predictions().collect(),
            None => questions.iter().map(|question| self.prior.answer(question)).collect(),
        };
        let given = predictions.iter().copied();
        let report = AnswerReport::new(given, questions, &self.prior, arguments.normalise)?;
        let coverage = self.vocabulary.coverage(questions);
        println!("{report}");
        for (kind, of) in &report.by_kind {
            let against = of.against.map_or("-".to_owned(), |share| format!("{share:.2}"));
            println!(
                "  {kind:<10} {:>6.2} % of {:>6}; prior {:>6.2} %; against it {against} of {}",
                of.accuracy, of.questions, of.prior_accuracy, of.against_questions
            );
        }
        println!(
            "{coverage:.2} % of the answers are in the vocabulary of {}",
            self.vocabulary.answers().len()
        );
        println!("{:.1} s", start.elapsed().as_secs_f64());
        if let (Some(path), Some(learned)) = (&arguments.save, &learned) {
            learned.model().save(path)?;
            println!("saved {}", path.display());
        }
        if let Some(path) = &arguments.json {
            let mut all = json!(report);
            all["coverage"] = json!(coverage);
            all["method"] =
                json!(arguments.method.to_possible_value().map(|name| name.get_name().to_owned()));
            all["train"] = json!(arguments.train);
            all["seed"] = json!(arguments.seed);
            all["normalise"] = json!(arguments.normalise);
            all["backbone"] = json!(self.clip.identity());
            all["device"] = json!(arguments.device.to_string());
            all["details"] = details;
            cli::files::write_json(path, &all)?;
        }
        if let (Some(path), Some((scores, test))) = (&arguments.html, &scores) {
            let evidence = page::Evidence { statements: statements.as_ref(), learned: drawn.as_ref() };
            cli::files::write(path, page::page(&self.test, test, scores, &self.prior, &report, &evidence)?)?;
            println!("wrote {}", path.display());
        }
        Ok(())
    }

    fn answer(&self) -> Result<Answered> {
        let (arguments, clip) = (self.arguments, self.clip);
        if arguments.method == Way::Prior {
            return Ok(Answered::default());
        }
        let test = Asked::encode(clip, &self.test)?;
        if arguments.method == Way::ZeroShot {
            let scores = questions::Prompts::default().answer(clip, &test, Some(&self.vocabulary))?;
            return Ok(Answered { scores: Some((scores, test)), ..Answered::default() });
        }
        if let (Way::Statements, None) = (arguments.method, arguments.train) {
            let statements = self.statements()?;
            let scores = statements.answer(clip, &test)?;
            let details = json!({ "statements": statements });
            let texts = clip.encode_texts(&statements.texts())?.normalised();
            let fits = Similarities::of(&images(&test)?, &texts)?;
            let scale = test.logit_scale() as f32;
            let fits = fits.values().iter().map(|cosine| scale * cosine).collect();
            let statements = Some((statements, Logits::new(fits, texts.rows())?));
            return Ok(Answered { scores: Some((scores, test)), statements, details, ..Answered::default() });
        }
        let list = self.draw()?;
        let drawn = Asked::encode(clip, &list)?;
        let (learned, details) = self.learn(&drawn)?;
        let scores = learned.answer(&test)?;
        let statements = match &learned {
            Answerer::Statements(model) => Some((model.statements().clone(), model.score(&images(&test)?)?)),
            _ => None,
        };
        Ok(Answered {
            scores: Some((scores, test)),
            statements,
            learned: Some(learned),
            drawn: Some((list, drawn)),
            details,
        })
    }

    fn learn(&self, drawn: &Asked) -> Result<(Answerer, Value)> {
        let arguments = self.arguments;
        let device = arguments.device.open()?;
        let answers = self.by_texts(self.vocabulary.answers())?;
        let (seed, steps) = (arguments.seed, arguments.steps);
        let classifier = AnswerClassifier { seed, steps, ..Default::default() };
        let classifier = Candidate::Classifier(classifier, &self.vocabulary, &answers);
        if arguments.method == Way::Classifier {
            return Ok((classifier.fit(drawn, &device)?, Value::Null));
        }
        let statements = self.statements()?;
        let texts = self.by_texts(&statements.texts())?;
        let adapter = Candidate::Statements(StatementAdapter::default(), &statements, &texts);
        if arguments.method == Way::Statements {
            return Ok((adapter.fit(drawn, &device)?, json!({ "statements": statements })));
        }
        let (learned, tried) = choose_answerer(&[adapter, classifier], drawn, seed, &device)?;
        let tried: Vec<Value> = tried.iter().map(|one| json!(one.held_out)).collect();
        Ok((learned, json!({ "held_out": { "statements": tried[0], "classifier": tried[1] } })))
    }

    /// The training questions that are learned from.
    fn draw(&self) -> Result<QuestionList> {
        let all = self.train.questions().len();
        let count = self.arguments.train.unwrap_or(all);
        if !(1..=all).contains(&count) {
            return Err(Error::setting("train", format!("1..={all} questions"), count));
        }
        Ok(self.train.select(&permutation(all, self.arguments.seed, 0)[..count]))
    }

    /// Families from all training questions and their answers, without pictures.
    fn statements(&self) -> Result<Statements> {
        let mut statements = Statements::learn(self.train.questions())?;
        for pair in &self.arguments.statements {
            let family = pair.split_once('=').and_then(|(name, text)| {
                Some((statements.families.iter_mut().find(|family| family.name == name)?, text))
            });
            let Some((family, text)) = family else {
                let known: Vec<&str> =
                    statements.families.iter().map(|family| family.name.as_str()).collect();
                let expected = format!("FAMILY=TEXT of a family of {}", known.join(", "));
                return Err(Error::setting("statement", expected, format!("`{pair}`")));
            };
            family.statement = text.to_owned();
        }
        statements.validate()?;
        Ok(statements)
    }

    fn by_texts(&self, texts: &[String]) -> Result<TextClassifier> {
        self.clip.text_classifier(texts, &Prompts::new(["{}"])?)
    }
}
