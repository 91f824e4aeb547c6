#include "cpu/run.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>
#include <vector>

#include "cpu/features.hpp"
#include "dtype.hpp"
#include "threads.hpp"

namespace pylm::cpu {
namespace {

constexpr int64_t ELEMENTS = 16384;  // of a block: a few microseconds of work, far above the cost of a claim

template <class Body>
void blocks(int threads, int64_t count, int64_t size, const Body& body) {
    parallel(threads, (count + size - 1) / size,
             [&](int64_t b) { body(b, b * size, std::min(count, (b + 1) * size)); });
}

// A buffer that each thread keeps: fresh memory costs a page fault every 4 KiB.
char* scratch(int64_t size) {
    struct Free {
        void operator()(char* memory) const { std::free(memory); }
    };
    thread_local std::unique_ptr<char, Free> kept;
    thread_local int64_t room = 0;
    if (size > room) {
        const int64_t whole = (size + 63) / 64 * 64;
        kept.reset(static_cast<char*>(std::aligned_alloc(64, whole)));
        if (!kept) {
            room = 0;
            throw std::bad_alloc();
        }
        room = whole;
    }
    return kept.get();
}

// Runs body(begin, end, sums) over blocks of rows; what each adds to sums[0] and sums[1], null where `to` is, is added
// up in the blocks' order: the same bits for any number of threads.
template <class Body>
void summed_blocks(int threads, int64_t rows, int64_t width, const std::array<float*, 2>& to, const Body& body) {
    constexpr int64_t BLOCKS = 32;
    const int64_t size = std::max<int64_t>(16, (rows + BLOCKS - 1) / BLOCKS), many = (rows + size - 1) / size;
    std::vector<float> partial(many * 2 * width);
    blocks(threads, rows, size, [&](int64_t b, int64_t begin, int64_t end) {
        float* room = partial.data() + b * 2 * width;
        float* const sums[2] = {to[0] ? room : nullptr, to[1] ? room + width : nullptr};
        body(begin, end, sums);
    });
    for (int which : {0, 1}) {
        if (!to[which]) continue;
        std::fill_n(to[which], width, 0.0f);
        for (int64_t b = 0; b < many; ++b) {
            const float* from = partial.data() + (b * 2 + which) * width;
            for (int64_t i = 0; i < width; ++i) to[which][i] += from[i];
        }
    }
}

// Bytes of the last cache. Linux says it by file; what glibc works out from a processor that a hypervisor shows in part
// has been twelve times too much.
int64_t last_cache() {
    static const int64_t found = [] {
        int64_t kilobytes = 0;
        std::ifstream("/sys/devices/system/cpu/cpu0/cache/index3/size") >> kilobytes;
        return kilobytes > 0 ? kilobytes << 10 : int64_t{32} << 20;
    }();
    return found;
}

// Whether so many bytes, read and written, leave the last cache before anybody reads the results. Then they are written
// around it, or every line would be fetched only to be overwritten.
bool leaves_the_caches(int64_t bytes) { return bytes > last_cache() / 4 * 3; }

// Asks for pages of 2 MB under a large result before it is written: of 4 KB its first writing faults 512 times as
// often, and streams through it stop at every page (one thread copies 44 GB/s here instead of 29).
void in_large_pages(void* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
    constexpr uintptr_t PAGE = uintptr_t{2} << 20;
    const uintptr_t from = (reinterpret_cast<uintptr_t>(data) + PAGE - 1) / PAGE * PAGE;
    const uintptr_t to = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / PAGE * PAGE;
    // a kernel that has none refuses, which is as well
    if (to > from) madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

int64_t size_of(Type type) { return type == FLOAT32 ? 4 : 2; }

int64_t rows_of(int64_t width) { return std::max<int64_t>(1, ELEMENTS / std::max<int64_t>(1, width)); }

}  // namespace

const Kernels& kernels() {
    switch (variant()) {
#if defined(PYLM_X86_VARIANTS)
        case Variant::avx512:
            return avx512::table;
        case Variant::avx2:
            return avx2::table;
#endif
#if defined(PYLM_ARM_VARIANTS)
        case Variant::neon:
            return neon::table;
#endif
        default:
            return scalar::table;
    }
}

void norm_forward(Type type, const NormForward& given, int64_t rows, int threads) {
    const auto run = kernels().norm_forward[type];
    NormForward a = given;
    const int64_t bytes = rows * a.width * size_of(type);
    a.past = leaves_the_caches(bytes * (a.h ? 4 : 2));
    if (a.past) in_large_pages(a.y, bytes), in_large_pages(a.h, a.h ? bytes : 0);
    blocks(threads, rows, rows_of(a.width), [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void norm_backward(Type type, const NormBackward& given, int64_t rows, int threads) {
    const auto run = kernels().norm_backward[type];
    NormBackward a = given;
    const int64_t bytes = rows * a.width * size_of(type);
    a.past = leaves_the_caches(bytes * (a.dh ? 4 : 3));
    if (a.past) in_large_pages(a.dx, bytes);
    if (!a.dweight && !a.dbias) {
        blocks(threads, rows, rows_of(a.width), [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
        return;
    }
    summed_blocks(threads, rows, a.width, {a.dweight, a.dbias}, [&](int64_t begin, int64_t end, float* const* sums) {
        NormBackward mine = a;
        mine.dweight = sums[0], mine.dbias = sums[1];
        run(mine, begin, end);
    });
}

void rotate_forward(Type type, const Rotation& a, int threads) {
    const auto run = kernels().rotate_forward[type];
    blocks(threads, a.batch * a.time, rows_of(a.heads * a.dim),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void rotate_backward(Type type, const Rotation& a, int threads) {
    const auto run = kernels().rotate_backward[type];
    if (!a.dweight) {
        blocks(threads, a.batch * a.time, rows_of(a.heads * a.dim),
               [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
        return;
    }
    summed_blocks(threads, a.batch * a.time, a.dim, {a.dweight, nullptr},
                  [&](int64_t begin, int64_t end, float* const* sums) {
                      Rotation mine = a;
                      mine.dweight = sums[0];
                      run(mine, begin, end);
                  });
}

namespace {
bool goes_past(Type type, const CrossEntropy& a, int64_t rows) {
    // in place nothing is fetched for nothing, and a chunk of logits is read again at once
    return a.dlogits && a.dlogits != a.logits && leaves_the_caches(2 * rows * a.vocab * size_of(type));
}
}  // namespace

void cross_entropy_forward(Type type, const CrossEntropy& given, int64_t rows, int threads) {
    const auto run = kernels().cross_entropy_forward[type];
    CrossEntropy a = given;
    a.past = goes_past(type, a, rows);
    if (a.past) in_large_pages(a.dlogits, rows * a.vocab * size_of(type));
    // a row's gradient is written while the next of its block is read
    const int64_t many = a.dlogits ? std::clamp<int64_t>(rows / 16, 1, 32) : 1;
    blocks(threads, rows, std::max(many, rows_of(a.vocab)),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void cross_entropy_backward(Type type, const CrossEntropy& given, int64_t rows, int threads) {
    const auto run = kernels().cross_entropy_backward[type];
    CrossEntropy a = given;
    a.past = goes_past(type, a, rows);
    if (a.past) in_large_pages(a.dlogits, rows * a.vocab * size_of(type));
    blocks(threads, rows, rows_of(a.vocab), [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

bool has_head_products() { return kernels().head_dx != nullptr; }

void pair_rows(const Pairs& a, int threads) {
    const auto run = kernels().pair_rows;
    blocks(threads, (a.rows + 1) / 2, rows_of(2 * a.width),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void head_gradients(Head a, const void* x, int threads) {
    const Kernels& table = kernels();
    thread_local std::vector<uint32_t> pairs;  // of the caller: kept, for a chunk comes after a chunk
    const int64_t units = (a.rows + 1) / 2;
    pairs.resize(std::max<size_t>(pairs.size(), units * a.padded));
    a.x_pairs = pairs.data();
    pair_rows({x, pairs.data(), a.rows, a.dim, a.padded}, threads);
    const int64_t floats = static_cast<int64_t>(sizeof(float)) * a.padded;
    // the more rows at once, the less often the weight is read: as many as L2 holds, and some for each thread
    constexpr int64_t MOST = 4 * HEAD_ROWS;
    const int64_t share = a.rows / std::max(1, threads > 0 ? threads : cores());
    const int64_t many = std::clamp((share + HEAD_ROWS - 1) / HEAD_ROWS * HEAD_ROWS, HEAD_ROWS, MOST);
    blocks(threads, a.rows, many, [&](int64_t, int64_t begin, int64_t end) {
        table.head_dx(a, begin, end, scratch((many + HEAD_UNITS) * floats));
    });
    const int64_t room = HEAD_CLASSES * floats + units * HEAD_CLASSES * static_cast<int64_t>(sizeof(uint32_t));
    blocks(threads, a.vocab, HEAD_CLASSES,
           [&](int64_t, int64_t begin, int64_t end) { table.head_dweight(a, begin, end, scratch(room)); });
}

void activation_forward(Act act, Type type, const Activation& a, int64_t count, int threads) {
    const auto run = kernels().activation_forward[static_cast<int>(act)][type];
    blocks(threads, count, ELEMENTS, [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void activation_backward(Act act, Type type, const Activation& a, int64_t count, int threads) {
    const auto run = kernels().activation_backward[static_cast<int>(act)][type];
    blocks(threads, count, ELEMENTS, [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

void attention_forward(Type type, const Attention& a, int threads) {
    const Kernels& table = kernels();
    const int64_t size = table.attention_forward_scratch[type](a.time, a.dim);
    parallel(threads, a.batch * a.heads, [&](int64_t unit) { table.attention_forward[type](a, unit, scratch(size)); });
}

void attention_backward(Type type, const Attention& a, int threads) {
    const Kernels& table = kernels();
    const int64_t size = table.attention_backward_scratch[type](a.time, a.dim);
    parallel(threads, a.batch * a.kv_heads,
             [&](int64_t unit) { table.attention_backward[type](a, unit, scratch(size)); });
}

void join_pieces(const float* partial, int64_t count, int64_t stride, int64_t dim, float* out) {
    float top = partial[0], total = 0;
    for (int64_t i = 1; i < count; ++i) top = std::max(top, partial[i * stride]);
    std::fill_n(out, dim, 0.0f);
    for (int64_t i = 0; i < count; ++i) {
        const float* piece = partial + i * stride;
        const float weight = std::exp2(piece[0] - top);
        total += piece[1] * weight;
        for (int64_t d = 0; d < dim; ++d) out[d] += piece[2 + d] * weight;
    }
    const float inverse = 1 / total;
    for (int64_t d = 0; d < dim; ++d) out[d] *= inverse;
}

void decode_attention(Type type, const Decode& a, int64_t batch, const int64_t* lengths, void* out, int threads) {
    const auto run = kernels().decode_attention[type];
    const int64_t share = a.heads / a.kv_heads, room = share * (a.dim + 2), size = type == FLOAT32 ? 4 : 2;
    struct Piece {
        int64_t sequence, head, begin, end;
    };
    std::vector<Piece> pieces;
    for (int64_t b = 0; b < batch; ++b)
        for (int64_t g = 0; g < a.kv_heads; ++g)
            for (int64_t s = 0; s < lengths[b]; s += KEYS_AT_ONCE)
                pieces.push_back({b, g, s, std::min(lengths[b], s + KEYS_AT_ONCE)});
    std::vector<float> partial(pieces.size() * room);
    parallel(threads, static_cast<int64_t>(pieces.size()), [&](int64_t i) {
        const Piece& p = pieces[i];
        Decode mine = a;
        mine.q = static_cast<const char*>(a.q) + p.sequence * a.heads * a.dim * size;
        mine.k = static_cast<const char*>(a.k) + p.sequence * a.sk.batch * size;
        mine.v = static_cast<const char*>(a.v) + p.sequence * a.sv.batch * size;
        run(mine, p.head, p.begin, p.end, partial.data() + i * room);
    });
    // the pieces of a head lie one after another; they are joined in order, whoever made them
    std::vector<float> sum(a.dim);
    for (size_t first = 0, next; first < pieces.size(); first = next) {
        const Piece& p = pieces[first];
        for (next = first + 1; next < pieces.size() && pieces[next].begin > 0;) ++next;
        for (int64_t h = 0; h < share; ++h) {
            join_pieces(partial.data() + first * room + h * (a.dim + 2), static_cast<int64_t>(next - first), room,
                        a.dim, sum.data());
            const int64_t at = (p.sequence * a.heads + p.head * share + h) * a.dim;
            for (int64_t d = 0; d < a.dim; ++d) {
                if (type == FLOAT32)
                    static_cast<float*>(out)[at + d] = sum[d];
                else
                    static_cast<uint16_t*>(out)[at + d] = to_bfloat16(sum[d]);
            }
        }
    }
}

void gemv_int8(const Gemv& a, int64_t rows, int threads) {
    const auto run = kernels().gemv_int8;
    blocks(threads, rows, std::max<int64_t>(16, 8 * rows_of(a.width)),
           [&](int64_t, int64_t begin, int64_t end) { run(a, begin, end); });
}

uint64_t read_all(const void* data, int64_t bytes, int threads) {
    const auto run = kernels().read_all;
    std::atomic<uint64_t> total{0};
    blocks(threads, bytes, 8 * ELEMENTS, [&](int64_t, int64_t begin, int64_t end) { total += run(data, begin, end); });
    return total;
}

double adamw_step(const Flat* tensors, int64_t count, const AdamWSettings& s, int threads) {
    struct Piece {
        const Flat* tensor;
        int64_t begin, end;
    };
    constexpr int64_t SIZE = 4 * ELEMENTS;
    std::vector<Piece> pieces;
    for (int64_t t = 0; t < count; ++t)
        for (int64_t at = 0; at < tensors[t].count; at += SIZE)
            pieces.push_back({&tensors[t], at, std::min(tensors[t].count, at + SIZE)});
    for (int64_t t = 0; t < count; ++t) {  // moments that nobody has written to yet get them at once
        const int64_t bytes = tensors[t].count * (tensors[t].types == 2 ? 2 : 4);
        for (void* data : {tensors[t].p, tensors[t].m, tensors[t].v}) in_large_pages(data, bytes);
    }
    const auto many = static_cast<int64_t>(pieces.size());
    const Kernels& table = kernels();
    std::vector<double> squares(many);
    parallel(threads, many, [&](int64_t i) {
        const Piece& piece = pieces[i];
        squares[i] =
            table.sum_squares[piece.tensor->types == 0 ? FLOAT32 : BFLOAT16](piece.tensor->g, piece.begin, piece.end);
    });
    double total = 0;
    for (double part : squares) total += part;
    const double norm = std::sqrt(total) * std::abs(s.grad_scale);
    if (!std::isfinite(norm)) return norm;
    const double clip = s.clip > 0 ? std::min(1.0, s.clip / (norm + 1e-6)) : 1.0;
    AdamW settings{};
    settings.lr = s.lr, settings.beta1 = s.beta1, settings.beta2 = s.beta2, settings.eps = s.eps;
    settings.scale = static_cast<float>(clip * s.grad_scale);
    settings.correction1 = static_cast<float>(1 - std::pow(s.beta1, static_cast<double>(s.step)));
    settings.correction2 = static_cast<float>(1 - std::pow(s.beta2, static_cast<double>(s.step)));
    parallel(threads, many, [&](int64_t i) {
        const Piece& piece = pieces[many - 1 - i];  // from the end: there gradients are still in the caches
        const Flat& tensor = *piece.tensor;
        AdamW mine = settings;
        mine.p = tensor.p, mine.g = tensor.g, mine.m = tensor.m, mine.v = tensor.v, mine.copy = tensor.copy;
        mine.decay = tensor.decay;
        table.adamw[tensor.types](mine, piece.begin, piece.end);
    });
    return norm;
}

}  // namespace pylm::cpu
