//! Activations and their slopes.

/// What is done to each element last.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(0, z)`; NaN stays NaN.
    Relu,
    /// `z` where it is positive, `slope · z` elsewhere.
    LeakyRelu {
        /// The slope of negative numbers.
        slope: f32,
    },
    /// `z · Φ(z)` with the exact distribution function of a normal variable (Hendrycks and Gimpel,
    /// *Gaussian Error Linear Units*, 2016).
    Gelu,
    /// `z · sigmoid(z)`.
    Silu,
    /// `1 / (1 + exp(-z))`.
    Sigmoid,
}

impl Activation {
    /// The value at `z`.
    #[must_use]
    #[inline]
    pub fn apply(self, z: f32) -> f32 {
        match self {
            Self::Identity => z,
            Self::Relu if z < 0.0 => 0.0,
            Self::LeakyRelu { slope } if z < 0.0 => slope * z,
            Self::Relu | Self::LeakyRelu { .. } => z,
            Self::Gelu => z * normal_distribution(z),
            Self::Silu => z * sigmoid(z),
            Self::Sigmoid => sigmoid(z),
        }
    }

    /// Whether the slope at any `z` is that at its value: a backward pass then needs the value
    /// alone, which whatever comes next keeps anyway.
    #[must_use]
    pub const fn has_slope_of_value(self) -> bool {
        match self {
            Self::Identity | Self::Relu => true,
            Self::LeakyRelu { slope } => slope > 0.0,
            Self::Gelu | Self::Silu | Self::Sigmoid => false,
        }
    }

    /// The slope at `z`; at the bend of a ReLU that of negative numbers.
    #[must_use]
    #[inline]
    pub fn slope(self, z: f32) -> f32 {
        match self {
            Self::Relu if z > 0.0 => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu { slope } if z <= 0.0 => slope,
            Self::Identity | Self::LeakyRelu { .. } => 1.0,
            Self::Gelu => {
                // Past 14 the density is 0, and infinity times 0 would not be a number.
                let density = (-0.5 * z * z).exp()
                    * (0.5 * std::f32::consts::FRAC_2_SQRT_PI)
                    * std::f32::consts::FRAC_1_SQRT_2;
                let bounded = z.clamp(-20.0, 20.0);
                normal_distribution(z) + bounded * density
            }
            Self::Silu => {
                let value = sigmoid(z);
                value * (1.0 + z * (1.0 - value))
            }
            Self::Sigmoid => {
                let value = sigmoid(z);
                value * (1.0 - value)
            }
        }
    }
}

#[inline]
fn sigmoid(z: f32) -> f32 {
    1.0 / (1.0 + (-z).exp())
}

/// Φ: the probability that a standard normal variable is below `z`.
#[inline]
fn normal_distribution(z: f32) -> f32 {
    (0.5 * erfc(-f64::from(z) * std::f64::consts::FRAC_1_SQRT_2)) as f32
}

/// A polynomial, coefficients from the constant on.
fn polynomial<const N: usize>(x: f64, coefficients: [f64; N]) -> f64 {
    coefficients.into_iter().rev().fold(0.0, |sum, coefficient| sum * x + coefficient)
}

/// `1 - erf(x)` by the rational approximations of FreeBSD's `s_erf.c` (Sun Microsystems 1993),
/// whose error here is some units in the last place of float64.
fn erfc(x: f64) -> f64 {
    const ERX: f64 = 8.450_629_115_104_675e-1;
    let magnitude = x.abs();
    if x.is_nan() {
        return x;
    }
    if magnitude < 0.84375 {
        let square = x * x;
        let above = polynomial(
            square,
            [
                1.283_791_670_955_125_6e-1,
                -3.250_421_072_470_015e-1,
                -2.848_174_957_559_851e-2,
                -5.770_270_296_489_442e-3,
                -2.376_301_665_665_016_3e-5,
            ],
        );
        let below = polynomial(
            square,
            [
                1.0,
                3.979_172_239_591_553_5e-1,
                6.502_224_998_876_73e-2,
                5.081_306_281_875_766e-3,
                1.324_947_380_043_216_4e-4,
                -3.960_228_278_775_368e-6,
            ],
        );
        return 1.0 - (x + x * (above / below));
    }
    let tail = if magnitude < 1.25 {
        let step = magnitude - 1.0;
        let above = polynomial(
            step,
            [
                -2.362_118_560_752_659_4e-3,
                4.148_561_186_837_483_3e-1,
                -3.722_078_760_357_013e-1,
                3.183_466_199_011_617_5e-1,
                -1.108_946_942_823_966_8e-1,
                3.547_830_432_561_823_6e-2,
                -2.166_375_594_868_791e-3,
            ],
        );
        let below = polynomial(
            step,
            [
                1.0,
                1.064_208_804_008_442_3e-1,
                5.403_979_177_021_71e-1,
                7.182_865_441_419_627e-2,
                1.261_712_198_087_616_4e-1,
                1.363_708_391_202_905e-2,
                1.198_449_984_679_911e-2,
            ],
        );
        1.0 - ERX - above / below
    } else if magnitude < 28.0 {
        let inverse = 1.0 / (magnitude * magnitude);
        let ratio = if magnitude < 1.0 / 0.35 {
            let above = polynomial(
                inverse,
                [
                    -9.864_944_034_847_148e-3,
                    -6.938_585_727_071_818e-1,
                    -1.055_862_622_532_329_1e1,
                    -6.237_533_245_032_601e1,
                    -1.623_966_694_625_734_7e2,
                    -1.846_050_929_067_110_4e2,
                    -8.128_743_550_630_66e1,
                    -9.814_329_344_169_145,
                ],
            );
            let below = polynomial(
                inverse,
                [
                    1.0,
                    1.965_127_166_743_925_7e1,
                    1.376_577_541_435_190_4e2,
                    4.345_658_774_752_292_3e2,
                    6.453_872_717_332_679e2,
                    4.290_081_400_275_678e2,
                    1.086_350_055_417_794_4e2,
                    6.570_249_770_319_282,
                    -6.042_441_521_485_81e-2,
                ],
            );
            above / below
        } else {
            let above = polynomial(
                inverse,
                [
                    -9.864_942_924_700_1e-3,
                    -7.992_832_376_805_23e-1,
                    -1.775_795_491_775_475_2e1,
                    -1.606_363_848_558_219_2e2,
                    -6.375_664_433_683_896e2,
                    -1.025_095_131_611_077_2e3,
                    -4.835_191_916_086_514e2,
                ],
            );
            let below = polynomial(
                inverse,
                [
                    1.0,
                    3.033_806_074_348_246e1,
                    3.257_925_129_965_739e2,
                    1.536_729_586_084_437e3,
                    3.199_858_219_508_595_5e3,
                    2.553_050_406_433_164_4e3,
                    4.745_285_412_069_554e2,
                    -2.244_095_244_658_582e1,
                ],
            );
            above / below
        };
        (-magnitude * magnitude - 0.5625 + ratio).exp() / magnitude
    } else {
        0.0
    };
    if x < 0.0 { 2.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVATIONS: [Activation; 6] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.125 },
        Activation::Gelu,
        Activation::Silu,
        Activation::Sigmoid,
    ];

    /// erf by its series, whose terms are all positive (Abramowitz and Stegun 7.1.6).
    fn erf_by_series(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp()
    }

    #[test]
    fn erfc_is_one_minus_the_series() {
        for step in -500..=500 {
            let x = f64::from(step) * 0.0117;
            let error = (1.0 - erfc(x) - erf_by_series(x)).abs();
            assert!(error < 4e-15, "{x}: {error:e}");
        }
        // Tails, from Abramowitz and Stegun's table 7.3 and its asymptotic form.
        for (x, expected) in [(3.0, 2.209_049_699_858_544e-5), (5.0, 1.537_459_794_428_035e-12)] {
            assert!((erfc(x) / expected - 1.0).abs() < 1e-12, "{x}");
        }
        assert!(erfc(f64::NAN).is_nan());
        assert_eq!((erfc(40.0), erfc(-40.0)), (0.0, 2.0));
    }

    #[test]
    fn slopes_follow_from_values_where_they_are_said_to() {
        let more = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN_POSITIVE, -0.0, 0.0];
        let steps = (-400..=400).map(|step| step as f32 * 0.01);
        let points: Vec<f32> = steps.chain(more).chain([-f32::MIN_POSITIVE]).collect();
        let negative = Activation::LeakyRelu { slope: -0.5 };
        for activation in ACTIVATIONS.into_iter().chain([negative]) {
            let holds = |z: &f32| {
                activation.slope(*z).to_bits() == activation.slope(activation.apply(*z)).to_bits()
            };
            assert_eq!(points.iter().all(holds), activation.has_slope_of_value(), "{activation:?}");
        }
    }

    #[test]
    fn slopes_are_those_of_the_values() {
        for activation in ACTIVATIONS {
            for step in -60..60 {
                let (z, h) = (step as f32 * 0.11 + 0.05, 1e-2_f32);
                let difference = (activation.apply(z + h) - activation.apply(z - h)) / (2.0 * h);
                let slope = activation.slope(z);
                assert!((difference - slope).abs() < 2e-3, "{activation:?} at {z}");
            }
        }
    }

    #[test]
    fn known_values_and_what_is_no_number() {
        assert_eq!(Activation::Relu.apply(-2.0), 0.0);
        assert_eq!(Activation::LeakyRelu { slope: 0.1 }.apply(-2.0), -0.2);
        assert!((Activation::Gelu.apply(1.0) - 0.841_344_8).abs() < 1e-6);
        assert!((Activation::Gelu.apply(-5.0) + 1.433_258e-6).abs() < 1e-11);
        assert!((Activation::Silu.apply(1.0) - 0.731_058_6).abs() < 1e-6);
        assert!((Activation::Sigmoid.apply(-100.0)).abs() < 1e-30);
        assert_eq!(Activation::Gelu.slope(1e30), 1.0);
        assert_eq!(Activation::Relu.slope(0.0), 0.0);
        for activation in ACTIVATIONS {
            assert!(activation.apply(f32::NAN).is_nan(), "{activation:?}");
        }
    }
}
