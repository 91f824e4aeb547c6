// Goes through all layers with some tokens, one team of threads together.
#include "cpu/engine/pass.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/dispatch.hpp"
#include "cpu/drive/operations.hpp"
#include "dtype.hpp"

namespace pylm::cpu {
namespace {

constexpr int F32 = slot(Dtype::float32);

// up to this many tokens each row of weights meets them one by one; beyond, packing the weights pays
constexpr int64_t FEW = 8;
// from here on a prompt's own attention is worth packing its keys
constexpr int64_t PACKED_ATTENTION = 32;

template <class T>
void grow(std::vector<T>& memory, int64_t count) {
    if (static_cast<int64_t>(memory.size()) < count) memory.resize(count);
}

int64_t rows_together(int64_t tokens) { return tokens <= FEW ? 4 : PANEL; }

int64_t padded(int64_t width) { return (width + QUANTISED_BLOCK - 1) / QUANTISED_BLOCK * QUANTISED_BLOCK; }

int64_t widest_product(const Shape& shape) { return std::max({shape.width, shape.inner, shape.heads_width()}); }

// Whether the tokens are one sequence from its first token on, whose keys are all of this pass.
bool is_a_beginning(const std::vector<Token>& tokens) {
    const auto count = static_cast<int64_t>(tokens.size());
    if (tokens[0].position != 0) return false;
    if (tokens[0].parent == APPENDED) return tokens[count - 1].cache == tokens[0].cache;
    for (int64_t t = 1; t < count; ++t)
        if (tokens[t].parent != t - 1) return false;
    return true;
}

const float* or_null(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

}  // namespace

Pass::Pass(Decoder& decoder, const std::vector<Token>& tokens, const std::vector<int64_t>& wanted, float* logits)
    : decoder(decoder),
      shape(decoder.shape),
      work(decoder.workspace),
      table(kernels()),
      tokens(tokens),
      wanted(wanted),
      logits(logits),
      count(static_cast<int64_t>(tokens.size())),
      dim(shape.dim()),
      group(shape.heads / shape.kv_heads),
      packed_width(shape.packed_width()),
      row_group(rows_together(count)),
      threads(std::max(1, decoder.threads > 0 ? decoder.threads : cores())),
      prefill(count >= PACKED_ATTENTION && shape.attention_softcap == 0 && is_a_beginning(tokens)) {
    grow_workspace();
    int64_t furthest = 0;
    for (int64_t t = 0; t < count; ++t) {
        furthest = std::max(furthest, tokens[t].position);
        work.first[t] =
            static_cast<int32_t>(shape.window > 0 ? std::max<int64_t>(0, tokens[t].position - shape.window + 1) : 0);
    }
    decoder.grow_rope_table(furthest + 1);
    if (!prefill) cut_pieces();
    grow_scratch();
}

void Pass::grow_workspace() {
    const int64_t widest = widest_product(shape);
    grow(work.stream, count * shape.width), grow(work.normal, count * shape.width);
    grow(work.packed, count * packed_width), grow(work.queries, count * shape.heads_width());
    grow(work.attended, count * shape.heads_width()), grow(work.inner, 2 * count * shape.inner);
    grow(work.scales, count), grow(work.lse, std::max(count * shape.heads, count));
    grow(work.high, count * padded(widest)), grow(work.low, count * padded(widest));
    grow(work.sums, count * padded(widest) / QUANTISED_GROUP), grow(work.narrow, count * (widest + 1));
    grow(work.first, count);
}

// The keys of each token and head of keys, cut so that the threads find enough to do.
void Pass::cut_pieces() {
    for (int64_t t = 0; t < count; ++t)
        for (int64_t g = 0; g < shape.kv_heads; ++g) {
            first_piece.push_back(static_cast<int64_t>(pieces.size()));
            if (tokens[t].parent == APPENDED) {
                cut(t, g, work.first[t], tokens[t].position + 1, false);
            } else {
                if (tokens[t].cache) cut(t, g, work.first[t], tokens[t].cache->length, false);
                cut_ancestors(t, g);
            }
        }
    first_piece.push_back(static_cast<int64_t>(pieces.size()));
    grow(work.partial, static_cast<int64_t>(pieces.size()) * group * (dim + 2));
}

void Pass::cut(int64_t token, int64_t head, int64_t begin, int64_t end, bool of_pass) {
    for (int64_t at = begin; at < end; at += KEYS_AT_ONCE)
        pieces.push_back({token, head, at, std::min(end, at + KEYS_AT_ONCE), of_pass});
}

// A token and its ancestors, as far as it sees them, in runs that lie side by side.
void Pass::cut_ancestors(int64_t token, int64_t head) {
    for (int64_t last = token; last >= 0 && tokens[last].position >= work.first[token];) {
        int64_t begin = last;
        while (tokens[begin].parent == begin - 1 && begin > 0 && tokens[begin - 1].position >= work.first[token])
            --begin;
        cut(token, head, begin, last + 1, true);
        last = tokens[begin].parent;
    }
}

void Pass::grow_scratch() {
    int64_t bytes = table.product_scratch(widest_product(shape));
    if (prefill) bytes = std::max(bytes, table.attention_forward_scratch[F32](count, dim));
    if (static_cast<int>(work.scratch.size()) >= threads && work.scratch_bytes >= bytes) return;
    work.scratch.clear();
    for (int i = 0; i < threads; ++i) work.scratch.emplace_back(bytes);
    work.scratch_bytes = bytes;
}

void Pass::run() {
    together(threads, [this](Team& team, int me) { all_layers({team, me}); });
}

Part Member::share(int64_t all, int64_t whole) const {
    const int64_t blocks = (all + whole - 1) / whole;
    return {std::min(all, blocks * me / team.size * whole), std::min(all, blocks * (me + 1) / team.size * whole)};
}

void Pass::all_layers(const Member& member) {
    embed(member);
    for (int64_t l = 0; l < shape.layers; ++l) {
        attention_block(member, decoder.layers[l], l);
        mlp_block(member, decoder.layers[l]);
    }
    write_logits(member);
}

void Pass::embed(const Member& member) {
    const Part mine = member.share(count);
    const int64_t width = shape.width;
    for (int64_t t = mine.begin; t < mine.end; ++t) {
        float* x = work.stream.data() + t * width;
        decoder.embed.row(tokens[t].id, x);
        if (shape.positions == Positions::learned)
            for (int64_t i = 0; i < width; ++i) x[i] += decoder.position[tokens[t].position * width + i];
    }
    if (shape.embed_norm) normalise(decoder.embed_norm, work.stream.data(), work.stream.data(), mine);
}

void Pass::attention_block(const Member& member, const Layer& layer, int64_t index) {
    const Part mine = member.share(count);
    float *stream = work.stream.data(), *normal = work.normal.data();
    normalise(layer.attention_norm, stream, normal, mine);
    prepare(normal, {&layer.qkv}, mine, count);
    member.wait();
    product(layer.qkv, layer.qkv_bias, normal, work.packed.data(), packed_width, false,
            member.share(packed_width, row_group), member.me, count);
    member.wait();
    attend(member, layer, index);
    prepare(work.attended.data(), {&layer.out}, mine, count);
    member.wait();
    product(layer.out, layer.out_bias, work.attended.data(), stream, shape.width, true,
            member.share(shape.width, row_group), member.me, count);
    member.wait();
}

void Pass::mlp_block(const Member& member, const Layer& layer) {
    const Part mine = member.share(count), rows = member.share(shape.inner, row_group);
    float *stream = work.stream.data(), *normal = work.normal.data();
    float *up = work.inner.data(), *gate = up + count * shape.inner;
    const bool gated = shape.mlp == Act::swiglu;
    normalise(layer.mlp_norm, stream, normal, mine);
    prepare(normal, {&layer.up, gated ? &layer.gate : &layer.up}, mine, count);
    member.wait();
    product(layer.up, layer.up_bias, normal, up, shape.inner, false, rows, member.me, count);
    if (gated) product(layer.gate, layer.gate_bias, normal, gate, shape.inner, false, rows, member.me, count);
    for (int64_t t = 0; t < count; ++t) {
        float *x = up + t * shape.inner, *g = gate + t * shape.inner;
        const Activation act{.x = x, .gate = g, .dy = nullptr, .y = x, .dx = nullptr, .dgate = nullptr};
        table.activation_forward[static_cast<int>(shape.mlp)][F32](act, rows.begin, rows.end);
    }
    member.wait();
    prepare(up, {&layer.down}, mine, count);
    member.wait();
    product(layer.down, layer.down_bias, up, stream, shape.width, true, member.share(shape.width, row_group), member.me,
            count);
    member.wait();
}

void Pass::write_logits(const Member& member) {
    // the wanted tokens alone go on, one after another to the front
    const auto last = static_cast<int64_t>(wanted.size());
    const int64_t width = shape.width;
    float *stream = work.stream.data(), *normal = work.normal.data();
    const Weights& head = shape.tied ? decoder.embed : decoder.head;
    if (member.me == 0)
        for (int64_t i = 0; i < last; ++i) {
            normalise(decoder.norm, stream + (wanted[i] - i) * width, normal, {i, i + 1});
            prepare(normal, {&head}, {i, i + 1}, last);
        }
    member.wait();
    if (!last) return;
    const Part words = member.share(shape.vocab, rows_together(last));
    product(head, {}, normal, logits, shape.vocab, false, words, member.me, last);
    if (shape.logit_softcap > 0)
        for (int64_t i = 0; i < last; ++i)
            for (int64_t v = words.begin; v < words.end; ++v) {
                float& logit = logits[i * shape.vocab + v];
                logit = shape.logit_softcap * std::tanh(logit / shape.logit_softcap);
            }
}

void Pass::normalise(const Norm& norm, const float* x, float* y, Part part) {
    NormForward a{};
    a.x = x, a.y = y, a.weight = or_null(norm.weight), a.bias = or_null(norm.bias);
    a.mean = shape.layer_norm ? work.lse.data() : nullptr;  // not needed again: any memory will do
    a.rstd = work.scales.data();
    a.width = shape.width, a.eps = shape.eps;
    table.norm_forward[F32](a, part.begin, part.end);
}

void Pass::prepare(const float* x, std::initializer_list<const Weights*> matrices, Part part, int64_t many) {
    const int64_t width = (*matrices.begin())->matrix().width, whole = padded(width), odd = (width + 1) / 2 * 2;
    bool bytes = false, narrow = false;
    for (const Weights* w : matrices) {
        bytes |= w->form(table, many <= FEW) == Form::bytes;
        narrow |= w->form(table, many <= FEW) == Form::narrow;
    }
    for (int64_t t = part.begin; t < part.end; ++t) {
        if (bytes)
            table.quantise_activations(x + t * width, width, work.high.data() + t * whole, work.low.data() + t * whole,
                                       work.sums.data() + t * (whole / QUANTISED_GROUP), work.scales.data() + t);
        if (narrow) table.narrow_activations(x + t * width, width, work.narrow.data() + t * odd);
    }
}

void Pass::product(const Weights& w, const std::vector<float>& bias, const float* x, float* y, int64_t stride, bool add,
                   Part rows, int me, int64_t many) {
    if (rows.begin >= rows.end) return;
    Product p{};
    p.in = {x, work.high.data(), work.low.data(), work.sums.data(), work.scales.data(), work.narrow.data(), many};
    p.bias = or_null(bias), p.y = y, p.stride = stride, p.add = add;
    w.product(table, p, many <= FEW, rows.begin, rows.end, work.scratch[me].data());
}

// Heads of queries [heads] at x, normalised and rotated for a token.
void Pass::rope(float* x, float* out, const std::vector<float>& weight, int64_t heads, int64_t token) {
    float rstd[64];
    for (int64_t done = 0; done < heads; done += 64) {
        Rotation a{};
        a.x = x + done * dim, a.out = out + done * dim, a.batch = a.time = 1,
        a.heads = std::min<int64_t>(64, heads - done);
        a.dim = dim, a.half = shape.positions == Positions::rope ? dim / 2 : 0;
        a.sx = a.so = {0, 0, dim};
        a.cos = decoder.cosines.data(), a.sin = decoder.sines.data();
        a.offset = tokens[token].position, a.eps = shape.eps;
        a.weight = or_null(weight), a.rstd = rstd;
        table.rotate_forward[F32](a, 0, 1);
    }
}

// The heads of one group, rotated; its keys and values go to the cache.
void Pass::place_heads(const Layer& layer, int64_t index, int64_t token, int64_t g) {
    float* packed = work.packed.data() + token * packed_width;
    float* q = packed + g * group * dim;
    float* k = packed + (shape.heads + g) * dim;
    const float* v = packed + (shape.heads + shape.kv_heads + g) * dim;
    rope(q, work.queries.data() + token * shape.heads_width() + g * group * dim, layer.q_norm, group, token);
    rope(k, k, layer.k_norm, 1, token);
    const Token& at = tokens[token];
    if (at.parent != APPENDED) return;
    if (at.cache->type == Dtype::float32) {
        std::memcpy(at.cache->keys(index, g) + at.position * dim * 4, k, dim * 4);
        std::memcpy(at.cache->values(index, g) + at.position * dim * 4, v, dim * 4);
    } else {
        auto* keys = reinterpret_cast<uint16_t*>(at.cache->keys(index, g)) + at.position * dim;
        auto* values = reinterpret_cast<uint16_t*>(at.cache->values(index, g)) + at.position * dim;
        for (int64_t i = 0; i < dim; ++i) keys[i] = to_bfloat16(k[i]), values[i] = to_bfloat16(v[i]);
    }
}

void Pass::attend(const Member& member, const Layer& layer, int64_t index) {
    const Part placed = member.share(count * shape.kv_heads);
    for (int64_t unit = placed.begin; unit < placed.end; ++unit)
        place_heads(layer, index, unit / shape.kv_heads, unit % shape.kv_heads);
    member.wait();
    if (prefill) {
        const Part heads = member.share(shape.heads);
        for (int64_t h = heads.begin; h < heads.end; ++h) attend_prefill(h, member.me);
        member.wait();
        return;
    }
    const Part mine = member.share(static_cast<int64_t>(pieces.size()));
    for (int64_t piece = mine.begin; piece < mine.end; ++piece) attend_piece(piece, index);
    member.wait();
    const Part joined = member.share(count);
    for (int64_t t = joined.begin; t < joined.end; ++t) join(t);
}

// A whole prompt at once, from the projection itself.
void Pass::attend_prefill(int64_t head, int me) {
    Attention a{};
    a.q = work.queries.data();
    a.k = work.packed.data() + shape.heads * dim;
    a.v = work.packed.data() + (shape.heads + shape.kv_heads) * dim;
    a.out = work.attended.data(), a.lse = work.lse.data(), a.first = work.first.data();
    a.sq = a.so = {0, shape.heads_width(), dim};
    a.sk = a.sv = {0, packed_width, dim};
    a.batch = 1, a.time = count, a.heads = shape.heads, a.kv_heads = shape.kv_heads, a.dim = dim;
    a.scale = 1 / std::sqrt(static_cast<float>(dim));
    table.attention_forward[F32](a, head, work.scratch[me].data());
}

void Pass::attend_piece(int64_t number, int64_t index) {
    const Piece& piece = pieces[number];
    const Token& token = tokens[piece.token];
    Decode a{};
    a.q = work.queries.data() + (piece.token * shape.heads + piece.head * group) * dim;
    if (piece.of_pass) {
        a.k = work.packed.data() + (shape.heads + piece.head) * dim;
        a.v = work.packed.data() + (shape.heads + shape.kv_heads + piece.head) * dim;
        a.sk = a.sv = {0, packed_width, 0};
    } else {
        a.k = token.cache->keys(index, piece.head), a.v = token.cache->values(index, piece.head);
        a.sk = a.sv = {0, dim, 0};
    }
    a.heads = group, a.kv_heads = 1, a.dim = dim, a.wide = true;
    a.scale = 1 / std::sqrt(static_cast<float>(dim)), a.softcap = shape.attention_softcap;
    const int type = piece.of_pass ? F32 : slot(token.cache->type);
    table.decode_attention[type](a, 0, piece.begin, piece.end, work.partial.data() + number * group * (dim + 2));
}

void Pass::join(int64_t token) {
    for (int64_t g = 0; g < shape.kv_heads; ++g) {
        const int64_t begin = first_piece[token * shape.kv_heads + g],
                      end = first_piece[token * shape.kv_heads + g + 1];
        float* out = work.attended.data() + token * shape.heads_width() + g * group * dim;
        for (int64_t h = 0; h < group; ++h)
            join_pieces(work.partial.data() + (begin * group + h) * (dim + 2), end - begin, group * (dim + 2), dim,
                        out + h * dim);
    }
}

}  // namespace pylm::cpu
