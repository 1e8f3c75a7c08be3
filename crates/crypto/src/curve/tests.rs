use super::pairing::PairingProduct;
use super::{G1, G2};
use crate::scalar::Scalar;

fn factor(number: u64) -> [u8; 16] {
    u128::from(number).to_le_bytes()
}

#[test]
fn linear_combinations_of_all_sizes_agree_with_plain_sums() {
    for count in 0..40_u64 {
        let points: Vec<G1> = (0..count).map(|i| G1::generator().times_u64(i)).collect();
        let terms: Vec<_> = points.iter().zip(0..).map(|(p, i)| (*p, factor(i + 7))).collect();
        let expected = (0..count).map(|i| i * (i + 7)).sum();
        assert_eq!(G1::lincomb(&terms), G1::generator().times_u64(expected), "{count} points");
        let minus_one = *Scalar::from(0).minus(&Scalar::from(1)).to_bytes();
        let negated: Vec<_> = points.iter().map(|p| (*p, minus_one)).collect();
        let sum = G1::generator().times_u64((0..count).sum());
        assert!(G1::lincomb(&negated).plus(&sum).is_infinity(), "{count} points");
    }
}

#[test]
fn equal_points_in_a_linear_combination_add_up() {
    let terms = [(G2::generator(), factor(3)); 12];
    assert_eq!(G2::lincomb(&terms), G2::generator().times_u64(36));
}

#[test]
fn small_and_full_multiples_agree() {
    for number in [0, 1, 2, 255, 65_537, u64::MAX] {
        let scalar = Scalar::from(number);
        assert_eq!(G1::generator().times_u64(number), G1::generator().times(&scalar));
        assert_eq!(G2::generator().times_u64(number), G2::generator().times(&scalar));
    }
    assert!(G1::default().times(&Scalar::from(9)).is_infinity());
}

#[test]
fn pairing_products_count_every_pair_and_ignore_infinity() {
    let (g1, minus_g2) = (G1::generator(), G2::negated_generator());
    let sum = g1.times_u64((1..=37).sum());
    let mut pairs: Vec<_> = (1..=37).map(|i| (g1, G2::generator().times_u64(i))).collect();
    pairs.push((sum, minus_g2));
    assert!(PairingProduct::of(&pairs).is_one());
    pairs.push((G1::default(), G2::generator()));
    pairs.push((g1, G2::default()));
    assert!(PairingProduct::of(&pairs).is_one());
    pairs.swap_remove(0);
    assert!(!PairingProduct::of(&pairs).is_one());
    assert!(PairingProduct::of(&[]).is_one());
}
