//! Everything that is asked, one part after the other; a part that says nothing here says why.

use std::time::Instant;

use burn::tensor::Device;
use clip_adapter::{
    AutoAdapter, Classifier, FeatureSet, Result, Run,
    explain::{
        self, HeldOutEstimate, Kind, Occlusion, Plane, Splice, certificate, change, concept_deletion,
        describe_units, diagnose, held_out, learning_curve, near_duplicates, nearest_shots, neighbour_purity,
        patch_heat, shares, suspects, text_shares, unit_deletion,
    },
    features::Embeddings,
    model::{FeatureMap, Settings},
    train::{AnyMethod, MethodSpec, Registry},
};
use serde_json::json;

use crate::{
    Arguments,
    data::Data,
    outcome::{Heat, Outcome, Shares, Why},
};

/// Words of a kind that are told of a class.
const WORDS: usize = 6;
/// Concepts or units that are taken away at a time.
const REMOVED: usize = 10;
/// Neighbours of a decision, and of an image where its neighbourhood is counted.
const NEAREST: usize = 4;
const NEIGHBOURS: usize = 5;
/// Images of a kind whose heat is shown.
const MAPS: usize = 4;

pub fn run(arguments: &Arguments, data: &Data, device: &Device) -> Result<Outcome> {
    let registry = Registry::builtin();
    let spec = arguments
        .settings
        .iter()
        .try_fold(MethodSpec::new(&arguments.method), |spec, pair| spec.set(pair))?;
    let method = spec.seeded(arguments.seed).method(&registry)?;
    let splice = Splice { lambda: arguments.lambda, ..Default::default() };
    splice.validate()?;
    let curve_method = MethodSpec::new(&arguments.curve).seeded(arguments.seed).method(&registry)?;
    let (support, classes, asked) = (&data.support, &data.classes, &data.asked);
    let duplicates = near_duplicates(support, asked.embeddings(), arguments.duplicates)?;

    let diagnosis = diagnose(support, classes)?;
    let start = Instant::now();
    let model = method.fit_any(support, classes, &mut Run::new(device))?;
    let fit_seconds = start.elapsed().as_secs_f64();
    let changes = change(model.as_ref(), asked)?;
    let rows: Vec<usize> = changes.decisions.iter().map(|decision| decision.row).collect();
    let changed = asked.embeddings().select(&rows);
    let learned = Learned { data, model: model.as_ref(), seed: arguments.seed };
    let purity = |set: &FeatureSet| neighbour_purity(set, NEIGHBOURS);
    let adapted = learned.adapted();
    let after = adapted.as_ref().ok().map(|after| after.embeddings());
    Ok(Outcome {
        data: data.name.clone(),
        backbone: classes.backbone().to_owned(),
        device: arguments.device.to_string(),
        method: method.name().to_owned(),
        settings: method.settings(),
        chosen: model.chosen(),
        shots: arguments.shots,
        seed: arguments.seed,
        fit_seconds,
        held_out: Why::of(estimate(method.as_ref(), &diagnosis.held_out, data, device)),
        certificate: Why::of(
            certificate(method.as_ref(), support, classes, &mut Run::new(device)).map(|pair| pair.0),
        ),
        curve_method: curve_method.name().to_owned(),
        curve: Why::of(learning_curve(curve_method.as_ref(), support, classes, &mut Run::new(device))),
        diagnosis,
        nearest: nearest_shots(support, &changed, NEAREST)?,
        suspects: Why::of(suspects(support, classes)),
        duplicates,
        concepts: Why::of(learned.map().and_then(|map| data.concepts.change(map, asked, &splice, WORDS))),
        concept_deletion: Why::of(concept_deletion(
            model.as_ref(),
            &data.concepts,
            asked.embeddings(),
            &splice,
            REMOVED,
            arguments.seed,
        )),
        units: Why::of(learned.units()),
        unit_deletion: Why::of(learned.unit_deletion()),
        shares: Why::of(learned.shares(&changes, &changed)),
        heat: learned.heat(&changes)?,
        plane: Why::of(Plane::new(asked.embeddings(), after)),
        purity: [purity(asked).ok(), adapted.as_ref().ok().and_then(|after| purity(after).ok())],
        changes,
    })
}

/// Of `auto` as it is in closed form, of others by fitting again.
fn estimate(
    method: &dyn AnyMethod,
    in_closed_form: &Option<HeldOutEstimate>,
    data: &Data,
    device: &Device,
) -> Result<HeldOutEstimate> {
    match in_closed_form {
        Some(estimate)
            if method.name() == AutoAdapter::NAME && method.settings() == json!(AutoAdapter::default()) =>
        {
            Ok(estimate.clone())
        }
        _ => held_out(method, &data.support, &data.classes, &mut Run::new(device)),
    }
}

/// What was fitted, beside what it was fitted to.
struct Learned<'a> {
    data: &'a Data,
    model: &'a dyn Classifier,
    seed: u64,
}

impl Learned<'_> {
    fn map(&self) -> Result<&dyn FeatureMap> {
        self.model.feature_map().ok_or_else(|| {
            let found = format!("`{}`, which adapts logits", self.model.kind());
            clip_adapter::Error::unsupported("adapted features", "a method that adapts features", found)
        })
    }

    /// The images that are asked about, with adapted features.
    fn adapted(&self) -> Result<FeatureSet> {
        let asked = &self.data.asked;
        let map = self.map()?;
        let adapted = map.images(asked.embeddings().tensor(map.device())).try_into_vec_as::<f32>();
        let adapted = adapted
            .map_err(|error| clip_adapter::Error::execution("adapting features", error.to_string()))?;
        let rows = Embeddings::new(adapted, asked.embeddings().dim())?;
        FeatureSet::new(rows, asked.labels().to_vec(), asked.class_names().to_vec())
    }

    fn units(&self) -> Result<Vec<explain::Unit>> {
        let (shots, asked) = (self.data.support.set().embeddings(), self.data.asked.embeddings());
        describe_units(self.map()?, &self.data.classes, &self.data.concepts, shots, asked)
    }

    fn unit_deletion(&self) -> Result<explain::UnitDeletion> {
        unit_deletion(self.map()?, &self.data.classes, self.data.asked.embeddings(), REMOVED, self.seed)
    }

    /// Where in the first images whose answer changed something speaks for the new one; needs pictures.
    fn heat(&self, changes: &explain::Change) -> Result<Vec<Heat>> {
        let Some(files) = &self.data.files else { return Ok(Vec::new()) };
        let of_kind = |kind: Kind| changes.decisions.iter().filter(move |decision| decision.kind == kind);
        let shown = of_kind(Kind::Fixed).take(MAPS).chain(of_kind(Kind::Broken).take(MAPS));
        shown
            .map(|decision| {
                let file = &files.asked[decision.row];
                let covered = Occlusion::default().map(&files.clip, self.model, file, decision.after)?;
                let patches = match patch_heat(&files.clip, self.model, file, decision.after) {
                    Err(clip_adapter::Error::Unsupported { .. }) => None, // a ResNet has none
                    found => Some(found?),
                };
                Ok(Heat { row: decision.row, covered, patches })
            })
            .collect()
    }

    /// Of the new answer over the old one, for every decision that changed: of the units of the image side, or where there are
    /// none of the text side.
    fn shares(&self, changes: &explain::Change, changed: &Embeddings) -> Result<Shares> {
        let pairs: Vec<(usize, usize)> =
            changes.decisions.iter().map(|decision| (decision.after, decision.before)).collect();
        let (map, classes) = (self.map()?, &self.data.classes);
        match (shares(map, classes, changed, &pairs), text_shares(map, classes, changed, &pairs)) {
            (Ok(all), _) => Ok(Shares { side: "image", all }),
            (Err(_), Ok(all)) => Ok(Shares { side: "text", all }),
            (Err(error), Err(_)) => Err(error),
        }
    }
}
