//! Shows how to choose among methods: by validation images, so that the test set is scored once and tells the truth.

use clip_adapter::prelude::*;
use clip_adapter::train::{MethodSpec, Registry};

fn main() -> Result<()> {
    let (file, device, registry) = (FeatureFile::synthetic(0)?, Device::flex(), Registry::builtin());
    let (support, validation) = (file.support(4, 1)?, file.split("val")?); // no image is in both
    let mut best: Option<(f64, &str, Box<dyn Classifier>)> = None;
    for name in ["zero-shot", "tip-adapter", "gda", "task-res", "clip-adapter", "clip-adapter:ratio=0.8"] {
        let method = name.parse::<MethodSpec>()?.method(&registry)?;
        let model = method.fit_any(&support, file.classifier(), &mut Run::new(&device))?;
        let scores = model.scores(validation)?;
        println!("{:>6.2} % of {} validation images: {name}", scores.accuracy(), scores.images());
        if best.as_ref().is_none_or(|(most, ..)| scores.accuracy() > *most) {
            best = Some((scores.accuracy(), name, model));
        }
    }
    if let Some((_, name, model)) = best {
        println!("the winner, on the test set: {name}: {}", model.evaluate(&file.test_set("test")?)?);
    }
    Ok(())
}
