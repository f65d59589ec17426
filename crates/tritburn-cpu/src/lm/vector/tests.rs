use super::*;

/// The vector operations of every set against plain f32.
struct Check;

impl Work for Check {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let a: [f32; LANES] = std::array::from_fn(|i| i as f32 * 0.37 - 2.0);
        let b: [f32; LANES] = std::array::from_fn(|i| 1.0 - i as f32 * 0.21);
        let mut out = [0.0f32; LANES];
        // SAFETY: the set is available, all arrays have 16 elements.
        unsafe {
            let (va, vb) = (L::load(a.as_ptr()), L::load(b.as_ptr()));
            let mut expect = |v: L::V, f: &dyn Fn(usize) -> f32| {
                L::store(v, out.as_mut_ptr());
                for (i, out) in out.iter().enumerate() {
                    let expected = f(i);
                    assert!(
                        (out - expected).abs() <= 1e-6 * expected.abs()
                            || out.is_nan() && expected.is_nan(),
                        "lane {i}: {out} instead of {expected}"
                    );
                }
            };
            expect(L::splat(3.5), &|_| 3.5);
            expect(L::add(va, vb), &|i| a[i] + b[i]);
            expect(L::sub(va, vb), &|i| a[i] - b[i]);
            expect(L::mul(va, vb), &|i| a[i] * b[i]);
            expect(L::fma(va, vb, va), &|i| {
                (a[i] as f64 * b[i] as f64 + a[i] as f64) as f32
            });
            expect(L::max(va, vb), &|i| a[i].max(b[i]));
            expect(L::max(va, L::splat(f32::NAN)), &|_| f32::NAN);
            expect(L::keep(va, a[7], va, vb), &|i| {
                if i >= 7 { a[i] } else { b[i] }
            });
            for scale in [1.0, 10.0, 35.0] {
                expect(L::exp2(L::mul(va, L::splat(scale))), &|i| {
                    (a[i] * scale).exp2()
                });
            }
            expect(L::exp2(L::splat(f32::NAN)), &|_| f32::NAN);
            expect(L::exp2(L::splat(f32::NEG_INFINITY)), &|_| 2f32.powi(-126));
            expect(load_part::<L, f32>(a.as_ptr(), 5), &|i| {
                if i < 5 { a[i] } else { 0.0 }
            });
            let sum: f32 = a.iter().sum();
            assert!((L::sum(va) - sum).abs() < 1e-4);
            let sums = L::sum4([va, vb, L::splat(1.0), L::splat(-2.0)]);
            let expected = [sum, b.iter().sum(), 16.0, -32.0];
            assert!(sums.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
        }
    }
}

#[test]
fn every_set_computes_what_plain_code_does() {
    for isa in Isa::available() {
        // SAFETY: the set is available.
        unsafe { run(isa, Check) };
    }
}

/// Converts `from` to f32 and back.
struct Convert<'a, E> {
    from: &'a [E],
    floats: &'a mut [f32],
    back: &'a mut [E],
}

impl<E: Element> Work for Convert<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the set is available.
        unsafe {
            widen::<L, E>(self.from, self.floats);
            narrow::<L, E>(self.floats, self.back);
        }
    }
}

fn every_value<E: Element>(values: Vec<E>, bits: impl Fn(E) -> u16) {
    for isa in Isa::available() {
        let mut floats = vec![0.0; values.len()];
        let mut back = vec![E::default(); values.len()];
        let work = Convert {
            from: &values,
            floats: &mut floats,
            back: &mut back,
        };
        // SAFETY: the set is available.
        unsafe { run(isa, work) };
        for ((value, float), back) in values.iter().zip(&floats).zip(&back) {
            let expected = value.to_f32();
            if expected.is_nan() {
                assert!(float.is_nan() && back.to_f32().is_nan(), "{isa}");
            } else {
                assert_eq!(float.to_bits(), expected.to_bits(), "{isa}");
                assert_eq!(bits(*back), bits(*value), "{isa}");
            }
        }
    }
}

#[test]
fn every_half_survives_the_way_to_f32_and_back() {
    every_value(
        (0..=u16::MAX).map(half::f16::from_bits).collect(),
        half::f16::to_bits,
    );
    every_value(
        (0..=u16::MAX).map(half::bf16::from_bits).collect(),
        half::bf16::to_bits,
    );
}

/// Rounds floats.
struct Round<'a, E> {
    from: &'a [f32],
    to: &'a mut [E],
}

impl<E: Element> Work for Round<'_, E> {
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        // SAFETY: the set is available.
        unsafe { narrow::<L, E>(self.from, self.to) };
    }
}

fn rounding<E: Element + PartialEq + std::fmt::Debug>() {
    // Ties, their neighbours, overflow, subnormals.
    let floats: Vec<f32> = (0..1u32 << 16)
        .flat_map(|high| {
            [0u32, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001].map(|low| high << 16 | low)
        })
        .map(f32::from_bits)
        .filter(|v| !v.is_nan())
        .collect();
    for isa in Isa::available() {
        let mut to = vec![E::default(); floats.len()];
        let work = Round {
            from: &floats,
            to: &mut to,
        };
        // SAFETY: the set is available.
        unsafe { run(isa, work) };
        for (from, to) in floats.iter().zip(&to) {
            assert_eq!(*to, E::from_f32(*from), "{isa} {from}");
        }
    }
}

#[test]
fn floats_round_to_the_nearest_half() {
    rounding::<half::f16>();
    rounding::<half::bf16>();
}
