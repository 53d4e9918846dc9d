//! Shows what can be known of an adapter beside its accuracy: what there is to gain, how many more images would help, which
//! shots to look at, what it changed, and whether that hangs on the units that it is said to hang on.

use clip_adapter::explain::{change, diagnose, learning_curve, suspects, unit_deletion};
use clip_adapter::prelude::*;

fn main() -> Result<()> {
    let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
    let (support, classes, test) = (file.support(8, 1)?, file.classifier(), file.split("test")?);

    // From the shots and the texts alone, before a fit.
    let before = diagnose(&support, classes)?;
    if let Some(estimate) = before.held_out {
        println!("zero-shot {:.1} % of the shots, auto about {:.1} %", before.zero_shot, estimate.accuracy);
        println!("on unseen images at least {:.1} %, with 95 % confidence", estimate.lower_95);
    }
    let curve = learning_curve(&AutoAdapter::default(), &support, classes, &mut Run::new(&device))?;
    let needed = curve.shots_for(95.0).map_or("more than anyone has".to_owned(), |shots| shots.to_string());
    println!("16 shots: about {:.1} %; for 95 % it takes about {needed}", curve.accuracy_at(16));
    for shot in suspects(&support, classes)?.iter().take(3) {
        let [label, answer] = [shot.label, shot.answer].map(|class| &classes.class_names()[class]);
        println!("shot {:>2} is labelled {label}, the others say {answer}: {:+.1}", shot.row, shot.margin);
    }

    // After it, on images that are not among the shots.
    let model = ClipAdapter::default().fit(&support, classes, &device)?;
    let after = change(&model, test)?;
    println!("{:.1} to {:.1} %: {} fixed, {} broken", after.before, after.after, after.fixed, after.broken);
    let without = unit_deletion(&model, classes, test.embeddings(), 3, 1)?;
    println!(
        "without its 3 units {:.1} % flip, without 3 others {:.1} %",
        without.flips, without.random_flips
    );
    Ok(())
}
