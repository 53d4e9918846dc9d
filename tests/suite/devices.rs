//! The same numbers on every device that is compiled in.

use clip_adapter::{
    ClipAdapter, DeviceSpec, Error, FeatureFile, Fitted, FittedClipAdapter, Method,
    methods::{Branches, Ratio},
};

fn other_devices() -> Vec<DeviceSpec> {
    DeviceSpec::compiled().into_iter().filter(|&spec| spec != DeviceSpec::Flex).collect()
}

#[test]
fn every_device_fits_what_flex_fits() {
    let file = FeatureFile::synthetic(0).unwrap();
    let support = file.support(4, 1).unwrap();
    let test = file.split("test").unwrap().embeddings();
    for branches in [Branches::Image, Branches::Both] {
        for ratio in [Ratio::Fixed(0.6), Ratio::Hoso, Ratio::Learned] {
            let method = ClipAdapter { branches, ratio, epochs: Some(20), ..Default::default() };
            let cosines = |spec: DeviceSpec| -> Vec<f32> {
                let model = method.fit(&support, file.classifier(), &spec.init().unwrap()).unwrap();
                let logits = model.score(test).unwrap();
                logits.rows().flatten().map(|logit| logit / 100.0).collect()
            };
            let expected = cosines(DeviceSpec::Flex);
            for spec in other_devices() {
                let largest =
                    cosines(spec).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                println!("{spec} {branches:?} {ratio:?}: largest difference from flex {largest:.1e}");
                assert!(largest < 1e-4, "{spec} {branches:?} {ratio:?}: {largest}");
            }
        }
    }
}

#[test]
fn an_adapter_saved_on_one_device_opens_on_another() {
    let file = FeatureFile::synthetic(0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (support, test) = (file.support(4, 1).unwrap(), file.test_set("test").unwrap());
    for from in DeviceSpec::compiled() {
        let path = folder.path().join(format!("{from}.safetensors"));
        let method = ClipAdapter { epochs: Some(10), ..Default::default() };
        let model = method.fit(&support, file.classifier(), &from.init().unwrap()).unwrap();
        model.save(&path).unwrap();
        for to in DeviceSpec::compiled() {
            let fingerprint = file.classifier().fingerprint();
            let same = FittedClipAdapter::load(&path, &fingerprint, &to.init().unwrap()).unwrap();
            let (before, after) = (model.evaluate(&test).unwrap(), same.evaluate(&test).unwrap());
            assert_eq!(before.accuracy, after.accuracy, "{from} to {to}");
            approx::assert_abs_diff_eq!(before.nll, after.nll, epsilon = 1e-4);
        }
    }
}

#[test]
fn a_device_that_is_not_compiled_in_names_its_feature() {
    for spec in DeviceSpec::KNOWN.into_iter().filter(|spec| !DeviceSpec::compiled().contains(spec)) {
        let error = spec.init().unwrap_err();
        assert!(
            matches!(&error, Error::DeviceUnavailable { reason, .. } if reason.contains("feature")),
            "{error}"
        );
    }
    assert!(matches!("cuda9000".parse::<DeviceSpec>(), Err(Error::UnknownDevice { .. })));
}
