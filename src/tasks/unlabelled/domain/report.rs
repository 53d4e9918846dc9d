use serde::{Deserialize, Serialize};

use super::rounds::Trained;
use super::{DomainAdapter, Known, Mode, SourceCheck};

/// Images named as doubtful.
const DOUBTFUL: usize = 20;

/// Below this agreement with the round before, in percent, the answers have not settled.
const SETTLED: f64 = 90.0;

/// Without a source, fewer images than so many a class are seen to make answers worse than zero-shot CLIP's.
const FEW: usize = 4;

/// What adapting to unlabelled images did, and how far it is to be trusted. Shares are in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DomainReport {
    /// Images of the new domain.
    pub images: usize,
    /// Labelled images of the source; 0 without one.
    pub source_images: usize,
    /// What is named right of them, where some can be held out.
    pub source_check: Option<SourceCheck>,
    /// [`Balance::effective`](crate::tasks::unlabelled::Balance::effective) by zero-shot CLIP, 0..=1.
    pub balance: f64,
    /// The rule that was followed.
    pub mode: Mode,
    /// Why it was.
    pub why: String,
    /// What each round of self-training did.
    pub rounds: Vec<DomainRound>,
    /// Each class, in label order.
    pub classes: Vec<DomainClass>,
    /// The images whose answers are least sure, least sure first.
    pub doubtful: Vec<DoubtfulImage>,
    /// What speaks against the result.
    pub warnings: Vec<String>,
}

/// A round of self-training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DomainRound {
    /// Images that it learned from.
    pub pseudo_labelled: usize,
    /// Answers that it left as they were, in percent.
    pub agreement: f64,
    /// Mean probability of the answers after it, in percent.
    pub mean_confidence: f64,
}

/// What seems to be there of a class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DomainClass {
    /// Its name.
    pub name: String,
    /// Images that the last round learned it from.
    pub pseudo_labelled: usize,
    /// Images that it is the answer for.
    pub answers: usize,
    /// Its estimated share of the images, in percent.
    pub share: f64,
    /// Whether it was taken for absent, so that it is never the answer.
    pub absent: bool,
}

/// An image that may be one or the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DoubtfulImage {
    /// Its row; in a stream, among the images that are kept.
    pub image: usize,
    /// The likeliest class.
    pub class: String,
    /// The next.
    pub second: String,
    /// The probability of the likeliest, in percent.
    pub confidence: f64,
}

impl DomainReport {
    pub(super) fn new(
        settings: &DomainAdapter,
        known: &Known,
        trained: &Trained,
        counts: &[usize],
        class_names: &[String],
    ) -> Self {
        let (mode, why) = settings.mode_for(known);
        let images: usize = counts.iter().sum();
        let pseudo = trained.rounds.last().map_or(&[][..], |round| &round.pseudo_labelled);
        let classes = class_names.iter().enumerate().map(|(class, name)| DomainClass {
            name: name.clone(),
            pseudo_labelled: pseudo.get(class).copied().unwrap_or_default(),
            answers: counts[class],
            share: 100.0 * counts[class] as f64 / images as f64,
            absent: trained.absent[class],
        });
        let rounds = trained.rounds.iter().map(|round| DomainRound {
            pseudo_labelled: round.pseudo_labelled.iter().sum(),
            agreement: 100.0 * round.agreement,
            mean_confidence: 100.0 * round.mean_confidence,
        });
        let answers = &trained.look.answers;
        let mut order: Vec<usize> = (0..answers.len()).collect();
        order.sort_by(|&a, &b| answers[a].log_p.total_cmp(&answers[b].log_p));
        let doubtful = order.into_iter().take(DOUBTFUL).map(|image| DoubtfulImage {
            image,
            class: class_names[answers[image].class].clone(),
            second: class_names[answers[image].second].clone(),
            confidence: 100.0 * answers[image].log_p.exp(),
        });
        let mut report = Self {
            images,
            source_images: known.source_images,
            source_check: known.check,
            balance: known.balance.effective,
            mode,
            why,
            rounds: rounds.collect(),
            classes: classes.collect(),
            doubtful: doubtful.collect(),
            warnings: Vec::new(),
        };
        report.warnings = report.speaks_against();
        report
    }

    /// Answers that the last round left as they were, in percent; all where there was none.
    pub fn agreement(&self) -> f64 {
        self.rounds.last().map_or(100.0, |round| round.agreement)
    }

    fn speaks_against(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(objection) = self.source_check.and_then(|check| check.objection()) {
            let learned = if self.mode == Mode::Source { "nothing was learned" } else { "it was learned" };
            warnings.push(format!("{learned} from the images: {objection}"));
        }
        if self.agreement() < SETTLED {
            let agreement = self.agreement();
            warnings.push(format!(
                "the last round still changed answers: {agreement:.1} % agree with those before it, {SETTLED} % or more \
                 have settled"
            ));
        }
        if self.source_images == 0 && self.images < FEW * self.classes.len() {
            warnings.push(format!(
                "{} images of {} classes, fewer than {FEW} a class, and no labelled images of another domain: zero-shot \
                 CLIP may be better",
                self.images,
                self.classes.len()
            ));
        }
        let never: Vec<&str> =
            self.classes.iter().filter(|class| class.answers == 0).map(|class| class.name.as_str()).collect();
        if !never.is_empty() && self.source_images == 0 {
            let some = never.iter().take(5).copied().collect::<Vec<_>>().join(", ");
            warnings.push(format!(
                "classes that are no image's answer: {} ({some}); without labelled images of another domain they cannot be \
                 found",
                never.len()
            ));
        }
        warnings
    }
}
