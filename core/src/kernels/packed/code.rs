//! From codes to numbers: what the CPU form of every operation reads weights with, and the same in a kernel.

#[cfg(feature = "cubecl")]
pub(super) mod gpu {
    use codingspot_pack::Encoding;
    use cubecl::prelude::*;

    /// Element `index` (a constant of the kernel) of a word, without its scale.
    #[cube]
    pub(crate) fn number(word: u32, #[comptime] index: u32, #[comptime] encoding: Encoding) -> f32 {
        match comptime!(encoding) {
            Encoding::F32 => f32::reinterpret(word),
            Encoding::F16 => half(word >> comptime!(index * 16)),
            // Up to the top, and down again with its sign.
            Encoding::Q8 => f32::cast_from(i32::cast_from(word << comptime!(24 - 8 * index)) >> 24i32),
            Encoding::Q4 => f32::cast_from(i32::cast_from(word << comptime!(28 - 4 * index)) >> 28i32),
        }
    }

    /// The f16 in the low half of a word; never infinite or NaN.
    #[cube]
    pub(crate) fn half(bits: u32) -> f32 {
        let magnitude = bits & 0x7fffu32;
        let sign = (bits & 0x8000u32) << 16u32;
        // 112 is the difference of the exponents' biases. What is subnormal has no exponent to shift.
        let normal = f32::reinterpret((magnitude << 13u32) + 0x3800_0000u32);
        let subnormal = f32::cast_from(magnitude) * 5.960_464_5e-8_f32;
        let value = select(magnitude < 0x400u32, subnormal, normal);
        f32::reinterpret(f32_bits(value) | sign)
    }

    #[cube]
    fn f32_bits(value: f32) -> u32 {
        u32::reinterpret(value)
    }

    /// Scale `block` of scale words: two bf16 a word.
    #[cube]
    pub(crate) fn scale(word: u32, block: usize) -> f32 {
        let low = word << 16u32;
        let high = word & 0xffff_0000u32;
        f32::reinterpret(select(block % 2 == 0, low, high))
    }
}
