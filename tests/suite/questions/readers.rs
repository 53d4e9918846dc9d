//! Readers of questions, on small files of the shapes that the data sets' own pages describe.

use std::fs;

use clip_adapter::{
    Error,
    evaluate::answers::{Normalise, vqa_accuracy},
    input::QuestionList,
};
use serde_json::{Value, json};

/// Ten people's answers, of whom the first `basil` say so.
fn people(basil: usize) -> Vec<Value> {
    let answer = |at: usize| if at < basil { "basil" } else { "unanswerable" };
    let one = |at| json!({ "answer": answer(at), "answer_confidence": "maybe", "answer_id": at + 1 });
    (0..10).map(one).collect()
}

#[test]
fn every_format_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, value: Value| {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, value.to_string()).unwrap();
    };
    let viz = |image: usize, basil: usize, kind: &str| {
        json!({
            "image": format!("VizWiz_train_{image:08}.jpg"), "question": "What's this?", "answers": people(basil),
            "answer_type": kind, "answerable": u8::from(kind != "unanswerable"),
        })
    };
    write("viz/Annotations/train.json", json!([viz(0, 7, "other"), viz(1, 3, "unanswerable")]));
    let asked = json!([{ "image": "VizWiz_test_00000000.jpg", "question": "Is it red?" }]);
    write("viz/Annotations/test.json", asked);
    let list = QuestionList::open(path.join("viz"), "train").unwrap();
    let images = [0, 1].map(|image| path.join(format!("viz/train/VizWiz_train_{image:08}.jpg")));
    assert_eq!(list.images(), images);
    let [first, second] = list.questions() else { panic!("{list:?}") };
    assert_eq!((first.image, first.answer(), first.kind.as_deref()), (0, Some("basil"), Some("other")));
    assert_eq!((second.answer(), second.kind.as_deref()), (Some("unanswerable"), Some("unanswerable")));
    let accuracy = vqa_accuracy("Basil.", &second.answers, Normalise::Official).unwrap();
    approx::assert_abs_diff_eq!(accuracy, 0.9, epsilon = 1e-12);
    assert!(QuestionList::open(path.join("viz"), "test").unwrap().questions()[0].answers.is_empty());

    let about = json!({
        "info": { "year": 2017, "version": "2.0", "description": "-", "contributor": "-", "url": "-",
            "date_created": "2017-04-26 17:00:44" },
        "license": { "name": "-", "url": "-" }, "data_type": "mscoco", "data_subtype": "val2014",
    });
    let with = |more: Value| {
        let mut all = about.clone();
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let question =
        |id: u64, text: &str| json!({ "image_id": 262148, "question": text, "question_id": 262148000 + id });
    write(
        "vqa/v2_OpenEnded_mscoco_val2014_questions.json",
        with(json!({
            "task_type": "Open-Ended",
            "questions": [question(0, "Where is he looking?"), question(1, "What is on it?")],
        })),
    );
    let annotation = |id: u64, basil: usize| {
        json!({
            "question_type": "none of the above", "multiple_choice_answer": "basil", "answers": people(basil),
            "image_id": 262148, "answer_type": "other", "question_id": 262148000 + id,
        })
    };
    write(
        "vqa/v2_mscoco_val2014_annotations.json",
        with(json!({ "annotations": [annotation(1, 10), annotation(0, 2)] })),
    );
    let list = QuestionList::open(path.join("vqa"), "val").unwrap();
    assert_eq!(list.images(), [path.join("vqa/val2014/COCO_val2014_000000262148.jpg")]);
    assert_eq!(list.questions()[0].answers.len(), 10);
    assert_eq!(
        (list.questions()[0].answer(), list.questions()[1].answer()),
        (Some("unanswerable"), Some("basil"))
    );
    let one = list.select(&[1]);
    assert_eq!((one.images().len(), one.questions()[0].text.as_str()), (1, "What is on it?"));

    // The older multiple choice has the answers to choose from, and a test split no annotations.
    let mut choice = question(0, "What is on it?");
    choice["multiple_choices"] = json!(["basil", "snow", "2", "yes"]);
    let name = "old/MultipleChoice_mscoco_test2015_questions.json";
    write(name, json!({ "data_subtype": "test2015", "num_choices": 18, "questions": [choice] }));
    let list = QuestionList::open(path.join("old"), "test").unwrap();
    assert_eq!(list.images(), [path.join("old/test2015/COCO_test2015_000000262148.jpg")]);
    assert_eq!(list.questions()[0].choices.as_ref().unwrap()[1], "snow");
    assert!(list.questions()[0].answers.is_empty());
}

#[test]
fn what_is_no_list_of_questions_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for (name, text, expected) in [
        ("a/train/questions.json", "[[\"what?\", \"red\"]]", "expected a list of [question, answer, image]"),
        ("b/train/questions.json", "[]", "questions: expected at least one, found none"),
        ("c/train/questions.json", "[[\" \", \"red\", 0]]", "question 0: expected words, found none"),
        ("d/train/questions.json", "[[\"what?\", \"red\", 99999999999]]", "image numbers: expected below"),
        ("e/train.json", r#"[{"image": "../../etc/passwd", "question": "what?"}]"#, "the name of a file"),
        ("f/x_train_questions.json", r#"{"questions": []}"#, "expected VQAv2's questions"),
    ] {
        let file = path.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        let error = QuestionList::open(path.join(&name[..1]), "train").unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}\nshould hold\n{expected}");
    }
    let row = r#"{"image_id": 1, "question": "what?", "question_id": 10}"#;
    let questions = format!(r#"{{"data_subtype": "train2014", "questions": [{row}]}}"#);
    fs::write(path.join("f/x_train_questions.json"), questions).unwrap();
    fs::write(path.join("f/x_train_annotations.json"), r#"{"annotations": []}"#).unwrap();
    let error = QuestionList::open(path.join("f"), "train").unwrap_err().to_string();
    assert!(
        error.contains("x_train_annotations.json: annotation of question 10: expected to be there"),
        "{error}"
    );
    let error = QuestionList::open(path.join("a"), "val").unwrap_err();
    assert!(error.to_string().contains("`val/questions.json`, `val.json` or"), "{error}");
}
