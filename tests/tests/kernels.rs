//! The operations of scoring on the CPU, each against the form that is composed of burn's
//! operations, on random inputs of awkward shapes; and their derivatives against finite
//! differences, which know neither form.
//!
//! Tolerance: 1e-5 of the norm. Both sides are f32 and add in different orders; they differ by some
//! 1e-7 times the square root of the number of terms.

#![expect(clippy::cast_possible_truncation, reason = "shapes are small, and f32 is what is compared")]

use burn::tensor::{DType, Tensor, TensorData};
use codingspot_core::Device;
use codingspot_core::kernels::cross_entropy::{self, BandStatistics, NO_TARGET};
use codingspot_core::kernels::rotary::{self, Angles, rotate_reference};
use codingspot_core::kernels::sums::{
    Reduction, accumulate, accumulate_rows, add_column_squares, max_magnitude, sum_rows, take_rows,
};
use codingspot_core::kernels::{attention, bias, matmul, rms_norm, swiglu};
use codingspot_tests::{Random, assert_close};

const TOLERANCE: f64 = 1e-5;
/// Around the width of a vector, and in between.
const WIDTHS: [usize; 12] = [1, 2, 3, 7, 15, 16, 17, 31, 33, 47, 64, 131];
const REDUCTIONS: [Reduction; 3] = [Reduction::Signed, Reduction::Absolute, Reduction::Square];

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), DType::F32))
}

fn matrix(random: &mut Random, shape: [usize; 2], scale: f32) -> Tensor<2> {
    tensor(random.values(shape[0] * shape[1], scale), shape)
}

fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_into_vec().expect("f32")
}

fn bits<const D: usize>(tensor: &Tensor<D>) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

/// Equal within the tolerance; zeros have to be next to zero.
fn close<const D: usize>(what: &str, actual: &Tensor<D>, expected: &Tensor<D>) {
    close_within(what, actual, expected, TOLERANCE);
}

fn close_within<const D: usize>(what: &str, actual: &Tensor<D>, expected: &Tensor<D>, tolerance: f64) {
    assert_eq!(actual.dims(), expected.dims(), "{what}: shapes");
    let (actual, expected) = (values(actual), values(expected));
    if expected.iter().all(|value| *value == 0.0) {
        // e^(−87) and everything below it is 1e-38 on one side and less on the other.
        assert!(actual.iter().all(|value| value.abs() < 1e-30), "{what}: expected zeros");
    } else {
        assert_close(what, &actual, &expected, tolerance);
    }
}

/// The rows of a larger matrix without its first and last: memory that is not the tensor alone.
fn inside(random: &mut Random, x: &Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let [rows, cols] = x.dims();
    let (above, below) = (matrix(random, [1, cols], 1.0), matrix(random, [1, cols], 1.0));
    let parent = Tensor::cat(vec![above, x.clone(), below], 0);
    let view = parent.clone().narrow(0, 1, rows);
    (parent, view)
}

/// Runs an operation that may work in place on `x`: held by nothing else, shared, and as a part of
/// a larger tensor. The results have the same bits, and what is shared keeps its own.
fn in_place<R>(
    what: &str,
    random: &mut Random,
    x: &Tensor<2>,
    operation: impl Fn(Tensor<2>) -> R,
    result_bits: impl Fn(&R) -> Vec<u32>,
) -> R {
    let before = bits(x);
    let shared = operation(x.clone());
    assert!(bits(x) == before, "{what}: a shared tensor was written to");
    let own = operation(tensor(values(x), x.dims()));
    assert!(result_bits(&own) == result_bits(&shared), "{what}: in place gives other bits");
    let (parent, view) = inside(random, x);
    let parent_before = bits(&parent);
    let part = operation(view);
    assert!(bits(&parent) == parent_before, "{what}: the tensor around a view was written to");
    assert!(result_bits(&part) == result_bits(&shared), "{what}: a view gives other bits");
    own
}

/// Scales of inputs: ordinary, tiny and large ones.
const SCALES: [f32; 3] = [1.0, 1e-3, 300.0];

#[test]
fn rms_norm_equals_its_composed_form() {
    let mut random = Random::new(1);
    for case in 0..60 {
        let (width, eps) = (random.choose(&WIDTHS), random.choose(&[1e-5, 1e-6]));
        // Up to several tasks of 16,384 elements, and several partial sums of the gain's gradient.
        let n = random.choose(&[1, 2, 31, 33, 65, 450]) * (1 + random.below(3));
        let scale = random.choose(&SCALES);
        let x = matrix(&mut random, [n, width], scale);
        // A row of zeros has nothing but ε under its root.
        let x = if case % 5 == 0 {
            x.slice_assign([0..1, 0..width], Tensor::zeros([1, width], &Device::flex()))
        } else {
            x
        };
        let gain = tensor(random.values(width, 2.0), [width]);
        let (dy, residual) = (matrix(&mut random, [n, width], 1.0), matrix(&mut random, [n, width], 1.0));
        let what = format!("rms_norm {n} × {width} scale {scale}");
        close(&what, &rms_norm::forward(&x, &gain, eps), &rms_norm::forward_reference(&x, &gain, eps));
        let expected = rms_norm::backward_reference(&x, &gain, eps, &dy, residual.clone());
        let inputs = [bits(&x), bits(&dy)];
        let actual = in_place(
            &what,
            &mut random,
            &residual,
            |residual| rms_norm::backward(&x, &gain, eps, &dy, residual),
            |(dx, gain)| [bits(dx), bits(gain)].concat(),
        );
        close(&format!("{what} dx"), &actual.0, &expected.0);
        close(&format!("{what} gain"), &actual.1, &expected.1);
        // The residual may be the gradient itself.
        let aliased = rms_norm::backward(&x, &gain, eps, &dy, dy.clone());
        let expected = rms_norm::backward_reference(&x, &gain, eps, &dy, dy.clone());
        close(&format!("{what} aliased"), &aliased.0, &expected.0);
        assert!(inputs == [bits(&x), bits(&dy)], "{what}: an input was written to");
    }
}

/// cos and sin of random angles for `length` positions.
fn table(random: &mut Random, length: usize, half: usize) -> (Tensor<2>, Tensor<2>) {
    let angles = random.values(length * half, std::f32::consts::PI);
    let of = |f: fn(f32) -> f32| tensor(angles.iter().map(|angle| f(*angle)).collect(), [length, half]);
    (of(f32::cos), of(f32::sin))
}

#[test]
fn rotary_equals_its_composed_form_and_turns_back() {
    let mut random = Random::new(2);
    for _ in 0..60 {
        let (batch, seq, heads) = (1 + random.below(3), 2 + random.below(149), 1 + random.below(6));
        let half = 1 + random.below(20);
        // The table may be longer than the sequences.
        let length = seq + random.below(5);
        let (cos, sin) = table(&mut random, length, half);
        let angles = Angles { cos: &cos, sin: &sin, seq };
        let x = matrix(&mut random, [batch * seq, heads * 2 * half], 3.0);
        let what = format!("rotary {batch} × {seq}, {heads} heads of {}", 2 * half);
        let turned = in_place(&what, &mut random, &x, |x| rotary::forward(x, angles), bits);
        close(&what, &turned, &rotate_reference(x.clone(), angles, 1.0));
        let back = in_place(&what, &mut random, &x, |x| rotary::backward(x, angles), bits);
        close(&what, &back, &rotate_reference(x.clone(), angles, -1.0));
        close(&what, &rotary::backward(turned, angles), &x);
    }
}

#[test]
fn swiglu_equals_its_composed_form() {
    let mut random = Random::new(3);
    for case in 0..60 {
        let (n, width) = (1 + random.below(450), random.choose(&WIDTHS));
        let gate = match case % 3 {
            0 => matrix(&mut random, [n, width], 4.0),
            // Where the exponential is next to nothing, or next to everything.
            1 => tensor(
                (0..n * width).map(|_| random.choose(&[-80.0, -30.0, 0.0, 30.0, 80.0])).collect(),
                [n, width],
            ),
            _ => tensor(vec![1.5; n * width], [n, width]),
        };
        let (up, dy) = (matrix(&mut random, [n, width], 2.0), matrix(&mut random, [n, width], 1.0));
        let what = format!("swiglu {n} × {width}");
        close(&what, &swiglu::forward(&gate, &up), &swiglu::forward_reference(&gate, &up));
        let expected = swiglu::backward_reference(&gate, &up, &dy);
        let both = |(gate, up): &(Tensor<2>, Tensor<2>)| [bits(gate), bits(up)].concat();
        let (gate_before, dy_before) = (bits(&gate), bits(&dy));
        let by_up = in_place(&what, &mut random, &up, |up| swiglu::backward(gate.clone(), up, &dy), both);
        let by_gate =
            in_place(&what, &mut random, &gate, |gate| swiglu::backward(gate, up.clone(), &dy), both);
        assert!(both(&by_up) == both(&by_gate), "{what}");
        assert!((bits(&gate), bits(&dy)) == (gate_before, dy_before), "{what}: an input was written to");
        close(&format!("{what} gate"), &by_gate.0, &expected.0);
        close(&format!("{what} up"), &by_gate.1, &expected.1);
        // One tensor in every place.
        let aliased = swiglu::backward(up.clone(), up.clone(), &up);
        let expected = swiglu::backward_reference(&up, &up, &up);
        close(&format!("{what} aliased"), &aliased.0, &expected.0);
        close(&format!("{what} aliased"), &aliased.1, &expected.1);
    }
}

fn attention_shape(random: &mut Random) -> attention::Shape {
    let kv_heads = 1 + random.below(3);
    let seq = random.choose(&[2, 3, 17, 63, 64, 65, 100, 127, 128, 129, 150]);
    let some = 2 + random.below(20);
    attention::Shape {
        batch: 1 + random.below(3),
        // Around the block of 64 queries.
        seq,
        heads: kv_heads * random.choose(&[1, 2, 3, 4]),
        kv_heads,
        head_dim: 2 * (1 + random.below(20)),
        // Itself alone, some keys, about a block of them, all, and more than all.
        window: random.choose(&[
            None,
            None,
            Some(1),
            Some(some),
            Some(64),
            Some(65),
            Some(seq - 1),
            Some(seq),
            Some(usize::MAX),
        ]),
    }
}

#[test]
fn attention_equals_its_composed_form() {
    let mut random = Random::new(4);
    for case in 0..120 {
        let shape = attention_shape(&mut random);
        let n = shape.batch * shape.seq;
        let (queries, keys) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let what = format!("attention {shape:?} case {}", case % 4);
        let v = matrix(&mut random, [n, keys], 1.0);
        let dy = matrix(&mut random, [n, queries], 1.0);
        let (q, k, tolerance) = match case % 4 {
            // Equal scores: every weight is 1 over the number of keys.
            0 => (matrix(&mut random, [n, queries], 1.0), tensor(vec![0.0; n * keys], [n, keys]), TOLERANCE),
            // Scores of about ±80: half of the keys have all of the weight, and share it by what the
            // last two elements add. A score of 80 is rounded by up to 4e-6 at each of its sums, and
            // its exponential is wrong by as much: hence 1e-4.
            1 => {
                let rest = shape.head_dim - 2;
                let size = if rest == 0 {
                    0.0
                } else {
                    (80.0 * (shape.head_dim as f32).sqrt() / rest as f32).sqrt()
                };
                let mut saturated = |heads: usize| {
                    let mut out = Vec::with_capacity(n * heads * shape.head_dim);
                    for _ in 0..n * heads {
                        let sign = random.choose(&[-size, size]);
                        out.extend(std::iter::repeat_n(sign, rest));
                        out.extend(random.values(2, 2.0));
                    }
                    tensor(out, [n, heads * shape.head_dim])
                };
                (saturated(shape.heads), saturated(shape.kv_heads), 1e-4)
            }
            _ => (matrix(&mut random, [n, queries], 2.0), matrix(&mut random, [n, keys], 2.0), TOLERANCE),
        };
        let inputs = [bits(&q), bits(&k), bits(&v), bits(&dy)];
        let expected = attention::forward_reference(&q, &k, &v, shape);
        close_within(&what, &attention::forward(&q, &k, &v, shape), &expected, tolerance);
        let actual = attention::backward(&q, &k, &v, &dy, shape);
        let expected = attention::backward_reference(&q, &k, &v, &dy, shape);
        for (name, i) in [("dq", 0), ("dk", 1), ("dv", 2)] {
            close_within(&format!("{what} {name}"), &actual[i], &expected[i], tolerance);
        }
        assert!(inputs == [bits(&q), bits(&k), bits(&v), bits(&dy)], "{what}: an input was written to");
        // The same from the middle of larger tensors.
        let [q, k, v, dy] = [q, k, v, dy].map(|x| inside(&mut random, &x).1);
        let views = attention::backward(&q, &k, &v, &dy, shape);
        for (view, actual) in views.iter().zip(&actual) {
            assert!(bits(view) == bits(actual), "{what}: views give other bits");
        }
    }
}

#[test]
fn a_window_of_all_keys_is_none() {
    let mut random = Random::new(14);
    for _ in 0..10 {
        let shape = attention::Shape { window: None, ..attention_shape(&mut random) };
        let n = shape.batch * shape.seq;
        let (queries, keys) = ([n, shape.heads * shape.head_dim], [n, shape.kv_heads * shape.head_dim]);
        let [q, dy] = [queries; 2].map(|size| matrix(&mut random, size, 1.0));
        let [k, v] = [keys; 2].map(|size| matrix(&mut random, size, 1.0));
        let whole = attention::Shape { window: Some(shape.seq), ..shape };
        let of = |shape| {
            let [dq, dk, dv] = attention::backward(&q, &k, &v, &dy, shape);
            [attention::forward(&q, &k, &v, shape), dq, dk, dv].map(|x| bits(&x))
        };
        assert!(of(shape) == of(whole), "{shape:?}");
        // What is outside the window has no part: other keys and values there change nothing.
        let window = 1 + random.below(shape.seq - 1);
        let windowed = attention::Shape { batch: 1, window: Some(window), ..shape };
        let first = |x: &Tensor<2>| x.clone().narrow(0, 0, shape.seq);
        let [q, k, v] = [first(&q), first(&k), first(&v)];
        let outside = shape.seq - window;
        let other = |random: &mut Random, x: &Tensor<2>| {
            let rest = x.clone().narrow(0, outside, window);
            Tensor::cat(vec![matrix(random, [outside, keys[1]], 3.0), rest], 0)
        };
        let (k2, v2) = (other(&mut random, &k), other(&mut random, &v));
        let last = |k: &Tensor<2>, v: &Tensor<2>| {
            bits(&attention::forward(&q, k, v, windowed).narrow(0, shape.seq - 1, 1))
        };
        assert!(last(&k, &v) == last(&k2, &v2), "{windowed:?}");
    }
}

#[test]
fn biases_equal_their_composed_form() {
    let mut random = Random::new(15);
    for (n, width) in [(1, 1), (7, 5), (64, 48), (3000, 3), (2, 20_000), (130, 700)] {
        let (y, what) = (matrix(&mut random, [n, width], 1.0), format!("{n} rows of {width}"));
        let added = tensor(random.values(width, 1.0), [1, width]);
        let bias = added.clone().reshape([width]);
        let (before, all) = (bits(&y), values(&y));
        let actual = bias::add(y.clone(), Some(&bias));
        assert!(bits(&actual) == bits(&(y.clone() + added)), "{what}");
        assert!(bits(&y) == before, "{what}: an input was written to");
        assert!(bits(&bias::add(y.clone(), None)) == before, "{what}");
        let expected: Vec<f32> = (0..width)
            .map(|col| all.iter().skip(col).step_by(width).map(|v| f64::from(*v)).sum::<f64>() as f32)
            .collect();
        let actual: Tensor<2> = bias::backward(&y).unsqueeze();
        close(&what, &actual, &tensor(expected.clone(), [1, width]));
        close(&what, &bias::backward_reference(&y).unsqueeze(), &tensor(expected, [1, width]));
        let (_, view) = inside(&mut random, &y);
        assert!(
            bits(&bias::backward(&view).unsqueeze::<2>()) == bits(&actual),
            "{what}: views give other bits"
        );
    }
}

/// A vocabulary cut at random places: first row and width of each band.
fn cut(random: &mut Random) -> Vec<(usize, usize)> {
    let mut start = 0;
    (0..=random.below(4))
        .map(|_| {
            let width = random.choose(&WIDTHS);
            start += width;
            (start - width, width)
        })
        .collect()
}

#[test]
fn cross_entropy_equals_its_composed_form_over_any_bands() {
    let mut random = Random::new(5);
    let (mut inside_band, mut without_target) = (0, 0);
    for case in 0..80 {
        let bands = cut(&mut random);
        let vocabulary = bands.last().map(|(start, width)| start + width).unwrap();
        let n = 1 + random.below(150);
        let logits: Vec<f32> = match case % 4 {
            0 => vec![random.choose(&[-80.0, 0.0, 80.0]); n * vocabulary],
            1 => (0..n * vocabulary).map(|_| random.choose(&[-80.0, 80.0])).collect(),
            2 => random.values(n * vocabulary, 80.0),
            _ => random.values(n * vocabulary, 5.0),
        };
        let targets: Vec<u32> = (0..n)
            .map(|_| if random.below(5) == 0 { NO_TARGET } else { random.below(vocabulary) as u32 })
            .collect();
        without_target += targets.iter().filter(|target| **target == NO_TARGET).count();
        let scale = random.choose(&[1.0, 1.0 / 63.0, 1024.0 / 511.0]);
        let what = format!("cross-entropy {n} × {bands:?} case {}", case % 4);
        let of_band = |&(start, width): &(usize, usize)| {
            let rows = logits.chunks(vocabulary).flat_map(|row| row[start..start + width].to_vec());
            tensor(rows.collect(), [n, width])
        };
        let of_bands: Vec<Tensor<2>> = bands.iter().map(of_band).collect();

        let pairs: Vec<(BandStatistics, BandStatistics)> = of_bands
            .iter()
            .zip(&bands)
            .map(|(logits, &(start, _))| {
                (
                    cross_entropy::statistics(logits, &targets, start),
                    cross_entropy::statistics_reference(logits, &targets, start),
                )
            })
            .collect();
        for (actual, expected) in &pairs {
            assert!(bits(&actual.max) == bits(&expected.max), "{what}: maxima");
            assert!(values(&actual.target) == values(&expected.target), "{what}: target's logits");
            close(&format!("{what} sums"), &actual.sum, &expected.sum);
        }
        let (lse, target) =
            cross_entropy::log_sum_exp(pairs.iter().map(|(actual, _)| actual.clone()).collect());
        // Over the whole vocabulary at once, in f64.
        let (mut exact_lse, mut exact_target) = (Vec::new(), Vec::new());
        for (row, target) in logits.chunks(vocabulary).zip(&targets) {
            let max = row.iter().fold(f64::NEG_INFINITY, |max, value| max.max(f64::from(*value)));
            let sum: f64 = row.iter().map(|value| (f64::from(*value) - max).exp()).sum();
            exact_lse.push((max + sum.ln()) as f32);
            exact_target.push(if *target == NO_TARGET { 0.0 } else { row[*target as usize] });
        }
        assert!(values(&target) == exact_target, "{what}: target's logits");
        close(&format!("{what} lse"), &lse, &tensor(exact_lse, [n]));

        for (logits, &(start, width)) in of_bands.iter().zip(&bands) {
            let expected = cross_entropy::gradient_reference(logits.clone(), &lse, &targets, start, scale);
            let actual = in_place(
                &what,
                &mut random,
                logits,
                |logits| cross_entropy::gradient(logits, &lse, &targets, start, scale),
                bits,
            );
            // The largest element of a row's whole gradient, not of the band's, is what an error is
            // measured by: in a band that the softmax leaves next to nothing of, e^(−160) is 1e-38
            // here and less there.
            let (actual, expected) = (values(&actual), values(&expected));
            for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
                assert!((a - e).abs() <= 1e-5 * scale, "{what}: gradient at {i} is {a:e}, expected {e:e}");
            }
            if actual.iter().any(|value| value.abs() > 1e-3 * scale) {
                assert_close(&format!("{what} gradient"), &actual, &expected, TOLERANCE);
            }
            for (row, target) in actual.chunks(width).zip(&targets) {
                assert!(
                    *target != NO_TARGET || row.iter().all(|value| *value == 0.0),
                    "{what}: a row without a target has a gradient"
                );
            }
            inside_band +=
                targets.iter().filter(|t| (start..start + width).contains(&(**t as usize))).count();
        }
    }
    assert!(inside_band > 1000 && without_target > 200, "{inside_band} {without_target}");
}

/// `a · b` in f64, matrices as rows.
fn product(a: &[f32], b: &[f32], [n, k, m]: [usize; 3]) -> Vec<f32> {
    let mut out = vec![0.0_f64; n * m];
    for i in 0..n {
        for j in 0..k {
            for l in 0..m {
                out[i * m + l] += f64::from(a[i * k + j]) * f64::from(b[j * m + l]);
            }
        }
    }
    out.into_iter().map(|value| value as f32).collect()
}

#[test]
fn products_equal_burns_and_those_of_f64() {
    let mut random = Random::new(6);
    let mut shapes: Vec<[usize; 3]> =
        (0..50).map(|_| [1 + random.below(150), random.choose(&WIDTHS), random.choose(&WIDTHS)]).collect();
    // Enough multiplications for all threads.
    shapes.extend([[130, 129, 131], [257, 95, 101]]);
    for [n, outputs, inputs] in shapes {
        let what = format!("products {n} × {outputs} × {inputs}");
        let x = matrix(&mut random, [n, inputs], 1.0);
        let w = matrix(&mut random, [outputs, inputs], 1.0);
        let y = matrix(&mut random, [n, outputs], 1.0);
        let before = [bits(&x), bits(&w), bits(&y)];
        let transposed = |x: &Tensor<2>| values(&x.clone().transpose());

        let nt = matmul::product_nt(&x, &w);
        close(&what, &nt, &x.clone().matmul(w.clone().transpose()));
        close(&what, &nt, &tensor(product(&values(&x), &transposed(&w), [n, inputs, outputs]), [n, outputs]));
        let nn = matmul::product_nn(&y, &w);
        close(&what, &nn, &y.clone().matmul(w.clone()));
        close(&what, &nn, &tensor(product(&values(&y), &values(&w), [n, outputs, inputs]), [n, inputs]));
        let tn = matmul::product_tn(&y, &x);
        close(&what, &tn, &y.clone().transpose().matmul(x.clone()));
        close(
            &what,
            &tn,
            &tensor(product(&transposed(&y), &values(&x), [outputs, n, inputs]), [outputs, inputs]),
        );

        let sum = matrix(&mut random, [n, inputs], 3.0);
        let added = in_place(&what, &mut random, &sum, |sum| matmul::add_product_nn(sum, &y, &w), bits);
        close(&what, &added, &(sum + nn));
        let sum = matrix(&mut random, [outputs, inputs], 3.0);
        let added = in_place(&what, &mut random, &sum, |sum| matmul::add_product_tn(sum, &y, &x), bits);
        close(&what, &added, &(sum + tn));
        assert!(before == [bits(&x), bits(&w), bits(&y)], "{what}: a factor was written to");
        // Views that are not row-major: the transposed of the transposed.
        let view = |x: &Tensor<2>| tensor(transposed(x), [x.dims()[1], x.dims()[0]]).transpose();
        assert!(bits(&matmul::product_nt(&view(&x), &view(&w))) == bits(&nt), "{what}: views");
    }
    // A sum that is a factor too.
    let square = matrix(&mut random, [33, 33], 1.0);
    let expected = square.clone() + square.clone().matmul(square.clone());
    close("aliased", &matmul::add_product_nn(square.clone(), &square, &square), &expected);
    let expected = square.clone() + square.clone().transpose().matmul(square.clone());
    close("aliased", &matmul::add_product_tn(square.clone(), &square, &square), &expected);
}

#[test]
fn sums_equal_their_composed_forms() {
    let mut random = Random::new(7);
    for _ in 0..50 {
        let (rows, width) = (2 + random.below(450), random.choose(&WIDTHS));
        let sum = matrix(&mut random, [rows, width], 1.0);
        let gradient = matrix(&mut random, [rows, width], 1.0);
        // Distinct rows, in any number and order.
        let mut ids: Vec<u32> = (0..rows as u32).collect();
        for i in (1..rows).rev() {
            ids.swap(i, random.below(i + 1));
        }
        ids.truncate(1 + random.below(rows));
        let part = matrix(&mut random, [ids.len(), width], 1.0);
        for reduction in REDUCTIONS {
            let what = format!("{reduction:?} {rows} × {width}");
            let term = |g: f32| match reduction {
                Reduction::Signed => g,
                Reduction::Absolute => g.abs(),
                Reduction::Square => g * g,
            };
            let actual =
                in_place(&what, &mut random, &sum, |sum| accumulate(reduction, sum, &gradient), bits);
            close(&what, &actual, &reduction.add_reference(sum.clone(), &gradient));
            let expected: Vec<f32> =
                values(&sum).iter().zip(values(&gradient)).map(|(s, g)| s + term(g)).collect();
            close(&what, &actual, &tensor(expected, [rows, width]));

            let actual =
                in_place(&what, &mut random, &sum, |sum| accumulate_rows(reduction, sum, &ids, &part), bits);
            let mut expected = values(&sum);
            for (id, gradient) in ids.iter().zip(values(&part).chunks(width)) {
                for (sum, g) in expected[*id as usize * width..].iter_mut().zip(gradient) {
                    *sum += term(*g);
                }
            }
            close(&format!("{what} rows"), &actual, &tensor(expected, [rows, width]));
            // A sum that is its own gradient.
            let expected = reduction.add_reference(sum.clone(), &sum);
            close(&format!("{what} aliased"), &accumulate(reduction, sum.clone(), &sum), &expected);
        }

        let what = format!("rows of {rows} × {width}");
        let both = |(taken, rest): &(Tensor<2>, Tensor<2>)| [bits(taken), bits(rest)].concat();
        let (taken, rest) =
            in_place(&what, &mut random, &gradient, |gradient| take_rows(gradient, &ids), both);
        let (mut expected_taken, mut expected_rest) = (Vec::new(), values(&gradient));
        for id in &ids {
            let row = &mut expected_rest[*id as usize * width..(*id as usize + 1) * width];
            expected_taken.extend_from_slice(row);
            row.fill(0.0);
        }
        assert!(values(&taken) == expected_taken && values(&rest) == expected_rest, "{what}");

        let count = 1 + random.below(rows);
        let slots: Vec<u32> = (0..rows).map(|_| random.below(count) as u32).collect();
        let before = bits(&gradient);
        let mut expected = vec![0.0_f32; count * width];
        for (slot, row) in slots.iter().zip(values(&gradient).chunks(width)) {
            for (sum, value) in expected[*slot as usize * width..].iter_mut().zip(row) {
                *sum += value;
            }
        }
        close(&what, &sum_rows(&gradient, &slots, count), &tensor(expected, [count, width]));

        let squares = tensor(random.values(width, 1.0), [width]);
        let mut expected: Vec<f64> = values(&squares).into_iter().map(f64::from).collect();
        for row in values(&gradient).chunks(width) {
            for (sum, value) in expected.iter_mut().zip(row) {
                *sum += f64::from(*value).powi(2);
            }
        }
        let expected = tensor(expected.into_iter().map(|value| value as f32).collect(), [width]);
        close(&what, &add_column_squares(squares, &gradient), &expected);
        assert!(bits(&gradient) == before, "{what}: an input was written to");
    }
}

#[test]
fn the_largest_magnitude_is_exact_and_sees_what_is_not_finite() {
    let mut random = Random::new(8);
    for _ in 0..60 {
        let (rows, width) = (1 + random.below(450), random.choose(&WIDTHS));
        let mut x = random.values(rows * width, 1.0);
        let at = random.below(x.len());
        let of = |x: &[f32]| values(&max_magnitude(&tensor(x.to_vec(), [rows, width])))[0];
        for largest in [7.5, -7.5, f32::MAX, -f32::MAX] {
            x[at] = largest;
            assert_eq!(of(&x).to_bits(), largest.abs().to_bits(), "{rows} × {width} at {at}");
        }
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[at] = bad;
            assert!(!of(&x).is_finite(), "{rows} × {width} at {at}: {bad}");
        }
    }
    assert_eq!(values(&max_magnitude(&tensor(vec![-0.0; 5], [1, 5])))[0].to_bits(), 0);
}

/// The gradient of `loss` at `at` by central differences of fourth order.
fn differences(at: &[f32], loss: impl Fn(&[f32]) -> f64) -> Vec<f32> {
    const STEP: f32 = 1.0 / 16.0;
    let slope = |index: usize, step: f32| {
        let (mut up, mut down) = (at.to_vec(), at.to_vec());
        up[index] += step;
        down[index] -= step;
        (loss(&up) - loss(&down)) / (f64::from(up[index]) - f64::from(down[index]))
    };
    let fourth = |index| (4.0 * slope(index, STEP) - slope(index, 2.0 * STEP)) / 3.0;
    (0..at.len()).map(|index| fourth(index) as f32).collect()
}

/// Asserts that a derivative is the one of finite differences.
///
/// 5e-4: outputs are f32, and their rounding over the step is some 1e-6, of slopes that may be 1e-2.
fn derivative(what: &str, actual: &[f32], at: &[f32], loss: impl Fn(&[f32]) -> f64) {
    assert_close(what, actual, &differences(at, loss), 5e-4);
}

/// `Σ output · weight`, in f64.
fn weighted<const D: usize>(output: &Tensor<D>, weights: &Tensor<D>) -> f64 {
    values(output).iter().zip(values(weights)).map(|(o, w)| f64::from(*o) * f64::from(w)).sum()
}

#[test]
fn rms_norm_has_the_derivative_of_finite_differences() {
    let mut random = Random::new(9);
    for (n, width) in [(1, 2), (3, 7), (5, 17), (4, 33)] {
        // Away from zero, where the curvature is that of the root.
        let x = matrix(&mut random, [n, width], 1.0).sign() + matrix(&mut random, [n, width], 0.5);
        let gain = tensor(random.values(width, 2.0), [width]);
        let dy = matrix(&mut random, [n, width], 1.0);
        let residual = matrix(&mut random, [n, width], 1.0);
        let (dx, dgain) = rms_norm::backward(&x, &gain, 1e-5, &dy, residual.clone());
        derivative(&format!("rms_norm dx {n} × {width}"), &values(&dx), &values(&x), |at| {
            let x = tensor(at.to_vec(), [n, width]);
            weighted(&rms_norm::forward(&x, &gain, 1e-5), &dy) + weighted(&x, &residual)
        });
        derivative(&format!("rms_norm gain {n} × {width}"), &values(&dgain), &values(&gain), |at| {
            weighted(&rms_norm::forward(&x, &tensor(at.to_vec(), [width]), 1e-5), &dy)
        });
    }
}

#[test]
fn rotary_has_the_derivative_of_finite_differences() {
    let mut random = Random::new(10);
    for (batch, seq, heads, half) in [(1, 2, 1, 1), (2, 5, 2, 3), (1, 3, 3, 8)] {
        let (cos, sin) = table(&mut random, seq, half);
        let angles = Angles { cos: &cos, sin: &sin, seq };
        let shape = [batch * seq, heads * 2 * half];
        let (x, dy) = (matrix(&mut random, shape, 1.0), matrix(&mut random, shape, 1.0));
        let dx = rotary::backward(dy.clone(), angles);
        derivative(&format!("rotary {shape:?}"), &values(&dx), &values(&x), |at| {
            weighted(&rotary::forward(tensor(at.to_vec(), shape), angles), &dy)
        });
    }
}

#[test]
fn swiglu_has_the_derivative_of_finite_differences() {
    let mut random = Random::new(11);
    for shape in [[1, 1], [3, 7], [5, 33]] {
        let [gate, up, dy] = [4.0, 2.0, 1.0].map(|scale| matrix(&mut random, shape, scale));
        let (dgate, dup) = swiglu::backward(gate.clone(), up.clone(), &dy);
        derivative(&format!("swiglu gate {shape:?}"), &values(&dgate), &values(&gate), |at| {
            weighted(&swiglu::forward(&tensor(at.to_vec(), shape), &up), &dy)
        });
        derivative(&format!("swiglu up {shape:?}"), &values(&dup), &values(&up), |at| {
            weighted(&swiglu::forward(&gate, &tensor(at.to_vec(), shape)), &dy)
        });
    }
}

#[test]
fn attention_has_the_derivative_of_finite_differences() {
    let mut random = Random::new(12);
    for (batch, seq, heads, kv_heads, head_dim, window) in [
        (1, 2, 1, 1, 2, None),
        (2, 5, 2, 1, 4, None),
        (1, 7, 4, 2, 6, None),
        (1, 4, 3, 3, 2, None),
        (1, 66, 2, 1, 2, None),
        (2, 6, 2, 1, 4, Some(3)),
        (1, 66, 2, 1, 2, Some(5)),
    ] {
        let shape = attention::Shape { batch, seq, heads, kv_heads, head_dim, window };
        let n = batch * seq;
        let (queries, keys) = ([n, heads * head_dim], [n, kv_heads * head_dim]);
        let [q, dy] = [1.0, 1.0].map(|scale| matrix(&mut random, queries, scale));
        let [k, v] = [1.0, 1.0].map(|scale| matrix(&mut random, keys, scale));
        let [dq, dk, dv] = attention::backward(&q, &k, &v, &dy, shape);
        let loss =
            |q: &Tensor<2>, k: &Tensor<2>, v: &Tensor<2>| weighted(&attention::forward(q, k, v, shape), &dy);
        derivative(&format!("dq {shape:?}"), &values(&dq), &values(&q), |at| {
            loss(&tensor(at.to_vec(), queries), &k, &v)
        });
        derivative(&format!("dk {shape:?}"), &values(&dk), &values(&k), |at| {
            loss(&q, &tensor(at.to_vec(), keys), &v)
        });
        derivative(&format!("dv {shape:?}"), &values(&dv), &values(&v), |at| {
            loss(&q, &k, &tensor(at.to_vec(), keys))
        });
    }
}

#[test]
fn cross_entropy_has_the_derivative_of_finite_differences() {
    let mut random = Random::new(13);
    for widths in [vec![5], vec![17, 3], vec![1, 16, 20]] {
        let (n, vocabulary) = (6, widths.iter().sum::<usize>());
        let logits = matrix(&mut random, [n, vocabulary], 3.0);
        let mut targets: Vec<u32> = (0..n).map(|_| random.below(vocabulary) as u32).collect();
        targets[2] = NO_TARGET;
        let starts: Vec<usize> = widths
            .iter()
            .scan(0, |start, width| {
                *start += width;
                Some(*start - width)
            })
            .collect();
        let bands = |logits: &Tensor<2>| -> Vec<Tensor<2>> {
            starts
                .iter()
                .zip(&widths)
                .map(|(start, width)| logits.clone().narrow(1, *start, *width))
                .collect()
        };
        let statistics = |logits: &Tensor<2>| {
            let parts = bands(logits)
                .iter()
                .zip(&starts)
                .map(|(l, s)| cross_entropy::statistics(l, &targets, *s))
                .collect();
            cross_entropy::log_sum_exp(parts)
        };
        let (lse, _) = statistics(&logits);
        let scale = 1.0 / (n - 1) as f32;
        let gradients = bands(&logits)
            .into_iter()
            .zip(&starts)
            .map(|(l, s)| cross_entropy::gradient(l, &lse, &targets, *s, scale));
        let gradient = Tensor::cat(gradients.collect(), 1);
        derivative(&format!("cross-entropy {widths:?}"), &values(&gradient), &values(&logits), |at| {
            let (lse, target) = statistics(&tensor(at.to_vec(), [n, vocabulary]));
            let with_target = values(&lse).into_iter().zip(values(&target)).zip(&targets);
            let nll = with_target
                .filter(|(_, target)| **target != NO_TARGET)
                .map(|((l, t), _)| f64::from(l) - f64::from(t));
            nll.sum::<f64>() * f64::from(scale)
        });
    }
}
