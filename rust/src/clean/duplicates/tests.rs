use super::bands::Bands;

#[test]
fn a_pair_at_the_threshold_is_missed_once_in_a_thousand() {
    for hundredths in 30..=100 {
        let threshold = f64::from(hundredths) / 100.0;
        let bands = Bands::of(threshold);
        assert!(bands.found(threshold) >= 0.999, "{threshold}: {bands:?}");
        assert!(bands.numbers() <= 16 * 32, "{threshold}: {bands:?}");
    }
}

#[test]
fn pairs_far_below_the_threshold_seldom_share_a_band() {
    for (threshold, shape, below, most) in [(0.8, (18, 5), 0.4, 0.18), (0.9, (19, 11), 0.5, 0.01)] {
        let bands = Bands::of(threshold);
        assert_eq!((bands.bands, bands.rows), shape);
        assert!(bands.found(below) <= most, "{threshold}: {}", bands.found(below));
    }
}
