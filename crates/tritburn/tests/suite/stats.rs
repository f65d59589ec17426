//! Counts of codes.

use tritburn::BitLinearConfig;
use tritburn::stats::{CodeWatch, flip_share, layer_codes, zero_share};

use crate::common::devices;

/// Padded rows, a word's boundary and several layers: the device counts what the host counts.
#[test]
fn counts_on_the_device_are_those_of_the_host() {
    for device in devices() {
        let model = |seed| {
            device.seed(seed);
            [(17, 5), (48, 3), (1, 1)]
                .map(|(d_input, d_output)| BitLinearConfig::new(d_input, d_output).init(&device))
                .to_vec()
        };
        let (one, other) = (model(1), model(2));
        let watch = CodeWatch::new(&one).unwrap();
        let (before, after) = (watch.codes(&one).unwrap(), watch.codes(&other).unwrap());
        let shares = watch.compare(&before, &after).unwrap().read().unwrap();
        let (before, after) = (layer_codes(&one).unwrap(), layer_codes(&other).unwrap());
        assert_eq!(shares.zero, zero_share(&after));
        assert_eq!(shares.flipped, flip_share(&before, &after));
        assert!(shares.flipped > 0.2, "{shares:?}");
    }
}

#[test]
fn a_model_without_latent_weights_is_not_watched() {
    for device in devices() {
        let layer = BitLinearConfig::new(17, 5).init(&device);
        let packed = tritburn::Pack::pack(&layer).unwrap();
        let watch = CodeWatch::new(&packed).unwrap();
        assert!(watch.is_empty());
        let nothing = watch.codes(&packed).unwrap();
        assert!(watch.compare(&nothing, &nothing).is_none());
    }
}
