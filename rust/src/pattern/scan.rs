//! The loop over windows: bytes to masks, masks to boundaries, boundaries to positions.

use super::names::Named;
use super::rules::{Gpt2, Gpt4, O200k, Place, Rules};
use super::simd::{self, Scalar, Simd, Variant};
use super::unicode::Tables;
use super::window::{Window, BACK, DECIDED, STEP};

/// Pre-tokens in a batch, or a few more: their ends stay in the first-level cache.
const BATCH: usize = 4096;
/// Ends are 32-bit: a pre-token longer than this is cut.
pub const LONGEST: usize = 1 << 31;

/// See [`super::Pattern::scan`].
pub fn scan(named: Named, variant: Variant, text: &[u8], start: usize, ends: &mut Vec<u32>) -> usize {
    match variant {
        Variant::Scalar => by_name::<Scalar>(named, text, start, ends),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a variant is only made where the processor has it.
        Variant::Avx2 => unsafe { on_avx2(named, text, start, ends) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the same.
        Variant::Avx512 => unsafe { on_avx512(named, text, start, ends) },
        #[cfg(target_arch = "aarch64")]
        Variant::Neon => by_name::<simd::Neon>(named, text, start, ends),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
fn on_avx2(named: Named, text: &[u8], start: usize, ends: &mut Vec<u32>) -> usize {
    by_name::<simd::Avx2>(named, text, start, ends)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt,avx512f,avx512bw,avx512vbmi,avx512vbmi2,avx512bitalg")]
fn on_avx512(named: Named, text: &[u8], start: usize, ends: &mut Vec<u32>) -> usize {
    by_name::<simd::Avx512>(named, text, start, ends)
}

#[inline(always)]
fn by_name<S: Simd>(named: Named, text: &[u8], start: usize, ends: &mut Vec<u32>) -> usize {
    match named {
        Named::Gpt2 => batch::<S, Gpt2>(text, start, ends),
        Named::Cl100k => batch::<S, Gpt4<true, true>>(text, start, ends),
        Named::Llama3 => batch::<S, Gpt4<true, false>>(text, start, ends),
        Named::Qwen2 => batch::<S, Gpt4<false, false>>(text, start, ends),
        Named::O200k => batch::<S, O200k>(text, start, ends),
    }
}

#[inline(always)]
fn batch<S: Simd, R: Rules>(text: &[u8], start: usize, ends: &mut Vec<u32>) -> usize {
    ends.clear();
    if start >= text.len() {
        return text.len();
    }
    // A window adds at most one late boundary and 56 of its own.
    ends.reserve(BATCH + 1 + 64 + simd::SLACK);
    let out = ends.as_mut_ptr();
    let mut count = 0;
    let tables = Tables::get();
    let mut rules = R::default();
    let mut base = start;
    while base < text.len() {
        let origin = base as isize - BACK as isize;
        let place = Place { text, start, origin, tables };
        let inside = base != start && origin >= 0 && base + (64 - BACK) <= text.len();
        let mut decided = DECIDED;
        let ascii = if inside {
            // SAFETY: the 64 bytes from `origin` on lie in the text.
            unsafe { S::classify(text.as_ptr().add(origin as usize)) }
        } else {
            decided &= !0 >> (64 - BACK - (text.len() - base).min(STEP));
            if base == start {
                decided &= !(1 << BACK);
            }
            let bytes = padded(text, origin, start);
            // SAFETY: an array of 64 bytes.
            unsafe { S::classify(bytes.as_ptr()) }
        };
        let mut window = Window::of_ascii(&ascii);
        let boundaries = if ascii.high == 0 {
            rules.boundaries::<false>(&window, &place)
        } else {
            // SAFETY: the 64 bytes from `origin` on lie in the text.
            let wide = if inside { unsafe { S::wide(ascii.high, text, origin as usize, tables) } } else { None };
            match wide {
                Some(wide) => window.add(&wide),
                None => window.add_each(ascii.high, tables, text, origin),
            }
            rules.boundaries::<true>(&window, &place)
        };
        // SAFETY: fewer than BATCH were written before this window, and there is room for one more, and for what a
        // window writes and the slack.
        unsafe {
            if let Some(position) = rules.late().filter(|position| *position > start) {
                out.add(count).write((position - start) as u32);
                count += 1;
            }
            count += S::positions(boundaries & decided, (origin - start as isize) as u32, out.add(count));
        }
        base += STEP;
        if count >= BATCH || base - start > LONGEST {
            break;
        }
    }
    // SAFETY: as many were written.
    unsafe { ends.set_len(count) };
    if base < text.len() {
        return stop(text, start, base, ends);
    }
    // The padding after a newline that ends the text looks like a run too.
    if let Some(position) = rules.last().filter(|position| *position < text.len()) {
        ends.push((position - start) as u32);
    }
    ends.push((text.len() - start) as u32);
    text.len()
}

/// The batch ends with the last pre-token that has; if none has in two gigabytes, that one is cut at `base`.
pub fn stop(text: &[u8], start: usize, base: usize, ends: &mut Vec<u32>) -> usize {
    if ends.is_empty() {
        let inside = text[base - 3..=base].iter().rev().take_while(|byte| **byte & 0xc0 == 0x80).count();
        ends.push((base - inside.min(3) - start) as u32);
    }
    start + ends[ends.len() - 1] as usize
}

/// The 64 bytes from `origin` on. What follows the text passes for blanks, which end nothing. What precedes `start`
/// passes for newlines, after which anything may start.
#[cold]
fn padded(text: &[u8], origin: isize, start: usize) -> [u8; 64] {
    let mut bytes = [b' '; 64];
    let from = origin.max(0) as usize;
    let until = text.len().min((origin + 64) as usize);
    let gap = (from as isize - origin) as usize;
    bytes[gap..gap + until - from].copy_from_slice(&text[from..until]);
    bytes[..(start as isize - origin).max(0) as usize].fill(b'\n');
    bytes
}
