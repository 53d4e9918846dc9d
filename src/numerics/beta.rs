//! The beta distribution: how sure a count of right answers is.

/// Lanczos' coefficients for `g = 7` (Godfrey, 2001), good to about 15 digits.
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// `ln Gamma(x)` for `x > 0`.
fn ln_gamma(x: f64) -> f64 {
    if x < 0.5 {
        let sine = (std::f64::consts::PI * x).sin();
        return (std::f64::consts::PI / sine).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let sum = (1..LANCZOS.len()).map(|at| LANCZOS[at] / (x + at as f64)).sum::<f64>() + LANCZOS[0];
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The part of a beta distribution that lies below `x`: the regularised incomplete beta function `I_x(a, b)`.
pub(crate) fn beta_below(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    // The fraction converges fast on this side of the mean; the other side is its mirror image.
    match x < (a + 1.0) / (a + b + 2.0) {
        true => front * fraction(x, a, b) / a,
        false => 1.0 - front * fraction(1.0 - x, b, a) / b,
    }
}

/// The continued fraction of `I_x(a, b)` by Lentz's method (Numerical Recipes, section 6.4).
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut product = d;
    for step in 1..1000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = product;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            product *= c * d;
        }
        if (product - before).abs() < 1e-15 * product.abs() {
            break;
        }
    }
    product
}

/// The `x` below which a part `p` of a beta distribution lies, by halving, to about 1e-15.
pub(crate) fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if beta_below(middle, a, b) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// The least share of right answers that `right` of `all` leave likely: Clopper and Pearson's lower limit on one side
/// (1934), `p` of which lie below.
pub(crate) fn lower_share(right: usize, all: usize, p: f64) -> f64 {
    match right {
        0 => 0.0,
        _ => beta_quantile(p, right as f64, (all - right + 1) as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against SciPy 1.17, `scipy.stats.beta.ppf` and `cdf`.
    #[test]
    fn the_quantiles_are_the_reference_ones() {
        for (p, a, b, expected) in REFERENCE {
            approx::assert_abs_diff_eq!(beta_quantile(p, a, b), expected, epsilon = 1e-10);
            approx::assert_abs_diff_eq!(beta_below(expected, a, b), p, epsilon = 1e-10);
        }
    }

    const REFERENCE: [(f64, f64, f64, f64); 6] = [
        (0.05, 289.0, 16.0, 0.9250370628977833),
        (0.05, 1.0, 20.0, 0.0025613787765302806),
        (0.05, 76.0, 1.0, 0.9613492332742745),
        (0.95, 3.0, 150.0, 0.040838262889875666),
        (0.5, 0.5, 0.5, 0.4999999999999999),
        (0.05, 560.0, 17.0, 0.9581149540648622),
    ];

    #[test]
    fn the_limit_of_all_right_and_of_none() {
        // 0.95 = 1 - q^n of n right answers out of n
        approx::assert_abs_diff_eq!(lower_share(20, 20, 0.05), 0.05f64.powf(1.0 / 20.0), epsilon = 1e-12);
        assert_eq!(lower_share(0, 20, 0.05), 0.0);
    }
}
