//! The prepacked copy of a weight, made when it is first needed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use burn::module::{
    Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
};
use burn::tensor::Device;

use crate::error::Error;
use crate::ops::PrepackedWeight;
use crate::precision::InputPrecision;

/// One prepacked weight, or the knowledge that the device wants none.
///
/// A module without parameters, so that it lives and dies with the weight it was made from: clones
/// and changes between training and inference share it; mapping (which includes loading and
/// optimiser steps), moving and forking leave it behind, and no record holds it.
#[derive(Clone, Default)]
pub(super) struct PrepackCache(Arc<Mutex<Option<Entry>>>);

struct Entry {
    device: Device,
    precision: InputPrecision,
    weight: Option<PrepackedWeight>,
}

impl PrepackCache {
    /// The weight for `precision` on `device`, from `make` unless it is there already.
    pub fn get_or_make(
        &self,
        device: &Device,
        precision: InputPrecision,
        make: impl FnOnce() -> Result<Option<PrepackedWeight>, Error>,
    ) -> Result<Option<PrepackedWeight>, Error> {
        // A panic while the lock was held left the old entry or none: both are whole.
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = slot.as_ref()
            && entry.precision == precision
            && entry.device == *device
        {
            return Ok(entry.weight.clone());
        }
        let weight = make()?;
        *slot = Some(Entry {
            device: device.clone().inner(),
            precision,
            weight: weight.clone(),
        });
        Ok(weight)
    }
}

impl fmt::Debug for PrepackCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrepackCache")
    }
}

impl Module for PrepackCache {
    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn fork(self, _device: &Device) -> Self {
        Self::default()
    }

    fn to_device(self, _device: &Device) -> Self {
        Self::default()
    }

    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        Self::default()
    }

    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<M: ModuleMapper>(self, _mapper: &mut M) -> Self {
        Self::default()
    }
}

impl ModuleDisplayDefault for PrepackCache {
    fn content(&self, content: Content) -> Option<Content> {
        content.add_formatted(&"on demand").optional()
    }
}

impl ModuleDisplay for PrepackCache {}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;

    struct Nothing;

    impl ModuleMapper for Nothing {}

    /// Whether `cache` had to make its entry.
    fn makes(cache: &PrepackCache, device: &Device, precision: InputPrecision) -> bool {
        let mut made = false;
        let weight = cache
            .get_or_make(device, precision, || {
                made = true;
                Ok(None)
            })
            .unwrap();
        assert!(weight.is_none());
        made
    }

    fn filled(device: &Device) -> PrepackCache {
        let cache = PrepackCache::default();
        assert!(makes(&cache, device, InputPrecision::Int8));
        cache
    }

    #[test]
    fn an_entry_is_made_once_for_all_clones() {
        let device = Device::flex();
        let cache = PrepackCache::default();
        let (clone, valid) = (cache.clone(), cache.valid());
        assert!(makes(&cache, &device, InputPrecision::Int8));
        for cache in [cache.clone(), clone, valid, cache.train()] {
            assert!(!makes(&cache, &device, InputPrecision::Int8));
            assert!(!makes(
                &cache,
                &device.clone().autodiff(),
                InputPrecision::Int8
            ));
        }
    }

    #[test]
    fn another_precision_makes_another_entry() {
        let device = Device::flex();
        let cache = filled(&device);
        assert!(makes(&cache, &device, InputPrecision::Float));
        assert!(!makes(&cache, &device, InputPrecision::Float));
    }

    #[test]
    fn mapped_moved_and_forked_caches_start_empty_and_leave_the_clone_alone() {
        let device = Device::flex();
        let cache = filled(&device);
        for changed in [
            cache.clone().map(&mut Nothing),
            cache.clone().to_device(&device),
            cache.clone().fork(&device),
            cache.clone().materialize(),
        ] {
            assert!(makes(&changed, &device, InputPrecision::Int8));
            assert!(!makes(&cache, &device, InputPrecision::Int8));
        }
    }

    #[test]
    fn a_failure_is_not_kept() {
        let device = Device::flex();
        let cache = PrepackCache::default();
        let failed = cache.get_or_make(&device, InputPrecision::Int8, || Err(Error::NotPacked));
        assert!(matches!(failed, Err(Error::NotPacked)));
        assert!(makes(&cache, &device, InputPrecision::Int8));
    }
}
