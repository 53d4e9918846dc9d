//! Shows what a probability means: how sure a model is against how often it is right, before and after a temperature.

use clip_adapter::evaluate::{Conformal, Reject, Scores, TemperatureScaling};
use clip_adapter::prelude::*;

fn main() -> Result<()> {
    let (file, device) = (FeatureFile::synthetic(0)?, Device::flex());
    let model = ClipAdapter::default().fit(&file.support(1, 1)?, file.classifier(), &device)?;
    // Images that nothing was fitted to say how sure it may be; further ones, whether that holds.
    let (val, test) = (file.split("val")?, file.split("test")?);
    let (held_out, logits) = (model.score(val.embeddings())?, model.score(test.embeddings())?);
    let scaling = TemperatureScaling::fit(&held_out, val.labels())?;
    println!("temperature {:.2}", scaling.temperature());

    for (name, logits) in [("as fitted", logits.clone()), ("calibrated", scaling.apply(&logits)?)] {
        let scores = Scores::new(&logits, test.labels())?;
        let sure: f32 = logits.probabilities().map(|of| of.into_iter().fold(0.0, f32::max)).sum();
        let sure = 100.0 * sure / logits.images() as f32;
        println!("{name:<11}sure {sure:.1} %, right {:.1} %, ECE {:.2} %", scores.accuracy(), scores.ece());
    }

    // Where one answer is not sure enough: several classes, or none.
    let sets = Conformal::fit(&held_out, val.labels(), 0.95)?.evaluate(&logits, test.labels())?;
    println!("{:.2} classes an image hold the right one of {:.1} %", sets.mean_size, sets.coverage);
    let surest = Reject::for_coverage(&held_out, 0.5)?.evaluate(&logits, test.labels())?;
    println!("of the surest {:.0} % are right {:.1} %", surest.coverage, surest.accuracy.unwrap_or(0.0));
    Ok(())
}
