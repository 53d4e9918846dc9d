//! Questions about images, answered from a closed list by a frozen CLIP.
//!
//! | What | Learns | For |
//! | --- | --- | --- |
//! | [`Prompts`] | nothing | a baseline: the question and an answer as one text; questions with choices of their own |
//! | [`Statements`] | nothing | attributes: the question as a claim about what is in the picture |
//! | [`StatementAdapter`] | one vector a statement | from tens of questions on: each teaches all questions about its family |
//! | [`AnswerClassifier`] | a layer or two on picture and question | from thousands of questions on |
//! | [`QuestionPrior`] | counts | what a question is worth without its picture: the figure that every other is held against |
//! | [`entailment`] | any method | whether a text follows from a picture |
//!
//! CLIP does not count, read or know left from right, and takes no notice of *not*: what a picture's embedding does not
//! hold, nothing here brings back. Most yes/no questions of public data are answered by how often each answer comes, and
//! so a report says beside every accuracy what the question alone is worth, and how many of those questions are right
//! whose answer is *not* the commonest.

mod adapter;
mod answers;
mod asked;
mod choose;
mod claims;
mod classifier;
pub mod entailment;
mod fitted_classifier;
mod fitted_statements;
mod prior;
mod prompts;
mod report;
mod rules;
mod statements;
mod vocabulary;

pub use adapter::{Side, StatementAdapter};
pub use answers::{AnswerScores, Similar};
pub use asked::Asked;
pub use choose::{Answerer, Candidate, Tried, choose_answerer};
pub use classifier::{AnswerClassifier, Head};
pub use fitted_classifier::FittedAnswerClassifier;
pub use fitted_statements::FittedStatements;
pub use prior::QuestionPrior;
pub use prompts::Prompts;
pub use report::{AnswerReport, KindReport};
pub use statements::{Claim, Family, QuestionTemplate, Statements};
pub use vocabulary::AnswerVocabulary;
